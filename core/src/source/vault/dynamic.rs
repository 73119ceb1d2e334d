//! Accounts that the server makes, for as long as their lease.
//!
//! # Theory of operation
//!
//! Each fetch before the end of a lease renews it, and answers with the same credential and its new end. A lease that
//! the server cuts short, because its maximum is near, or cannot renew, gets a successor, and stays beside that until
//! its own end. A lease also ends with the token that made it: so no end is later than that token's, and after a new
//! log-in there is a new credential.
//!
//! A credential that the API rejected is not renewed.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use super::{
    Vault,
    answer::{data_of, seconds, text, time_of},
    parts,
    session::{Token, lock},
};
use crate::{
    clock::Clock,
    credential::{Credential, CredentialSet, is_valid_id},
    error::{Error, ErrorKind},
    moment::Moment,
    source::{
        BoxFuture, Fetched, Source, Terms, material::MaterialPointers, store_client::Answer,
        wire::Value,
    },
};

/// The most leases that are kept in mind: one for each handle that shares the source, and the one before.
const MOST_LEASES: usize = 8;

/// An account that the server makes and removes, of [`Vault::dynamic`]: of a database, a cloud, or whatever its engine
/// makes. What the engine calls its pieces is what they are called here, such as `username` and `password`.
///
/// It [mints](Source::mints). A lease is renewed when two thirds of its life have gone; near its `max_ttl`, or where it
/// cannot be renewed, a new account is made, and the one before is the fallback until its lease ends. One that the API
/// rejects is not renewed: there is a new one at once.
///
/// | | |
/// | --- | --- |
/// | policy | `read` on `database/creds/app`; `update` on `sys/leases/renew`, which the policy `default` has, and on `sys/leases/revoke` for [`revoke_on_shutdown`](Self::revoke_on_shutdown) |
/// | calls | one each two thirds of a lease, and one more near its maximum |
/// | errors | those of a [`Vault`] |
///
/// A lease ends with the token that made it, so the token's life matters too: give the role of the log-in a
/// `token_ttl` that is not shorter than the lease's.
#[must_use = "a source does nothing until it is followed"]
pub struct Dynamic(Arc<Parts>);

struct Parts {
    vault: Vault,
    path: String,
    pointers: MaterialPointers,
    revokes: bool,
    /// The newest first.
    leases: Mutex<Vec<Lease>>,
    digest: RandomState,
}

#[derive(Clone)]
struct Lease {
    /// None for what the server gave without a lease.
    id: Option<Box<str>>,
    credential: Credential,
    token: Arc<Token>,
    /// How long it lived when it was made.
    first: Option<Duration>,
    ends: Option<Moment>,
    /// A child of a fork may renew it, and not end it.
    process: u32,
}

/// What became of a lease that was to be renewed.
enum Renewal {
    Done(Answer),
    /// It lives on, and a successor is wanted.
    Last,
    Gone,
}

impl Lease {
    fn name(&self) -> &str {
        self.credential.id()
    }

    /// How long it will live: not longer than the token that made it.
    fn left(&self) -> Option<Duration> {
        let own = self.ends.map(|ends| ends.remaining(Clock::system().now()));
        [own, self.token.left()].into_iter().flatten().min()
    }

    fn has_ended(&self) -> bool {
        self.left().is_some_and(|left| left.is_zero())
    }

    fn timed(&self, at: Timestamp) -> Credential {
        let left = self.left().and_then(|left| SignedDuration::try_from(left).ok());
        let ends = left.and_then(|left| at.checked_add(left).ok());
        let credential = self.credential.clone();
        match ends {
            Some(ends) => credential.with_expires_at(ends),
            None => credential,
        }
    }
}

impl Dynamic {
    pub(super) fn new(mut vault: Vault, path: &str) -> Self {
        if parts(path).is_none() {
            vault.faulty("what dynamic was given is no path, such as database/creds/app");
        }
        Self(Arc::new(Parts {
            vault,
            path: parts(path).unwrap_or_default(),
            pointers: MaterialPointers::default(),
            revokes: false,
            leases: Mutex::default(),
            digest: RandomState::new(),
        }))
    }

    /// A JSON pointer (RFC 6901) to the key in what is made, such as `/security_token`. Without any pointer, each member
    /// that is a string is a piece of material of that name; the only one is the key, whatever its name.
    pub fn key(self, pointer: &str) -> Self {
        self.pointing("key", pointer)
    }

    /// A JSON pointer to the second piece of material, named `secret`.
    pub fn secret(self, pointer: &str) -> Self {
        self.pointing("secret", pointer)
    }

    /// A JSON pointer to the third piece of material, named `passphrase`.
    pub fn passphrase(self, pointer: &str) -> Self {
        self.pointing("passphrase", pointer)
    }

    /// Revokes the leases when the handle is closed or dropped, so that the accounts are removed at once and not at
    /// their end. A program waits for that with [`shutdown`](crate::KeySwap::shutdown), a second at most; one that ends
    /// without it leaves the leases to their end. What a handle held when the process was forked is the parent's, and
    /// left alone by the child.
    pub fn revoke_on_shutdown(mut self) -> Self {
        if let Some(parts) = Arc::get_mut(&mut self.0) {
            parts.revokes = true;
        }
        self
    }

    fn pointing(mut self, name: &'static str, pointer: &str) -> Self {
        // Nobody else has it before it is followed.
        if let Some(parts) = Arc::get_mut(&mut self.0) {
            parts.pointers.point(name, pointer);
        }
        self
    }
}

impl Parts {
    async fn fetch(&self, known: Option<&CredentialSet>) -> Result<Fetched, Error> {
        // Looked at first: it renews the token, and a lease cannot outlive that.
        let token = self.vault.session.token(&self.vault).await?;
        let confirmed = known.and_then(CredentialSet::validator).and_then(|it| self.lease(it));
        if let Some(lease) = &confirmed {
            match self.renew(lease, &token).await? {
                Renewal::Done(answer) => return self.answer(lease.name(), known, &answer),
                Renewal::Last => {}
                Renewal::Gone => self.forget(lease.name()),
            }
        }
        let (name, answer) = self.make().await?;
        self.answer(&name, known, &answer)
    }

    /// Renews a lease, if that gives it a life worth having.
    async fn renew(&self, lease: &Lease, token: &Token) -> Result<Renewal, Error> {
        let (Some(id), Some(first)) = (&lease.id, lease.first) else { return Ok(Renewal::Last) };
        if token.number != lease.token.number {
            return Ok(Renewal::Last);
        }
        let body = serde_json::json!({ "lease_id": id, "increment": first.as_secs() }).to_string();
        let (answer, _) =
            self.vault.ask(&self.vault.post("sys/leases/renew", body.as_bytes())).await?;
        match answer.status.as_u16() {
            200 => {}
            400 | 404 => return Ok(Renewal::Gone),
            // It may not renew: then each lease has its one life.
            403 => return Ok(Renewal::Last),
            _ => return Err(self.vault.refusal(&answer, "sys/leases/renew")),
        }
        let granted = seconds(&self.vault.value(&answer)?, "/lease_duration").unwrap_or_default();
        let ends = Clock::system().now() + granted;
        let mut leases = lock(&self.leases);
        let Some(held) = leases.iter_mut().find(|held| held.name() == lease.name()) else {
            return Ok(Renewal::Gone);
        };
        held.ends = Some(ends);
        match granted * 3 >= first * 2 {
            true => Ok(Renewal::Done(answer)),
            false => Ok(Renewal::Last),
        }
    }

    /// Has a new credential made. Its name.
    async fn make(&self) -> Result<(String, Answer), Error> {
        let (answer, token) = self.vault.ask(&self.vault.get(&self.path)).await?;
        if answer.status != 200 {
            return Err(self.vault.refusal(&answer, &self.path));
        }
        let value = self.vault.value(&answer)?;
        let id: Option<Box<str>> = text(&value, "/lease_id").map(Into::into);
        let first = seconds(&value, "/lease_duration");
        let name = self.name(id.as_deref(), &answer.body);
        let credential = self.credential(&name, value)?.with_created_at(time_of(&answer));
        let ends = first.map(|first| Clock::system().now() + first);
        let process = std::process::id();
        let lease = Lease { id, credential, token, first, ends, process };
        let mut leases = lock(&self.leases);
        leases.retain(|lease| !lease.has_ended());
        leases.insert(0, lease);
        leases.truncate(MOST_LEASES);
        Ok((name, answer))
    }

    /// The last part of a lease's name, which is no secret, or a digest that says only whether it is another one.
    fn name(&self, lease: Option<&str>, answer: &[u8]) -> String {
        let last = lease.and_then(|lease| lease.rsplit('/').next());
        match last.filter(|last| is_valid_id(last)) {
            Some(last) => last.to_owned(),
            None => format!("lease-{:016x}", self.digest.hash_one(answer)),
        }
    }

    fn credential(&self, name: &str, value: Value) -> Result<Credential, Error> {
        let fault = |what: &str| {
            self.vault.malformed(&format!("made what is no credential for {}: {what}", self.path))
        };
        let data = data_of(value, &["ttl"]).ok_or_else(|| fault("it is empty"))?;
        self.pointers.in_value(name, &data).map_err(|error| fault(&error.to_string()))
    }

    fn answer(
        &self,
        name: &str,
        known: Option<&CredentialSet>,
        answer: &Answer,
    ) -> Result<Fetched, Error> {
        let at = time_of(answer);
        let lease = self.lease(name).ok_or_else(|| {
            let what = format!("{} gave a lease that has ended already", self.path);
            Error::new(ErrorKind::Malformed, what)
        })?;
        let mut set = CredentialSet::new(lease.timed(at)).with_validator(name);
        set.as_of = answer.head.date;
        let wait = lease.left().and_then(|left| SignedDuration::try_from(left * 2 / 3).ok());
        set.refresh_after = wait.and_then(|wait| at.checked_add(wait).ok());
        let before =
            known.into_iter().flat_map(|known| known.primary().into_iter().chain(known.previous()));
        if let Some(prior) = before.filter(|it| it.id() != name).find_map(|it| self.lease(it.id()))
        {
            let prior = prior.timed(at);
            // Its end is its lease's, and not that of keys of which nobody knows when they end.
            set = match prior.expires_at() {
                Some(ends) => set.with_previous(prior.with_grace_expires_at(ends)),
                None => set.with_previous(prior),
            };
        }
        set.check().map_err(|error| self.vault.malformed(&error.to_string()))?;
        Ok(Fetched::Set(set))
    }

    fn lease(&self, name: &str) -> Option<Lease> {
        let leases = lock(&self.leases);
        leases.iter().find(|lease| lease.name() == name && !lease.has_ended()).cloned()
    }

    fn forget(&self, name: &str) {
        lock(&self.leases).retain(|lease| lease.name() != name);
    }

    /// Ends what this process had made.
    async fn revoke(&self) {
        let own = std::process::id();
        let leases = std::mem::take(&mut *lock(&self.leases));
        for lease in leases.into_iter().filter(|it| it.process == own && !it.has_ended()) {
            let Some(id) = lease.id else { continue };
            let body = serde_json::json!({ "lease_id": id }).to_string();
            let call = self.vault.post("sys/leases/revoke", body.as_bytes());
            let answer = match self.vault.ask(&call).await {
                Ok((answer, _)) if answer.status.is_success() => continue,
                Ok((answer, _)) => self.vault.refusal(&answer, "sys/leases/revoke"),
                Err(error) => error,
            };
            tracing::warn!(target: "keyswap", code = answer.code(), "a lease was not revoked: {answer}");
        }
    }
}

impl Source for Dynamic {
    fn fetch<'a>(
        &'a self,
        known: Option<&'a CredentialSet>,
    ) -> BoxFuture<'a, Result<Fetched, Error>> {
        Box::pin(self.0.fetch(known))
    }

    fn mints(&self) -> bool {
        true
    }

    fn begin(&self, terms: &Terms) -> Result<(), Error> {
        self.0.vault.begin(terms)?;
        self.0.pointers.check()
    }

    fn close(&self) -> Option<BoxFuture<'static, ()>> {
        let parts = self.0.clone();
        parts.revokes.then(|| Box::pin(async move { parts.revoke().await }) as BoxFuture<'_, _>)
    }
}

impl fmt::Debug for Dynamic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dynamic")
            .field("vault", &self.0.vault)
            .field("path", &self.0.path)
            .finish_non_exhaustive()
    }
}
