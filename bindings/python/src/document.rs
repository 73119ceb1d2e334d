//! A mapping that a program's own source returned, as a `keyswap/1` document.
//!
//! The core reads and judges the document; this only writes it. What Python writes shorter is allowed:
//! `key=`, `secret=` and `passphrase=` for the material, and times as `datetime` or as seconds since 1970.
//! Nothing of the mapping is quoted in an error.

use jiff::Timestamp;
use keyswap::{CredentialSet, Error, ErrorKind};
use pyo3::{
    prelude::*,
    types::{PyBool, PyFloat, PyInt, PyMapping, PyString},
};
use zeroize::Zeroizing;

/// Pieces of material that may stand beside the id.
const PIECES: [&str; 3] = ["key", "secret", "passphrase"];
/// Fields that are times.
const TIMES: [&str; 8] = [
    "server_time",
    "refresh_after",
    "stale_ok_until",
    "created_at",
    "not_before",
    "activate_at",
    "expires_at",
    "grace_expires_at",
];
/// No document of the protocol is deeper; one that holds itself would not end.
const MAX_DEPTH: u32 = 8;

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
    keyswap::source::parse(&out)
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
    if let Some(field) = field.filter(|field| TIMES.contains(field) && !value.is_none()) {
        let text = time(value).map_err(|()| {
            let what =
                "must be an RFC 3339 string, a datetime with a time zone, or seconds since 1970";
            malformed(format!("{field} {what}"))
        })?;
        text_to(&text, out);
    } else if value.is_none() {
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
    let is_credential = matches!(field, Some("current" | "previous" | "next"));
    let mut pieces = Vec::new();
    let mut first = true;
    out.push(b'{');
    for item in mapping.items().map_err(broken)?.iter() {
        let (name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract().map_err(broken)?;
        let Ok(name) = name.extract::<String>() else {
            return Err(malformed("the names of fields must be strings"));
        };
        if is_credential && PIECES.contains(&name.as_str()) {
            pieces.push((name, value));
            continue;
        }
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        text_to(&name, out);
        out.push(b':');
        // A name inside `material` may be anything, also one that elsewhere is a time.
        let field = if field == Some("material") { "material" } else { &name };
        write(&value, Some(field), depth + 1, out)?;
    }
    if !pieces.is_empty() {
        out.extend_from_slice(if first { b"\"material\":{" } else { b",\"material\":{" });
        for (index, (name, value)) in pieces.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            text_to(name, out);
            out.push(b':');
            write(value, Some("material"), depth + 1, out)?;
        }
        out.push(b'}');
    }
    out.push(b'}');
    Ok(())
}

fn time(value: &Bound<'_, PyAny>) -> Result<String, ()> {
    if let Ok(text) = value.extract::<String>() {
        return Ok(text);
    }
    let seconds = match value.getattr("tzinfo") {
        Ok(zone) if zone.is_none() => return Err(()),
        Ok(_) => value.call_method0("timestamp").and_then(|at| at.extract::<f64>()),
        Err(_) => value.extract::<f64>(),
    };
    let micros = seconds.map_err(drop)? * 1e6;
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
