//! Credentials for requests that another HTTP library sends.
//!
//! A language keeps what was [`prepared`](Authorizer::prepared) as long as its epoch is that of the handle, and
//! patches its requests from it without a call. It begins an [`Attempt`] while there is no patch, or the API asked
//! for fewer requests, and with [`begin_sent`](Authorizer::begin_sent) when a response matches the filter.

use std::{fmt, sync::Arc};

use http::HeaderMap;
use keyswap::{Credential, Error, ResponseFilter, Scheme, Snapshot, host};

use crate::{
    attempt::Attempt,
    classifier::{ForeignClassifier, Judge},
    error::{invalid, signature_failed},
    keys::Keys,
    options::{AuthorizerOptions, SchemeKind, SchemeOptions},
    patch::Patch,
    sign::{ForeignSign, Signature, UnsignedRequest, signing},
    source::seconds,
    text::{method_of, url_of},
};

/// The most origins that a language notes as admitted in one epoch, for programs that send to many.
pub const MOST_ORIGINS: usize = 64;

/// What a program brings in its own language.
#[derive(Clone, Default)]
pub struct Foreign {
    /// Its own signature, in place of a scheme.
    pub sign: Option<Arc<dyn ForeignSign>>,
    /// Its own classifier, for the responses that the options name. None if it is asked where the attempt is driven.
    pub classifier: Option<Arc<dyn ForeignClassifier>>,
}

impl Foreign {
    /// Of a language that signs while it drives an attempt ([`Attempt::begin_signing`]): the core calls nobody.
    pub fn signing_attempts() -> Self {
        Self { sign: Some(Arc::new(Elsewhere)), classifier: None }
    }

    pub(crate) fn scheme(&self, options: &AuthorizerOptions) -> Result<Option<Scheme>, Error> {
        match (&self.sign, &options.scheme) {
            (Some(_), Some(_)) => Err(invalid("pass a scheme or a signature, not both")),
            (Some(sign), None) => Ok(Some(signing(sign.clone()))),
            (None, scheme) => scheme.as_ref().map(SchemeOptions::build).transpose(),
        }
    }

    pub(crate) fn judge(&self, options: &AuthorizerOptions) -> Option<Judge> {
        options.classifier.as_ref().map(|options| Judge::new(options, self.classifier.clone()))
    }
}

struct Elsewhere;

impl ForeignSign for Elsewhere {
    fn sign(&self, _: Arc<Credential>, _: UnsignedRequest) -> Result<Signature, Error> {
        Err(signature_failed("it is made where the attempt is driven"))
    }
}

impl fmt::Debug for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Foreign(..)")
    }
}

impl SchemeOptions {
    /// The scheme.
    ///
    /// # Errors
    /// `invalid_config` if it lacks a name, or has one that it has no use for.
    pub fn build(&self) -> Result<Scheme, Error> {
        Ok(match (self.kind, &self.name) {
            (SchemeKind::Header, Some(name)) => Scheme::header(name),
            (SchemeKind::Query, Some(name)) => Scheme::query(name),
            (SchemeKind::Bearer, None) => Scheme::bearer(),
            (SchemeKind::Basic, None) => Scheme::basic(),
            (SchemeKind::Header | SchemeKind::Query, None) => {
                return Err(invalid("the scheme lacks the name of its header or parameter"));
            }
            (_, Some(_)) => return Err(invalid("bearer and basic take no name")),
        })
    }
}

/// Puts credentials on requests that another library sends, and learns from the responses. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Authorizer {
    inner: keyswap::Authorizer,
    is_signing: bool,
}

impl Authorizer {
    /// An authorizer for these keys.
    ///
    /// # Errors
    /// `invalid_config` and `insecure_url`.
    pub fn new(keys: &Keys, options: &AuthorizerOptions, foreign: &Foreign) -> Result<Self, Error> {
        let mut builder = keyswap::Authorizer::builder(keys.core());
        if options.plain_http_allowed {
            builder = builder.plain_http_allowed();
        }
        if options.own_header_wins {
            builder = builder.own_header_wins();
        }
        let scheme = foreign.scheme(options)?;
        let is_signing = scheme.as_ref().is_some_and(Scheme::is_signing);
        if let Some(scheme) = scheme {
            builder = builder.scheme(scheme);
        }
        if let Some(judge) = foreign.judge(options) {
            builder = builder.classifier(judge);
        }
        for origin in &options.allowed_origins {
            builder = builder.allow_origin(origin)?;
        }
        Ok(Self { inner: builder.build()?, is_signing })
    }

    /// What requests see now, and what they are sent with.
    pub fn prepared(&self) -> Prepared {
        let snapshot = self.inner.snapshot();
        // A credential that cannot be put on a request is the business of an attempt, which may have another one.
        let patch = host::prepare(&self.inner, &snapshot);
        Prepared { patch: patch.map(Patch::new), snapshot }
    }

    /// The local number of what requests see.
    #[inline]
    pub fn epoch(&self) -> u64 {
        host::epoch(self.inner.keys())
    }

    /// The responses that an attempt has to be shown.
    pub fn response_filter(&self) -> ResponseFilter {
        self.inner.response_filter()
    }

    /// Whether the API asked for fewer requests: each begins an attempt meanwhile, which may make it wait.
    pub fn is_throttled(&self) -> bool {
        self.inner.is_throttled()
    }

    /// Whether each request is signed, so that each begins an attempt.
    pub fn is_signing(&self) -> bool {
        self.is_signing
    }

    /// Whether a request goes out as it is, because it has a header that the patch sets and that wins. What comes back
    /// is then no evidence.
    ///
    /// # Errors
    /// `invalid_config` if it has such a header and nobody said which one counts.
    pub fn yields(&self, patch: &Patch, headers: &HeaderMap) -> Result<bool, Error> {
        self.inner.yields(patch.core(), headers)
    }

    /// Whether credentials may go to this URL now.
    ///
    /// # Errors
    /// `invalid_config` if it is not a whole URL.
    pub fn admits(&self, url: &str) -> Result<bool, Error> {
        Ok(self.inner.admits(&url_of(url)?))
    }

    /// Whether a credential for this URL must not go through a proxy: it is plain HTTP on this machine.
    ///
    /// # Errors
    /// `invalid_config` if it is not a whole URL.
    pub fn goes_direct(&self, url: &str) -> Result<bool, Error> {
        Ok(self.inner.goes_direct(&url_of(url)?))
    }

    /// A request is about to be sent: one hop. `replayable` says whether it may be sent again, `deadline` how many
    /// seconds its caller waits at most.
    ///
    /// # Errors
    /// `origin_not_allowed` if credentials may not go there; `invalid_config` if it is not a whole URL.
    pub fn begin(
        &self,
        url: &str,
        replayable: bool,
        deadline: Option<f64>,
    ) -> Result<Attempt, Error> {
        self.begin_requiring(&[], url, replayable, deadline)
    }

    /// The same for a request that needs these scopes: without them nothing is sent. It is begun before its first send,
    /// whatever is [`prepared`](Self::prepared).
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub fn begin_requiring(
        &self,
        scopes: &[String],
        url: &str,
        replayable: bool,
        deadline: Option<f64>,
    ) -> Result<Attempt, Error> {
        let (url, deadline) = (url_of(url)?, seconds(deadline, "the deadline")?);
        let scopes: Vec<_> = scopes.iter().map(|scope| Box::from(scope.as_str())).collect();
        let attempt = self.inner.begin_requiring(&scopes, &url, replayable, deadline)?;
        Ok(Attempt::new(attempt, self.response_filter()))
    }

    /// A request of this method was sent with what was prepared, and the response matches the filter.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub fn begin_sent(
        &self,
        prepared: &Prepared,
        method: &str,
        url: &str,
        replayable: bool,
        deadline: Option<f64>,
    ) -> Result<Attempt, Error> {
        let (method, url) = (method_of(method)?, url_of(url)?);
        let (of, deadline) = (&prepared.snapshot, seconds(deadline, "the deadline")?);
        let attempt = host::begin_after(&self.inner, of, &method, &url, replayable, deadline)?;
        Ok(Attempt::new(attempt, self.response_filter()))
    }

    /// The handle of the core.
    pub fn core(&self) -> &keyswap::Authorizer {
        &self.inner
    }
}

/// What requests see in one epoch.
#[derive(Clone, Debug)]
pub struct Prepared {
    snapshot: Arc<Snapshot>,
    patch: Option<Patch>,
}

impl Prepared {
    /// The number of the epoch.
    pub fn epoch(&self) -> u64 {
        self.snapshot.epoch()
    }

    /// What any request is sent with, without an attempt. None if each request has to begin one: the API is being asked
    /// about a credential, nothing is usable, or requests are signed.
    pub fn patch(&self) -> Option<&Patch> {
        self.patch.as_ref().filter(|_| !self.snapshot.wants_evidence())
    }

    /// What the credential in use adds to any request, also while each request begins an attempt.
    pub fn patch_in_use(&self) -> Option<&Patch> {
        self.patch.as_ref()
    }

    /// The id of the credential in use.
    pub fn credential_id(&self) -> Option<&str> {
        self.snapshot.in_use().map(|credential| credential.id())
    }
}
