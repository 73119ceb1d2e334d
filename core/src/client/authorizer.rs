//! Credentials for requests that some HTTP library sends.
//!
//! # Theory of operation
//!
//! An [`Authorizer`] joins a handle with a scheme, a classifier and the list of allowed origins. For
//! each request it makes an [`Attempt`], which says step by step what to do: send (with what
//! [`apply`](Attempt::apply) adds), wait, or return the response. The HTTP library does the sending.
//! [`Client`](crate::Client) is this with reqwest; the adapters of other languages are this with theirs.
//! All decisions are those of the engine; this only carries what was seen there and back.
//!
//! An attempt belongs to one hop. A library's redirect is a new request, with an attempt of its own, so
//! that what was answered is never sent again, whatever happens behind it.

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, Method, StatusCode, header::RETRY_AFTER};
use jiff::Timestamp;
use url::Url;

use super::{origin::Origins, status};
use crate::{
    credential::Credential,
    driver::Woken,
    engine::{
        attempt::{Course, Next, Outcome, waits_until},
        rotation::{Evidence, Input, Unfit},
        snapshot::Snapshot,
        throttle::Throttle,
        verdict::{Attention, Classifier, DefaultClassifier, Failure, Verdict},
    },
    error::{Error, ErrorKind},
    keyswap::KeySwap,
    moment::millis,
    net::{is_loopback, retry_after},
    policy::Policy,
    scheme::{Patch, Scheme, Unsigned},
};

/// Puts credentials on requests that some HTTP library sends, and learns from the responses. Cheap to
/// clone.
#[derive(Clone, Debug)]
pub struct Authorizer(Arc<Parts>);

#[derive(Clone, Debug)]
struct Parts {
    keys: KeySwap,
    scheme: Option<Scheme>,
    classifier: Arc<dyn Classifier>,
    origins: Origins,
    own_header_wins: bool,
    /// One for each allowed origin.
    throttles: Arc<[Throttle]>,
}

impl Authorizer {
    /// An authorizer for these keys. It admits no origin yet.
    pub fn builder(keys: &KeySwap) -> AuthorizerBuilder {
        AuthorizerBuilder(Parts {
            keys: keys.clone(),
            scheme: None,
            classifier: Arc::new(DefaultClassifier),
            origins: Origins::default(),
            own_header_wins: false,
            throttles: Arc::default(),
        })
    }

    /// The same, for other keys, to which an API grants other rates.
    pub(crate) fn with_keys(&self, keys: KeySwap) -> Self {
        let throttles = self.0.origins.throttles();
        Self(Arc::new(Parts { keys, throttles, ..Parts::clone(&self.0) }))
    }

    /// The handle.
    pub fn keys(&self) -> &KeySwap {
        &self.0.keys
    }

    /// The newest snapshot, for stacks that patch from a cache and begin an attempt only when
    /// [`is_probing`](Snapshot::is_probing), when the scheme signs, or when a response matches
    /// [`attention`](Self::attention).
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.0.keys.snapshot()
    }

    /// The responses that an attempt has to be shown: those that the classifier could call rejected, and
    /// those in which the API speaks of the credential's future, or says when it wants the next request.
    pub fn attention(&self) -> Attention {
        let mut attention = self.0.classifier.attention();
        attention.headers.extend([status::NAME, RETRY_AFTER.as_str()].map(Into::into));
        attention
    }

    /// Whether the API asked for fewer requests, so that a request may have to wait before it is sent. A
    /// stack that patches from a cache begins an attempt for each request meanwhile.
    pub fn is_throttled(&self) -> bool {
        let mut told = self.0.throttles.iter().filter(|throttle| throttle.was_told());
        told.any(|throttle| throttle.holds(self.now()))
    }

    /// Whether a request goes out as its caller made it, because it brings the very header that this patch
    /// sets and [`own_header_wins`](AuthorizerBuilder::own_header_wins). Its response is then no evidence:
    /// drop the attempt.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] if it brings that header and nobody said which one counts.
    pub fn yields(&self, patch: &Patch, headers: &HeaderMap) -> Result<bool, Error> {
        let mut set = patch.headers().map(|(name, _)| name);
        let Some(both) = set.find(|name| headers.contains_key(*name)) else { return Ok(false) };
        // A signature may replace what it covers; it belongs to no caller.
        if self.0.scheme.as_ref().is_some_and(Scheme::is_signing) {
            return Ok(false);
        }
        if self.0.own_header_wins {
            return Ok(true);
        }
        let what = format!(
            "the request sets the header {both} itself, in which this client sends its keys: leave it \
             out, or build the client with `own_header_wins`"
        );
        Err(Error::new(ErrorKind::InvalidConfig, what))
    }

    /// The header in which keys are sent, if it is one that is known ahead.
    pub(crate) fn header_name(&self) -> Option<HeaderName> {
        match &self.0.scheme {
            Some(scheme) => scheme.header_name(),
            None => Scheme::named_by(self.snapshot().in_use()?).ok()?.header_name(),
        }
    }

    /// The policy of the handle.
    pub(crate) fn policy(&self) -> &Policy {
        &self.0.keys.shared().policy
    }

    /// What the credential in use of this snapshot adds to any request, to be kept as long as the
    /// snapshot. None if each request is to begin an attempt: nothing is in use, the scheme signs and so
    /// depends on the request, or the credential cannot be put on one. That is told, and an attempt goes on
    /// with the next credential.
    ///
    /// # Errors
    /// None at present.
    pub fn prepare(&self, snapshot: &Snapshot) -> Result<Option<Patch>, Error> {
        let Some(credential) = &snapshot.in_use else { return Ok(None) };
        match self.0.prepare(credential) {
            Ok(patch) => Ok(patch),
            Err(why) => {
                self.0.tell_unfit(credential, why, None);
                Ok(None)
            }
        }
    }

    /// Whether credentials may go to this URL now.
    pub fn admits(&self, url: &Url) -> bool {
        let snapshot = self.0.keys.store().snapshot();
        self.0.origins.admits(url, snapshot.set.as_deref())
    }

    /// Whether a credential for this URL must not go through a proxy: it is plain HTTP on this machine, and
    /// a proxy's loopback is another one.
    pub fn goes_direct(&self, url: &Url) -> bool {
        url.scheme() == "http" && is_loopback(url)
    }

    /// Whether the program allows this origin, whatever a set says of it.
    #[cfg(any(feature = "reqwest-middleware", feature = "tower"))]
    pub(crate) fn lists(&self, url: &Url) -> bool {
        self.0.origins.lists(url)
    }

    /// Whether any of the allowed origins is plain HTTP.
    #[cfg(feature = "reqwest-middleware")]
    pub(crate) fn has_plain_http(&self) -> bool {
        self.0.origins.has_plain_http()
    }

    /// The boot clock, by which attempts count their time.
    pub(crate) fn now(&self) -> u64 {
        self.0.keys.shared().clock.boot()
    }

    /// A request is about to be sent: one hop. A library that follows redirects by itself begins an
    /// attempt for each hop ([`redirect`](crate::redirect) has the rules), and drops the one before.
    ///
    /// `replayable` says whether it can be sent again: not if its body is a stream, and not if its caller
    /// wants it sent once, whatever happens. `deadline` is how long the caller waits at most from now on;
    /// where a timeout holds for a whole chain, what is left of it. Waits end a tenth of it sooner, at most
    /// 0.1 s, so that the response in hand reaches the caller before a timer of the library's own strikes.
    ///
    /// # Errors
    /// [`ErrorKind::OriginNotAllowed`] if credentials may not go to this URL.
    pub fn begin(
        &self,
        url: &Url,
        replayable: bool,
        deadline: Option<Duration>,
    ) -> Result<Attempt, Error> {
        self.begin_requiring(&[], url, replayable, deadline)
    }

    /// The same, for a request that only a credential with these scopes may be sent with. If there is none,
    /// the step is [`Step::Fail`], with [`ErrorKind::MissingScope`].
    ///
    /// # Errors
    /// [`ErrorKind::OriginNotAllowed`] if credentials may not go to this URL.
    pub fn begin_requiring(
        &self,
        scopes: &[Box<str>],
        url: &Url,
        replayable: bool,
        deadline: Option<Duration>,
    ) -> Result<Attempt, Error> {
        let (mut attempt, now) = self.attempt(url, replayable, deadline)?;
        if !scopes.is_empty() {
            attempt.course = attempt.course.require(scopes);
        }
        let throttle = attempt.throttle();
        match throttle.and_then(|throttle| throttle.pause(now, attempt.until, fastrand::f64())) {
            Some(pause) => {
                attempt.wait = Some(Waiting::Throttle(pause));
                attempt.step = Step::Wait;
            }
            None => attempt.proceed(),
        }
        Ok(attempt)
    }

    /// A request was sent, once and as one hop, with a credential of a cached snapshot, and the response
    /// matches [`attention`](Self::attention). Only if it did carry that credential: what a caller's own
    /// header, a `.netrc` or another origin brought about is no evidence. `deadline` is as for
    /// [`begin`](Self::begin).
    ///
    /// # Errors
    /// [`ErrorKind::OriginNotAllowed`] if credentials may not go to this URL.
    pub fn begin_after(
        &self,
        snapshot: &Snapshot,
        url: &Url,
        replayable: bool,
        deadline: Option<Duration>,
    ) -> Result<Attempt, Error> {
        let (mut attempt, _) = self.attempt(url, replayable, deadline)?;
        if let Some(credential) = &snapshot.in_use {
            attempt.course = attempt.course.sent(credential.clone());
            // The true number is not known; the lowest that it can have makes the evidence as old as
            // it may be.
            attempt.sent = snapshot.sends + 1;
            attempt.at_home = true;
            attempt.step = Step::Send;
        } else {
            attempt.proceed();
        }
        Ok(attempt)
    }

    /// A new attempt, and the time at which it begins.
    fn attempt(
        &self,
        url: &Url,
        replayable: bool,
        deadline: Option<Duration>,
    ) -> Result<(Attempt, u64), Error> {
        let shared = self.0.keys.shared();
        let seen = self.0.keys.epoch();
        let place = {
            let snapshot = self.0.keys.store().snapshot();
            self.0.origins.place(url, snapshot.set.as_deref())
        };
        let Some(place) = place else { return Err(self.0.origins.refuse(url)) };
        let now = shared.clock.boot();
        let deadline = deadline.map(|deadline| now.saturating_add(millis(deadline)));
        let attempt = Attempt {
            course: Course::new(replayable, now, deadline, &shared.policy),
            parts: self.0.clone(),
            url: url.clone(),
            place,
            deadline,
            until: deadline.map(|deadline| waits_until(now, deadline)),
            admitted: seen,
            seen,
            sent: 0,
            trial: None,
            patch: None,
            idempotent: false,
            at_home: false,
            step: Step::Return,
            wait: None,
            is_rejected: false,
            cause: None,
        };
        Ok((attempt, now))
    }
}

impl Parts {
    /// What this credential adds to any request; none if that depends on the request.
    fn prepare(&self, credential: &Credential) -> Result<Option<Patch>, Error> {
        match &self.scheme {
            Some(scheme) if scheme.is_signing() => Ok(None),
            Some(scheme) => scheme.prepare(credential).map(Some),
            None => Scheme::named_by(credential)?.prepare(credential).map(Some),
        }
    }

    /// What the client itself finds wrong with a credential is evidence about it.
    fn tell_unfit(&self, credential: &Arc<Credential>, why: Error, sent: Option<u64>) {
        let credential = credential.clone();
        self.keys.send_input(Input::Unfit(Unfit { credential, why, sent }));
    }
}

/// Configures an [`Authorizer`].
#[derive(Debug)]
pub struct AuthorizerBuilder(Parts);

impl AuthorizerBuilder {
    /// How credentials go onto requests; without one, as the set says.
    pub fn scheme(mut self, scheme: Scheme) -> Self {
        self.0.scheme = Some(scheme);
        self
    }

    /// What responses say; without one, 401 is a rejection.
    pub fn classifier(mut self, classifier: impl Classifier) -> Self {
        self.0.classifier = Arc::new(classifier);
        self
    }

    /// Allows credentials to be sent to the origin of this URL.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] if it is not a URL, [`ErrorKind::InsecureUrl`] if it is plain HTTP
    /// to another machine.
    pub fn allow_origin(mut self, url: &str) -> Result<Self, Error> {
        self.add_origin(url)?;
        Ok(self)
    }

    /// A request that brings the header in which keys are sent goes out as its caller made it, with no key
    /// of these and as no evidence about them. Without this, such a request is an error.
    pub fn own_header_wins(mut self) -> Self {
        self.0.own_header_wins = true;
        self
    }

    /// Allows plain HTTP for the origins that are added after this. Credentials will be readable on
    /// the way.
    pub fn plain_http_allowed(mut self) -> Self {
        self.0.origins.allow_plain_http();
        self
    }

    /// Checks everything together.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] if the scheme is not well-formed, or no origin is allowed.
    pub fn build(mut self) -> Result<Authorizer, Error> {
        if let Some(scheme) = &self.0.scheme {
            scheme.check()?;
        }
        if self.0.origins.is_empty() {
            let what = "no allowed origin: say where these keys may go, with a base URL or allowed origins";
            return Err(Error::new(ErrorKind::InvalidConfig, what));
        }
        self.0.throttles = self.0.origins.throttles();
        Ok(Authorizer(Arc::new(self.0)))
    }

    pub(crate) fn add_origin(&mut self, url: &str) -> Result<Url, Error> {
        self.0.origins.allow(url)
    }
}

/// One request, that is one hop, on its way through a rotation. Dropping it, at any time, is fine.
pub struct Attempt {
    course: Course,
    parts: Arc<Parts>,
    /// Where it goes, which of the allowed origins that is, and the epoch at which it was admitted.
    url: Url,
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
    /// Whether to do twice what it asks for is to do it once.
    idempotent: bool,
    at_home: bool,
    step: Step,
    wait: Option<Waiting>,
    /// Whether the last response was a rejection.
    is_rejected: bool,
    cause: Option<Error>,
}

/// What to do next.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Step {
    /// Send the request, with what [`Attempt::apply`] adds, and report with [`Attempt::response`] or
    /// [`Attempt::failed`].
    Send,
    /// Call [`Attempt::wait`]; keep the last response meanwhile.
    Wait,
    /// Call [`Attempt::response`] again, with the first bytes of the body, at most so many.
    NeedBody {
        /// How many.
        max: usize,
    },
    /// The last response, or the transport's own error, is the answer.
    Return,
    /// There is no response to return; this is the error.
    Fail(Error),
}

#[derive(Clone, Copy)]
enum Waiting {
    /// Until this time on the boot clock, and whether it is a fetch that it waits for.
    News { until: u64, asks: bool },
    /// Before the first send, since the API wants no request now.
    Throttle(Duration),
}

impl Attempt {
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
        while let Some(credential) = self.course.assigned() {
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

    /// For a signer that cannot be called in between: the credential that the send under way is to be signed with, in
    /// place of [`apply`](Self::apply). None for a hop to an origin that is not allowed: nothing is added.
    pub fn begin_signing(&mut self, method: &Method, url: &Url) -> Option<Arc<Credential>> {
        if !self.goes_home(method, url) {
            return None;
        }
        self.course.assigned().cloned()
    }

    /// That signer could not sign, which counts as a rejection of the credential. If the step is [`Step::Send`],
    /// another one is to be signed with.
    pub fn signing_failed(&mut self, error: Error) -> &Step {
        if let Some(credential) = self.course.assigned() {
            // What a program's own signer says may quote what it was given.
            let (id, code) = (credential.id(), error.code());
            let what = format!("{id} could not sign a request: the signer failed with {code}");
            let why = Error::new(ErrorKind::SchemeFailed, what);
            self.parts.tell_unfit(credential, why, Some(self.sent));
        }
        let next =
            self.decide(|course, now, snapshot, policy| course.unfit(now, snapshot, error, policy));
        self.take(next);
        &self.step
    }

    /// Whether this hop goes where credentials may go.
    fn goes_home(&mut self, method: &Method, url: &Url) -> bool {
        self.idempotent = method.is_idempotent();
        let snapshot = self.parts.keys.store().snapshot();
        self.at_home = self.parts.origins.admits(url, snapshot.set.as_deref());
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
            true => self.parts.classifier.classify(status, headers, body),
            false => Verdict::Other,
        };
        self.response_judged(status, headers, body, verdict)
    }

    /// The same, where the caller has asked the classifier itself, and this is what it said.
    pub fn response_judged(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
        body: Option<&[u8]>,
        verdict: Verdict,
    ) -> &Step {
        self.pass_on(headers);
        let verdict = if self.at_home { verdict } else { Verdict::Other };
        let classifier = &self.parts.classifier;
        self.is_rejected = verdict == Verdict::Rejected;
        match verdict {
            Verdict::NeedBody if body.is_none() => {
                self.step = Step::NeedBody { max: classifier.attention().body_limit };
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
            Verdict::Other if status.is_redirection() => self.course.hand_on(self.now()),
            _ => {}
        }
        // What was refused was not done. What else came may have been.
        let repeatable = self.at_home && (self.idempotent || status.is_client_error());
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
            self.course.hand_on(self.now());
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
                    self.course.starts(self.now(), &self.parts.keys.shared().policy);
                }
                Waiting::News { until, asks } => self.rest(until, asks).await,
            }
            self.proceed();
        }
        &self.step
    }

    /// The id of the credential of the send under way.
    pub fn credential_id(&self) -> Option<&str> {
        self.course.assigned().map(|credential| credential.id())
    }

    /// How often the request was sent so far, with the send under way.
    pub fn sends(&self) -> u32 {
        self.course.sends()
    }

    /// Begins again for a reason that is not the credential: after a 503, say. False if the request was
    /// sent as often as it may be.
    pub fn repeat(&mut self) -> bool {
        let again = self.course.repeat();
        if again {
            self.proceed();
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
            self.course.settled();
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

    fn proceed(&mut self) {
        let began = self.parts.keys.store().fetch_began();
        let next = self
            .decide(|course, now, snapshot, policy| course.proceed(now, snapshot, began, policy));
        self.take(next);
    }

    /// Asks the course, with the newest snapshot.
    fn decide(&mut self, ask: impl FnOnce(&mut Course, u64, &Snapshot, &Policy) -> Next) -> Next {
        let keys = &self.parts.keys;
        let snapshot = keys.store().snapshot();
        self.seen = snapshot.epoch();
        ask(&mut self.course, keys.shared().clock.boot(), &snapshot, &keys.shared().policy)
    }

    /// What the API says of the credential that it was sent on this hop, and of no other.
    fn pass_on(&self, headers: &HeaderMap) {
        if self.at_home
            && let Some((id, what)) = status::read(headers)
            && self.credential_id() == Some(&*id)
        {
            self.parts.keys.send_input(Input::Announced { credential: id, what });
        }
    }

    fn judged(&mut self, verdict: Verdict, repeatable: bool) {
        let is_probing = self.course.is_probing();
        if let Some(credential) = self.course.assigned() {
            if verdict == Verdict::Accepted {
                credential.accepted().add();
            }
            let keys = &self.parts.keys;
            let evidence = || Evidence { credential: credential.shared_id(), sent: self.sent };
            match verdict {
                Verdict::Rejected => keys.send_input(Input::Rejected(evidence())),
                // What was learnt on a way around is worth telling to those who wait, whoever asks.
                Verdict::Accepted
                    if self.course.sends() > 1 || keys.store().snapshot().evidence =>
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
        if verdict != Verdict::Rejected && !is_probing && !self.course.is_trying() {
            // The common case, for which no clock is read.
            self.wait = None;
            self.step = Step::Return;
            return;
        }
        let outcome = Outcome { verdict, sent: self.sent, repeatable };
        let next = self
            .decide(|course, now, snapshot, policy| course.judged(now, snapshot, outcome, policy));
        self.take(next);
    }

    fn take(&mut self, mut next: Next) {
        (self.wait, self.patch) = (None, None);
        self.step = loop {
            match next {
                Next::Send(credential) => match self.check(&credential) {
                    Ok(patch) => {
                        let is_extra = self.course.sends() > 1;
                        self.sent = self.parts.keys.store().next_send(is_extra);
                        self.patch = patch;
                        break Step::Send;
                    }
                    Err(error) if error.kind() == ErrorKind::OriginNotAllowed => {
                        break Step::Fail(error);
                    }
                    Err(why) => {
                        self.parts.tell_unfit(&credential, why.clone(), None);
                        next = self.decide(|course, now, snapshot, policy| {
                            course.unfit(now, snapshot, why, policy)
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
