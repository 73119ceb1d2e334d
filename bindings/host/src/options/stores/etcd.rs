//! etcd.

use std::sync::Arc;

use keyswap::{
    Error,
    source::{Source, etcd::Key},
};
use serde::Deserialize;

use super::{Certificate, Connection, Material, begun};
use crate::{
    SecretText,
    source::{Inputs, Recipe, certified, connected, one_of, told},
};

/// A key of etcd: a watch tells of each change, and the value before is the fallback.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EtcdOptions {
    /// The URLs of the cluster's members, such as `https://etcd-1.example.com:2379`, in the order in which they are asked.
    pub endpoints: Vec<String>,
    /// The name of the key in etcd, such as `/keys/trading`.
    pub name: String,
    /// The user that logs in, if users have to.
    pub user: Option<String>,
    /// The password of that user.
    pub password: Option<SecretText>,
    /// A file that holds the password. It is read for each log-in.
    pub password_file: Option<String>,
    /// That the credential ends when the lease of the key does, unless that is renewed. By default a lease only says
    /// until when etcd keeps the key.
    pub expires_with_lease: bool,
    /// Where the material stands.
    #[serde(flatten)]
    pub material: Material,
    /// How it is reached.
    #[serde(flatten)]
    pub connection: Connection,
    /// How it is shown who asks.
    #[serde(flatten)]
    pub certificate: Certificate,
}

impl Recipe for EtcdOptions {
    fn build(&self, _: &mut Inputs) -> Result<Arc<dyn Source>, Error> {
        one_of("password", self.password.is_some(), self.password_file.is_some())?;
        let material = &self.material;
        let key =
            told!(Key::new(&self.endpoints, &self.name)?, self: user, password, password_file);
        let mut key = told!(key, material: key, secret, passphrase);
        if self.expires_with_lease {
            key = key.expires_with_lease();
        }
        begun(certified!(connected!(key, &self.connection), &self.certificate))
    }
}
