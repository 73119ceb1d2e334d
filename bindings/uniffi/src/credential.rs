//! Credentials as other languages see them: opaque objects that reveal their material when asked, by name.

use std::{fmt, sync::Arc};

use jiff::Timestamp;
use zeroize::Zeroizing;

/// Text that never prints: a bootstrap credential, a private key, or the set that a function returned.
#[derive(uniffi::Object)]
#[uniffi::export(Debug, Display)]
pub struct NativeSecret(Zeroizing<String>);

#[uniffi::export]
impl NativeSecret {
    /// Takes the text in.
    #[uniffi::constructor]
    pub fn new(text: String) -> Arc<Self> {
        Arc::new(Self(Zeroizing::new(text)))
    }

    /// The text, in the clear.
    pub fn reveal(&self) -> String {
        self.0.to_string()
    }
}

impl NativeSecret {
    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for NativeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl fmt::Display for NativeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// One usable credential.
#[derive(uniffi::Object)]
#[uniffi::export(Debug, Display)]
pub struct NativeCredential(Arc<keyswap::Credential>);

/// What is known of a credential, without its material. Times are milliseconds since 1970.
#[derive(Debug, uniffi::Record)]
pub struct NativeFacts {
    /// Its id.
    pub id: String,
    /// Its version, if the source gave one.
    pub version: Option<String>,
    /// What it may be used for.
    pub scopes: Vec<String>,
    /// When it was made.
    pub created_at_ms: Option<i64>,
    /// When it begins to be valid.
    pub not_before_ms: Option<i64>,
    /// When a staged one is to be used.
    pub activate_at_ms: Option<i64>,
    /// When it ends.
    pub expires_at_ms: Option<i64>,
    /// When its use as a fallback ends.
    pub grace_expires_at_ms: Option<i64>,
}

#[uniffi::export]
impl NativeCredential {
    /// What is known of it, without its material.
    pub fn facts(&self) -> NativeFacts {
        let it = &self.0;
        NativeFacts {
            id: it.id().to_owned(),
            version: it.version().map(str::to_owned),
            scopes: it.scopes().iter().map(|scope| scope.to_string()).collect(),
            created_at_ms: millis(it.created_at()),
            not_before_ms: millis(it.not_before()),
            activate_at_ms: millis(it.activate_at()),
            expires_at_ms: millis(it.expires_at()),
            grace_expires_at_ms: millis(it.grace_expires_at()),
        }
    }

    /// A piece of material, in the clear; none of that name.
    pub fn reveal(&self, name: String) -> Option<String> {
        self.0.reveal(&name).map(str::to_owned)
    }
}

impl NativeCredential {
    pub(crate) fn new(credential: Arc<keyswap::Credential>) -> Arc<Self> {
        Arc::new(Self(credential))
    }
}

impl fmt::Debug for NativeCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({})", self.0.id())
    }
}

impl fmt::Display for NativeCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Milliseconds since 1970.
pub(crate) fn millis(at: Option<Timestamp>) -> Option<i64> {
    at.map(Timestamp::as_millisecond)
}
