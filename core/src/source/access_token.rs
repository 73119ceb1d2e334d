//! The access tokens of a cloud: kept until shortly before their end, or until a store does not accept one.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::sync::Mutex;
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::{
    BoxFuture,
    store_client::{Answer, StoreClient},
    wire::{Value, time},
};
use crate::{
    clock::Clock,
    error::{Error, ErrorKind},
    moment::Moment,
    secret::Secret,
};

/// The most of its life that a token is given up before its end. Metadata services hand out the same token until five
/// minutes before.
const LEAD: Duration = Duration::from_secs(4 * 60);

/// The longest that any token is kept.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// How long one is kept that does not say when it ends.
const UNSAID: Duration = Duration::from_secs(5 * 60);

/// One token.
pub(super) struct AccessToken {
    secret: Secret,
    /// Until when it is used.
    until: Moment,
    /// What it is for, where one log-in can serve several.
    audience: Box<str>,
    /// The project that pays for the questions, where a log-in names one.
    #[cfg(feature = "gcp")]
    pub(super) quota_project: Option<Box<str>>,
}

impl AccessToken {
    fn new(secret: Secret, life: Duration) -> Self {
        let life = life.min(LONGEST);
        let until = Clock::system().now() + (life - LEAD.min(life / 10));
        Self {
            secret,
            until,
            audience: "".into(),
            #[cfg(feature = "gcp")]
            quota_project: None,
        }
    }

    /// The token in an answer: `access_token`, with `expires_in` in seconds or `expires_on` in seconds since 1970; or
    /// `accessToken` with `expireTime`.
    pub(super) fn read(client: &StoreClient, answer: &Answer) -> Result<Self, Error> {
        let value = client.value(answer)?;
        let text = |pointer| match value.at(pointer) {
            Some(Value::Text(text)) => Some(text.as_str()),
            _ => None,
        };
        let token = text("/access_token").or_else(|| text("/accessToken"));
        // What cannot go into a header is no token.
        let token = token.filter(|it| !it.is_empty() && it.bytes().all(|it| it.is_ascii_graphic()));
        let Some(token) = token else {
            let what = "gave an answer in which there is no access token: check its URL";
            return Err(client.error(ErrorKind::Malformed, answer, what));
        };
        Ok(Self::new(token.into(), life(&value)))
    }

    pub(super) fn for_audience(mut self, audience: &str) -> Self {
        self.audience = audience.into();
        self
    }

    pub(super) fn secret(&self) -> &Secret {
        &self.secret
    }

    /// The value of the header that shows it.
    pub(super) fn bearer(&self) -> Zeroizing<String> {
        format!("Bearer {}", self.secret.reveal()).into()
    }
}

/// How long the token in this answer lives.
fn life(answer: &Value) -> Duration {
    // Some services write their numbers as text.
    let number = |pointer| match answer.at(pointer) {
        Some(Value::Whole(number)) => Some(*number),
        Some(Value::Text(text)) => text.parse().ok(),
        _ => None,
    };
    let until = |end: i64| {
        let now = Clock::system().now().wall.div_euclid(1000);
        Duration::from_secs(u64::try_from(end.saturating_sub(now)).unwrap_or(0))
    };
    let end = || answer.at("/expireTime").and_then(time).flatten().map(Timestamp::as_second);
    number("/expires_in")
        .map(Duration::from_secs)
        .or_else(|| number("/expires_on").and_then(|end| i64::try_from(end).ok()).map(until))
        .or_else(|| end().map(until))
        .unwrap_or(UNSAID)
}

/// What a log-in holds. Clones share it, so that one log-in is on its way, however many handles wait for it.
#[derive(Clone, Default)]
pub(super) struct Tokens(Arc<Mutex<Option<Arc<AccessToken>>>>);

impl Tokens {
    /// The token that is held, or else what this log-in brings. One that was rejected is not given again.
    pub(super) async fn get(
        &self,
        audience: &str,
        rejected: Option<&Secret>,
        log_in: impl Future<Output = Result<AccessToken, Error>>,
    ) -> Result<Arc<AccessToken>, Error> {
        // Whoever is dropped while it logs in lets go of the lock, and the next one logs in.
        let mut held = self.0.lock().await;
        let now = Clock::system().now();
        let of_use = held.as_ref().filter(|token| {
            *token.audience == *audience
                && !token.until.reached(now)
                && rejected.is_none_or(|rejected| *rejected != token.secret)
        });
        if let Some(token) = of_use {
            return Ok(token.clone());
        }
        let token = Arc::new(log_in.await?.for_audience(audience));
        *held = Some(token.clone());
        Ok(token)
    }
}

type Callback = Arc<dyn Fn() -> BoxFuture<'static, Result<Secret, Error>> + Send + Sync>;

/// A token that the program has from elsewhere.
#[derive(Clone)]
pub(super) enum GivenToken {
    Fixed(Secret),
    Callback(Callback),
}

impl GivenToken {
    pub(super) fn callback<F, Fut, S>(callback: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<S, Error>> + Send + 'static,
        S: Into<Secret>,
    {
        Self::Callback(Arc::new(move || {
            let token = callback();
            Box::pin(async move { token.await.map(Into::into) })
        }))
    }

    pub(super) async fn token(&self) -> Result<AccessToken, Error> {
        let secret = match self {
            Self::Fixed(secret) => secret.clone(),
            // Of the kinds of error, a store alone may say that a set is revoked.
            Self::Callback(callback) => callback()
                .await
                .map_err(|error| Error::new(ErrorKind::SourceFailed, error.to_string()))?,
        };
        let secret = secret.reveal().trim();
        if secret.is_empty() || !secret.bytes().all(|it| it.is_ascii_graphic()) {
            let what =
                "the access token must be one word of ASCII: check where the program has it from";
            return Err(Error::new(ErrorKind::InvalidConfig, what));
        }
        Ok(AccessToken::new(secret.into(), LONGEST))
    }
}

impl fmt::Debug for GivenToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fixed(_) => "a token that was given",
            Self::Callback(_) => "a function's token",
        })
    }
}

/// A form as a log-in posts it. It is wiped.
pub(super) fn form(fields: &[(&str, &str)]) -> Zeroizing<String> {
    // One buffer of the full size, for three bytes at most of each: one that grows leaves copies behind.
    let most = fields.iter().map(|(name, value)| 3 * (name.len() + value.len()) + 2).sum();
    let mut form = form_urlencoded::Serializer::new(String::with_capacity(most));
    form.extend_pairs(fields).finish().into()
}

/// What it means that a log-in was refused. `advice` says what does not accept what, and what to do.
pub(super) fn refused(client: &StoreClient, answer: &Answer, advice: &str) -> Error {
    match answer.status.as_u16() {
        400..=404 => client.error(ErrorKind::BootstrapRejected, answer, advice),
        _ => client.refusal(answer),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use super::*;

    fn token(secret: &str, life: u64) -> AccessToken {
        AccessToken::new(secret.into(), Duration::from_secs(life))
    }

    #[test]
    fn a_life_is_read_however_it_is_written() {
        let life = |text: &str| life(&crate::source::wire::read(text.as_bytes()).expect("JSON"));
        assert_eq!(life(r#"{"expires_in": 3599}"#), Duration::from_secs(3599));
        assert_eq!(life(r#"{"expires_in": "3599"}"#), Duration::from_secs(3599));
        assert_eq!(life(r#"{"expires_on": "1"}"#), Duration::ZERO);
        assert_eq!(life(r#"{"expireTime": "2001-01-01T00:00:00Z"}"#), Duration::ZERO);
        assert!(life(r#"{"expireTime": "2999-01-01T00:00:00Z"}"#) > LONGEST);
        assert_eq!(life(r#"{"expires_in": true}"#), UNSAID);
    }

    #[tokio::test]
    async fn one_log_in_serves_all_and_what_was_rejected_is_not_given_again() {
        let (tokens, log_ins) = (Tokens::default(), AtomicU32::new(0));
        let log_in = async || {
            let number = log_ins.fetch_add(1, Relaxed);
            tokio::task::yield_now().await;
            Ok(token(&format!("t{number}"), 3600))
        };
        let get = |rejected| tokens.get("a", rejected, log_in());
        let (first, second) = tokio::join!(get(None), get(None));
        let (first, second) = (first.expect("a token"), second.expect("a token"));
        assert_eq!((first.secret().reveal(), second.secret().reveal()), ("t0", "t0"));
        let next = get(Some(first.secret())).await.expect("another");
        assert_eq!(next.secret().reveal(), "t1");
        // Who comes late with the same news gets what is held by now.
        let late = get(Some(first.secret())).await.expect("the same");
        assert_eq!(late.secret().reveal(), "t1");
        let other = tokens.get("b", None, log_in()).await.expect("one for something else");
        assert_eq!(other.secret().reveal(), "t2");
        assert_eq!(log_ins.load(Relaxed), 3);
    }

    #[tokio::test]
    async fn one_that_is_dropped_while_it_logs_in_holds_up_nobody() {
        let tokens = Tokens::default();
        let hangs = tokens.get("", None, std::future::pending());
        assert!(tokio::time::timeout(Duration::from_millis(5), hangs).await.is_err());
        let after = tokens.get("", None, std::future::ready(Ok(token("t", 0))));
        let after = tokio::time::timeout(Duration::from_secs(5), after).await.expect("no lock");
        assert_eq!(after.expect("a token").secret().reveal(), "t");
        let again = tokens.get("", None, std::future::ready(Ok(token("u", 0)))).await;
        assert_eq!(again.expect("one that has not ended").secret().reveal(), "u");
    }

    #[tokio::test]
    async fn a_given_token_is_one_word_and_never_prints() {
        for odd in ["", "s3cr3t s3cr3t", "s3cr3t\nx"] {
            let error = GivenToken::Fixed(odd.into()).token().await.err().expect("no token");
            assert!(!format!("{error:?}").contains("s3cr3t"));
        }
        let given = GivenToken::callback(|| std::future::ready(Ok("s3cr3t\n")));
        assert_eq!(*given.token().await.expect("a token").bearer(), "Bearer s3cr3t");
        assert!(!format!("{given:?}").contains("s3cr3t"));
    }

    #[test]
    fn a_form_is_escaped() {
        assert_eq!(*form(&[("a", "x y&z"), ("b", "ü")]), "a=x+y%26z&b=%C3%BC");
    }
}
