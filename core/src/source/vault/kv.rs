//! What is stored in a key-value engine.
//!
//! # Theory of operation
//!
//! A version of a secret never changes; which versions live does. So a poll reads the list of versions, which holds no
//! secret, and only where that changed are the versions read, each by its number: however they move meanwhile, what is
//! read is what the list named. Who may not read the list is asked for the newest version, and counts down from there.
//!
//! An engine of the first generation has no versions: there, what is stored is named by a digest.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU8, Ordering::Relaxed},
};

use jiff::Timestamp;

use super::{
    Call, Vault,
    answer::{instant, text, time_of, whole},
    parts,
};
use crate::{
    credential::{Credential, CredentialSet},
    error::{Error, ErrorKind},
    source::{
        BoxFuture, Fetched, Source, Terms,
        material::{MaterialPointers, material_options, set_of},
        store_client::Answer,
        wire::Value,
    },
};

/// The most versions that are read in one fetch: one that is in use, and those that may be its fallback.
const MOST_READ: usize = 4;
/// The most versions that are asked for, where it is not known which of them live.
const MOST_ASKED: u64 = 12;
/// How often a secret may change while it is read.
const MOST_CHANGES: usize = 3;

/// A secret in a key-value engine, of [`Vault::kv`].
///
/// The newest version that is neither deleted nor destroyed is the key, and the newest one before it with other content
/// the fallback. So a new version rotates the key, with an overlap as long as the API accepts the one before; deleting
/// the newest version goes back to the one before it, and so does writing an older one again (`kv rollback`).
///
/// ```
/// # use keyswap::source::vault::Vault;
/// # fn example(vault: Vault) {
/// // {"api_key": "...", "api_secret": "..."}
/// let keys = vault.kv("secret", "trading").key("/api_key").secret("/api_secret");
/// # }
/// ```
///
/// | | |
/// | --- | --- |
/// | policy | `read` on `secret/data/trading` and on `secret/metadata/trading`; without the second, each poll reads the secret itself |
/// | calls | one a poll, and up to four more when something changed |
/// | errors | those of a [`Vault`] |
///
/// What is stored without versions (KV version 1) is read too, with one call each poll, and the last key that the API
/// accepted as the fallback.
#[must_use = "a source does nothing until it is followed"]
pub struct Kv {
    vault: Vault,
    mount: String,
    path: String,
    pointers: MaterialPointers,
    /// What is known of how the server stores it.
    layout: AtomicU8,
    /// Names what has no version. Under a random key, a digest says only «changed» or «the same».
    digest: RandomState,
}

/// Nothing is known, or versions with their list.
const LISTED: u8 = 0;
/// There are versions, and this program may not read their list.
const UNLISTED: u8 = 1;
/// There are none.
const PLAIN: u8 = 2;

/// One version in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    number: u64,
    /// In microseconds. A secret that was removed and made anew begins with version 1 again.
    created: i64,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.number, self.created)
    }
}

/// What a version was found to be.
enum Found {
    Key(Version, Box<Credential>),
    /// It was deleted or destroyed.
    Gone(u64),
    /// There is no secret at all.
    Nothing,
}

impl Kv {
    pub(super) fn new(mut vault: Vault, mount: &str, path: &str) -> Self {
        if parts(mount).is_none() || parts(path).is_none() {
            vault.faulty("what kv was given is no mount and path, such as secret and trading");
        }
        Self {
            vault,
            mount: parts(mount).unwrap_or_default(),
            path: parts(path).unwrap_or_default(),
            pointers: MaterialPointers::default(),
            layout: AtomicU8::new(LISTED),
            digest: RandomState::new(),
        }
    }

    material_options!();

    // ---- inside ----

    fn name(&self) -> String {
        format!("{}/{}", self.mount, self.path)
    }

    fn call(&self, kind: &str) -> Call<'static> {
        self.vault.get(&format!("{}/{kind}/{}", self.mount, self.path))
    }

    async fn fetch_once(&self, known: Option<&CredentialSet>) -> Result<Fetched, Error> {
        if self.layout.load(Relaxed) == PLAIN {
            let fetched = self.plain(known).await;
            if fetched.as_ref().is_err_and(is_about_the_path) {
                self.layout.store(LISTED, Relaxed);
            }
            return fetched;
        }
        let fetched = self.versions(known).await;
        match fetched {
            Err(error) if is_about_the_path(&error) && self.is_plain().await => {
                self.layout.store(PLAIN, Relaxed);
                self.plain(known).await
            }
            fetched => fetched,
        }
    }

    async fn versions(&self, known: Option<&CredentialSet>) -> Result<Fetched, Error> {
        for _ in 0..MOST_CHANGES {
            let fetched = match self.layout.load(Relaxed) {
                UNLISTED => self.count_down(known).await.map(Some),
                _ => self.by_list(known).await,
            };
            if let Some(fetched) = fetched? {
                return Ok(fetched);
            }
        }
        let what = format!("{} changed again and again while it was read", self.name());
        Err(Error::new(ErrorKind::Unavailable, what))
    }

    /// Reads the versions that the list names. None if that changed meanwhile.
    async fn by_list(&self, known: Option<&CredentialSet>) -> Result<Option<Fetched>, Error> {
        let token = self.vault.session.token(&self.vault).await?;
        let answer = self.vault.send(&self.call("metadata"), Some(token.secret())).await;
        let list = match answer {
            Ok(answer) if answer.status == 200 => answer,
            Ok(answer) if answer.status == 403 => {
                let fetched = self.count_down(known).await?;
                // If nobody had to log in for that, it is this list that is forbidden.
                if self.vault.session.token(&self.vault).await?.number == token.number {
                    self.layout.store(UNLISTED, Relaxed);
                }
                return Ok(Some(fetched));
            }
            Ok(answer) => return Err(self.vault.refusal(&answer, &self.name())),
            // A list that is larger than any answer may be.
            Err(error) if error.kind() == ErrorKind::Malformed => {
                return self.count_down(known).await.map(Some);
            }
            Err(error) => return Err(error),
        };
        let versions = live(&self.vault.value(&list)?, time_of(&list))
            .ok_or_else(|| self.fault("has a list of versions that is none"))?;
        if versions.is_empty() {
            return Err(self.all_gone(&list));
        }
        let named: Vec<_> = versions.iter().take(MOST_READ).map(Version::to_string).collect();
        let validator = format!("kv-{}", named.join("-"));
        if let Some(known) = known.filter(|known| known.validator() == Some(&validator)) {
            return Ok(Some(self.vault.unchanged(known, &list)));
        }
        let mut found = Vec::new();
        for version in versions.into_iter().take(MOST_READ) {
            match self.read(version.number).await {
                Ok(Found::Key(as_read, _)) if as_read != version => return Ok(None),
                Ok(Found::Key(_, credential)) => found.push(*credential),
                Ok(Found::Gone(_) | Found::Nothing) => return Ok(None),
                // What is in an older one is nobody's concern any more.
                Err(error) if error.kind() == ErrorKind::Malformed && !found.is_empty() => {}
                Err(error) => return Err(error),
            }
            if has_two(&found) {
                break;
            }
        }
        self.set(found, Some(&validator), &list).map(Some)
    }

    /// Reads the newest version, and those before it.
    async fn count_down(&self, known: Option<&CredentialSet>) -> Result<Fetched, Error> {
        let answer = self.ask(None).await?;
        let (mut found, mut number, validator) = match self.find(&answer)? {
            Found::Nothing => return Err(self.vault.refusal(&answer, &self.name())),
            Found::Gone(number) => (Vec::new(), number, None),
            Found::Key(version, credential) => {
                (vec![*credential], version.number, Some(format!("kv-{version}-alone")))
            }
        };
        if let Some(known) =
            known.filter(|it| validator.is_some() && it.validator() == validator.as_deref())
        {
            return Ok(self.vault.unchanged(known, &answer));
        }
        for _ in 0..MOST_ASKED {
            number = number.saturating_sub(1);
            if number == 0 || has_two(&found) {
                break;
            }
            match self.read(number).await {
                Ok(Found::Key(_, credential)) => found.push(*credential),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Malformed && !found.is_empty() => {}
                Err(error) => return Err(error),
            }
        }
        if found.is_empty() {
            return Err(self.all_gone(&answer));
        }
        self.set(found, validator.as_deref(), &answer)
    }

    async fn read(&self, number: u64) -> Result<Found, Error> {
        let answer = self.ask(Some(number)).await?;
        self.find(&answer)
    }

    async fn ask(&self, number: Option<u64>) -> Result<Answer, Error> {
        let mut call = self.call("data");
        if let Some(number) = number {
            call.url.query_pairs_mut().append_pair("version", &number.to_string());
        }
        Ok(self.vault.ask(&call).await?.0)
    }

    fn find(&self, answer: &Answer) -> Result<Found, Error> {
        if !matches!(answer.status.as_u16(), 200 | 404) {
            return Err(self.vault.refusal(answer, &self.name()));
        }
        let value = self.vault.value(answer)?;
        let number = whole(&value, "/data/metadata/version");
        let Some(number) = number else {
            return match answer.status.as_u16() {
                404 => Ok(Found::Nothing),
                _ => Err(self.fault("is no secret with versions: check the mount")),
            };
        };
        if answer.status == 404 {
            return Ok(Found::Gone(number));
        }
        let Some(created) = instant(&value, "/data/metadata/created_time") else {
            return Err(self.fault("has a version without a time"));
        };
        let Some(data) = value.at("/data/data") else {
            return Err(self.fault(&format!("is empty in version {number}")));
        };
        let credential = self.credential(&format!("v{number}"), data)?;
        let credential = credential.with_version(&number.to_string()).with_created_at(created);
        let version = Version { number, created: created.as_microsecond() };
        Ok(Found::Key(version, Box::new(credential)))
    }

    /// Reads what is stored without versions.
    async fn plain(&self, known: Option<&CredentialSet>) -> Result<Fetched, Error> {
        let call = self.vault.get(&format!("{}/{}", self.mount, self.path));
        let (answer, _) = self.vault.ask(&call).await?;
        if answer.status != 200 {
            return Err(self.vault.refusal(&answer, &self.name()));
        }
        let value = self.vault.value(&answer)?;
        let Some(data) = value.at("/data") else {
            return Err(self.fault("is empty"));
        };
        let digest = self.digest.hash_one(pieces(data));
        let validator = format!("kv-{digest:016x}");
        if let Some(known) = known.filter(|known| known.validator() == Some(&validator)) {
            return Ok(self.vault.unchanged(known, &answer));
        }
        // Eight digits are read easily, and two keys in a row that share them are one in four billion.
        let credential = self.credential(&format!("kv-{:08x}", digest as u32), data)?;
        self.set(vec![credential], Some(&validator), &answer)
    }

    /// Whether this engine stores things without versions. Everybody who may read anything in it may ask that.
    async fn is_plain(&self) -> bool {
        let call = self.vault.get(&format!("sys/internal/ui/mounts/{}", self.mount));
        let Ok(token) = self.vault.session.token(&self.vault).await else { return false };
        let Ok(answer) = self.vault.send(&call, Some(token.secret())).await else { return false };
        let Ok(value) = self.vault.value(&answer) else { return false };
        answer.status == 200
            && text(&value, "/data/type") == Some("kv")
            && text(&value, "/data/options/version") != Some("2")
    }

    fn credential(&self, id: &str, data: &Value) -> Result<Credential, Error> {
        let fault = |error: Error| self.fault(&format!("holds what is no key: {error}"));
        self.pointers.in_value(id, data).map_err(fault)
    }

    fn set(
        &self,
        found: Vec<Credential>,
        validator: Option<&str>,
        answer: &Answer,
    ) -> Result<Fetched, Error> {
        let mut set = set_of(found).map_err(|error| self.fault(&error.to_string()))?;
        set.validator = validator.map(Into::into);
        Ok(Fetched::Set(self.vault.timed(set, None, answer)))
    }

    fn all_gone(&self, answer: &Answer) -> Error {
        let what = format!(
            "has {} with no version that lives: each is deleted, so undelete one or write a new one",
            self.name()
        );
        self.vault.client.error(ErrorKind::UnknownSet, answer, &what)
    }

    fn fault(&self, what: &str) -> Error {
        self.vault.malformed(&format!("has {}, which {what}", self.name()))
    }
}

/// Whether there are two different keys: one to use, and its fallback.
fn has_two(found: &[Credential]) -> bool {
    found.iter().any(|it| it.material() != found[0].material())
}

/// Whether it may come from asking where nothing is.
fn is_about_the_path(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::UnknownSet | ErrorKind::Forbidden)
}

/// The versions in a list that live, the newest first.
fn live(list: &Value, now: Timestamp) -> Option<Vec<Version>> {
    let Some(Value::Object(versions)) = list.at("/data/versions") else { return None };
    let mut living = Vec::new();
    for (number, version) in versions {
        let number = number.parse().ok()?;
        let is_destroyed = matches!(version.at("/destroyed"), Some(Value::Bool(true)));
        // One that deletes itself has its time from the beginning.
        let is_deleted = instant(version, "/deletion_time").is_some_and(|at| at <= now);
        if !is_destroyed && !is_deleted {
            let created = instant(version, "/created_time")?.as_microsecond();
            living.push(Version { number, created });
        }
    }
    living.sort_unstable_by_key(|version| std::cmp::Reverse(version.number));
    Some(living)
}

/// What may be material in an object, for a digest.
fn pieces(data: &Value) -> Vec<(&str, &str, u64)> {
    let Value::Object(fields) = data else { return Vec::new() };
    fields
        .iter()
        .map(|(name, value)| match value {
            Value::Text(text) => (&**name, text.as_str(), 0),
            Value::Whole(number) => (&**name, "", *number),
            _ => (&**name, "", 0),
        })
        .collect()
}

impl Source for Kv {
    fn fetch<'a>(
        &'a self,
        known: Option<&'a CredentialSet>,
    ) -> BoxFuture<'a, Result<Fetched, Error>> {
        Box::pin(self.fetch_once(known))
    }

    fn begin(&self, terms: &Terms) -> Result<(), Error> {
        self.vault.begin(terms)?;
        self.pointers.check()
    }
}

impl fmt::Debug for Kv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kv")
            .field("vault", &self.vault)
            .field("secret", &self.name())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::wire::read;

    fn numbers(list: &str, now: &str) -> Option<Vec<u64>> {
        let list = read(format!(r#"{{"data": {{"versions": {list}}}}}"#).as_bytes()).expect("JSON");
        let living = live(&list, now.parse().expect("a time"))?;
        Some(living.into_iter().map(|version| version.number).collect())
    }

    #[test]
    fn what_lives_is_neither_destroyed_nor_deleted_yet() {
        let made = r#""created_time": "2026-11-27T22:59:23.658038686Z""#;
        let list = format!(
            r#"{{"1": {{{made}, "deletion_time": "", "destroyed": true}},
                "2": {{{made}, "deletion_time": "2026-11-27T23:00:00Z", "destroyed": false}},
                "10": {{{made}, "deletion_time": "", "destroyed": false}},
                "9": {{{made}, "destroyed": false}}}}"#
        );
        assert_eq!(numbers(&list, "2026-11-27T22:59:59Z"), Some(vec![10, 9, 2]));
        assert_eq!(numbers(&list, "2026-11-27T23:00:00Z"), Some(vec![10, 9]));
        assert_eq!(numbers("{}", "2026-11-27T23:00:00Z"), Some(vec![]));
        for odd in ["[]", r#"{"x": {}}"#, r#"{"1": {"created_time": "soon"}}"#] {
            assert_eq!(numbers(odd, "2026-11-27T23:00:00Z"), None, "{odd}");
        }
    }
}
