//! What AWS means when it refuses. Pure.
//!
//! The code of an error stands in a header, in JSON or in XML, at 400 or at 403, by service and by age. Only known codes
//! are repeated: anything else of an answer may hold what was sent.

use http::HeaderMap;
use jiff::{SignedDuration, Timestamp};

use crate::{
    error::ErrorKind,
    source::{store_client::Answer, wire::Value, wire::read_answer},
};

/// From here on a clock is wrong. AWS takes what was signed up to five minutes before or after its own time.
const SKEW: SignedDuration = SignedDuration::from_mins(4);

/// What a refusal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The access key is not known, or no longer active.
    UnknownKey,
    /// The signature does not fit: the secret is another key's, or the clock is wrong.
    Signature,
    /// The session of the log-in has ended.
    Ended,
    /// It came too early or too late.
    Clock,
    /// The identity may not do this.
    Denied,
    Throttled,
    /// There is no such secret, parameter or version.
    Missing,
    /// It is there, and not in a state to be read.
    NotReadable,
    /// The key that it is encrypted with cannot be used.
    Decryption,
    /// What was asked is not valid.
    Invalid,
    Down,
    /// Nothing that is known here: the status says more.
    Other,
}

impl Refusal {
    pub(super) fn of(answer: &Answer) -> Self {
        let named = |code: &str| Self::named(code);
        code(&answer.headers, &answer.body, named).unwrap_or(match answer.status.as_u16() {
            429 => Self::Throttled,
            500..=599 => Self::Down,
            _ => Self::Other,
        })
    }

    /// Whether another log-in may help.
    pub(super) fn is_about_login(self) -> bool {
        matches!(self, Self::UnknownKey | Self::Signature | Self::Ended)
    }

    /// The same where the clocks differ so much that this is why.
    pub(super) fn with_clocks(self, skew: Option<SignedDuration>) -> Self {
        match self {
            Self::Signature | Self::Ended if skew.is_some() => Self::Clock,
            other => other,
        }
    }

    pub(super) fn kind(self) -> ErrorKind {
        match self {
            Self::UnknownKey | Self::Signature | Self::Ended | Self::Clock => {
                ErrorKind::BootstrapRejected
            }
            Self::Denied | Self::Decryption => ErrorKind::Forbidden,
            Self::Throttled => ErrorKind::Throttled,
            Self::Missing | Self::NotReadable => ErrorKind::UnknownSet,
            Self::Invalid => ErrorKind::InvalidConfig,
            Self::Down => ErrorKind::Unavailable,
            Self::Other => ErrorKind::Malformed,
        }
    }

    fn named(code: &str) -> Option<Self> {
        Some(match code {
            "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "InvalidAccessKeyId"
            | "InvalidClientTokenIdException"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "AuthFailure" => Self::UnknownKey,
            "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "IncompleteSignature"
            | "IncompleteSignatureException" => Self::Signature,
            "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" => Self::Ended,
            "RequestExpired" | "RequestTimeTooSkewed" | "RequestInTheFuture" => Self::Clock,
            "AccessDenied"
            | "AccessDeniedException"
            | "NotAuthorized"
            | "OptInRequired"
            | "UnauthorizedOperation" => Self::Denied,
            "Throttling"
            | "ThrottlingException"
            | "ThrottledException"
            | "RequestThrottled"
            | "RequestThrottledException"
            | "TooManyRequestsException"
            | "RequestLimitExceeded"
            | "LimitExceededException"
            | "SlowDown" => Self::Throttled,
            "ResourceNotFoundException"
            | "ParameterNotFound"
            | "ParameterVersionNotFound"
            | "SecretNotFoundException" => Self::Missing,
            "InvalidRequestException" => Self::NotReadable,
            "DecryptionFailure"
            | "DecryptionFailureException"
            | "InvalidKeyId"
            | "KMSAccessDeniedException"
            | "KMSDisabledException"
            | "KMSNotFoundException"
            | "KMSInvalidStateException" => Self::Decryption,
            "InvalidParameterException" | "ValidationException" | "ValidationError" => {
                Self::Invalid
            }
            "InternalServiceError"
            | "InternalServerError"
            | "InternalFailure"
            | "InternalServiceErrorException"
            | "ServiceUnavailable"
            | "ServiceUnavailableException" => Self::Down,
            _ => return None,
        })
    }
}

/// The code of an error that an answer bears, as far as it is known.
pub(super) fn code<T>(
    headers: &HeaderMap,
    body: &[u8],
    known: impl Fn(&str) -> Option<T>,
) -> Option<T> {
    // Some have the shape behind a `#`, and some have a link behind a `:`.
    let bare = |code: &str| known(code.rsplit('#').next()?.split(':').next()?.trim());
    let header = headers.get("x-amzn-errortype").and_then(|value| value.to_str().ok());
    header.and_then(bare).or_else(|| match read_answer(body) {
        Ok(value) => ["/__type", "/code", "/Code"].iter().find_map(|at| match value.at(at) {
            Some(Value::Text(code)) => bare(code),
            _ => None,
        }),
        Err(_) => bare(std::str::from_utf8(body).ok()?.split_once("<Code>")?.1.split('<').next()?),
    })
}

/// By how much this machine's clock is ahead of the store's, if that is too much.
pub(super) fn skew(store: Option<Timestamp>, own: i64) -> Option<SignedDuration> {
    let ahead = SignedDuration::from_millis(own.saturating_sub(store?.as_millisecond()));
    (ahead.abs() > SKEW).then_some(ahead)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(header: Option<&'static str>, body: &str) -> Option<Refusal> {
        let mut headers = HeaderMap::new();
        if let Some(value) = header {
            headers.insert("x-amzn-errortype", http::HeaderValue::from_static(value));
        }
        code(&headers, body.as_bytes(), Refusal::named)
    }

    #[test]
    fn a_code_is_found_wherever_it_stands() {
        for body in [
            r#"{"__type":"AccessDeniedException","Message":"User: x"}"#,
            r#"{"__type":"com.amazonaws.secretsmanager#AccessDeniedException"}"#,
            r#"{"code":"AccessDeniedException"}"#,
            "<ErrorResponse><Errors><Error><Code>AccessDenied</Code><Message>x</Message></Error></Errors></ErrorResponse>",
        ] {
            assert_eq!(read(None, body), Some(Refusal::Denied), "{body}");
        }
        let header = "ThrottlingException:http://internal.amazon.com/coral/";
        assert_eq!(read(Some(header), "{}"), Some(Refusal::Throttled));
        for body in ["", "{", "{}", "<html>", r#"{"__type": 3}"#, "<Code>", "<Code>s3cr3t</Code>"] {
            assert_eq!(read(None, body), None, "{body}");
        }
    }

    #[test]
    fn a_clock_that_is_wrong_is_the_reason() {
        let at = Timestamp::from_second(1_000_000).expect("a time");
        let skew = |seconds: i64| skew(Some(at), (1_000_000 + seconds) * 1000);
        assert_eq!((skew(0), skew(230), skew(-230)), (None, None, None));
        assert_eq!(skew(600).map(|it| it.as_mins()), Some(10));
        assert_eq!(skew(-600).map(|it| it.as_mins()), Some(-10));
        assert_eq!(Refusal::Signature.with_clocks(skew(600)), Refusal::Clock);
        assert_eq!(Refusal::UnknownKey.with_clocks(skew(600)), Refusal::UnknownKey);
        assert_eq!(Refusal::Signature.with_clocks(skew(0)), Refusal::Signature);
    }
}
