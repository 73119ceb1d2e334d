//! Sources that are no rotation endpoint: what a program says of each, and how it is made of that.
//!
//! One more is a struct here, whose comments are its documentation in every language, and a line in `SOURCES`. Python and
//! Node have it then, under the name of the struct and of the line.

#[cfg(feature = "aws")]
mod aws;
#[cfg(feature = "azure")]
mod azure;
#[cfg(feature = "command")]
mod command;
#[cfg(feature = "etcd")]
mod etcd;
#[cfg(feature = "gcp")]
mod gcp;
mod json;
#[cfg(feature = "oauth2")]
mod oauth2;
#[cfg(feature = "vault")]
mod vault;

use std::sync::Arc;

use keyswap::{
    Error, host,
    source::{self, Source as CoreSource},
};
use serde::{Deserialize, de::DeserializeOwned};

#[cfg(feature = "aws")]
pub use self::aws::{
    AwsAccess, AwsParameterStoreOptions, AwsSecretsAgentOptions, AwsSecretsManagerOptions,
};
#[cfg(feature = "azure")]
pub use self::azure::AzureKeyVaultOptions;
#[cfg(feature = "command")]
pub use self::command::CommandOptions;
#[cfg(feature = "etcd")]
pub use self::etcd::EtcdOptions;
#[cfg(feature = "gcp")]
pub use self::gcp::GcpSecretManagerOptions;
pub use self::json::JsonOptions;
#[cfg(feature = "oauth2")]
pub use self::oauth2::{OAuth2Client, OAuth2ClientCredentialsOptions, OAuth2RefreshTokenOptions};
#[cfg(feature = "vault")]
pub use self::vault::VaultOptions;

use crate::{
    SecretText,
    error::invalid,
    options::{EndpointOptions, EnvOptions, FileOptions, from_json},
    source::{Inputs, Recipe, Source},
};

/// How the options of a source are read.
type Read = fn(&str, Inputs) -> Result<Source, Error>;

/// The sources, by the names that bindings pass.
const SOURCES: &[(&str, Read)] = &[
    ("endpoint", read::<EndpointOptions>),
    ("file", read::<FileOptions>),
    ("env", read::<EnvOptions>),
    ("json", read::<JsonOptions>),
    #[cfg(feature = "command")]
    ("command", read::<CommandOptions>),
    ("first_of", read::<FirstOf>),
    #[cfg(feature = "aws")]
    ("aws_secrets_manager", read::<AwsSecretsManagerOptions>),
    #[cfg(feature = "aws")]
    ("aws_parameter_store", read::<AwsParameterStoreOptions>),
    #[cfg(feature = "aws")]
    ("aws_secrets_agent", read::<AwsSecretsAgentOptions>),
    #[cfg(feature = "azure")]
    ("azure_key_vault", read::<AzureKeyVaultOptions>),
    #[cfg(feature = "etcd")]
    ("etcd", read::<EtcdOptions>),
    #[cfg(feature = "gcp")]
    ("gcp_secret_manager", read::<GcpSecretManagerOptions>),
    #[cfg(feature = "oauth2")]
    ("oauth2_client_credentials", read::<OAuth2ClientCredentialsOptions>),
    #[cfg(feature = "oauth2")]
    ("oauth2_refresh_token", read::<OAuth2RefreshTokenOptions>),
    #[cfg(feature = "vault")]
    ("vault", read::<VaultOptions>),
];

impl Source {
    /// A source of this kind, from options as JSON, and from what JSON cannot hold. A "function" is that input.
    ///
    /// # Errors
    /// `invalid_config` for what is not valid: it is told here, and not in the background.
    pub fn of(kind: &str, options: &str, mut inputs: Inputs) -> Result<Self, Error> {
        if let ("function", Some(function)) = (kind, inputs.function("function")) {
            return Ok(Self::function(function));
        }
        let known = SOURCES.iter().find(|(name, _)| *name == kind);
        let (_, read) = known.ok_or_else(|| invalid(format!("there is no source {kind}")))?;
        read(options, inputs)
    }
}

fn read<R: Recipe + DeserializeOwned>(options: &str, inputs: Inputs) -> Result<Source, Error> {
    Source::new(from_json::<R>(options)?, inputs)
}

/// The source, once it has said what is not valid: here, and not when it is followed.
#[allow(dead_code, reason = "for each store, and there may be none")]
fn begun(source: impl CoreSource) -> Result<Arc<dyn CoreSource>, Error> {
    source.begin(&source::Terms::default())?;
    Ok(Arc::new(source))
}

/// How something is reached over HTTP.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Connection {
    /// How long an answer may take, in seconds. By default the policy's `fetch_timeout`, 10 s, which always holds as
    /// well.
    pub timeout: Option<f64>,
    /// PEM certificates that are trusted instead of the machine's.
    pub root_certificates: Option<String>,
    /// A file that holds the trusted certificates. It is read again when it changes.
    pub root_certificates_file: Option<String>,
    /// Allows plain HTTP to other machines. Everybody on the way can read the keys.
    pub plain_http_allowed: bool,
}

/// How something is shown who asks.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Certificate {
    /// A certificate chain and its private key (PEM), shown to the server: mutual TLS.
    pub client_certificate: Option<SecretText>,
    /// A file that holds the client certificate and its key. It is read again when it changes, so certificates are
    /// renewed without a restart.
    pub client_certificate_file: Option<String>,
}

/// Where the pieces of material stand in what a store keeps.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Material {
    /// A JSON pointer (RFC 6901) to the key in what is stored, such as `/api_key`. Without any pointer, text that is no
    /// JSON object is the key itself, and each member of an object that is a string is a piece of material of that
    /// name; the only one is the key, whatever its name.
    pub key: Option<String>,
    /// A JSON pointer to the second piece of material, named `secret`.
    pub secret: Option<String>,
    /// A JSON pointer to the third piece of material, named `passphrase`.
    pub passphrase: Option<String>,
}

/// A secret that is given as text, or that another handle follows: then it is an input of that name.
pub type SecretOrKeys = SecretText;

/// A secret that is given as text, or that a function returns: then it is an input of that name.
pub type SecretOrFunction = SecretText;

/// One of several sources: which ones is an input.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct FirstOf {}

impl Recipe for FirstOf {
    fn build(&self, inputs: &mut Inputs) -> Result<Arc<dyn CoreSource>, Error> {
        let sources = inputs.sources("sources").into_iter().map(|source| source.build(false));
        Ok(Arc::new(host::first_of(sources.collect::<Result<_, _>>()?)?))
    }
}
