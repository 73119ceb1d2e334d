//! Where sets come from.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use keyswap::Source as CoreSource;
use napi::bindgen_prelude::{Function as JsFunction, *};
use napi_derive::napi;

use crate::{
    errors::{invalid, raise},
    function::{Answer, Function},
};

/// A rotation endpoint, as the program described it.
#[napi(object)]
pub struct EndpointSpec {
    /// The URL of the set itself.
    pub url: String,
    /// What it is fetched with; the environment says so if this and the next two are absent.
    pub bootstrap: Option<String>,
    /// A file that holds it.
    pub bootstrap_file: Option<String>,
    /// That there is none.
    pub no_bootstrap: Option<bool>,
    /// In milliseconds.
    pub timeout: Option<f64>,
    /// Whether push is followed.
    pub push: Option<bool>,
    /// In milliseconds.
    pub heartbeat: Option<f64>,
    /// The provider's public key.
    pub signed_by: Option<String>,
    /// Which set this is, where its URL does not say so.
    pub set_name: Option<String>,
    /// PEM.
    pub root_certificates: Option<String>,
    /// A file that holds it.
    pub root_certificates_file: Option<String>,
    /// PEM.
    pub client_certificate: Option<String>,
    /// A file that holds it.
    pub client_certificate_file: Option<String>,
    /// What the provider's operators see this program as.
    pub app: Option<String>,
    /// Plain HTTP to other machines.
    pub plain_http_allowed: Option<bool>,
}

/// A source that was made, until it is followed, which takes it.
#[napi]
pub struct NativeSource(Mutex<Option<Made>>);

enum Made {
    Endpoint(Box<keyswap::Endpoint>),
    Regions(keyswap::source::Regions),
    Other(Arc<dyn CoreSource>),
}

impl NativeSource {
    fn new(made: Made) -> Self {
        Self(Mutex::new(Some(made)))
    }

    fn take(&self) -> Result<Made> {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        taken.ok_or_else(|| invalid("a source that was made is followed once"))
    }

    pub(crate) fn make(&self) -> Result<Arc<dyn CoreSource>> {
        Ok(match self.take()? {
            Made::Endpoint(endpoint) => Arc::new(*endpoint),
            Made::Regions(regions) => Arc::new(regions),
            Made::Other(source) => source,
        })
    }
}

#[napi]
impl NativeSource {
    /// A rotation endpoint; `bootstrap` is a function that returns its credential.
    #[napi(factory)]
    pub fn endpoint(
        spec: EndpointSpec,
        bootstrap: Option<JsFunction<'_, Answer, ()>>,
    ) -> Result<Self> {
        let raised = |error: keyswap::Error| raise(&error);
        let mut endpoint = keyswap::Endpoint::new(&spec.url).map_err(raised)?;
        if spec.plain_http_allowed == Some(true) {
            endpoint = endpoint.plain_http_allowed();
        }
        if let Some(timeout) = spec.timeout {
            endpoint = endpoint.timeout(duration(timeout, "timeout")?);
        }
        match (spec.push, spec.heartbeat) {
            (Some(false), _) => endpoint = endpoint.no_push(),
            (_, Some(beat)) => endpoint = endpoint.heartbeat(duration(beat, "heartbeat")?),
            _ => {}
        }
        if let Some(key) = &spec.signed_by {
            endpoint = endpoint.signed_by(key).map_err(raised)?;
        }
        if let Some(pem) = &spec.root_certificates {
            endpoint = endpoint.root_certificates(pem.as_bytes()).map_err(raised)?;
        }
        if let Some(path) = spec.root_certificates_file {
            endpoint = endpoint.root_certificates_file(path);
        }
        if let Some(pem) = &spec.client_certificate {
            endpoint = endpoint.client_certificate(pem.as_bytes()).map_err(raised)?;
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
        if let Some(secret) = spec.bootstrap {
            endpoint = endpoint.bootstrap(secret);
        } else if let Some(path) = spec.bootstrap_file {
            endpoint = endpoint.bootstrap_file(path);
        } else if spec.no_bootstrap == Some(true) {
            endpoint = endpoint.no_bootstrap();
        } else if let Some(function) = bootstrap {
            let function = Function::new(&function)?;
            endpoint = endpoint.bootstrap_fn(move || function.clone().text());
        }
        Ok(Self::new(Made::Endpoint(Box::new(endpoint))))
    }

    /// Regions, asked in order.
    #[napi]
    pub fn or(&self, other: &NativeSource) -> Result<NativeSource> {
        let Made::Endpoint(other) = other.take()? else {
            return Err(invalid("a region has no regions of its own: list them all in one place"));
        };
        Ok(Self::new(Made::Regions(match self.take()? {
            Made::Endpoint(first) => first.or(*other),
            Made::Regions(regions) => regions.or(*other),
            Made::Other(_) => return Err(invalid("only endpoints have regions")),
        })))
    }

    /// A file or a folder that something else keeps fresh.
    #[napi(factory)]
    pub fn file(path: String) -> Self {
        Self::new(Made::Other(Arc::new(keyswap::source::File::new(PathBuf::from(path)))))
    }

    /// A variable of the environment.
    #[napi(factory)]
    pub fn env(variable: String, id: Option<String>) -> Self {
        let env = keyswap::source::Env::new(&variable);
        Self::new(Made::Other(match id {
            Some(id) => Arc::new(env.id(&id)),
            None => Arc::new(env),
        }))
    }

    /// The program's own function; whether each call makes a new credential.
    #[napi(factory)]
    pub fn function(ask: JsFunction<'_, Answer, ()>, mints: bool) -> Result<Self> {
        Ok(Self::new(Made::Other(Arc::new(Function::new(&ask)?.minting(mints)))))
    }
}

/// Milliseconds as JavaScript counts them.
pub(crate) fn duration(millis: f64, what: &str) -> Result<Duration> {
    Duration::try_from_secs_f64(millis / 1000.0)
        .map_err(|_| invalid(format!("{what} must be a number of milliseconds, zero or more")))
}
