//! One request on its way through a rotation.
//!
//! An attempt carries what it sees to the engine's [`AttemptMachine`] and says what that decides. It waits, but
//! sends nothing itself.

mod answered;
mod step;

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderMap, Method};
use url::Url;

pub use self::step::Step;
use super::authorizer::Parts;
use crate::{
    credential::Credential,
    driver::Woken,
    engine::{
        attempt::{AttemptMachine, Next, waits_until},
        rotation::Evidence,
        snapshot::Snapshot,
        throttle::Throttle,
    },
    error::{Error, ErrorKind},
    moment::millis,
    policy::Policy,
    scheme::{Patch, Unsigned},
};

/// One request, that is one hop, on its way through a rotation. Dropping it, at any time, is fine.
#[must_use = "an attempt says what to do with the request"]
pub struct Attempt {
    machine: AttemptMachine,
    parts: Arc<Parts>,
    /// Where it goes, if that is known, which of the allowed origins that is, and the epoch at which it was admitted.
    url: Option<Arc<Url>>,
    place: usize,
    admitted: u64,
    /// When its caller's time is over, on the boot clock, and until when it may wait.
    deadline: Option<u64>,
    until: Option<u64>,
    /// The epoch at which it last decided, or an older one.
    seen: u64,
    /// The number of the send under way.
    sent: u64,
    /// The first send, if it tried the candidate and was no success.
    trial: Option<Evidence>,
    /// What the send under way adds, until it is asked for.
    patch: Option<Patch>,
    /// The method of the send under way, and where that goes if it is not where the attempt was begun.
    method: Method,
    elsewhere: Option<Box<Url>>,
    at_home: bool,
    step: Step,
    wait: Option<Waiting>,
    /// Whether the last response was a rejection.
    is_rejected: bool,
    cause: Option<Error>,
}

#[derive(Clone, Copy)]
enum Waiting {
    /// Until this time on the boot clock, and whether it is a fetch that it waits for.
    News { until: u64, asks: bool },
    /// Before the first send, since the API wants no request now.
    Throttle(Duration),
}

impl Attempt {
    /// An attempt of a request to this URL, which is the allowed origin at `place`, as of this epoch; or of one
    /// that goes to no URL.
    pub(super) fn new(
        parts: Arc<Parts>,
        epoch: u64,
        destination: Option<(&Arc<Url>, usize)>,
        replayable: bool,
        now: u64,
        deadline: Option<Duration>,
    ) -> Self {
        let deadline = deadline.map(|deadline| now.saturating_add(millis(deadline)));
        Self {
            machine: AttemptMachine::new(replayable, now, deadline, &parts.keys.shared().policy),
            parts,
            url: destination.map(|(url, _)| url.clone()),
            place: destination.map_or(usize::MAX, |(_, place)| place),
            deadline,
            until: deadline.map(|deadline| waits_until(now, deadline)),
            admitted: epoch,
            seen: epoch,
            sent: 0,
            trial: None,
            patch: None,
            method: Method::GET,
            elsewhere: None,
            at_home: destination.is_none(),
            step: Step::Return,
            wait: None,
            is_rejected: false,
            cause: None,
        }
    }

    /// Decides what comes before the first send: the scopes that it needs, and a pause that the API wants.
    pub(super) fn begin(&mut self, scopes: &[Box<str>], now: u64) {
        if !scopes.is_empty() {
            self.machine.require(scopes);
        }
        let throttle = self.throttle();
        match throttle.and_then(|throttle| throttle.pause(now, self.until, fastrand::f64())) {
            Some(pause) => {
                self.wait = Some(Waiting::Throttle(pause));
                self.step = Step::Wait;
            }
            None => self.proceed(now),
        }
    }

    /// Goes on after a first send that was made without an attempt, with the credential of a snapshot.
    #[cfg_attr(not(feature = "host"), allow(dead_code, reason = "for hosts"))]
    pub(super) fn begin_after(&mut self, snapshot: &Snapshot, method: &Method) {
        self.method = method.clone();
        if let Some(credential) = &snapshot.in_use {
            self.machine.sent(credential.clone());
            // The true number is not known; the lowest that it can have makes the evidence as old as
            // it may be.
            self.sent = snapshot.sends + 1;
            self.at_home = true;
            self.step = Step::Send;
        } else {
            self.proceed(self.now());
        }
    }

    /// What to do next.
    pub fn step(&self) -> &Step {
        &self.step
    }

    /// What to add to the request for this hop. For a hop to an origin that is not allowed, nothing. If
    /// the credential cannot be put on the request, that is told, and what the next one adds is returned.
    ///
    /// # Errors
    /// [`ErrorKind::SchemeFailed`], or what a signer returned, if none is left that can.
    pub fn apply(
        &mut self,
        method: &Method,
        url: &Url,
        headers: &HeaderMap,
        body: Option<&[u8]>,
    ) -> Result<Patch, Error> {
        if !self.goes_home(method, url) {
            return Ok(Patch::default());
        }
        if let Some(patch) = self.patch.take() {
            return Ok(patch);
        }
        let parts = self.parts.clone();
        while let Some(credential) = self.machine.assigned() {
            let Some(scheme) = parts.scheme.as_ref().filter(|scheme| scheme.is_signing()) else {
                return parts.prepare(credential).map(Option::unwrap_or_default);
            };
            let now = parts.account.time(parts.keys.shared().clock.now().wall);
            let request = Unsigned::new(method, url, headers, body, now);
            let error = match scheme.apply(credential, &request) {
                Ok(patch) => {
                    // What carries no credential proves nothing of one.
                    self.at_home = !patch.is_empty();
                    return Ok(patch);
                }
                Err(error) => error,
            };
            self.signing_failed(error.clone());
            if !matches!(self.step, Step::Send) {
                return Err(error);
            }
        }
        Ok(Patch::default())
    }

    #[cfg(feature = "host")]
    pub(crate) fn begin_signing(&mut self, method: &Method, url: &Url) -> Option<Arc<Credential>> {
        if !self.goes_home(method, url) {
            return None;
        }
        self.machine.assigned().cloned()
    }

    /// The signer could not sign, which counts as a rejection of the credential.
    pub(crate) fn signing_failed(&mut self, error: Error) -> &Step {
        if let Some(credential) = self.machine.assigned() {
            // What a program's own signer says may quote what it was given.
            let (id, code) = (credential.id(), error.code());
            let what = format!("{id} could not sign a request: the signer failed with {code}");
            let why = Error::new(ErrorKind::SchemeFailed, what);
            self.parts.tell_unfit(credential, why, Some(self.sent));
        }
        let now = self.now();
        let next =
            self.decide(|machine, snapshot, policy| machine.unfit(now, snapshot, error, policy));
        self.take(next);
        &self.step
    }

    /// Whether this hop goes where credentials may go.
    fn goes_home(&mut self, method: &Method, url: &Url) -> bool {
        self.method = method.clone();
        let is_known = self.url.as_deref().is_some_and(|known| *known == *url);
        self.elsewhere = (!is_known).then(|| Box::new(url.clone()));
        // Where it was begun was admitted, and stays so while nothing new is published.
        let is_admitted = self.elsewhere.is_none() && self.parts.keys.epoch() == self.admitted;
        self.at_home = is_admitted || {
            let snapshot = self.parts.keys.store().snapshot();
            self.parts.origins.admits(url, snapshot.set.as_deref())
        };
        self.at_home
    }

    /// Whether the last response was a rejection. If the first one was, too, it is the one to return when
    /// all is in vain: it is about the credential that was in use.
    pub fn is_rejected(&self) -> bool {
        self.is_rejected
    }

    /// Why a wait for a fresh credential brought nothing: the failure of the last fetch. To be told beside
    /// a rejection that is returned.
    pub fn cause(&self) -> Option<&Error> {
        self.cause.as_ref()
    }

    /// Waits as [`Step::Wait`] says, until there is something else to do; at once, if the step is another.
    /// No wait outlasts the deadline.
    pub async fn wait(&mut self) -> &Step {
        while let Some(waiting) = self.wait {
            match waiting {
                Waiting::Throttle(pause) => {
                    tokio::time::sleep(pause).await;
                    self.machine.starts(self.now(), &self.parts.keys.shared().policy);
                }
                Waiting::News { until, asks } => self.rest(until, asks).await,
            }
            self.proceed(self.now());
        }
        &self.step
    }

    /// The credential of the send under way: for stacks that put it on by themselves, instead of what
    /// [`apply`](Self::apply) adds. All of its material is from one set.
    ///
    /// ```
    /// # async fn example(authorizer: &keyswap::Authorizer) -> Result<(), keyswap::Error> {
    /// # async fn log_in(user: &str, password: &str) -> Result<(), u16> { Ok(()) }
    /// use keyswap::{Step, Verdict};
    /// let mut attempt = authorizer.begin_without_url(&[], true, None);
    /// loop {
    ///     match attempt.step().clone() {
    ///         Step::Send => {
    ///             let Some(credential) = attempt.credential().cloned() else { break };
    ///             let password = credential.reveal("key").unwrap_or_default();
    ///             let verdict = match log_in("app", password).await {
    ///                 Ok(()) => Verdict::Accepted,
    ///                 Err(1045) => Verdict::Rejected,
    ///                 Err(_) => Verdict::Other,
    ///             };
    ///             attempt.judged(verdict);
    ///         }
    ///         Step::Wait => drop(attempt.wait().await),
    ///         Step::Fail(error) => return Err(error),
    ///         _ => break,
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    pub fn credential(&self) -> Option<&Arc<Credential>> {
        self.machine.assigned()
    }

    /// The id of the credential of the send under way.
    pub fn credential_id(&self) -> Option<&str> {
        self.machine.assigned().map(|credential| credential.id())
    }

    /// How often the request was sent so far, with the send under way.
    pub fn sends(&self) -> u32 {
        self.machine.sends()
    }

    /// Begins again for a reason that is not the credential: after a 503, say. False if the request was
    /// sent as often as it may be.
    pub fn repeat(&mut self) -> bool {
        let again = self.machine.repeat();
        if again {
            self.proceed(self.now());
        }
        again
    }

    /// Rests until something new is published, or a fetch has settled if it `asks` for one.
    async fn rest(&mut self, until: u64, asks: bool) {
        let left = tokio::time::sleep(Duration::from_millis(until.saturating_sub(self.now())));
        tokio::pin!(left);
        let woken = tokio::select! {
            () = &mut left => None,
            woken = self.parts.keys.rest(self.seen, asks) => match woken {
                // Nobody is there to wake it.
                None => {
                    left.await;
                    None
                }
                woken => woken,
            }
        };
        // However it was woken, the newest snapshot tells all that matters.
        if woken == Some(Woken::Settled) || (woken.is_none() && asks) {
            self.machine.settled();
        }
        if asks {
            self.cause = self.parts.keys.store().failure();
        }
    }

    /// When its caller's time is over, on the boot clock.
    pub(crate) fn deadline(&self) -> Option<u64> {
        self.deadline
    }

    fn now(&self) -> u64 {
        self.parts.keys.shared().clock.boot()
    }

    fn throttle(&self) -> Option<&Throttle> {
        self.parts.throttles.get(self.place)
    }

    fn proceed(&mut self, now: u64) {
        let began = self.parts.keys.store().fetch_began();
        let next =
            self.decide(|machine, snapshot, policy| machine.proceed(now, snapshot, began, policy));
        self.take(next);
    }

    /// Asks the state machine, with the newest snapshot.
    fn decide(
        &mut self,
        ask: impl FnOnce(&mut AttemptMachine, &Snapshot, &Policy) -> Next,
    ) -> Next {
        let keys = &self.parts.keys;
        let snapshot = keys.store().snapshot();
        self.seen = snapshot.epoch();
        ask(&mut self.machine, &snapshot, &keys.shared().policy)
    }

    fn take(&mut self, mut next: Next) {
        (self.wait, self.patch) = (None, None);
        self.step = loop {
            match next {
                Next::Send(credential) => match self.check(&credential) {
                    Ok(patch) => {
                        if let Some(locked) = self.lock() {
                            let is_answered = self.machine.sends() > 1;
                            break if is_answered { Step::Return } else { Step::Fail(locked) };
                        }
                        let is_extra = self.machine.sends() > 1;
                        self.sent = self.parts.keys.store().next_send(is_extra);
                        self.patch = patch;
                        break Step::Send;
                    }
                    Err(error) if error.kind() == ErrorKind::OriginNotAllowed => {
                        break Step::Fail(error);
                    }
                    Err(why) => {
                        self.parts.tell_unfit(&credential, why.clone(), None);
                        let now = self.now();
                        next = self.decide(|machine, snapshot, policy| {
                            machine.unfit(now, snapshot, why, policy)
                        });
                    }
                },
                Next::Wait(until) => {
                    self.wait = Some(Waiting::News { until, asks: true });
                    break Step::Wait;
                }
                Next::Rest(until) => {
                    self.wait = Some(Waiting::News { until, asks: false });
                    break Step::Wait;
                }
                Next::Return => break Step::Return,
                Next::Fail(error) => break Step::Fail(error),
            }
        };
    }

    /// The error of a request that is not sent, since the API has locked the account.
    fn lock(&self) -> Option<Error> {
        let left = self.parts.account.locked_for(|| self.now())?;
        let what = format!(
            "the API has locked this account for another {} s: nothing was sent; a request sooner could make \
             it longer",
            left.as_secs() + 1
        );
        Some(Error::new(ErrorKind::Throttled, what).with_retry_after(left))
    }

    /// What this credential adds to the request, if it may go where the request goes and can be put on it.
    fn check(&mut self, credential: &Credential) -> Result<Option<Patch>, Error> {
        // The program puts it on by itself.
        let Some(url) = &self.url else { return Ok(None) };
        if self.seen != self.admitted {
            // A set may have come meanwhile that is not for this origin.
            let snapshot = self.parts.keys.store().snapshot();
            if self.parts.origins.place(url, snapshot.set.as_deref()).is_none() {
                return Err(self.parts.origins.refuse(url));
            }
            self.admitted = self.seen;
        }
        self.parts.prepare(credential)
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt")
            .field("credential", &self.credential_id())
            .field("sends", &self.sends())
            .field("step", &self.step)
            .finish_non_exhaustive()
    }
}
