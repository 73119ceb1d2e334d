//! Credentials for requests that another HTTP library sends.
//!
//! A host keeps what `snapshot` shows as long as its epoch is the last that its watcher was told, and
//! patches its requests from it without a call. It begins an attempt while the snapshot has no patch, and
//! with `begin_after` when a response matches the attention.

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderValue, Method, StatusCode};
use keyswap::{
    host,
    redirect::{Asked, masked},
};
use url::Url;

use crate::{
    attempt::NativeAttempt,
    errors::{NativeError, invalid},
    keys::NativeKeySwap,
    scheme::{Judge, NativeScheme},
};

/// What an authorizer is made of.
#[derive(Debug, uniffi::Record)]
pub struct NativeAuthorizerSpec {
    /// How credentials go onto requests; without one, as the set says.
    pub scheme: Option<NativeScheme>,
    /// Where they may go.
    pub allowed_origins: Vec<String>,
    /// Plain HTTP to other machines: credentials can be read on the way.
    pub plain_http_allowed: bool,
    /// The statuses of responses that a function of the program judges; none if there is no such function.
    pub judged: Option<Vec<u32>>,
    /// How many bytes of a body it may ask for.
    pub body_limit: u32,
}

/// Puts credentials on requests that another library sends, and learns from the responses.
#[derive(Debug, uniffi::Object)]
pub struct NativeAuthorizer(keyswap::Authorizer);

#[uniffi::export]
impl NativeAuthorizer {
    /// The verdicts of the program's function are passed to each attempt.
    ///
    /// # Errors
    /// `invalid_config` and `insecure_url`.
    #[uniffi::constructor]
    pub fn new(keys: &NativeKeySwap, spec: NativeAuthorizerSpec) -> Result<Arc<Self>, NativeError> {
        let mut builder = keyswap::Authorizer::builder(keys.core());
        if spec.plain_http_allowed {
            builder = builder.plain_http_allowed();
        }
        if let Some(scheme) = &spec.scheme {
            builder = builder.scheme(scheme.make());
        }
        if let Some(judged) = spec.judged {
            let statuses = judged.into_iter().map(u16::try_from).collect::<Result<_, _>>();
            let statuses = statuses.map_err(|_| invalid("not an HTTP status"))?;
            builder = builder.classifier(Judge::new(statuses, spec.body_limit));
        }
        for origin in &spec.allowed_origins {
            builder = builder.allow_origin(origin)?;
        }
        Ok(Arc::new(Self(builder.build()?)))
    }

    /// What requests see now.
    ///
    /// # Errors
    /// `scheme_failed` if the credential cannot be put on a request.
    pub fn snapshot(&self) -> Result<Arc<NativeSnapshot>, NativeError> {
        let inner = self.0.snapshot();
        let patch = host::prepare(&self.0, &inner).filter(|_| !inner.wants_evidence());
        Ok(Arc::new(NativeSnapshot { patch: patch.map(NativePatch::new), inner }))
    }

    /// The statuses of the responses that an attempt has to be shown.
    pub fn attention(&self) -> Vec<u32> {
        self.0.response_filter().statuses.into_iter().map(u32::from).collect()
    }

    /// The names, in lower case, of the headers whose responses an attempt has to be shown.
    pub fn attention_headers(&self) -> Vec<String> {
        self.0.response_filter().headers.into_iter().map(String::from).collect()
    }

    /// Whether credentials may go to this URL now.
    ///
    /// # Errors
    /// `invalid_config` if it is not a whole URL.
    pub fn admits(&self, url: String) -> Result<bool, NativeError> {
        Ok(self.0.admits(&parse(&url)?))
    }

    /// Whether a credential for this URL must not go through a proxy: it is plain HTTP on this machine.
    ///
    /// # Errors
    /// `invalid_config` if it is not a whole URL.
    pub fn goes_direct(&self, url: String) -> Result<bool, NativeError> {
        Ok(self.0.goes_direct(&parse(&url)?))
    }

    /// Whether the API asked for fewer requests: then each request begins an attempt, which may make it wait.
    pub fn is_throttled(&self) -> bool {
        self.0.is_throttled()
    }

    /// A request is about to be sent. The deadline is how long its caller waits at most.
    ///
    /// # Errors
    /// `origin_not_allowed` if credentials may not go there.
    pub fn begin(
        &self,
        url: String,
        replayable: bool,
        deadline_ms: Option<u64>,
    ) -> Result<Arc<NativeAttempt>, NativeError> {
        let deadline = deadline_ms.map(Duration::from_millis);
        Ok(NativeAttempt::new(self.0.begin(&parse(&url)?, replayable, deadline)?))
    }

    /// A request was sent with the patch of `snapshot`, and the response matches the attention.
    ///
    /// # Errors
    /// `origin_not_allowed` if credentials may not go there.
    pub fn begin_after(
        &self,
        snapshot: &NativeSnapshot,
        url: String,
        replayable: bool,
        deadline_ms: Option<u64>,
    ) -> Result<Arc<NativeAttempt>, NativeError> {
        let deadline = deadline_ms.map(Duration::from_millis);
        let url = parse(&url)?;
        // The host does not say the method yet: the one that is repeated least.
        let attempt =
            host::begin_after(&self.0, &snapshot.inner, &Method::POST, &url, replayable, deadline)?;
        Ok(NativeAttempt::new(attempt))
    }
}

/// What requests see in one epoch.
#[derive(Debug, uniffi::Object)]
pub struct NativeSnapshot {
    inner: Arc<keyswap::Snapshot>,
    patch: Option<Arc<NativePatch>>,
}

#[uniffi::export]
impl NativeSnapshot {
    /// Its number, as the watcher is told it.
    pub fn epoch(&self) -> u64 {
        self.inner.epoch()
    }

    /// What the credential in use adds to any request. None if a request has to begin an attempt.
    pub fn patch(&self) -> Option<Arc<NativePatch>> {
        self.patch.clone()
    }
}

/// What to add to a request. It never prints.
#[derive(uniffi::Object)]
#[uniffi::export(Debug, Display)]
pub struct NativePatch(keyswap::Patch);

#[uniffi::export]
impl NativePatch {
    /// Headers by turns: a name in lower case and its value, in the clear.
    pub fn reveal(&self) -> Vec<String> {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = self.0.headers();
        headers.flat_map(|(name, value)| [name.as_str().to_owned(), text(value)]).collect()
    }

    /// The URL with what goes into its query, in the clear; the same URL if nothing does.
    ///
    /// # Errors
    /// `invalid_config` if it is not a whole URL.
    pub fn reveal_url(&self, url: String) -> Result<String, NativeError> {
        let mut parsed = parse(&url)?;
        let before = parsed.clone();
        self.0.apply_query(&mut parsed);
        Ok(if parsed == before { url } else { parsed.into() })
    }

    /// What is on a request to an origin that is not allowed.
    #[uniffi::constructor]
    pub fn nothing() -> Arc<Self> {
        Self::new(keyswap::Patch::default())
    }

    /// Where a response leads whose request carried this; none if it is the answer. `replayable` says
    /// whether the body, if there was one, can be sent again.
    ///
    /// # Errors
    /// `invalid_config` if these are no method, no whole URL and no status.
    pub fn follow(
        &self,
        method: String,
        url: String,
        replayable: bool,
        status: u32,
        location: String,
    ) -> Result<Option<NativeNext>, NativeError> {
        let (method, url, status) = (method_of(&method)?, parse(&url)?, status_of(status)?);
        let asked = Asked::new(&method, &url, &self.0, replayable);
        Ok(asked.follow(status, &location).map(|next| NativeNext {
            method: next.method.to_string(),
            url: next.url.to_string(),
            drops_body: next.drops_body,
            drops: next.drops.iter().map(|name| name.as_str().to_owned()).collect(),
        }))
    }

    /// A `Location` that holds what this put on the request to this URL, as it may be seen; none if it may
    /// be seen as it is.
    ///
    /// # Errors
    /// `invalid_config` if it is not a whole URL.
    pub fn masked(&self, url: String, location: String) -> Result<Option<String>, NativeError> {
        Ok(masked(&parse(&url)?, &self.0, &location))
    }
}

/// The hop that a redirect asks for.
#[derive(Debug, uniffi::Record)]
pub struct NativeNext {
    /// Its method.
    pub method: String,
    /// Where it goes.
    pub url: String,
    /// Whether the body stays behind.
    pub drops_body: bool,
    /// The headers that stay behind, in lower case.
    pub drops: Vec<String>,
}

impl NativePatch {
    pub(crate) fn new(patch: keyswap::Patch) -> Arc<Self> {
        Arc::new(Self(patch))
    }
}

impl fmt::Debug for NativePatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Patch(..)")
    }
}

impl fmt::Display for NativePatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

pub(crate) fn method_of(name: &str) -> Result<Method, NativeError> {
    Method::from_bytes(name.as_bytes()).map_err(|_| invalid("not the name of an HTTP method"))
}

pub(crate) fn status_of(status: u32) -> Result<StatusCode, NativeError> {
    let status = u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok());
    status.ok_or_else(|| invalid("not an HTTP status"))
}

pub(crate) fn parse(url: &str) -> Result<Url, NativeError> {
    // The text is not repeated: it may hold a user and a password.
    match Url::parse(url) {
        Ok(url) if url.has_host() => Ok(url),
        _ => Err(invalid("not a whole URL")),
    }
}
