//! What a provider is told of its credentials: which of them this program uses, and what the API said.

use std::time::Duration;

use jiff::Timestamp;

use crate::credential::CredentialId;

/// Which credentials this program uses: what an operator waits for before retiring one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The generation that is held.
    pub generation: u64,
    /// For how long the report holds. A program that is silent for longer is taken for gone. Zero is the
    /// last report of a handle, which uses none of them any more.
    pub lease: Duration,
    /// Whether the set says that its source takes reports: `acks` is among its
    /// [levels](crate::CredentialSet::levels). A source that knows by other means has no use for this.
    pub announced: bool,
    /// One for each credential that is held, or was in use and is not held any more.
    pub observations: Vec<Observation>,
}

/// What is known of one credential's use.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Observation {
    /// Which.
    pub credential: CredentialId,
    /// What it is to this program.
    pub status: ReportedStatus,
    /// When it was last in use.
    pub last_used_at: Option<Timestamp>,
    /// How many requests the API accepted with it, as far as this program's clients know.
    pub ok: u64,
    /// How many it rejected.
    pub rejected: u64,
}

/// What a credential is to a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReportedStatus {
    /// It is held, and not in use.
    Received,
    /// It is in use.
    Active,
    /// It was in use, and no request can carry it any more.
    Drained,
    /// It is held, and the API rejects it.
    Rejected,
}

impl ReportedStatus {
    /// Its name in the protocol.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Active => "active",
            Self::Drained => "drained",
            Self::Rejected => "rejected",
        }
    }
}
