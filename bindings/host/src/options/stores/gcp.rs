//! Google Secret Manager.

use std::sync::Arc;

use keyswap::{
    Error,
    source::{
        Source,
        gcp::{Credentials, SecretManager},
    },
};
use serde::Deserialize;

use super::{Connection, Material, SecretOrFunction, begun};
use crate::{
    SecretText,
    error::invalid,
    source::{Inputs, Recipe, connected, told},
};

/// A secret of Google Secret Manager: its newest enabled version, with the enabled one before as the fallback.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GcpSecretManagerOptions {
    /// The name of the secret, such as `projects/my-project/secrets/trading`, with a location where it has one.
    pub name: String,
    /// The version that is the key, by its alias or its number. The fallback is the newest enabled one below it.
    pub version: Option<String>,
    /// A file of credentials: a service account's key, a workload identity's configuration, or what `gcloud` wrote.
    /// Without it, and without another log-in, application default credentials are found as Google's libraries do.
    pub credentials_file: Option<String>,
    /// The content of such a file.
    pub credentials: Option<SecretText>,
    /// An access token, which the program has from elsewhere. A function is called at first use, and again when its
    /// token is not accepted or a day old.
    pub token: Option<SecretOrFunction>,
    /// Where Secret Manager is, if not at its usual place.
    #[serde(alias = "endpoint")]
    pub endpoint_url: Option<String>,
    /// Where the material stands.
    #[serde(flatten)]
    pub material: Material,
    /// How it is reached.
    #[serde(flatten)]
    pub connection: Connection,
}

impl Recipe for GcpSecretManagerOptions {
    fn build(&self, inputs: &mut Inputs) -> Result<Arc<dyn Source>, Error> {
        let file = self.credentials_file.as_ref().map(Credentials::file);
        let content = self.credentials.as_ref().map(|json| Credentials::json(json.to_core()));
        let token = self.token.as_ref().map(|token| Credentials::token(token.to_core()));
        let function = inputs.function("token");
        let function = function.map(|ask| Credentials::token_fn(move || ask.clone().ask()));
        let mut given = [file, content, token, function].into_iter().flatten();
        let mut source = told!(SecretManager::new(&self.name), self: version, endpoint_url);
        if let Some(credentials) = given.next() {
            source = source.credentials(credentials);
        }
        if given.next().is_some() {
            return Err(invalid("pass one of credentials_file, credentials and token"));
        }
        let material = &self.material;
        begun(connected!(told!(source, material: key, secret, passphrase), &self.connection))
    }
}
