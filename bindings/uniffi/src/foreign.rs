//! What a program brings itself, in its own language. Its failures arrive as errors without its words,
//! which may hold anything.

use std::{fmt, sync::Arc};

use keyswap::{
    CredentialSet, Error, ErrorKind, Source,
    host::parse_short,
    source::{BoxFuture, Fetched},
};
use uniffi::UnexpectedUniFFICallbackError;

use crate::{credential::NativeSecret, journal::NativeLevel};

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
#[async_trait::async_trait]
pub trait NativeFunction: Send + Sync {
    /// Asks for the current set. It may be dropped at any time.
    async fn fetch(&self) -> Result<Arc<NativeSecret>, NativeForeignError>;
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

/// A source that is a function of the program.
pub(crate) struct Asked {
    pub(crate) function: Arc<dyn NativeFunction>,
    pub(crate) mints: bool,
}

impl Source for Asked {
    fn fetch<'a>(&'a self, _: Option<&'a CredentialSet>) -> BoxFuture<'a, Result<Fetched, Error>> {
        Box::pin(async move {
            let told =
                self.function.fetch().await.map_err(|error| failed("the function", &error))?;
            parse_short(told.text().as_bytes()).map(Fetched::Set)
        })
    }

    fn mints(&self) -> bool {
        self.mints
    }
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Function(..)")
    }
}

/// A source that is a place for secrets, which something else keeps fresh.
pub(crate) struct Stored(pub(crate) Arc<dyn NativeStorage>);

impl Source for Stored {
    fn fetch<'a>(&'a self, _: Option<&'a CredentialSet>) -> BoxFuture<'a, Result<Fetched, Error>> {
        Box::pin(async move {
            let told = load(self.0.clone()).await?;
            parse_short(told.text().as_bytes()).map(Fetched::Set)
        })
    }
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Storage(..)")
    }
}

/// What is stored, read on a thread that may block.
pub(crate) async fn load(storage: Arc<dyn NativeStorage>) -> Result<Arc<NativeSecret>, Error> {
    let loaded = tokio::task::spawn_blocking(move || storage.load()).await;
    let loaded = loaded.map_err(|_| Error::new(ErrorKind::SourceFailed, "the storage failed"))?;
    loaded
        .map_err(|error| failed("the storage", &error))?
        .ok_or_else(|| Error::new(ErrorKind::SourceFailed, "the storage is empty"))
}

fn failed(who: &str, error: &NativeForeignError) -> Error {
    Error::new(ErrorKind::SourceFailed, format!("{who} {error}; the set that is held stays in use"))
}
