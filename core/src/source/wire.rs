//! The `keyswap/1` document: one JSON object that is the full state of a set.
//!
//! A document is full of secrets, so no error quotes it: errors name the field, by this crate's own
//! words, or the line and column. The JSON is read into a tree whose strings are wiped when dropped.
//! Pieces written with escapes (`\n`) also pass through a buffer of the JSON parser, which is out of
//! reach.

mod json;
mod time;

use std::time::Duration;

use jiff::Timestamp;

use self::time::{from_epoch, from_text};
use crate::{
    credential::{Credential, CredentialSet, NamedScheme},
    error::{Error, ErrorKind},
    secret::Secret,
};

pub(super) use self::{
    json::{Value, read, read_answer},
    time::is_end,
};

/// The largest document that is read, in bytes.
pub(super) const MAX_DOCUMENT: usize = 64 * 1024;
/// The most previous credentials that one document may list.
pub(super) const MAX_PREVIOUS: usize = 2;
/// The most pieces of material that one credential may have. Two or three are usual.
pub(super) const MAX_PIECES: usize = 64;
/// The pieces of material that a program may write beside the id.
const PIECES: [&str; 3] = ["key", "secret", "passphrase"];
/// A longer splay is taken as this: it spreads a fleet's refreshes and must not stop them.
const MAX_SPLAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads a `keyswap/1` document from a file, or from wherever a source of your own found it.
///
/// A time at either end of the calendar (the year 9999, or 1 and before) is how many programs write that
/// there is none, and is read as that; so is an empty string in place of a name.
///
/// `generation` may be absent; the set is then numbered locally. A document that lies around should not
/// have a `server_time`: ends are judged by it, and it stands still.
///
/// ```
/// let set = keyswap::source::parse(br#"{
///     "generation": 43,
///     "current":  { "id": "k_43", "material": { "key": "new" } },
///     "previous": [ { "id": "k_42", "material": { "key": "old" } } ]
/// }"#)?;
/// assert_eq!(set.generation(), 43);
/// assert_eq!(set.primary().map(|primary| primary.id()), Some("k_43"));
/// # Ok::<(), keyswap::Error>(())
/// ```
///
/// # Errors
/// [`ErrorKind::Malformed`], naming the field and what it must be. It never quotes the document.
pub fn parse(document: &[u8]) -> Result<CredentialSet, Error> {
    let root = read(document).map_err(|what| malformed(&what))?;
    set(&Object::root(&root)?)
}

/// As [`parse`], of a document that a program wrote itself: shorter forms are allowed.
#[cfg(any(feature = "host", test))]
pub(crate) fn parse_short(document: &[u8]) -> Result<CredentialSet, Error> {
    short(&read(document).map_err(|what| malformed(&what))?)
}

/// The same of what was read already.
#[cfg(any(feature = "command", feature = "host", test))]
pub(super) fn short(root: &Value) -> Result<CredentialSet, Error> {
    set(&Object { is_short: true, ..Object::root(root)? })
}

/// A time as programs write it: as text (RFC 3339), or in seconds since 1970. None also for one that is written to say
/// that there is none; the outer None is what is no time at all.
pub(super) fn time(value: &Value) -> Option<Option<Timestamp>> {
    match value {
        Value::Text(text) => from_text(text),
        Value::Whole(number) => from_epoch(*number as f64),
        Value::Fraction(number) => from_epoch(*number),
        _ => None,
    }
}

/// Reads the answer of an endpoint that was asked for this set, if the URL says which. A signed one must
/// name its set: the signature is not over the URL.
pub(super) fn parse_answer(
    body: &[u8],
    asked: Option<&str>,
    signed: bool,
) -> Result<CredentialSet, Error> {
    let root = read_answer(body).map_err(|what| malformed(&what))?;
    let root = Object::root(&root)?;
    match (asked, root.word("set")?) {
        (_, None) if signed => {
            return Err(malformed("set is missing: a signed document must name its set"));
        }
        (Some(asked), Some(named)) if asked != named => {
            return Err(malformed("set must be the one that was asked for: this is another one"));
        }
        _ => {}
    }
    let set = set(&root)?;
    match set.generation {
        Some(_) => Ok(set),
        None => Err(malformed("generation is missing")),
    }
}

/// Whether a problem document (RFC 9457) is of this type, and about the set that was asked for. Where the
/// URL says which set that is, the problem must name it: one that could mean any set means none.
pub(super) fn is_problem(body: &[u8], kind: &str, asked: Option<&str>) -> bool {
    let text = |name| -> Option<Box<str>> {
        let root = read_answer(body).ok()?;
        Object::root(&root).ok()?.text(name).ok()?.map(Into::into)
    };
    text("type").as_deref() == Some(kind)
        && asked.is_none_or(|asked| text("set").as_deref() == Some(asked))
}

fn set(root: &Object<'_>) -> Result<CredentialSet, Error> {
    if root.word("protocol")?.is_some_and(|protocol| !is_known_protocol(protocol)) {
        return Err(malformed("protocol must be keyswap/1: this program speaks no other"));
    }
    let current = root.object("current")?.ok_or_else(|| malformed("current is missing"))?;
    let mut set = CredentialSet::new(credential(&current)?);
    set.generation = root.whole("generation")?;
    set.lineage = root.word("lineage")?.map(Into::into);
    let previous = root.objects("previous")?;
    if previous.len() > MAX_PREVIOUS {
        return Err(malformed("previous must list at most two credentials"));
    }
    for older in previous {
        set = set.with_previous(credential(&older)?);
    }
    if let Some(next) = root.object("next")? {
        set = set.with_next(credential(&next)?);
    }
    for id in root.texts("revoked")? {
        set = set.with_revoked(id);
    }
    set.as_of = root.time("server_time")?;
    set.refresh_after = root.time("refresh_after")?;
    set.stale_ok_until = root.time("stale_ok_until")?;
    set.splay = root.seconds("splay_seconds")?.map_or(Duration::ZERO, |it| it.min(MAX_SPLAY));
    set.audience = root.texts("audience")?.into_iter().map(Into::into).collect();
    set.levels = root.texts("levels")?.into_iter().map(Into::into).collect();
    set.scopes = root.texts("scopes")?.into_iter().map(Into::into).collect();
    set.check()?;
    Ok(set)
}

fn credential(from: &Object<'_>) -> Result<Credential, Error> {
    let id = from.text("id")?.ok_or_else(|| from.fault("id", "is missing"))?;
    let mut credential = Credential::bare(id);
    let pieces = from.pieces();
    let material = from.object("material")?;
    if material.is_none() && pieces.is_empty() {
        return Err(from.fault("material", "is missing"));
    }
    let written = material.as_ref().map_or(0, |material| material.fields.len());
    if written + pieces.len() > MAX_PIECES {
        return Err(from.fault("material", "must have at most 64 pieces"));
    }
    let written =
        material.iter().flat_map(|material| material.fields).map(|(name, value)| (&**name, value));
    for (name, value) in written.chain(pieces) {
        if credential.reveal(name).is_some() {
            return Err(
                from.fault("material", "must not name a piece that stands beside the id too")
            );
        }
        // The piece is not named: in a document that mixes up names and values, a name is a secret.
        let Value::Text(value) = value else {
            return Err(from.fault("material", "must be an object whose values are all strings"));
        };
        credential = credential.with_material(name, Secret::from(value.as_str()));
    }
    if let Some(version) = from.word("version")? {
        credential = credential.with_version(version);
    }
    let header = match from.object("params")? {
        None => None,
        Some(params) => params.word("header")?.map(Into::into),
    };
    if let Some(name) = from.word("scheme")? {
        credential = credential.with_scheme(NamedScheme { name: name.into(), header });
    }
    type Setter = fn(Credential, Timestamp) -> Credential;
    let times: [(&str, Setter); 5] = [
        ("created_at", Credential::with_created_at),
        ("not_before", Credential::with_not_before),
        ("activate_at", Credential::with_activate_at),
        ("expires_at", Credential::with_expires_at),
        ("grace_expires_at", Credential::with_grace_expires_at),
    ];
    for (name, with) in times {
        if let Some(at) = from.time(name)? {
            credential = with(credential, at);
        }
    }
    Ok(credential.with_scopes(from.texts("scopes")?))
}

fn is_known_protocol(protocol: &str) -> bool {
    let Some(rest) = protocol.strip_prefix("keyswap/1") else { return false };
    rest.is_empty()
        || rest.strip_prefix('.').is_some_and(|minor| {
            !minor.is_empty() && minor.bytes().all(|byte| byte.is_ascii_digit())
        })
}

/// An object of the document, and where it stands.
struct Object<'a> {
    path: String,
    fields: &'a [(Box<str>, Value)],
    /// Whether shorter forms are allowed.
    is_short: bool,
}

/// Absent and `null` are the same: many serializers write `null` for what they do not have.
impl<'a> Object<'a> {
    fn root(json: &'a Value) -> Result<Self, Error> {
        match json {
            Value::Object(fields) => Ok(Self { path: String::new(), fields, is_short: false }),
            _ => Err(malformed("it must be an object")),
        }
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        let (_, value) = self.fields.iter().find(|(known, _)| &**known == name)?;
        (!matches!(value, Value::Null)).then_some(value)
    }

    fn object(&self, name: &str) -> Result<Option<Object<'a>>, Error> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(fields)) => {
                let path = format!("{}{name}.", self.path);
                Ok(Some(Object { path, fields, is_short: self.is_short }))
            }
            Some(_) => Err(self.fault(name, "must be an object")),
        }
    }

    fn text(&self, name: &str) -> Result<Option<&'a str>, Error> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(self.fault(name, "must be a string")),
        }
    }

    /// A text that says something: many serializers write an empty one for what they do not have.
    fn word(&self, name: &str) -> Result<Option<&'a str>, Error> {
        Ok(self.text(name)?.filter(|text| !text.trim().is_empty()))
    }

    fn whole(&self, name: &str) -> Result<Option<u64>, Error> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Whole(number)) => Ok(Some(*number)),
            Some(_) => Err(self.fault(name, "must be a whole number, zero or more")),
        }
    }

    fn seconds(&self, name: &str) -> Result<Option<Duration>, Error> {
        let seconds = match self.get(name) {
            None => return Ok(None),
            Some(Value::Whole(number)) => Some(Duration::from_secs(*number)),
            Some(Value::Fraction(number)) => Duration::try_from_secs_f64(*number).ok(),
            Some(_) => None,
        };
        match seconds {
            Some(_) => Ok(seconds),
            None => Err(self.fault(name, "must be a number of seconds, zero or more")),
        }
    }

    /// A time. None also for one that is written to say that there is none.
    fn time(&self, name: &str) -> Result<Option<Timestamp>, Error> {
        if self.is_short && !matches!(self.get(name), None | Some(Value::Text(_))) {
            return self.get(name).and_then(time).ok_or_else(|| {
                self.fault(name, "must be an RFC 3339 time, or seconds since 1970")
            });
        }
        let Some(text) = self.text(name)? else { return Ok(None) };
        from_text(text).ok_or_else(|| {
            self.fault(name, "must be an RFC 3339 time, such as 2026-11-23T18:00:00Z")
        })
    }

    /// The pieces of material that stand beside the id, where that is allowed.
    fn pieces(&self) -> Vec<(&'a str, &'a Value)> {
        let is_piece = |name: &str| self.is_short && PIECES.contains(&name);
        let fields = self.fields.iter().map(|(name, value)| (&**name, value));
        fields.filter(|(name, value)| is_piece(name) && !matches!(value, Value::Null)).collect()
    }

    fn list(&self, name: &str) -> Result<&'a [Value], Error> {
        match self.get(name) {
            None => Ok(&[]),
            Some(Value::List(items)) => Ok(items),
            Some(_) => Err(self.fault(name, "must be a list")),
        }
    }

    fn texts(&self, name: &str) -> Result<Vec<&'a str>, Error> {
        self.list(name)?
            .iter()
            .map(|item| match item {
                Value::Text(text) => Ok(text.as_str()),
                _ => Err(self.fault(name, "must be a list of strings")),
            })
            .collect()
    }

    fn objects(&self, name: &str) -> Result<Vec<Object<'a>>, Error> {
        self.list(name)?
            .iter()
            .enumerate()
            .map(|(index, item)| match item {
                Value::Object(fields) => {
                    let path = format!("{}{name}[{index}].", self.path);
                    Ok(Object { path, fields, is_short: self.is_short })
                }
                _ => Err(self.fault(name, "must be a list of objects")),
            })
            .collect()
    }

    fn fault(&self, name: &str, must: &str) -> Error {
        malformed(&format!("{}{name} {must}", self.path))
    }
}

fn malformed(what: &str) -> Error {
    Error::new(ErrorKind::Malformed, format!("not a keyswap/1 document: {what}"))
}

#[cfg(test)]
mod tests;
