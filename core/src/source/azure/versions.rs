//! What Key Vault says of versions. Pure.

use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::source::wire::{Value, time};

/// A version, and when it may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) id: Box<str>,
    pub(super) is_enabled: bool,
    pub(super) created: Option<Timestamp>,
    pub(super) updated: Option<Timestamp>,
    pub(super) not_before: Option<Timestamp>,
    pub(super) expires: Option<Timestamp>,
}

/// What one version holds.
pub(super) struct Bundle {
    pub(super) version: Version,
    pub(super) text: Zeroizing<String>,
}

impl Version {
    /// The version of this secret in an object of a list, or in an answer.
    fn read(value: &Value, name: &str) -> Result<Self, &'static str> {
        let id = text(value, "/id").and_then(|id| version_of(id, name));
        let id = id.ok_or("the id of each version must be the URL of one of this secret")?;
        let time = |pointer| value.at(pointer).and_then(time).flatten();
        Ok(Self {
            id: id.into(),
            is_enabled: !matches!(value.at("/attributes/enabled"), Some(Value::Bool(false))),
            created: time("/attributes/created"),
            updated: time("/attributes/updated"),
            not_before: time("/attributes/nbf"),
            expires: time("/attributes/exp"),
        })
    }

    /// What a condition remembers of it: whatever its credential is made of.
    fn mark(&self) -> String {
        let seconds = |time: Option<Timestamp>| {
            time.map_or_else(String::new, |it| it.as_second().to_string())
        };
        format!("{}@{}-{}", self.id, seconds(self.not_before), seconds(self.expires))
    }
}

impl Bundle {
    pub(super) fn read(value: &Value, name: &str) -> Result<Self, &'static str> {
        let version = Version::read(value, name)?;
        let text = text(value, "/value").ok_or("value must be a string")?;
        Ok(Self { version, text: Zeroizing::new(text.to_owned()) })
    }
}

/// A page of the list, and where the next one is.
pub(super) fn page<'a>(
    page: &'a Value,
    name: &str,
) -> Result<(Vec<Version>, Option<&'a str>), &'static str> {
    let versions = match page.at("/value") {
        None => Vec::new(),
        Some(Value::List(versions)) => {
            versions.iter().map(|version| Version::read(version, name)).collect::<Result<_, _>>()?
        }
        Some(_) => return Err("value must be a list"),
    };
    Ok((versions, text(page, "/nextLink").filter(|link| !link.is_empty())))
}

/// Which versions are wanted.
pub(super) struct Wanted {
    /// The current one, and the one to fall back to.
    pub(super) usable: Vec<Version>,
    /// When the next one begins that is enabled and waits for its time.
    pub(super) next: Option<Timestamp>,
}

impl Wanted {
    pub(super) fn of(mut versions: Vec<Version>, now: Timestamp) -> Self {
        versions.retain(|it| it.is_enabled && it.expires.is_none_or(|end| end > now));
        // A list is in no order of time.
        versions.sort_by(|a, b| (b.created, b.updated).cmp(&(a.created, a.updated)));
        let begins = |it: &Version| it.not_before.filter(|begin| *begin > now);
        let next = versions.iter().filter_map(begins).min();
        versions.retain(|it| begins(it).is_none());
        versions.truncate(2);
        Self { usable: versions, next }
    }

    /// What says that nothing changed. What a version holds never does.
    pub(super) fn validator(&self) -> String {
        let mut marks: Vec<_> = self.usable.iter().map(Version::mark).collect();
        marks.extend(self.next.map(|next| next.as_second().to_string()));
        marks.join(",")
    }
}

pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    match value.at(pointer) {
        Some(Value::Text(text)) => Some(text.as_str()),
        _ => None,
    }
}

/// The last part of `https://v.vault.azure.net/secrets/NAME/VERSION`. Names are compared as vaults do it.
fn version_of<'a>(id: &'a str, name: &str) -> Option<&'a str> {
    let (rest, version) = id.rsplit_once('/')?;
    let named = rest.rsplit('/').next()?;
    let is_version = (1..=128).contains(&version.len())
        && version.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-');
    (named.eq_ignore_ascii_case(name) && is_version).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::wire::read;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn version(id: &str, created: i64) -> Version {
        Version {
            id: id.into(),
            is_enabled: true,
            created: Some(at(created)),
            updated: None,
            not_before: None,
            expires: None,
        }
    }

    fn ids(wanted: &Wanted) -> Vec<&str> {
        wanted.usable.iter().map(|it| &*it.id).collect()
    }

    #[test]
    fn the_newest_is_wanted_that_is_enabled_and_in_its_time() {
        let versions = || vec![version("b", 2), version("d", 4), version("a", 1), version("c", 3)];
        assert_eq!(ids(&Wanted::of(versions(), at(100))), ["d", "c"]);
        let mut some = versions();
        some[1].is_enabled = false;
        some[3].expires = Some(at(100));
        assert_eq!(ids(&Wanted::of(some, at(100))), ["b", "a"]);
        let mut later = versions();
        later[1].not_before = Some(at(101));
        let waits = Wanted::of(later.clone(), at(100));
        assert_eq!((ids(&waits), waits.next), (vec!["c", "b"], Some(at(101))));
        let begun = Wanted::of(later, at(101));
        assert_eq!((ids(&begun), begun.next), (vec!["d", "c"], None));
        assert_ne!(begun.validator(), waits.validator());
        assert!(Wanted::of(Vec::new(), at(1)).usable.is_empty());
    }

    #[test]
    fn a_validator_holds_whatever_a_credential_is_made_of() {
        let one = |change: fn(&mut Version)| {
            let mut version = version("a", 1);
            change(&mut version);
            Wanted::of(vec![version], at(5)).validator()
        };
        assert_eq!(one(|_| ()), "a@-");
        assert_eq!(one(|it| it.expires = Some(at(9))), "a@-9");
        assert_eq!(one(|it| it.not_before = Some(at(3))), "a@3-");
    }

    #[test]
    fn pages_are_read() {
        let value = |text: &str| read(text.as_bytes()).expect("JSON");
        let json = value(
            r#"{"value": [
                {"id": "https://v.vault.azure.net/secrets/Trading/0a1b", "attributes": {"enabled": true, "created": 7, "exp": 9}},
                {"id": "https://v.vault.azure.net/secrets/trading/ff", "attributes": {"enabled": false}}
            ], "nextLink": "https://v.vault.azure.net/next"}"#,
        );
        let (versions, next) = page(&json, "trading").expect("a page");
        assert_eq!(next, Some("https://v.vault.azure.net/next"));
        assert_eq!((&*versions[0].id, versions[0].expires), ("0a1b", Some(at(9))));
        assert!(versions[0].is_enabled && !versions[1].is_enabled);
        assert_eq!(page(&value(r#"{"value": null, "nextLink": null}"#), "x"), Ok((vec![], None)));
        for odd in [
            r#"{"value": 1}"#,
            r#"{"value": [{}]}"#,
            r#"{"value": [{"id": "https://v/secrets/other/1"}]}"#,
            r#"{"value": [{"id": "https://v/secrets/trading/a b"}]}"#,
        ] {
            assert!(page(&value(odd), "trading").is_err(), "{odd}");
        }
    }
}
