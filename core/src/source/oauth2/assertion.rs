//! How a client proves who it is with a private key: a signed assertion (RFC 7523, section 2.2), of which the server
//! knows the public key.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use ring::{
    rand::{SecureRandom, SystemRandom},
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use rustls::pki_types::{
    PrivateKeyDer,
    pem::{PemObject, SectionKind},
};
use serde_json::json;
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind};

/// How long an assertion is valid, in seconds: long enough for a clock that is a little off, and for one way.
const LIFE: i64 = 60;

/// How it is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Es256,
    Rs256,
    EdDsa,
}

impl Algorithm {
    pub(super) fn named(name: &str) -> Result<Self, Error> {
        match name {
            "ES256" => Ok(Self::Es256),
            "RS256" => Ok(Self::Rs256),
            "EdDSA" => Ok(Self::EdDsa),
            _ => Err(invalid("the algorithm of the private key must be ES256, RS256 or EdDSA")),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// What an assertion says.
pub(super) struct Claims<'a> {
    pub(super) client_id: &'a str,
    /// Whom it is for.
    pub(super) audience: &'a str,
    /// The time, in seconds since 1970.
    pub(super) now: i64,
}

/// A private key. Not `Debug`.
pub(super) enum SigningKey {
    Es256(EcdsaKeyPair),
    Rs256(Box<RsaKeyPair>),
    EdDsa(Ed25519KeyPair),
}

impl SigningKey {
    /// The private key in this PEM: PKCS#8, or as openssl wrote EC and RSA keys before (SEC 1, PKCS#1).
    pub(super) fn read(pem: &str, algorithm: Algorithm) -> Result<Self, Error> {
        let key = <(SectionKind, Vec<u8>)>::pem_slice_iter(pem.as_bytes())
            .filter_map(Result::ok)
            .find_map(|(kind, der)| PrivateKeyDer::from_pem(kind, der))
            .ok_or_else(|| {
                invalid("the private key must be PEM, and unencrypted: -----BEGIN PRIVATE KEY-----")
            })?;
        let der = Zeroizing::new(key.secret_der().to_vec());
        let read = match (algorithm, &key) {
            (Algorithm::Es256, PrivateKeyDer::Sec1(_)) => ec_key(&sec1_in_pkcs8(&der)),
            (Algorithm::Es256, PrivateKeyDer::Pkcs8(_)) => ec_key(&der),
            (Algorithm::Rs256, PrivateKeyDer::Pkcs1(_)) => {
                RsaKeyPair::from_der(&der).ok().map(Box::new).map(Self::Rs256)
            }
            (Algorithm::Rs256, PrivateKeyDer::Pkcs8(_)) => {
                RsaKeyPair::from_pkcs8(&der).ok().map(Box::new).map(Self::Rs256)
            }
            // Openssl's keys leave out the public half.
            (Algorithm::EdDsa, PrivateKeyDer::Pkcs8(_)) => {
                Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).ok().map(Self::EdDsa)
            }
            _ => None,
        };
        read.ok_or_else(|| {
            let what = match algorithm {
                Algorithm::Es256 => "an EC key on the curve P-256",
                Algorithm::Rs256 => "an RSA key of 2048 to 4096 bits",
                Algorithm::EdDsa => "an Ed25519 key",
            };
            invalid(&format!("the private key cannot be used: {} needs {what}", algorithm.name()))
        })
    }

    /// An assertion that says this, signed.
    pub(super) fn assertion(
        &self,
        kid: Option<&str>,
        claims: &Claims<'_>,
    ) -> Result<Zeroizing<String>, Error> {
        let random = SystemRandom::new();
        let failed = |_| Error::new(ErrorKind::SourceFailed, "the private key did not sign");
        let mut unique = [0; 16];
        random.fill(&mut unique).map_err(failed)?;
        let mut header = json!({"alg": self.algorithm().name(), "typ": "JWT"});
        if let Some(kid) = kid {
            header["kid"] = kid.into();
        }
        let claims = json!({
            "iss": claims.client_id,
            "sub": claims.client_id,
            "aud": claims.audience,
            "jti": BASE64.encode(unique),
            "iat": claims.now,
            "exp": claims.now + LIFE,
        });
        let parts = [header, claims].map(|part| BASE64.encode(part.to_string()));
        let mut token = Zeroizing::new(parts.join("."));
        let signature = match self {
            Self::Es256(key) => {
                key.sign(&random, token.as_bytes()).map_err(failed)?.as_ref().to_vec()
            }
            Self::EdDsa(key) => key.sign(token.as_bytes()).as_ref().to_vec(),
            Self::Rs256(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, token.as_bytes(), &mut signature)
                    .map_err(failed)?;
                signature
            }
        };
        token.push('.');
        BASE64.encode_string(signature, &mut token);
        Ok(token)
    }

    fn algorithm(&self) -> Algorithm {
        match self {
            Self::Es256(_) => Algorithm::Es256,
            Self::Rs256(_) => Algorithm::Rs256,
            Self::EdDsa(_) => Algorithm::EdDsa,
        }
    }
}

fn ec_key(pkcs8: &[u8]) -> Option<SigningKey> {
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &random);
    key.ok().map(SigningKey::Es256)
}

/// An EC key of P-256 as SEC 1 writes it (RFC 5915), in the form that the key reader knows (RFC 5208).
fn sec1_in_pkcs8(sec1: &[u8]) -> Zeroizing<Vec<u8>> {
    // Version 0; ecPublicKey on prime256v1.
    const BEGINNING: &[u8] = b"\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
    let key = der(0x04, &[sec1]);
    der(0x30, &[BEGINNING, &key])
}

/// A value of DER with this tag.
fn der(tag: u8, parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Zeroizing::new(Vec::with_capacity(length + 4));
    out.push(tag);
    match length {
        0..=0x7f => out.push(length as u8),
        0x80..=0xff => out.extend([0x81, length as u8]),
        _ => out.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

fn invalid(what: &str) -> Error {
    Error::new(ErrorKind::InvalidConfig, what)
}

#[cfg(test)]
mod tests;
