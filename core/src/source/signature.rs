//! Signed answers: HTTP Message Signatures (RFC 9421) by the Ed25519 key that a program pinned.
//!
//! # Theory of operation
//!
//! TLS says who is at the other end of the connection; a pinned key says who wrote the answer, whatever
//! stands between: a cache, a proxy that opens TLS, a server that was broken into. What is believed, and
//! no more, is what a signature covers:
//!
//! - an answer with a body: its status, and the digest of the body (RFC 9530), which must match it;
//! - a 304: its status, the ETag, which must be the validator that was asked with, and the name of the set
//!   as the signature's `tag`: two sets may have the same validator, and a 304 has no body to tell them apart.
//!
//! The signature does not cover the URL. So the document itself must name its set, and an answer for
//! another set cannot be passed off as this one's. It guards against answers that are played again by
//! `created`:
//!
//! - what is more than five minutes ahead of this machine's clock is refused, and moves nothing that is
//!   remembered: one such answer would make all later ones old;
//! - what is more than a minute older than the newest one seen is refused, and a 304 that is older than the
//!   last whole answer;
//! - what is older than an hour ([`Policy::signature_age`](crate::Policy::signature_age)) is refused, both
//!   by this machine's clock and by the time that went by since the newest one was seen: a clock that
//!   was set wrong while the program ran refuses nothing;
//! - after a day of nothing but 304s the whole is asked for.
//!
//! What is remembered lives as long as the endpoint does; across restarts the age and the generation guard.
//!
//! It never quotes an answer, and never tells more than which rule failed.

mod fault;

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, StatusCode};
use ring::{
    digest,
    signature::{ED25519, ED25519_PUBLIC_KEY_LEN, UnparsedPublicKey},
};

use self::fault::Fault;
use crate::{
    error::{Error, ErrorKind},
    moment::Moment,
    structured_fields::{Bare, Dictionary, InnerList, Item, MAX_FIELD, Member, dictionary},
};

const DIGEST: &str = "content-digest";
const STATUS: &str = "@status";
const ETAG: &str = "etag";

/// What a signature may cover: what can be computed from an answer alone. One that covers anything else
/// is not counted, because whether it holds cannot be known.
const COMPONENTS: [&str; 5] = [STATUS, DIGEST, ETAG, "content-type", "date"];

/// How much older than the newest one an answer may be, in seconds: the servers behind one endpoint
/// answer out of order, and by clocks that differ.
const DISORDER: i64 = 60;

/// How far ahead of this machine's clock an answer may be, in seconds: what clocks that nobody looks after
/// are off by.
const AHEAD: i64 = 5 * 60;

/// For how long 304s alone are believed, in milliseconds.
const WITHOUT_WHOLE: u64 = 24 * 60 * 60 * 1000;

/// The key that must have signed, and what was seen of it.
pub(super) struct Pin {
    key: [u8; ED25519_PUBLIC_KEY_LEN],
    seen: Mutex<Seen>,
}

#[derive(Clone, Copy, Default)]
struct Seen {
    /// When the newest answer was made, and when it came, by the boot clock.
    newest: Option<(i64, u64)>,
    /// The same of the last whole answer.
    whole: Option<(i64, u64)>,
    /// This signer's 304s do not name their set.
    is_nameless: bool,
}

/// What an answer is about, and a signature must cover.
#[derive(Clone, Copy)]
pub(super) enum About<'a> {
    /// This body.
    Body(&'a [u8]),
    /// That what has this validator is unchanged, in the set of that name.
    Unchanged { validator: &'a str, set: &'a str },
}

impl Pin {
    /// The key in this base64.
    pub(super) fn new(public_key: &str) -> Result<Self, Error> {
        let decoded = STANDARD.decode(public_key.trim()).ok();
        let key = decoded.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidConfig,
                "the key that signs must be the base64 of an Ed25519 public key's 32 bytes, such as JrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=",
            )
        })?;
        Ok(Self { key, seen: Mutex::default() })
    }

    /// Whether the next question must be without a condition, because a 304 would not be believed.
    pub(super) fn wants_whole(&self, now: Moment) -> bool {
        let seen = *self.seen();
        seen.is_nameless
            || seen.whole.is_none_or(|(_, came)| now.boot.saturating_sub(came) >= WITHOUT_WHOLE)
    }

    /// Whether this answer is signed, and was made at most `age` ago.
    pub(super) fn check(
        &self,
        now: Moment,
        age: Duration,
        status: StatusCode,
        headers: &HeaderMap,
        about: About<'_>,
    ) -> Result<(), Fault> {
        match about {
            About::Body(body) => check_digest(headers, body)?,
            About::Unchanged { validator, .. } => {
                if field(headers, ETAG)?.as_deref() != Some(validator) {
                    return Err(Fault::Validator);
                }
            }
        }
        let inputs = field(headers, "signature-input")?.ok_or(Fault::Unsigned)?;
        let signatures = field(headers, "signature")?.ok_or(Fault::Unsigned)?;
        let inputs = dictionary(&inputs).ok_or(Fault::Unreadable)?;
        let signatures = dictionary(&signatures).ok_or(Fault::Unreadable)?;
        // An answer may be signed by several keys, under any labels: one that holds is enough.
        let mut fault = Fault::Unsigned;
        for (label, input) in &inputs {
            let checked = match (input, bytes(&signatures, label)) {
                (Member::List(input), Some(bytes)) => {
                    let made = self.authentic(status, headers, about, input, bytes);
                    made.and_then(|made| self.is_fresh(now, age, status, about, made))
                }
                _ => Err(Fault::Unreadable),
            };
            match checked {
                Ok(()) => return Ok(()),
                Err(found) => fault = found.max_by_depth(fault),
            }
        }
        Err(fault)
    }

    /// When this signature was made and when it ends, if it holds for this answer.
    fn authentic(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        about: About<'_>,
        input: &InnerList<'_>,
        signature: &[u8],
    ) -> Result<Made, Fault> {
        let must: &[&str] = match about {
            About::Body(_) => &[STATUS, DIGEST],
            About::Unchanged { .. } => &[STATUS, ETAG],
        };
        if !must.iter().all(|name| covers(input, name)) {
            return Err(Fault::Uncovered);
        }
        let by = |name: &str| match input.param(name) {
            None => Ok(None),
            Some(Bare::Integer(seconds)) => Ok(Some(*seconds)),
            Some(_) => Err(Fault::Unreadable),
        };
        match input.param("alg") {
            None => {}
            Some(Bare::String(name)) if name == "ed25519" => {}
            Some(_) => return Err(Fault::Algorithm),
        }
        let base = base(input, |name| match name {
            STATUS => Some(status.as_str().to_owned()),
            _ if COMPONENTS.contains(&name) => field(headers, name).ok().flatten(),
            _ => None,
        })?;
        UnparsedPublicKey::new(&ED25519, self.key)
            .verify(base.as_bytes(), signature)
            .map_err(|_| Fault::Forged)?;
        if let About::Unchanged { set, .. } = about {
            match input.param("tag") {
                Some(Bare::String(tag)) if tag == set => {}
                named => {
                    // One that names another set is another set's, and says nothing of this signer's ways.
                    self.seen().is_nameless |= named.is_none();
                    return Err(Fault::Nameless);
                }
            }
        }
        Ok(Made { created: by("created")?.ok_or(Fault::Undated)?, expires: by("expires")? })
    }

    /// Whether it was made now, as far as that can be known, and remembers it if so.
    fn is_fresh(
        &self,
        now: Moment,
        age: Duration,
        status: StatusCode,
        about: About<'_>,
        Made { created, expires }: Made,
    ) -> Result<(), Fault> {
        let mut seen = self.seen();
        let shown = now.wall.div_euclid(1000);
        let age = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
        if created.saturating_sub(shown) > AHEAD {
            return Err(Fault::Early { created, now: shown });
        }
        let is_whole = matches!(about, About::Body(_)) && status == StatusCode::OK;
        let newest = seen.newest.map_or(i64::MIN, |(newest, _)| newest);
        let whole = seen.whole.map_or(i64::MIN, |(whole, _)| whole);
        let is_older_304 = matches!(about, About::Unchanged { .. }) && created < whole;
        if created < newest.saturating_sub(DISORDER) || is_older_304 {
            return Err(Fault::Old);
        }
        let by_elapsed = seen.newest.is_none_or(|(newest, came)| {
            let elapsed = now.boot.saturating_sub(came) / 1000;
            newest.saturating_add_unsigned(elapsed).saturating_sub(created) > age
        });
        if by_elapsed && shown.saturating_sub(created) > age {
            return Err(Fault::Stale { created, now: shown });
        }
        // By the newest time that the endpoint itself has signed, too: this machine's clock may be slow.
        if expires.is_some_and(|expires| expires < shown.max(newest)) {
            return Err(Fault::Expired);
        }
        let mark = Some((created, now.boot));
        if created >= newest {
            seen.newest = mark;
        }
        if is_whole {
            seen.whole = mark;
        }
        Ok(())
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When a signature says that it was made, and until when it counts.
struct Made {
    created: i64,
    expires: Option<i64>,
}

/// What the signature is over (RFC 9421, section 2.5).
fn base(input: &InnerList<'_>, value_of: impl Fn(&str) -> Option<String>) -> Result<String, Fault> {
    let mut base = String::new();
    for (index, item) in input.items.iter().enumerate() {
        let Bare::String(name) = &item.value else { return Err(Fault::Unreadable) };
        let twice = input.items[..index].contains(item);
        // Parameters make another component of it (`;req`, `;sf`, ...), which is none of ours.
        if twice || !item.params.is_empty() {
            return Err(Fault::Uncovered);
        }
        let value = value_of(name).ok_or(Fault::Uncovered)?;
        base.push_str(&format!("\"{name}\": {value}\n"));
    }
    base.push_str(&format!("\"@signature-params\": {}", input.text()));
    Ok(base)
}

fn covers(input: &InnerList<'_>, name: &str) -> bool {
    let is = |item: &Item<'_>| {
        item.params.is_empty() && matches!(&item.value, Bare::String(known) if known == name)
    };
    input.items.iter().any(is)
}

fn check_digest(headers: &HeaderMap, body: &[u8]) -> Result<(), Fault> {
    let text = field(headers, DIGEST)?.ok_or(Fault::Digest)?;
    let digests = dictionary(&text).ok_or(Fault::Unreadable)?;
    let claimed = bytes(&digests, "sha-256").ok_or(Fault::Digest)?;
    match claimed == digest::digest(&digest::SHA256, body).as_ref() {
        true => Ok(()),
        false => Err(Fault::Digest),
    }
}

fn bytes<'a>(dictionary: &'a Dictionary<'_>, name: &str) -> Option<&'a [u8]> {
    match dictionary.iter().find(|(known, _)| *known == name)? {
        (_, Member::Item(Item { value: Bare::Bytes(bytes), .. })) => Some(bytes),
        _ => None,
    }
}

/// A field's value (RFC 9421, section 2.1): its lines, each without the white space around it, in one. At
/// most 8 KiB of it.
fn field(headers: &HeaderMap, name: &str) -> Result<Option<String>, Fault> {
    let mut whole: Option<String> = None;
    for line in headers.get_all(name) {
        let line = line.to_str().map_err(|_| Fault::Unreadable)?.trim();
        let so_far = whole.as_ref().map_or(0, String::len);
        if so_far + line.len() > MAX_FIELD {
            return Err(Fault::Unreadable);
        }
        match &mut whole {
            None => whole = Some(line.to_owned()),
            Some(whole) => {
                whole.push_str(", ");
                whole.push_str(line);
            }
        }
    }
    Ok(whole)
}

#[cfg(feature = "fuzzing")]
pub(super) fn digest_header(body: &[u8]) -> HeaderMap {
    let text = format!("sha-256=:{}:", STANDARD.encode(digest::digest(&digest::SHA256, body)));
    text.parse()
        .ok()
        .map(|value| (http::HeaderName::from_static(DIGEST), value))
        .into_iter()
        .collect()
}

#[cfg(test)]
mod tests;
