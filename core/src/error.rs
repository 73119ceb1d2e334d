//! One opaque, cloneable error for the whole crate.
//!
//! Callers branch on [`Error::kind`]; people read its `Display`, which says what happened and what to
//! do. Neither can hold key material: an error is made from sentences of this crate, from ids, and from
//! URLs that were stripped of their query and user information.

use std::{fmt, sync::Arc, time::Duration};

/// Anything that went wrong. Cheap to clone, so that all waiters of one fetch can share it.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct Inner {
    kind: ErrorKind,
    message: String,
    status: Option<u16>,
    retry_after: Option<Duration>,
}

/// What kind of thing went wrong, and so what to do about it.
///
/// Each kind has a stable [code](ErrorKind::code), the same in every language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The endpoint rejected the bootstrap credential (401). Set `KEYSWAP_BOOTSTRAP`, or pass another
    /// one to the source. The set that is held stays in use, and the fetch is tried again slowly.
    BootstrapRejected,
    /// The endpoint refused this identity (403). Check what the bootstrap credential may read.
    Forbidden,
    /// The endpoint does not know the set (404). Check the last part of the URL.
    UnknownSet,
    /// The provider revoked the whole set: nothing may be used until it publishes a new generation.
    SetRevoked,
    /// The source could not be reached, or said that it cannot answer now. It is tried again by itself.
    Unavailable,
    /// The source asked for fewer requests (429). It is tried again when it said.
    Throttled,
    /// The source took longer than the fetch timeout, or a request longer than its deadline.
    Timeout,
    /// The source answered with something that is not a well-formed set. The provider must mend it; the
    /// set that is held stays in use.
    Malformed,
    /// The answer has a lower generation than the set that is held. A rollback is a new generation.
    OlderGeneration,
    /// The answer is not signed by the key that the program pinned, or the signature does not hold. Check
    /// the pinned key; the set that is held stays in use.
    SignatureInvalid,
    /// The program's own source failed, or returned nothing of use. The set that is held stays in use.
    SourceFailed,
    /// Every credential of the set that is held has ended, and no newer one could be fetched.
    Expired,
    /// No set has been fetched yet. Wait for [`KeySwap::ready`](crate::KeySwap::ready).
    NotReady,
    /// The handle was closed.
    Closed,
    /// The request goes to an origin that is not allowed. Add it to the allowed origins if the API's keys
    /// may go there.
    OriginNotAllowed,
    /// The URL is plain `http://` to a host that is not this machine. Use `https://`.
    InsecureUrl,
    /// Something that the program configured is not valid: a URL, a header name, a policy.
    InvalidConfig,
    /// The request needs scopes that the set does not have.
    MissingScope,
    /// The credential cannot be put on the request: the set lacks material that the scheme needs, or
    /// names a scheme that this program does not know.
    SchemeFailed,
    /// The API could not be reached, or the connection broke.
    Transport,
    /// The API answered with an error status, and the program asked for that to be an error.
    Status,
    /// The response's body could not be read or decoded.
    Body,
}

impl ErrorKind {
    /// Every kind, in the order of the glossary.
    pub const ALL: &'static [ErrorKind] = &[
        Self::BootstrapRejected,
        Self::Forbidden,
        Self::UnknownSet,
        Self::SetRevoked,
        Self::Unavailable,
        Self::Throttled,
        Self::Timeout,
        Self::Malformed,
        Self::OlderGeneration,
        Self::SignatureInvalid,
        Self::SourceFailed,
        Self::Expired,
        Self::NotReady,
        Self::Closed,
        Self::OriginNotAllowed,
        Self::InsecureUrl,
        Self::InvalidConfig,
        Self::MissingScope,
        Self::SchemeFailed,
        Self::Transport,
        Self::Status,
        Self::Body,
    ];

    /// The stable name of this kind, the same in every language.
    ///
    /// ```
    /// assert_eq!(keyswap::ErrorKind::SetRevoked.code(), "set_revoked");
    /// ```
    pub const fn code(self) -> &'static str {
        self.entry().0
    }

    const fn prospect(self) -> Prospect {
        self.entry().1
    }

    /// The one table of kinds: the code of each, and what trying again may bring.
    const fn entry(self) -> (&'static str, Prospect) {
        use Prospect::*;
        match self {
            Self::BootstrapRejected => ("bootstrap_rejected", Lasting),
            Self::Forbidden => ("forbidden", Lasting),
            Self::UnknownSet => ("unknown_set", Lasting),
            Self::SetRevoked => ("set_revoked", Lasting),
            Self::Unavailable => ("unavailable", Transient),
            Self::Throttled => ("throttled", Transient),
            Self::Timeout => ("timeout", Transient),
            Self::Malformed => ("malformed", Open),
            Self::OlderGeneration => ("older_generation", Lasting),
            Self::SignatureInvalid => ("signature_invalid", Lasting),
            Self::SourceFailed => ("source_failed", Open),
            Self::Expired => ("expired", Open),
            Self::NotReady => ("not_ready", Transient),
            Self::Closed => ("closed", Open),
            Self::OriginNotAllowed => ("origin_not_allowed", Configuration),
            Self::InsecureUrl => ("insecure_url", Configuration),
            Self::InvalidConfig => ("invalid_config", Configuration),
            Self::MissingScope => ("missing_scope", Open),
            Self::SchemeFailed => ("scheme_failed", Open),
            Self::Transport => ("transport", Transient),
            Self::Status => ("status", Open),
            Self::Body => ("body", Open),
        }
    }
}

/// What trying again may bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Prospect {
    /// It may work a little later, with nothing changed by anybody.
    Transient,
    /// It will not, until the provider or the operator changes something.
    Lasting,
    /// It will not, until the program is changed.
    Configuration,
    /// The kind alone does not tell.
    Open,
}

impl Error {
    /// An error of this kind. For implementors of [`Source`](crate::Source) and the other traits; the
    /// message must not hold key material.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner { kind, message: message.into(), status: None, retry_after: None }))
    }

    /// The same error, with the HTTP status that caused it.
    pub fn with_status(self, status: u16) -> Self {
        self.change(|inner| inner.status = Some(status))
    }

    /// The same error, with the time the source asked to be left alone.
    pub fn with_retry_after(self, wait: Duration) -> Self {
        self.change(|inner| inner.retry_after = Some(wait))
    }

    /// What kind of thing went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The stable name of the kind, the same in every language.
    pub fn code(&self) -> &'static str {
        self.0.kind.code()
    }

    /// The HTTP status that caused it, where there was one.
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// How long the source asked to be left alone, where it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Whether the same may work a little later, with nothing changed by anybody: what was asked could not be
    /// reached, was too slow, wanted fewer requests, or is not there yet.
    ///
    /// ```
    /// use keyswap::{Error, ErrorKind};
    /// let error = Error::new(ErrorKind::Unavailable, "the vault is sealed");
    /// assert!(error.is_transient() && !error.is_lasting());
    /// ```
    pub fn is_transient(&self) -> bool {
        self.kind().prospect() == Prospect::Transient && !self.is_lasting()
    }

    /// Whether trying again soon is unlikely to help, because somebody has to change something first. A fetch
    /// that fails so is tried again slowly, and for ever. A source that does not understand the question (400)
    /// will not understand it in a second either.
    ///
    /// An error may be neither this nor [transient](Self::is_transient): a malformed answer, say.
    pub fn is_lasting(&self) -> bool {
        self.is_configuration()
            || self.kind().prospect() == Prospect::Lasting
            || self.status() == Some(400)
    }

    /// Whether it is the program that has to be changed: a setting that is not valid, or a URL that its keys
    /// must not go to. It is [lasting](Self::is_lasting), too.
    pub fn is_configuration(&self) -> bool {
        self.kind().prospect() == Prospect::Configuration
    }

    /// The same error, with more at the end of its text.
    pub(crate) fn with_remark(self, remark: &str) -> Self {
        self.change(|inner| inner.message += remark)
    }

    fn change(self, edit: impl FnOnce(&mut Inner)) -> Self {
        let mut inner = Inner {
            kind: self.0.kind,
            message: self.0.message.clone(),
            status: self.0.status,
            retry_after: self.0.retry_after,
        };
        edit(&mut inner);
        Self(Arc::new(inner))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("code", &self.code())
            .field("message", &self.0.message)
            .finish_non_exhaustive()
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_complete() {
        let mut codes: Vec<_> = ErrorKind::ALL.iter().map(|kind| kind.code()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), ErrorKind::ALL.len());
        // `Body` is declared last: a kind that is missing from `ALL` makes the two counts differ.
        assert_eq!(ErrorKind::ALL.len(), ErrorKind::Body as usize + 1);
    }

    #[test]
    fn no_error_is_both_transient_and_lasting() {
        let mut counts = (0, 0, 0);
        for kind in ErrorKind::ALL {
            let error = Error::new(*kind, "x");
            let (transient, lasting) = (error.is_transient(), error.is_lasting());
            assert!(!(transient && lasting), "{kind:?}");
            assert!(lasting || !error.is_configuration(), "{kind:?}");
            counts.0 += u32::from(transient);
            counts.1 += u32::from(lasting);
            counts.2 += u32::from(error.is_configuration());
        }
        assert_eq!(counts, (5, 9, 3));
        let misunderstood = Error::new(ErrorKind::Unavailable, "x").with_status(400);
        assert!(misunderstood.is_lasting() && !misunderstood.is_transient());
    }
}
