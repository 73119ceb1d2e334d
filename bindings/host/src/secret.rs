//! Text that never prints.

use std::fmt;

use keyswap::Secret;
use serde::{Deserialize, Deserializer};

/// A bootstrap credential, a private key, or the set that a function returned. It never prints, and is wiped
/// when dropped.
#[derive(Clone)]
pub struct SecretText(Secret);

impl SecretText {
    /// The text, in the clear.
    pub fn reveal(&self) -> &str {
        self.0.reveal()
    }

    pub(crate) fn to_core(&self) -> Secret {
        self.0.clone()
    }
}

impl From<String> for SecretText {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<&str> for SecretText {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(Self::from)
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
