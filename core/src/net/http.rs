//! What an answer's headers say of time.

use std::time::Duration;

use http::header::{self, HeaderMap};

use super::calendar::http_date;

/// How long an answer asks to be left alone: in seconds, or until a date. A date is counted from the
/// answer's own, so that this machine's clock does not matter.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let asked = text(header::RETRY_AFTER)?.trim();
    if let Ok(seconds) = asked.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let wait = http_date(asked)?.duration_since(http_date(text(header::DATE)?)?);
    Some(wait.try_into().unwrap_or(Duration::ZERO))
}
