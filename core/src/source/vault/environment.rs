//! What the environment says, in the variables of both servers.

use std::path::PathBuf;

use super::{
    Vault,
    login::{Given, Login},
};
use crate::{
    error::{Error, ErrorKind},
    secret::Secret,
    source::reading::Reader,
};

impl Vault {
    /// The server that the environment names: `BAO_ADDR` or `VAULT_ADDR`, with `..._TOKEN`, `..._NAMESPACE` and
    /// `..._CACERT` (a file of certificates) beside it. A name that begins with `BAO_` goes before the other. Without a
    /// token in the environment it is the one in `~/.vault-token`, which `vault login` and `bao login` write; and a
    /// log-in that is given afterwards stands in place of either.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] without an address, or for one that is none.
    pub fn from_env() -> Result<Self, Error> {
        Self::of_environment(|name| std::env::var(name).ok(), std::env::home_dir())
    }

    fn of_environment(
        read: impl Fn(&str) -> Option<String>,
        home: Option<PathBuf>,
    ) -> Result<Self, Error> {
        let variable = |name: &str| {
            let named = ["BAO", "VAULT"].into_iter().find_map(|first| {
                read(&format!("{first}_{name}")).filter(|value| !value.trim().is_empty())
            });
            named.map(|value| value.trim().to_owned())
        };
        let Some(url) = variable("ADDR") else {
            let what = "the environment names no server: set VAULT_ADDR or BAO_ADDR";
            return Err(Error::new(ErrorKind::InvalidConfig, what));
        };
        let mut vault = Self::new(url)?;
        if let Some(namespace) = variable("NAMESPACE") {
            vault = vault.namespace(&namespace);
        }
        if let Some(path) = variable("CACERT") {
            vault = vault.root_certificates_file(path);
        }
        let token = match variable("TOKEN") {
            Some(token) => Given::Secret(Secret::from(token)),
            None => match home {
                Some(home) => Given::File(home.join(".vault-token"), Reader::new()),
                None => return Ok(vault),
            },
        };
        Ok(vault.with_login(Login::Token(token)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(variables: &[(&str, &str)]) -> Result<String, Error> {
        let read = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let vault = Vault::of_environment(read, Some("/home/app".into()))?;
        Ok(format!("{vault:?} {:?}", vault.session.namespace()))
    }

    #[test]
    fn both_names_are_known_and_one_goes_first() {
        let both = seen(&[
            ("VAULT_ADDR", "https://v.example.com"),
            ("BAO_ADDR", "https://b.example.com"),
            ("VAULT_TOKEN", "s3cr3t"),
            ("VAULT_NAMESPACE", "team/"),
        ]);
        let both = both.expect("a server");
        assert!(both.contains("b.example.com") && both.contains("what the program gave"), "{both}");
        assert!(both.contains(r#"Some("team")"#) && !both.contains("s3cr3t"), "{both}");
        let file = seen(&[("VAULT_ADDR", "https://v.example.com"), ("VAULT_TOKEN", "")]);
        let file = file.expect("a server");
        assert!(file.contains("/home/app") && file.contains(".vault-token"), "{file}");
        assert_eq!(seen(&[]).expect_err("no server").kind(), ErrorKind::InvalidConfig);
        assert!(seen(&[("VAULT_ADDR", "v.example.com")]).is_err());
    }
}
