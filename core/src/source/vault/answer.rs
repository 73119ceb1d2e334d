//! What the server's answers mean.

use std::time::Duration;

use jiff::Timestamp;

use super::Vault;
use crate::{
    clock::Clock,
    error::{Error, ErrorKind},
    source::{
        store_client::Answer,
        wire::{Value, read_answer, time},
    },
};

/// A life that is longer is none that anybody waits for.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

impl Vault {
    /// The JSON of an answer that grants what was asked for.
    pub(super) fn value(&self, answer: &Answer) -> Result<Value, Error> {
        self.client.value(answer)
    }

    /// What it means that the server did not give this. `what` is in the words of a path.
    pub(super) fn refusal(&self, answer: &Answer, what: &str) -> Error {
        let error = |kind, words: &str| self.client.error(kind, answer, words);
        match answer.status.as_u16() {
            400 if says(answer, "unknown role") => {
                error(ErrorKind::UnknownSet, &format!("knows no role {what}: check its name"))
            }
            400 => error(
                ErrorKind::Malformed,
                &format!("cannot be asked for {what} so: check the mount and the path"),
            ),
            403 => error(
                ErrorKind::Forbidden,
                &format!(
                    "accepts this log-in and does not let it read {what}: have a policy allow that"
                ),
            ),
            404 | 405 => error(
                ErrorKind::UnknownSet,
                &format!("knows no {what}: check the mount, the path and the namespace"),
            ),
            412 => error(ErrorKind::Unavailable, "is behind the others: it is asked again"),
            503 if says(answer, "sealed") => error(
                ErrorKind::Unavailable,
                "is sealed: it is asked again, and answers when somebody has unsealed it",
            ),
            _ => self.client.refusal(answer),
        }
    }

    pub(super) fn malformed(&self, what: &str) -> Error {
        let what = format!("Vault at {} {what}", self.client.origin());
        Error::new(ErrorKind::Malformed, what)
    }
}

/// Whether an answer's errors have this in them. They are never passed on.
pub(super) fn says(answer: &Answer, words: &str) -> bool {
    let Ok(value) = read_answer(&answer.body) else { return false };
    let has = |error: &Value| matches!(error, Value::Text(text) if text.contains(words));
    matches!(value.at("/errors"), Some(Value::List(errors)) if errors.iter().any(has))
}

/// When it was given: by the server's clock or, without one, by this machine's.
pub(super) fn time_of(answer: &Answer) -> Timestamp {
    let now = || Timestamp::from_millisecond(Clock::system().now().wall).unwrap_or_default();
    answer.head.date.unwrap_or_else(now)
}

/// The text that stands there, unless it is empty.
pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    match value.at(pointer) {
        Some(Value::Text(text)) if !text.trim().is_empty() => Some(text.trim()),
        _ => None,
    }
}

pub(super) fn whole(value: &Value, pointer: &str) -> Option<u64> {
    match value.at(pointer) {
        Some(Value::Whole(number)) => Some(*number),
        _ => None,
    }
}

/// The `data` of an answer, without these fields.
pub(super) fn data_of(answer: Value, without: &[&str]) -> Option<Value> {
    let Value::Object(fields) = answer else { return None };
    let (_, data) = fields.into_iter().find(|(name, _)| &**name == "data")?;
    let Value::Object(mut fields) = data else { return None };
    fields.retain(|(name, _)| !without.contains(&&**name));
    Some(Value::Object(fields))
}

/// A time that is one, and not a way to say that there is none.
pub(super) fn instant(value: &Value, pointer: &str) -> Option<Timestamp> {
    value.at(pointer).and_then(time).flatten()
}

/// So many seconds. None if nothing stands there, or none at all: what lives for no time has no end.
pub(super) fn seconds(value: &Value, pointer: &str) -> Option<Duration> {
    let seconds = whole(value, pointer).filter(|it| *it > 0)?;
    Some(Duration::from_secs(seconds).min(LONGEST))
}
