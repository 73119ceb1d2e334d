//! HashiCorp Vault and OpenBao.

use std::sync::Arc;

use keyswap::{
    Error,
    source::{Source, vault::Vault},
};
use serde::Deserialize;

use super::{Connection, Material, begun};
use crate::{
    SecretText,
    error::invalid,
    source::{Inputs, Recipe, connected, one_of, told},
};

/// What HashiCorp Vault or OpenBao keeps or makes: one of `kv`, `static_role` and `dynamic`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VaultOptions {
    /// The server, such as `https://vault.example.com:8200`. Without it, the one that the environment names (`VAULT_ADDR`
    /// or `BAO_ADDR`), with the namespace, the certificates and the token that stand there or in `~/.vault-token`.
    pub url: Option<String>,
    /// What is stored in a key-value engine: its mount and the path, such as `secret/trading`. The newest version is in
    /// use, and the one before is the fallback.
    pub kv: Option<String>,
    /// The account of a static role: its mount and the role, such as `database/app`.
    pub static_role: Option<String>,
    /// What the server makes when this path is read, such as `database/creds/app`.
    pub dynamic: Option<String>,
    /// Where the engine is mounted, if that is more than the first part of `kv` or `static_role`, which is then what
    /// stands beneath it.
    pub mount: Option<String>,
    /// The namespace of the log-in and of what is read.
    pub namespace: Option<String>,
    /// Shows this token. It is renewed as long as the server does that.
    pub token: Option<SecretText>,
    /// A file that holds the token, such as one that an agent writes. It is read again when the token is not accepted
    /// any more.
    pub token_file: Option<String>,
    /// Logs in as the AppRole of this id.
    pub app_role: Option<SecretText>,
    /// The secret_id of the AppRole, if it needs one.
    pub secret_id: Option<SecretText>,
    /// A file that holds the secret_id. It is read at each log-in.
    pub secret_id_file: Option<String>,
    /// That the secret_id is a wrapping token, which is unwrapped at the first log-in.
    pub wrapped: bool,
    /// Logs in with the token of this pod's service account, as this role.
    pub kubernetes: Option<String>,
    /// Logs in with a JWT, as this role.
    pub jwt_role: Option<String>,
    /// The JWT.
    pub jwt: Option<SecretText>,
    /// A file that holds the JWT, or another token of a service account. It is read at each log-in.
    pub jwt_file: Option<String>,
    /// Where the log-in is mounted, if not at `approle`, `kubernetes` or `jwt`.
    pub login_mount: Option<String>,
    /// Whether what `dynamic` made is revoked when the handle is closed.
    pub revoke_on_shutdown: bool,
    /// Where the material stands.
    #[serde(flatten)]
    pub material: Material,
    /// How it is reached.
    #[serde(flatten)]
    pub connection: Connection,
}

impl Recipe for VaultOptions {
    fn build(&self, _: &mut Inputs) -> Result<Arc<dyn Source>, Error> {
        let vault = match &self.url {
            Some(url) => Vault::new(url)?,
            None => Vault::from_env()?,
        };
        let vault = told!(self.logged_in(connected!(vault, &self.connection))?, self: login_mount, namespace);
        let material = &self.material;
        match (&self.kv, &self.static_role, &self.dynamic) {
            (Some(path), None, None) => {
                let (mount, path) = self.parts(path);
                begun(told!(vault.kv(mount, path), material: key, secret, passphrase))
            }
            (None, Some(role), None) => {
                let (mount, role) = self.parts(role);
                begun(told!(vault.static_role(mount, role), material: key, secret, passphrase))
            }
            (None, None, Some(path)) => {
                let made = told!(vault.dynamic(path), material: key, secret, passphrase);
                begun(if self.revoke_on_shutdown { made.revoke_on_shutdown() } else { made })
            }
            _ => Err(invalid("pass one of kv, static_role and dynamic")),
        }
    }
}

impl VaultOptions {
    /// A mount, and what is beneath it.
    fn parts<'a>(&'a self, path: &'a str) -> (&'a str, &'a str) {
        match &self.mount {
            Some(mount) => (mount, path),
            None => path.trim_start_matches('/').split_once('/').unwrap_or((path, "")),
        }
    }

    fn logged_in(&self, vault: Vault) -> Result<Vault, Error> {
        one_of("token", self.token.is_some(), self.token_file.is_some())?;
        one_of("secret_id", self.secret_id.is_some(), self.secret_id_file.is_some())?;
        one_of("jwt", self.jwt.is_some(), self.jwt_file.is_some())?;
        let is_token = self.token.is_some() || self.token_file.is_some();
        let log_ins =
            [is_token, self.app_role.is_some(), self.kubernetes.is_some(), self.jwt_role.is_some()];
        if log_ins.into_iter().filter(|one| *one).count() > 1 {
            return Err(invalid("pass one of token, app_role, kubernetes and jwt_role"));
        }
        let vault = told!(vault, self: token, token_file);
        if let Some(id) = &self.app_role {
            let id = id.to_core();
            return Ok(match (&self.secret_id, &self.secret_id_file, self.wrapped) {
                (Some(secret), _, true) => vault.app_role_wrapped(id, secret.to_core()),
                (Some(secret), _, false) => vault.app_role(id, secret.to_core()),
                (None, Some(path), true) => vault.app_role_wrapped_file(id, path),
                (None, Some(path), false) => vault.app_role_file(id, path),
                (None, None, _) => vault.app_role(id, ""),
            });
        }
        Ok(match (&self.kubernetes, &self.jwt_role, &self.jwt, &self.jwt_file) {
            (Some(role), _, _, Some(path)) => vault.kubernetes_file(role, path),
            (Some(role), _, _, None) => vault.kubernetes(role),
            (None, Some(role), Some(token), _) => vault.jwt(role, token.to_core()),
            (None, Some(role), None, Some(path)) => vault.jwt_file(role, path),
            (None, Some(_), None, None) => return Err(invalid("pass jwt or jwt_file")),
            (None, None, _, _) => vault,
        })
    }
}
