//! Keys of another handle, with which a source logs in.
//!
//! What is lent is chosen and judged by the very rules by which requests go through a rotation, so a log-in lives
//! through one as a request does: the key in use, then the others that are usable, then what a forced fetch brings.
//! This is the door to them. The handle stands above the sources, and brings what is behind it: `crate::lend`.

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderMap, StatusCode};
use url::Url;

use super::BoxFuture;
use crate::{
    credential::Credential,
    error::{Error, ErrorKind},
};

/// The keys of a [`KeySwap`](crate::KeySwap), lent to a source that logs in with them: it is made of a reference to one.
///
/// Each log-in goes through a rotation as a request does. It is made with the key in use; one that is rejected is
/// reported to that handle, which fetches at once, and the log-in is repeated with the next key that it has, up to
/// four times in all. Acceptances are reported as well, so a new key is tried by one log-in before all others use it.
/// The handle lives as long as what follows the source.
#[derive(Clone)]
pub struct LentKeys(Arc<dyn Lender>);

/// What lends.
pub(crate) trait Lender: fmt::Debug + Send + Sync {
    /// A log-in begins.
    fn lend(&self, log_in: &LogIn<'_>) -> Result<Box<dyn Loan>, Error>;

    /// Waits until another primary key is held than the one of this id.
    fn changed(&self, from: Option<Arc<str>>) -> BoxFuture<'static, ()>;

    /// The id of the primary key.
    fn newest(&self) -> Option<Arc<str>>;
}

/// A log-in that is about to be made.
pub(crate) struct LogIn<'a> {
    /// Where it goes, and whether that may be plain HTTP to another machine.
    pub(crate) url: &'a Url,
    pub(crate) plain_http: bool,
    /// How long it may take altogether.
    pub(crate) time: Duration,
    /// The material that is shown: the first of these names that a key has.
    pub(crate) pieces: &'static [&'static str],
}

/// One log-in on its way. Dropping it, at any time, is fine.
pub(crate) trait Loan: Send {
    /// The key to log in with next: none if the last answer is the answer.
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Arc<Credential>>, Error>>;

    /// What the log-in was answered, and what that says of the key where its head does not tell.
    fn answered(&mut self, status: StatusCode, headers: &HeaderMap, reply: Option<Reply>);

    /// The key cannot be shown, for this reason: that counts as a rejection of it.
    fn unfit(&mut self, why: Error);
}

/// What an answer says of the key that was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Accepted,
    Rejected,
    /// Nothing.
    Other,
}

impl LentKeys {
    pub(crate) fn new(lender: impl Lender + 'static) -> Self {
        Self(Arc::new(lender))
    }

    pub(super) fn lend(&self, log_in: &LogIn<'_>) -> Result<Box<dyn Loan>, Error> {
        self.0.lend(log_in)
    }

    #[cfg(feature = "oauth2")]
    pub(super) fn newest(&self) -> Option<Arc<str>> {
        self.0.newest()
    }

    #[cfg(feature = "oauth2")]
    pub(super) fn changed(&self, from: Option<Arc<str>>) -> BoxFuture<'static, ()> {
        self.0.changed(from)
    }
}

/// Which key it has now, and nothing of it.
impl fmt::Debug for LentKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The error of a log-in for which there is no key. Of the kinds of the other handle, hardly one is true of this: that a
/// set was revoked, say, is about another set.
pub(super) fn nothing_lent(error: &Error) -> Error {
    let kind = match error.kind() {
        kind @ (ErrorKind::InsecureUrl | ErrorKind::OriginNotAllowed) => kind,
        _ if error.is_transient() => ErrorKind::Unavailable,
        _ => ErrorKind::SourceFailed,
    };
    Error::new(kind, format!("there is no key to log in with: {error}"))
}
