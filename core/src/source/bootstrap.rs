//! The credential that a program shows to its rotation endpoint.

use std::{
    fmt,
    future::Future,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};
use http::{HeaderName, HeaderValue, header::AUTHORIZATION};
use zeroize::Zeroizing;

#[cfg(feature = "lent-keys")]
use super::lent::LentKeys;
use super::{BoxFuture, reading::Reader};
#[cfg(feature = "lent-keys")]
use crate::credential::Credential;
use crate::{
    error::{Error, ErrorKind},
    secret::Secret,
};

/// The environment variable that is read unless the program says otherwise.
const VARIABLE: &str = "KEYSWAP_BOOTSTRAP";

/// Where the bootstrap credential comes from, and what was read there last. Clones share both.
#[derive(Clone)]
pub(super) struct Bootstrap {
    from: Place,
    held: Arc<Mutex<Option<Secret>>>,
}

#[derive(Clone)]
enum Place {
    /// With what the host's program sees there, if that is something else than this process does.
    Environment(Option<Secret>),
    Fixed(Secret),
    File(PathBuf, Reader),
    Callback(Callback),
    #[cfg(feature = "lent-keys")]
    Lent(LentKeys),
    Nowhere,
}

type Callback = Arc<dyn Fn() -> BoxFuture<'static, Result<Secret, Error>> + Send + Sync>;

impl Bootstrap {
    pub(super) fn environment() -> Self {
        Self::from(Place::Environment(None))
    }

    /// The same as the host's program sees it: a worker, or a test, may have an environment of its own.
    #[cfg(feature = "host")]
    fn environment_seen(value: Secret) -> Self {
        let own = std::env::var(VARIABLE).map(Zeroizing::new).unwrap_or_default();
        // What is the same now is read when it is needed: it may have changed by then.
        Self::from(Place::Environment((own.as_str() != value.reveal()).then_some(value)))
    }

    pub(super) fn fixed(secret: Secret) -> Self {
        Self::from(Place::Fixed(secret))
    }

    pub(super) fn file(path: PathBuf) -> Self {
        Self::from(Place::File(path, Reader::new()))
    }

    pub(super) fn callback<F, Fut, S>(callback: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<S, Error>> + Send + 'static,
        S: Into<Secret>,
    {
        Self::from(Place::Callback(Arc::new(move || {
            let secret = callback();
            Box::pin(async move { secret.await.map(Into::into) })
        })))
    }

    #[cfg(feature = "lent-keys")]
    pub(super) fn lent(keys: LentKeys) -> Self {
        Self::from(Place::Lent(keys))
    }

    /// The keys that are lent, each log-in anew: nothing of them is read here.
    #[cfg(feature = "lent-keys")]
    pub(super) fn lender(&self) -> Option<&LentKeys> {
        match &self.from {
            Place::Lent(keys) => Some(keys),
            _ => None,
        }
    }

    pub(super) fn nowhere() -> Self {
        Self::from(Place::Nowhere)
    }

    fn from(from: Place) -> Self {
        Self { from, held: Arc::default() }
    }

    /// The credential, read at first use. None where the endpoint needs none.
    pub(super) async fn get(&self, form: &Form, origin: &str) -> Result<Option<Secret>, Error> {
        let held = lock(&self.held).clone();
        match held {
            Some(held) => Ok(Some(held)),
            None => self.load(form, origin).await,
        }
    }

    /// Reads it again after it was rejected. None where that brings nothing else to try.
    pub(super) async fn reload(
        &self,
        rejected: &Secret,
        form: &Form,
        origin: &str,
    ) -> Option<Secret> {
        // That it cannot be read now is no better news than the rejection, which is what is told.
        self.load(form, origin).await.ok().flatten().filter(|again| again != rejected)
    }

    /// Forgets what was read: it was rejected, so the next fetch reads it anew.
    pub(super) fn forget(&self) {
        *lock(&self.held) = None;
    }

    /// What a person can do about a credential that is missing or rejected.
    pub(super) fn advice(&self) -> String {
        match &self.from {
            Place::Environment(_) => format!("set {VARIABLE} or the option `bootstrap`"),
            Place::Fixed(_) => "pass another one as the option `bootstrap`".into(),
            Place::File(path, _) => format!("put the right one into {}", path.display()),
            Place::Callback(_) => "have the function that returns it return another one".into(),
            #[cfg(feature = "lent-keys")]
            Place::Lent(_) => "each key to log in with that `bootstrap_keys` has was tried".into(),
            Place::Nowhere => "pass one as the option `bootstrap`: none is shown".into(),
        }
    }

    async fn load(&self, form: &Form, origin: &str) -> Result<Option<Secret>, Error> {
        let raw = match &self.from {
            Place::Nowhere => return Ok(None),
            #[cfg(feature = "lent-keys")]
            Place::Lent(_) => return Ok(None),
            Place::Fixed(secret) => secret.clone(),
            Place::Environment(seen) => {
                let value = match seen {
                    Some(seen) => Zeroizing::new(seen.reveal().to_owned()),
                    None => std::env::var(VARIABLE).map(Zeroizing::new).unwrap_or_default(),
                };
                if !value.trim().is_empty() {
                    claim_environment(&ENVIRONMENT_SERVES, origin)?;
                }
                Secret::from(value.as_str())
            }
            Place::File(path, reader) => {
                let bytes = reader.small(path.clone()).await?;
                Secret::from(String::from_utf8_lossy(&bytes).as_ref())
            }
            // Of the kinds of error, only the callback's own is safe to pass on: an endpoint alone
            // may say that a set is revoked.
            Place::Callback(callback) => callback()
                .await
                .map_err(|error| Error::new(ErrorKind::SourceFailed, error.to_string()))?,
        };
        // A line break at the end of a file or of a variable is never part of a bearer token.
        let secret = Secret::from(raw.reveal().trim());
        if secret.reveal().is_empty() {
            return Err(Error::new(
                ErrorKind::InvalidConfig,
                format!("bootstrap credential missing: {}", self.advice()),
            ));
        }
        form.header(&secret)?;
        *lock(&self.held) = Some(secret.clone());
        Ok(Some(secret))
    }
}

#[cfg(feature = "host")]
impl super::Endpoint {
    /// The bootstrap credential of the environment, as the host's program sees it.
    pub(crate) fn bootstrap_seen(self, value: Secret) -> Self {
        self.with_bootstrap(Bootstrap::environment_seen(value))
    }
}

/// Where it comes from, and never what it is.
impl fmt::Debug for Bootstrap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.from {
            Place::Environment(_) => f.write_str(VARIABLE),
            Place::Fixed(_) => f.write_str("given"),
            Place::File(path, _) => write!(f, "file {}", path.display()),
            Place::Callback(_) => f.write_str("callback"),
            #[cfg(feature = "lent-keys")]
            Place::Lent(keys) => keys.fmt(f),
            Place::Nowhere => f.write_str("none"),
        }
    }
}

/// How it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Form {
    #[default]
    Bearer,
    /// `user:password`.
    Basic,
    Header(HeaderName),
}

impl Form {
    /// What is shown of a key that is lent.
    #[cfg(feature = "lent-keys")]
    pub(super) fn shown(&self, key: &Credential) -> Option<Secret> {
        match (self, key.reveal("key"), key.reveal("secret")) {
            (Self::Basic, Some(user), Some(password)) => {
                Some(Secret::from(format!("{user}:{password}")))
            }
            _ => key.material().get("key").cloned(),
        }
    }

    /// The header that shows it. Marked as sensitive, so that no HTTP library prints it.
    pub(super) fn header(&self, secret: &Secret) -> Result<(HeaderName, HeaderValue), Error> {
        let secret = secret.reveal();
        let (name, value) = match self {
            Self::Bearer => (AUTHORIZATION, format!("Bearer {secret}")),
            Self::Basic => {
                let encoded = Zeroizing::new(BASE64.encode(secret));
                (AUTHORIZATION, format!("Basic {}", *encoded))
            }
            Self::Header(name) => (name.clone(), secret.to_owned()),
        };
        let value = Zeroizing::new(value);
        let mut value = HeaderValue::from_str(&value).map_err(|_| {
            Error::new(
                ErrorKind::InvalidConfig,
                "the bootstrap credential cannot go into a header: it must be one line of ASCII",
            )
        })?;
        value.set_sensitive(true);
        Ok((name, value))
    }
}

/// The one origin that the environment's credential serves in this process.
///
/// A variable is there for all code of the process: without this, any library that follows an endpoint
/// of its own would send it the program's credential. What a program passes explicitly is its own
/// choice, and is not kept here.
static ENVIRONMENT_SERVES: Mutex<Option<String>> = Mutex::new(None);

fn claim_environment(serves: &Mutex<Option<String>>, origin: &str) -> Result<(), Error> {
    let mut serves = lock(serves);
    match serves.get_or_insert_with(|| origin.to_owned()) {
        served if served == origin => Ok(()),
        served => Err(Error::new(
            ErrorKind::InvalidConfig,
            format!(
                "{VARIABLE} already serves {served} in this process: pass the credential of {origin} as the option `bootstrap`"
            ),
        )),
    }
}

/// Nothing here can be left half-changed by a panic, so a poisoned lock is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_serves_the_first_origin_only() {
        let serves = Mutex::new(None);
        claim_environment(&serves, "https://a.example.com").expect("the first");
        claim_environment(&serves, "https://a.example.com").expect("the same");
        let error = claim_environment(&serves, "https://b.example.com").expect_err("a second");
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        for words in
            ["serves https://a.example.com", "https://b.example.com as the option `bootstrap`"]
        {
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn a_bearer_never_prints_and_must_be_one_line() {
        for form in [Form::Bearer, Form::Basic, Form::Header(AUTHORIZATION)] {
            let (name, value) = form.header(&"s3cr3t".into()).expect("a header");
            let shown = format!("{form:?} {value:?}");
            assert!(name == AUTHORIZATION && !shown.contains("s3cr3t"), "{shown}");
        }
        let (_, basic) = Form::Basic.header(&"user:s3cr3t".into()).expect("a header");
        assert_eq!(basic, "Basic dXNlcjpzM2NyM3Q=");
        let error = Form::Bearer.header(&"s3cr3t\nx".into()).expect_err("two lines");
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(!format!("{error:?}").contains("s3cr3t"));
    }
}
