//! Where sets come from.

use std::collections::HashMap;

use keyswap_host::{Input, Inputs};
use pyo3::{exceptions::PyTypeError, prelude::*};

use crate::{credential::no_pickle, errors::OrRaise, function::function, keys::KeySwap};

/// Where sets come from: an Endpoint, a File, an Env, a store, or what else is derived from it.
#[pyclass(frozen, subclass, module = "keyswap._native")]
pub(crate) struct Source(keyswap_host::Source);

#[pymethods]
impl Source {
    /// What the core calls it, its options as JSON, and what JSON cannot hold, by the names of the options: functions,
    /// other handles, and lists of sources.
    #[new]
    #[pyo3(signature = (kind, options, inputs = HashMap::new()))]
    fn new(
        py: Python<'_>,
        kind: &str,
        options: &str,
        inputs: HashMap<String, Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let mut all = Inputs::default();
        for (name, input) in inputs {
            let is_source = kind == "function";
            all = all.with(&name, self::input(&input, is_source)?);
        }
        keyswap_host::Source::of(kind, options, all).map(Self).or_raise(py)
    }

    fn __repr__(&self) -> String {
        format!("<keyswap.{:?}>", self.0)
    }

    fn __reduce_ex__(&self, _protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        no_pickle("source")
    }
}

fn input(input: &Bound<'_, PyAny>, is_source: bool) -> PyResult<Input> {
    if let Ok(keys) = input.cast::<KeySwap>() {
        return Ok(Input::Keys(keys.get().lent()));
    }
    if input.is_callable() {
        return Ok(Input::Function(function(input, is_source)?));
    }
    let sources: Vec<PyRef<'_, Source>> = input.extract()?;
    Ok(Input::Sources(sources.iter().map(|source| source.0.clone()).collect()))
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
        "a source is a URL, an Endpoint or another source of keyswap, or a function, not {class}"
    )))
}
