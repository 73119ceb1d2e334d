//! What a store keeps under a name, as the material of a credential.
#![cfg_attr(
    not(all(
        feature = "aws",
        feature = "azure",
        feature = "etcd",
        feature = "gcp",
        feature = "vault"
    )),
    allow(dead_code, unused_imports, unused_macros, reason = "not every store needs all of it")
)]

use crate::{
    credential::{Credential, CredentialSet},
    error::{Error, ErrorKind},
    secret::Secret,
    source::{
        json::check_pointer,
        wire::{MAX_PIECES, MAX_PREVIOUS, Value, read},
    },
};

/// Where the pieces of material stand in what a store keeps. Without any of these, text that is no JSON object is the
/// key, and each member of an object that is text or a number is a piece of material of that name.
#[derive(Clone, Default)]
pub(super) struct MaterialPointers {
    /// The name of each piece, and its JSON pointer.
    pieces: Vec<(&'static str, Box<str>)>,
    /// The first thing that was said of it and is not valid.
    fault: Option<Error>,
}

impl MaterialPointers {
    /// Says where one stands.
    pub(super) fn point(&mut self, name: &'static str, pointer: &str) {
        if let Err(error) = check_pointer(pointer) {
            _ = self.fault.get_or_insert(error);
        }
        self.pieces.retain(|(known, _)| *known != name);
        self.pieces.push((name, pointer.into()));
    }

    /// Whether all that was said is valid.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.fault.clone().map_or(Ok(()), Err)
    }

    /// The credential in a text that a store keeps: JSON, or the key itself.
    pub(super) fn in_text(&self, id: &str, text: &str) -> Result<Credential, Error> {
        let text = text.trim_start_matches('\u{feff}').trim();
        if self.pieces.is_empty() && !text.starts_with('{') {
            return match text {
                "" => Err(malformed("it is empty")),
                key => Ok(Credential::new(id, key)),
            };
        }
        let value = read(text.as_bytes()).map_err(|what| {
            let plain = "it is a plain text, in which no pointer leads anywhere";
            malformed(if text.starts_with('{') { &what } else { plain })
        })?;
        self.in_value(id, &value)
    }

    /// The credential in JSON that a store keeps.
    pub(super) fn in_value(&self, id: &str, value: &Value) -> Result<Credential, Error> {
        let mut credential = Credential::bare(id);
        for (name, pointer) in &self.pieces {
            let text = value.at(pointer).and_then(text_of).filter(|text| !text.is_empty());
            let Some(text) = text else {
                return Err(malformed(&format!(
                    "what stands at {pointer} must be a string that is not empty"
                )));
            };
            credential = credential.with_material(name, Secret::from(text.as_str()));
        }
        if self.pieces.is_empty() {
            let Value::Object(fields) = value else { return Err(malformed("it is no object")) };
            let mut pieces: Vec<_> = fields
                .iter()
                .filter_map(|(name, value)| Some((&**name, text_of(value)?)))
                .filter(|(_, text)| !text.is_empty())
                .collect();
            if pieces.is_empty() || pieces.len() > MAX_PIECES {
                return Err(malformed("it must have between 1 and 64 members that are strings"));
            }
            // The only one is the key, whatever it is called.
            if let [(name, _)] = pieces.as_mut_slice() {
                *name = "key";
            }
            for (name, text) in pieces {
                credential = credential.with_material(name, Secret::from(text.as_str()));
            }
        }
        Ok(credential)
    }
}

/// A string, or a number as a string.
fn text_of(value: &Value) -> Option<zeroize::Zeroizing<String>> {
    match value {
        Value::Text(text) => Some(text.trim().to_owned().into()),
        Value::Whole(number) => Some(number.to_string().into()),
        _ => None,
    }
}

/// The set of what a store keeps: the newest first, and each key only once, however often the store names it.
pub(super) fn set_of(
    versions: impl IntoIterator<Item = Credential>,
) -> Result<CredentialSet, Error> {
    let mut versions = versions.into_iter();
    let Some(newest) = versions.next() else { return Err(malformed("there is no version of it")) };
    let mut set = CredentialSet::new(newest);
    for older in versions {
        let is_known = set
            .members()
            .any(|known| known.id() == older.id() || known.material() == older.material());
        if !is_known && set.previous().len() < MAX_PREVIOUS {
            set = set.with_previous(older);
        }
    }
    set.check().map_err(|error| malformed(&error.to_string()))?;
    Ok(set)
}

fn malformed(what: &str) -> Error {
    Error::new(ErrorKind::Malformed, what)
}

/// The functions of a source's builder that say where material stands. It must have a field `pointers`.
macro_rules! material_options {
    () => {
        /// A JSON pointer (RFC 6901) to the key in what is stored, such as `/api_key`. Without any pointer, text that is
        /// no JSON object is the key itself, and each member of an object that is a string is a piece of material of
        /// that name; the only one is the key, whatever its name.
        pub fn key(mut self, pointer: &str) -> Self {
            self.pointers.point("key", pointer);
            self
        }

        /// A JSON pointer to the second piece of material, named `secret`.
        pub fn secret(mut self, pointer: &str) -> Self {
            self.pointers.point("secret", pointer);
            self
        }

        /// A JSON pointer to the third piece of material, named `passphrase`.
        pub fn passphrase(mut self, pointer: &str) -> Self {
            self.pointers.point("passphrase", pointer);
            self
        }
    };
}
pub(super) use material_options;

#[cfg(test)]
mod tests {
    use super::*;

    fn pointing(pieces: &[(&'static str, &str)]) -> MaterialPointers {
        let mut pointers = MaterialPointers::default();
        for (name, pointer) in pieces {
            pointers.point(name, pointer);
        }
        pointers
    }

    #[test]
    fn text_is_the_key_and_an_object_is_its_members() {
        let any = pointing(&[]);
        let key =
            |text: &str| any.in_text("v1", text).map(|it| it.reveal("key").map(str::to_owned));
        assert_eq!(key("s3cr3t\n").expect("a key").as_deref(), Some("s3cr3t"));
        assert_eq!(key(r#"{"api_key": "s3cr3t"}"#).expect("a key").as_deref(), Some("s3cr3t"));
        let two = any.in_text("v1", r#"{"user": "app", "password": "s3cr3t", "port": 5432}"#);
        let two = two.expect("a credential");
        assert_eq!(two.reveal("password"), Some("s3cr3t"));
        assert_eq!((two.reveal("port"), two.reveal("key")), (Some("5432"), None));
        for odd in ["", " \n", "{", "{}", r#"{"a": [1]}"#, r#"{"a": "s3cr3t", "a": "s3cr3t"}"#] {
            let error = any.in_text("v1", odd).expect_err(odd);
            assert_eq!(error.kind(), ErrorKind::Malformed);
            assert!(!error.to_string().contains("s3cr3t"), "{error}");
        }
    }

    #[test]
    fn pointers_lead_into_what_is_stored() {
        let pointers = pointing(&[("key", "/a/0"), ("secret", "/b")]);
        let found = pointers.in_text("v1", r#"{"a": ["k"], "b": "s", "c": "x"}"#).expect("found");
        assert_eq!((found.reveal("key"), found.reveal("secret")), (Some("k"), Some("s")));
        assert_eq!(found.reveal("c"), None, "what nobody asked for is not kept");
        for odd in ["s3cr3t", r#"{"a": ["s3cr3t"]}"#, r#"{"a": [""], "b": "x"}"#] {
            let error = pointers.in_text("v1", odd).expect_err(odd).to_string();
            assert!(!error.contains("s3cr3t"), "{error}");
        }
        assert!(pointing(&[("key", "api_key")]).check().is_err());
    }

    #[test]
    fn a_key_that_a_store_names_twice_is_one() {
        let keys = |ids: &[(&str, &str)]| {
            set_of(ids.iter().map(|(id, key)| Credential::new(id, *key))).expect("a set")
        };
        assert_eq!(keys(&[("v2", "two"), ("v1", "one")]).previous().len(), 1);
        assert_eq!(keys(&[("v2", "two"), ("v2", "one")]).previous().len(), 0);
        assert_eq!(keys(&[("v2", "two"), ("v1", "two")]).previous().len(), 0);
        let many = keys(&[("v4", "4"), ("v3", "3"), ("v2", "2"), ("v1", "1")]);
        assert_eq!(many.previous().len(), MAX_PREVIOUS);
        assert!(set_of([]).is_err());
    }
}
