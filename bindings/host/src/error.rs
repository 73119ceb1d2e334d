//! Errors as other languages see them, and the sentences that all of them share.

use keyswap::{Error, ErrorKind};
use serde::Serialize;

/// What went wrong. None of it holds key material.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ErrorRecord {
    /// The stable code, the same in every language.
    pub code: String,
    /// What is wrong and what to do.
    pub message: String,
    /// The HTTP status, if there was one.
    pub status: Option<u16>,
    /// How long to stay away, in milliseconds, if that was said.
    pub retry_after_ms: Option<u64>,
    /// Whether trying again soon is unlikely to help.
    pub lasting: bool,
}

impl From<&Error> for ErrorRecord {
    fn from(error: &Error) -> Self {
        Self {
            code: error.code().to_owned(),
            message: error.to_string(),
            status: error.status(),
            retry_after_ms: error.retry_after().map(crate::records::millis),
            lasting: error.is_lasting(),
        }
    }
}

/// Every code that an error may have.
pub fn codes() -> Vec<&'static str> {
    ErrorKind::ALL.iter().map(|kind| kind.code()).collect()
}

/// Something that the program passed is not valid.
pub fn invalid(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidConfig, what)
}

/// A program's own function failed. `what` it did, such as "threw TypeError": no words of its exceptions, which
/// may hold anything.
pub fn function_failed(what: &str) -> Error {
    let what = format!("the function {what}; the set that is held stays in use");
    Error::new(ErrorKind::SourceFailed, what)
}

/// A program's own signature failed. `what` it did, without words of its exceptions.
pub fn signature_failed(what: &str) -> Error {
    Error::new(ErrorKind::SchemeFailed, format!("the signature of the program failed: {what}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn all_that_an_error_says_is_in_its_record() {
        let error = Error::new(ErrorKind::Throttled, "too many")
            .with_status(429)
            .with_retry_after(Duration::from_millis(1500));
        let record = ErrorRecord::from(&error);
        assert_eq!((&*record.code, &*record.message), ("throttled", "too many"));
        assert_eq!((record.status, record.retry_after_ms), (Some(429), Some(1500)));
        assert!(!record.lasting);
        assert!(ErrorRecord::from(&invalid("x")).lasting);
        assert!(codes().contains(&"throttled"));
    }
}
