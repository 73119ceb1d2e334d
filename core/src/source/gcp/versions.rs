//! What Secret Manager says of versions. Pure.

use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::crc32c::crc32c;
use crate::source::wire::{Value, time};

/// The most that is sent back of a page token. Usual ones have fewer than 200 characters.
const MAX_PAGE_TOKEN: usize = 1024;

/// A version that is enabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) number: u64,
    pub(super) created: Option<Timestamp>,
}

/// A page of the list.
pub(super) struct Page<'a> {
    pub(super) enabled: Vec<Version>,
    pub(super) next: Option<&'a str>,
}

/// What was read of one version.
pub(super) struct Accessed {
    pub(super) number: u64,
    pub(super) text: Zeroizing<String>,
}

impl<'a> Page<'a> {
    pub(super) fn read(page: &'a Value) -> Result<Self, &'static str> {
        let mut enabled = Vec::new();
        if let Some(versions) = page.at("/versions") {
            let Value::List(versions) = versions else { return Err("versions must be a list") };
            for version in versions {
                let number = text(version, "/name").and_then(number_of);
                let number = number.ok_or("the name of each version must end in its number")?;
                // Not every server heeds the filter.
                if text(version, "/state") == Some("ENABLED") {
                    let created = version.at("/createTime").and_then(time).flatten();
                    enabled.push(Version { number, created });
                }
            }
        }
        let next = text(page, "/nextPageToken").filter(|token| !token.is_empty());
        match next.is_some_and(|token| token.len() > MAX_PAGE_TOKEN) {
            true => Err("nextPageToken must not be longer than 1 KiB"),
            false => Ok(Self { enabled, next }),
        }
    }
}

impl Accessed {
    pub(super) fn read(answer: &Value) -> Result<Self, &'static str> {
        let number = text(answer, "/name").and_then(number_of);
        let number = number.ok_or("its name must end in the number of the version")?;
        // What is empty may be left out.
        let data = text(answer, "/payload/data").unwrap_or_default();
        // One buffer of the full size: one that grows leaves copies behind.
        let mut bytes = Zeroizing::new(vec![0; data.len()]);
        let length = BASE64.decode_slice(data, &mut bytes);
        let length = length.map_err(|_| "payload.data must be base64")?;
        bytes.truncate(length);
        let sum = match answer.at("/payload/dataCrc32c") {
            None => None,
            Some(Value::Whole(sum)) => Some(*sum),
            Some(Value::Text(sum)) => Some(sum.parse().map_err(|_| "dataCrc32c must be a number")?),
            Some(_) => return Err("dataCrc32c must be a number"),
        };
        if sum.is_some_and(|sum| sum != u64::from(crc32c(&bytes))) {
            return Err("what came is not what is stored: the checksum (dataCrc32c) differs");
        }
        let text = str::from_utf8(&bytes).map_err(|_| "what is stored must be text (UTF-8)")?;
        Ok(Self { number, text: Zeroizing::new(text.to_owned()) })
    }
}

/// The versions that are wanted of those that are enabled: the current one, and the one to fall back to.
pub(super) fn wanted(mut enabled: Vec<Version>, named: Option<u64>) -> Vec<Version> {
    enabled.sort_unstable_by_key(|version| std::cmp::Reverse(version.number));
    enabled.dedup_by_key(|version| version.number);
    let head = named.map(|number| {
        let listed = enabled.iter().find(|version| version.number == number);
        listed.copied().unwrap_or(Version { number, created: None })
    });
    enabled.retain(|version| named.is_none_or(|number| version.number < number));
    head.into_iter().chain(enabled).take(2).collect()
}

/// What says that nothing changed: a version never holds anything else, but a secret that was deleted and made anew
/// begins to count at 1 again.
pub(super) fn validator(wanted: &[Version]) -> String {
    let one = |version: &Version| match version.created {
        Some(created) => format!("{}@{}", version.number, created.as_millisecond()),
        None => version.number.to_string(),
    };
    wanted.iter().map(one).collect::<Vec<_>>().join(",")
}

pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    match value.at(pointer) {
        Some(Value::Text(text)) => Some(text.as_str()),
        _ => None,
    }
}

fn number_of(name: &str) -> Option<u64> {
    name.rsplit_once("/versions/")?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::wire::read;

    fn value(text: &str) -> Value {
        read(text.as_bytes()).expect("JSON")
    }

    fn numbers(versions: &[Version]) -> Vec<u64> {
        versions.iter().map(|version| version.number).collect()
    }

    fn version(number: u64) -> Version {
        Version { number, created: None }
    }

    #[test]
    fn only_what_is_enabled_is_listed() {
        let page = value(
            r#"{"versions": [
                {"name": "projects/1/secrets/s/versions/5", "state": "DESTROYED"},
                {"name": "projects/1/secrets/s/versions/4", "state": "DISABLED"},
                {"name": "projects/1/secrets/s/versions/3", "state": "ENABLED", "createTime": "2026-11-27T10:00:00.5Z"},
                {"name": "projects/1/secrets/s/versions/2", "state": "ENABLED"}
            ], "nextPageToken": "more"}"#,
        );
        let page = Page::read(&page).expect("a page");
        assert_eq!((numbers(&page.enabled), page.next), (vec![3, 2], Some("more")));
        assert_eq!(validator(&page.enabled), "3@1795773600500,2");
        assert!(Page::read(&value("{}")).expect("no version").enabled.is_empty());
        for odd in [r#"{"versions": 1}"#, r#"{"versions": [{"name": "x"}]}"#] {
            assert!(Page::read(&value(odd)).is_err(), "{odd}");
        }
    }

    #[test]
    fn the_newest_is_wanted_and_the_one_before() {
        let enabled = || vec![version(2), version(7), version(5), version(7)];
        assert_eq!(numbers(&wanted(enabled(), None)), [7, 5]);
        assert_eq!(numbers(&wanted(enabled(), Some(5))), [5, 2]);
        assert_eq!(
            numbers(&wanted(enabled(), Some(6))),
            [6, 5],
            "an alias may be ahead of the list"
        );
        assert_eq!(numbers(&wanted(Vec::new(), Some(6))), [6]);
        assert!(wanted(Vec::new(), None).is_empty());
    }

    #[test]
    fn what_is_read_is_what_is_stored() {
        let read = |payload: &str| {
            let text =
                format!(r#"{{"name": "projects/1/secrets/s/versions/3", "payload": {payload}}}"#);
            Accessed::read(&value(&text)).map(|it| (it.number, it.text.to_string()))
        };
        let good = Ok((3, "123456789".to_owned()));
        assert_eq!(read(r#"{"data": "MTIzNDU2Nzg5", "dataCrc32c": "3808858755"}"#), good);
        assert_eq!(read(r#"{"data": "MTIzNDU2Nzg5", "dataCrc32c": 3808858755}"#), good);
        assert_eq!(read(r#"{"data": "MTIzNDU2Nzg5"}"#), good, "the field is optional");
        for odd in [
            r#"{"data": "MTIzNDU2Nzg5", "dataCrc32c": "3808858756"}"#,
            r#"{"data": "MTIzNDU2Nzg5", "dataCrc32c": "x"}"#,
            r#"{"data": "!", "dataCrc32c": "1"}"#,
            r#"{"data": "//8="}"#,
        ] {
            assert!(read(odd).is_err(), "{odd}");
        }
    }
}
