//! How a token is asked for, and what was minted last.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Mutex, watch};

use super::{
    answer::{Granted, Rejects, denied, granted},
    identity::{Identity, time_of},
};
use crate::{
    clock::Clock,
    credential::CredentialSet,
    error::{Error, ErrorKind},
    source::{
        BoxFuture, Hints,
        store_client::{Answer, StoreClient},
    },
};

/// Why there is no token.
pub(super) struct Failure {
    pub(super) error: Error,
    pub(super) rejects: Rejects,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, rejects: Rejects::Nothing }
    }
}

/// Asks for a token by this grant: with each secret that there is, for as long as it is rejected. With the token comes
/// the time by the server's clock, or by this machine's.
pub(super) async fn ask(
    client: &StoreClient,
    identity: &Identity,
    grant: &[(&str, &str)],
) -> Result<(Granted, Answer), Failure> {
    let mut showing = identity.begin(client)?;
    let mut last = None;
    while let Some(shown) = showing.next().await? {
        let question = match identity.question(client, &shown, grant) {
            Ok(question) => question,
            Err(why) if showing.unfit(&why) => {
                last = Some(why.into());
                continue;
            }
            Err(why) => return Err(why.into()),
        };
        let answer = question.ask(client).await?;
        let outcome = read(client, &answer);
        showing.answered(&answer, outcome.as_ref().err().map(|failure| failure.rejects));
        match outcome {
            Ok(granted) => return Ok((granted, answer)),
            Err(failure) if failure.rejects == Rejects::Client => last = Some(failure),
            Err(failure) => return Err(failure),
        }
    }
    Err(last.unwrap_or_else(|| {
        let what = format!("there is nothing to log in with at {}", client.origin());
        Error::new(ErrorKind::SourceFailed, what).into()
    }))
}

/// What an answer grants.
fn read(client: &StoreClient, answer: &Answer) -> Result<Granted, Failure> {
    let status = answer.status.as_u16();
    if matches!(status, 429 | 500..) {
        return Err(client.refusal(answer).into());
    }
    let value = client.value(answer);
    // Some say that they grant nothing with a status of success.
    if let Some(denied) = denied(status, value.as_ref().ok()) {
        let mut error = client.error(denied.kind, answer, denied.what);
        if error.is_lasting()
            && matches!(denied.kind, ErrorKind::Unavailable | ErrorKind::Throttled)
        {
            // It says so with 400, which elsewhere means that it will never understand.
            let what = format!("the OAuth2 server at {} {}", client.origin(), denied.what);
            error = Error::new(denied.kind, what);
            if let Some(wait) = answer.head.retry_after {
                error = error.with_retry_after(wait);
            }
        }
        return Err(Failure { error, rejects: denied.rejects });
    }
    if status == 404 {
        let what = "has no token endpoint there: check the token URL";
        return Err(client.error(ErrorKind::UnknownSet, answer, what).into());
    }
    if !answer.status.is_success() {
        return Err(client.refusal(answer).into());
    }
    granted(&value?).map_err(|what| client.error(ErrorKind::Malformed, answer, what).into())
}

/// What clones of a source share: one question at a time, and the token that the last one brought.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) last: Mutex<Last>,
    /// Ids are told to logs. One under a random key of this source's own says only «changed» or «the same».
    digest: RandomState,
    /// Which lent key was the newest when the last log-in was rejected. None if it was not.
    refused: watch::Sender<Option<Newest>>,
}

type Newest = Option<Arc<str>>;

/// The token that was minted last.
#[derive(Default)]
pub(super) struct Last(Option<Minted>);

#[derive(Clone)]
pub(super) struct Minted {
    set: CredentialSet,
    /// When it came, on the boot clock, and by the server's.
    at: u64,
    as_of: Timestamp,
    lives: Option<Duration>,
}

impl Shared {
    /// The set of what was granted.
    pub(super) fn minted(
        &self,
        granted: &Granted,
        answer: &Answer,
        asked: &[Box<str>],
        lifetime: Option<Duration>,
    ) -> Minted {
        // Eight digits are read easily, and two tokens in a row that share them are one in four billion.
        let id = format!("token-{:08x}", self.digest.hash_one(granted.token.reveal()) as u32);
        let lives = granted.lives.or(lifetime);
        let as_of = time_of(answer);
        let set = granted.set(&id, as_of, lives, asked);
        Minted { set, at: Clock::system().boot(), as_of, lives }
    }

    /// Follows the keys that are lent, to ask at once when there is a new one after all were rejected.
    pub(super) fn watch(
        self: &Arc<Self>,
        identity: &Identity,
        hints: Hints,
    ) -> Option<BoxFuture<'static, ()>> {
        let keys = identity.lender()?.clone();
        let mut refused = self.refused.subscribe();
        Some(Box::pin(async move {
            loop {
                let newest = refused.borrow_and_update().clone();
                let news = async {
                    match newest {
                        Some(newest) => keys.changed(newest).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    changed = refused.changed() => if changed.is_err() { return },
                    () = news => {
                        hints.changed();
                        // What comes of it is told.
                        if refused.changed().await.is_err() { return }
                    }
                }
            }
        }))
    }

    /// Whether the last log-in was rejected, and which was the newest key when it began.
    pub(super) fn tell_refused(&self, refused: Option<Newest>) {
        self.refused.send_replace(refused);
    }
}

impl Last {
    /// What another handle minted, where it is news to whoever holds this set, and has lived less than half its life.
    pub(super) fn for_another(&self, known: Option<&CredentialSet>) -> Option<CredentialSet> {
        let minted = self.0.as_ref()?;
        let is_young = minted.lives.is_some_and(|lives| minted.age() < lives / 2);
        (is_young && minted.is_news(known)).then(|| minted.set_now())
    }

    pub(super) fn keep(&mut self, minted: &Minted) {
        self.0 = Some(minted.clone());
    }

    pub(super) fn forget(&mut self) {
        self.0 = None;
    }
}

impl Minted {
    fn age(&self) -> Duration {
        Duration::from_millis(Clock::system().boot().saturating_sub(self.at))
    }

    fn is_news(&self, known: Option<&CredentialSet>) -> bool {
        let id = |set: &CredentialSet| set.primary().map(|primary| primary.id().to_owned());
        known.and_then(id) != id(&self.set)
    }

    /// Whether it is of use to whoever holds this set.
    pub(super) fn is_of_use(&self, known: Option<&CredentialSet>) -> bool {
        self.is_news(known) && self.lives.is_none_or(|lives| self.age() < lives)
    }

    /// The set, with what the server's clock shows by now.
    pub(super) fn set_now(&self) -> CredentialSet {
        let as_of = SignedDuration::try_from(self.age())
            .ok()
            .and_then(|age| self.as_of.checked_add(age).ok());
        self.set.clone().with_as_of(as_of.unwrap_or(self.as_of))
    }
}
