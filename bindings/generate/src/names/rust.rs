//! Rust: the public surface that `tests/run rust` compares with the crate, by its last names.

use super::{Name, Names, word};
use crate::{Files, Result};

const LISTING: &str = "core/public-api.txt";
/// Of stores the options are compared, whose description is in the host; and signatures that are built in are Rust's yet.
const APART: &[&str] = &["api", "aws", "azure", "etcd", "gcp", "oauth2", "signing", "vault"];

pub(super) fn names(files: &Files<'_>) -> Result<Names> {
    let mut names = Names::new();
    let mut is_of_trait = false;
    for line in files.read(LISTING)?.lines() {
        if line.starts_with("impl") {
            // What a type has by a trait of others is not ours to name.
            is_of_trait = line.contains(" for ");
            continue;
        }
        let Some(mut rest) = line.split_once("pub ").map(|(_, rest)| rest) else { continue };
        let kind =
            ["struct", "enum", "trait", "mod", "type", "const fn", "const", "async fn", "fn"]
                .into_iter()
                .find(|kind| rest.strip_prefix(kind).is_some_and(|rest| rest.starts_with(' ')));
        if let Some(kind) = kind {
            rest = rest[kind.len()..].trim_start();
        }
        if matches!(kind, Some("struct" | "enum" | "trait")) {
            is_of_trait = false;
        }
        let path = path(rest);
        // Modules are where names stand, and what is in a variant is the same as in the record of others.
        let modules = path.iter().take_while(|part| part.starts_with(char::is_lowercase));
        let is_apart = modules.skip(1).any(|part| APART.contains(part));
        if kind == Some("mod") || path.first() != Some(&"keyswap") || is_apart {
            continue;
        }
        let first = path.iter().position(|part| part.starts_with(char::is_uppercase));
        let is_constant =
            |part: &str| part.chars().all(|letter| letter.is_uppercase() || letter == '_');
        match (&path[first.unwrap_or(path.len())..], kind) {
            ([], _) => {
                names.insert(Name::member("", path.last().expect("a path")));
            }
            ([name], Some("const")) if is_constant(name) => {
                names.insert(Name::member("", name));
            }
            ([name], _) => {
                names.insert(Name::kind(name));
            }
            ([of, name], _) if *name != "new" && !is_of_trait => {
                names.insert(Name::member(of, name));
            }
            _ => {}
        }
    }
    Ok(names)
}

/// The parts of a path, without parameters: `keyswap::Peeked<R>::Data`.
fn path(text: &str) -> Vec<&str> {
    let (mut parts, mut rest) = (Vec::new(), text);
    loop {
        let part = word(rest);
        parts.push(part);
        rest = &rest[part.len()..];
        if rest.starts_with('<') {
            let mut depth = 0;
            let end = rest.find(|letter| {
                depth += i32::from(letter == '<') - i32::from(letter == '>');
                depth == 0
            });
            rest = &rest[end.map_or(rest.len(), |end| end + 1)..];
        }
        match rest.strip_prefix("::") {
            Some(next) => rest = next,
            None => return parts,
        }
    }
}
