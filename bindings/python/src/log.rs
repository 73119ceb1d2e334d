//! What the core logs, to Python's `logging`.

use std::{io, thread::JoinHandle};

use keyswap_host::{Courier, LogLevel, LogRecord};
use pyo3::{intern, prelude::*, types::PyDict};

use crate::runtime;

/// From now on the core's log goes to the journal of the process.
pub(crate) fn install() {
    keyswap_host::forward(write);
}

/// Logs an error of a function of the program.
pub(crate) fn error(event: &str, text: String) {
    let (event, target) = (event.to_owned(), "keyswap".to_owned());
    write(LogRecord { level: LogLevel::Error, target, event, text });
}

fn write(record: LogRecord) {
    if let Some(host) = runtime::running() {
        host.journal.write(record);
    }
}

pub(crate) fn start() -> io::Result<(Courier, JoinHandle<()>)> {
    // A handler that raises has told so itself.
    Courier::start(|record| drop(Python::try_attach(|py| log(py, &record))))
}

fn log(py: Python<'_>, record: &LogRecord) -> PyResult<()> {
    let level = match record.level {
        LogLevel::Error => 40,
        LogLevel::Warn => 30,
        LogLevel::Info => 20,
        LogLevel::Debug => 10,
    };
    let logger = py.import(intern!(py, "logging"))?.call_method1("getLogger", ("keyswap",))?;
    if !logger.call_method1(intern!(py, "isEnabledFor"), (level,))?.is_truthy()? {
        return Ok(());
    }
    let extra = PyDict::new(py);
    extra.set_item("event", &record.event)?;
    let options = PyDict::new(py);
    options.set_item("extra", extra)?;
    logger.call_method("log", (level, "%s", &record.text), Some(&options))?;
    Ok(())
}
