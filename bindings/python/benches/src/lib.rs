//! The least that a native getter of something that can be swapped costs in Python.

use std::sync::Arc;

use arc_swap::ArcSwap;
use pyo3::prelude::*;

/// Holds one Python object that another thread could swap.
#[pyclass(frozen)]
struct Limit(ArcSwap<Py<PyAny>>);

#[pymethods]
impl Limit {
    #[new]
    fn new(held: Py<PyAny>) -> Self {
        Self(ArcSwap::new(Arc::new(held)))
    }

    #[getter]
    fn current(&self, py: Python<'_>) -> Py<PyAny> {
        self.0.load().clone_ref(py)
    }
}

#[pymodule(gil_used = false)]
fn keyswap_limit(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Limit>()
}
