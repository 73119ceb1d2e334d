//! What an answer's headers say of time.

use std::time::Duration;

use http::header::{self, HeaderMap};
use jiff::{Timestamp, fmt::rfc2822::DateTimeParser};

/// How long an answer asks to be left alone: in seconds, or until a date. A date is counted from the
/// answer's own, so that this machine's clock does not matter.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let asked = text(header::RETRY_AFTER)?.trim();
    if let Ok(seconds) = asked.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let wait = date(asked)?.duration_since(date(text(header::DATE)?)?);
    Some(wait.try_into().unwrap_or(Duration::ZERO))
}

/// A date as HTTP writes it.
pub(crate) fn date(text: &str) -> Option<Timestamp> {
    DateTimeParser::new().relaxed_weekday(true).parse_timestamp(text).ok()
}
