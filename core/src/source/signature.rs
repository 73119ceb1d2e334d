//! Signed answers: HTTP Message Signatures (RFC 9421) by the Ed25519 key that a program pinned.
//!
//! # Theory of operation
//!
//! TLS says who is at the other end of the connection; a pinned key says who wrote the answer, whatever
//! stands between: a cache, a proxy that opens TLS, a server that was broken into. What is believed, and
//! no more, is what a signature covers:
//!
//! - an answer with a body: its status, and the digest of the body (RFC 9530), which must match it;
//! - a 304: its status, and the ETag, which must be the validator that was asked with.
//!
//! The signature does not cover the URL. So the document itself must name its set, and an answer for
//! another set cannot be passed off as this one's. It guards against old answers by `created`: what is
//! more than a minute older than the newest one seen is refused, and so is what has expired. The state of
//! that is one number, held for as long as the endpoint lives; the generation guards across restarts.
//!
//! It never quotes an answer, and never tells more than which rule failed.

use std::{
    fmt,
    sync::atomic::{AtomicI64, Ordering},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, StatusCode};
use ring::{
    digest,
    signature::{ED25519, ED25519_PUBLIC_KEY_LEN, UnparsedPublicKey},
};

use super::structured::{Bare, Dictionary, InnerList, Item, Member, dictionary};
use crate::error::{Error, ErrorKind};

const DIGEST: &str = "content-digest";
const STATUS: &str = "@status";
const ETAG: &str = "etag";

/// What a signature may cover: what can be computed from an answer alone. One that covers anything else
/// is not counted, because whether it holds cannot be known.
const COMPONENTS: [&str; 5] = [STATUS, DIGEST, ETAG, "content-type", "date"];

/// How much older than the newest one an answer may be, in seconds: the servers behind one endpoint
/// answer out of order, and by clocks that differ.
const DISORDER: i64 = 60;

/// The key that must have signed, and the newest answer that it has.
pub(super) struct Pin {
    key: [u8; ED25519_PUBLIC_KEY_LEN],
    newest: AtomicI64,
}

/// What an answer is about, and a signature must cover.
#[derive(Clone, Copy)]
pub(super) enum About<'a> {
    /// This body.
    Body(&'a [u8]),
    /// That what has this validator is unchanged.
    Unchanged(&'a str),
}

/// The rule that an answer broke.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fault {
    Unsigned,
    Unreadable,
    Digest,
    Validator,
    Uncovered,
    Algorithm,
    Forged,
    Undated,
    Old,
    Expired,
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
        Ok(Self { key, newest: AtomicI64::new(i64::MIN) })
    }

    /// Whether this answer is signed, at this time in seconds since 1970 by the machine's own clock.
    pub(super) fn check(
        &self,
        now: i64,
        status: StatusCode,
        headers: &HeaderMap,
        about: About<'_>,
    ) -> Result<(), Fault> {
        match about {
            About::Body(body) => check_digest(headers, body)?,
            About::Unchanged(asked) => {
                if field(headers, ETAG)?.as_deref() != Some(asked) {
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
                    self.check_one(now, status, headers, about, input, bytes)
                }
                _ => Err(Fault::Unreadable),
            };
            match checked {
                Ok(created) => {
                    self.newest.fetch_max(created, Ordering::Relaxed);
                    return Ok(());
                }
                Err(found) => fault = found.max_by_depth(fault),
            }
        }
        Err(fault)
    }

    /// When this signature was made, if it holds.
    fn check_one(
        &self,
        now: i64,
        status: StatusCode,
        headers: &HeaderMap,
        about: About<'_>,
        input: &InnerList<'_>,
        signature: &[u8],
    ) -> Result<i64, Fault> {
        let must: &[&str] = match about {
            About::Body(_) => &[STATUS, DIGEST],
            About::Unchanged(_) => &[STATUS, ETAG],
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
        let created = by("created")?.ok_or(Fault::Undated)?;
        let newest = self.newest.load(Ordering::Relaxed);
        if created < newest.saturating_sub(DISORDER) {
            return Err(Fault::Old);
        }
        // By the newest time that the endpoint itself has signed, too: this machine's clock may be slow.
        match by("expires")? {
            Some(expires) if expires < now.max(newest) => Err(Fault::Expired),
            _ => Ok(created),
        }
    }
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

/// A field's value (RFC 9421, section 2.1): its lines, each without the white space around it, in one.
fn field(headers: &HeaderMap, name: &str) -> Result<Option<String>, Fault> {
    let mut whole: Option<String> = None;
    for line in headers.get_all(name) {
        let line = line.to_str().map_err(|_| Fault::Unreadable)?.trim();
        whole = Some(whole.map_or_else(|| line.to_owned(), |before| format!("{before}, {line}")));
    }
    Ok(whole)
}

impl Fault {
    /// The error that an answer of this place becomes.
    pub(super) fn error(self, shown: &str) -> Error {
        Error::new(ErrorKind::SignatureInvalid, format!("{shown} answered with {self}"))
    }

    /// Of several signatures, the one that came furthest says best what is wrong.
    fn max_by_depth(self, other: Self) -> Self {
        if self as u8 > other as u8 { self } else { other }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unsigned => "no signature, and one by the pinned key is needed: have the provider sign its answers, or leave out the option `signed_by`",
            Self::Unreadable => "a signature that cannot be read (RFC 9421)",
            Self::Digest => "no SHA-256 Content-Digest that matches the body (RFC 9530)",
            Self::Validator => "a 304 whose ETag is not the one that was asked with",
            Self::Uncovered => "a signature that does not cover what it must, or covers what cannot be checked: @status with content-digest, or with etag for a 304",
            Self::Algorithm => "a signature of another algorithm than ed25519",
            Self::Forged => "a signature that does not hold for the pinned key: check the key of the option `signed_by`",
            Self::Undated => "a signature without the time of its creation",
            Self::Old => "an old signature, as if an earlier answer were played again",
            Self::Expired => "a signature that has expired: check this machine's clock",
        })
    }
}

#[cfg(test)]
mod tests;
