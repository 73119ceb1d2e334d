//! What an answer's headers say of time.

use std::time::Duration;

use http::header::{self, HeaderMap};

use jiff::Timestamp;

use super::calendar::http_date;

/// When an answer was made, by its server's clock.
pub(crate) fn date(headers: &HeaderMap) -> Option<Timestamp> {
    http_date(headers.get(header::DATE)?.to_str().ok()?)
}

/// How long an answer asks to be left alone: in seconds, or until a date. A date is counted from the
/// answer's own, so that this machine's clock does not matter.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let asked = text(header::RETRY_AFTER)?.trim();
    if let Ok(seconds) = asked.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let wait = http_date(asked)?.duration_since(date(headers)?);
    Some(wait.try_into().unwrap_or(Duration::ZERO))
}
