//! Credentials as JavaScript sees them: opaque objects that reveal their material when asked, by name.

use std::sync::Arc;

use jiff::Timestamp;
use napi_derive::napi;

/// Milliseconds since 1970.
pub(crate) fn millis(at: Option<Timestamp>) -> Option<f64> {
    at.map(|at| at.as_millisecond() as f64)
}

/// One usable credential.
#[napi]
pub struct NativeCredential(pub(crate) Arc<keyswap::Credential>);

#[napi]
impl NativeCredential {
    /// Its id.
    #[napi(getter)]
    pub fn id(&self) -> &str {
        self.0.id()
    }

    /// Its version, if the source gave one.
    #[napi(getter)]
    pub fn version(&self) -> Option<&str> {
        self.0.version()
    }

    /// What it may be used for.
    #[napi(getter)]
    pub fn scopes(&self) -> Vec<String> {
        self.0.scopes().iter().map(|scope| scope.to_string()).collect()
    }

    /// `created_at`, `not_before`, `activate_at`, `expires_at` and `grace_expires_at`.
    #[napi(getter)]
    pub fn times(&self) -> Vec<Option<f64>> {
        let it = &self.0;
        let times = [it.created_at(), it.not_before(), it.activate_at(), it.expires_at()];
        times.into_iter().chain([it.grace_expires_at()]).map(millis).collect()
    }

    /// A piece of material; none of that name.
    #[napi]
    pub fn reveal(&self, name: String) -> Option<&str> {
        self.0.reveal(&name)
    }
}
