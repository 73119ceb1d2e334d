//! Errors of the endpoint, as RFC 9457 problem details.

use bytes::Bytes;
use serde_json::json;

/// The media type of a problem.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// What a problem is called, and its usual status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    BadRequest,
    BootstrapInvalid,
    Forbidden,
    UnknownSet,
    UnknownCredential,
    RotationInProgress,
    SetRevoked,
    RateLimited,
    Unavailable,
}

impl Problem {
    /// The problem that a bare status stands for.
    pub(crate) fn of(status: u16) -> Self {
        match status {
            401 => Self::BootstrapInvalid,
            403 => Self::Forbidden,
            404 => Self::UnknownSet,
            409 => Self::RotationInProgress,
            429 => Self::RateLimited,
            500..600 => Self::Unavailable,
            // A bare 410 too: only a real revocation may carry the type that empties a client.
            _ => Self::BadRequest,
        }
    }

    pub(crate) fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::BootstrapInvalid => 401,
            Self::Forbidden => 403,
            Self::UnknownSet | Self::UnknownCredential => 404,
            Self::RotationInProgress => 409,
            Self::SetRevoked => 410,
            Self::RateLimited => 429,
            Self::Unavailable => 503,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::BadRequest => "bad-request",
            Self::BootstrapInvalid => "bootstrap-invalid",
            Self::Forbidden => "forbidden",
            Self::UnknownSet => "unknown-set",
            Self::UnknownCredential => "unknown-credential",
            Self::RotationInProgress => "rotation-in-progress",
            Self::SetRevoked => "set-revoked",
            Self::RateLimited => "rate-limited",
            Self::Unavailable => "unavailable",
        }
    }

    /// The body that says that this set is gone. It names the set: one that could mean any set would empty
    /// a client of another one.
    pub(crate) fn revoked(set: &str) -> Bytes {
        let body = json!({
            "type": "urn:keyswap:error:set-revoked",
            "title": "set revoked",
            "status": 410,
            "detail": "every credential of this set is revoked",
            "set": set,
        });
        Bytes::from(body.to_string())
    }

    /// The body, with another status than the usual one if need be.
    pub(crate) fn body(self, status: u16, detail: &str) -> Bytes {
        let name = self.name();
        let body = json!({
            "type": format!("urn:keyswap:error:{name}"),
            "title": name.replace('-', " "),
            "status": status,
            "detail": detail,
        });
        Bytes::from(body.to_string())
    }
}
