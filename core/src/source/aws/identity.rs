//! Who asks: the log-in, where it comes from, and what was found there last.
//!
//! Clones share it, and so do the regions of one secret. One search is in flight at a time: whoever comes meanwhile
//! waits for what it finds, and one that is given up leaves nothing behind. What was found is used until its end is
//! near, or until AWS rejects it.

mod chain;

use std::{fmt, future::Future, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;

use super::outside::Outside;
use crate::{
    clock::Clock,
    credential::Credential,
    error::{Error, ErrorKind},
    secret::Secret,
    source::BoxFuture,
};

/// From here on a log-in that ends is made anew, so that a search that fails leaves time for another.
const EARLY: SignedDuration = SignedDuration::from_mins(5);
/// One that ends sooner signs nothing more: the answer has to come before its end.
const TOO_LATE: SignedDuration = SignedDuration::from_secs(15);

/// What signs.
#[derive(Clone)]
pub(super) struct Login {
    pub(super) key_id: Secret,
    pub(super) secret: Secret,
    pub(super) token: Option<Secret>,
    pub(super) ends_at: Option<Timestamp>,
    /// Where it was found, in words for a person.
    pub(super) from: Arc<str>,
}

type Function = Arc<dyn Fn() -> BoxFuture<'static, Result<Credential, Error>> + Send + Sync>;

/// Where a log-in comes from.
#[derive(Clone)]
enum Place {
    /// Wherever AWS's own tools look: in this profile alone, if the program names one.
    Chain(Option<String>),
    Given(Login),
    Function(Function),
}

pub(super) struct Identity {
    place: Place,
    held: Mutex<Option<Login>>,
}

impl Login {
    /// Whether it is the same to AWS.
    fn is(&self, other: &Self) -> bool {
        self.key_id == other.key_id && self.secret == other.secret && self.token == other.token
    }

    fn lasts(&self, longer_than: SignedDuration) -> bool {
        let now = Timestamp::from_millisecond(Clock::system().now().wall).unwrap_or_default();
        self.ends_at.is_none_or(|end| end.duration_since(now) > longer_than)
    }

    /// What a credential of this crate says, by the names that `credential_process` has here.
    fn of(credential: &Credential, from: &str) -> Result<Self, Error> {
        let piece = |name: &str| {
            let piece = credential.material().get(name)?;
            (!piece.reveal().trim().is_empty()).then(|| piece.clone())
        };
        let (Some(key_id), Some(secret)) = (piece("key"), piece("secret")) else {
            let what = format!(
                "{from} gives no AWS credentials: they need `key`, which is the access key's id, and `secret`"
            );
            return Err(Error::new(ErrorKind::InvalidConfig, what));
        };
        let ends_at = credential.expires_at();
        Ok(Self { key_id, secret, token: piece("session_token"), ends_at, from: from.into() })
    }
}

impl Identity {
    pub(super) fn chain(profile: Option<String>) -> Self {
        Self::at(Place::Chain(profile))
    }

    pub(super) fn given(key_id: Secret, secret: Secret, token: Option<Secret>) -> Self {
        let from = "the credentials that the program gives".into();
        Self::at(Place::Given(Login { key_id, secret, token, ends_at: None, from }))
    }

    pub(super) fn function<F, Fut>(function: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Credential, Error>> + Send + 'static,
    {
        Self::at(Place::Function(Arc::new(move || Box::pin(function()))))
    }

    fn at(place: Place) -> Self {
        Self { place, held: Mutex::new(None) }
    }

    /// The profile that the program names, or the environment.
    pub(super) fn profile(&self, outside: &Outside) -> String {
        let named = match &self.place {
            Place::Chain(Some(profile)) => Some(profile.clone()),
            _ => outside.variable("AWS_PROFILE"),
        };
        named.unwrap_or_else(|| "default".into())
    }

    /// Whether all that the program says is valid.
    pub(super) fn check(&self) -> Result<(), Error> {
        let invalid = |what: &str| Err(Error::new(ErrorKind::InvalidConfig, what));
        match &self.place {
            Place::Given(login) if !is_word(&login.key_id) || !is_word(&login.secret) => invalid(
                "the AWS credentials that the program gives are not a key's id and its secret",
            ),
            Place::Given(Login { token: Some(token), .. }) if !is_word(token) => {
                invalid("the AWS session token that the program gives is not one word of ASCII")
            }
            Place::Chain(Some(profile)) if profile.trim().is_empty() => {
                invalid("the AWS profile has no name")
            }
            _ => Ok(()),
        }
    }

    /// The log-in to sign with now.
    pub(super) async fn get(&self, outside: &Outside) -> Result<Login, Error> {
        let mut held = self.held.lock().await;
        if let Some(login) = held.as_ref().filter(|login| login.lasts(EARLY)) {
            return Ok(login.clone());
        }
        match self.search(outside).await {
            Ok(login) => Ok(held.insert(login).clone()),
            Err(error) => match held.as_ref().filter(|login| login.lasts(TOO_LATE)) {
                Some(login) => {
                    tracing::warn!(target: "keyswap", "the AWS log-in stays as it is: {error}");
                    Ok(login.clone())
                }
                None => Err(error),
            },
        }
    }

    /// Another log-in than this one, which AWS rejected. None if there is no other.
    pub(super) async fn instead_of(
        &self,
        rejected: &Login,
        outside: &Outside,
    ) -> Result<Option<Login>, Error> {
        let mut held = self.held.lock().await;
        // Another who was rejected may have looked already.
        if let Some(login) = held.as_ref().filter(|login| !login.is(rejected)) {
            return Ok(Some(login.clone()));
        }
        *held = None;
        match self.search(outside).await {
            Ok(login) => {
                let is_other = !login.is(rejected);
                // One that is rejected is not kept: the next fetch looks again.
                Ok(is_other.then(|| held.insert(login).clone()))
            }
            Err(error) if error.is_transient() => Err(error),
            // That it was rejected says more than that there is no other.
            Err(_) => Ok(None),
        }
    }

    async fn search(&self, outside: &Outside) -> Result<Login, Error> {
        let login = match &self.place {
            Place::Given(login) => return Ok(login.clone()),
            Place::Chain(profile) => chain::search(profile.as_deref(), outside).await?,
            Place::Function(function) => {
                let credential = function().await.map_err(|error| {
                    let what = format!("the function that gives AWS credentials failed: {error}");
                    Error::new(ErrorKind::SourceFailed, what)
                })?;
                Login::of(&credential, "the function that gives AWS credentials")?
            }
        };
        let from = &login.from;
        match login.lasts(TOO_LATE) {
            true => Ok(login),
            false => {
                let what = format!(
                    "the AWS credentials from {from} have ended: renew them, or look at this machine's clock"
                );
                Err(Error::new(ErrorKind::BootstrapRejected, what))
            }
        }
    }
}

/// Whether it can be part of a header.
fn is_word(secret: &Secret) -> bool {
    let text = secret.reveal();
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Where it comes from, and never what it is.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Chain(None) => f.write_str("chain"),
            Place::Chain(Some(profile)) => write!(f, "profile {profile}"),
            Place::Given(_) => f.write_str("given"),
            Place::Function(_) => f.write_str("function"),
        }
    }
}

#[cfg(test)]
mod tests;
