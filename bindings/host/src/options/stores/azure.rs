//! Azure Key Vault.

use std::sync::Arc;

use keyswap::{
    Error,
    source::{
        Source,
        azure::{Credentials, KeyVault},
    },
};
use serde::Deserialize;

use super::{Connection, Material, SecretOrFunction, begun};
use crate::{
    SecretText,
    error::invalid,
    source::{Inputs, Recipe, connected, one_of, told},
};

/// A secret of Azure Key Vault: its newest version that is enabled and has not expired, with the one before as the
/// fallback.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AzureKeyVaultOptions {
    /// The URL of the vault, such as `https://my-vault.vault.azure.net`.
    pub vault_url: String,
    /// The name of the secret.
    pub name: String,
    /// The tenant of the application that asks. Without a log-in, what the environment says is used, or else the managed
    /// identity of the machine, as Azure's libraries do.
    pub tenant_id: Option<String>,
    /// The application that asks, or the managed identity, where there are several.
    pub client_id: Option<String>,
    /// A secret of that application.
    pub client_secret: Option<SecretText>,
    /// A file that holds that secret.
    pub client_secret_file: Option<String>,
    /// A file that holds the token of a workload identity, which the platform renews.
    pub federated_token_file: Option<String>,
    /// Logs in as the managed identity of the machine or of the App Service, and in no other way.
    pub managed_identity: bool,
    /// An access token, which the program has from elsewhere. A function is called at first use, and again when its
    /// token is not accepted or a day old.
    pub token: Option<SecretOrFunction>,
    /// Where Microsoft Entra is. By default `https://login.microsoftonline.com`, or what `AZURE_AUTHORITY_HOST` says.
    pub authority_host: Option<String>,
    /// What an access token must be for, such as `https://vault.azure.net`: for a vault behind a name of one's own.
    pub resource: Option<String>,
    /// The version of the vault's interface. By default `7.4`.
    pub api_version: Option<String>,
    /// Where the material stands.
    #[serde(flatten)]
    pub material: Material,
    /// How it is reached.
    #[serde(flatten)]
    pub connection: Connection,
}

impl Recipe for AzureKeyVaultOptions {
    fn build(&self, inputs: &mut Inputs) -> Result<Arc<dyn Source>, Error> {
        let (material, credentials) = (&self.material, self.credentials(inputs)?);
        let source = KeyVault::new(&self.vault_url, &self.name)?.credentials(credentials);
        let source = told!(source, self: resource, api_version);
        begun(connected!(told!(source, material: key, secret, passphrase), &self.connection))
    }
}

impl AzureKeyVaultOptions {
    fn credentials(&self, inputs: &mut Inputs) -> Result<Credentials, Error> {
        one_of("client_secret", self.client_secret.is_some(), self.client_secret_file.is_some())?;
        let application = || match (&self.tenant_id, &self.client_id) {
            (Some(tenant), Some(client)) => Ok((&**tenant, &**client)),
            _ => Err(invalid("pass tenant_id and client_id as well")),
        };
        let mut given = Vec::new();
        if let Some(secret) = &self.client_secret {
            let (tenant, client) = application()?;
            given.push(Credentials::client_secret(tenant, client, secret.to_core()));
        }
        if let Some(path) = &self.client_secret_file {
            let (tenant, client) = application()?;
            given.push(Credentials::client_secret_file(tenant, client, path));
        }
        if let Some(path) = &self.federated_token_file {
            let (tenant, client) = application()?;
            given.push(Credentials::workload_identity(tenant, client, path));
        }
        if self.managed_identity {
            given.push(match &self.client_id {
                Some(client) => Credentials::managed_identity_of(client),
                None => Credentials::managed_identity(),
            });
        }
        if let Some(token) = &self.token {
            given.push(Credentials::token(token.to_core()));
        }
        if let Some(function) = inputs.function("token") {
            given.push(Credentials::token_fn(move || function.clone().ask()));
        }
        let mut given = given.into_iter();
        match (given.next(), given.next()) {
            (Some(credentials), None) => Ok(told!(credentials, self: authority_host)),
            (None, None) => Ok(told!(Credentials::from_environment(), self: authority_host)),
            _ => Err(invalid("pass one log-in: a secret, a file, managed_identity or a token")),
        }
    }
}
