//! What a command printed, in one of the forms that such programs have.

use zeroize::Zeroizing;

use crate::{
    credential::{Credential, CredentialSet},
    error::{Error, ErrorKind},
    secret::Secret,
    source::wire::{Value, read, short, time},
};

/// The set in it. `named` is what a credential is called that has no name of its own.
pub(super) fn set(output: &[u8], named: &str) -> Result<CredentialSet, Error> {
    let text = std::str::from_utf8(output).map_err(|_| malformed("it is not UTF-8 text"))?;
    // Shells of Windows put a byte order mark first, which no key has.
    let text = text.trim_start_matches('\u{feff}').trim();
    let set = if text.starts_with('{') {
        let root = read(text.as_bytes()).map_err(|what| malformed(&what))?;
        if root.at("/AccessKeyId").is_some() {
            CredentialSet::new(aws(&root, named)?)
        } else if matches!(word(&root, "/kind"), Some("ExecCredential")) {
            CredentialSet::new(kubernetes(&root, named)?)
        } else {
            short(&root)?
        }
    } else if text.is_empty() {
        return Err(malformed("it is empty"));
    } else if text.contains(['\n', '\r']) {
        return Err(malformed("it has more than one line: print the key alone, or JSON"));
    } else {
        CredentialSet::new(Credential::new(named, text))
    };
    set.check().map_err(|error| malformed(&error.to_string()))?;
    Ok(set)
}

/// What AWS calls `credential_process`.
fn aws(root: &Value, named: &str) -> Result<Credential, Error> {
    if !matches!(root.at("/Version"), Some(Value::Whole(1))) {
        return Err(malformed("its Version must be 1: no other of these is known"));
    }
    let pieces = [
        ("key", "/AccessKeyId"),
        ("secret", "/SecretAccessKey"),
        ("session_token", "/SessionToken"),
    ];
    let mut credential = Credential::bare(named);
    for (name, pointer) in pieces {
        match word(root, pointer) {
            Some(text) => credential = credential.with_material(name, Secret::from(text)),
            // Long-lived keys have none.
            None if name == "session_token" => {}
            None => return Err(malformed(&format!("there is no text at {pointer}"))),
        }
    }
    ending(credential, root, "/Expiration")
}

/// What kubectl calls an `ExecCredential`.
fn kubernetes(root: &Value, named: &str) -> Result<Credential, Error> {
    let is_known = word(root, "/apiVersion")
        .is_some_and(|version| version.starts_with("client.authentication.k8s.io/"));
    if !is_known {
        return Err(malformed("its apiVersion must be one of client.authentication.k8s.io"));
    }
    let pieces = [
        ("key", "/status/token"),
        ("client_certificate", "/status/clientCertificateData"),
        ("client_key", "/status/clientKeyData"),
    ];
    let mut credential = Credential::bare(named);
    for (name, pointer) in pieces {
        if let Some(text) = word(root, pointer) {
            credential = credential.with_material(name, Secret::from(text));
        }
    }
    if credential.material().is_empty() {
        return Err(malformed("its status has neither a token nor a client certificate"));
    }
    ending(credential, root, "/status/expirationTimestamp")
}

fn ending(credential: Credential, root: &Value, pointer: &str) -> Result<Credential, Error> {
    let Some(value) = root.at(pointer) else { return Ok(credential) };
    match time(value) {
        Some(Some(end)) => Ok(credential.with_expires_at(end)),
        Some(None) => Ok(credential),
        None => Err(malformed(&format!("what stands at {pointer} must be an RFC 3339 time"))),
    }
}

fn word<'a>(root: &'a Value, pointer: &str) -> Option<&'a str> {
    match root.at(pointer)? {
        Value::Text(text) => Some(text.trim()).filter(|text| !text.is_empty()),
        _ => None,
    }
}

fn malformed(what: &str) -> Error {
    Error::new(ErrorKind::Malformed, what)
}

/// Where output is read into.
pub(super) type Output = Zeroizing<Vec<u8>>;
