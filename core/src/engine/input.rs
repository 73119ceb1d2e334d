//! What a rotation is told, and what it says is to be done.

use std::{sync::Arc, time::Duration};

use super::snapshot::Snapshot;
use crate::{
    credential::{Credential, CredentialId, CredentialSet},
    error::Error,
    event::Event,
    report::Report,
};

/// What happened.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "one input is in hand at a time, and is consumed at once"
)]
pub enum Input {
    /// The time that [`Rotation::wake_at`](super::rotation::Rotation::wake_at) named has come, or
    /// somebody wants a look.
    Woke,
    /// A fetch brought a set.
    Fetched(u64, CredentialSet),
    /// A fetch learnt that nothing changed.
    NotModified(u64),
    /// A fetch failed.
    Failed(u64, Error),
    /// The API rejected a credential.
    Rejected(Evidence),
    /// The API accepted a credential.
    Accepted(Evidence),
    /// A request that tried the candidate brought no success, and one with the credential in use did.
    Doubted(Evidence),
    /// The program found that it cannot put this credential on a request.
    Unfit(Unfit),
    /// A push channel says that there is something newer.
    Hinted {
        /// The generation it speaks of, if it says.
        generation: Option<u64>,
        /// Whether the fleet is not to be spread this time.
        immediate: bool,
    },
    /// A push channel was silent for longer than its heartbeat.
    PushLost(Duration),
    /// The API itself says that a credential's time is coming, or has come.
    CredentialStatus {
        /// Which credential: one that the API was just shown.
        credential: CredentialId,
        /// What it says.
        status: CredentialStatus,
    },
    /// The program asks for a refresh.
    RefreshRequested,
    /// A request, or the program, waits for a fetch.
    Waited,
    /// A report reached the provider, or failed to.
    Reported(Result<(), Error>),
    /// The source takes no reports.
    ReportDeclined,
    /// Nobody needs the set any more.
    Closed,
}

/// What an API says of a credential beside its answer. It is a hint: only a set revokes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialStatus {
    /// It will not be accepted for much longer.
    Retiring {
        /// What is to be used instead, if the API says.
        successor: Option<CredentialId>,
    },
    /// It is not to be used any more.
    Revoked,
}

/// What an API said of one credential on one send.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// The credential.
    pub credential: CredentialId,
    /// The number of the send.
    pub sent: u64,
}

/// A credential that could not be put on a request. It is no matter of when: the same material will not
/// do the next time either.
#[derive(Clone, Debug)]
pub struct Unfit {
    /// The credential itself: another one may have taken its id meanwhile.
    pub credential: Arc<Credential>,
    /// Why. It quotes no material.
    pub why: Error,
    /// The number of the send that a signer could not sign: that may have been for what was to be sent, so
    /// it counts as the API's own rejection does. None if no request can carry the credential.
    pub sent: Option<u64>,
}

/// What to do. To be performed in order: snapshots are published before waiters are settled.
#[derive(Clone, Debug)]
pub enum Action {
    /// Begin a fetch under this ticket.
    StartFetch(u64),
    /// The fetch of this ticket took too long; whatever it still brings is ignored.
    AbandonFetch(u64),
    /// Show this to requests, and wake those that wait: it may be what they wait for.
    Publish(Arc<Snapshot>),
    /// Wake all who wait for a fetch: it ended, like this, or there is nothing to wait for.
    Settle(Result<(), Error>),
    /// Tell observers.
    Tell(Event),
    /// Tell the provider which credentials are in use. One is on its way at a time, but for the last one,
    /// whose lease is zero: it replaces what is on its way, and nobody waits for its outcome.
    Report(Report),
}

/// What a rotation has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Fetches that brought a new generation.
    pub changed: u64,
    /// Fetches that learnt that nothing changed.
    pub not_modified: u64,
    /// Fetches that failed.
    pub failed: u64,
    /// Fetches that a rejection forced.
    pub forced: u64,
    /// Rejections that counted as evidence.
    pub rejections: u64,
    /// Times an older credential was taken into use because the newer one was rejected.
    pub fallbacks: u64,
    /// Times the provider went back to an older credential.
    pub rollbacks: u64,
    /// When a fetch last worked, on the wall clock.
    pub last_success: Option<i64>,
}
