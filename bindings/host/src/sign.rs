//! A program's own signature, for APIs that want each request signed.

use std::{fmt, sync::Arc};

use http::HeaderName;
use keyswap::{Credential, Error, Scheme, Sign, Unsigned};

use crate::{
    classifier::aside,
    error::signature_failed,
    text::{owned_pairs, pairs_of},
};

/// What a language calls for a signature of the program.
pub trait ForeignSign: Send + Sync + 'static {
    /// What makes this request authentic with this credential. It is called before each send, on any thread; it may
    /// block where the core sends, and must not where a language drives an attempt.
    ///
    /// # Errors
    /// [`crate::signature_failed`]. It counts as a rejection of the credential.
    fn sign(
        &self,
        credential: Arc<Credential>,
        request: UnsignedRequest,
    ) -> Result<Signature, Error>;
}

/// A request that is about to be sent, as a signature sees it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UnsignedRequest {
    /// The method.
    pub method: String,
    /// The whole URL.
    pub url: String,
    /// The headers, with names in lower case, without those that the signature adds.
    pub headers: Vec<(String, String)>,
    /// The bytes of the body: none if there is no body, or if it is a stream.
    pub body: Option<Vec<u8>>,
    /// The time, for signatures that carry one, in milliseconds since 1970.
    pub now_ms: i64,
}

/// What a signature adds to a request.
#[derive(Clone, Default)]
pub struct Signature {
    /// Headers, in place of any of the same name.
    pub headers: Vec<(String, String)>,
    /// Parameters of the query, in place of any of the same name.
    pub query: Vec<(String, String)>,
}

impl Signature {
    /// From names and values by turns.
    pub fn from_raw(headers: &[String], query: &[String]) -> Self {
        Self { headers: owned_pairs(headers), query: owned_pairs(query) }
    }

    pub(crate) fn patch(&self, credential: &Credential) -> Result<keyswap::Patch, Error> {
        let mut patch = keyswap::Patch::default();
        for (name, value) in &self.headers {
            if name.parse::<HeaderName>().is_err() {
                return Err(signature_failed("it named no valid header"));
            }
            patch.add_spelled_header(name, value, credential)?;
        }
        for (name, value) in &self.query {
            patch.add_query(name, value);
        }
        Ok(patch)
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.headers.iter().chain(&self.query).map(|(name, _)| name);
        f.debug_list().entries(names).finish()
    }
}

/// The scheme that signs so.
pub fn signing(foreign: Arc<dyn ForeignSign>) -> Scheme {
    Scheme::signing(Signer(foreign))
}

struct Signer(Arc<dyn ForeignSign>);

impl Sign for Signer {
    fn sign(
        &self,
        credential: &Credential,
        request: &Unsigned<'_>,
        patch: &mut keyswap::Patch,
    ) -> Result<(), Error> {
        let shown = UnsignedRequest {
            method: request.method.as_str().to_owned(),
            url: request.url.as_str().to_owned(),
            headers: pairs_of(request.headers),
            body: request.body.map(<[u8]>::to_vec),
            now_ms: request.now.as_millisecond(),
        };
        let signature = aside(|| self.0.sign(Arc::new(credential.clone()), shown))?;
        *patch = signature.patch(credential)?;
        Ok(())
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sign(..)")
    }
}
