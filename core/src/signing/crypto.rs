//! Keys and digests, by ring.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use ring::{
    digest, hmac,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256,
        RSA_PSS_SHA512, RsaKeyPair,
    },
};
use zeroize::Zeroizing;

use crate::{
    credential::Credential,
    error::{Error, ErrorKind},
    scheme::material,
    secret::Secret,
};

/// How many parsed keys one signer keeps: as many as a set holds.
const MOST_KEYS: usize = 4;

/// Base64, whether or not it is padded.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

pub(super) fn hex(bytes: impl AsRef<[u8]>) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = bytes.as_ref();
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        out.push(char::from(HEX[usize::from(byte >> 4)]));
        out.push(char::from(HEX[usize::from(byte & 15)]));
    }
    out
}

pub(super) fn sha256(bytes: &[u8]) -> digest::Digest {
    digest::digest(&digest::SHA256, bytes)
}

pub(super) fn hmac_of(algorithm: hmac::Algorithm, key: &[u8], parts: &[&[u8]]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(&hmac::Key::new(algorithm, key));
    parts.iter().for_each(|part| context.update(part));
    context.sign()
}

/// The secret of a credential, which is written in base64.
pub(super) fn base64_secret(credential: &Credential) -> Result<Zeroizing<Vec<u8>>, Error> {
    let secret = material(credential, "secret")?;
    let decoded = LENIENT.decode(secret.trim());
    decoded.map(Zeroizing::new).map_err(|_| unfit(credential, "is not base64"))
}

pub(super) fn unfit(credential: &Credential, what: &str) -> Error {
    let what = format!("the secret of {} {what}", credential.id());
    Error::new(ErrorKind::SchemeFailed, what)
}

/// Whether it is written as a private key is, and not as a shared secret.
pub(super) fn is_pem(secret: &str) -> bool {
    secret.trim_start().starts_with("-----BEGIN ")
}

/// A private key that signs.
pub(super) enum PrivateKey {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl PrivateKey {
    /// A key in PEM: PKCS #8, or what openssl writes for an elliptic curve or for RSA alone. Or the bytes of an
    /// Ed25519 key in base64, with or without its public half.
    fn read(secret: &str) -> Option<Self> {
        // Files of JSON are copied with their line ends written out.
        let secret = Zeroizing::new(secret.replace("\\n", "\n"));
        if !is_pem(&secret) {
            let bytes = base64_of(&secret)?;
            let seed = bytes.get(..32).filter(|_| matches!(bytes.len(), 32 | 64))?;
            let pair = match bytes.get(32..).filter(|public| !public.is_empty()) {
                Some(public) => Ed25519KeyPair::from_seed_and_public_key(seed, public),
                None => Ed25519KeyPair::from_seed_unchecked(seed),
            };
            return pair.ok().map(Self::Ed25519);
        }
        let (_, rest) = secret.split_once("-----BEGIN ")?;
        let (label, rest) = rest.split_once("-----")?;
        let (body, _) = rest.split_once("-----END ")?;
        let der = base64_of(body)?;
        match label {
            "EC PRIVATE KEY" => sec1(&der).map(Self::P256),
            "RSA PRIVATE KEY" => RsaKeyPair::from_der(&der).ok().map(Self::Rsa),
            "PRIVATE KEY" => {
                // openssl writes Ed25519 without the public half.
                let ed25519 = || Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).ok();
                let random = SystemRandom::new();
                let curve = &ECDSA_P256_SHA256_FIXED_SIGNING;
                let p256 = || EcdsaKeyPair::from_pkcs8(curve, &der, &random).ok();
                let rsa = || RsaKeyPair::from_pkcs8(&der).ok();
                (ed25519().map(Self::Ed25519))
                    .or_else(|| p256().map(Self::P256))
                    .or_else(|| rsa().map(Self::Rsa))
            }
            _ => None,
        }
    }

    /// The signature: Ed25519, ECDSA with SHA-256 as two numbers side by side, or RSA PKCS #1 with SHA-256.
    pub(super) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match self {
            Self::Ed25519(pair) => Some(pair.sign(message).as_ref().to_vec()),
            Self::P256(pair) => Some(pair.sign(&random, message).ok()?.as_ref().to_vec()),
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).ok()?;
                Some(signature)
            }
        }
    }

    /// RSA-PSS with SHA-512; none if it is no RSA key.
    pub(super) fn sign_pss(&self, message: &[u8]) -> Option<Vec<u8>> {
        let Self::Rsa(pair) = self else { return None };
        let mut signature = vec![0; pair.public().modulus_len()];
        pair.sign(&RSA_PSS_SHA512, &SystemRandom::new(), message, &mut signature).ok()?;
        Some(signature)
    }
}

fn base64_of(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut plain = Zeroizing::new(String::with_capacity(text.len()));
    plain.extend(text.chars().filter(|c| !c.is_ascii_whitespace()));
    LENIENT.decode(&**plain).ok().map(Zeroizing::new)
}

/// A key on P-256 as RFC 5915 has it, which ring reads within PKCS #8 alone.
fn sec1(der: &[u8]) -> Option<EcdsaKeyPair> {
    let (0x30, mut fields, _) = field(der)? else { return None };
    let (mut private, mut public) = (None, None);
    while let Some((tag, content, rest)) = field(fields) {
        match tag {
            0x04 => private = Some(content),
            // A bit string, which begins with how many of its bits are not used.
            0xa1 => public = field(content).and_then(|(_, bits, _)| bits.get(1..)),
            _ => {}
        }
        fields = rest;
    }
    let curve = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let random = SystemRandom::new();
    EcdsaKeyPair::from_private_key_and_public_key(curve, private?, public?, &random).ok()
}

/// The first field of this DER: its tag, its content, and what follows.
fn field(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81 => rest.split_first().map(|(length, rest)| (usize::from(*length), rest))?,
        _ => return None,
    };
    Some((*tag, rest.get(..length)?, rest.get(length..)?))
}

/// The private keys that a signer has read: to read one costs as much as to sign.
#[derive(Clone, Default)]
pub(super) struct PrivateKeys(Arc<Mutex<Vec<Known>>>);

struct Known {
    secret: Secret,
    key: Arc<PrivateKey>,
}

impl PrivateKeys {
    /// The secret of this credential as a private key.
    pub(super) fn of(&self, credential: &Credential) -> Result<Arc<PrivateKey>, Error> {
        let secret = Secret::from(material(credential, "secret")?);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.iter().find(|known| known.secret == secret) {
            return Ok(known.key.clone());
        }
        let key = PrivateKey::read(secret.reveal())
            .map(Arc::new)
            .ok_or_else(|| unfit(credential, "is not a private key of a kind that signs here"))?;
        if known.len() >= MOST_KEYS {
            known.remove(0);
        }
        known.push(Known { secret, key: key.clone() });
        Ok(key)
    }
}

impl fmt::Debug for PrivateKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKeys(..)")
    }
}

#[cfg(test)]
mod tests {
    use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL;
    use ring::{rand::SystemRandom, signature::KeyPair};

    use super::*;

    #[test]
    fn a_token_is_signed_as_rfc_8037_has_it() {
        let secret = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
        let key = PrivateKey::read(secret).expect("a key");
        let signature = key.sign(b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc");
        let expected = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        assert_eq!(BASE64URL.encode(signature.expect("signed")), expected);
        // With its public half, which must be its own.
        let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        let mut both = LENIENT.decode(secret).expect("base64");
        let digits =
            public.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("text"));
        both.extend(digits.map(|pair| u8::from_str_radix(pair, 16).expect("digits")));
        assert!(PrivateKey::read(&LENIENT.encode(&both)).is_some());
        both[40] ^= 1;
        assert!(PrivateKey::read(&LENIENT.encode(&both)).is_none());
    }

    #[test]
    fn a_private_key_is_read_in_each_of_its_forms() {
        let random = SystemRandom::new();
        let pem = |label: &str, der: &[u8]| {
            let encoded = LENIENT.encode(der);
            let lines: Vec<_> =
                encoded.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
            format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
        };
        let curve = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(curve, &random).expect("a key");
        let public = EcdsaKeyPair::from_pkcs8(curve, pkcs8.as_ref(), &random).expect("a key");
        let whole = pem("PRIVATE KEY", pkcs8.as_ref());
        // The version, the algorithm, and then the other form.
        let (_, fields, _) = field(pkcs8.as_ref()).expect("a sequence");
        let (_, _, fields) = field(fields).expect("a version");
        let (_, _, fields) = field(fields).expect("an algorithm");
        let (_, inner, _) = field(fields).expect("a key");
        let alone = pem("EC PRIVATE KEY", inner);
        for form in [&whole, &alone, &alone.replace('\n', "\\n"), &format!("  {whole}")] {
            let Some(PrivateKey::P256(pair)) = PrivateKey::read(form) else { panic!("{form}") };
            assert_eq!(pair.public_key().as_ref(), public.public_key().as_ref());
        }
        let ed25519 = Ed25519KeyPair::generate_pkcs8(&random).expect("a key");
        let form = pem("PRIVATE KEY", ed25519.as_ref());
        assert!(matches!(PrivateKey::read(&form), Some(PrivateKey::Ed25519(_))));
        for odd in
            ["", "AAAA", "-----BEGIN PRIVATE KEY-----", "-----BEGIN X-----\nAAAA\n-----END X-----"]
        {
            assert!(PrivateKey::read(odd).is_none(), "{odd}");
        }
        for cut in 0..inner.len() {
            assert!(sec1(&inner[..cut]).is_none(), "{cut}");
        }
    }

    #[test]
    fn keys_that_were_read_are_kept_and_not_without_bound() {
        let keys = PrivateKeys::default();
        let of = |seed: u8| {
            Credential::new("k", "x").with_material("secret", LENIENT.encode([seed; 32]).as_str())
        };
        let first = keys.of(&of(1)).expect("a key");
        assert!(Arc::ptr_eq(&first, &keys.of(&of(1)).expect("a key")));
        (2..20).for_each(|seed| drop(keys.of(&of(seed)).expect("a key")));
        assert_eq!(keys.0.lock().expect("a lock").len(), MOST_KEYS);
        let error = keys.of(&Credential::new("k", "x").with_material("secret", "s3cr3t"));
        assert!(!error.err().expect("an error").to_string().contains("s3cr3t"));
    }
}
