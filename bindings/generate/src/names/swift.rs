//! Swift: what is `public`, and what a public protocol or enum holds.

use super::{Line, Names, Within, after, declared, word};
use crate::{Files, Result};

const FOLDER: &str = "bindings/swift/Sources/Keyswap";
const SKIPPED: &[&str] = &[
    "public",
    "open",
    "private",
    "fileprivate",
    "internal",
    "static",
    "final",
    "mutating",
    "nonisolated",
    "indirect",
    "override",
    "convenience",
    "@discardableResult",
    "@frozen",
    "lazy",
    "weak",
];
const WANTED: &[&str] = &[
    "struct",
    "class",
    "enum",
    "actor",
    "protocol",
    "typealias",
    "extension",
    "func",
    "var",
    "let",
    "case",
];
/// What Swift itself asks for by these names.
const EVERYWHERE: &[&str] = &[
    "description",
    "debugDescription",
    "errorDescription",
    "customMirror",
    "hash",
    "makeAsyncIterator",
];

pub(super) fn names(files: &Files<'_>) -> Result<Names> {
    let mut names = Names::new();
    for path in files.list(FOLDER, "swift")? {
        declared(&files.read(&path)?, &mut names, line);
    }
    Ok(names)
}

fn line<'a>(line: &'a str, within: &[Within]) -> Line<'a> {
    let is_marked = line.split_whitespace().any(|one| one == "public" || one == "open");
    let outer = within.last().map_or("", |one| &*one.line);
    let holds = |what| outer.contains("public ") && outer.contains(what);
    match after(line, SKIPPED, WANTED) {
        Some(("extension", rest)) => {
            let end = rest.find([':', '{', ' ']).unwrap_or(rest.len());
            Line::Type { name: &rest[..end], is_public: true, extends: true }
        }
        Some(("typealias", rest)) if is_marked => {
            Line::Type { name: word(rest), is_public: true, extends: false }
        }
        Some(("struct" | "class" | "enum" | "actor" | "protocol", rest)) => Line::Type {
            name: word(rest),
            is_public: is_marked || holds("extension "),
            extends: false,
        },
        Some(("case", rest)) if holds("enum ") => {
            // With what it carries, or with others.
            Line::Members(if rest.contains('(') { word(rest) } else { rest })
        }
        Some(("func" | "var" | "let", rest))
            if is_marked || holds("protocol ") || holds("extension ") =>
        {
            let name = word(rest);
            if name.is_empty() || EVERYWHERE.contains(&name) {
                Line::Nothing
            } else {
                Line::Members(name)
            }
        }
        _ => Line::Nothing,
    }
}
