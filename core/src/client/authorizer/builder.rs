//! What an [`Authorizer`] is made of.

use std::sync::Arc;

use url::Url;

use super::{Authorizer, Parts};
use crate::{
    engine::verdict::Classifier,
    error::{Error, ErrorKind},
    scheme::Scheme,
};

/// Configures an [`Authorizer`].
#[derive(Debug)]
#[must_use = "it does nothing until it is built"]
pub struct AuthorizerBuilder(pub(super) Parts);

impl AuthorizerBuilder {
    /// How credentials go onto requests; without one, as the set says.
    pub fn scheme(mut self, scheme: Scheme) -> Self {
        self.0.scheme = Some(scheme);
        self
    }

    /// What responses say; without one, 401 is a rejection.
    pub fn classifier(mut self, classifier: impl Classifier) -> Self {
        self.0.classifier = Arc::new(classifier);
        self
    }

    /// The scheme and the classifier of an API that is built in.
    #[cfg(feature = "signing")]
    pub fn api(mut self, api: crate::signing::Api) -> Self {
        self.0.scheme = Some(api.scheme);
        self.0.classifier = api.classifier;
        self
    }

    /// Allows credentials to be sent to the origin of this URL.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] if it is not a URL, [`ErrorKind::InsecureUrl`] if it is plain HTTP
    /// to another machine.
    pub fn allow_origin(mut self, url: &str) -> Result<Self, Error> {
        self.add_origin(url)?;
        Ok(self)
    }

    /// A request that brings the header in which keys are sent goes out as its caller made it, with no key
    /// of these and as no evidence about them. Without this, such a request is an error.
    pub fn own_header_wins(mut self) -> Self {
        self.0.own_header_wins = true;
        self
    }

    /// Allows no origin at all: for stacks that are not asked for by URL, with
    /// [`begin_without_url`](Authorizer::begin_without_url).
    pub fn without_origins(mut self) -> Self {
        self.0.without_origins = true;
        self
    }

    /// Allows plain HTTP for the origins that are added after this. Credentials will be readable on
    /// the way.
    pub fn plain_http_allowed(mut self) -> Self {
        self.0.origins.allow_plain_http();
        self
    }

    /// Checks everything together.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] if the scheme is not well-formed, or no origin is allowed.
    pub fn build(mut self) -> Result<Authorizer, Error> {
        if let Some(scheme) = &self.0.scheme {
            scheme.check()?;
        }
        if self.0.origins.is_empty() && !self.0.without_origins {
            let what = "no allowed origin: say where these keys may go, with a base URL or allowed origins";
            return Err(Error::new(ErrorKind::InvalidConfig, what));
        }
        self.0.throttles = self.0.origins.throttles();
        Ok(Authorizer(Arc::new(self.0)))
    }

    pub(crate) fn add_origin(&mut self, url: &str) -> Result<Url, Error> {
        self.0.origins.allow(url)
    }
}
