//! Tokens of an OAuth2 server.

use std::{collections::HashMap, sync::Arc};

use keyswap::{
    Error,
    source::{Source, oauth2},
};
use serde::Deserialize;

use super::{Certificate, Connection, SecretOrKeys, begun};
use crate::{
    SecretText,
    error::invalid,
    source::{Inputs, Recipe, certified, connected, one_of, seconds, told},
};

/// Which client asks, and how it proves that.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct OAuth2Client {
    /// The id of the client. It may be left out where it stands beside a secret that another handle follows, as the
    /// material `client_id`.
    pub client_id: Option<String>,
    /// The secret of the client. Where another handle follows it, that is its material `client_secret`, `key` or
    /// `secret`; one that is rejected is reported to that handle, and the next one that it has is shown.
    pub client_secret: Option<SecretOrKeys>,
    /// A file that holds the secret. It is read at first use, and again when the secret is rejected.
    pub client_secret_file: Option<String>,
    /// How the secret is shown: `basic`, in a header, or `post`, in the body. By default `basic`.
    pub auth_style: Option<String>,
    /// A private key (PEM) that signs assertions (RFC 7523), in the place of a secret. Where another handle follows it,
    /// that is its material `private_key` or `key`.
    pub private_key: Option<SecretOrKeys>,
    /// A file that holds the private key. It is read at first use, and again when the key is rejected.
    pub private_key_file: Option<String>,
    /// The `kid` under which the server knows the public key. Of another handle's keys, it is the credential's id.
    pub private_key_id: Option<String>,
    /// How the private key signs: `ES256`, `RS256` or `EdDSA`.
    pub algorithm: Option<String>,
    /// Whom assertions are for: the token URL, if nothing else is said. Some servers want their issuer.
    pub assertion_audience: Option<String>,
}

/// Tells a builder which client asks, and how it proves that.
macro_rules! identified {
    ($source:expr, $options:expr, $inputs:ident) => {{
        let (options, client) = ($options, &$options.client);
        let (secret, key) = ($inputs.keys("client_secret")?, $inputs.keys("private_key")?);
        let given = secret.is_some() || client.client_secret.is_some();
        one_of("client_secret", given, client.client_secret_file.is_some())?;
        let given = key.is_some() || client.private_key.is_some();
        one_of("private_key", given, client.private_key_file.is_some())?;
        let source = certified!(connected!($source, &options.connection), &options.certificate);
        let mut source = told!(source, client: client_id, client_secret, client_secret_file, auth_style, assertion_audience);
        let kid = client.private_key_id.as_deref().unwrap_or_default();
        let algorithm = client.algorithm.as_deref().unwrap_or_default();
        if let Some(pem) = &client.private_key {
            source = source.private_key_jwt(kid, pem.to_core(), algorithm);
        }
        if let Some(path) = &client.private_key_file {
            source = source.private_key_jwt_file(kid, path, algorithm);
        }
        if let Some(keys) = key {
            source = source.private_key_jwt_from(keys, algorithm);
        }
        if let Some(keys) = secret {
            source = source.client_secret_from(keys);
        }
        if let Some(lifetime) = seconds(options.default_lifetime, "default_lifetime")? {
            source = source.default_lifetime(lifetime);
        }
        told!(source.scopes(&options.scopes), options: resource)
    }};
}

/// Access tokens that a client gets for itself from an OAuth2 server: the client credentials grant (RFC 6749).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OAuth2ClientCredentialsOptions {
    /// The URL of the server's token endpoint.
    pub token_url: String,
    /// Which client asks.
    #[serde(flatten)]
    pub client: OAuth2Client,
    /// The scopes that are asked for.
    pub scopes: Vec<String>,
    /// Whom the token is for, as Auth0 and others want it.
    pub audience: Option<String>,
    /// What the token is for, an absolute URL (RFC 8707).
    pub resource: Option<String>,
    /// Further parameters that the server wants.
    pub parameters: HashMap<String, SecretText>,
    /// How long a token lives of which the server does not say it, in seconds.
    pub default_lifetime: Option<f64>,
    /// How it is reached.
    #[serde(flatten)]
    pub connection: Connection,
    /// How it is shown who asks.
    #[serde(flatten)]
    pub certificate: Certificate,
}

impl Recipe for OAuth2ClientCredentialsOptions {
    fn build(&self, inputs: &mut Inputs) -> Result<Arc<dyn Source>, Error> {
        let source = oauth2::ClientCredentials::new(&self.token_url)?;
        let source = told!(identified!(source, self, inputs), self: audience);
        let parameters = self.parameters.iter();
        begun(parameters.fold(source, |all, (name, value)| all.parameter(name, value.reveal())))
    }
}

/// Access tokens that a person once granted, by a refresh token of an OAuth2 server, which may give another one with
/// each use.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OAuth2RefreshTokenOptions {
    /// The URL of the server's token endpoint.
    pub token_url: String,
    /// The file that holds the refresh token. The next one is put there, before anything that came with it is used.
    pub token_file: String,
    /// Which client asks.
    #[serde(flatten)]
    pub client: OAuth2Client,
    /// The scopes that are asked for, which may be fewer than were granted.
    pub scopes: Vec<String>,
    /// What the token is for, an absolute URL (RFC 8707).
    pub resource: Option<String>,
    /// How long a token lives of which the server does not say it, in seconds.
    pub default_lifetime: Option<f64>,
    /// How it is reached.
    #[serde(flatten)]
    pub connection: Connection,
    /// How it is shown who asks.
    #[serde(flatten)]
    pub certificate: Certificate,
}

impl Recipe for OAuth2RefreshTokenOptions {
    fn build(&self, inputs: &mut Inputs) -> Result<Arc<dyn Source>, Error> {
        if self.token_file.is_empty() {
            return Err(invalid("token_file must be the path of a file"));
        }
        let source = oauth2::RefreshToken::new(&self.token_url)?.token_file(&self.token_file);
        begun(identified!(source, self, inputs))
    }
}
