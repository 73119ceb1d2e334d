//! Doors for fuzz targets: whatever another machine can feed to a reader of this crate, as bytes. Each says
//! whether the reader found something in it. No part of the interface for programs.

use http::{HeaderMap, HeaderName, HeaderValue};

pub use crate::source::fuzzing::*;

/// `Credential-Status`, as an API may write it.
pub fn credential_status(value: &[u8]) -> bool {
    let mut headers = HeaderMap::new();
    let Ok(value) = HeaderValue::from_bytes(value) else { return false };
    headers.insert(HeaderName::from_static("credential-status"), value);
    crate::client::status::read(&headers).is_some()
}
