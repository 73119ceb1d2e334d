//! Signed answers: RFC 9421 signatures over the digest of RFC 9530, by a key that follows from the seed.
//!
//! A signature covers the status and the digest of the body; of a 304, which has none, the status and the
//! validator, and its `tag` names the set, which no body does. So a whole answer cannot be altered, one of
//! another set cannot stand for it, and an old one shows its age by `created`.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use super::World;
use super::fetch::FetchReply;

/// What says that an answer is the endpoint's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// `Content-Digest`, where there is a body.
    pub content_digest: Option<String>,
    /// `Signature-Input`.
    pub input: String,
    /// `Signature`.
    pub signature: String,
}

/// Which answer gets a wrong signature, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forgery {
    /// The signature holds, and the digest is that of another body.
    Body,
    /// The digest is that of the body, and the signature was made for another one.
    Signature,
}

#[derive(Clone)]
pub(super) struct Signer(std::sync::Arc<Ed25519KeyPair>);

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer(..)")
    }
}

impl Signer {
    pub(super) fn new(seed: u64) -> Self {
        let mut text = b"the signing key of the endpoint with the seed ".to_vec();
        text.extend(seed.to_be_bytes());
        let seed = digest(&SHA256, &text);
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_ref());
        Self(std::sync::Arc::new(pair.expect("a digest is as long as a seed")))
    }

    /// The signature of an answer, made at this time of the endpoint's clock.
    pub(super) fn sign(&self, set: &str, reply: &FetchReply, forgery: Option<Forgery>) -> Signed {
        let other = forgery.is_some().then(|| content_digest(b"another body"));
        let own = (reply.status != 304).then(|| content_digest(&reply.body));
        let created = reply.date_ms.div_euclid(1000);
        let covered = if own.is_some() { "content-digest" } else { "etag" };
        let params = format!(
            "(\"@status\" \"{covered}\");created={created};keyid=\"k\";alg=\"ed25519\";tag=\"{set}\""
        );
        // A 304 has no body that could be another one's.
        let told = match forgery {
            Some(Forgery::Body) if own.is_some() => other.clone(),
            _ => own,
        };
        let etag = reply.etag.clone().unwrap_or_default();
        let value = other.or(told.clone()).unwrap_or(etag);
        let base = base(reply.status, covered, &value, &params);
        let signature = STANDARD.encode(self.0.sign(base.as_bytes()));
        Signed {
            content_digest: told,
            input: format!("keyswap={params}"),
            signature: format!("keyswap=:{signature}:"),
        }
    }
}

fn content_digest(body: &[u8]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(digest(&SHA256, body)))
}

/// The signature base of RFC 9421, section 2.5.
fn base(status: u16, covered: &str, value: &str, params: &str) -> String {
    format!("\"@status\": {status}\n\"{covered}\": {value}\n\"@signature-params\": {params}")
}

impl World {
    /// The key that signs the answers to fetches: the base64 of its 32 bytes.
    pub fn public_key(&self) -> String {
        STANDARD.encode(self.signer.0.public_key())
    }
}

impl FetchReply {
    /// Whether it is signed, as one sees it who pinned this key. Its age is left to him.
    pub fn is_signed_by(&self, public_key: &str) -> bool {
        let Some(Signed { content_digest: told, input, signature }) = self.signed.as_deref() else {
            return false;
        };
        let expected = (self.status != 304).then(|| content_digest(&self.body));
        let covered = if expected.is_some() { "content-digest" } else { "etag" };
        let params = input.strip_prefix("keyswap=").unwrap_or_default();
        let value = told.as_ref().or(self.etag.as_ref()).map_or("", String::as_str);
        let base = base(self.status, covered, value, params);
        let signature = signature.strip_prefix("keyswap=:").and_then(|rest| rest.strip_suffix(':'));
        let signature = signature.and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
        let key = STANDARD.decode(public_key).unwrap_or_default();
        *told == expected
            && params.starts_with(&format!("(\"@status\" \"{covered}\")"))
            && UnparsedPublicKey::new(&ED25519, key).verify(base.as_bytes(), &signature).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{step, world};
    use super::super::{FetchRequest, Setting};
    use super::*;

    fn fetch(world: &mut World, held: Option<&str>) -> FetchReply {
        let ask =
            FetchRequest { bearer: Some("bootstrap"), if_none_match: held, ..Default::default() };
        world.fetch(1_500, &ask).reply().expect("an answer").clone()
    }

    #[test]
    fn a_200_a_304_and_a_410_are_signed() {
        let mut world = world(r#"{"signed": true}"#);
        let key = world.public_key();
        let whole = fetch(&mut world, None);
        let same = fetch(&mut world, Some("\"g1\""));
        world.apply(1_500, &step(r#"{"do": "revoke_set"}"#)).expect("a step");
        let gone = fetch(&mut world, None);
        assert_eq!([&whole, &same, &gone].map(|one| one.status), [200, 304, 410]);
        for reply in [whole, same, gone] {
            assert!(reply.is_signed_by(&key), "{reply:?}");
            let altered = [
                FetchReply { status: 500, ..reply.clone() },
                FetchReply { signed: None, ..reply.clone() },
            ];
            assert!(altered.iter().all(|altered| !altered.is_signed_by(&key)));
            let other = match reply.status {
                304 => FetchReply { etag: Some("\"g2\"".to_owned()), ..reply },
                _ => FetchReply { body: b"{}".to_vec().into(), ..reply },
            };
            assert!(!other.is_signed_by(&key));
        }
        let refused = world.fetch(1_500, &FetchRequest::default());
        assert_eq!(refused.reply().map(|reply| reply.signed.is_some()), Some(false));
    }

    #[test]
    fn it_is_written_by_the_rfc() {
        let mut world = world(r#"{"signed": true}"#);
        let reply = fetch(&mut world, Some("\"g1\""));
        let Signed { content_digest: told, input, signature } = *reply.signed.expect("signed");
        let expected = "keyswap=(\"@status\" \"etag\");created=1795456801;keyid=\"k\";alg=\"ed25519\";tag=\"trading\"";
        assert_eq!((told, input.as_str()), (None, expected));
        // 64 bytes, in base64.
        assert_eq!(signature.len(), "keyswap=::".len() + 88);
        assert_eq!(
            base(200, "content-digest", "sha-256=:x:", "(\"@status\" \"content-digest\")"),
            "\"@status\": 200\n\"content-digest\": sha-256=:x:\n\
             \"@signature-params\": (\"@status\" \"content-digest\")"
        );
        // RFC 9530, appendix D.
        assert_eq!(
            content_digest(b"{\"hello\": \"world\"}\n"),
            "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"
        );
    }

    #[test]
    fn signatures_can_be_wrong_or_missing() {
        let mut world = world(r#"{"signed": true}"#);
        let key = world.public_key();
        world.apply(0, &step(r#"{"do":"endpoint","fault":"bad_signature"}"#)).expect("a step");
        let mut right_digests = 0;
        for held in [None, None, Some("\"g1\""), Some("\"g1\"")] {
            let reply = fetch(&mut world, held);
            assert!(!reply.is_signed_by(&key));
            let signed = reply.signed.expect("signed");
            let right = content_digest(&reply.body);
            right_digests += u32::from(signed.content_digest.is_some_and(|told| told == right));
        }
        assert_eq!(right_digests, 1, "now the digest is wrong, now the signature");
        world.apply(0, &step(r#"{"do":"endpoint","fault":"unsigned"}"#)).expect("a step");
        assert_eq!(fetch(&mut world, None).signed, None);
        world.apply(0, &step(r#"{"do":"endpoint","fault":"none"}"#)).expect("a step");
        assert!(fetch(&mut world, None).is_signed_by(&key));
        assert!(!fetch(&mut self::world("{}"), None).is_signed_by(&key));
    }

    #[test]
    fn the_key_follows_from_the_seed() {
        let key = |seed| {
            World::new(Default::default(), Setting { seed, ..Setting::default() }).public_key()
        };
        assert_eq!(key(7), key(7));
        assert_ne!(key(7), key(8));
        assert_eq!(STANDARD.decode(key(7)).map(|key| key.len()), Ok(32));
        assert_eq!(format!("{:?}", Signer::new(7)), "Signer(..)");
    }
}
