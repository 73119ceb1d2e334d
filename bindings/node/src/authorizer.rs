//! Credentials for requests that another HTTP library sends.
//!
//! A host keeps what `snapshot` shows as long as its epoch is that of the shared word, and patches its
//! requests from it without a call. It begins an `Attempt` while the snapshot is probing, or has no
//! headers, and with `begin_after` when a response matches the attention.

use std::{sync::Arc, time::Duration};

use http::Method;
use keyswap::{
    host,
    redirect::{Asked, MAX_HOPS},
};
use napi::bindgen_prelude::{Function as JsFunction, *};
use napi_derive::napi;
use url::Url;

use crate::{
    attempt::{NativeAttempt, header_map},
    errors::{invalid, raise},
    function::{Answer, Function},
    keys::{NativeKeySwap, limit},
    scheme::{Judge, SchemeSpec},
};

/// What an authorizer, or a client, is made of.
#[napi(object)]
pub struct AuthorizerSpec {
    /// How credentials go onto requests; without one, as the set says.
    pub scheme: Option<SchemeSpec>,
    /// Where they may go.
    pub allowed_origins: Vec<String>,
    /// Plain HTTP to other machines.
    pub plain_http_allowed: Option<bool>,
    /// A request that sets the header of the scheme itself goes as it is.
    pub own_header_wins: Option<bool>,
    /// The responses that a function of the program judges; none if there is no such function.
    pub judged: Option<Vec<u16>>,
    /// How many bytes of a body it may ask for.
    pub body_limit: Option<u32>,
}

impl AuthorizerSpec {
    /// The function of the program, if there is one; it may be asked elsewhere.
    pub(crate) fn judge(
        &self,
        function: Option<&JsFunction<'_, Answer, ()>>,
    ) -> Result<Option<Judge>> {
        let Some(statuses) = self.judged.clone() else { return Ok(None) };
        let function = function.map(Function::new).transpose()?;
        Ok(Some(Judge::new(statuses, self.body_limit.unwrap_or(0), function)))
    }
}

/// Puts credentials on requests that another library sends, and learns from the responses.
#[napi]
pub struct NativeAuthorizer(keyswap::Authorizer);

#[napi]
impl NativeAuthorizer {
    /// The verdicts of the program's function are passed to each attempt.
    #[napi(constructor)]
    pub fn new(keys: &NativeKeySwap, spec: AuthorizerSpec) -> Result<Self> {
        let raised = |error: keyswap::Error| raise(&error);
        let mut builder = keyswap::Authorizer::builder(&keys.keys);
        if spec.plain_http_allowed == Some(true) {
            builder = builder.plain_http_allowed();
        }
        if spec.own_header_wins == Some(true) {
            builder = builder.own_header_wins();
        }
        if let Some(scheme) = &spec.scheme {
            builder = builder.scheme(scheme.make()?);
        }
        if let Some(judge) = spec.judge(None)? {
            builder = builder.classifier(judge);
        }
        for origin in &spec.allowed_origins {
            builder = builder.allow_origin(origin).map_err(raised)?;
        }
        builder.build().map(Self).map_err(raised)
    }

    /// What requests see now. A credential that cannot be put on a request is the business of an attempt,
    /// which may have another one.
    #[napi]
    pub fn snapshot(&self) -> NativeSnapshot {
        let inner = self.0.snapshot();
        let patch = host::prepare(&self.0, &inner);
        let headers = patch.filter(|_| !inner.wants_evidence()).map(|patch| shown(&patch));
        NativeSnapshot { inner, headers }
    }

    /// The statuses of the responses that an attempt has to be shown.
    #[napi(getter)]
    pub fn attention(&self) -> Vec<u16> {
        self.0.response_filter().statuses
    }

    /// The names, in lower case, of the headers whose responses an attempt has to be shown.
    #[napi(getter)]
    pub fn attention_headers(&self) -> Vec<String> {
        self.0.response_filter().headers.into_iter().map(String::from).collect()
    }

    /// Whether the API asked for fewer requests: each begins an attempt meanwhile.
    #[napi(getter)]
    pub fn is_throttled(&self) -> bool {
        self.0.is_throttled()
    }

    /// Whether a request goes as it is, because it sets one of the headers that hold credentials (by turns, with
    /// their values) itself. Throws if nobody said which one counts.
    #[napi]
    pub fn yields(&self, turns: Vec<String>, own: Vec<String>) -> Result<bool> {
        self.0.yields(&self.patch(&turns), &header_map(&own)).map_err(|error| raise(&error))
    }

    /// Where a response leads; nothing if it leads nowhere, or where it must not. `turns` is what the request
    /// carried.
    #[napi]
    pub fn follow(
        &self,
        method: String,
        url: String,
        status: u32,
        location: String,
        turns: Vec<String>,
    ) -> Result<Option<NextHop>> {
        let (url, method) = (parse(&url)?, crate::attempt::method_of(&method)?);
        let Some(status) = u16::try_from(status).ok().and_then(|status| status.try_into().ok())
        else {
            return Ok(None);
        };
        let patch = self.patch(&turns);
        // Whether there is a body that can be sent again is known to the library.
        let asked = Asked::new(&method, &url, &patch, true);
        Ok(asked.follow(status, &location).map(|next| NextHop {
            method: next.method.to_string(),
            url: next.url.into(),
            drops_body: next.drops_body,
            drops: next.drops.iter().map(|name| name.as_str().to_owned()).collect(),
        }))
    }

    /// Whether credentials may go to this URL now.
    #[napi]
    pub fn admits(&self, url: String) -> Result<bool> {
        Ok(self.0.admits(&parse(&url)?))
    }

    /// A request is about to be sent.
    #[napi]
    pub fn begin(
        &self,
        url: String,
        replayable: bool,
        deadline: Option<f64>,
    ) -> Result<NativeAttempt> {
        let (url, deadline): (Url, Option<Duration>) = (parse(&url)?, limit(deadline)?);
        let attempt = self.0.begin(&url, replayable, deadline);
        attempt.map(NativeAttempt::new).map_err(|error| raise(&error))
    }

    /// A request was sent with the headers of `snapshot`, and the response matches the attention.
    #[napi]
    pub fn begin_after(
        &self,
        snapshot: &NativeSnapshot,
        url: String,
        replayable: bool,
        deadline: Option<f64>,
    ) -> Result<NativeAttempt> {
        let (url, deadline) = (parse(&url)?, limit(deadline)?);
        // The host does not say the method yet: the one that is repeated least.
        let attempt =
            host::begin_after(&self.0, &snapshot.inner, &Method::POST, &url, replayable, deadline);
        attempt.map(NativeAttempt::new).map_err(|error| raise(&error))
    }
}

impl NativeAuthorizer {
    fn patch(&self, turns: &[String]) -> keyswap::Patch {
        let (mut patch, snapshot) = (keyswap::Patch::default(), self.0.snapshot());
        for turn in turns.chunks_exact(2) {
            if let (Some(credential), Ok(name)) = (snapshot.in_use(), turn[0].parse()) {
                // What was put on a request can be put on a patch.
                let _ = patch.add_header(name, &turn[1], credential);
            }
        }
        patch
    }
}

/// The most redirects that one request follows.
#[napi]
pub(crate) fn most_hops() -> u32 {
    MAX_HOPS
}

/// The hop that a redirect asks for.
#[napi(object)]
pub struct NextHop {
    /// Its method.
    pub method: String,
    /// Where it goes.
    pub url: String,
    /// Whether the body stays behind.
    pub drops_body: bool,
    /// The headers that stay behind.
    pub drops: Vec<String>,
}

/// What requests see in one epoch.
#[napi]
pub struct NativeSnapshot {
    inner: Arc<keyswap::Snapshot>,
    headers: Option<Vec<String>>,
}

#[napi]
impl NativeSnapshot {
    /// Its number, as the shared word shows it.
    #[napi(getter)]
    pub fn epoch(&self) -> i32 {
        self.inner.epoch() as i32
    }

    /// What the credential in use adds to any request, by turns a name and its value, in the clear. None
    /// if a request has to begin an attempt.
    #[napi]
    pub fn reveal(&self) -> Option<Vec<String>> {
        self.headers.clone()
    }
}

/// By turns a name, in lower case, and its value.
pub(crate) fn shown(patch: &keyswap::Patch) -> Vec<String> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    patch.headers().flat_map(|(name, value)| [name.as_str().to_owned(), text(value)]).collect()
}

pub(crate) fn parse(url: &str) -> Result<Url> {
    // The text is not repeated: it may hold a user and a password.
    match Url::parse(url) {
        Ok(url) if url.has_host() => Ok(url),
        _ => Err(invalid("not a whole URL")),
    }
}
