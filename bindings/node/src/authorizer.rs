//! Credentials for requests that another HTTP library sends.

use keyswap_host::{
    Authorizer, Foreign, MAX_HOPS, MOST_ORIGINS, Patch, Prepared, header_map, header_pairs,
    options::from_json,
};
use napi::bindgen_prelude::*;
use napi_derive::napi;

use crate::{
    attempt::NativeAttempt,
    errors::{Thrown, told},
    keys::NativeKeySwap,
};

/// Puts credentials on requests that another library sends, and learns from the responses.
#[napi]
pub struct NativeAuthorizer(Authorizer);

#[napi]
impl NativeAuthorizer {
    /// `options` are JSON; what the program's classifier and signature say is passed to each attempt.
    #[napi]
    pub fn of(
        keys: &NativeKeySwap,
        options: String,
        signs: bool,
    ) -> Either<NativeAuthorizer, Thrown> {
        let foreign = if signs { Foreign::signing_attempts() } else { Foreign::default() };
        let made = from_json(&options);
        told(made.and_then(|options| Authorizer::new(&keys.keys, &options, &foreign)).map(Self))
    }

    /// What requests see now.
    #[napi]
    pub fn snapshot(&self) -> NativeSnapshot {
        NativeSnapshot(self.0.prepared())
    }

    /// The responses that an attempt has to be shown.
    #[napi]
    pub fn response_filter(&self) -> ResponseFilter {
        let keyswap::ResponseFilter { statuses, headers, .. } = self.0.response_filter();
        ResponseFilter { statuses, headers: headers.into_iter().map(String::from).collect() }
    }

    /// Whether the API asked for fewer requests: each begins an attempt meanwhile.
    #[napi(getter)]
    pub fn is_throttled(&self) -> bool {
        self.0.is_throttled()
    }

    /// Whether a request with these raw headers goes as it is, because it sets one of the patch itself.
    #[napi]
    pub fn yields(&self, patch: &NativePatch, own: Vec<String>) -> Either<bool, Thrown> {
        told(self.0.yields(&patch.0, &header_map(header_pairs(&own))))
    }

    /// Whether credentials may go to this URL now.
    #[napi]
    pub fn admits(&self, url: String) -> Either<bool, Thrown> {
        told(self.0.admits(&url))
    }

    /// A request is about to be sent; the deadline is in seconds.
    #[napi]
    pub fn begin(
        &self,
        url: String,
        replayable: bool,
        deadline: Option<f64>,
        scopes: Vec<String>,
    ) -> Either<NativeAttempt, Thrown> {
        told(self.0.begin_requiring(&scopes, &url, replayable, deadline).map(NativeAttempt))
    }

    /// A request was sent with the patch of `snapshot`, and the response matches the filter.
    #[napi]
    pub fn begin_sent(
        &self,
        snapshot: &NativeSnapshot,
        method: String,
        url: String,
        replayable: bool,
        deadline: Option<f64>,
    ) -> Either<NativeAttempt, Thrown> {
        let begun = self.0.begin_sent(&snapshot.0, &method, &url, replayable, deadline);
        told(begun.map(NativeAttempt))
    }
}

/// The responses that an attempt has to be shown: with one of the statuses, or with one of the headers.
#[napi(object, object_from_js = false)]
pub struct ResponseFilter {
    /// The statuses.
    pub statuses: Vec<u16>,
    /// The names of the headers, in lower case.
    pub headers: Vec<String>,
}

/// The most redirects that one request follows.
#[napi]
pub(crate) fn most_hops() -> u32 {
    MAX_HOPS
}

/// The most origins that are noted in one epoch.
#[napi]
pub(crate) fn most_origins() -> u32 {
    MOST_ORIGINS as u32
}

/// The hop that a redirect asks for.
#[napi(object, object_from_js = false)]
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

impl From<keyswap_host::NextHop> for NextHop {
    fn from(next: keyswap_host::NextHop) -> Self {
        let keyswap_host::NextHop { method, url, drops_body, drops } = next;
        Self { method, url, drops_body, drops }
    }
}

/// What requests see in one epoch.
#[napi]
pub struct NativeSnapshot(Prepared);

#[napi]
impl NativeSnapshot {
    /// Its number, as the shared word shows it.
    #[napi(getter)]
    pub fn epoch(&self) -> i32 {
        self.0.epoch() as i32
    }

    /// What the credential in use adds to any request; none if a request has to begin an attempt.
    #[napi]
    pub fn patch(&self) -> Option<NativePatch> {
        self.0.patch().cloned().map(NativePatch)
    }
}

/// What to add to a request.
#[napi]
pub struct NativePatch(pub(crate) Patch);

#[napi]
impl NativePatch {
    /// What is on a request that carries no credential.
    #[napi]
    pub fn nothing() -> NativePatch {
        Self(Patch::default())
    }

    /// Raw headers: a name in lower case, its value, and so on, in the clear.
    #[napi]
    pub fn reveal(&self) -> Vec<String> {
        self.0.reveal()
    }

    /// The URL with what goes into its query, in the clear; the same text if nothing does.
    #[napi]
    pub fn reveal_url(&self, url: String) -> Either<String, Thrown> {
        told(self.0.reveal_url(&url))
    }

    /// Where a response leads to which a request with this led.
    #[napi]
    pub fn follow(
        &self,
        method: String,
        url: String,
        replayable: bool,
        status: u32,
        location: String,
    ) -> Either<Option<NextHop>, Thrown> {
        let next = self.0.follow(&method, &url, replayable, status, &location);
        told(next.map(|next| next.map(NextHop::from)))
    }
}
