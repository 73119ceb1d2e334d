//! TLS that is one endpoint's own: whom it trusts, and what it shows of itself.
//!
//! It never reaches the clients that other endpoints share, and its private key is never printed.
//!
//! Certificates end, and something else renews them: those that are in files are read again before each
//! request, and what was made of them is used for as long as they are the same. A file that cannot be read
//! now, or is half written, changes nothing: what was made last is used until it can.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use reqwest::Client;
use ring::digest::{Digest, SHA256, digest};
use rustls::{
    RootCertStore,
    client::Resumption,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject, SectionKind},
    },
    sign::{CertifiedKey, SingleCertAndKey},
};
use url::Url;
use zeroize::Zeroizing;

use super::{http::build, reading::Reader};
use crate::{
    error::{Error, ErrorKind},
    net::{tls_config, tls_config_trusting},
};

/// What a program said about the TLS of one endpoint. Not `Debug`: it holds a private key.
#[derive(Clone, Default)]
pub(super) struct PrivateTls {
    roots: Option<Place<RootCertStore>>,
    identity: Option<Place<Arc<SingleCertAndKey>>>,
    made: Arc<Mutex<Option<Made>>>,
}

/// Where certificates are.
#[derive(Clone)]
enum Place<T> {
    Given(T),
    File(PathBuf, Reader),
}

/// A client, and the contents of the files that it was made of.
struct Made {
    of: [Option<Digest>; 2],
    client: Client,
}

type Pem = Option<Zeroizing<Vec<u8>>>;

impl<T: Clone> Place<T> {
    /// What stands in the file, if it is one.
    async fn text(place: &Option<Self>) -> Result<Pem, Error> {
        match place {
            Some(Self::File(path, reader)) => reader.bundle(path.clone()).await.map(Some),
            _ => Ok(None),
        }
    }

    fn value(
        place: &Option<Self>,
        pem: &Pem,
        parse: fn(&[u8]) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        match (place, pem) {
            (Some(Self::Given(value)), _) => Ok(Some(value.clone())),
            (Some(Self::File(path, _)), Some(pem)) => parse(pem)
                .map(Some)
                .map_err(|error| invalid(&format!("{}: {error}", path.display()))),
            _ => Ok(None),
        }
    }
}

impl PrivateTls {
    pub(super) fn trusting_file(self, path: PathBuf) -> Self {
        self.with(|tls| tls.roots = Some(Place::File(path, Reader::new())))
    }

    pub(super) fn showing_file(self, path: PathBuf) -> Self {
        self.with(|tls| tls.identity = Some(Place::File(path, Reader::new())))
    }

    /// A change is a beginning: nothing that was made before it counts.
    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        Self { made: Arc::default(), ..self }
    }

    /// Trusts the certificates in this PEM, and no others.
    pub(super) fn trusting(self, pem: &[u8]) -> Result<Self, Error> {
        let roots = roots(pem)?;
        Ok(self.with(|tls| tls.roots = Some(Place::Given(roots))))
    }

    /// Shows the certificate chain in this PEM, with the private key that stands beside it.
    pub(super) fn showing(self, pem: &[u8]) -> Result<Self, Error> {
        let identity = identity(pem)?;
        Ok(self.with(|tls| tls.identity = Some(Place::Given(identity))))
    }

    /// A client for this URL that does so. None if nothing was said, so that the shared ones will do.
    pub(super) async fn client(&self, url: &Url) -> Result<Option<Client>, Error> {
        if self.roots.is_none() && self.identity.is_none() {
            return Ok(None);
        }
        match self.renewed(url).await {
            Ok(client) => Ok(Some(client)),
            Err(error) => match &*self.made() {
                Some(made) => {
                    tracing::warn!(target: "keyswap", "the certificates stay as they were: {error}");
                    Ok(Some(made.client.clone()))
                }
                None => Err(error),
            },
        }
    }

    async fn renewed(&self, url: &Url) -> Result<Client, Error> {
        let pems = [Place::text(&self.roots).await?, Place::text(&self.identity).await?];
        let of = pems.each_ref().map(|pem| pem.as_ref().map(|pem| digest(&SHA256, pem)));
        let is_same = |made: &Made| {
            let pairs = made.of.iter().zip(&of);
            pairs.into_iter().all(|(made, now)| bytes(made) == bytes(now))
        };
        if let Some(made) = self.made().as_ref().filter(|made| is_same(made)) {
            return Ok(made.client.clone());
        }
        let mut config = match Place::value(&self.roots, &pems[0], roots)? {
            Some(roots) => tls_config_trusting(roots)?,
            None => tls_config()?,
        };
        if let Some(identity) = Place::value(&self.identity, &pems[1], identity)? {
            config.client_auth_cert_resolver = identity;
            // A session that began with this identity must not be resumed without it, nor the reverse.
            config.resumption = Resumption::default();
        }
        let client = build(url, config)?;
        *self.made() = Some(Made { of, client: client.clone() });
        Ok(client)
    }

    fn made(&self) -> MutexGuard<'_, Option<Made>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bytes(digest: &Option<Digest>) -> Option<&[u8]> {
    digest.as_ref().map(AsRef::as_ref)
}

fn roots(pem: &[u8]) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem, "the root certificates")? {
        roots.add(certificate).map_err(|_| {
            invalid("the root certificates cannot be read: each must be an X.509 certificate")
        })?;
    }
    Ok(roots)
}

fn identity(pem: &[u8]) -> Result<Arc<SingleCertAndKey>, Error> {
    let chain = certificates(pem, "the client certificate")?;
    let key = sections(pem)
        .filter_map(Result::ok)
        .find_map(|(kind, der)| PrivateKeyDer::from_pem(kind, der))
        .ok_or_else(|| {
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
    Ok(Arc::new(identity.into()))
}

fn certificates(pem: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let mut found = Vec::new();
    for section in sections(pem) {
        let (kind, der) = section
            .map_err(|_| invalid(&format!("{what} must be PEM: a section of it cannot be read")))?;
        found.extend(CertificateDer::from_pem(kind, der));
    }
    match found.is_empty() {
        false => Ok(found),
        true => Err(invalid(&format!(
            "{what} must be PEM: there is no -----BEGIN CERTIFICATE----- in it"
        ))),
    }
}

/// The sections of a PEM, whatever they are: one reader for all kinds.
fn sections(pem: &[u8]) -> impl Iterator<Item = Result<(SectionKind, Vec<u8>), pem::Error>> {
    <(SectionKind, Vec<u8>)>::pem_slice_iter(pem)
}

fn invalid(what: &str) -> Error {
    Error::new(ErrorKind::InvalidConfig, what)
}
