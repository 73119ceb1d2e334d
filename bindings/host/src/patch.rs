//! What goes onto a request, and what a redirect makes of it.

use std::{fmt, sync::Arc};

use http::HeaderMap;
use keyswap::{
    Error,
    redirect::{self, Asked},
};

use crate::text::{method_of, pairs_of, raw_headers, status_of, url_of};

/// What to add to a request. It prints the names of what it adds, never the values.
#[derive(Clone, Default)]
pub struct Patch(Arc<keyswap::Patch>);

impl Patch {
    pub(crate) fn new(patch: keyswap::Patch) -> Self {
        Self(Arc::new(patch))
    }

    pub(crate) fn core(&self) -> &keyswap::Patch {
        &self.0
    }

    /// Headers in the raw form: a name as it is to be spelled on HTTP/1.1, its value, and so on, in the clear.
    pub fn reveal(&self) -> Vec<String> {
        raw_headers(self.0.spelled_headers())
    }

    /// The same as pairs.
    pub fn reveal_pairs(&self) -> Vec<(String, String)> {
        pairs_of(self.0.spelled_headers())
    }

    /// The names of its headers, in lower case.
    pub fn names(&self) -> Vec<String> {
        self.0.headers().map(|(name, _)| name.as_str().to_owned()).collect()
    }

    /// Whether it adds nothing, as for an origin that is not allowed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it sets parameters of the query.
    pub fn has_query(&self) -> bool {
        let bare = "http://localhost/";
        self.reveal_url(bare).is_ok_and(|url| url != bare)
    }

    /// The URL with the parameters of the query that it sets, in the clear; the same text if it sets none.
    ///
    /// # Errors
    /// `invalid_config` if it is not a whole URL.
    pub fn reveal_url(&self, url: &str) -> Result<String, Error> {
        let mut parsed = url_of(url)?;
        let before = parsed.clone();
        self.0.apply_query(&mut parsed);
        Ok(if parsed == before { url.to_owned() } else { parsed.into() })
    }

    /// Puts its headers on others, in place of any of the same name.
    pub fn apply_headers(&self, headers: &mut HeaderMap) {
        self.0.apply_headers(headers);
    }

    /// Where a response leads whose request carried this; none if it is the answer. `replayable` says whether the
    /// body, if there was one, can be sent again.
    ///
    /// # Errors
    /// `invalid_config` if these are no method, no whole URL and no status.
    pub fn follow(
        &self,
        method: &str,
        url: &str,
        replayable: bool,
        status: u32,
        location: &str,
    ) -> Result<Option<NextHop>, Error> {
        let (method, url, status) = (method_of(method)?, url_of(url)?, status_of(status)?);
        let asked = Asked::new(&method, &url, &self.0, replayable);
        Ok(asked.follow(status, location).map(|next| NextHop {
            method: next.method.to_string(),
            url: next.url.into(),
            drops_body: next.drops_body,
            drops: next.drops.iter().map(|name| name.as_str().to_owned()).collect(),
        }))
    }

    /// A `Location` that holds what this put on the request to this URL, as it may be seen; none if it may be seen as
    /// it is.
    ///
    /// # Errors
    /// `invalid_config` if it is not a whole URL.
    pub fn masked(&self, url: &str, location: &str) -> Result<Option<String>, Error> {
        Ok(redirect::masked(&url_of(url)?, &self.0, location))
    }
}

impl fmt::Debug for Patch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The hop that a redirect asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// Its method.
    pub method: String,
    /// Where it goes.
    pub url: String,
    /// Whether the body stays behind.
    pub drops_body: bool,
    /// The headers that stay behind, in lower case.
    pub drops: Vec<String>,
}
