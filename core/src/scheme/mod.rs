//! How a credential goes onto a request.
//!
//! A scheme is synchronous and pure: it is given the credential, the request as it will be sent and the
//! time, and says what to add. It is applied again on every send, so a signature always covers exactly
//! what is sent.

mod patch;

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header::AUTHORIZATION};
use jiff::Timestamp;
use url::{Position, Url};
use zeroize::Zeroizing;

use self::patch::Name;
pub use self::patch::Patch;
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
            Kind::Signing(sign) => sign.check(),
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

    /// Whether it has to see the body of a request, so that it cannot be a stream.
    pub fn needs_body(&self) -> bool {
        matches!(&*self.0, Kind::Signing(sign) if sign.needs_body())
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
    /// Adds to `patch` what makes `request` authentic: headers, query parameters, another body. If it adds
    /// nothing, the request carries no credential, and its response says nothing of one.
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

    /// Whether it has to see the body. A request whose body is a stream is then refused, and not signed as if
    /// it had none.
    fn needs_body(&self) -> bool {
        false
    }

    /// Whether it is well-formed. Asked when a client is built.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`], saying what is not valid.
    fn check(&self) -> Result<(), Error> {
        Ok(())
    }
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

    /// The path and the query, encoded as they are sent, but for what the patch adds.
    pub fn target(&self) -> &'a str {
        &self.url[Position::BeforePath..Position::AfterQuery]
    }

    /// The query as it is sent, without its question mark and what the patch adds; empty if there is none.
    pub fn query(&self) -> &'a str {
        self.url.query().unwrap_or("")
    }

    /// A number that rises with each call for this credential, in all threads and for each send: this time
    /// in milliseconds, or one more than the last.
    pub fn nonce(&self, credential: &Credential) -> u64 {
        credential.nonce(u64::try_from(self.now.as_millisecond()).unwrap_or(0))
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

/// The piece of this name, which a scheme cannot do without.
pub(crate) fn material<'a>(credential: &'a Credential, name: &str) -> Result<&'a str, Error> {
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
