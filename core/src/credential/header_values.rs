//! Values of headers that carry a credential's material.

use std::{fmt, sync::OnceLock};

use http::HeaderValue;

/// How material stands in a header.
#[derive(Clone, Copy)]
pub(crate) enum Form {
    /// The key alone.
    Plain,
    /// `Bearer`, and the key.
    Bearer,
    /// `Basic`, and the key and the secret, encoded.
    Basic,
}

/// Made when a request first needs one, and shared by all that come after. It is no part of what a
/// credential is: it follows from the material.
#[derive(Default)]
pub(super) struct HeaderValues([OnceLock<HeaderValue>; 3]);

impl HeaderValues {
    /// The value of this form; what cannot be made is tried again.
    pub(super) fn get_or_make<E>(
        &self,
        form: Form,
        make: impl FnOnce() -> Result<HeaderValue, E>,
    ) -> Result<HeaderValue, E> {
        let place = &self.0[form as usize];
        match place.get() {
            Some(value) => Ok(value.clone()),
            None => make().map(|value| place.get_or_init(|| value).clone()),
        }
    }
}

/// The copy may be given other material.
impl Clone for HeaderValues {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for HeaderValues {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for HeaderValues {}

impl fmt::Debug for HeaderValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HeaderValues(..)")
    }
}
