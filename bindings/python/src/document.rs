//! A mapping that a program's own source returned, as a `keyswap/1` document.
//!
//! The core reads and judges the document, shorter forms included; this only writes it, and a `datetime`
//! as the protocol's text. Nothing of the mapping is quoted in an error.

use jiff::Timestamp;
use keyswap::{CredentialSet, Error, ErrorKind};
use pyo3::{
    prelude::*,
    types::{PyBool, PyFloat, PyInt, PyMapping, PyString},
};
use zeroize::Zeroizing;

/// No document of the protocol is deeper; one that holds itself would not end.
const MAX_DEPTH: u32 = 8;
/// The fields that an error may name. Where names and values are mixed up, any other name is a secret.
const FIELDS: [&str; 29] = [
    "protocol",
    "set",
    "generation",
    "lineage",
    "current",
    "previous",
    "next",
    "revoked",
    "server_time",
    "refresh_after",
    "stale_ok_until",
    "splay_seconds",
    "audience",
    "levels",
    "scopes",
    "id",
    "material",
    "key",
    "secret",
    "passphrase",
    "version",
    "scheme",
    "params",
    "header",
    "created_at",
    "not_before",
    "activate_at",
    "expires_at",
    "grace_expires_at",
];

/// Reads the set that the mapping is.
pub(crate) fn read(value: &Bound<'_, PyAny>) -> Result<CredentialSet, Error> {
    if value.cast::<PyMapping>().is_err() {
        let class = value.get_type().name().map_or_else(|_| "object".into(), |n| n.to_string());
        let what = format!(
            "a source must return a mapping such as {{\"current\": {{\"id\": ..., \"key\": ...}}}}, not {class}"
        );
        return Err(malformed(what));
    }
    let mut out = Zeroizing::new(Vec::with_capacity(1024));
    write(value, None, 0, &mut out)?;
    keyswap::host::parse_short(&out)
}

fn write(
    value: &Bound<'_, PyAny>,
    field: Option<&str>,
    depth: u32,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let odd = || {
        let field = field.unwrap_or("the document");
        Err(malformed(format!("{field} must be what JSON can hold")))
    };
    if depth > MAX_DEPTH {
        return odd();
    }
    if value.is_none() {
        out.extend_from_slice(b"null");
    } else if let Ok(truth) = value.cast::<PyBool>() {
        out.extend_from_slice(if truth.is_true() { b"true" } else { b"false" });
    } else if let Ok(text) = value.cast::<PyString>() {
        match text.to_str() {
            Ok(text) => text_to(text, out),
            Err(_) => return odd(),
        }
    } else if value.is_instance_of::<PyInt>() || value.is_instance_of::<PyFloat>() {
        let number = match value.extract::<i64>() {
            Ok(number) => number.to_string(),
            Err(_) => match value.extract::<f64>() {
                Ok(number) if number.is_finite() => number.to_string(),
                _ => return odd(),
            },
        };
        out.extend_from_slice(number.as_bytes());
    } else if let Ok(mapping) = value.cast::<PyMapping>() {
        write_mapping(mapping, field, depth, out)?;
    } else if value.hasattr("tzinfo").unwrap_or(false) {
        let text = time(value).map_err(|()| {
            let field = field.unwrap_or("the document");
            malformed(format!("{field} must be a datetime with a time zone"))
        })?;
        text_to(&text, out);
    } else {
        let Ok(items) = value.try_iter() else { return odd() };
        out.push(b'[');
        for (index, item) in items.enumerate() {
            let Ok(item) = item else { return odd() };
            if index > 0 {
                out.push(b',');
            }
            write(&item, field, depth + 1, out)?;
        }
        out.push(b']');
    }
    Ok(())
}

fn write_mapping(
    mapping: &Bound<'_, PyMapping>,
    field: Option<&str>,
    depth: u32,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let broken = |_| malformed("the mapping that the source returned cannot be read");
    out.push(b'{');
    for (index, item) in mapping.items().map_err(broken)?.iter().enumerate() {
        let (name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract().map_err(broken)?;
        let Ok(name) = name.extract::<String>() else {
            return Err(malformed("the names of fields must be strings"));
        };
        if index > 0 {
            out.push(b',');
        }
        text_to(&name, out);
        out.push(b':');
        let is_known = FIELDS.contains(&&*name) && field != Some("material");
        let field = if is_known { Some(&*name) } else { field };
        write(&value, field, depth + 1, out)?;
    }
    out.push(b'}');
    Ok(())
}

fn time(value: &Bound<'_, PyAny>) -> Result<String, ()> {
    // `datetime.max` and `datetime.min` have no zone and are beyond what a timestamp can be: the core knows
    // what both ends of the calendar mean.
    let year: i32 = value.getattr("year").and_then(|year| year.extract()).map_err(drop)?;
    if matches!(year, 1 | 9999) {
        return value.call_method0("isoformat").and_then(|text| text.extract()).map_err(drop);
    }
    if value.getattr("tzinfo").map_err(drop)?.is_none() {
        return Err(());
    }
    let seconds: f64 = value.call_method0("timestamp").and_then(|at| at.extract()).map_err(drop)?;
    let micros = seconds * 1e6;
    if !micros.is_finite() {
        return Err(());
    }
    Timestamp::from_microsecond(micros as i64).map(|at| at.to_string()).map_err(drop)
}

fn text_to(text: &str, out: &mut Vec<u8>) {
    // Writing a string to a vector cannot fail.
    let _ = serde_json::to_writer(out, text);
}

fn malformed(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Malformed, what)
}
