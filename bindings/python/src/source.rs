//! Where sets come from.

use std::path::PathBuf;

use keyswap_host::{
    Error, Source, invalid,
    options::{EndpointOptions, EnvOptions, FileOptions},
};
use pyo3::{exceptions::PyTypeError, prelude::*};

use crate::{
    credential::no_pickle,
    errors::{OrRaise, refuse},
    function::function,
};

/// What a program passed as a source.
pub(crate) fn source(source: &Bound<'_, PyAny>) -> PyResult<Source> {
    if let Ok(endpoint) = source.cast::<Endpoint>() {
        Ok(endpoint.get().0.clone())
    } else if let Ok(file) = source.cast::<File>() {
        Ok(Source::file(file.get().0.clone()))
    } else if let Ok(env) = source.cast::<Env>() {
        Ok(Source::env(env.get().0.clone()))
    } else if source.is_callable() {
        Ok(Source::function(function(source, true)?))
    } else {
        let class = source.get_type().name()?;
        Err(PyTypeError::new_err(format!(
            "a source is a URL, an Endpoint, a File, an Env, or a function, not {class}"
        )))
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
pub(crate) struct Endpoint(Source);

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
        let path = |path: Option<PathBuf>| path.map(text).transpose().or_raise(py);
        let pem = |pem: Option<Vec<u8>>| match pem.map(String::from_utf8).transpose() {
            Ok(pem) => Ok(pem),
            Err(_) => refuse(py, "certificates must be PEM"),
        };
        let mut options = EndpointOptions {
            url,
            bootstrap: None,
            bootstrap_file: path(bootstrap_file)?,
            no_bootstrap: false,
            timeout,
            push: Some(push),
            heartbeat,
            signed_by,
            set_name,
            root_certificates: pem(root_certificates)?,
            root_certificates_file: path(root_certificates_file)?,
            client_certificate: pem(client_certificate)?.map(Into::into),
            client_certificate_file: path(client_certificate_file)?,
            app,
            plain_http_allowed,
        };
        let mut called = None;
        if let Some(given) = bootstrap {
            match given.extract::<String>() {
                Ok(secret) => options.bootstrap = Some(secret.into()),
                Err(_) if given.is_callable() => called = Some(function(&given, false)?),
                Err(_) if given.extract::<bool>().is_ok_and(|given| !given) => {
                    options.no_bootstrap = true;
                }
                Err(_) => return refuse(py, "bootstrap must be a string, a function, or False"),
            }
        }
        let endpoint = keyswap_host::Endpoint::new(options, called);
        let mut source = Source::endpoint(endpoint).or_raise(py)?;
        for region in regions {
            source = source.or(&region.0).or_raise(py)?;
        }
        Ok(Self(source))
    }

    fn __repr__(&self) -> String {
        format!("<keyswap.{:?}>", self.0)
    }

    fn __reduce_ex__(&self, _protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        no_pickle("Endpoint")
    }
}

/// A file or a folder that something else keeps fresh: a key, a folder of pieces, or a document.
#[pyclass(frozen, module = "keyswap")]
pub(crate) struct File(FileOptions);

#[pymethods]
impl File {
    #[new]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        Ok(Self(FileOptions { path: text(path).or_raise(py)? }))
    }

    fn __repr__(&self) -> String {
        format!("<keyswap.File {}>", self.0.path)
    }
}

/// A key in an environment variable, for development. It never rotates.
#[pyclass(frozen, module = "keyswap")]
pub(crate) struct Env(EnvOptions);

#[pymethods]
impl Env {
    #[new]
    #[pyo3(signature = (variable, *, id = None))]
    fn new(variable: String, id: Option<String>) -> Self {
        Self(EnvOptions { variable, id })
    }

    fn __repr__(&self) -> String {
        format!("<keyswap.Env {}>", self.0.variable)
    }
}

fn text(path: PathBuf) -> Result<String, Error> {
    path.into_os_string().into_string().map_err(|_| invalid("the name of a file must be Unicode"))
}
