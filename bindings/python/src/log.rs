//! What the core logs, to Python's `logging`.
//!
//! Records wait in a bounded queue for a thread of their own: a handler may block, and must hold up
//! neither a request nor a completion. When the queue is full, records are dropped and counted.

use std::{
    fmt, io,
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
};

use pyo3::{intern, prelude::*, types::PyDict};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::runtime;

/// Records that may wait.
const QUEUE: usize = 1024;

pub(crate) struct Record {
    pub(crate) level: Level,
    pub(crate) event: String,
    pub(crate) message: String,
}

pub(crate) struct Journal {
    records: SyncSender<Option<Record>>,
    dropped: AtomicU64,
}

impl Journal {
    pub(crate) fn write(&self, record: Record) {
        if self.records.try_send(Some(record)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn stop(&self) {
        let _ = self.records.try_send(None);
    }
}

/// Logs on behalf of this package itself.
pub(crate) fn write(level: Level, event: &str, message: String) {
    if let Some(host) = runtime::running() {
        host.journal.write(Record { level, event: event.to_owned(), message });
    }
}

pub(crate) fn start() -> io::Result<(Journal, JoinHandle<()>)> {
    let (records, queue) = sync_channel(QUEUE);
    let thread = std::thread::Builder::new().name("keyswap-log".into()).spawn(move || {
        let _ = Python::try_attach(|py| keep(py, queue));
    })?;
    Ok((Journal { records, dropped: AtomicU64::new(0) }, thread))
}

fn keep(py: Python<'_>, mut queue: Receiver<Option<Record>>) {
    loop {
        let heard;
        (queue, heard) = py.detach(move || {
            let heard = queue.recv();
            (queue, heard)
        });
        let Ok(Some(record)) = heard else { return };
        // A handler that raises has told so itself.
        let _ = log(py, record);
        let dropped =
            runtime::running().map_or(0, |host| host.journal.dropped.swap(0, Ordering::Relaxed));
        if dropped > 0 {
            let message = format!("{dropped} log records were dropped: a handler is too slow");
            let _ = log(py, Record { level: Level::WARN, event: "log_dropped".into(), message });
        }
    }
}

fn log(py: Python<'_>, record: Record) -> PyResult<()> {
    let level = match record.level {
        Level::ERROR => 40,
        Level::WARN => 30,
        Level::INFO => 20,
        _ => 10,
    };
    let logger = py.import(intern!(py, "logging"))?.call_method1("getLogger", ("keyswap",))?;
    if !logger.call_method1(intern!(py, "isEnabledFor"), (level,))?.is_truthy()? {
        return Ok(());
    }
    let extra = PyDict::new(py);
    extra.set_item("event", record.event)?;
    let options = PyDict::new(py);
    options.set_item("extra", extra)?;
    logger.call_method("log", (level, "%s", record.message), Some(&options))?;
    Ok(())
}

/// From now on the core's log goes to the journal of the process. This module is all that shares its
/// copy of `tracing`, so it takes nothing from anybody.
pub(crate) fn install() {
    let _ = tracing::subscriber::set_global_default(ToJournal);
}

struct ToJournal;

impl Subscriber for ToJournal {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event()
            && metadata.target().starts_with("keyswap")
            && *metadata.level() <= Level::DEBUG
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut words = Words::default();
        event.record(&mut words);
        write(*event.metadata().level(), &words.event, words.message);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Words {
    event: String,
    message: String,
}

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "event" => self.event = value.to_owned(),
            name => self.record_debug(field, &format_args!("{name}={value}")),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            _ if self.message.is_empty() => {}
            name => self.message = format!("{} {name}={value:?}", self.message),
        }
    }
}
