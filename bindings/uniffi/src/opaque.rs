//! Objects that hold material, and reveal it when asked, by name. None of them prints it.

use std::{fmt, sync::Arc};

use keyswap::Credential;
use keyswap_host::{Patch, SecretText};

use crate::records::{NativeError, NativeFacts, NativeNext};

/// Text that never prints: a bootstrap credential, a private key, or the set that a function returned.
#[derive(Debug, uniffi::Object)]
#[uniffi::export(Debug, Display)]
pub struct NativeSecret(pub(crate) SecretText);

#[uniffi::export]
impl NativeSecret {
    #[uniffi::constructor]
    pub fn new(text: String) -> Arc<Self> {
        Arc::new(Self(text.into()))
    }
}

#[derive(uniffi::Object)]
#[uniffi::export(Debug, Display)]
pub struct NativeCredential(pub(crate) Arc<Credential>);

#[uniffi::export]
impl NativeCredential {
    pub fn facts(&self) -> NativeFacts {
        NativeFacts::from(&*self.0)
    }

    /// A piece of material, in the clear; none of that name.
    pub fn reveal(&self, name: String) -> Option<String> {
        self.0.reveal(&name).map(str::to_owned)
    }
}

#[derive(Debug, uniffi::Object)]
#[uniffi::export(Debug, Display)]
pub struct NativePatch(pub(crate) Patch);

#[uniffi::export]
impl NativePatch {
    /// What is on a request to an origin that is not allowed.
    #[uniffi::constructor]
    pub fn nothing() -> Arc<Self> {
        Arc::new(Self(Patch::default()))
    }

    pub fn reveal(&self) -> Vec<String> {
        self.0.reveal()
    }

    pub fn has_query(&self) -> bool {
        self.0.has_query()
    }

    pub fn reveal_url(&self, url: String) -> Result<String, NativeError> {
        Ok(self.0.reveal_url(&url)?)
    }

    pub fn follow(
        &self,
        method: String,
        url: String,
        replayable: bool,
        status: u32,
        location: String,
    ) -> Result<Option<NativeNext>, NativeError> {
        Ok(self.0.follow(&method, &url, replayable, status, &location)?)
    }

    pub fn masked(&self, url: String, location: String) -> Result<Option<String>, NativeError> {
        Ok(self.0.masked(&url, &location)?)
    }
}

impl fmt::Display for NativeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl fmt::Display for NativePatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Patch(..)")
    }
}

impl fmt::Display for NativeCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({})", self.0.id())
    }
}

impl fmt::Debug for NativeCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
