//! The counts that must come out of a story.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What is expected, by key.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(try_from = "BTreeMap<String, Value>")]
pub struct Expect(BTreeMap<String, Expected>);

/// What is expected of one key.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Expected {
    /// Exactly this number.
    Number(i64),
    /// Exactly this string.
    Text(String),
    /// A number from `min` to `max`, both included; either may be open.
    Range {
        /// At least this.
        #[serde(skip_serializing_if = "Option::is_none")]
        min: Option<i64>,
        /// At most this.
        #[serde(skip_serializing_if = "Option::is_none")]
        max: Option<i64>,
    },
}

/// A count that came out otherwise.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mismatch {
    /// What was counted.
    pub key: String,
    /// What must come out.
    pub expected: Expected,
    /// What did; null for a text that nobody gave.
    pub actual: Value,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, got {}", self.key, self.expected, self.actual)
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Range { min: Some(min), max: Some(max) } => write!(f, "{min} to {max}"),
            Self::Range { min: Some(min), max: None } => write!(f, "at least {min}"),
            Self::Range { min: None, max: Some(max) } => write!(f, "at most {max}"),
            Self::Range { min: None, max: None } => write!(f, "any number"),
        }
    }
}

impl Expect {
    /// What is expected, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Expected)> {
        self.0.iter().map(|(key, expected)| (key.as_str(), expected))
    }

    pub(super) fn check(&self, counted: &BTreeMap<String, Value>) -> Vec<Mismatch> {
        self.iter()
            .filter_map(|(key, expected)| {
                let actual = actual(counted, key, expected);
                let (key, expected) = (key.to_owned(), expected.clone());
                (!expected.holds(&actual)).then_some(Mismatch { key, expected, actual })
            })
            .collect()
    }
}

fn actual(counted: &BTreeMap<String, Value>, key: &str, expected: &Expected) -> Value {
    if let Some(value) = counted.get(key) {
        return value.clone();
    }
    if key == "api.extra" {
        let count = |key| counted.get(key).and_then(Value::as_i64).unwrap_or(0);
        return Value::from(count("api.sends") - count("requests"));
    }
    match expected {
        Expected::Text(_) => Value::Null,
        Expected::Number(_) | Expected::Range { .. } => Value::from(0),
    }
}

impl Expected {
    fn holds(&self, actual: &Value) -> bool {
        match self {
            Self::Number(number) => actual.as_i64() == Some(*number),
            Self::Text(text) => actual.as_str() == Some(text),
            Self::Range { min, max } => actual.as_i64().is_some_and(|actual| {
                min.is_none_or(|min| actual >= min) && max.is_none_or(|max| actual <= max)
            }),
        }
    }
}

impl TryFrom<BTreeMap<String, Value>> for Expect {
    type Error = String;

    fn try_from(map: BTreeMap<String, Value>) -> Result<Self, String> {
        let entry = |(key, value): (String, Value)| {
            if !known(&key) {
                return Err(format!("nobody counts `{key}`"));
            }
            let expected = Expected::try_from(value).map_err(|why| format!("`{key}`: {why}"))?;
            Ok((key, expected))
        };
        map.into_iter().map(entry).collect::<Result<_, _>>().map(Self)
    }
}

impl TryFrom<Value> for Expected {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Range {
            min: Option<i64>,
            max: Option<i64>,
        }
        match value {
            Value::String(text) => Ok(Self::Text(text)),
            Value::Object(_) => {
                let Range { min, max } =
                    serde_json::from_value(value).map_err(|error| error.to_string())?;
                match (min, max) {
                    (None, None) => Err("a range needs `min` or `max`".to_owned()),
                    (Some(min), Some(max)) if min > max => Err("`min` is above `max`".to_owned()),
                    _ => Ok(Self::Range { min, max }),
                }
            }
            other => other.as_i64().map(Self::Number).ok_or_else(|| {
                format!("{other} is neither a whole number, a string nor {{min, max}}")
            }),
        }
    }
}

/// Whether a key is one of the format's, so that a slip of the pen does not count as 0.
fn known(key: &str) -> bool {
    const KEYS: [&str; 19] = [
        "requests",
        "failed",
        "cancelled",
        "in_use",
        "generation",
        "fetch.changed",
        "fetch.not_modified",
        "fetch.failed",
        "fetch.started",
        "api.sends",
        "api.accepted",
        "api.rejected",
        "api.extra",
        "leaks",
        "push.connects",
        "push.events",
        "wait.started",
        "acks.accepted",
        "acks.refused",
    ];
    const FAMILIES: [&str; 6] =
        ["error.", "status.", "event.", "api.with.", "api.path.", "fetch.region."];
    let member = |family: &str| key.strip_prefix(family).is_some_and(|rest| !rest.is_empty());
    KEYS.contains(&key) || FAMILIES.iter().any(|family| member(family))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expect: &str, counted: &str) -> Vec<String> {
        let expect: Expect = serde_json::from_str(expect).expect(expect);
        let counted = serde_json::from_str(counted).expect(counted);
        expect.check(&counted).iter().map(Mismatch::to_string).collect()
    }

    #[test]
    fn numbers_strings_and_ranges_are_compared() {
        let none: [&str; 0] = [];
        assert_eq!(check(r#"{"failed": 0, "in_use": "k2"}"#, r#"{"in_use": "k2"}"#), none);
        assert_eq!(check(r#"{"failed": 0}"#, r#"{"failed": 1}"#), ["failed: expected 0, got 1"]);
        assert_eq!(check(r#"{"in_use": "k2"}"#, "{}"), [r#"in_use: expected "k2", got null"#]);
        let range = r#"{"api.sends": {"min": 2, "max": 4}}"#;
        assert_eq!(check(range, r#"{"api.sends": 2}"#), none);
        assert_eq!(check(range, r#"{"api.sends": 4}"#), none);
        assert_eq!(check(range, r#"{"api.sends": 5}"#), ["api.sends: expected 2 to 4, got 5"]);
        assert_eq!(check(range, r#"{"api.sends": 1}"#), ["api.sends: expected 2 to 4, got 1"]);
        assert_eq!(check(range, r#"{"api.sends": "3"}"#).len(), 1);
        let least = r#"{"event.swapped": {"min": 1}}"#;
        assert_eq!(check(least, "{}"), ["event.swapped: expected at least 1, got 0"]);
    }

    #[test]
    fn what_is_not_named_is_not_compared() {
        assert!(check(r#"{"failed": 0}"#, r#"{"requests": 3, "leaks": 9}"#).is_empty());
    }

    #[test]
    fn extra_sends_are_worked_out() {
        assert!(check(r#"{"api.extra": 2}"#, r#"{"api.sends": 5, "requests": 3}"#).is_empty());
        assert!(check(r#"{"api.extra": 7}"#, r#"{"api.extra": 7, "api.sends": 5}"#).is_empty());
    }

    #[test]
    fn what_makes_no_sense_is_an_error() {
        let error = |json: &str| serde_json::from_str::<Expect>(json).expect_err(json).to_string();
        assert!(error(r#"{"api.with.": 0}"#).contains("nobody counts `api.with.`"));
        assert!(error(r#"{"failed": 0.5}"#).contains("`failed`: 0.5 is neither"));
        assert!(error(r#"{"failed": {}}"#).contains("needs `min` or `max`"));
        assert!(error(r#"{"failed": {"min": 2, "max": 1}}"#).contains("above"));
        assert!(error(r#"{"failed": {"least": 2}}"#).contains("least"));
    }
}
