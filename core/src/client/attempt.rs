//! One request on its way through a rotation.
//!
//! An attempt carries what it sees to the engine's [`AttemptMachine`] and says what that decides. It waits, but
//! sends nothing itself.

mod step;

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderMap, Method, StatusCode};
use jiff::Timestamp;
use url::Url;

pub use self::step::Step;
use super::{authorizer::Parts, status};
use crate::{
    credential::Credential,
    driver::Woken,
    engine::{
        attempt::{AttemptMachine, Next, Outcome, waits_until},
        rotation::{Evidence, Input},
        snapshot::Snapshot,
        throttle::Throttle,
        verdict::{Failure, Verdict},
    },
    error::{Error, ErrorKind},
    moment::millis,
    net::retry_after,
    policy::Policy,
    response_view::ResponseView,
    scheme::{Patch, Unsigned},
};

/// One request, that is one hop, on its way through a rotation. Dropping it, at any time, is fine.
#[must_use = "an attempt says what to do with the request"]
pub struct Attempt {
    machine: AttemptMachine,
    parts: Arc<Parts>,
    /// Where it goes, which of the allowed origins that is, and the epoch at which it was admitted.
    url: Arc<Url>,
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
    /// An attempt of a request to this URL, which is the allowed origin at `place`, as of this epoch.
    pub(super) fn new(
        parts: Arc<Parts>,
        epoch: u64,
        url: &Arc<Url>,
        place: usize,
        replayable: bool,
        now: u64,
        deadline: Option<Duration>,
    ) -> Self {
        let deadline = deadline.map(|deadline| now.saturating_add(millis(deadline)));
        Self {
            machine: AttemptMachine::new(replayable, now, deadline, &parts.keys.shared().policy),
            parts,
            url: url.clone(),
            place,
            deadline,
            until: deadline.map(|deadline| waits_until(now, deadline)),
            admitted: epoch,
            seen: epoch,
            sent: 0,
            trial: None,
            patch: None,
            method: Method::GET,
            elsewhere: None,
            at_home: false,
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
            let wall = parts.keys.shared().clock.now().wall;
            let now = Timestamp::from_millisecond(wall).unwrap_or(Timestamp::UNIX_EPOCH);
            let request = Unsigned::new(method, url, headers, body, now);
            let error = match scheme.apply(credential, &request) {
                Ok(patch) => return Ok(patch),
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
        self.elsewhere = (*url != *self.url).then(|| Box::new(url.clone()));
        // Where it was begun was admitted, and stays so while nothing new is published.
        let is_admitted = self.elsewhere.is_none() && self.parts.keys.epoch() == self.admitted;
        self.at_home = is_admitted || {
            let snapshot = self.parts.keys.store().snapshot();
            self.parts.origins.admits(url, snapshot.set.as_deref())
        };
        self.at_home
    }

    /// The response of this hop has come. `body` is what [`Step::NeedBody`] asked for.
    pub fn response(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
        body: Option<&[u8]>,
    ) -> &Step {
        // What another origin says, says nothing of a credential that it was not sent.
        let verdict = match self.at_home {
            true => {
                let url = self.elsewhere.as_deref().unwrap_or(&self.url);
                let head = ResponseView::new(&self.method, url, status, headers);
                self.parts.classifier.classify(&body.map_or(head, |body| head.with_body(body)))
            }
            false => Verdict::Other,
        };
        self.response_judged(status, headers, body, verdict)
    }

    /// The same, where the caller has asked the classifier itself, and this is what it said.
    pub(crate) fn response_judged(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
        body: Option<&[u8]>,
        verdict: Verdict,
    ) -> &Step {
        self.on_credential_status(headers);
        let verdict = if self.at_home { verdict } else { Verdict::Other };
        let classifier = &self.parts.classifier;
        self.is_rejected = verdict == Verdict::Rejected;
        match verdict {
            Verdict::NeedBody if body.is_none() => {
                self.step = Step::NeedBody { max: classifier.response_filter().body_limit };
                return &self.step;
            }
            Verdict::Throttled => {
                if let (Some(asked), Some(throttle)) = (retry_after(headers), self.throttle()) {
                    let shared = self.parts.keys.shared();
                    throttle.hold(shared.clock.boot(), asked, &shared.policy);
                }
            }
            // A redirect concludes nothing, and answers the request: it is not sent again with another
            // credential, and the hop behind it goes on with the trial.
            Verdict::Other if status.is_redirection() => self.machine.hand_on(self.now()),
            _ => {}
        }
        // What was refused was not done. What else came may have been.
        let repeatable = self.at_home && (self.method.is_idempotent() || status.is_client_error());
        let is_told = verdict != Verdict::NeedBody;
        self.judged(if is_told { verdict } else { Verdict::Other }, repeatable);
        &self.step
    }

    /// No response came. It says nothing of the credential, so the answer is [`Step::Return`] and with it
    /// the transport's error. If no connection could be made, the next request may go on with a trial at
    /// once.
    pub fn failed(&mut self, failure: Failure) -> &Step {
        self.is_rejected = false;
        if failure == Failure::Connect {
            self.machine.hand_on(self.now());
        }
        self.judged(Verdict::Other, false);
        &self.step
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

    /// The credential of the send under way.
    #[cfg(feature = "lent-keys")]
    pub(crate) fn credential(&self) -> Option<&Arc<Credential>> {
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

    /// What the API says of the credential that it was sent on this hop, and of no other.
    fn on_credential_status(&self, headers: &HeaderMap) {
        if self.at_home
            && let Some((id, status)) = status::read(headers)
            && self.credential_id() == Some(&*id)
        {
            self.parts.keys.send_input(Input::CredentialStatus { credential: id, status });
        }
    }

    fn judged(&mut self, verdict: Verdict, repeatable: bool) {
        let is_probing = self.machine.is_probing();
        if let Some(credential) = self.machine.assigned() {
            if verdict == Verdict::Accepted {
                credential.accepted().add();
            }
            let keys = &self.parts.keys;
            let evidence = || Evidence { credential: credential.shared_id(), sent: self.sent };
            match verdict {
                Verdict::Rejected => keys.send_input(Input::Rejected(evidence())),
                // What was learnt on a way around is worth telling to those who wait, whoever asks.
                Verdict::Accepted
                    if self.machine.sends() > 1 || keys.store().snapshot().evidence =>
                {
                    keys.send_input(Input::Accepted(evidence()));
                    let trial = self.trial.take();
                    trial.into_iter().for_each(|trial| keys.send_input(Input::Doubted(trial)));
                }
                Verdict::Accepted => {}
                _ if is_probing => self.trial = Some(evidence()),
                _ => {}
            }
        }
        if verdict != Verdict::Rejected && !is_probing && !self.machine.is_trying() {
            // The common case, for which no clock is read.
            self.wait = None;
            self.step = Step::Return;
            return;
        }
        let outcome = Outcome { verdict, sent: self.sent, repeatable };
        let now = self.now();
        let next =
            self.decide(|machine, snapshot, policy| machine.judged(now, snapshot, outcome, policy));
        self.take(next);
    }

    fn take(&mut self, mut next: Next) {
        (self.wait, self.patch) = (None, None);
        self.step = loop {
            match next {
                Next::Send(credential) => match self.check(&credential) {
                    Ok(patch) => {
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

    /// What this credential adds to the request, if it may go where the request goes and can be put on it.
    fn check(&mut self, credential: &Credential) -> Result<Option<Patch>, Error> {
        if self.seen != self.admitted {
            // A set may have come meanwhile that is not for this origin.
            let snapshot = self.parts.keys.store().snapshot();
            if self.parts.origins.place(&self.url, snapshot.set.as_deref()).is_none() {
                return Err(self.parts.origins.refuse(&self.url));
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
