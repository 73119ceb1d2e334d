//! What a program may say of each thing that it makes, as plain data.
//!
//! The comments of the fields are the documentation of the options in every language: generators read them
//! here. Durations are seconds. What is absent keeps its default.

#[cfg(feature = "stores")]
pub mod stores;

use keyswap::{Error, Policy};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};

use crate::{SecretText, error::invalid};

/// A rotation endpoint that speaks `keyswap/1`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EndpointOptions {
    /// The URL of the set itself, such as `https://keys.example.com/keyswap/v1/sets/trading`.
    pub url: String,
    /// The credential that the endpoint is asked with. Unless it, a file, a function or none is given, it is the
    /// environment variable `KEYSWAP_BOOTSTRAP`.
    pub bootstrap: Option<SecretText>,
    /// A file that holds the bootstrap credential. It is read at first use, and again once the endpoint rejects it.
    pub bootstrap_file: Option<String>,
    /// That the endpoint is asked without a bootstrap credential: it knows its clients by other means, such as a
    /// client certificate.
    pub no_bootstrap: bool,
    /// How long one answer may take, in seconds. By default the policy's `fetch_timeout`, 10 s, which always holds
    /// as well.
    pub timeout: Option<f64>,
    /// Whether the push channel is followed where the set offers one. True by default; polling never stops.
    pub push: Option<bool>,
    /// How long the push channel may be silent until it counts as lost and is connected anew, in seconds. 45 s by
    /// default.
    pub heartbeat: Option<f64>,
    /// The provider's public key, the base64 of its 32 bytes (Ed25519). With it, answers that are not signed by it
    /// are refused.
    pub signed_by: Option<String>,
    /// The name of the set, where the last part of the URL is not that. An answer for another set is refused.
    pub set_name: Option<String>,
    /// Certificates (PEM) that are trusted instead of the machine's.
    pub root_certificates: Option<String>,
    /// A file that holds the trusted certificates. It is read again when it changes.
    pub root_certificates_file: Option<String>,
    /// A certificate chain and its private key (PEM), shown to the endpoint: mutual TLS.
    pub client_certificate: Option<SecretText>,
    /// A file that holds the client certificate and its key. It is read again when it changes, so certificates are
    /// renewed without a restart.
    pub client_certificate_file: Option<String>,
    /// What the provider's operators see this program as, in reports of the keys in use.
    pub app: Option<String>,
    /// Allows plain HTTP to other machines. Everybody on the way can read the keys.
    pub plain_http_allowed: bool,
}

/// A file or a folder that something else keeps fresh.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FileOptions {
    /// Where it is: a file that holds a key or a document, or a folder with a file for each piece, as Kubernetes
    /// mounts a secret.
    pub path: String,
}

/// A key in an environment variable, for development. It never rotates.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EnvOptions {
    /// The name of the variable.
    pub variable: String,
    /// What events and errors call the credential. By default the name of the variable.
    pub id: Option<String>,
}

/// How a credential goes onto a request.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SchemeOptions {
    /// Which of the schemes it is.
    pub kind: SchemeKind,
    /// The name of the header, or of the parameter of the query; nothing for the others.
    pub name: Option<String>,
}

/// The schemes that are built in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SchemeKind {
    /// A header of a given name, whose value is the material named `key`.
    Header,
    /// `Authorization: Bearer`, with the material named `key`.
    #[default]
    Bearer,
    /// `Authorization: Basic`, with the material named `key` as user and `secret` as password.
    Basic,
    /// A parameter of the query of a given name. Servers and proxies may log it.
    Query,
}

/// Which responses a program's own classifier judges.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClassifierOptions {
    /// The statuses of the responses that it is shown. 401 by default.
    pub statuses: Vec<u16>,
    /// How many bytes of a body it is shown at most, if it asks for the body. 4096 by default.
    pub body_limit: u32,
}

impl Default for ClassifierOptions {
    fn default() -> Self {
        Self { statuses: vec![401], body_limit: 4096 }
    }
}

/// What puts credentials on requests.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthorizerOptions {
    /// How credentials go onto requests; without it, as the set says.
    pub scheme: Option<SchemeOptions>,
    /// The origins that credentials may be sent to, and nowhere else. Requests to other origins go without.
    pub allowed_origins: Vec<String>,
    /// Which responses the program's own classifier judges; nothing if it has none, and then 401 means that the
    /// credential is rejected.
    pub classifier: Option<ClassifierOptions>,
    /// Allows plain HTTP to other machines. Everybody on the way can read the keys.
    pub plain_http_allowed: bool,
    /// A request that sets the header of the scheme itself goes as it is, and what the API says of it is no evidence
    /// about the credential. By default such a request is an error.
    pub own_header_wins: bool,
}

/// An HTTP client whose requests are sent by the core.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientOptions {
    /// What paths are added to, and the first allowed origin.
    pub base_url: Option<String>,
    /// Headers that every request carries unless it sets its own: pairs of a name and a value.
    pub headers: Vec<(String, String)>,
    /// How long a request may take until the head of its response is there, with all resends, and then each part of
    /// the body, in seconds. 30 s by default.
    pub timeout: Option<f64>,
    /// That there is no such limit.
    pub no_timeout: bool,
    /// How often 429, 502, 503, 504 and failed connections are retried, within a budget. 2 by default.
    pub retries: Option<u32>,
    /// How many redirects a request follows. 10 by default.
    pub max_redirects: Option<u32>,
}

/// A handle that follows a source.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeySwapOptions {
    /// The numbers that the engine works with; those that are not named keep their defaults.
    #[serde(deserialize_with = "policy")]
    pub policy: Policy,
    /// What logs and metrics call the set, in a program that follows several.
    pub name: Option<String>,
    /// That each call of a function makes a new credential, such as a token: it is then called by the life of what
    /// it made, and not polled. Only for a source that is a function.
    pub mints: bool,
}

fn policy<'de, D: Deserializer<'de>>(from: D) -> Result<Policy, D::Error> {
    let said = |error| serde::de::Error::custom(format_args!("invalid policy: {error}"));
    Policy::deserialize(from).map_err(said)
}

/// Options from JSON.
///
/// # Errors
/// `invalid_config`. What stands in the place of an option is not repeated, since it may be a secret, but for a number
/// of the policy.
pub fn from_json<T: DeserializeOwned>(json: &str) -> Result<T, Error> {
    serde_json::from_str(json).map_err(|error| {
        let text = error.to_string();
        let quotes_nothing =
            ["invalid policy", "unknown field", "unknown variant", "missing field"];
        match quotes_nothing.iter().any(|start| text.starts_with(start)) {
            true => invalid(text),
            false => invalid(format!("an option is not of its type, at column {}", error.column())),
        }
    })
}

/// A policy from JSON.
///
/// # Errors
/// `invalid_config`.
pub fn policy_from_json(json: &str) -> Result<Policy, Error> {
    serde_json::from_str(json).map_err(|error| invalid(format!("invalid policy: {error}")))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn options_are_strict_and_quote_no_secret() {
        let options: EndpointOptions =
            from_json(r#"{"url": "https://x", "bootstrap": "s3cr3t", "push": false}"#)
                .expect("json");
        assert_eq!((options.push, options.no_bootstrap), (Some(false), false));
        assert!(!format!("{options:?}").contains("s3cr3t"));
        let error = from_json::<EndpointOptions>(r#"{"uri": "s3cr3t"}"#).expect_err("unknown");
        assert!(error.to_string().starts_with("unknown field `uri`"), "{error}");
        let error = from_json::<EndpointOptions>(r#"{"timeout": "s3cr3t"}"#).expect_err("type");
        assert!(!error.to_string().contains("s3cr3t"), "{error}");
    }

    #[test]
    fn a_policy_is_named_in_what_is_wrong_with_it() {
        let options: KeySwapOptions = from_json(r#"{"policy": {"poll": 0.5}}"#).expect("json");
        assert_eq!(options.policy.poll, Duration::from_millis(500));
        for json in [r#"{"policy": {"pol": 1}}"#, r#"{"policy": {"poll": -1}}"#] {
            let error = from_json::<KeySwapOptions>(json).expect_err(json).to_string();
            assert!(error.starts_with("invalid policy: "), "{error}");
        }
        assert!(policy_from_json(r#"{"pol": 1}"#).is_err());
    }

    #[test]
    fn what_is_absent_keeps_its_default() {
        let options: AuthorizerOptions =
            from_json(r#"{"classifier": {}, "scheme": {"kind": "header", "name": "x"}}"#)
                .expect("json");
        assert_eq!(options.classifier, Some(ClassifierOptions::default()));
        assert_eq!(options.scheme.map(|scheme| scheme.kind), Some(SchemeKind::Header));
    }
}
