//! Errors of the core on their way to JavaScript, which makes a `KeyswapError` of them.

use keyswap::{Error, ErrorKind};
use napi_derive::napi;

/// An error as promises are settled with it: JavaScript throws it.
#[napi(object, object_from_js = false)]
pub struct Thrown {
    /// The stable code.
    pub keyswap_code: String,
    /// What is wrong and what to do.
    pub message: String,
    /// The HTTP status, if there was one.
    pub status: Option<u16>,
    /// How long to stay away, in milliseconds.
    pub retry_after_ms: Option<f64>,
}

pub(crate) fn thrown(error: &Error) -> Thrown {
    Thrown {
        keyswap_code: error.code().to_owned(),
        message: error.to_string(),
        status: error.status(),
        retry_after_ms: error.retry_after().map(|wait| wait.as_secs_f64() * 1000.0),
    }
}

/// The same for a call that is not asynchronous: thrown with JSON as its message.
pub(crate) fn raise(error: &Error) -> napi::Error {
    let Thrown { keyswap_code, message, status, retry_after_ms } = thrown(error);
    let json = serde_json::json!({
        "keyswapCode": keyswap_code, "message": message,
        "status": status, "retryAfterMs": retry_after_ms,
    });
    napi::Error::from_reason(json.to_string())
}

/// An error of the program's own making.
pub(crate) fn invalid(what: impl Into<String>) -> napi::Error {
    raise(&Error::new(ErrorKind::InvalidConfig, what))
}

/// Every code that an error may have.
#[napi]
pub(crate) fn error_codes() -> Vec<&'static str> {
    ErrorKind::ALL.iter().map(|kind| kind.code()).collect()
}

/// Every name that an event may have.
#[napi]
pub(crate) fn event_names() -> Vec<&'static str> {
    keyswap::Event::NAMES.to_vec()
}
