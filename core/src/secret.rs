//! Material that never prints, is wiped when dropped, and compares in constant time.
//!
//! Wiping covers the buffers of this crate. Bytes that were handed out (a header, a string that a host
//! language asked for) are copies that this crate cannot reach.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

/// One piece of key material.
///
/// ```
/// let secret = keyswap::Secret::from("hunter2");
/// assert_eq!(format!("{secret:?}"), "Secret(..)");
/// assert_eq!(secret.reveal(), "hunter2");
/// ```
///
/// It does not implement `Display`, so it cannot be printed by accident:
///
/// ```compile_fail
/// let secret = keyswap::Secret::from("hunter2");
/// println!("{secret}");
/// ```
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// The material itself. The one way to it, and easy to search for.
    pub fn reveal(&self) -> &str {
        self.0.expose_secret()
    }
}

impl From<&str> for Secret {
    fn from(value: &str) -> Self {
        Self(SecretString::from(value))
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self(SecretString::from(value))
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.reveal().as_bytes().ct_eq(other.reveal().as_bytes()).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The named pieces of one credential: `key`, `secret`, `passphrase`, or whatever the provider calls them.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Material(Vec<(Box<str>, Secret)>);

impl Material {
    /// The piece of this name.
    pub fn get(&self, name: &str) -> Option<&Secret> {
        self.0.iter().find(|(known, _)| &**known == name).map(|(_, secret)| secret)
    }

    /// Adds a piece, or replaces the one of that name.
    pub(crate) fn insert(&mut self, name: &str, secret: Secret) {
        match self.0.iter_mut().find(|(known, _)| &**known == name) {
            Some((_, held)) => *held = secret,
            // Kept sorted, so that two equal sets of pieces compare equal.
            None => {
                let at = self.0.partition_point(|(known, _)| &**known < name);
                self.0.insert(at, (name.into(), secret));
            }
        }
    }

    /// Whether there is no piece at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_prints_and_equality_is_by_value() {
        let mut a = Material::default();
        a.insert("secret", Secret::from("tiger"));
        a.insert("key", Secret::from("lion"));
        let mut b = Material::default();
        b.insert("key", Secret::from("lion"));
        b.insert("secret", Secret::from("tiger"));
        assert_eq!(a, b);
        let shown = format!("{a:?} {:?}", a.get("key"));
        assert!(!shown.contains("lion") && !shown.contains("tiger"), "{shown}");
        b.insert("key", Secret::from("lynx"));
        assert_ne!(a, b);
    }
}
