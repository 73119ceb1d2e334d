//! JSON as a tree whose strings are wiped when it is dropped.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use zeroize::Zeroizing;

use super::MAX_DOCUMENT;

/// Reads a document of at most 64 KiB. What is wrong with it is said in words that quote nothing.
pub(in crate::source) fn read(document: &[u8]) -> Result<Value, String> {
    if document.len() > MAX_DOCUMENT {
        return Err("it is larger than 64 KiB".into());
    }
    // Some serializers put a byte order mark first, which RFC 8259 lets a reader pass over.
    let document = document.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(document);
    serde_json::from_slice(document).map_err(|error| {
        let what = match error.classify() {
            Category::Eof => "the JSON ends too early",
            // The tree takes every value, so the only fault that is not one of syntax is its own.
            Category::Data => "a field stands twice in one object",
            Category::Syntax | Category::Io => "it is not JSON",
        };
        format!("{what} (line {}, column {})", error.line(), error.column())
    })
}

/// Reads an answer, which a proxy on the way may have compressed though nobody asked for it.
pub(in crate::source) fn read_answer(body: &[u8]) -> Result<Value, String> {
    const GZIP: &[u8] = &[0x1f, 0x8b];
    if !body.starts_with(GZIP) {
        return read(body);
    }
    unpack(body).map_or_else(
        || Err("it is compressed (gzip) and cannot be unpacked".into()),
        |it| read(&it),
    )
}

/// What the gzip holds, cut off behind the largest document. None if it cannot be unpacked.
#[cfg(feature = "gzip")]
fn unpack(body: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    use std::io::Read as _;

    // One buffer of the full size: one that grows leaves copies behind.
    let mut plain = Zeroizing::new(Vec::with_capacity(MAX_DOCUMENT + 1));
    let most = MAX_DOCUMENT as u64 + 1;
    flate2::read::GzDecoder::new(body).take(most).read_to_end(&mut plain).ok()?;
    Some(plain)
}

/// Nothing is unpacked here: who asked for no compression is rarely sent any.
#[cfg(not(feature = "gzip"))]
fn unpack(_: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    None
}

/// JSON, with strings that are wiped. Not `Debug`, so that it cannot be printed.
pub(in crate::source) enum Value {
    Null,
    #[cfg_attr(
        not(any(feature = "azure", feature = "vault")),
        allow(dead_code, reason = "some stores alone look at it")
    )]
    Bool(bool),
    Whole(u64),
    Fraction(f64),
    Text(Zeroizing<String>),
    List(Vec<Value>),
    Object(Vec<(Box<str>, Value)>),
}

impl Value {
    /// What stands at this JSON pointer (RFC 6901). None also for a null: many serializers write one for what
    /// they do not have.
    pub(in crate::source) fn at(&self, pointer: &str) -> Option<&Value> {
        let found = pointer.split('/').skip(1).try_fold(self, |value, part| match value {
            Self::Object(fields) => {
                let name = part.replace("~1", "/").replace("~0", "~");
                fields.iter().find(|(known, _)| **known == *name).map(|(_, value)| value)
            }
            // An index has no sign and no zero in front.
            Self::List(items) if part == "0" || !part.starts_with(['0', '+']) => {
                items.get(part.parse::<usize>().ok()?)
            }
            _ => None,
        });
        found.filter(|value| !matches!(value, Self::Null))
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Tree)
    }
}

struct Tree;

impl<'de> Visitor<'de> for Tree {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Whole(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Fraction(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Fraction(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(Zeroizing::new(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = from.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut fields: Vec<(Box<str>, Value)> = Vec::new();
        while let Some(field) = from.next_entry::<Box<str>, Value>()? {
            fields.push(field);
        }
        // Parsers disagree on which of two wins: such a document would mean two things. Sorted, because
        // looking each name up among the others would take time by the square of their number.
        let mut names: Vec<&str> = fields.iter().map(|(name, _)| &**name).collect();
        names.sort_unstable();
        match names.windows(2).any(|pair| pair[0] == pair[1]) {
            true => Err(A::Error::custom("twice")),
            false => Ok(Value::Object(fields)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 6901, section 5, and what is no place.
    #[test]
    fn a_pointer_leads_to_what_stands_there() {
        let document =
            br#"{"foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5,
            "k\"l": 6, " ": 7, "m~n": 8, "o~1p": 9, "null": null}"#;
        let document = read(document).expect("a document");
        let whole = |pointer| match document.at(pointer) {
            Some(Value::Whole(number)) => Some(*number),
            _ => None,
        };
        let pointers =
            ["/", "/a~1b", "/c%d", "/e^f", "/g|h", "/i\\j", "/k\"l", "/ ", "/m~0n", "/o~01p"];
        for (number, pointer) in (0..).zip(pointers) {
            assert_eq!(whole(pointer), Some(number), "{pointer}");
        }
        assert!(matches!(document.at(""), Some(Value::Object(_))));
        assert!(matches!(document.at("/foo/1"), Some(Value::Text(text)) if **text == "baz"));
        for pointer in [
            "/foo/2",
            "/foo/-",
            "/foo/01",
            "/foo/+1",
            "/foo/0/x",
            "/bar",
            "/null",
            "/foo/99999999999999999999",
        ] {
            assert!(document.at(pointer).is_none(), "{pointer}");
        }
    }
}
