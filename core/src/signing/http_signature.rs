//! HTTP Message Signatures, RFC 9421.

use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};
use http::{HeaderName, header};
use ring::hmac;

use super::{
    crypto::{PrivateKey, PrivateKeys, base64_secret, hmac_of, sha256, unfit},
    hmac::host,
};
use crate::{
    credential::Credential,
    error::{Error, ErrorKind},
    scheme::{Patch, Scheme, Sign, Unsigned, material},
};

const INPUT: HeaderName = HeaderName::from_static("signature-input");
const SIGNATURE: HeaderName = HeaderName::from_static("signature");
const DIGEST: HeaderName = HeaderName::from_static("content-digest");

/// How the credential's secret signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Algorithm {
    /// `hmac-sha256`, with a secret in base64.
    HmacSha256,
    /// `ed25519`, with a private key in PEM or in base64.
    Ed25519,
    /// `ecdsa-p256-sha256`, with a private key in PEM.
    EcdsaP256Sha256,
    /// `rsa-v1_5-sha256`, with a private key in PEM.
    RsaV15Sha256,
    /// `rsa-pss-sha512`, with a private key in PEM.
    RsaPssSha512,
}

/// What a signature covers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Component {
    /// `@method`
    Method,
    /// `@authority`: the host, with its port if it is not that of the URL's scheme.
    Authority,
    /// `@scheme`
    Scheme,
    /// `@target-uri`: the whole URL.
    TargetUri,
    /// `@request-target`: path and query.
    RequestTarget,
    /// `@path`
    Path,
    /// `@query`, with its question mark.
    Query,
    /// `content-digest`, which is made of the body and sent along.
    ContentDigest,
    /// A header of the request. One that a request lacks is not covered.
    Header(Box<str>),
}

/// A signature as RFC 9421 has it: `Signature-Input` and `Signature`, with the key's name as `keyid`.
///
/// ```
/// use keyswap::{Scheme, signing::{Algorithm, Component, HttpSignature}};
/// let covered = [Component::Method, Component::TargetUri, Component::ContentDigest];
/// let scheme = Scheme::http_signature(HttpSignature::new(Algorithm::Ed25519, covered));
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct HttpSignature {
    algorithm: Algorithm,
    covered: Vec<Component>,
    label: Box<str>,
    tag: Option<Box<str>>,
    life: Option<i64>,
    names_algorithm: bool,
    keys: PrivateKeys,
}

impl HttpSignature {
    /// With this algorithm, over these.
    pub fn new(algorithm: Algorithm, covered: impl IntoIterator<Item = Component>) -> Self {
        Self {
            algorithm,
            covered: covered.into_iter().collect(),
            label: "sig1".into(),
            tag: None,
            life: None,
            names_algorithm: false,
            keys: PrivateKeys::default(),
        }
    }

    /// The label of the signature: `sig1` unless changed.
    pub fn label(mut self, label: &str) -> Self {
        self.label = label.into();
        self
    }

    /// What the signature is for, as `tag`.
    pub fn tag(mut self, tag: &str) -> Self {
        self.tag = Some(tag.into());
        self
    }

    /// It `expires` so many seconds after it was made.
    pub fn expires_after(mut self, seconds: u32) -> Self {
        self.life = Some(seconds.into());
        self
    }

    /// It names its algorithm as `alg`.
    pub fn with_algorithm_name(mut self) -> Self {
        self.names_algorithm = true;
        self
    }

    fn sign(&self, credential: &Credential, base: &str) -> Result<String, Error> {
        let base = base.as_bytes();
        if self.algorithm == Algorithm::HmacSha256 {
            let secret = base64_secret(credential)?;
            return Ok(BASE64.encode(hmac_of(hmac::HMAC_SHA256, &secret, &[base])));
        }
        let key = self.keys.of(credential)?;
        let signature = match (self.algorithm, &*key) {
            (Algorithm::RsaPssSha512, _) => key.sign_pss(base),
            (Algorithm::Ed25519, PrivateKey::Ed25519(_))
            | (Algorithm::EcdsaP256Sha256, PrivateKey::P256(_))
            | (Algorithm::RsaV15Sha256, PrivateKey::Rsa(_)) => key.sign(base),
            _ => None,
        };
        let signature = signature.ok_or_else(|| unfit(credential, "is a key of another kind"))?;
        Ok(BASE64.encode(signature))
    }
}

impl Component {
    /// Its name and its value; none if the request has none.
    fn of(&self, request: &Unsigned<'_>, digest: &str) -> Option<(&str, String)> {
        let url = request.url;
        Some(match self {
            Self::Method => ("@method", request.method.to_string()),
            Self::Authority => ("@authority", host(request)),
            Self::Scheme => ("@scheme", url.scheme().to_owned()),
            Self::TargetUri => ("@target-uri", url[..url::Position::AfterQuery].to_owned()),
            Self::RequestTarget => ("@request-target", request.target().to_owned()),
            Self::Path => ("@path", url.path().to_owned()),
            Self::Query => ("@query", format!("?{}", request.query())),
            Self::ContentDigest => ("content-digest", digest.to_owned()),
            Self::Header(name) => {
                let values: Option<Vec<_>> = (request.headers.get_all(&**name).iter())
                    .map(|value| value.to_str().ok().map(str::trim))
                    .collect();
                (name, values.filter(|values| !values.is_empty())?.join(", "))
            }
        })
    }
}

impl Sign for HttpSignature {
    fn sign(
        &self,
        credential: &Credential,
        request: &Unsigned<'_>,
        patch: &mut Patch,
    ) -> Result<(), Error> {
        let name = material(credential, "key")?;
        let covers_digest = self.covered.contains(&Component::ContentDigest);
        let body = request.body.unwrap_or(b"");
        let digest = match covers_digest {
            true => format!("sha-256=:{}:", BASE64.encode(sha256(body))),
            false => String::new(),
        };
        let (mut base, mut covered) = (String::new(), String::new());
        for (name, value) in self.covered.iter().filter_map(|it| it.of(request, &digest)) {
            base.extend(["\"", name, "\": ", &value, "\n"]);
            covered.extend([if covered.is_empty() { "\"" } else { " \"" }, name, "\""]);
        }
        let created = request.now.as_millisecond().div_euclid(1_000);
        let mut parameters = format!("({covered});created={created}");
        if let Some(life) = self.life {
            parameters += &format!(";expires={}", created.saturating_add(life));
        }
        parameters += &format!(";keyid={}", quoted(name));
        if self.names_algorithm {
            parameters += &format!(";alg=\"{}\"", self.algorithm.name());
        }
        if let Some(tag) = &self.tag {
            parameters += &format!(";tag={}", quoted(tag));
        }
        base.extend(["\"@signature-params\": ", &parameters]);
        let signature = self.sign(credential, &base)?;
        let label = &self.label;
        if covers_digest {
            patch.add_plain_header(DIGEST, &digest, credential)?;
        }
        patch.add_plain_header(INPUT, &format!("{label}={parameters}"), credential)?;
        patch.add_header(SIGNATURE, &format!("{label}=:{signature}:"), credential)
    }

    fn needs_body(&self) -> bool {
        self.covered.contains(&Component::ContentDigest)
    }

    fn check(&self) -> Result<(), Error> {
        let is_key = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.*".contains(c);
        let is_fit = |component: &Component| match component {
            Component::Header(name) => {
                let parsed = name.parse::<HeaderName>();
                parsed.is_ok_and(|parsed| parsed.as_str() == &**name && parsed != header::HOST)
            }
            _ => true,
        };
        let is_label = self.label.starts_with(|c: char| c.is_ascii_lowercase() || c == '*');
        if is_label && self.label.chars().all(is_key) && self.covered.iter().all(is_fit) {
            return Ok(());
        }
        let what = "an HTTP signature has a label in lower case, and names headers so; the host is Authority";
        Err(Error::new(ErrorKind::InvalidConfig, what))
    }
}

impl Algorithm {
    const fn name(self) -> &'static str {
        match self {
            Self::HmacSha256 => "hmac-sha256",
            Self::Ed25519 => "ed25519",
            Self::EcdsaP256Sha256 => "ecdsa-p256-sha256",
            Self::RsaV15Sha256 => "rsa-v1_5-sha256",
            Self::RsaPssSha512 => "rsa-pss-sha512",
        }
    }
}

/// A string of structured fields. What cannot stand in one is refused with the header that has it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

impl Scheme {
    /// A signature as RFC 9421 has it.
    pub fn http_signature(signature: HttpSignature) -> Self {
        Self::signing(signature)
    }
}
