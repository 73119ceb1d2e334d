//! The general signature with a shared secret, as most APIs have one, by its description.

use std::borrow::Cow;

use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};
use http::{HeaderName, Method};
use jiff::Timestamp;
use ring::{digest, hmac};
use zeroize::Zeroizing;

use super::{
    crypto::{PrivateKeys, base64_secret, hex, hmac_of, is_pem, unfit},
    text,
};
use crate::{
    credential::Credential,
    error::{Error, ErrorKind},
    scheme::{Patch, Scheme, Sign, Unsigned, material},
};

/// Which digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Digest {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Digest {
    const fn algorithm(self) -> hmac::Algorithm {
        match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha384 => hmac::HMAC_SHA384,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }
}

/// How a signature is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Encoding {
    /// In hexadecimal digits, lower case.
    Hex,
    /// In base64.
    Base64,
}

/// How the set has the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecretForm {
    /// Its text is the key.
    Text,
    /// It is the key in base64.
    Base64,
    /// It is the key in hexadecimal digits.
    Hex,
}

/// How a time is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TimeForm {
    /// Seconds since 1970.
    Seconds,
    /// Milliseconds since 1970.
    Millis,
    /// `2023-11-14T22:13:20.123Z`
    IsoMillis,
    /// Milliseconds since 1970, or one more than the last: a nonce that only rises for each key.
    Nonce,
}

/// A part of what is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// The time, as its header has it.
    Time,
    /// The key.
    Key,
    /// The method, in upper case.
    Method,
    /// The host, with its port if it is not that of the URL's scheme.
    Host,
    /// The path as it is sent.
    Path,
    /// The query as it is sent, without its question mark.
    Query,
    /// The path, and the query with its question mark, as they are sent.
    Target,
    /// The same, as it was before it was encoded for the URL.
    DecodedTarget,
    /// The same, and the query in the order of its names.
    SortedTarget,
    /// The body.
    Body,
    /// The digest of the body, in hexadecimal digits.
    BodyDigest,
    /// What says what is asked for: the query of a GET, HEAD or DELETE, and else the body.
    Arguments,
    /// This text: a line end, say, or a window of time.
    Text(Box<str>),
}

/// A signature with a shared secret. What it covers is put together without anything between, in this order.
///
/// ```
/// use keyswap::{Scheme, signing::{Encoding, Hmac, Part, TimeForm}};
/// let scheme = Scheme::hmac(
///     Hmac::sha256("x-signature", Encoding::Hex)
///         .covers([Part::Time, Part::Method, Part::Target, Part::Body])
///         .key_in("x-api-key")
///         .time_in("x-timestamp", TimeForm::Millis),
/// );
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Hmac {
    digest: Digest,
    encoding: Encoding,
    secret: SecretForm,
    parts: Vec<Part>,
    signature: Header,
    key: Option<Header>,
    time: (Option<Header>, TimeForm),
    passphrase: Option<(Header, bool)>,
    plain: Vec<(Header, Box<str>)>,
    /// Where the API takes private keys as well, those that were read.
    private: Option<PrivateKeys>,
}

/// The name of a header, or what was given for one.
type Header = Result<HeaderName, Box<str>>;

fn header(name: &str) -> Header {
    name.parse().map_err(|_| name.into())
}

impl Hmac {
    /// With this digest, the signature in this header, written so.
    pub fn new(digest: Digest, signature: &str, encoding: Encoding) -> Self {
        Self {
            digest,
            encoding,
            secret: SecretForm::Text,
            parts: Vec::new(),
            signature: header(signature),
            key: None,
            time: (None, TimeForm::Millis),
            passphrase: None,
            plain: Vec::new(),
            private: None,
        }
    }

    /// With SHA-256.
    pub fn sha256(signature: &str, encoding: Encoding) -> Self {
        Self::new(Digest::Sha256, signature, encoding)
    }

    /// What is signed.
    pub fn covers(mut self, parts: impl IntoIterator<Item = Part>) -> Self {
        self.parts = parts.into_iter().collect();
        self
    }

    /// How the set has the secret: as text, unless this is said.
    pub fn secret_is(mut self, form: SecretForm) -> Self {
        self.secret = form;
        self
    }

    /// The key goes into this header.
    pub fn key_in(mut self, name: &str) -> Self {
        self.key = Some(header(name));
        self
    }

    /// The time goes into this header, written so.
    pub fn time_in(mut self, name: &str, form: TimeForm) -> Self {
        self.time = (Some(header(name)), form);
        self
    }

    /// The passphrase goes into this header.
    pub fn passphrase_in(mut self, name: &str) -> Self {
        self.passphrase = Some((header(name), false));
        self
    }

    /// The passphrase goes into this header, signed with the secret.
    pub fn signed_passphrase_in(mut self, name: &str) -> Self {
        self.passphrase = Some((header(name), true));
        self
    }

    /// A header that is always the same: a version, say.
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.plain.push((header(name), value.into()));
        self
    }

    /// A secret in PEM is a private key, and signs as such.
    pub(super) fn or_private_key(mut self) -> Self {
        self.private = Some(PrivateKeys::default());
        self
    }

    fn secret<'a>(&self, credential: &'a Credential) -> Result<Cow<'a, [u8]>, Error> {
        let text = material(credential, "secret")?;
        Ok(match self.secret {
            SecretForm::Text => Cow::Borrowed(text.as_bytes()),
            SecretForm::Base64 => Cow::Owned(std::mem::take(&mut *base64_secret(credential)?)),
            SecretForm::Hex => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                let pairs = text.as_bytes().chunks(2).map(|pair| match pair {
                    [high, low] => u8::try_from(digit(high)? * 16 + digit(low)?).ok(),
                    _ => None,
                });
                let bytes: Option<Vec<u8>> = pairs.collect();
                Cow::Owned(bytes.ok_or_else(|| unfit(credential, "is not hexadecimal"))?)
            }
        })
    }

    fn bytes<'a>(
        &self,
        part: &'a Part,
        time: &'a str,
        key: &'a str,
        request: &Unsigned<'a>,
    ) -> Cow<'a, [u8]> {
        let body = request.body.unwrap_or(b"");
        let whole = |(path, query): (Cow<'a, [u8]>, Vec<u8>)| match query.is_empty() {
            true => path,
            false => Cow::Owned([&*path, &query].concat()),
        };
        match part {
            Part::Time => time.as_bytes().into(),
            Part::Key => key.as_bytes().into(),
            Part::Method => request.method.as_str().as_bytes().into(),
            Part::Host => host(request).into_bytes().into(),
            Part::Path => request.url.path().as_bytes().into(),
            Part::Query => request.query().as_bytes().into(),
            Part::Target => request.target().as_bytes().into(),
            Part::DecodedTarget => whole(text::decoded(request.url.path(), request.query())),
            Part::SortedTarget => {
                whole(text::decoded_and_sorted(request.url.path(), request.query()))
            }
            Part::Body => body.into(),
            Part::BodyDigest => {
                hex(digest::digest(self.digest.algorithm().digest_algorithm(), body))
                    .into_bytes()
                    .into()
            }
            Part::Arguments => match *request.method {
                Method::GET | Method::HEAD | Method::DELETE => request.query().as_bytes().into(),
                _ => body.into(),
            },
            Part::Text(text) => text.as_bytes().into(),
        }
    }

    fn tag(&self, key: &[u8], parts: &[&[u8]]) -> String {
        let tag = hmac_of(self.digest.algorithm(), key, parts);
        match self.encoding {
            Encoding::Hex => hex(tag),
            Encoding::Base64 => BASE64.encode(tag),
        }
    }
}

/// The time as a signature writes it.
pub(super) fn written(form: TimeForm, credential: &Credential, request: &Unsigned<'_>) -> String {
    let now: Timestamp = request.now;
    match form {
        TimeForm::Seconds => now.as_millisecond().div_euclid(1_000).to_string(),
        TimeForm::Millis => now.as_millisecond().to_string(),
        TimeForm::IsoMillis => text::iso_millis(now),
        TimeForm::Nonce => request.nonce(credential).to_string(),
    }
}

/// The host of a request, as the header `Host` has it.
pub(super) fn host(request: &Unsigned<'_>) -> String {
    let host = request.url.host_str().unwrap_or("");
    match request.url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

impl Sign for Hmac {
    fn sign(
        &self,
        credential: &Credential,
        request: &Unsigned<'_>,
        patch: &mut Patch,
    ) -> Result<(), Error> {
        let key = material(credential, "key")?;
        let secret = material(credential, "secret")?;
        let time = written(self.time.1, credential, request);
        let parts: Vec<_> =
            self.parts.iter().map(|part| self.bytes(part, &time, key, request)).collect();
        let parts: Vec<&[u8]> = parts.iter().map(|part| &**part).collect();
        let mut passphrase = None;
        let signature = match self.private.as_ref().filter(|_| is_pem(secret)) {
            Some(private) => {
                let signature = private.of(credential)?.sign(&parts.concat());
                BASE64.encode(signature.ok_or_else(|| unfit(credential, "cannot sign"))?)
            }
            None => {
                let secret = Zeroizing::new(self.secret(credential)?.into_owned());
                if let Some((_, true)) = self.passphrase {
                    let plain = material(credential, "passphrase")?;
                    passphrase = Some(self.tag(&secret, &[plain.as_bytes()]));
                }
                self.tag(&secret, &parts)
            }
        };
        for (name, value) in &self.plain {
            patch.add_plain_header(known(name)?, value, credential)?;
        }
        if let Some(name) = &self.time.0 {
            patch.add_plain_header(known(name)?, &time, credential)?;
        }
        if let Some(name) = &self.key {
            patch.add_header(known(name)?, key, credential)?;
        }
        if let Some((name, _)) = &self.passphrase {
            let value = match &passphrase {
                Some(signed) => signed,
                None => material(credential, "passphrase")?,
            };
            patch.add_header(known(name)?, value, credential)?;
        }
        patch.add_header(known(&self.signature)?, &signature, credential)
    }

    fn needs_body(&self) -> bool {
        let is_body = |part: &Part| matches!(part, Part::Body | Part::BodyDigest | Part::Arguments);
        self.parts.iter().any(is_body)
    }

    fn check(&self) -> Result<(), Error> {
        let own = [Some(&self.signature), self.key.as_ref(), self.time.0.as_ref()];
        let passphrase = self.passphrase.iter().map(|(name, _)| name);
        let plain = self.plain.iter().map(|(name, _)| name);
        let mut names = own.into_iter().flatten().chain(passphrase).chain(plain);
        names.try_for_each(|name| known(name).map(drop))
    }
}

fn known(name: &Header) -> Result<HeaderName, Error> {
    name.clone().map_err(|given| {
        Error::new(ErrorKind::InvalidConfig, format!("{given:?} is not the name of a header"))
    })
}

impl Scheme {
    /// A signature with a shared secret, as described.
    pub fn hmac(hmac: Hmac) -> Self {
        Self::signing(hmac)
    }
}
