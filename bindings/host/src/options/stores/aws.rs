//! What AWS keeps.

use std::sync::Arc;

use keyswap::{
    Error,
    source::{Source, aws},
};
use serde::Deserialize;

use super::{Connection, Material, begun};
use crate::{
    SecretText,
    error::invalid,
    source::{Inputs, Recipe, connected, one_of, told},
};

/// How AWS is reached, and who asks.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct AwsAccess {
    /// The region. Without it, that of the name, if that is an ARN, or of `AWS_REGION`, `AWS_DEFAULT_REGION`, or of the
    /// profile in `~/.aws/config`.
    pub region: Option<String>,
    /// Where it is, if not at its usual place: a VPC endpoint, a FIPS endpoint, or a server that stands in for AWS.
    /// Without it, what `AWS_ENDPOINT_URL` says, or its variable for this service.
    #[serde(alias = "endpoint")]
    pub endpoint_url: Option<String>,
    /// Logs in as this profile of `~/.aws/config` and `~/.aws/credentials` says, and in no other way. Without it and an
    /// access key, the usual chain is asked: environment, profile, web identity, container, instance.
    pub profile: Option<String>,
    /// Logs in with this access key, which never changes: where it is rotated, use a profile.
    pub access_key_id: Option<SecretText>,
    /// The secret of that access key.
    pub secret_access_key: Option<SecretText>,
    /// The session token of that access key, if it belongs to a session.
    pub session_token: Option<SecretText>,
}

/// Tells a builder how AWS is reached, and who asks.
macro_rules! accessed {
    ($source:expr, $options:expr) => {{
        let access = &$options.access;
        let source = connected!($source, &$options.connection);
        let source = told!(source, access: region, endpoint_url, profile);
        match (&access.access_key_id, &access.secret_access_key) {
            (Some(id), Some(secret)) => {
                let token = access.session_token.as_ref().map(SecretText::to_core);
                source.credentials(id.to_core(), secret.to_core(), token)
            }
            (None, None) => source,
            _ => return Err(invalid("pass access_key_id and secret_access_key, or neither")),
        }
    }};
}

/// A secret of AWS Secrets Manager: what stands at AWSCURRENT, with AWSPREVIOUS as the fallback.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AwsSecretsManagerOptions {
    /// The name of the secret, or its ARN.
    pub secret_id: String,
    /// How AWS is reached, and who asks.
    #[serde(flatten)]
    pub access: AwsAccess,
    /// Further regions that the secret is replicated to, asked in order when all before them fail.
    pub replica_regions: Vec<String>,
    /// Where the material stands.
    #[serde(flatten)]
    pub material: Material,
    /// How it is reached.
    #[serde(flatten)]
    pub connection: Connection,
}

impl Recipe for AwsSecretsManagerOptions {
    fn build(&self, _: &mut Inputs) -> Result<Arc<dyn Source>, Error> {
        let material = &self.material;
        let source = accessed!(aws::SecretsManager::new(&self.secret_id), self);
        let source = told!(source, material: key, secret, passphrase);
        // They are reached as all that was said before says.
        let regions = self.replica_regions.iter();
        begun(regions.fold(source, |source, region| source.or_region(region)))
    }
}

/// A parameter of the AWS Systems Manager Parameter Store, with the version before it as the fallback.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AwsParameterStoreOptions {
    /// The name of the parameter, or its ARN if another account shares it.
    pub name: String,
    /// Reads the version that has this label, and not the newest.
    pub label: Option<String>,
    /// Falls back on the version that has this label.
    pub previous_label: Option<String>,
    /// How AWS is reached, and who asks.
    #[serde(flatten)]
    pub access: AwsAccess,
    /// Where the material stands.
    #[serde(flatten)]
    pub material: Material,
    /// How it is reached.
    #[serde(flatten)]
    pub connection: Connection,
}

impl Recipe for AwsParameterStoreOptions {
    fn build(&self, _: &mut Inputs) -> Result<Arc<dyn Source>, Error> {
        let material = &self.material;
        let source = accessed!(aws::ParameterStore::new(&self.name), self);
        let source = told!(source, self: label, previous_label);
        begun(told!(source, material: key, secret, passphrase))
    }
}

/// A secret behind the AWS Secrets Manager Agent, which runs beside the program and has the log-in.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AwsSecretsAgentOptions {
    /// The name of the secret, or its ARN.
    pub secret_id: String,
    /// Where the agent is. By default `http://localhost:2773`.
    #[serde(alias = "endpoint")]
    pub endpoint_url: Option<String>,
    /// The token that the agent wants to see. By default what `AWS_TOKEN` says, or what stands in
    /// `/var/run/awssmatoken`.
    pub token: Option<SecretText>,
    /// A file that holds that token. It is read each time.
    pub token_file: Option<String>,
    /// Asks by the path, beneath the prefix that the agent was configured with, such as `/v1/`.
    pub path_prefix: Option<String>,
    /// Where the material stands.
    #[serde(flatten)]
    pub material: Material,
    /// How it is reached.
    #[serde(flatten)]
    pub connection: Connection,
}

impl Recipe for AwsSecretsAgentOptions {
    fn build(&self, _: &mut Inputs) -> Result<Arc<dyn Source>, Error> {
        one_of("token", self.token.is_some(), self.token_file.is_some())?;
        let material = &self.material;
        let source = told!(aws::SecretsAgent::new(&self.secret_id), self: endpoint_url, token, token_file, path_prefix);
        let source = told!(source, material: key, secret, passphrase);
        begun(connected!(source, &self.connection))
    }
}
