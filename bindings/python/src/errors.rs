//! Errors of the core as exceptions.

use keyswap_host::Error;
use pyo3::{prelude::*, sync::PyOnceLock};

/// The exception that an error is. Each code has a class of its own, in Python.
pub(crate) fn raise(py: Python<'_>, error: &Error) -> PyErr {
    static FROM_CORE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let seconds = error.retry_after().map(|wait| wait.as_secs_f64());
    let made = FROM_CORE.import(py, "keyswap._errors", "from_core").and_then(|make| {
        let (code, message) = (error.code(), error.to_string());
        make.call1((code, message, error.status(), seconds, error.is_lasting()))
    });
    match made {
        Ok(exception) => PyErr::from_value(exception),
        Err(error) => error,
    }
}

/// What failed in Rust fails in Python.
pub(crate) trait OrRaise<T> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T>;
}

impl<T> OrRaise<T> for Result<T, Error> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| raise(py, &error))
    }
}

/// The same, to be shown and not raised.
pub(crate) fn shown(py: Python<'_>, error: Option<&Error>) -> Option<Py<PyAny>> {
    error.map(|error| raise(py, error).into_value(py).into_any())
}

/// The class of an exception and where it was raised. Its message may hold anything, so it is not shown.
pub(crate) fn describe(py: Python<'_>, error: &PyErr) -> String {
    let class = error.get_type(py).name().map_or_else(|_| "an exception".into(), |n| n.to_string());
    let place = || -> PyResult<String> {
        let mut frame = error.traceback(py).ok_or_else(|| PyErr::fetch(py))?.into_any();
        while let Ok(next) = frame.getattr("tb_next")
            && !next.is_none()
        {
            frame = next;
        }
        let code = frame.getattr("tb_frame")?.getattr("f_code")?;
        let file: String = code.getattr("co_filename")?.extract()?;
        let file = file.rsplit(['/', '\\']).next().unwrap_or_default().to_owned();
        Ok(format!("{file}:{}", frame.getattr("tb_lineno")?.extract::<u32>()?))
    };
    match error.traceback(py).is_some().then(place) {
        Some(Ok(place)) => format!("{class} at {place}"),
        _ => class,
    }
}

/// Every code that an exception may have.
#[pyfunction]
pub(crate) fn error_codes() -> Vec<&'static str> {
    keyswap_host::codes()
}
