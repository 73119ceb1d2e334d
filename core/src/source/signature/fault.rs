//! What may be wrong with a signed answer, in words that quote nothing of it.

use std::fmt;

use jiff::Timestamp;

use crate::error::{Error, ErrorKind};

/// The rule that an answer broke.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::source) enum Fault {
    Unsigned,
    Unreadable,
    Digest,
    Validator,
    Uncovered,
    Algorithm,
    Forged,
    Undated,
    Nameless,
    Early { created: i64, now: i64 },
    Stale { created: i64, now: i64 },
    Old,
    Expired,
}

impl Fault {
    /// The error that an answer of this place becomes.
    pub(in crate::source) fn error(self, shown: &str) -> Error {
        Error::new(ErrorKind::SignatureInvalid, format!("{shown} answered with {self}"))
    }

    /// Of several signatures, the one that came furthest says best what is wrong.
    pub(super) fn max_by_depth(self, other: Self) -> Self {
        if self.depth() > other.depth() { self } else { other }
    }

    fn depth(self) -> u8 {
        match self {
            Self::Unsigned => 0,
            Self::Unreadable => 1,
            Self::Digest | Self::Validator => 2,
            Self::Uncovered => 3,
            Self::Algorithm => 4,
            Self::Forged => 5,
            Self::Undated => 6,
            Self::Nameless => 7,
            Self::Early { .. } | Self::Stale { .. } | Self::Old | Self::Expired => 8,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unsigned => "no signature, and one by the pinned key is needed: have the provider sign its answers, or leave out the option `signed_by`",
            Self::Unreadable => "a signature that cannot be read (RFC 9421)",
            Self::Digest => "no SHA-256 Content-Digest that matches the body (RFC 9530)",
            Self::Validator => "a 304 whose ETag is not the one that was asked with",
            Self::Uncovered => "a signature that does not cover what it must, or covers what cannot be checked: @status with content-digest, or with etag for a 304",
            Self::Algorithm => "a signature of another algorithm than ed25519",
            Self::Forged => "a signature that does not hold for the pinned key: check the key of the option `signed_by`",
            Self::Undated => "a signature without the time of its creation",
            Self::Nameless => "a signed 304 that does not name this set as its `tag`: it is asked without a condition from now on, or it was another set's",
            Self::Early { created, now } => {
                return write!(
                    f,
                    "a signature made at {}, when this machine's clock shows {}: one of the two clocks is wrong",
                    time(*created),
                    time(*now)
                );
            }
            Self::Stale { created, now } => {
                return write!(
                    f,
                    "a signature made at {}, too long before {}, which this machine's clock shows: one of the two clocks is wrong, or an earlier answer is played again",
                    time(*created),
                    time(*now)
                );
            }
            Self::Old => "an old signature, as if an earlier answer were played again",
            Self::Expired => "a signature that has expired: check this machine's clock",
        })
    }
}

fn time(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| "no time at all".into(), |at| at.to_string())
}
