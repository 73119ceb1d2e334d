//! A key in an environment variable.

use zeroize::Zeroizing;

use super::{BoxFuture, Fetched, Source};
use crate::{
    credential::{Credential, CredentialSet},
    error::{Error, ErrorKind},
    secret::Secret,
};

/// A key in an environment variable, for development and for a first step.
///
/// It never rotates: nobody can change the environment of a running process from outside, so a new key
/// needs a restart. Move to an [`Endpoint`](super::Endpoint) or a [`File`](super::File) for keys that
/// change; the rest of the program stays as it is.
///
/// ```
/// use keyswap::source::Env;
/// let key = Env::new("API_KEY").id("trading-eu");
/// ```
///
/// # Errors of a fetch
/// [`ErrorKind::InvalidConfig`] if the variable is unset or empty, or the id is not valid.
#[derive(Debug)]
#[must_use = "a source does nothing until it is followed"]
pub struct Env {
    variable: Box<str>,
    id: Option<Box<str>>,
    /// What the host's program sees there, if that is something else than this process does.
    seen: Option<Secret>,
}

impl Env {
    /// The key in this environment variable.
    pub fn new(variable: &str) -> Self {
        Self { variable: variable.into(), id: None, seen: None }
    }

    /// Calls the credential this in events and errors. Without it, it has the name of the variable.
    pub fn id(self, id: &str) -> Self {
        Self { id: Some(id.into()), ..self }
    }

    /// As the host's program sees it: a worker, or a test, may have an environment of its own.
    #[cfg(feature = "host")]
    pub(crate) fn seen(self, value: Secret) -> Self {
        let own = std::env::var(&*self.variable).map(Zeroizing::new).unwrap_or_default();
        Self { seen: (own.as_str() != value.reveal()).then_some(value), ..self }
    }

    fn set(&self, value: &str) -> Result<CredentialSet, Error> {
        let id = self.id.as_ref().unwrap_or(&self.variable);
        let set = CredentialSet::new(Credential::new(id, Secret::from(value)));
        set.check().map_err(|error| {
            self.invalid(&format!("is not usable: {error}; name it with the option `id`"))
        })?;
        Ok(set)
    }

    fn invalid(&self, what: &str) -> Error {
        let what = format!("the environment variable {} {what}", self.variable);
        Error::new(ErrorKind::InvalidConfig, what)
    }
}

impl Source for Env {
    fn fetch<'a>(
        &'a self,
        known: Option<&'a CredentialSet>,
    ) -> BoxFuture<'a, Result<Fetched, Error>> {
        Box::pin(async move {
            let value = match &self.seen {
                Some(seen) => Ok(Zeroizing::new(seen.reveal().to_owned())),
                None => std::env::var(&*self.variable).map(Zeroizing::new),
            };
            let value = match &value {
                Ok(value) if !value.trim().is_empty() => value.trim(),
                Err(std::env::VarError::NotUnicode(_)) => {
                    return Err(self.invalid("is not UTF-8 text: set it to the key"));
                }
                _ => return Err(self.invalid("is unset or empty: set it to the key")),
            };
            let set = self.set(value)?;
            match known {
                Some(known) if known.holds_same_keys(&set) => Ok(Fetched::NotModified),
                _ => Ok(Fetched::Set(set)),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn fetch(env: &Env, known: Option<&CredentialSet>) -> Result<Fetched, Error> {
        env.fetch(known).await
    }

    // Cargo sets this variable for every test, and setting others is unsafe.
    const SET: &str = "CARGO_PKG_NAME";

    #[tokio::test]
    async fn the_variable_is_the_key_and_never_changes() {
        let env = Env::new(SET);
        let Ok(Fetched::Set(set)) = fetch(&env, None).await else { panic!("a set") };
        let primary = set.primary().expect("a credential");
        assert_eq!((primary.id(), primary.reveal("key")), (SET, Some("keyswap")));
        assert!(matches!(fetch(&env, Some(&set)).await, Ok(Fetched::NotModified)));
        let named = Env::new(SET).id("eu");
        let Ok(Fetched::Set(set)) = fetch(&named, Some(&set)).await else { panic!("a set") };
        assert_eq!(set.primary().map(Credential::id), Some("eu"));
    }

    #[tokio::test]
    async fn an_unset_variable_is_named() {
        let env = Env::new("KEYSWAP_TEST_UNSET");
        let error = fetch(&env, None).await.expect_err("unset");
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.to_string().contains("KEYSWAP_TEST_UNSET is unset or empty"), "{error}");
        let error = Env::new(SET).id("not an id").fetch(None).await.expect_err("the id");
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.to_string().contains("`id`"), "{error}");
    }
}
