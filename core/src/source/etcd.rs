//! Keys in etcd.

mod answer;
mod cluster;
mod watching;

use std::{fmt, path::PathBuf};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use self::{
    answer::{Kept, Moment, range, seconds_left},
    cluster::{Cluster, Password},
    watching::{Watching, base64},
};
use super::{
    BoxFuture, Fetched, Hints, Source, Terms,
    material::{MaterialPointers, material_options, set_of},
    store_client::{Answer, certificate_options, connection_options},
};
use crate::{
    clock::Clock,
    credential::{Credential, CredentialSet},
    error::{Error, ErrorKind},
    secret::Secret,
};

/// How far two readings of a lease may lie apart: it is counted in whole seconds, and on the way time passes.
const LEASE_TOLERANCE: SignedDuration = SignedDuration::from_secs(2);

/// One key of etcd 3.4 or newer, whose value is a credential: the key itself as text, or a JSON object with its pieces.
///
/// It is asked over the JSON gateway, which etcd serves on the port of its clients. A change is heard of by a watch and
/// is in use a few milliseconds later. The value before is the fallback, as long as etcd remembers it; a write that
/// changes the lease alone, or writes the same value again, is no rotation.
///
/// ```
/// use keyswap::source::etcd;
/// let keys = etcd::Key::new(
///     ["https://etcd-1.example.com:2379", "https://etcd-2.example.com:2379"],
///     "/keys/trading",
/// )?
/// .user("bot")
/// .password_file("/run/secrets/etcd-password");
/// # Ok::<(), keyswap::Error>(())
/// ```
///
/// | | |
/// | --- | --- |
/// | permission | a role with `READ` on this key: `etcdctl role grant-permission ROLE read /keys/trading` |
/// | rotated by | `etcdctl put /keys/trading ...`: pieces that belong together are one value, and so change at once |
/// | calls | a poll is one; a rotation two (with [`expires_with_lease`](Self::expires_with_lease) one more each); a watch each 50 s; a log-in when a token ended |
/// | fallback | the value before, read at the revision before; if that was compacted, the last key that the API accepted |
/// | id and version | the revision at which the value was written (`mod_revision`) |
///
/// Endpoints are members of one cluster: one that does not answer is passed over within the fetch. Clones, for other
/// handles, share the log-in.
///
/// # Errors of a fetch
/// What is held stays in use with each of them.
///
/// | kind | what happened | what to do |
/// | --- | --- | --- |
/// | [`UnknownSet`](ErrorKind::UnknownSet) | there is no such key, or it was deleted | write it, or correct its name |
/// | [`BootstrapRejected`](ErrorKind::BootstrapRejected) | the user or the password is another one, or is missing | pass the right one; a [`password_file`](Self::password_file) is read again |
/// | [`Forbidden`](ErrorKind::Forbidden) | the user may not read the key | grant a role |
/// | [`Throttled`](ErrorKind::Throttled) | etcd has too many requests | nothing: it is asked again |
/// | [`Unavailable`](ErrorKind::Unavailable), [`Timeout`](ErrorKind::Timeout) | no endpoint answers, or the cluster has no leader | nothing: it is asked again |
/// | [`Malformed`](ErrorKind::Malformed) | the value is no key, or this is no etcd | correct the value, a pointer or the URL |
/// | [`InvalidConfig`](ErrorKind::InvalidConfig) | a pointer that is none, or a user without a password: the handle does not start | correct it |
#[must_use = "a source does nothing until it is followed"]
pub struct Key {
    client: Cluster,
    pointers: MaterialPointers,
    name: Box<str>,
    with_lease: bool,
    /// Where the last fetch was, for the watch.
    seen: watch::Sender<Option<Moment>>,
}

impl Key {
    /// The key of this name. All endpoints are members of one cluster, and each is a URL such as
    /// `https://etcd-1.example.com:2379`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] if there is no endpoint, or more than 16, or one is not an `http` or `https` URL, or
    /// if the name is empty.
    pub fn new<S: AsRef<str>>(
        endpoints: impl IntoIterator<Item = S>,
        name: &str,
    ) -> Result<Self, Error> {
        if name.is_empty() {
            return Err(Error::new(ErrorKind::InvalidConfig, "a key of etcd has a name"));
        }
        Ok(Self {
            client: Cluster::at(endpoints)?,
            pointers: MaterialPointers::default(),
            name: name.into(),
            with_lease: false,
            seen: watch::Sender::new(None),
        })
    }

    /// Logs in as this user, which needs a password as well.
    pub fn user(mut self, name: &str) -> Self {
        self.client.user = Some(name.into());
        self
    }

    /// Logs in with this password.
    pub fn password(mut self, password: impl Into<Secret>) -> Self {
        self.client.password = Some(Password::Given(password.into()));
        self
    }

    /// Logs in with the password in this file, which is read for each log-in: after a change, none needs a restart.
    pub fn password_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.client.password = Some(Password::file(path.into()));
        self
    }

    /// The credential ends when the lease of the key does, unless that is renewed. For a writer that makes keys which
    /// really end then; without this a lease only says until when etcd keeps the key.
    pub fn expires_with_lease(mut self) -> Self {
        self.with_lease = true;
        self
    }

    material_options!();
    connection_options!();
    certificate_options!();

    // ---- inside ----

    async fn fetch_once(&self, known: Option<&CredentialSet>) -> Result<Fetched, Error> {
        self.check()?;
        let end = self.client.end();
        let (moment, kept, answer) = self.read(None, end).await?.ok_or_else(|| self.odd())?;
        let validator = kept.as_ref().map(|kept| validator(&moment, kept));
        self.seen.send_replace(Some(moment));
        let (Some(kept), Some(validator)) = (kept, validator) else {
            let what = format!(
                "etcd at {} has no key {:?}: it was deleted or never written",
                self.client.origin(),
                self.name
            );
            return Err(Error::new(ErrorKind::UnknownSet, what));
        };
        let expires_at = self.expiry(&kept, &answer, end).await?;
        let is_known = known.is_some_and(|known| {
            let held = known.primary().and_then(Credential::expires_at);
            known.validator() == Some(&*validator) && is_same_end(held, expires_at)
        });
        if is_known {
            return Ok(Fetched::NotModified);
        }
        let newest = self.credential(&kept)?;
        let newest = match expires_at {
            Some(end) => newest.with_expires_at(end),
            None => newest,
        };
        let (previous, is_whole) = self.previous(&kept, end).await;
        let mut set = set_of([newest].into_iter().chain(previous))
            .map_err(|error| self.told(&error, "holds what is no key"))?;
        set.as_of = answer.head.date;
        // What could not be read may be there next time.
        Ok(Fetched::Set(if is_whole { set.with_validator(&validator) } else { set }))
    }

    /// The key as it stands, or as it stood. None if that is forgotten.
    async fn read(
        &self,
        revision: Option<u64>,
        end: u64,
    ) -> Result<Option<(Moment, Option<Kept>, Answer)>, Error> {
        let key = base64(&self.name);
        let revision = revision.map_or_else(String::new, |it| format!(r#","revision":"{it}""#));
        let body = format!(r#"{{"key":"{key}"{revision}}}"#);
        let what = format!("to read {:?}", self.name);
        let asked = self.client.ask(&["kv", "range"], body.as_bytes(), end, &what).await?;
        let Some((value, answer)) = asked else { return Ok(None) };
        let (moment, kept) = range(&value, &key).ok_or_else(|| self.odd())?;
        Ok(Some((moment, kept, answer)))
    }

    /// What stood there before, and whether that is all that there is to know. History does not change, so the two are
    /// one state however much later this is read.
    async fn previous(&self, newest: &Kept, end: u64) -> (Option<Credential>, bool) {
        // A key that has just been made had been deleted before, if it ever was.
        if newest.created == newest.modified {
            return (None, true);
        }
        match self.read(Some(newest.modified - 1), end).await {
            // What was no key then is none now.
            Ok(Some((_, Some(kept), _))) => (self.credential(&kept).ok(), true),
            Ok(_) => (None, true),
            Err(error) => {
                tracing::debug!(target: "keyswap", code = error.code(), "no previous key: {error}");
                (None, false)
            }
        }
    }

    fn credential(&self, kept: &Kept) -> Result<Credential, Error> {
        let id = kept.modified.to_string();
        let text = std::str::from_utf8(&kept.value).map_err(|_| {
            self.told(&Error::new(ErrorKind::Malformed, "it is not UTF-8"), "holds what is no key")
        })?;
        let credential = self.pointers.in_text(&id, text);
        let credential = credential.map_err(|error| self.told(&error, "holds what is no key"))?;
        Ok(credential.with_version(&id))
    }

    /// When the lease ends, if the credential ends with it.
    async fn expiry(
        &self,
        kept: &Kept,
        answer: &Answer,
        end: u64,
    ) -> Result<Option<Timestamp>, Error> {
        if !self.with_lease || kept.lease == 0 {
            return Ok(None);
        }
        let body = format!(r#"{{"ID":"{}"}}"#, kept.lease.cast_signed());
        let what = format!("to ask for the lease of {:?}", self.name);
        let asked = self.client.ask(&["lease", "timetolive"], body.as_bytes(), end, &what).await?;
        let left = asked.and_then(|(value, _)| seconds_left(&value)).ok_or_else(|| self.odd())?;
        let now = || Timestamp::from_millisecond(Clock::system().now().wall).unwrap_or_default();
        let left = SignedDuration::from_secs(i64::try_from(left).unwrap_or(i64::MAX));
        Ok(answer.head.date.unwrap_or_else(now).checked_add(left).ok())
    }

    fn told(&self, error: &Error, what: &str) -> Error {
        let origin = self.client.origin();
        Error::new(error.kind(), format!("{:?} in etcd at {origin} {what}: {error}", self.name))
    }

    fn odd(&self) -> Error {
        let what = format!(
            "{} answered with what is no answer of etcd's: check the URL",
            self.client.origin()
        );
        Error::new(ErrorKind::Malformed, what)
    }

    fn check(&self) -> Result<(), Error> {
        self.pointers.check()?;
        self.client.check()
    }
}

/// What says that nothing changed. A number of its own counts for each cluster, and another one may be restored.
fn validator(moment: &Moment, kept: &Kept) -> String {
    format!("{:x}-{}-{}", moment.cluster, kept.created, kept.modified)
}

fn is_same_end(held: Option<Timestamp>, read: Option<Timestamp>) -> bool {
    match (held, read) {
        (Some(held), Some(read)) => held.duration_since(read).abs() <= LEASE_TOLERANCE,
        (held, read) => held == read,
    }
}

impl Source for Key {
    fn fetch<'a>(
        &'a self,
        known: Option<&'a CredentialSet>,
    ) -> BoxFuture<'a, Result<Fetched, Error>> {
        Box::pin(self.fetch_once(known))
    }

    fn begin(&self, terms: &Terms) -> Result<(), Error> {
        self.pointers.check()?;
        self.client.begin(terms)
    }

    fn watch(&self, hints: Hints) -> Option<BoxFuture<'static, ()>> {
        let watching = Watching {
            cluster: self.client.clone(),
            key: base64(&self.name),
            seen: self.seen.subscribe(),
        };
        Some(watching.follow(hints))
    }
}

/// Clones share the log-in, and nothing of what they saw: each is for a handle of its own.
impl Clone for Key {
    fn clone(&self) -> Self {
        Self {
            client: self.client.clone(),
            pointers: self.pointers.clone(),
            name: self.name.clone(),
            with_lease: self.with_lease,
            seen: watch::Sender::new(None),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("endpoints", &self.client)
            .field("name", &self.name)
            .field("user", &self.client.user)
            .finish_non_exhaustive()
    }
}
