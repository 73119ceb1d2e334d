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

mod builder;

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, header::RETRY_AFTER};
use url::Url;

pub use self::builder::AuthorizerBuilder;
use super::{attempt::Attempt, origin::Origins, status};
use crate::{
    credential::Credential,
    engine::{
        account::Account,
        rotation::{Input, Unfit},
        snapshot::Snapshot,
        throttle::Throttle,
        verdict::{Classifier, DefaultClassifier, ResponseFilter},
    },
    error::{Error, ErrorKind},
    keyswap::KeySwap,
    net::is_loopback,
    policy::Policy,
    scheme::{Patch, Scheme},
};

/// Puts credentials on requests that some HTTP library sends, and learns from the responses. Cheap to
/// clone.
#[derive(Clone, Debug)]
pub struct Authorizer(Arc<Parts>);

/// What all attempts of an authorizer share.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    pub(super) keys: KeySwap,
    pub(super) scheme: Option<Scheme>,
    pub(super) classifier: Arc<dyn Classifier>,
    pub(super) origins: Origins,
    own_header_wins: bool,
    /// Its clock, and whether it is locked.
    pub(super) account: Arc<Account>,
    /// Whether it is for no URL at all.
    without_origins: bool,
    /// One for each allowed origin.
    pub(super) throttles: Arc<[Throttle]>,
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
            account: Arc::default(),
            without_origins: false,
            throttles: Arc::default(),
        })
    }

    /// The same, for other keys, to which an API grants other rates.
    pub(crate) fn with_keys(&self, keys: KeySwap) -> Self {
        let (throttles, account) = (self.0.origins.throttles(), Arc::default());
        Self(Arc::new(Parts { keys, throttles, account, ..Parts::clone(&self.0) }))
    }

    /// The handle.
    pub fn keys(&self) -> &KeySwap {
        &self.0.keys
    }

    /// The newest snapshot, for stacks that patch from a cache and begin an attempt only when
    /// [`wants_evidence`](Snapshot::wants_evidence), when the scheme signs, or when a response matches
    /// [`response_filter`](Self::response_filter).
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.0.keys.snapshot()
    }

    /// The responses that an attempt has to be shown: those that the classifier could call rejected, and
    /// those in which the API speaks of the credential's future, or says when it wants the next request.
    pub fn response_filter(&self) -> ResponseFilter {
        let mut response_filter = self.0.classifier.response_filter();
        response_filter
            .headers
            .extend([&status::NAME, &RETRY_AFTER].map(|name| name.as_str().into()));
        response_filter
    }

    /// Whether the API asked for fewer requests, so that a request may have to wait before it is sent. A
    /// stack that patches from a cache begins an attempt for each request meanwhile.
    pub fn is_throttled(&self) -> bool {
        let mut told = self.0.throttles.iter().filter(|throttle| throttle.was_told());
        told.any(|throttle| throttle.holds(self.now()))
            || self.0.account.locked_for(|| self.now()).is_some()
    }

    /// Whether the scheme has to see the body of each request. One whose body is a stream is then to be refused.
    pub fn needs_body(&self) -> bool {
        self.0.scheme.as_ref().is_some_and(Scheme::needs_body)
    }

    /// Refuses a request that is to be signed with its body, where that is a stream.
    pub(crate) fn check_body(&self, is_stream: bool) -> Result<(), Error> {
        if !is_stream || !self.needs_body() {
            return Ok(());
        }
        let what = "the scheme signs the body, which is a stream here: give it as bytes";
        Err(Error::new(ErrorKind::InvalidConfig, what))
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

    #[cfg(feature = "host")]
    pub(crate) fn prepare(&self, snapshot: &Snapshot) -> Option<Patch> {
        let credential = snapshot.in_use.as_ref()?;
        let prepared = self.0.prepare(credential);
        prepared.unwrap_or_else(|why| {
            self.0.tell_unfit(credential, why, None);
            None
        })
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
    /// the step is [`Step::Fail`](crate::Step::Fail), with [`ErrorKind::MissingScope`].
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
        self.begin_shared(scopes, &Arc::new(url.clone()), replayable, deadline)
    }

    /// The same, for a URL that the caller keeps, too.
    pub(super) fn begin_shared(
        &self,
        scopes: &[Box<str>],
        url: &Arc<Url>,
        replayable: bool,
        deadline: Option<Duration>,
    ) -> Result<Attempt, Error> {
        let now = self.now();
        let mut attempt = self.attempt(url, replayable, now, deadline)?;
        attempt.begin(scopes, now);
        Ok(attempt)
    }

    /// The same for what goes to no URL, such as a login to a database. The program takes the
    /// [`credential`](Attempt::credential) and sees to it that it goes where it belongs; then it tells what came
    /// of it, by [`judged`](Attempt::judged).
    pub fn begin_without_url(
        &self,
        scopes: &[Box<str>],
        replayable: bool,
        deadline: Option<Duration>,
    ) -> Attempt {
        let (now, epoch) = (self.now(), self.0.keys.epoch());
        let mut attempt = Attempt::new(self.0.clone(), epoch, None, replayable, now, deadline);
        attempt.begin(scopes, now);
        attempt
    }

    #[cfg(feature = "host")]
    pub(crate) fn begin_after(
        &self,
        snapshot: &Snapshot,
        method: &http::Method,
        url: &Url,
        replayable: bool,
        deadline: Option<Duration>,
    ) -> Result<Attempt, Error> {
        let url = Arc::new(url.clone());
        let mut attempt = self.attempt(&url, replayable, self.now(), deadline)?;
        attempt.begin_after(snapshot, method);
        Ok(attempt)
    }

    fn attempt(
        &self,
        url: &Arc<Url>,
        replayable: bool,
        now: u64,
        deadline: Option<Duration>,
    ) -> Result<Attempt, Error> {
        let epoch = self.0.keys.epoch();
        let place = {
            let snapshot = self.0.keys.store().snapshot();
            self.0.origins.place(url, snapshot.set.as_deref())
        };
        let Some(place) = place else { return Err(self.0.origins.refuse(url)) };
        let destination = Some((url, place));
        Ok(Attempt::new(self.0.clone(), epoch, destination, replayable, now, deadline))
    }
}

impl Parts {
    /// What this credential adds to any request; none if that depends on the request.
    pub(super) fn prepare(&self, credential: &Credential) -> Result<Option<Patch>, Error> {
        match &self.scheme {
            Some(scheme) if scheme.is_signing() => Ok(None),
            Some(scheme) => scheme.prepare(credential).map(Some),
            None => Scheme::named_by(credential)?.prepare(credential).map(Some),
        }
    }

    /// What the client itself finds wrong with a credential is evidence about it.
    pub(super) fn tell_unfit(&self, credential: &Arc<Credential>, why: Error, sent: Option<u64>) {
        let credential = credential.clone();
        self.keys.send_input(Input::Unfit(Unfit { credential, why, sent }));
    }
}
