//! Versions of a secret, and how a set of them is read that was a state of the store, and not two halves of two.

use std::future::Future;

use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};
use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::{
    credential::{Credential, CredentialSet, is_valid_id},
    error::{Error, ErrorKind},
    source::{
        Fetched,
        material::{MaterialPointers, set_of},
        wire::{Value, time},
    },
};

/// How often a state is read anew that moved while it was being read.
pub(super) const TRIES: usize = 3;

/// What stands at a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Current,
    Previous,
}

impl Stage {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Current => "AWSCURRENT",
            Self::Previous => "AWSPREVIOUS",
        }
    }
}

/// One version, with what it holds.
pub(super) struct Version {
    pub(super) id: Box<str>,
    created_at: Option<Timestamp>,
    text: Zeroizing<String>,
}

impl Version {
    /// What `GetSecretValue` answers, and the agent too.
    pub(super) fn read(value: &Value) -> Result<Self, Error> {
        let malformed = |what: &str| Err(Error::new(ErrorKind::Malformed, what));
        let Some(Value::Text(id)) = value.at("/VersionId") else {
            return malformed("it has no VersionId");
        };
        let text = match (value.at("/SecretString"), value.at("/SecretBinary")) {
            (Some(Value::Text(text)), _) => text.clone(),
            (None, Some(Value::Text(binary))) => {
                let bytes = BASE64.decode(binary.as_bytes()).map(Zeroizing::new);
                match bytes.as_ref().map(|bytes| std::str::from_utf8(bytes)) {
                    Ok(Ok(text)) => Zeroizing::new(text.to_owned()),
                    _ => {
                        return malformed(
                            "its SecretBinary is no text: store it as a SecretString",
                        );
                    }
                }
            }
            _ => return malformed("it has no SecretString"),
        };
        let created_at = value.at("/CreatedDate").and_then(instant);
        Ok(Self { id: id.as_str().into(), created_at, text })
    }

    fn credential(&self, pointers: &MaterialPointers) -> Result<Credential, Error> {
        let named = named(pointers.in_text(&id_of(&self.id), &self.text)?, &self.id);
        Ok(match self.created_at {
            Some(at) => named.with_created_at(at),
            None => named,
        })
    }
}

/// A credential that says which version of the store it is.
pub(super) fn named(credential: Credential, version: &str) -> Credential {
    credential.with_version(version)
}

/// A time in seconds, or in seconds as text.
pub(super) fn instant(value: &Value) -> Option<Timestamp> {
    match value {
        Value::Text(text) => match text.parse::<u64>() {
            Ok(seconds) => time(&Value::Whole(seconds)).flatten(),
            Err(_) => time(value).flatten(),
        },
        other => time(other).flatten(),
    }
}

/// The id of a credential of this version. Whoever writes a secret may choose any 32 to 64 characters for it.
fn id_of(version: &str) -> String {
    if is_valid_id(version) {
        return version.into();
    }
    let digest = ring::digest::digest(&ring::digest::SHA256, version.as_bytes());
    let hex: String = digest.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("version-{hex}")
}

/// The set of the versions at both stages.
pub(super) fn set(
    current: &Version,
    previous: Option<&Version>,
    pointers: &MaterialPointers,
) -> Result<CredentialSet, Error> {
    let newest = current.credential(pointers)?;
    // An older one that is no key, such as the placeholder that a secret was made with, is none to fall back on.
    let older = previous.and_then(|previous| match previous.credential(pointers) {
        Ok(older) => Some(older),
        Err(error) => {
            tracing::debug!(target: "keyswap", "what stands at AWSPREVIOUS is no key: {error}");
            None
        }
    });
    Ok(set_of([newest].into_iter().chain(older))?
        .with_validator(&validator(&current.id, previous.map(|it| &*it.id))))
}

/// What says that nothing changed.
pub(super) fn validator(current: &str, previous: Option<&str>) -> String {
    format!("{}/{}", id_of(current), previous.map(id_of).unwrap_or_default())
}

/// Whether what is held is of this current version, by what is held itself.
fn is_held(known: Option<&CredentialSet>, current: &str) -> bool {
    let held = known.and_then(|known| known.validator()?.split('/').next());
    held.is_some_and(|held| held == id_of(current))
}

/// A store in which versions are read by their stage.
pub(super) trait Shelf {
    /// The version at this stage; not from a cache, if it has to be fresh.
    fn at(
        &self,
        stage: Stage,
        is_fresh: bool,
    ) -> impl Future<Output = Result<Option<Version>, Error>> + Send;
}

/// Reads the stages of a store that shows each apart. What was read is a state once the current version is the same
/// before and after the previous one was read.
pub(super) async fn by_stage(
    shelf: &impl Shelf,
    known: Option<&CredentialSet>,
    pointers: &MaterialPointers,
) -> Result<Fetched, Error> {
    let is_forced = known.is_none_or(|known| known.validator().is_none());
    let none = || Error::new(ErrorKind::UnknownSet, "it has no version at AWSCURRENT");
    let mut current = shelf.at(Stage::Current, is_forced).await?.ok_or_else(none)?;
    if is_held(known, &current.id) {
        return Ok(Fetched::NotModified);
    }
    for _ in 0..TRIES {
        let previous = shelf.at(Stage::Previous, true).await?;
        let again = shelf.at(Stage::Current, true).await?.ok_or_else(none)?;
        let is_same = again.id == current.id;
        current = again;
        if is_same {
            return set(&current, previous.as_ref(), pointers).map(Fetched::Set);
        }
    }
    Err(moving())
}

/// It is another one at each look.
pub(super) fn moving() -> Error {
    Error::new(ErrorKind::Unavailable, "its versions changed again and again while they were read")
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::source::wire::read;

    fn version(id: &str) -> Version {
        let answer = format!(
            r#"{{"VersionId": "{id}", "SecretString": "key of {id}", "CreatedDate": 1764000000.5}}"#
        );
        Version::read(&read(answer.as_bytes()).expect("JSON")).expect("a version")
    }

    /// What is at each stage, one state after the other: after so many reads the next one counts.
    struct Moves(Mutex<usize>, Vec<State>);

    /// After how many reads it begins, and what is current and previous.
    type State = (usize, &'static str, &'static str);

    impl Shelf for Moves {
        async fn at(&self, stage: Stage, _: bool) -> Result<Option<Version>, Error> {
            let mut reads = self.0.lock().expect("a lock");
            *reads += 1;
            let state = self.1.iter().rev().find(|(from, ..)| *from < *reads).expect("a state");
            let id = if stage == Stage::Current { state.1 } else { state.2 };
            Ok((!id.is_empty()).then(|| version(id)))
        }
    }

    async fn ids(states: &[State]) -> Result<Vec<String>, Error> {
        let shelf = Moves(Mutex::new(0), states.to_vec());
        match by_stage(&shelf, None, &MaterialPointers::default()).await? {
            Fetched::Set(set) => Ok(set.members().map(|it| it.id().to_owned()).collect()),
            Fetched::NotModified => Ok(vec![]),
        }
    }

    #[tokio::test]
    async fn what_was_read_was_one_state() {
        assert_eq!(ids(&[(0, "2", "1")]).await.expect("a set"), ["2", "1"]);
        assert_eq!(ids(&[(0, "1", "")]).await.expect("a set"), ["1"]);
        assert_eq!(ids(&[(0, "1", "1")]).await.expect("a set"), ["1"], "equal versions are one");
        // It moves after the first read: once, and twice at once, which would make a set of 2 and 3 or of 4 and 1.
        assert_eq!(ids(&[(0, "2", "1"), (1, "3", "2")]).await.expect("a set"), ["3", "2"]);
        assert_eq!(ids(&[(0, "2", "1"), (1, "4", "3")]).await.expect("a set"), ["4", "3"]);
        assert_eq!(ids(&[(0, "2", "1"), (2, "4", "3")]).await.expect("a set"), ["4", "3"]);
        let always: Vec<_> = (0..)
            .zip(["1", "2", "3", "4", "5", "6", "7", "8"])
            .map(|(at, id)| (at, id, ""))
            .collect();
        let error = ids(&always).await.expect_err("never the same");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(ids(&[(0, "", "")]).await.expect_err("empty").kind(), ErrorKind::UnknownSet);
    }

    #[test]
    fn a_version_is_read_from_either_form() {
        let read = |text: &str| Version::read(&read(text.as_bytes()).expect("JSON"));
        let binary = read(r#"{"VersionId": "v", "SecretBinary": "czNjcjN0"}"#).expect("a version");
        assert_eq!(&**binary.text, "s3cr3t");
        let agent = read(r#"{"VersionId": "v", "SecretString": "x", "CreatedDate": "1764000000"}"#);
        let at = agent.expect("a version").created_at.expect("a time");
        assert_eq!(at.as_second(), 1_764_000_000);
        for odd in [
            r#"{"SecretString": "s3cr3t"}"#,
            r#"{"VersionId": "v"}"#,
            r#"{"VersionId": "v", "SecretBinary": "/w=="}"#,
            r#"{"VersionId": "v", "SecretBinary": "s3cr3t!"}"#,
        ] {
            let error = read(odd).err().expect("no version");
            assert!(!error.to_string().contains("s3cr3t"), "{error}");
        }
    }

    #[test]
    fn any_version_id_becomes_an_id() {
        assert_eq!(id_of("EXAMPLE1-90ab-cdef"), "EXAMPLE1-90ab-cdef");
        let odd = id_of("release of / November: number 12!!");
        assert!(is_valid_id(&odd) && odd.starts_with("version-"), "{odd}");
        assert_ne!(odd, id_of("release of / November: number 13!!"));
    }
}
