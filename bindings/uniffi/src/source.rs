//! Where sets come from.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use keyswap::{Endpoint, Source, source::Regions};

use crate::{
    credential::NativeSecret,
    errors::{NativeError, invalid},
    foreign::{Asked, NativeFunction, NativeReachability, NativeStorage, Stored, load},
    reachable::Reachable,
};

/// A rotation endpoint, as the program described it.
#[derive(uniffi::Record)]
pub struct NativeEndpointSpec {
    /// The URL of the set itself.
    pub url: String,
    /// What it is fetched with; the environment says so if this and the next three are absent.
    pub bootstrap: Option<Arc<NativeSecret>>,
    /// A file that holds it.
    pub bootstrap_file: Option<String>,
    /// The device's place for secrets that holds it; read again when it is rejected.
    pub bootstrap_storage: Option<Arc<dyn NativeStorage>>,
    /// That there is none.
    pub no_bootstrap: bool,
    /// Of one fetch.
    pub timeout_ms: Option<u64>,
    /// Whether push is followed.
    pub push: bool,
    /// After how long a silent push channel is lost.
    pub heartbeat_ms: Option<u64>,
    /// The provider's public key: answers must be signed with it.
    pub signed_by: Option<String>,
    /// PEM: whom to trust, and nobody else.
    pub root_certificates: Option<String>,
    /// A file that holds them, read again when it changes.
    pub root_certificates_file: Option<String>,
    /// PEM: a certificate and its private key.
    pub client_certificate: Option<Arc<NativeSecret>>,
    /// A file that holds both, read again when it changes.
    pub client_certificate_file: Option<String>,
    /// The name of the set, where the last part of the URL is not that.
    pub set_name: Option<String>,
    /// What the provider's operators see this program as.
    pub app: Option<String>,
    /// Plain HTTP to other machines: credentials can be read on the way.
    pub plain_http_allowed: bool,
}

/// A source that was made, until it is followed, which takes it.
#[derive(uniffi::Object)]
pub struct NativeSource(Mutex<Option<Made>>);

enum Made {
    Endpoint(Box<Endpoint>),
    Regions(Regions),
    Other(Arc<dyn Source>),
}

#[uniffi::export]
impl NativeSource {
    /// A rotation endpoint.
    ///
    /// # Errors
    /// `invalid_config` and `insecure_url`.
    #[uniffi::constructor]
    pub fn endpoint(spec: NativeEndpointSpec) -> Result<Arc<Self>, NativeError> {
        let mut endpoint = Endpoint::new(&spec.url)?;
        if spec.plain_http_allowed {
            endpoint = endpoint.plain_http_allowed();
        }
        if let Some(timeout) = spec.timeout_ms {
            endpoint = endpoint.timeout(Duration::from_millis(timeout));
        }
        match (spec.push, spec.heartbeat_ms) {
            (false, _) => endpoint = endpoint.no_push(),
            (true, Some(beat)) => endpoint = endpoint.heartbeat(Duration::from_millis(beat)),
            (true, None) => {}
        }
        if let Some(key) = &spec.signed_by {
            endpoint = endpoint.signed_by(key)?;
        }
        if let Some(pem) = &spec.root_certificates {
            endpoint = endpoint.root_certificates(pem.as_bytes())?;
        }
        if let Some(path) = spec.root_certificates_file {
            endpoint = endpoint.root_certificates_file(path);
        }
        if let Some(pem) = &spec.client_certificate {
            endpoint = endpoint.client_certificate(pem.text().as_bytes())?;
        }
        if let Some(path) = spec.client_certificate_file {
            endpoint = endpoint.client_certificate_file(path);
        }
        if let Some(name) = &spec.set_name {
            endpoint = endpoint.set_name(name);
        }
        if let Some(app) = &spec.app {
            endpoint = endpoint.app(app);
        }
        if let Some(secret) = &spec.bootstrap {
            endpoint = endpoint.bootstrap(secret.reveal());
        } else if let Some(path) = spec.bootstrap_file {
            endpoint = endpoint.bootstrap_file(path);
        } else if let Some(storage) = spec.bootstrap_storage {
            endpoint = endpoint.bootstrap_fn(move || {
                let storage = storage.clone();
                async move { load(storage).await.map(|secret| secret.reveal()) }
            });
        } else if spec.no_bootstrap {
            endpoint = endpoint.no_bootstrap();
        }
        Ok(Self::new(Made::Endpoint(Box::new(endpoint))))
    }

    /// Regions, asked in order. Takes both.
    ///
    /// # Errors
    /// `invalid_config` unless both are endpoints that are not followed yet.
    pub fn or(&self, other: &NativeSource) -> Result<Arc<NativeSource>, NativeError> {
        let Made::Endpoint(other) = other.made()? else {
            return Err(invalid("a region has no regions of its own: list them all in one place"));
        };
        Ok(Self::new(Made::Regions(match self.made()? {
            Made::Endpoint(first) => first.or(*other),
            Made::Regions(regions) => regions.or(*other),
            Made::Other(_) => return Err(invalid("only endpoints have regions")),
        })))
    }

    /// A file or a folder that something else keeps fresh.
    #[uniffi::constructor]
    pub fn file(path: String) -> Arc<Self> {
        Self::new(Made::Other(Arc::new(keyswap::source::File::new(PathBuf::from(path)))))
    }

    /// A variable of the environment.
    #[uniffi::constructor]
    pub fn env(variable: String, id: Option<String>) -> Arc<Self> {
        let env = keyswap::source::Env::new(&variable);
        Self::new(Made::Other(match id {
            Some(id) => Arc::new(env.id(&id)),
            None => Arc::new(env),
        }))
    }

    /// The program's own function, and whether each call of it makes a new credential.
    #[uniffi::constructor]
    pub fn function(function: Arc<dyn NativeFunction>, mints: bool) -> Arc<Self> {
        Self::new(Made::Other(Arc::new(Asked { function, mints })))
    }

    /// The device's place for secrets, which the program keeps fresh.
    #[uniffi::constructor]
    pub fn storage(storage: Arc<dyn NativeStorage>) -> Arc<Self> {
        Self::new(Made::Other(Arc::new(Stored(storage))))
    }

    /// This source, not asked while the device has no network. Takes it.
    ///
    /// # Errors
    /// `invalid_config` if it is followed already.
    pub fn reachable(
        &self,
        device: Arc<dyn NativeReachability>,
    ) -> Result<Arc<NativeSource>, NativeError> {
        Ok(Self::new(Made::Other(Arc::new(Reachable::new(self.take()?, device)))))
    }
}

impl NativeSource {
    fn new(made: Made) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Some(made))))
    }

    fn made(&self) -> Result<Made, NativeError> {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        taken.ok_or_else(|| invalid("a source that was made is followed once"))
    }

    /// The source itself, once.
    pub(crate) fn take(&self) -> Result<Arc<dyn Source>, NativeError> {
        Ok(match self.made()? {
            Made::Endpoint(endpoint) => Arc::new(*endpoint),
            Made::Regions(regions) => Arc::new(regions),
            Made::Other(source) => source,
        })
    }
}
