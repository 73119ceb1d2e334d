//! Credentials for requests that some HTTP library sends.
//!
//! # Theory of operation
//!
//! An [`Authorizer`] joins a handle with a scheme, a classifier and the list of allowed origins. For
//! each request it makes an [`Attempt`], which says step by step what to do: send (with what
//! [`apply`](Attempt::apply) adds), wait, or return the response. The HTTP library does the sending.
//! [`Client`](crate::Client) is this with reqwest; the adapters of other languages are this with theirs.
//! All decisions are those of the engine; this only carries what was seen there and back.

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderMap, Method, StatusCode};
use jiff::Timestamp;
use url::Url;

use super::{origin::Origins, status};
use crate::{
    driver::Message,
    engine::{
        attempt::{Course, Next},
        rotation::Evidence,
        snapshot::Snapshot,
        verdict::{Attention, Classifier, DefaultClassifier, Verdict},
    },
    error::{Error, ErrorKind},
    keyswap::KeySwap,
    moment::millis,
    scheme::{Patch, Scheme, Unsigned},
    source::is_loopback,
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
}

impl Authorizer {
    /// An authorizer for these keys. It admits no origin yet.
    pub fn builder(keys: &KeySwap) -> AuthorizerBuilder {
        AuthorizerBuilder(Parts {
            keys: keys.clone(),
            scheme: None,
            classifier: Arc::new(DefaultClassifier),
            origins: Origins::default(),
        })
    }

    /// The same, for other keys.
    pub(crate) fn with_keys(&self, keys: KeySwap) -> Self {
        Self(Arc::new(Parts { keys, ..Parts::clone(&self.0) }))
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
    /// those in which the API speaks of the credential's future.
    pub fn attention(&self) -> Attention {
        let mut attention = self.0.classifier.attention();
        attention.headers.push(status::NAME.into());
        attention
    }

    /// What the credential in use of this snapshot adds to any request, to be kept as long as the
    /// snapshot. None if nothing is in use, or if the scheme signs and so depends on the request.
    ///
    /// # Errors
    /// [`ErrorKind::SchemeFailed`] if the credential cannot be put on a request.
    pub fn prepare(&self, snapshot: &Snapshot) -> Result<Option<Patch>, Error> {
        let Some(credential) = snapshot.in_use() else { return Ok(None) };
        let named;
        let scheme = match &self.0.scheme {
            Some(scheme) => scheme,
            None => {
                named = Scheme::named_by(credential)?;
                &named
            }
        };
        if scheme.is_signing() {
            return Ok(None);
        }
        let nowhere = Url::parse("https://localhost").expect("a URL");
        let headers = HeaderMap::new();
        let any = Unsigned::new(&Method::GET, &nowhere, &headers, None, Timestamp::UNIX_EPOCH);
        scheme.apply(credential, &any).map(Some)
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

    /// Whether any of the allowed origins is plain HTTP.
    #[cfg(feature = "reqwest-middleware")]
    pub(crate) fn has_plain_http(&self) -> bool {
        self.0.origins.has_plain_http()
    }

    /// The boot clock, by which attempts count their time.
    #[cfg(feature = "reqwest-middleware")]
    pub(crate) fn now(&self) -> u64 {
        self.0.keys.shared().clock.boot()
    }

    /// A request is about to be sent. `replayable` says whether its body can be sent again; `deadline`
    /// is how long the caller waits at most.
    ///
    /// # Errors
    /// [`ErrorKind::OriginNotAllowed`] if credentials may not go to this URL.
    pub fn begin(
        &self,
        url: &Url,
        replayable: bool,
        deadline: Option<Duration>,
    ) -> Result<Attempt, Error> {
        if !self.admits(url) {
            return Err(self.0.origins.refuse(url));
        }
        let now = self.0.keys.shared().clock.boot();
        let mut attempt = self.attempt(now, replayable, deadline);
        attempt.proceed(now);
        Ok(attempt)
    }

    /// A request was sent with a credential of a cached snapshot, and the response matches
    /// [`attention`](Self::attention). `epoch` and `credential` are those of that snapshot.
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
        if !self.admits(url) {
            return Err(self.0.origins.refuse(url));
        }
        let now = self.0.keys.shared().clock.boot();
        let mut attempt = self.attempt(now, replayable, deadline);
        if let Some(credential) = &snapshot.in_use {
            attempt.course = attempt.course.sent(credential.clone());
            // The true number is not known; the lowest that it can have makes the evidence as old as
            // it may be.
            attempt.sent = snapshot.sends + 1;
            attempt.at_home = true;
            attempt.step = Step::Send;
        } else {
            attempt.proceed(now);
        }
        Ok(attempt)
    }

    fn attempt(&self, now: u64, replayable: bool, deadline: Option<Duration>) -> Attempt {
        let shared = self.0.keys.shared();
        let deadline = deadline.map(|deadline| now.saturating_add(millis(deadline)));
        Attempt {
            course: Course::new(replayable, now, deadline, &shared.policy),
            parts: self.0.clone(),
            sent: 0,
            at_home: false,
            step: Step::Return,
            wait: None,
        }
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
    pub fn build(self) -> Result<Authorizer, Error> {
        if let Some(scheme) = &self.0.scheme {
            scheme.check()?;
        }
        if self.0.origins.is_empty() {
            let what = "no allowed origin: say where these keys may go, with a base URL or allowed origins";
            return Err(Error::new(ErrorKind::InvalidConfig, what));
        }
        Ok(Authorizer(Arc::new(self.0)))
    }

    pub(crate) fn add_origin(&mut self, url: &str) -> Result<Url, Error> {
        self.0.origins.allow(url)
    }
}

/// One request on its way through a rotation. Dropping it, at any time, is fine.
pub struct Attempt {
    course: Course,
    parts: Arc<Parts>,
    sent: u64,
    at_home: bool,
    step: Step,
    wait: Option<Waiting>,
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

/// What went wrong with a send that got no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// No connection could be made: nothing was sent.
    Connect,
    /// It took too long.
    Timeout,
    /// Anything else.
    Other,
}

enum Waiting {
    Fetch(u64),
    Pause(Duration),
}

impl Attempt {
    /// What to do next.
    pub fn step(&self) -> &Step {
        &self.step
    }

    /// What to add to the request for this hop. For a hop to an origin that is not allowed, nothing.
    ///
    /// # Errors
    /// [`ErrorKind::SchemeFailed`] if the credential cannot be put on the request.
    pub fn apply(
        &mut self,
        method: &Method,
        url: &Url,
        headers: &HeaderMap,
        body: Option<&[u8]>,
    ) -> Result<Patch, Error> {
        let shared = self.parts.keys.shared();
        self.at_home = {
            let snapshot = self.parts.keys.store().snapshot();
            self.parts.origins.admits(url, snapshot.set.as_deref())
        };
        let Some(credential) = self.course.assigned().filter(|_| self.at_home) else {
            return Ok(Patch::default());
        };
        let now = match &self.parts.scheme {
            Some(scheme) if !scheme.is_signing() => Timestamp::UNIX_EPOCH,
            _ => Timestamp::from_millisecond(shared.clock.now().wall)
                .unwrap_or(Timestamp::UNIX_EPOCH),
        };
        let request = Unsigned::new(method, url, headers, body, now);
        match &self.parts.scheme {
            Some(scheme) => scheme.apply(credential, &request),
            None => Scheme::named_by(credential)?.apply(credential, &request),
        }
    }

    /// The response of this hop has come. `body` is what [`Step::NeedBody`] asked for.
    pub fn response(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
        body: Option<&[u8]>,
    ) -> &Step {
        self.pass_on(headers);
        let classifier = &self.parts.classifier;
        // What another origin says, says nothing of a credential that it was not sent.
        let verdict = match self.at_home {
            true => classifier.classify(status, headers, body),
            false => Verdict::Other,
        };
        match verdict {
            Verdict::NeedBody if body.is_none() => {
                self.step = Step::NeedBody { max: classifier.attention().body_limit };
            }
            Verdict::NeedBody => self.judged(Verdict::Other),
            verdict => self.judged(verdict),
        }
        &self.step
    }

    /// No response came. The answer is always [`Step::Return`]: the transport's error is the answer.
    pub fn failed(&mut self, failure: Failure) -> &Step {
        let _ = failure;
        self.judged(Verdict::Other);
        &self.step
    }

    /// Waits as [`Step::Wait`] says; at once, if the step is another.
    pub async fn wait(&mut self) -> &Step {
        let shared = self.parts.keys.shared();
        match self.wait.take() {
            None => return &self.step,
            Some(Waiting::Pause(pause)) => tokio::time::sleep(pause).await,
            Some(Waiting::Fetch(until)) => {
                let left = until.saturating_sub(shared.clock.boot());
                let settled = self.parts.keys.ask(Message::Wait);
                // However it settles, the newest snapshot tells all that matters.
                let _ = tokio::time::timeout(Duration::from_millis(left), settled).await;
            }
        }
        self.proceed(self.parts.keys.shared().clock.boot());
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
            self.proceed(self.parts.keys.shared().clock.boot());
        }
        again
    }

    fn proceed(&mut self, now: u64) {
        let shared = self.parts.keys.shared();
        let began = self.parts.keys.store().fetch_began();
        let next =
            self.course.proceed(now, &self.parts.keys.store().snapshot(), began, &shared.policy);
        self.take(next);
    }

    /// What the API says of the credential that it was sent on this hop, and of no other.
    fn pass_on(&self, headers: &HeaderMap) {
        if self.at_home
            && let Some((id, what)) = status::read(headers)
            && self.credential_id() == Some(&*id)
        {
            self.parts.keys.send(Message::Announced(id, what));
        }
    }

    fn judged(&mut self, verdict: Verdict) {
        let shared = self.parts.keys.shared();
        if let Some(credential) = self.course.assigned() {
            if verdict == Verdict::Accepted {
                credential.accepted().add();
            }
            let evidence = || Evidence { credential: credential.shared_id(), sent: self.sent };
            match verdict {
                Verdict::Rejected => self.parts.keys.send(Message::Rejected(evidence())),
                Verdict::Accepted if self.parts.keys.store().snapshot().evidence => {
                    self.parts.keys.send(Message::Accepted(evidence()));
                }
                _ => {}
            }
        }
        if verdict != Verdict::Rejected && !self.course.is_probing() {
            // The common case, for which no clock is read.
            self.wait = None;
            self.step = Step::Return;
            return;
        }
        let now = shared.clock.boot();
        let next =
            self.course.judged(now, &self.parts.keys.store().snapshot(), verdict, &shared.policy);
        self.take(next);
    }

    fn take(&mut self, next: Next) {
        self.wait = None;
        self.step = match next {
            Next::Send(_) => {
                let is_extra = self.course.sends() > 1;
                self.sent = self.parts.keys.store().next_send(is_extra);
                Step::Send
            }
            Next::Wait(until) => {
                self.wait = Some(Waiting::Fetch(until));
                Step::Wait
            }
            Next::Pause(pause) => {
                self.wait = Some(Waiting::Pause(pause));
                Step::Wait
            }
            Next::Return => Step::Return,
            Next::Fail(error) => Step::Fail(error),
        };
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
