//! What the core logs, to the program's own log.
//!
//! Records wait in a bounded queue for a thread of their own: a logger may block, and must hold up neither a request
//! nor a fetch. When the queue is full, records are dropped and counted.

use std::{
    fmt, io,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
};

use keyswap::{Error, ErrorKind};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

/// Records that may wait.
const QUEUE: usize = 1024;

/// How much a record matters; the first the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Something does not work.
    Error,
    /// Something may soon not work.
    Warn,
    /// What happened.
    Info,
    /// For whoever looks closely.
    Debug,
}

impl LogLevel {
    /// The level of this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Error, Self::Warn, Self::Info, Self::Debug].into_iter().find(|it| it.name() == name)
    }

    /// Its name: `error`, `warn`, `info` or `debug`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// One line of the log. It holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// How much it matters.
    pub level: LogLevel,
    /// The part of the library that wrote it, such as `keyswap`.
    pub target: String,
    /// The name of the event that it tells, or nothing.
    pub event: String,
    /// The line itself.
    pub text: String,
}

/// A thread that hands records to a log, one by one.
pub struct Courier {
    records: SyncSender<Option<LogRecord>>,
    dropped: Arc<AtomicU64>,
}

impl Courier {
    /// Starts the thread, on which `log` may block.
    ///
    /// # Errors
    /// That of the system, if no thread can be started.
    pub fn start(
        log: impl FnMut(LogRecord) + Send + 'static,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        let (records, queue) = sync_channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let counted = dropped.clone();
        let thread = thread::Builder::new().name("keyswap-log".into());
        let thread = thread.spawn(move || keep(&queue, &counted, log))?;
        Ok((Self { records, dropped }, thread))
    }

    /// Hands over a record, and does not wait.
    pub fn write(&self, record: LogRecord) {
        if self.records.try_send(Some(record)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Ends the thread, once it has handed on what waits.
    pub fn stop(&self) {
        let _ = self.records.try_send(None);
    }
}

impl fmt::Debug for Courier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Courier(..)")
    }
}

fn keep(queue: &Receiver<Option<LogRecord>>, dropped: &AtomicU64, mut log: impl FnMut(LogRecord)) {
    while let Ok(Some(record)) = queue.recv() {
        log(record);
        let dropped = dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            log(LogRecord {
                level: LogLevel::Warn,
                target: "keyswap".into(),
                event: "log_dropped".into(),
                text: format!("{dropped} log records were dropped: a logger is too slow"),
            });
        }
    }
}

/// Where a program's log goes.
pub trait Logger: Send + Sync + 'static {
    /// One record. It is called on a thread that serves the log alone.
    fn log(&self, record: &LogRecord);
}

type Loggers = Mutex<Vec<(u64, Arc<dyn Logger>)>>;
static LOGGERS: Loggers = Mutex::new(Vec::new());

/// From now on the log goes there, too, until what this returns is dropped.
///
/// # Errors
/// `unavailable` if no thread can be started for it.
pub fn add_logger(logger: Arc<dyn Logger>) -> Result<LoggerGuard, Error> {
    static COURIER: OnceLock<Result<Courier, Error>> = OnceLock::new();
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let started = COURIER.get_or_init(|| {
        let started = Courier::start(|record| {
            let loggers = loggers().clone();
            loggers.iter().for_each(|(_, logger)| logger.log(&record));
        });
        started.map(|(courier, _)| courier).map_err(|error| {
            let what = format!("no thread could be started for the log: {error}");
            Error::new(ErrorKind::Unavailable, what)
        })
    });
    started.as_ref().map_err(Error::clone)?;
    forward(|record| {
        if let Some(Ok(courier)) = COURIER.get() {
            courier.write(record);
        }
    });
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    loggers().push((number, logger));
    Ok(LoggerGuard(number))
}

fn loggers() -> std::sync::MutexGuard<'static, Vec<(u64, Arc<dyn Logger>)>> {
    LOGGERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A logger that was added. Dropping it takes the logger out.
#[derive(Debug)]
pub struct LoggerGuard(u64);

impl Drop for LoggerGuard {
    fn drop(&mut self) {
        loggers().retain(|(number, _)| *number != self.0);
    }
}

/// From now on what the core logs goes to this function, which must not wait. Only the first call counts. A binding's
/// library has a copy of `tracing` of its own, so nothing is taken from anybody.
pub fn forward(to: fn(LogRecord)) {
    let _ = tracing::subscriber::set_global_default(Forward(to));
}

struct Forward(fn(LogRecord));

impl Subscriber for Forward {
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
            Level::ERROR => LogLevel::Error,
            Level::WARN => LogLevel::Warn,
            Level::INFO => LogLevel::Info,
            _ => LogLevel::Debug,
        };
        let target = event.metadata().target().to_owned();
        let mut words = Words::default();
        event.record(&mut words);
        (self.0)(LogRecord { level, target, event: words.event, text: words.text });
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    fn record(text: &str) -> LogRecord {
        let (target, event) = ("keyswap".into(), String::new());
        LogRecord { level: LogLevel::Info, target, event, text: text.into() }
    }

    #[test]
    fn a_slow_logger_holds_up_nobody() {
        let (begin, may_begin) = channel::<()>();
        let (tell, told) = channel();
        let (courier, thread) = Courier::start(move |record| {
            let _ = may_begin.recv();
            let _ = tell.send(record.text);
        })
        .expect("a thread");
        for _ in 0..QUEUE * 2 {
            courier.write(record("line"));
        }
        drop(begin);
        let texts: Vec<_> = told.iter().take(2).collect();
        assert_eq!(texts[0], "line");
        assert!(
            texts[1].ends_with("log records were dropped: a logger is too slow"),
            "{}",
            texts[1]
        );
        while courier.records.try_send(None).is_err() {}
        thread.join().expect("it ends");
    }

    struct To(Mutex<Sender<LogRecord>>);

    impl Logger for To {
        fn log(&self, record: &LogRecord) {
            let _ = self.0.lock().map(|to| to.send(record.clone()));
        }
    }

    #[test]
    fn what_the_core_logs_is_heard_while_a_logger_is_there() {
        let (tell, told) = channel();
        let guard = add_logger(Arc::new(To(Mutex::new(tell)))).expect("a logger");
        tracing::warn!(target: "keyswap", event = "swapped", more = 7, "k2 is in use");
        tracing::warn!(target: "hyper", "not of this library");
        let heard = told.recv().expect("a record");
        assert_eq!(
            (heard.level.name(), &*heard.target, &*heard.event),
            ("warn", "keyswap", "swapped")
        );
        assert!(heard.text.starts_with("k2 is in use"), "{}", heard.text);
        drop(guard);
        // The logger is gone, and with it the sender.
        tracing::warn!(target: "keyswap", "not heard");
        assert!(told.recv().is_err());
    }
}
