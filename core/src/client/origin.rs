//! Where credentials may go.

use std::sync::Arc;

use url::Url;

use crate::{
    credential::CredentialSet,
    engine::throttle::Throttle,
    error::{Error, ErrorKind},
    net::is_loopback,
};

/// The origins that may be sent credentials.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origins {
    allowed: Vec<Url>,
    plain_http: bool,
}

impl Origins {
    /// Adds the origin of this URL.
    pub(crate) fn allow(&mut self, url: &str) -> Result<Url, Error> {
        let parsed = parse(url)?;
        self.check_transport(&parsed)?;
        if !self.lists(&parsed) {
            self.allowed.push(parsed.clone());
        }
        Ok(parsed)
    }

    pub(crate) fn allow_plain_http(&mut self) {
        self.plain_http = true;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.allowed.is_empty()
    }

    /// Whether credentials may travel in the clear, as they may on this machine.
    #[cfg(feature = "reqwest-middleware")]
    pub(crate) fn has_plain_http(&self) -> bool {
        self.allowed.iter().any(|allowed| allowed.scheme() == "http")
    }

    /// Whether a credential of this set may go to this URL. The set may narrow the program's own list.
    pub(crate) fn admits(&self, url: &Url, set: Option<&CredentialSet>) -> bool {
        self.place(url, set).is_some()
    }

    /// Which of the allowed origins it is, if a credential of this set may go there.
    pub(crate) fn place(&self, url: &Url, set: Option<&CredentialSet>) -> Option<usize> {
        let audience = set.map_or(&[][..], CredentialSet::audience);
        let place = self.allowed.iter().position(|allowed| is_same_origin(allowed, url))?;
        let is_meant = audience.is_empty()
            || audience
                .iter()
                .any(|allowed| Url::parse(allowed).is_ok_and(|one| is_same_origin(&one, url)));
        is_meant.then_some(place)
    }

    /// Nothing held back, for each of the allowed origins.
    pub(crate) fn throttles(&self) -> Arc<[Throttle]> {
        self.allowed.iter().map(|_| Throttle::default()).collect()
    }

    pub(crate) fn lists(&self, url: &Url) -> bool {
        self.allowed.iter().any(|allowed| is_same_origin(allowed, url))
    }

    /// The error of a URL that may not be sent credentials.
    pub(crate) fn refuse(&self, url: &Url) -> Error {
        let origin = url.origin().ascii_serialization();
        let what = match self.lists(url) {
            true => format!("the set's audience does not include {origin}: nothing was sent"),
            false => format!(
                "{origin} is not an allowed origin of this client: nothing was sent; \
                 if these keys may go there, add {origin} to the allowed origins"
            ),
        };
        Error::new(ErrorKind::OriginNotAllowed, what)
    }

    fn check_transport(&self, url: &Url) -> Result<(), Error> {
        match url.scheme() {
            "https" => Ok(()),
            "http" if self.plain_http || is_loopback(url) => Ok(()),
            "http" => Err(Error::new(
                ErrorKind::InsecureUrl,
                format!(
                    "{} is plain http: credentials would be readable on the way; use https, \
                     or .plain_http_allowed() first if you must",
                    url.origin().ascii_serialization()
                ),
            )),
            other => Err(invalid(format!("a URL must begin with https://, not {other}://"))),
        }
    }
}

/// Whether two URLs have the same scheme, host and port: `Url::origin` without its allocations.
pub(crate) fn is_same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme()
        && a.host() == b.host()
        && a.port_or_known_default() == b.port_or_known_default()
}

/// A URL as it may be shown: without user, query and fragment.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.into()
}

/// The same, if the caller wrote it; of a URL that a server wrote only the origin, since it may have put
/// anything into the path.
pub(crate) fn shown_as(url: &Url, written: bool) -> String {
    match written {
        true => shown(url),
        false => url.origin().ascii_serialization(),
    }
}

fn parse(url: &str) -> Result<Url, Error> {
    // The text is not repeated: it may hold a user and a password.
    let parsed = Url::parse(url).map_err(|error| invalid(format!("not a URL: {error}")))?;
    match parsed.has_host() {
        true => Ok(parsed),
        false => Err(invalid("the URL names no host".into())),
    }
}

fn invalid(what: String) -> Error {
    Error::new(ErrorKind::InvalidConfig, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::Credential;

    fn url(text: &str) -> Url {
        text.parse().expect("url")
    }

    #[test]
    fn only_listed_origins_are_admitted() {
        let mut origins = Origins::default();
        origins.allow("https://api.example.com/v1").expect("allowed");
        assert!(origins.admits(&url("https://api.example.com:443/other"), None));
        for other in [
            "https://api.example.com:8443/",
            "http://api.example.com/",
            "https://example.com/",
            "https://api.example.com.evil.test/",
        ] {
            assert!(!origins.admits(&url(other), None), "{other}");
            assert_eq!(origins.refuse(&url(other)).kind(), ErrorKind::OriginNotAllowed);
        }
    }

    #[test]
    fn an_audience_narrows_and_never_widens() {
        let mut origins = Origins::default();
        origins.allow("https://a.example.com").expect("allowed");
        origins.allow("https://b.example.com").expect("allowed");
        let mut set = CredentialSet::new(Credential::new("k1", "x"));
        set.audience = vec!["https://a.example.com".into(), "https://c.example.com".into()];
        assert!(origins.admits(&url("https://a.example.com/x"), Some(&set)));
        assert!(!origins.admits(&url("https://b.example.com/x"), Some(&set)));
        assert!(!origins.admits(&url("https://c.example.com/x"), Some(&set)));
    }

    #[test]
    fn plain_http_is_for_this_machine_only() {
        let mut origins = Origins::default();
        for local in ["http://127.0.0.1:8080", "http://localhost", "http://[::1]:1"] {
            origins.allow(local).expect(local);
        }
        let error = origins.allow("http://api.example.com").expect_err("remote");
        assert_eq!(error.kind(), ErrorKind::InsecureUrl);
        assert!(error.to_string().contains("https"));
        assert_eq!(origins.allow("ftp://x").expect_err("ftp").kind(), ErrorKind::InvalidConfig);
        assert_eq!(origins.allow("nonsense").expect_err("no").kind(), ErrorKind::InvalidConfig);
    }

    #[test]
    fn a_shown_url_has_no_secrets() {
        assert_eq!(shown(&url("https://u:p@h/p?api_key=s#f")), "https://h/p");
        assert_eq!(shown_as(&url("https://u:p@h/p?api_key=s#f"), false), "https://h");
    }
}
