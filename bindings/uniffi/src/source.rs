//! Where sets come from.

use std::sync::Arc;

use keyswap_host::{
    Error, Function, Input, Inputs, Source,
    options::{EnvOptions, FileOptions},
};

use crate::{
    foreign::{Called, NativeFunction, NativeReachability, NativeStorage, Stored},
    reachable::Reachable,
    records::{NativeEndpointOptions, NativeError},
};

/// A recipe: each handle that follows it makes its own source of it.
#[derive(Debug, uniffi::Object)]
pub struct NativeSource {
    source: Source,
    mints: bool,
}

#[uniffi::export]
impl NativeSource {
    /// A rotation endpoint, and the device's place for secrets that holds its credential, if one does.
    #[uniffi::constructor]
    pub fn endpoint(
        options: NativeEndpointOptions,
        storage: Option<Arc<dyn NativeStorage>>,
    ) -> Result<Arc<Self>, NativeError> {
        let mut inputs = Inputs::default();
        if let Some(storage) = storage {
            let function = Function::new(Arc::new(Stored(storage)));
            inputs = inputs.with("bootstrap", Input::Function(function));
        }
        Ok(Self::new(Source::new(options, inputs)?, false))
    }

    /// This endpoint, and another one that is asked when all before it fail.
    pub fn or(&self, other: &NativeSource) -> Result<Arc<NativeSource>, NativeError> {
        Ok(Self::new(self.source.or(&other.source)?, false))
    }

    #[uniffi::constructor]
    pub fn file(path: String) -> Arc<Self> {
        Self::new(Source::file(FileOptions { path }), false)
    }

    #[uniffi::constructor]
    pub fn env(variable: String, id: Option<String>) -> Arc<Self> {
        Self::new(Source::env(EnvOptions { variable, id }), false)
    }

    /// The program's own function, and whether each call of it makes a new credential.
    #[uniffi::constructor]
    pub fn function(function: Arc<dyn NativeFunction>, mints: bool) -> Arc<Self> {
        Self::new(Source::function(Function::new(Arc::new(Called(function)))), mints)
    }

    #[uniffi::constructor]
    pub fn storage(storage: Arc<dyn NativeStorage>) -> Arc<Self> {
        Self::new(Source::function(Function::new(Arc::new(Stored(storage)))), false)
    }

    /// This source, not asked while the device has no network.
    pub fn reachable(
        &self,
        device: Arc<dyn NativeReachability>,
    ) -> Result<Arc<NativeSource>, NativeError> {
        let source = self.source.build(self.mints)?;
        Ok(Self::new(Source::own(Arc::new(Reachable::new(source, device))), false))
    }
}

impl NativeSource {
    fn new(source: Source, mints: bool) -> Arc<Self> {
        Arc::new(Self { source, mints })
    }

    /// The recipe, and whether it mints.
    pub(crate) fn followed(&self) -> Result<(Source, bool), Error> {
        Ok((self.source.clone(), self.mints))
    }
}
