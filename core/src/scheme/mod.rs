//! How a credential goes onto a request.
//!
//! A scheme is synchronous and pure: it is given the credential, the request as it will be sent and the
//! time, and says what to add. It is applied again on every send, so a signature always covers exactly
//! what is sent.

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header::AUTHORIZATION};
use jiff::Timestamp;
use url::Url;
use zeroize::Zeroizing;

use crate::{
    credential::{Credential, Form},
    error::{Error, ErrorKind},
};

/// How a credential goes onto a request.
///
/// ```
/// use keyswap::Scheme;
/// let scheme = Scheme::header("x-api-key");   // X-Api-Key: <key>
/// let scheme = Scheme::bearer();              // Authorization: Bearer <key>
/// let scheme = Scheme::basic();               // Authorization: Basic base64(<key>:<secret>)
/// let scheme = Scheme::query("api_key");      // ?api_key=<key>
/// ```
#[derive(Clone, Debug)]
pub struct Scheme(Arc<Kind>);

#[derive(Debug)]
enum Kind {
    Header(Result<Name, Error>),
    Bearer,
    Basic,
    Query(Box<str>),
    Signing(Box<dyn Sign>),
}

impl Scheme {
    /// The material named `key`, as the value of this header. A name that is not a header, or that
    /// belongs to the transport, is reported when the client is built.
    pub fn header(name: impl AsRef<str>) -> Self {
        Self(Arc::new(Kind::Header(Name::new(name.as_ref()))))
    }

    /// `Authorization: Bearer`, with the material named `key`.
    pub fn bearer() -> Self {
        Self(Arc::new(Kind::Bearer))
    }

    /// `Authorization: Basic`, with the material named `key` as user and `secret` as password.
    pub fn basic() -> Self {
        Self(Arc::new(Kind::Basic))
    }

    /// The material named `key`, as this query parameter. It never shows in an error or a URL that
    /// this crate returns; servers and proxies may log it all the same.
    pub fn query(name: impl AsRef<str>) -> Self {
        Self(Arc::new(Kind::Query(name.as_ref().into())))
    }

    /// A request signature, or anything else that is not built in.
    pub fn signing(sign: impl Sign) -> Self {
        Self(Arc::new(Kind::Signing(Box::new(sign))))
    }

    /// The scheme that the set names for this credential: for programs that name none. It may be
    /// `api_key` with a header, `bearer` or `basic`; never a query parameter.
    ///
    /// # Errors
    /// [`ErrorKind::SchemeFailed`] if the set names none, or none that a set may give.
    pub fn named_by(credential: &Credential) -> Result<Self, Error> {
        let id = credential.id();
        let scheme = credential.scheme().ok_or_else(|| {
            refused(format!(
                "neither the program nor {id} names a scheme: pass one, such as bearer"
            ))
        })?;
        // What the set names is not repeated: in a document that mixes up its fields it may be a key.
        match (&*scheme.name, &scheme.header) {
            ("api_key", Some(header)) if !is_for_sets(header) => {
                Err(refused(format!("{id} names a header that must not carry a credential")))
            }
            ("api_key", Some(header)) => Ok(Self::header(header)),
            ("api_key", None) => Ok(Self::header("x-api-key")),
            ("bearer", _) => Ok(Self::bearer()),
            ("basic", _) => Ok(Self::basic()),
            _ => Err(refused(format!("{id} names a scheme that only code can give"))),
        }
    }

    /// Whether it is well-formed.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match &*self.0 {
            Kind::Header(Err(error)) => Err(error.clone()),
            _ => Ok(()),
        }
    }

    /// The one header that it sets, if it is such a scheme.
    pub(crate) fn header_name(&self) -> Option<HeaderName> {
        match &*self.0 {
            Kind::Header(name) => name.as_ref().ok().map(|name| name.plain.clone()),
            Kind::Bearer | Kind::Basic => Some(AUTHORIZATION),
            Kind::Query(_) | Kind::Signing(_) => None,
        }
    }

    /// Whether what it adds depends on the request, so that it cannot be prepared ahead.
    pub fn is_signing(&self) -> bool {
        matches!(&*self.0, Kind::Signing(_))
    }

    /// What a scheme that does not sign adds to any request with this credential.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub fn prepare(&self, credential: &Credential) -> Result<Patch, Error> {
        let mut patch = Patch::default();
        match &*self.0 {
            Kind::Header(Ok(name)) => {
                let value = credential.header_value(Form::Plain, || {
                    header_value(&name.plain, material(credential, "key")?.to_owned(), credential)
                })?;
                patch.put(name.clone(), value);
            }
            Kind::Header(Err(error)) => return Err(error.clone()),
            Kind::Bearer => {
                let value = credential.header_value(Form::Bearer, || {
                    let key = in_header(material(credential, "key")?, &AUTHORIZATION, credential)?;
                    header_value(&AUTHORIZATION, format!("Bearer {key}"), credential)
                })?;
                patch.put(AUTHORIZATION_NAME.clone(), value);
            }
            Kind::Basic => {
                let value = credential.header_value(Form::Basic, || {
                    let user = material(credential, "key")?;
                    let password = credential.reveal("secret").unwrap_or("");
                    let pair = Zeroizing::new(format!("{user}:{password}"));
                    let encoded = Zeroizing::new(BASE64.encode(&*pair));
                    header_value(&AUTHORIZATION, format!("Basic {}", *encoded), credential)
                })?;
                patch.put(AUTHORIZATION_NAME.clone(), value);
            }
            Kind::Query(name) => patch.add_query(name, material(credential, "key")?),
            Kind::Signing(_) => return Err(refused("what signs needs the request".into())),
        }
        Ok(patch)
    }

    /// What to add to this request.
    ///
    /// # Errors
    /// [`ErrorKind::SchemeFailed`] if the credential lacks material, or it cannot stand in a header: that
    /// takes visible ASCII, with no space around it. What a signer returns, if it cannot sign.
    pub fn apply(&self, credential: &Credential, request: &Unsigned<'_>) -> Result<Patch, Error> {
        let Kind::Signing(sign) = &*self.0 else { return self.prepare(credential) };
        let mut patch = Patch::default();
        sign.sign(credential, request, &mut patch)?;
        Ok(patch)
    }
}

/// Signs requests. Implement it for a scheme that is not built in.
pub trait Sign: fmt::Debug + Send + Sync + 'static {
    /// Adds to `patch` what makes `request` authentic: headers, query parameters.
    ///
    /// # Errors
    /// Any error. It counts as a rejection of the credential, and the request goes on with the next one;
    /// if there is none, it fails with this error before anything is sent.
    fn sign(
        &self,
        credential: &Credential,
        request: &Unsigned<'_>,
        patch: &mut Patch,
    ) -> Result<(), Error>;
}

/// A request that is about to be sent, as a signature sees it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Unsigned<'a> {
    /// The method.
    pub method: &'a Method,
    /// The whole URL.
    pub url: &'a Url,
    /// The headers, without those that a patch adds.
    pub headers: &'a HeaderMap,
    /// The bytes of the body; none if there is no body, or if it is a stream.
    pub body: Option<&'a [u8]>,
    /// The time, for signatures that carry one.
    pub now: Timestamp,
}

impl<'a> Unsigned<'a> {
    /// A request as a signature sees it.
    pub fn new(
        method: &'a Method,
        url: &'a Url,
        headers: &'a HeaderMap,
        body: Option<&'a [u8]>,
        now: Timestamp,
    ) -> Self {
        Self { method, url, headers, body, now }
    }
}

/// What a scheme adds to a request. It prints the names of what it adds, never the values.
#[derive(Clone, Default)]
pub struct Patch {
    headers: Vec<(Name, HeaderValue)>,
    query: Vec<(Box<str>, crate::secret::Secret)>,
}

impl Patch {
    /// Sets a header. The value is marked as sensitive.
    ///
    /// # Errors
    /// [`ErrorKind::SchemeFailed`] if the value is not visible ASCII without spaces around it.
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
        let plain = name.parse().map_err(|_| refused("not the name of a header".into()))?;
        self.add(Name::spelled_as(plain, name), value, credential)
    }

    fn add(&mut self, name: Name, value: &str, credential: &Credential) -> Result<(), Error> {
        let value = header_value(&name.plain, value.to_owned(), credential)?;
        self.put(name, value);
        Ok(())
    }

    fn put(&mut self, name: Name, value: HeaderValue) {
        // Most schemes set one.
        self.headers.reserve_exact(1);
        self.headers.push((name, value));
    }

    /// Sets a query parameter.
    pub fn add_query(&mut self, name: &str, value: &str) {
        self.query.push((name.into(), value.into()));
    }

    /// Whether it adds nothing.
    pub fn is_empty(&self) -> bool {
        self.headers.is_empty() && self.query.is_empty()
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

    /// What must stand nowhere but in the request: the values it adds, those of headers without the name of
    /// their scheme.
    pub(crate) fn values(&self) -> impl Iterator<Item = &[u8]> {
        let headers = self.headers.iter().map(|(_, value)| {
            let value = value.as_bytes();
            value.rsplit(|byte| *byte == b' ').next().unwrap_or(value)
        });
        headers.chain(self.query.iter().map(|(_, value)| value.reveal().as_bytes()))
    }

    /// Puts the headers on a request, in place of any of the same name.
    pub fn apply_headers(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.headers {
            headers.insert(name.plain.clone(), value.clone());
        }
    }

    /// Puts the query parameters on a URL, in place of any of the same name.
    pub fn apply_query(&self, url: &mut Url) {
        if self.query.is_empty() {
            return;
        }
        self.remove_query(url);
        let pairs = self.query.iter().map(|(name, value)| (&**name, value.reveal()));
        url.query_pairs_mut().extend_pairs(pairs);
    }

    /// Takes query parameters of these names off a URL: a server may have copied them into a redirect.
    pub fn remove_query(&self, url: &mut Url) {
        let mine = |name: &str| self.query.iter().any(|(known, _)| &**known == name);
        if !url.query_pairs().any(|(name, _)| mine(&name)) {
            return;
        }
        let kept: Vec<(String, String)> = url
            .query_pairs()
            .filter(|(name, _)| !mine(name))
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        url.set_query(None);
        if !kept.is_empty() {
            url.query_pairs_mut().extend_pairs(kept);
        }
    }
}

impl fmt::Debug for Patch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers = self.headers.iter().map(|(name, _)| name.plain.as_str());
        f.debug_list().entries(headers.chain(self.query.iter().map(|(name, _)| &**name))).finish()
    }
}

/// The name of a header, which `http` knows in lower case alone.
#[derive(Clone, Debug)]
struct Name {
    plain: HeaderName,
    /// As the program or the set has it, where that is another spelling.
    #[cfg_attr(
        not(feature = "host"),
        expect(dead_code, reason = "HTTP libraries for Rust take none")
    )]
    spelled: Option<Arc<str>>,
}

impl Name {
    fn new(name: &str) -> Result<Self, Error> {
        Ok(Self::spelled_as(header_name(name)?, name))
    }

    fn spelled_as(plain: HeaderName, spelled: &str) -> Self {
        let spelled = (plain.as_str() != spelled).then(|| spelled.into());
        Self { plain, spelled }
    }
}

static AUTHORIZATION_NAME: LazyLock<Name> =
    LazyLock::new(|| Name::spelled_as(AUTHORIZATION, "Authorization"));

/// A header that may carry a credential.
fn header_name(name: &str) -> Result<HeaderName, Error> {
    let name: HeaderName = name.parse().map_err(|_| {
        Error::new(ErrorKind::InvalidConfig, format!("{name:?} is not the name of a header"))
    })?;
    if belongs_to_transport(name.as_str()) {
        let what =
            format!("a credential must not go into the header {name}: it belongs to the transport");
        return Err(Error::new(ErrorKind::InvalidConfig, what));
    }
    Ok(name)
}

/// Headers by which HTTP itself works: a connection that has another one's value there breaks, or two
/// servers read two requests where there is one.
fn belongs_to_transport(name: &str) -> bool {
    const NAMES: [&str; 12] = [
        "connection",
        "content-length",
        "cookie",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
    ];
    NAMES.contains(&name) || name.starts_with("proxy-")
}

/// Headers that say what a request is, or who sends it: whoever writes a set must not be able to make
/// another request of this program's. Code may name them.
fn changes_the_request(name: &str) -> bool {
    const NAMES: [&str; 17] = [
        "accept-encoding",
        "client-ip",
        "forwarded",
        "from",
        "max-forwards",
        "origin",
        "range",
        "referer",
        "true-client-ip",
        "user-agent",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-host",
        "x-http-method",
        "x-http-method-override",
        "x-method-override",
        "x-real-ip",
    ];
    const BEGINNINGS: [&str; 7] =
        ["access-control-", "content-", "if-", "sec-", "x-forwarded-", "x-original-", "x-rewrite-"];
    NAMES.contains(&name) || BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
}

/// Whether a set may name this header. One that changes what servers make of a request is for code to name.
fn is_for_sets(name: &str) -> bool {
    header_name(name).is_ok_and(|name| !changes_the_request(name.as_str()))
}

fn material<'a>(credential: &'a Credential, name: &str) -> Result<&'a str, Error> {
    let material = credential
        .reveal(name)
        .ok_or_else(|| refused(format!("{} has no material named {name:?}", credential.id())))?;
    match material.is_empty() {
        false => Ok(material),
        true => Err(refused(format!("the material {name:?} of {} is empty", credential.id()))),
    }
}

/// The value, if every HTTP library sends it as it is: some trim what stands around it, some quote what
/// they cannot encode in their errors, and what lies beyond ASCII is read in several ways.
fn in_header<'a>(
    value: &'a str,
    name: &HeaderName,
    credential: &Credential,
) -> Result<&'a str, Error> {
    let is_visible = value.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    match is_visible && value.trim_matches(' ') == value {
        true => Ok(value),
        false => Err(unfit_for(name, credential)),
    }
}

/// A value that no log shows, in a buffer that is wiped once nothing holds it.
fn header_value(
    name: &HeaderName,
    value: String,
    credential: &Credential,
) -> Result<HeaderValue, Error> {
    let value = Zeroizing::new(value);
    in_header(&value, name, credential)?;
    let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(value))
        .map_err(|_| unfit_for(name, credential))?;
    value.set_sensitive(true);
    Ok(value)
}

fn unfit_for(name: &HeaderName, credential: &Credential) -> Error {
    refused(format!(
        "the material of {} cannot stand in the header {name}: it must be visible ASCII, with no space \
         around it",
        credential.id()
    ))
}

fn refused(what: String) -> Error {
    Error::new(ErrorKind::SchemeFailed, what)
}

#[cfg(test)]
mod tests;
