//! TLS that is one endpoint's own: whom it trusts, and what it shows of itself.
//!
//! It never reaches the clients that other endpoints share, and its private key is never printed.

use std::sync::Arc;

use reqwest::Client;
use rustls::{
    RootCertStore,
    client::Resumption,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::{CertifiedKey, SingleCertAndKey},
};
use url::Url;

use super::http::{build, tls_config, tls_config_trusting};
use crate::error::{Error, ErrorKind};

/// What a program said about the TLS of one endpoint. Not `Debug`: it holds a private key.
#[derive(Clone, Default)]
pub(super) struct PrivateTls {
    roots: Option<RootCertStore>,
    identity: Option<Arc<SingleCertAndKey>>,
}

impl PrivateTls {
    /// Trusts the certificates in this PEM, and no others.
    pub(super) fn trusting(self, pem: &[u8]) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(pem, "the root certificates")? {
            roots.add(certificate).map_err(|_| {
                invalid("the root certificates cannot be read: each must be an X.509 certificate")
            })?;
        }
        Ok(Self { roots: Some(roots), ..self })
    }

    /// Shows the certificate chain in this PEM, with the private key that stands beside it.
    pub(super) fn showing(self, pem: &[u8]) -> Result<Self, Error> {
        let chain = certificates(pem, "the client certificate")?;
        let key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| {
            invalid(
                "the client certificate has no private key beside it: put both into one PEM, the key unencrypted",
            )
        })?;
        let provider = rustls::crypto::ring::default_provider();
        let identity = CertifiedKey::from_der(chain, key, &provider).map_err(|_| {
            invalid(
                "the client certificate cannot be used: its own certificate must come first, and the private key must belong to it",
            )
        })?;
        Ok(Self { identity: Some(Arc::new(identity.into())), ..self })
    }

    /// A client for this URL that does so.
    pub(super) fn client(&self, url: &Url) -> Result<Client, Error> {
        let mut config = match &self.roots {
            Some(roots) => tls_config_trusting(roots.clone())?,
            None => tls_config()?,
        };
        if let Some(identity) = &self.identity {
            config.client_auth_cert_resolver = identity.clone();
            // A session that began with this identity must not be resumed without it, nor the reverse.
            config.resumption = Resumption::default();
        }
        build(url, config)
    }
}

fn certificates(pem: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(invalid(&format!(
            "{what} must be PEM: there is no -----BEGIN CERTIFICATE----- in it"
        ))),
        Err(_) => Err(invalid(&format!("{what} must be PEM: a section of it cannot be read"))),
    }
}

fn invalid(what: &str) -> Error {
    Error::new(ErrorKind::InvalidConfig, what)
}
