//! Credentials as JavaScript sees them: opaque objects that reveal their material when asked, by name.

use std::sync::Arc;

use keyswap_host::CredentialRecord;
use napi_derive::napi;
use serde_json::Value;

/// One usable credential.
#[napi]
pub struct NativeCredential(pub(crate) Arc<keyswap::Credential>);

#[napi]
impl NativeCredential {
    /// What is known of it, without its material.
    #[napi(ts_return_type = "Record<string, unknown>")]
    pub fn facts(&self) -> Value {
        serde_json::to_value(CredentialRecord::from(&*self.0)).unwrap_or_default()
    }

    /// A piece of material; none of that name.
    #[napi]
    pub fn reveal(&self, name: String) -> Option<&str> {
        self.0.reveal(&name)
    }
}
