//! What a scheme adds to a request.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_LENGTH};
use url::{Url, form_urlencoded};

use super::{header_name, header_value};
use crate::{credential::Credential, error::Error, secret::Secret};

/// What a scheme adds to a request. It prints the names of what it adds, never the values.
#[derive(Clone, Default)]
pub struct Patch {
    headers: Vec<(Name, HeaderValue)>,
    query: Vec<Parameter>,
    body: Option<Bytes>,
}

#[derive(Clone)]
struct Parameter {
    name: Box<str>,
    value: Secret,
    /// Whether it may be seen: a time, say.
    is_plain: bool,
}

impl Patch {
    /// Sets a header. The value is marked as sensitive.
    ///
    /// # Errors
    /// [`ErrorKind::SchemeFailed`](crate::ErrorKind::SchemeFailed) if the value is not visible ASCII without spaces around it.
    pub fn add_header(
        &mut self,
        name: HeaderName,
        value: &str,
        credential: &Credential,
    ) -> Result<(), Error> {
        self.add(Name { plain: name, spelled: None }, value, credential)
    }

    /// The same for a name as it is to be spelled on HTTP/1.1, by libraries that can.
    ///
    /// # Errors
    /// As [`add_header`](Self::add_header), and if it is not the name of a header.
    #[cfg(feature = "host")]
    pub fn add_spelled_header(
        &mut self,
        name: &str,
        value: &str,
        credential: &Credential,
    ) -> Result<(), Error> {
        let plain = name.parse().map_err(|_| super::refused("not the name of a header".into()))?;
        self.add(Name::spelled_as(plain, name), value, credential)
    }

    /// Sets a header that is no secret, such as a time or a version: a redirect may repeat it.
    ///
    /// # Errors
    /// [`ErrorKind::SchemeFailed`](crate::ErrorKind::SchemeFailed) as [`add_header`](Self::add_header).
    pub fn add_plain_header(
        &mut self,
        name: HeaderName,
        value: &str,
        credential: &Credential,
    ) -> Result<(), Error> {
        let mut value = header_value(&name, value.to_owned(), credential)?;
        value.set_sensitive(false);
        self.put(Name { plain: name, spelled: None }, value);
        Ok(())
    }

    fn add(&mut self, name: Name, value: &str, credential: &Credential) -> Result<(), Error> {
        let value = header_value(&name.plain, value.to_owned(), credential)?;
        self.put(name, value);
        Ok(())
    }

    pub(super) fn put(&mut self, name: Name, value: HeaderValue) {
        // Most schemes set one.
        self.headers.reserve_exact(1);
        self.headers.push((name, value));
    }

    /// Sets a query parameter.
    pub fn add_query(&mut self, name: &str, value: &str) {
        self.query.push(Parameter { name: name.into(), value: value.into(), is_plain: false });
    }

    /// Sets a query parameter that is no secret, such as a time: a redirect may repeat it.
    pub fn add_plain_query(&mut self, name: &str, value: &str) {
        self.query.push(Parameter { name: name.into(), value: value.into(), is_plain: true });
    }

    /// Sends this body in place of the caller's: for APIs whose nonce stands in the body that is signed.
    pub fn set_body(&mut self, body: impl Into<Bytes>) {
        self.body = Some(body.into());
    }

    /// The body to send in place of the caller's.
    pub fn body(&self) -> Option<&Bytes> {
        self.body.as_ref()
    }

    /// Whether it adds nothing.
    pub fn is_empty(&self) -> bool {
        self.headers.is_empty() && self.query.is_empty() && self.body.is_none()
    }

    /// The headers it sets.
    pub fn headers(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.headers.iter().map(|(name, value)| (&name.plain, value))
    }

    /// The headers it sets, their names as the program or the set spells them: some servers of HTTP/1.1 care.
    #[cfg(feature = "host")]
    pub fn spelled_headers(&self) -> impl Iterator<Item = (&str, &HeaderValue)> {
        self.headers
            .iter()
            .map(|(name, value)| (name.spelled.as_deref().unwrap_or(name.plain.as_str()), value))
    }

    /// What must stand nowhere but in the request: the secret values it adds, those of headers without the
    /// name of their scheme.
    pub(crate) fn values(&self) -> impl Iterator<Item = &[u8]> {
        let headers = self.headers.iter().map(|(_, value)| value);
        let headers = headers.filter(|value| value.is_sensitive()).map(|value| {
            let value = value.as_bytes();
            value.rsplit(|byte| *byte == b' ').next().unwrap_or(value)
        });
        let query = self.query.iter().filter(|parameter| !parameter.is_plain);
        headers.chain(query.map(|parameter| parameter.value.reveal().as_bytes()))
    }

    /// Puts the headers on a request, in place of any of the same name. With another body, a length that the
    /// caller gave becomes that body's.
    pub fn apply_headers(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.headers {
            headers.insert(name.plain.clone(), value.clone());
        }
        if let Some(body) = &self.body
            && let Some(length) = headers.get_mut(CONTENT_LENGTH)
        {
            *length = body.len().into();
        }
    }

    /// Puts the query parameters at the end of a URL, in place of any of the same name. All other bytes of
    /// the URL stay as they are.
    pub fn apply_query(&self, url: &mut Url) {
        if self.query.is_empty() {
            return;
        }
        self.remove_query(url);
        let mut query = url.query().unwrap_or("").to_owned();
        for Parameter { name, value, .. } in &self.query {
            if !query.is_empty() {
                query.push('&');
            }
            query.extend(form_urlencoded::byte_serialize(name.as_bytes()));
            query.push('=');
            query.extend(form_urlencoded::byte_serialize(value.reveal().as_bytes()));
        }
        url.set_query(Some(&query));
    }

    /// Takes query parameters of these names off a URL: a server may have copied them into a redirect. All
    /// other bytes of the URL stay as they are.
    pub fn remove_query(&self, url: &mut Url) {
        let mine = |name: &str| self.query.iter().any(|parameter| *parameter.name == *name);
        let name = |pair: &str| {
            form_urlencoded::parse(pair.as_bytes()).next().is_some_and(|(name, _)| mine(&name))
        };
        let Some(query) = url.query().filter(|query| query.split('&').any(name)) else { return };
        let kept: Vec<_> = query.split('&').filter(|pair| !name(pair)).collect();
        let kept = kept.join("&");
        url.set_query(Some(&*kept).filter(|kept| !kept.is_empty()));
    }
}

impl fmt::Debug for Patch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers = self.headers.iter().map(|(name, _)| name.plain.as_str());
        let query = self.query.iter().map(|parameter| &*parameter.name);
        f.debug_list()
            .entries(headers.chain(query))
            .entries(self.body.iter().map(|_| "body"))
            .finish()
    }
}

/// The name of a header, which `http` knows in lower case alone.
#[derive(Clone, Debug)]
pub(super) struct Name {
    pub(super) plain: HeaderName,
    /// As the program or the set has it, where that is another spelling.
    #[cfg_attr(
        not(feature = "host"),
        expect(dead_code, reason = "HTTP libraries for Rust take none")
    )]
    spelled: Option<Arc<str>>,
}

impl Name {
    pub(super) fn new(name: &str) -> Result<Self, Error> {
        Ok(Self::spelled_as(header_name(name)?, name))
    }

    pub(super) fn spelled_as(plain: HeaderName, spelled: &str) -> Self {
        let spelled = (plain.as_str() != spelled).then(|| spelled.into());
        Self { plain, spelled }
    }
}
