//! Where things stand in an answer, and the set that is made of them.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use crate::{
    credential::{Credential, CredentialSet},
    error::{Error, ErrorKind},
    secret::Secret,
    source::wire::{MAX_PREVIOUS, Value, is_end, read_answer, time},
};

/// A JSON pointer (RFC 6901), as the program wrote it.
type Pointer = Box<str>;

/// Where things stand: all but `within` and `previous` beneath the object of one credential.
#[derive(Clone)]
pub(super) struct Shape {
    pub(super) within: Pointer,
    pub(super) previous: Option<Pointer>,
    pub(super) generation: Option<Pointer>,
    pub(super) key: Pointer,
    pub(super) secret: Option<Pointer>,
    pub(super) passphrase: Option<Pointer>,
    pub(super) id: Option<Pointer>,
    pub(super) version: Option<Pointer>,
    pub(super) expires_at: Option<Pointer>,
    pub(super) expires_in: Option<Pointer>,
    /// Ids are told to logs. One under a random key of this source's own says only «changed» or «the same».
    pub(super) digest: RandomState,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            within: "".into(),
            previous: None,
            generation: None,
            key: "/key".into(),
            secret: None,
            passphrase: None,
            id: None,
            version: None,
            expires_at: None,
            expires_in: None,
            digest: RandomState::new(),
        }
    }
}

/// Whether this is a JSON pointer: empty, or each part behind a slash, with `~0` and `~1` as its only escapes.
pub(in crate::source) fn check_pointer(pointer: &str) -> Result<(), Error> {
    let is_escaped = |part: &str| !part.split('~').skip(1).any(|it| !it.starts_with(['0', '1']));
    match pointer.is_empty() || (pointer.starts_with('/') && is_escaped(pointer)) {
        true => Ok(()),
        false => Err(Error::new(
            ErrorKind::InvalidConfig,
            format!("{pointer} is no JSON pointer: it must look like /data/api_key (RFC 6901)"),
        )),
    }
}

impl Shape {
    /// The set in an answer that was given at this time, by the server's clock or, without one, by this machine's.
    pub(super) fn set(&self, body: &[u8], at: Timestamp) -> Result<CredentialSet, Error> {
        let root = read_answer(body).map_err(|what| malformed(&what))?;
        let Some(current) = root.at(&self.within) else { return Err(absent(&self.within)) };
        let mut set = CredentialSet::new(self.credential(current, &self.within, at)?);
        if let Some(pointer) = &self.generation {
            set.generation = match root.at(pointer) {
                Some(Value::Whole(number)) => Some(*number),
                _ => return Err(must(pointer, "a whole number, zero or more")),
            };
        }
        for (older, path) in self.older(&root)? {
            let older = self.credential(older, &path, at)?;
            // A server may go on to show the one before as long as there is no other.
            if !set.members().any(|known| known.is_same_key(&older)) {
                set = set.with_previous(older);
            }
        }
        set.check().map_err(|error| malformed(&error.to_string()))?;
        Ok(set)
    }

    /// Whether an end is counted from the answer. One that is the same as the last begins it anew, so it must not be
    /// asked for on a condition.
    pub(super) fn has_relative_end(&self, set: &CredentialSet) -> bool {
        self.expires_at.is_none() && set.members().any(|it| it.expires_at().is_some())
    }

    /// The older ones, and where they stand: a list, one object, or one key.
    fn older<'a>(&self, root: &'a Value) -> Result<Vec<(&'a Value, String)>, Error> {
        let Some(pointer) = &self.previous else { return Ok(Vec::new()) };
        match root.at(pointer) {
            None => Ok(Vec::new()),
            Some(Value::List(items)) if items.len() > MAX_PREVIOUS => {
                Err(must(pointer, "a list of at most two credentials"))
            }
            Some(Value::List(items)) => {
                let path = |(index, item)| (item, format!("{pointer}/{index}"));
                Ok(items.iter().enumerate().map(path).collect())
            }
            Some(one) => Ok(vec![(one, pointer.to_string())]),
        }
    }

    fn credential(&self, from: &Value, path: &str, at: Timestamp) -> Result<Credential, Error> {
        let mut material = Vec::new();
        if let Value::Text(key) = from {
            // The key itself, and nothing beside it.
            material.push(("key", key.trim()));
        } else {
            let pieces = [("secret", &self.secret), ("passphrase", &self.passphrase)];
            let given =
                pieces.into_iter().filter_map(|(name, pointer)| Some((name, pointer.as_ref()?)));
            for (name, pointer) in [("key", &self.key)].into_iter().chain(given) {
                match from.at(pointer) {
                    Some(Value::Text(text)) => material.push((name, text.trim())),
                    _ => return Err(must(&format!("{path}{pointer}"), "a string")),
                }
            }
        }
        if let Some((name, _)) = material.iter().find(|(_, text)| text.is_empty()) {
            return Err(malformed(&format!("the {name} is empty")));
        }
        let id = match self.id.as_deref().filter(|_| !matches!(from, Value::Text(_))) {
            Some(pointer) => word(from, path, pointer)?,
            // Eight digits are read easily, and two keys in a row that share them are one in four billion.
            None => format!("json-{:08x}", self.digest.hash_one(&material) as u32),
        };
        let mut credential = Credential::bare(id);
        for (name, text) in material {
            credential = credential.with_material(name, Secret::from(text));
        }
        if let Some(pointer) = self.version.as_deref().filter(|it| from.at(it).is_some()) {
            credential = credential.with_version(&word(from, path, pointer)?);
        }
        Ok(match self.end(from, path, at)? {
            Some(end) => credential.with_expires_at(end),
            None => credential,
        })
    }

    /// When it ends. Absent, it does not.
    fn end(&self, from: &Value, path: &str, at: Timestamp) -> Result<Option<Timestamp>, Error> {
        if let Some(pointer) = &self.expires_at {
            let Some(value) = from.at(pointer) else { return Ok(None) };
            return time(value).ok_or_else(|| {
                must(&format!("{path}{pointer}"), "an RFC 3339 time, or seconds since 1970")
            });
        }
        let pointer = self.expires_in.as_deref().unwrap_or("/expires_in");
        let Some(value) = from.at(pointer) else { return Ok(None) };
        let seconds = match value {
            Value::Whole(number) => Some(Duration::from_secs(*number)),
            Value::Fraction(number) => Duration::try_from_secs_f64(*number).ok(),
            // Some servers write all that they have as text.
            Value::Text(text) => text.parse().ok().map(Duration::from_secs),
            _ => None,
        };
        let Some(seconds) = seconds else {
            return Err(must(&format!("{path}{pointer}"), "a number of seconds, zero or more"));
        };
        // What is beyond the calendar has no end.
        let end = SignedDuration::try_from(seconds).ok().and_then(|it| at.checked_add(it).ok());
        Ok(end.filter(|end| !is_end(*end)))
    }
}

/// A name: text, or a number.
fn word(from: &Value, path: &str, pointer: &str) -> Result<String, Error> {
    match from.at(pointer) {
        Some(Value::Text(text)) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
        Some(Value::Whole(number)) => Ok(number.to_string()),
        _ => Err(must(&format!("{path}{pointer}"), "a string or a whole number")),
    }
}

fn absent(pointer: &str) -> Error {
    malformed(&format!("there is nothing at {pointer}"))
}

/// The pointer is the program's own, and nothing of the answer.
fn must(pointer: &str, what: &str) -> Error {
    malformed(&format!("what stands at {pointer} must be {what}"))
}

fn malformed(what: &str) -> Error {
    Error::new(ErrorKind::Malformed, what)
}
