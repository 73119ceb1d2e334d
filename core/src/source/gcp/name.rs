//! The name of a secret, as Google's consoles and tools write it.

use crate::error::{Error, ErrorKind};

/// `projects/P/secrets/S`, `projects/P/locations/L/secrets/S`, either with `/versions/V`.
#[derive(Clone)]
pub(super) struct SecretName {
    /// What stands before `/versions`.
    pub(super) secret: Box<str>,
    pub(super) location: Option<Box<str>>,
    pub(super) version: Which,
}

/// Which version is current.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Which {
    /// The newest that is enabled.
    Newest,
    /// The one of this alias or number.
    Named(Box<str>),
}

impl SecretName {
    pub(super) fn parse(name: &str) -> Result<Self, Error> {
        let parts: Vec<_> = name.trim().trim_matches('/').split('/').collect();
        let (secret, version) = match parts.as_slice() {
            [secret @ .., "versions", version] => (secret, Which::parse(version)),
            secret => (secret, Some(Which::Newest)),
        };
        let location = match secret {
            ["projects", _, "secrets", _] => None,
            ["projects", _, "locations", location, "secrets", _] => Some((*location).into()),
            _ => return Err(invalid()),
        };
        let is_place = |part: &str| part.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-');
        match version {
            // The project of an old organisation may be written with its domain in front.
            Some(version)
                if secret.iter().all(|part| is_word(&part.replace([':', '.'], "-")))
                    && location.as_deref().is_none_or(is_place) =>
            {
                Ok(Self { secret: secret.join("/").into(), location, version })
            }
            _ => Err(invalid()),
        }
    }

    /// Where it is, unless the program says otherwise.
    pub(super) fn endpoint(&self) -> String {
        match &self.location {
            Some(location) => format!("https://secretmanager.{location}.rep.googleapis.com"),
            None => "https://secretmanager.googleapis.com".into(),
        }
    }
}

impl Which {
    pub(super) fn parse(version: &str) -> Option<Self> {
        match version {
            "latest" => Some(Self::Newest),
            other => is_word(other).then(|| Self::Named(other.into())),
        }
    }
}

fn is_word(part: &str) -> bool {
    (1..=255).contains(&part.len())
        && part.bytes().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_'))
}

fn invalid() -> Error {
    let what = "the name of a secret must look like projects/my-project/secrets/trading, as its console page shows it";
    Error::new(ErrorKind::InvalidConfig, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_google_writes_them() {
        let name = SecretName::parse("projects/p/secrets/trading").expect("a name");
        assert_eq!(
            (&*name.secret, name.version.clone()),
            ("projects/p/secrets/trading", Which::Newest)
        );
        assert_eq!(name.endpoint(), "https://secretmanager.googleapis.com");
        let regional =
            "projects/example.com:p/locations/europe-west3/secrets/trading/versions/prod";
        let regional = SecretName::parse(regional).expect("a name");
        assert_eq!(
            &*regional.secret,
            "projects/example.com:p/locations/europe-west3/secrets/trading"
        );
        assert_eq!(regional.version, Which::Named("prod".into()));
        assert_eq!(regional.endpoint(), "https://secretmanager.europe-west3.rep.googleapis.com");
        let latest = SecretName::parse("projects/p/secrets/trading/versions/latest");
        assert_eq!(latest.expect("a name").version, Which::Newest);
        for odd in [
            "",
            "trading",
            "projects/p/secrets/",
            "projects/p/secrets/a b",
            "projects/p/secrets/a/versions/",
            "projects/p/secrets/../x",
            "projects/p/locations/a.example.com#/secrets/x",
            "projects/p/secrets/a/versions/1:destroy",
        ] {
            assert!(SecretName::parse(odd).is_err(), "{odd}");
        }
    }
}
