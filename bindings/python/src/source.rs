//! Where sets come from, as a recipe: a forked child makes its own source from it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use keyswap::{Error, Secret, Source as CoreSource};
use pyo3::prelude::*;

use crate::{
    credential::no_pickle,
    errors::{invalid, raise},
    function::Function,
};

/// How to make a source.
#[derive(Clone)]
pub(crate) enum Recipe {
    Endpoint(Arc<EndpointRecipe>),
    File(PathBuf),
    Env { variable: String, id: Option<String> },
    Function(Function),
}

pub(crate) struct EndpointRecipe {
    url: String,
    bootstrap: Bootstrap,
    timeout: Option<Duration>,
    plain_http: bool,
    push: bool,
    signed_by: Option<String>,
    heartbeat: Option<Duration>,
    set_name: Option<String>,
    root_certificates: Option<Pem<Vec<u8>>>,
    client_certificate: Option<Pem<Secret>>,
    app: Option<String>,
    /// Further regions, in order.
    regions: Vec<Arc<EndpointRecipe>>,
}

/// Certificates: as they are, or in a file that is read again when it changes.
enum Pem<T> {
    Given(T),
    File(PathBuf),
}

enum Bootstrap {
    Environment,
    Given(Secret),
    File(PathBuf),
    Function(Function),
    Nowhere,
}

impl Recipe {
    pub(crate) fn make(&self, in_child: bool) -> Result<Arc<dyn CoreSource>, Error> {
        Ok(match self {
            Self::File(path) => Arc::new(keyswap::source::File::new(path)),
            Self::Env { variable, id } => {
                let env = keyswap::source::Env::new(variable);
                Arc::new(match id {
                    Some(id) => env.id(id),
                    None => env,
                })
            }
            Self::Function(function) => Arc::new(match in_child {
                true => function.in_child(),
                false => function.clone(),
            }),
            Self::Endpoint(recipe) => {
                let first = recipe.make(in_child)?;
                let Some((second, more)) = recipe.regions.split_first() else {
                    return Ok(Arc::new(first));
                };
                let mut regions = first.or(second.make(in_child)?);
                for region in more {
                    regions = regions.or(region.make(in_child)?);
                }
                Arc::new(regions)
            }
        })
    }
}

impl EndpointRecipe {
    fn make(&self, in_child: bool) -> Result<keyswap::Endpoint, Error> {
        let mut endpoint = keyswap::Endpoint::new(&self.url)?;
        if self.plain_http {
            endpoint = endpoint.plain_http_allowed();
        }
        if let Some(timeout) = self.timeout {
            endpoint = endpoint.timeout(timeout);
        }
        if !self.push {
            endpoint = endpoint.no_push();
        }
        if let Some(heartbeat) = self.heartbeat.filter(|_| self.push) {
            endpoint = endpoint.heartbeat(heartbeat);
        }
        if let Some(key) = &self.signed_by {
            endpoint = endpoint.signed_by(key)?;
        }
        if let Some(name) = &self.set_name {
            endpoint = endpoint.set_name(name);
        }
        endpoint = match &self.root_certificates {
            Some(Pem::Given(pem)) => endpoint.root_certificates(pem)?,
            Some(Pem::File(path)) => endpoint.root_certificates_file(path),
            None => endpoint,
        };
        endpoint = match &self.client_certificate {
            Some(Pem::Given(pem)) => endpoint.client_certificate(pem.reveal().as_bytes())?,
            Some(Pem::File(path)) => endpoint.client_certificate_file(path),
            None => endpoint,
        };
        if let Some(app) = &self.app {
            endpoint = endpoint.app(app);
        }
        Ok(match &self.bootstrap {
            Bootstrap::Environment => endpoint,
            Bootstrap::Given(secret) => endpoint.bootstrap(secret.clone()),
            Bootstrap::File(path) => endpoint.bootstrap_file(path),
            Bootstrap::Nowhere => endpoint.no_bootstrap(),
            Bootstrap::Function(function) => {
                let function = if in_child { function.in_child() } else { function.clone() };
                endpoint.bootstrap_fn(move || function.clone().text())
            }
        })
    }
}

/// Seconds as Python counts them.
pub(crate) fn duration(py: Python<'_>, seconds: f64, what: &str) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| invalid(py, format!("{what} must be a number of seconds, zero or more")))
}

fn pem<T>(
    py: Python<'_>,
    what: &str,
    given: Option<T>,
    file: Option<PathBuf>,
) -> PyResult<Option<Pem<T>>> {
    match (given, file) {
        (Some(_), Some(_)) => Err(invalid(py, format!("pass {what} or {what}_file, not both"))),
        (Some(given), None) => Ok(Some(Pem::Given(given))),
        (None, file) => Ok(file.map(Pem::File)),
    }
}

/// A rotation endpoint that speaks `keyswap/1`, at the URL of the set itself.
///
/// The bootstrap credential comes from the environment variable KEYSWAP_BOOTSTRAP, unless `bootstrap` is
/// a string, a function that returns one (also an asynchronous one), or False for none at all, or
/// `bootstrap_file` names a file. `timeout` is in seconds, 10 by default. Push is followed where the set
/// offers it, unless `push` is False; after `heartbeat` seconds of silence, 45 by default, it counts as
/// lost. With `signed_by`, the provider's public key, answers that it did not sign are refused. `set_name`
/// says which set this is, where the last part of the URL is not its name: an answer for another one is
/// refused. `root_certificates` (PEM) are trusted instead of the machine's; `client_certificate` (PEM: a
/// chain and its key) is shown to the endpoint. `root_certificates_file` and `client_certificate_file` name
/// files with the same, which are read again when they change: certificates are renewed without a restart.
/// `app` is what the provider's operators see this program as.
/// `regions` are further endpoints that show the same set, asked in order when this one fails.
/// `plain_http_allowed` allows plain HTTP to other machines.
///
/// Raises InvalidConfigError for a URL that is none, and for certificates that cannot be read. Those of a
/// file are told at the first fetch.
#[pyclass(frozen, module = "keyswap")]
pub(crate) struct Endpoint {
    pub(crate) recipe: Arc<EndpointRecipe>,
}

#[pymethods]
impl Endpoint {
    #[new]
    #[expect(clippy::too_many_arguments, reason = "all but one are keywords")]
    #[pyo3(signature = (url, *, bootstrap = None, bootstrap_file = None, timeout = None, push = true, heartbeat = None, signed_by = None, set_name = None, root_certificates = None, root_certificates_file = None, client_certificate = None, client_certificate_file = None, app = None, regions = Vec::new(), plain_http_allowed = false))]
    fn new(
        py: Python<'_>,
        url: String,
        bootstrap: Option<Bound<'_, PyAny>>,
        bootstrap_file: Option<PathBuf>,
        timeout: Option<f64>,
        push: bool,
        heartbeat: Option<f64>,
        signed_by: Option<String>,
        set_name: Option<String>,
        root_certificates: Option<Vec<u8>>,
        root_certificates_file: Option<PathBuf>,
        client_certificate: Option<Vec<u8>>,
        client_certificate_file: Option<PathBuf>,
        app: Option<String>,
        regions: Vec<PyRef<'_, Self>>,
        plain_http_allowed: bool,
    ) -> PyResult<Self> {
        let bootstrap = match (bootstrap, bootstrap_file) {
            (Some(_), Some(_)) => {
                return Err(invalid(py, "pass bootstrap or bootstrap_file, not both"));
            }
            (None, None) => Bootstrap::Environment,
            (None, Some(path)) => Bootstrap::File(path),
            (Some(given), None) => match given.extract::<String>() {
                Ok(secret) => Bootstrap::Given(Secret::from(secret)),
                Err(_) if given.is_callable() => Bootstrap::Function(Function::new(&given)?),
                Err(_) if given.extract::<bool>().is_ok_and(|given| !given) => Bootstrap::Nowhere,
                Err(_) => {
                    return Err(invalid(py, "bootstrap must be a string, a function, or False"));
                }
            },
        };
        let timeout = timeout.map(|timeout| duration(py, timeout, "timeout")).transpose()?;
        let heartbeat =
            heartbeat.map(|heartbeat| duration(py, heartbeat, "heartbeat")).transpose()?;
        let client_certificate = client_certificate
            .map(|pem| match String::from_utf8(pem) {
                Ok(pem) => Ok(Secret::from(pem)),
                Err(_) => Err(invalid(py, "client_certificate must be PEM")),
            })
            .transpose()?;
        let root_certificates =
            pem(py, "root_certificates", root_certificates, root_certificates_file)?;
        let client_certificate =
            pem(py, "client_certificate", client_certificate, client_certificate_file)?;
        if regions.iter().any(|region| !region.recipe.regions.is_empty()) {
            return Err(invalid(
                py,
                "a region has no regions of its own: list them all in one place",
            ));
        }
        let recipe = EndpointRecipe {
            url,
            bootstrap,
            timeout,
            plain_http: plain_http_allowed,
            push,
            signed_by,
            heartbeat,
            set_name,
            root_certificates,
            client_certificate,
            app,
            regions: regions.iter().map(|region| region.recipe.clone()).collect(),
        };
        // A bad URL is told here and not in the background.
        recipe.make(false).map(drop).map_err(|error| raise(py, &error))?;
        Ok(Self { recipe: Arc::new(recipe) })
    }

    fn __repr__(&self) -> String {
        let shown = self.recipe.make(false).map(|endpoint| format!("{endpoint:?}"));
        format!("<keyswap.{}>", shown.unwrap_or_else(|_| "Endpoint".into()))
    }

    fn __reduce_ex__(&self, _protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        no_pickle("Endpoint")
    }
}

/// A file or a folder that something else keeps fresh: a key, a folder of pieces, or a document.
#[pyclass(frozen, module = "keyswap")]
pub(crate) struct File {
    pub(crate) path: PathBuf,
}

#[pymethods]
impl File {
    #[new]
    fn new(path: PathBuf) -> Self {
        Self { path }
    }

    fn __repr__(&self) -> String {
        format!("<keyswap.File {}>", self.path.display())
    }
}

/// A key in an environment variable, for development. It never rotates.
#[pyclass(frozen, module = "keyswap")]
pub(crate) struct Env {
    pub(crate) variable: String,
    pub(crate) id: Option<String>,
}

#[pymethods]
impl Env {
    #[new]
    #[pyo3(signature = (variable, *, id = None))]
    fn new(variable: String, id: Option<String>) -> Self {
        Self { variable, id }
    }

    fn __repr__(&self) -> String {
        format!("<keyswap.Env {}>", self.variable)
    }
}
