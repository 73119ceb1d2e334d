//! Credentials for requests that another HTTP library sends.

use std::sync::Arc;

use keyswap_host::{Authorizer, Foreign, Prepared, Retries, failure_named, header_map};

use crate::{
    attempt::NativeAttempt,
    keys::NativeKeySwap,
    opaque::NativePatch,
    records::{NativeAuthorizerOptions, NativeError},
};

#[derive(Debug, uniffi::Object)]
pub struct NativeAuthorizer(Authorizer);

#[uniffi::export]
impl NativeAuthorizer {
    /// `signs` says that the program signs each request itself; its verdicts are passed to each attempt.
    #[uniffi::constructor]
    pub fn new(
        keys: &NativeKeySwap,
        options: NativeAuthorizerOptions,
        signs: bool,
    ) -> Result<Arc<Self>, NativeError> {
        let foreign = if signs { Foreign::signing_attempts() } else { Foreign::default() };
        Ok(Arc::new(Self(Authorizer::new(keys.host(), &options, &foreign)?)))
    }

    pub fn snapshot(&self) -> Arc<NativeSnapshot> {
        Arc::new(NativeSnapshot(self.0.prepared()))
    }

    pub fn filter(&self) -> NativeFilter {
        let filter = self.0.response_filter();
        let headers = filter.headers.into_iter().map(String::from).collect();
        NativeFilter { statuses: filter.statuses, headers }
    }

    pub fn admits(&self, url: String) -> Result<bool, NativeError> {
        Ok(self.0.admits(&url)?)
    }

    pub fn goes_direct(&self, url: String) -> Result<bool, NativeError> {
        Ok(self.0.goes_direct(&url)?)
    }

    /// Whether a request that has a header of its own, where this patch puts one, goes as it is. It throws unless such
    /// a header wins.
    pub fn yields(&self, patch: &NativePatch, header: String) -> Result<bool, NativeError> {
        Ok(self.0.yields(&patch.0, &header_map([(header, "")]))?)
    }

    pub fn is_throttled(&self) -> bool {
        self.0.is_throttled()
    }

    pub fn begin(
        &self,
        url: String,
        replayable: bool,
        deadline: Option<f64>,
        scopes: Vec<String>,
    ) -> Result<Arc<NativeAttempt>, NativeError> {
        Ok(NativeAttempt::new(self.0.begin_requiring(&scopes, &url, replayable, deadline)?))
    }

    pub fn begin_after(
        &self,
        snapshot: &NativeSnapshot,
        method: String,
        url: String,
        replayable: bool,
        deadline: Option<f64>,
    ) -> Result<Arc<NativeAttempt>, NativeError> {
        let attempt = self.0.begin_sent(&snapshot.0, &method, &url, replayable, deadline)?;
        Ok(NativeAttempt::new(attempt))
    }
}

/// The responses that an attempt has to be shown: those with one of the statuses, or with one of the headers, in lower
/// case.
#[derive(Debug, uniffi::Record)]
pub struct NativeFilter {
    pub statuses: Vec<u16>,
    pub headers: Vec<String>,
}

#[derive(Debug, uniffi::Object)]
pub struct NativeSnapshot(Prepared);

#[uniffi::export]
impl NativeSnapshot {
    pub fn epoch(&self) -> u64 {
        self.0.epoch()
    }

    pub fn patch(&self) -> Option<Arc<NativePatch>> {
        self.0.patch().map(|patch| Arc::new(NativePatch(patch.clone())))
    }
}

/// Bytes of a rejection that an adapter reads to keep its connection.
#[uniffi::export]
pub fn native_small() -> u32 {
    keyswap_host::SMALL as u32
}

/// How many milliseconds that may take.
#[uniffi::export]
pub fn native_brief_ms() -> u32 {
    keyswap_host::BRIEF.as_millis() as u32
}

#[derive(Debug, uniffi::Object)]
pub struct NativeRetries(Retries);

#[uniffi::export]
impl NativeRetries {
    #[uniffi::constructor]
    pub fn new(authorizer: &NativeAuthorizer, limit: u32) -> Arc<Self> {
        Arc::new(Self(Retries::new(&authorizer.0, limit)))
    }

    /// After a response of this status, with what its `Retry-After` says; or after this failure, if none came. That
    /// the API did what it was asked is told so, too: no time, but something comes back while the budget still lacks some.
    pub fn again(
        &self,
        method: String,
        retried: u32,
        left: Option<f64>,
        status: Option<u32>,
        said: String,
    ) -> Result<Option<f64>, NativeError> {
        Ok(match status {
            Some(200..300) => self.0.succeeded().then_some(0.0),
            Some(status) => self.0.answered(&method, retried, left, status, &said)?,
            None => self.0.failed(&method, retried, left, failure_named(&said))?,
        })
    }
}
