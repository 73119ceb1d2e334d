//! A Python object that is made once an epoch, by whoever asks first.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use pyo3::prelude::*;

pub(crate) struct ByEpoch<T>(ArcSwapOption<(u64, Py<T>)>);

impl<T> ByEpoch<T> {
    pub(crate) fn new() -> Self {
        Self(ArcSwapOption::empty())
    }

    /// The object of this epoch. What is made may be of a newer one, and says of which.
    #[inline]
    pub(crate) fn get(
        &self,
        py: Python<'_>,
        epoch: u64,
        make: impl FnOnce() -> PyResult<(u64, Py<T>)>,
    ) -> PyResult<Py<T>> {
        if let Some(cached) = &*self.0.load()
            && cached.0 == epoch
        {
            return Ok(cached.1.clone_ref(py));
        }
        let (epoch, made) = make()?;
        self.0.store(Some(Arc::new((epoch, made.clone_ref(py)))));
        Ok(made)
    }

    pub(crate) fn clear(&self) {
        self.0.store(None);
    }
}
