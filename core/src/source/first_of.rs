//! Several sources of one set: a store, and what stands in for it where nothing else is left.
//!
//! # Theory of operation
//!
//! The sources need not know of each other: each has numbers, validators and a lineage of its own. So a set says which
//! of them it is from, and the engine compares no numbers of two of them. Its validator has that place in front of the
//! source's own: what the engine hands back says whose set is held, and, by having none, that nothing held is of use.

use std::{
    fmt,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::time::timeout;

use super::{BoxFuture, Fetched, Hint, Hints, PushSignal, Report, Source, Terms};
use crate::{
    clock::Clock,
    credential::{CredentialSet, PassedOver},
    error::{Error, ErrorKind},
    moment::millis,
};

/// How long what stands in is used until the first source is asked again.
const RETURN_AFTER: SignedDuration = SignedDuration::from_secs(30);

/// The first of several sources that works: a store, say, with a file as the last resort.
///
/// A source is asked only where those before it fail, and nothing that they brought is of use any more: at the start,
/// when all that is held has ended, or when the API rejects it. A store that is down for a minute therefore never makes
/// a program go back to an older key in a file. While a later source stands in, the ones before it are asked
/// every 30 s, and what they have is taken as soon as they work; until then each fetch is told as one that failed, with
/// the reason of the first. One that says that the set is revoked is believed: nothing stands in for it. One that
/// panics has failed.
///
/// If one of them [mints](Source::mints), all are asked as if they did: by the life of what is held.
///
/// ```
/// use std::sync::Arc;
/// use keyswap::source::{self, Endpoint, File};
/// let source = source::first_of([
///     Arc::new(Endpoint::new("https://keys.example.com/v1/sets/trading")?),
///     Arc::new(File::new("/var/lib/bot/trading.json")),
/// ]);
/// # Ok::<(), keyswap::Error>(())
/// ```
///
/// # Errors of a fetch
/// If none works, the error of the first in order that may go away soon, or else of the first; its text says how many
/// were asked.
pub fn first_of<const N: usize>(sources: [Arc<dyn Source>; N]) -> FirstOf {
    const { assert!(N > 0 && N <= MOST, "one source at least, and not more than 16") };
    FirstOf::new(sources.into())
}

/// The most sources that one may stand in for.
const MOST: usize = 16;

/// What [`first_of`] makes.
#[must_use = "a source does nothing until it is followed"]
pub struct FirstOf {
    sources: Box<[Arc<dyn Source>]>,
    /// Which one brought something last.
    last: AtomicUsize,
    /// Which one said last that the set is revoked: those behind it stand in for nothing.
    revoked: AtomicUsize,
    terms: Mutex<Terms>,
    clock: Clock,
}

impl FirstOf {
    fn new(sources: Box<[Arc<dyn Source>]>) -> Self {
        Self {
            sources,
            last: AtomicUsize::new(0),
            revoked: AtomicUsize::new(usize::MAX),
            terms: Mutex::default(),
            clock: Clock::tokio(),
        }
    }

    /// Of a list that a program in another language wrote.
    #[cfg(feature = "host")]
    pub(crate) fn of(sources: Vec<Arc<dyn Source>>) -> Result<Self, Error> {
        if (1..=MOST).contains(&sources.len()) {
            return Ok(Self::new(sources.into()));
        }
        let what =
            format!("one source at least can be the first that works, and not more than {MOST}");
        Err(Error::new(ErrorKind::InvalidConfig, what))
    }

    async fn ask(&self, known: Option<&CredentialSet>) -> Result<Fetched, Error> {
        let held = known.and_then(|known| place_in(known.validator()?));
        // Those behind the one whose set is of use are not needed.
        let needed = held.map_or(self.sources.len(), |(holder, _)| holder + 1);
        let asked =
            &self.sources[..needed.min(self.revoked.load(Ordering::Relaxed).saturating_add(1))];
        let holder = held.map_or(self.last.load(Ordering::Relaxed), |(holder, _)| holder);
        let limit =
            self.terms.lock().unwrap_or_else(PoisonError::into_inner).policy().fetch_timeout;
        let end = self.clock.now().boot.saturating_add(millis(limit));
        let mut errors = Vec::new();
        for (place, source) in asked.iter().enumerate() {
            let own = known.filter(|_| place == holder).map(|known| {
                // One that stands in is asked for its whole set, which says anew how soon the first is asked again.
                let validator =
                    held.filter(|_| place == 0).and_then(|(_, own)| own).map(Into::into);
                CredentialSet { validator, ..known.clone() }
            });
            // What is left is shared out, so that one that hangs leaves time for the others.
            let left = end.saturating_sub(self.clock.now().boot) / (asked.len() - place) as u64;
            let share = Duration::from_millis(left);
            let fetched = match timeout(share, unless_it_panics(source.fetch(own.as_ref()))).await {
                Ok(Some(fetched)) => fetched,
                Ok(None) => Err(Error::new(
                    ErrorKind::SourceFailed,
                    format!("source {} of {} panicked", place + 1, self.sources.len()),
                )),
                // Its place and not the source itself: what a program's own prints of itself may hold a key.
                Err(_) => Err(Error::new(
                    ErrorKind::Timeout,
                    format!(
                        "source {} of {} did not answer within its share of {limit:?}",
                        place + 1,
                        self.sources.len()
                    ),
                )),
            };
            match fetched {
                Ok(Fetched::NotModified) => return Ok(Fetched::NotModified),
                Ok(Fetched::Set(set)) => {
                    self.last.store(place, Ordering::Relaxed);
                    let is_revoked = set.primary().is_none();
                    self.revoked
                        .store(if is_revoked { place } else { usize::MAX }, Ordering::Relaxed);
                    let failure = (!errors.is_empty()).then(|| most_hopeful(errors));
                    return Ok(Fetched::Set(CredentialSet {
                        passed_over: PassedOver(failure),
                        ..self.placed(place, set)
                    }));
                }
                Err(error) if error.kind() == ErrorKind::SetRevoked => {
                    self.revoked.store(place, Ordering::Relaxed);
                    return Err(error);
                }
                Err(error) => {
                    tracing::warn!(target: "keyswap", place, code = error.code(), "{error}");
                    errors.push(error);
                }
            }
        }
        let tried = errors.len();
        let error = most_hopeful(errors);
        Err(match tried {
            1 => error,
            _ => error.with_remark(&format!("; none of the {tried} sources works")),
        })
    }

    /// A set that says which source it is from.
    fn placed(&self, place: usize, mut set: CredentialSet) -> CredentialSet {
        let own = set.validator.take();
        set.validator = Some(match own {
            Some(own) => format!("{place}/{own}").into(),
            None => format!("{place}").into(),
        });
        set.place = Some(place as u8);
        if place > 0 {
            let now = set.as_of.map_or(self.clock.now().wall, Timestamp::as_millisecond);
            let again = Timestamp::from_millisecond(now)
                .ok()
                .and_then(|now| now.checked_add(RETURN_AFTER).ok());
            set.refresh_after = set.refresh_after.into_iter().chain(again).min();
        }
        set
    }
}

/// The first that may go away soon, or else the first.
fn most_hopeful(mut errors: Vec<Error>) -> Error {
    let soon = errors.iter().position(Error::is_transient).unwrap_or(0);
    errors.swap_remove(soon)
}

/// What a fetch brought; nothing if it panicked, which is no reason not to ask the next one.
async fn unless_it_panics<T>(mut fetch: BoxFuture<'_, T>) -> Option<T> {
    poll_fn(move |context| {
        let polled = catch_unwind(AssertUnwindSafe(|| fetch.as_mut().poll(context)));
        polled.map_or(Poll::Ready(None), |polled| polled.map(Some))
    })
    .await
}

/// Which source a validator is from, and that source's own.
fn place_in(validator: &str) -> Option<(usize, Option<&str>)> {
    let (place, own) = match validator.split_once('/') {
        Some((place, own)) => (place, Some(own)),
        None => (validator, None),
    };
    Some((place.parse().ok()?, own))
}

impl Source for FirstOf {
    fn fetch<'a>(
        &'a self,
        known: Option<&'a CredentialSet>,
    ) -> BoxFuture<'a, Result<Fetched, Error>> {
        Box::pin(self.ask(known))
    }

    fn mints(&self) -> bool {
        self.sources.iter().any(|source| source.mints())
    }

    fn begin(&self, terms: &Terms) -> Result<(), Error> {
        *self.terms.lock().unwrap_or_else(PoisonError::into_inner) = terms.clone();
        self.sources.iter().try_for_each(|source| source.begin(terms))
    }

    /// All are heard, since any may be the one that has something newer. A generation is a number of its own source.
    fn watch(&self, hints: Hints) -> Option<BoxFuture<'static, ()>> {
        let hints = Hints::new(move |said| match said {
            PushSignal::Hint(hint) => hints.send(Hint { generation: None, ..hint }),
            PushSignal::Lost(silent) => hints.lost(silent),
        });
        all_of(self.sources.iter().filter_map(|source| source.watch(hints.clone())))
    }

    /// The one whose set is held is told.
    fn report(&self, report: Report) -> Option<BoxFuture<'static, Result<(), Error>>> {
        self.sources[self.last.load(Ordering::Relaxed)].report(report)
    }

    fn close(&self) -> Option<BoxFuture<'static, ()>> {
        all_of(self.sources.iter().filter_map(|source| source.close()))
    }
}

/// All of them, side by side. None if there is none.
fn all_of(futures: impl Iterator<Item = BoxFuture<'static, ()>>) -> Option<BoxFuture<'static, ()>> {
    let mut left: Vec<_> = futures.collect();
    (!left.is_empty()).then(|| {
        Box::pin(poll_fn(move |context| {
            left.retain_mut(|one| Pin::as_mut(one).poll(context).is_pending());
            if left.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })) as BoxFuture<'static, ()>
    })
}

impl fmt::Debug for FirstOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.sources).finish()
    }
}

#[cfg(test)]
mod tests;
