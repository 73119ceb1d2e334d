//! The one log-in that all sources of a [`Vault`] share.
//!
//! # Theory of operation
//!
//! The token stands in a slot. Whoever finds it there, and not due to be renewed, uses it without waiting. Whoever does
//! not takes the turn, looks again, and renews it or logs in; the others wait for the turn and find what that brought.
//! Both the slot and the turn survive a fetch that is dropped at any await: nothing is put into the slot that is not
//! complete, and the turn ends with whoever has it.
//!
//! A second log-in after a 403 is a trial. If its token is refused too, and has the same policies, it is given back:
//! others hold leases that live only as long as the token that made them.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::StatusCode;

use super::{
    Call, Vault,
    login::{Grant, Login},
};
use crate::{
    clock::Clock, error::Error, moment::Moment, secret::Secret, source::store_client::Answer,
};

/// Who is logged in, and how.
pub(super) struct Session {
    login: Login,
    /// Where that is mounted, if not at its usual place.
    mount: Option<Box<str>>,
    namespace: Box<str>,
    held: Mutex<Option<Arc<Token>>>,
    turn: tokio::sync::Mutex<()>,
    numbers: AtomicU64,
}

/// A token, with what is known of its life.
pub(super) struct Token {
    /// Tells it from those before it.
    pub(super) number: u64,
    secret: Secret,
    policies: Vec<Box<str>>,
    /// How long it lived when it was made.
    first: Option<Duration>,
    /// None if it has no end, or none that is known.
    life: Mutex<Option<Life>>,
}

/// What was granted last.
#[derive(Clone, Copy)]
struct Life {
    from: Moment,
    granted: Duration,
}

impl Life {
    /// Two thirds have gone.
    fn is_due(self, now: Moment) -> bool {
        (self.from + self.granted * 2 / 3).reached(now)
    }

    fn has_ended(self, now: Moment) -> bool {
        (self.from + self.granted).reached(now)
    }
}

impl Token {
    pub(super) fn secret(&self) -> &Secret {
        &self.secret
    }

    /// How long it will live, and so whatever it made. None if it has no end.
    pub(super) fn left(&self) -> Option<Duration> {
        let life = (*lock(&self.life))?;
        Some((life.from + life.granted).remaining(Clock::system().now()))
    }

    fn extend(&self, granted: Option<Duration>) {
        let from = Clock::system().now();
        *lock(&self.life) = granted.map(|granted| Life { from, granted });
    }

    fn is(&self, test: fn(Life, Moment) -> bool) -> bool {
        lock(&self.life).is_some_and(|life| test(life, Clock::system().now()))
    }
}

impl Session {
    pub(super) fn new(login: Login) -> Self {
        Self {
            login,
            mount: None,
            namespace: "".into(),
            held: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            numbers: AtomicU64::new(0),
        }
    }

    /// A session of its own that logs in in this way.
    pub(super) fn by(&self, login: Login) -> Self {
        let (mount, namespace) = (self.mount.clone(), self.namespace.clone());
        Self { mount, namespace, ..Self::new(login) }
    }

    /// One whose log-in is mounted there.
    pub(super) fn mounted(&self, mount: &str) -> Self {
        Self { mount: Some(mount.into()), ..self.by(self.login.clone()) }
    }

    /// One in this namespace.
    pub(super) fn within(&self, namespace: &str) -> Self {
        Self { namespace: namespace.into(), ..self.by(self.login.clone()) }
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        self.login.check()
    }

    pub(super) fn namespace(&self) -> Option<&str> {
        Some(&*self.namespace).filter(|it| !it.is_empty())
    }

    /// The token that is used now. It is renewed, or made anew, where its life wants that.
    pub(super) async fn token(&self, vault: &Vault) -> Result<Arc<Token>, Error> {
        let fresh = || self.held().filter(|held| !held.is(Life::is_due));
        if let Some(token) = fresh() {
            return Ok(token);
        }
        let _turn = self.turn.lock().await;
        if let Some(token) = fresh() {
            return Ok(token);
        }
        let Some(held) = self.held().filter(|held| !held.is(Life::has_ended)) else {
            let token = self.log_in(vault).await?;
            return Ok(self.hold(token));
        };
        if self.renew(vault, &held).await || !self.login.makes_tokens() {
            return Ok(held);
        }
        match self.log_in(vault).await {
            Ok(token) => Ok(self.hold(token)),
            // It still works.
            Err(error) => {
                tracing::warn!(target: "keyswap", code = error.code(), "the token was not renewed: {error}");
                Ok(held)
            }
        }
    }

    /// After a 403 with this token: asks again as somebody who has just logged in, if that is another.
    pub(super) async fn again(
        &self,
        vault: &Vault,
        call: &Call<'_>,
        refused: Answer,
        token: Arc<Token>,
    ) -> Result<(Answer, Arc<Token>), Error> {
        let _turn = self.turn.lock().await;
        let (mut refused, mut token) = (refused, token);
        if let Some(held) = self.held().filter(|held| held.number != token.number) {
            let answer = vault.send(call, Some(&held.secret)).await?;
            if answer.status != StatusCode::FORBIDDEN {
                return Ok((answer, held));
            }
            (refused, token) = (answer, held);
        }
        let trial = match self.log_in(vault).await {
            Ok(trial) if trial.secret != token.secret => trial,
            // There is nobody else to ask as; whether the token is good tells which of the two it is.
            other => {
                if self.is_good(vault, &token).await? {
                    return Ok((refused, token));
                }
                self.forget(&token);
                return Err(
                    other.map_or_else(|error| error, |_| self.login.rejected(vault, &refused))
                );
            }
        };
        let answer = vault.send(call, Some(&trial.secret)).await?;
        if answer.status != StatusCode::FORBIDDEN || trial.policies != token.policies {
            return Ok((answer, self.hold(trial)));
        }
        // It is no better than the one before, which others may hold leases by.
        if self.login.makes_tokens() {
            let revoke = vault.post("auth/token/revoke-self", b"{}");
            _ = vault.send(&revoke, Some(&trial.secret)).await;
        }
        Ok((answer, token))
    }

    /// How long until a token that cannot be made anew has to be renewed.
    pub(super) fn wants_care_in(&self) -> Option<Duration> {
        let held = self.held().filter(|_| !self.login.makes_tokens())?;
        let life = (*lock(&held.life))?;
        Some((life.from + life.granted * 2 / 3).remaining(Clock::system().now()))
    }

    async fn log_in(&self, vault: &Vault) -> Result<Token, Error> {
        let Grant { token, policies, life } =
            self.login.log_in(vault, self.mount.as_deref()).await?;
        let token = Token {
            number: self.numbers.fetch_add(1, Ordering::Relaxed),
            secret: token,
            policies,
            first: life,
            life: Mutex::default(),
        };
        token.extend(life);
        Ok(token)
    }

    /// Renews a token. Whether that gave it a life worth having.
    async fn renew(&self, vault: &Vault, token: &Token) -> bool {
        let renew = vault.post("auth/token/renew-self", b"{}");
        let granted = match vault.send(&renew, Some(&token.secret)).await {
            Ok(answer) if answer.status == StatusCode::OK => {
                vault.value(&answer).ok().and_then(|value| Grant::of(&value)).map(|it| it.life)
            }
            _ => None,
        };
        let Some(granted) = granted else { return false };
        token.extend(granted);
        // A life that cannot grow any more is cut to what is left of it.
        granted.is_none_or(|granted| token.first.is_none_or(|first| granted * 2 >= first))
    }

    /// Whether the server knows this token.
    async fn is_good(&self, vault: &Vault, token: &Token) -> Result<bool, Error> {
        let answer = vault.send(&vault.get("auth/token/lookup-self"), Some(&token.secret)).await?;
        match answer.status.as_u16() {
            200 => Ok(true),
            403 => Ok(false),
            _ => Err(vault.refusal(&answer, "auth/token/lookup-self")),
        }
    }

    fn held(&self) -> Option<Arc<Token>> {
        lock(&self.held).clone()
    }

    fn hold(&self, token: Token) -> Arc<Token> {
        lock(&self.held).insert(Arc::new(token)).clone()
    }

    fn forget(&self, token: &Token) {
        lock(&self.held).take_if(|held| held.number == token.number);
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.login.fmt(f)
    }
}

/// Nothing here can be left half-changed by a panic, so a poisoned lock is as good as any.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_due_when_two_thirds_of_its_life_have_gone() {
        let from = Moment::new(1_000_000, 500);
        let life = Life { from, granted: Duration::from_secs(30) };
        let at = |seconds| from + Duration::from_secs(seconds);
        assert!(!life.is_due(at(19)) && life.is_due(at(20)));
        assert!(!life.has_ended(at(29)) && life.has_ended(at(30)));
    }
}
