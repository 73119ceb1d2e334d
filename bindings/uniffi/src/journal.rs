//! What the core logs, to the program's own log.
//!
//! Records wait in a bounded queue for a thread of their own: a logger may block, and must hold up neither
//! a request nor a fetch. When the queue is full, records are dropped.

use std::{
    fmt,
    sync::{
        Arc, OnceLock, RwLock,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use keyswap::{Error, ErrorKind};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::{errors::NativeError, foreign::NativeLogger};

/// Records that may wait.
const QUEUE: usize = 1024;

/// How much a record matters.
#[derive(Clone, Copy, Debug, uniffi::Enum)]
pub enum NativeLevel {
    /// Something does not work.
    Error,
    /// Something may soon not work.
    Warn,
    /// What happened.
    Info,
    /// For whoever looks closely.
    Debug,
}

static LOGGER: RwLock<Option<Arc<dyn NativeLogger>>> = RwLock::new(None);

/// From now on the log of this library goes there; nowhere, if there is none.
///
/// # Errors
/// `unavailable` if no thread can be started for it.
#[uniffi::export]
pub fn set_logger(logger: Option<Arc<dyn NativeLogger>>) -> Result<(), NativeError> {
    static STARTED: OnceLock<Result<(), Error>> = OnceLock::new();
    STARTED
        .get_or_init(|| {
            let (records, queue) = sync_channel(QUEUE);
            let thread = thread::Builder::new().name("keyswap-log".into());
            thread.spawn(move || keep(&queue)).map_err(|error| {
                let what = format!("no thread could be started for the log: {error}");
                Error::new(ErrorKind::Unavailable, what)
            })?;
            // This library's copy of `tracing` is its own, so nothing is taken from anybody.
            let _ = tracing::subscriber::set_global_default(ToJournal(records));
            Ok(())
        })
        .clone()?;
    if let Ok(mut slot) = LOGGER.write() {
        *slot = logger;
    }
    Ok(())
}

struct Record {
    level: NativeLevel,
    words: Words,
}

fn keep(queue: &Receiver<Record>) {
    while let Ok(Record { level, words }) = queue.recv() {
        let logger = LOGGER.read().ok().and_then(|slot| slot.clone());
        if let Some(logger) = logger {
            // A logger that fails has nobody to be told.
            let _ = logger.log(level, words.event, words.text);
        }
    }
}

struct ToJournal(SyncSender<Record>);

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
        let level = match *event.metadata().level() {
            Level::ERROR => NativeLevel::Error,
            Level::WARN => NativeLevel::Warn,
            Level::INFO => NativeLevel::Info,
            _ => NativeLevel::Debug,
        };
        let mut words = Words::default();
        event.record(&mut words);
        let _ = self.0.try_send(Record { level, words });
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Words {
    event: String,
    text: String,
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
            "message" => self.text = format!("{value:?}"),
            _ if self.text.is_empty() => {}
            name => self.text = format!("{} {name}={value:?}", self.text),
        }
    }
}
