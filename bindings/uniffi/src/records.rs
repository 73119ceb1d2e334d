//! What crosses as it is: records and words of `keyswap-host`. What each field means stands there; here uniffi is told
//! of them, and a field that is missing or has another type is an error of the compiler.

use std::{fmt, sync::Arc};

pub use keyswap_host::{
    CredentialRecord as NativeFacts, ErrorRecord as NativeErrorRecord, EventRecord as NativeEvent,
    LogLevel as NativeLevel, NextHop as NativeNext, StatsRecord as NativeStats, Step as NativeStep,
    Verdict as NativeVerdict,
    options::{
        AuthorizerOptions as NativeAuthorizerOptions, ClassifierOptions as NativeClassifierOptions,
        EndpointOptions as NativeEndpointOptions, SchemeKind as NativeSchemeKind,
        SchemeOptions as NativeSchemeOptions,
    },
};
use keyswap_host::{Error, MAX_HOPS, MOST_ORIGINS, SecretText, codes};

use crate::opaque::NativeSecret;

#[uniffi::remote(Record)]
pub struct NativeEvent {
    // generated: event (by keyswap-generate: do not edit)
    pub name: String,
    pub text: String,
    pub generation: Option<u64>,
    pub primary: Option<String>,
    pub error: Option<String>,
    pub retry_in_ms: Option<u64>,
    pub from: Option<String>,
    pub to: Option<String>,
    pub credential: Option<String>,
    pub in_use: Option<String>,
    pub proven: Option<bool>,
    pub candidate: Option<bool>,
    pub probe_in_ms: Option<u64>,
    pub reason: Option<String>,
    pub credentials: Option<Vec<String>>,
    pub set: Option<bool>,
    pub for_ms: Option<u64>,
    pub never_accepted: Option<bool>,
    pub from_generation: Option<u64>,
    pub to_generation: Option<u64>,
    pub seconds: Option<u64>,
    pub by_ms: Option<i64>,
    pub missed: Option<u64>,
    // end of event
}

#[uniffi::remote(Record)]
pub struct NativeStats {
    // generated: stats (by keyswap-generate: do not edit)
    pub generation: Option<u64>,
    pub epoch: u64,
    pub in_use: Option<String>,
    pub expires_at_ms: Option<i64>,
    pub last_success_ms: Option<i64>,
    pub age_ms: Option<u64>,
    pub fetches_changed: u64,
    pub fetches_not_modified: u64,
    pub fetches_failed: u64,
    pub fetches_forced: u64,
    pub rejections: u64,
    pub fallbacks: u64,
    pub rollbacks: u64,
    pub sends: u64,
    pub extra_sends: u64,
    pub waiting: u64,
    // end of stats
}

#[uniffi::remote(Record)]
pub struct NativeFacts {
    pub id: String,
    pub version: Option<String>,
    pub scopes: Vec<String>,
    pub created_at_ms: Option<i64>,
    pub not_before_ms: Option<i64>,
    pub activate_at_ms: Option<i64>,
    pub expires_at_ms: Option<i64>,
    pub grace_expires_at_ms: Option<i64>,
}

#[uniffi::remote(Record)]
pub struct NativeNext {
    pub method: String,
    pub url: String,
    pub drops_body: bool,
    pub drops: Vec<String>,
}

#[uniffi::remote(Enum)]
pub enum NativeStep {
    Send,
    Wait,
    NeedBody,
    Return,
    Fail,
}

#[uniffi::remote(Enum)]
pub enum NativeLevel {
    Error,
    Warn,
    Info,
    Debug,
}

#[uniffi::remote(Record)]
pub struct NativeErrorRecord {
    pub code: String,
    pub message: String,
    pub status: Option<u16>,
    pub retry_after_ms: Option<u64>,
    pub lasting: bool,
}

#[uniffi::remote(Record)]
pub struct NativeEndpointOptions {
    // generated: endpoint (by keyswap-generate: do not edit)
    pub url: String,
    pub bootstrap: Option<SecretText>,
    pub bootstrap_file: Option<String>,
    pub no_bootstrap: bool,
    pub timeout: Option<f64>,
    pub push: Option<bool>,
    pub heartbeat: Option<f64>,
    pub signed_by: Option<String>,
    pub set_name: Option<String>,
    pub root_certificates: Option<String>,
    pub root_certificates_file: Option<String>,
    pub client_certificate: Option<SecretText>,
    pub client_certificate_file: Option<String>,
    pub app: Option<String>,
    pub plain_http_allowed: bool,
    // end of endpoint
}

// Secrets cross as the object that does not print them.
uniffi::custom_type!(SecretText, Arc<NativeSecret>, {
    remote,
    lower: |secret| Arc::new(NativeSecret(secret)),
    try_lift: |secret| Ok(secret.0.clone()),
});

#[uniffi::remote(Record)]
pub struct NativeAuthorizerOptions {
    // generated: authorizer (by keyswap-generate: do not edit)
    pub scheme: Option<NativeSchemeOptions>,
    pub allowed_origins: Vec<String>,
    pub classifier: Option<NativeClassifierOptions>,
    pub plain_http_allowed: bool,
    pub own_header_wins: bool,
    // end of authorizer
}

#[uniffi::remote(Record)]
pub struct NativeSchemeOptions {
    // generated: scheme (by keyswap-generate: do not edit)
    pub kind: NativeSchemeKind,
    pub name: Option<String>,
    // end of scheme
}

#[uniffi::remote(Enum)]
pub enum NativeSchemeKind {
    Header,
    Bearer,
    Basic,
    Query,
}

#[uniffi::remote(Record)]
pub struct NativeClassifierOptions {
    // generated: classifier (by keyswap-generate: do not edit)
    pub statuses: Vec<u16>,
    pub body_limit: u32,
    // end of classifier
}

#[uniffi::remote(Enum)]
#[non_exhaustive]
pub enum NativeVerdict {
    Accepted,
    Rejected,
    Throttled,
    Other,
    NeedBody,
}

/// What went wrong, as an exception.
#[derive(Debug, uniffi::Error)]
pub enum NativeError {
    /// The only form: languages tell errors apart by their code.
    Failed {
        /// All that is known of it.
        record: NativeErrorRecord,
    },
}

impl fmt::Display for NativeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Failed { record } = self;
        f.write_str(&record.message)
    }
}

impl std::error::Error for NativeError {}

impl From<Error> for NativeError {
    fn from(error: Error) -> Self {
        Self::Failed { record: (&error).into() }
    }
}

#[derive(Debug, uniffi::Record)]
pub struct NativeConstants {
    pub error_codes: Vec<String>,
    pub event_names: Vec<String>,
    /// That a request follows.
    pub max_redirects: u32,
    /// That are noted as admitted in one epoch.
    pub most_origins: u32,
}

#[uniffi::export]
pub fn constants() -> NativeConstants {
    let owned = |all: Vec<&str>| all.into_iter().map(str::to_owned).collect();
    NativeConstants {
        error_codes: owned(codes()),
        event_names: owned(keyswap_host::event_names()),
        max_redirects: MAX_HOPS,
        most_origins: MOST_ORIGINS as u32,
    }
}
