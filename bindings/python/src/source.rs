//! Where sets come from.

use keyswap_host::{Endpoint, Json, options::from_json};
use pyo3::{exceptions::PyTypeError, prelude::*};

use crate::{credential::no_pickle, errors::OrRaise, function::function};

/// Where sets come from: an Endpoint, a Json, a Command, a File, or an Env.
#[pyclass(frozen, subclass, module = "keyswap._native")]
pub(crate) struct Source(keyswap_host::Source);

#[pymethods]
impl Source {
    /// `kind` is "endpoint", "json", "command", "file", "env", "function" or "first_of", and the options are JSON. A function is
    /// called for the bootstrap credential of an endpoint, or is the source. Regions are what "first_of" is of, too.
    #[new]
    #[pyo3(signature = (kind, options, bootstrap = None, regions = Vec::new()))]
    fn new(
        py: Python<'_>,
        kind: &str,
        options: &str,
        bootstrap: Option<Bound<'_, PyAny>>,
        regions: Vec<PyRef<'_, Self>>,
    ) -> PyResult<Self> {
        if kind == "file" {
            return Ok(Self(keyswap_host::Source::file(from_json(options).or_raise(py)?)));
        }
        if kind == "env" {
            return Ok(Self(keyswap_host::Source::env(from_json(options).or_raise(py)?)));
        }
        if kind == "command" {
            let options = from_json(options).or_raise(py)?;
            return Ok(Self(keyswap_host::Source::command(options).or_raise(py)?));
        }
        if kind == "first_of" {
            let all = regions.iter().map(|source| (source.0.clone(), false)).collect();
            return Ok(Self(keyswap_host::Source::first_of(all).or_raise(py)?));
        }
        if let ("function", Some(called)) = (kind, &bootstrap) {
            return Ok(Self(keyswap_host::Source::function(function(called, true)?)));
        }
        let bootstrap = bootstrap.map(|called| function(&called, false)).transpose()?;
        let source = match kind {
            "json" => {
                let json = Json::new(from_json(options).or_raise(py)?, bootstrap);
                keyswap_host::Source::json(json)
            }
            _ => {
                let endpoint = Endpoint::new(from_json(options).or_raise(py)?, bootstrap);
                keyswap_host::Source::endpoint(endpoint)
            }
        };
        let mut source = source.or_raise(py)?;
        for region in regions {
            source = source.or(&region.0).or_raise(py)?;
        }
        Ok(Self(source))
    }

    fn __repr__(&self) -> String {
        format!("<keyswap.{:?}>", self.0)
    }

    fn __reduce_ex__(&self, _protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        no_pickle("source")
    }
}

/// What a program passed as a source.
pub(crate) fn source_of(source: &Bound<'_, PyAny>) -> PyResult<keyswap_host::Source> {
    if let Ok(source) = source.cast::<Source>() {
        return Ok(source.get().0.clone());
    }
    if source.is_callable() {
        return Ok(keyswap_host::Source::function(function(source, true)?));
    }
    let class = source.get_type().name()?;
    Err(PyTypeError::new_err(format!(
        "a source is a URL, an Endpoint, a Json, a Command, a File, an Env, or a function, not {class}"
    )))
}
