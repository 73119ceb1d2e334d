//! What the core logs, to a function of the program.

use std::sync::{Arc, Mutex, PoisonError};

use keyswap_host::{LogLevel, LogRecord, Logger, LoggerGuard};
use napi::bindgen_prelude::{Function as JsFunction, *};
use napi_derive::napi;

use crate::{
    errors::{Thrown, told},
    foreign::Queue,
};

/// Level, target, text and event of a line.
type Line = FnArgs<(String, String, String, String)>;

struct JsLogger {
    least: LogLevel,
    queue: Queue<Line>,
}

impl Logger for JsLogger {
    fn log(&self, record: &LogRecord) {
        if record.level <= self.least {
            let LogRecord { level, target, event, text } = record.clone();
            // The thread of a worker that has ended hears nothing.
            self.queue.call((level.name().to_owned(), target, text, event).into());
        }
    }
}

/// A function that the log goes to, until this is closed.
#[napi]
pub struct NativeLogger(Mutex<Option<LoggerGuard>>);

#[napi]
impl NativeLogger {
    /// Lines of this level, and those that matter more.
    #[napi]
    pub fn add(
        level: String,
        log: JsFunction<'_, FnArgs<(String, String, String, String)>, ()>,
    ) -> Result<Either<NativeLogger, Thrown>> {
        let least = LogLevel::named(&level).unwrap_or(LogLevel::Info);
        let logger = JsLogger { least, queue: Queue::new(&log)? };
        let added = keyswap_host::add_logger(Arc::new(logger));
        Ok(told(added.map(|guard| Self(Mutex::new(Some(guard))))))
    }

    /// Nothing more goes there.
    #[napi]
    pub fn close(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
