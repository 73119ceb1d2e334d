//! What etcd's JSON gateway answers. Its numbers are strings, and what is zero is left out.

use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};
use zeroize::Zeroizing;

use crate::source::wire::Value;

/// Where a cluster's history is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) cluster: u64,
    pub(super) revision: u64,
}

/// A key as it stands.
pub(super) struct Kept {
    /// The revision at which it began to exist.
    pub(super) created: u64,
    /// The revision of its last change.
    pub(super) modified: u64,
    pub(super) lease: u64,
    pub(super) value: Zeroizing<Vec<u8>>,
}

/// What a question for one key brought: the moment of which it tells, and the key if it was there.
pub(super) fn range(answer: &Value, key: &str) -> Option<(Moment, Option<Kept>)> {
    let moment = moment(answer)?;
    let Some(kept) = answer.at("/kvs/0") else { return Some((moment, None)) };
    if text(kept, "/key")? != key {
        return None;
    }
    let value = BASE64.decode(text(kept, "/value").unwrap_or_default()).map(Zeroizing::new).ok()?;
    let number = |pointer| number(kept, pointer);
    let kept = Kept {
        created: number("/create_revision")?,
        modified: number("/mod_revision").filter(|it| *it > 0)?,
        lease: number("/lease").unwrap_or(0),
        value,
    };
    Some((moment, Some(kept)))
}

/// The moment of any answer.
fn moment(answer: &Value) -> Option<Moment> {
    Some(Moment {
        cluster: number(answer, "/header/cluster_id")?,
        revision: number(answer, "/header/revision")?,
    })
}

/// The seconds that a lease has left: none if it ended.
pub(super) fn seconds_left(answer: &Value) -> Option<u64> {
    match text(answer, "/TTL") {
        Some(left) if left.starts_with('-') => Some(0),
        // What is zero is left out.
        None if answer.at("/header").is_some() && answer.at("/TTL").is_none() => Some(0),
        _ => number(answer, "/TTL"),
    }
}

/// What a line of a watch says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It is open, and begins here.
    Open(Moment),
    /// The key changed so many times.
    Changed(Moment, u32),
    /// Nothing happened until then.
    Alive,
    /// What was asked for is forgotten: it remembers from here.
    Compacted(u64),
    /// Who asks is not logged in.
    Unknown,
    /// It is over, for another reason.
    Closed,
}

/// Reads one.
pub(super) fn heard(line: &Value) -> Heard {
    let Some(result) = line.at("/result") else { return Heard::Closed };
    if is_true(result, "/canceled") {
        if let Some(revision) = number(result, "/compact_revision") {
            return Heard::Compacted(revision);
        }
        let reason = text(result, "/cancel_reason").unwrap_or_default();
        return if is_log_in(reason) { Heard::Unknown } else { Heard::Closed };
    }
    let Some(moment) = moment(result) else { return Heard::Closed };
    match result.at("/events") {
        _ if is_true(result, "/created") => Heard::Open(moment),
        Some(Value::List(events)) if !events.is_empty() => {
            Heard::Changed(moment, u32::try_from(events.len()).unwrap_or(u32::MAX))
        }
        _ => Heard::Alive,
    }
}

/// Why a question was not answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The token ended, or none was shown.
    LogIn,
    /// The user or the password is another one.
    WrongPassword,
    /// Nobody needs to log in.
    NoLogIns,
    /// That revision is forgotten.
    Compacted,
    Other,
}

/// Reads one. The words are etcd's own (`rpctypes`), and the same since 3.0.
pub(super) fn reason(status: u16, answer: Option<&Value>) -> Reason {
    let words = answer.and_then(|it| text(it, "/message").or_else(|| text(it, "/error")));
    let words = words.unwrap_or_default();
    match status {
        _ if words.contains("authentication failed") => Reason::WrongPassword,
        _ if words.contains("authentication is not enabled") => Reason::NoLogIns,
        _ if words.contains("has been compacted") => Reason::Compacted,
        401 => Reason::LogIn,
        _ if is_log_in(words) => Reason::LogIn,
        _ => Reason::Other,
    }
}

fn is_log_in(words: &str) -> bool {
    ["invalid auth token", "user name is empty", "revision of auth store is old"]
        .iter()
        .any(|known| words.contains(known))
}

pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    match value.at(pointer) {
        Some(Value::Text(text)) => Some(text),
        _ => None,
    }
}

fn is_true(value: &Value, pointer: &str) -> bool {
    matches!(value.at(pointer), Some(Value::Bool(true)))
}

fn number(value: &Value, pointer: &str) -> Option<u64> {
    match value.at(pointer) {
        Some(Value::Text(text)) => text.parse().ok(),
        Some(Value::Whole(number)) => Some(*number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::wire::read;

    fn json(text: &str) -> Value {
        read(text.as_bytes()).expect("JSON")
    }

    const HEADER: &str = r#""header": {"cluster_id": "9", "member_id": "3", "revision": "7"}"#;

    #[test]
    fn a_key_is_read_with_its_numbers() {
        let answer = json(&format!(
            r#"{{{HEADER}, "kvs": [{{"key": "L2s=", "create_revision": "2", "mod_revision": "3",
                "version": "2", "lease": "18446744073709551615", "value": "azI="}}], "count": "1"}}"#
        ));
        let (moment, kept) = range(&answer, "L2s=").expect("an answer");
        assert_eq!(moment, Moment { cluster: 9, revision: 7 });
        let kept = kept.expect("a key");
        assert_eq!((kept.created, kept.modified, kept.lease), (2, 3, u64::MAX));
        assert_eq!(&kept.value[..], b"k2");
        assert!(range(&answer, "L3g=").is_none(), "another key");
        let (_, none) = range(&json(&format!("{{{HEADER}}}")), "L2s=").expect("an answer");
        assert!(none.is_none());
        for odd in [
            "{}",
            "[]",
            r#"{"header": {}}"#,
            r#"{"header": {"cluster_id": "9", "revision": "-7"}}"#,
            &format!(r#"{{{HEADER}, "kvs": [{{}}]}}"#),
            &format!(
                r#"{{{HEADER}, "kvs": [{{"key": "L2s=", "create_revision": "2", "mod_revision": "0"}}]}}"#
            ),
            &format!(
                r#"{{{HEADER}, "kvs": [{{"key": "L2s=", "create_revision": "2", "mod_revision": "2", "value": "!"}}]}}"#
            ),
        ] {
            assert!(range(&json(odd), "L2s=").is_none(), "{odd}");
        }
    }

    #[test]
    fn lines_of_a_watch() {
        let line = |fields: &str| heard(&json(&format!(r#"{{"result": {{{HEADER}{fields}}}}}"#)));
        let here = || Moment { cluster: 9, revision: 7 };
        assert_eq!(line(r#", "created": true"#), Heard::Open(here()));
        assert_eq!(line(r#", "events": [{}, {"type": "DELETE"}]"#), Heard::Changed(here(), 2));
        assert_eq!(line(""), Heard::Alive);
        assert_eq!(line(r#", "canceled": true, "compact_revision": "5""#), Heard::Compacted(5));
        let refused = |why: &str| {
            line(&format!(r#", "created": true, "canceled": true, "cancel_reason": "{why}""#))
        };
        assert_eq!(refused("rpc error: etcdserver: invalid auth token"), Heard::Unknown);
        assert_eq!(refused("rpc error: etcdserver: permission denied"), Heard::Closed);
        assert_eq!(heard(&json(r#"{"error": {"grpc_code": 14}}"#)), Heard::Closed);
        assert_eq!(heard(&json(r#"{"result": {"events": [{}]}}"#)), Heard::Closed);
    }

    #[test]
    fn reasons_are_read_from_etcds_own_words() {
        let why = |status, words: &str| {
            reason(status, Some(&json(&format!(r#"{{"error": "{words}", "code": 3}}"#))))
        };
        assert_eq!(why(401, "etcdserver: invalid auth token"), Reason::LogIn);
        assert_eq!(why(400, "etcdserver: user name is empty"), Reason::LogIn);
        assert_eq!(why(400, "etcdserver: revision of auth store is old"), Reason::LogIn);
        let failed = "etcdserver: authentication failed, invalid user ID or password";
        assert_eq!(why(400, failed), Reason::WrongPassword);
        assert_eq!(why(412, "etcdserver: authentication is not enabled"), Reason::NoLogIns);
        let compacted = "etcdserver: mvcc: required revision has been compacted";
        assert_eq!(why(400, compacted), Reason::Compacted);
        assert_eq!(why(403, "etcdserver: permission denied"), Reason::Other);
        assert_eq!((reason(401, None), reason(500, None)), (Reason::LogIn, Reason::Other));
    }

    #[test]
    fn a_lease_that_ended_has_nothing_left() {
        let left = |field: &str| seconds_left(&json(&format!("{{{HEADER}{field}}}")));
        assert_eq!(left(r#", "TTL": "30""#), Some(30));
        assert_eq!((left(r#", "TTL": "-1""#), left("")), (Some(0), Some(0)));
        assert_eq!(left(r#", "TTL": "soon""#), None);
    }
}
