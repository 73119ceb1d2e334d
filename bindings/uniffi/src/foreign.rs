//! What a program brings itself, in its own language. Its failures arrive as errors without its words, which may hold
//! anything.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use keyswap_host::{
    Answer, Error, ErrorKind, ForeignFunction, LogRecord, Logger, LoggerGuard, Pending, add_logger,
    function_failed,
};
use uniffi::UnexpectedUniFFICallbackError;

use crate::{
    job::runtime,
    opaque::NativeSecret,
    records::{NativeError, NativeLevel},
};

/// Why a program's own code gave no answer.
#[derive(Debug, uniffi::Error)]
pub enum NativeForeignError {
    /// The only form.
    Failed {
        /// What it did, for people: "threw IllegalStateException". No text of its exceptions.
        reason: String,
    },
}

impl fmt::Display for NativeForeignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Failed { reason } = self;
        f.write_str(reason)
    }
}

impl std::error::Error for NativeForeignError {}

impl From<UnexpectedUniFFICallbackError> for NativeForeignError {
    fn from(_: UnexpectedUniFFICallbackError) -> Self {
        // Its reason quotes the exception, which may quote a secret.
        Self::Failed { reason: "failed in a way that it does not declare".into() }
    }
}

/// A program's own source. The answer is the JSON of a set, in the short form or in that of the protocol.
#[uniffi::export(foreign)]
pub trait NativeFunction: Send + Sync {
    /// Begins to ask for the current set, and does not wait: what comes of it is put into `answer`, which is dropped
    /// once the program's code has ended. What this returns is told when nobody waits any more.
    fn begin(
        &self,
        answer: Arc<NativeAnswer>,
    ) -> Result<Arc<dyn NativePending>, NativeForeignError>;
}

/// A call of the program's own code that goes on.
#[uniffi::export(foreign)]
pub trait NativePending: Send + Sync {
    /// Nobody waits for it any more; it may have ended.
    fn cancel(&self) -> Result<(), NativeForeignError>;
}

/// Where the outcome of a call goes.
#[derive(Debug, uniffi::Object)]
pub struct NativeAnswer(Answer);

#[uniffi::export]
impl NativeAnswer {
    /// The function returned this, or did what is said for people, such as "threw IllegalStateException".
    pub fn settle(&self, returned: Option<Arc<NativeSecret>>, failure: Option<String>) {
        let failed = || function_failed(failure.as_deref().unwrap_or("returned nothing"));
        self.0.settle(returned.map(|secret| secret.0.clone()).ok_or_else(failed));
    }
}

/// The device's own place for secrets.
#[uniffi::export(foreign)]
pub trait NativeStorage: Send + Sync {
    /// What is stored; none if nothing is. It is called on a thread that may block.
    fn load(&self) -> Result<Option<Arc<NativeSecret>>, NativeForeignError>;
}

/// Whether the device has a network.
#[uniffi::export(foreign)]
pub trait NativeReachability: Send + Sync {
    /// Asked before each fetch. It must answer at once.
    fn is_reachable(&self) -> Result<bool, NativeForeignError>;
}

/// Where the log goes.
#[uniffi::export(foreign)]
pub trait NativeLogger: Send + Sync {
    /// One line, which holds no secret. It is called on a thread that serves the log alone.
    fn log(
        &self,
        level: NativeLevel,
        event: String,
        text: String,
    ) -> Result<(), NativeForeignError>;
}

/// Told of each epoch, right after its snapshot can be read.
#[uniffi::export(foreign)]
pub trait NativeWatcher: Send + Sync {
    /// It must return at once: keep the number, and look later.
    fn published(&self, epoch: u64) -> Result<(), NativeForeignError>;
}

/// From now on the log of this library goes there; nowhere, if there is none.
#[uniffi::export]
pub fn set_logger(logger: Option<Arc<dyn NativeLogger>>) -> Result<(), NativeError> {
    static LOGGER: Mutex<Option<LoggerGuard>> = Mutex::new(None);
    let guard = logger.map(|logger| add_logger(Arc::new(Told(logger)))).transpose()?;
    *LOGGER.lock().unwrap_or_else(PoisonError::into_inner) = guard;
    Ok(())
}

struct Told(Arc<dyn NativeLogger>);

impl Logger for Told {
    fn log(&self, record: &LogRecord) {
        // A logger that fails has nobody to be told.
        let _ = self.0.log(record.level, record.event.clone(), record.text.clone());
    }
}

/// A source that is a function of the program.
pub(crate) struct Called(pub(crate) Arc<dyn NativeFunction>);

impl ForeignFunction for Called {
    fn begin(&self, answer: Answer) -> Result<Pending, Error> {
        let pending = self.0.begin(Arc::new(NativeAnswer(answer)));
        let pending = pending.map_err(|error| function_failed(&error.to_string()))?;
        Ok(Box::new(Cancelling(pending)))
    }
}

struct Cancelling(Arc<dyn NativePending>);

impl Drop for Cancelling {
    fn drop(&mut self) {
        let _ = self.0.cancel();
    }
}

/// A place for secrets that something else keeps fresh, read on a thread that may block.
pub(crate) struct Stored(pub(crate) Arc<dyn NativeStorage>);

impl ForeignFunction for Stored {
    fn begin(&self, answer: Answer) -> Result<Pending, Error> {
        let storage = self.0.clone();
        runtime()?.spawn_blocking(move || {
            let failed = |what: &str| {
                let what = format!("the storage {what}; the set that is held stays in use");
                Error::new(ErrorKind::SourceFailed, what)
            };
            let loaded = storage.load().map_err(|error| failed(&error.to_string()));
            let stored = loaded.and_then(|it| it.ok_or_else(|| failed("is empty")));
            answer.settle(stored.map(|secret| secret.0.clone()));
        });
        Ok(Box::new(()))
    }
}
