//! Errors of the core on their way to JavaScript, which makes a `KeyswapError` of them.

use keyswap_host::{Error, ErrorRecord};
use napi::bindgen_prelude::Either;
use napi_derive::napi;

/// An error in the place of what a call returns, or a promise is settled with: JavaScript throws it.
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
    /// Whether trying again soon is unlikely to help.
    pub lasting: bool,
}

pub(crate) fn thrown(error: &Error) -> Thrown {
    let ErrorRecord { code, message, status, retry_after_ms, lasting } = error.into();
    let retry_after_ms = retry_after_ms.map(|wait| wait as f64);
    Thrown { keyswap_code: code, message, status, retry_after_ms, lasting }
}

/// What a call returns.
pub(crate) fn told<T>(outcome: Result<T, Error>) -> Either<T, Thrown> {
    match outcome {
        Ok(value) => Either::A(value),
        Err(error) => Either::B(thrown(&error)),
    }
}

/// Every code that an error may have.
#[napi]
pub(crate) fn error_codes() -> Vec<&'static str> {
    keyswap_host::codes()
}

/// Every name that an event may have.
#[napi]
pub(crate) fn event_names() -> Vec<&'static str> {
    keyswap_host::event_names()
}
