//! Errors of the core on their way to Kotlin and Swift, which make their own of them.

use std::fmt;

use keyswap::{Error, ErrorKind};

/// What went wrong. None of it holds key material.
#[derive(Clone, Debug, uniffi::Error)]
pub enum NativeError {
    /// The only form: languages tell errors apart by their code.
    Failed {
        /// The stable code, the same in every language.
        code: String,
        /// What is wrong and what to do.
        reason: String,
        /// The HTTP status, if there was one.
        status: Option<u32>,
        /// How long to stay away, in milliseconds.
        retry_after_ms: Option<u64>,
    },
}

impl fmt::Display for NativeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Failed { reason, .. } = self;
        f.write_str(reason)
    }
}

impl std::error::Error for NativeError {}

impl From<Error> for NativeError {
    fn from(error: Error) -> Self {
        Self::Failed {
            code: error.code().to_owned(),
            reason: error.to_string(),
            status: error.status().map(u32::from),
            retry_after_ms: error
                .retry_after()
                .map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

/// An error of the program's own making.
pub(crate) fn invalid(what: impl Into<String>) -> NativeError {
    Error::new(ErrorKind::InvalidConfig, what).into()
}

/// Every code that an error may have.
#[uniffi::export]
pub fn error_codes() -> Vec<String> {
    ErrorKind::ALL.iter().map(|kind| kind.code().to_owned()).collect()
}
