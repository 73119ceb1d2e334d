//! Kotlin, whose compiler insists on `public` where something is.

use super::{Line, Name, Names, Within, after, declared, word};
use crate::{Files, Result};

const FOLDER: &str = "bindings/kotlin/src/main/kotlin/dev/keyswap";
const SKIPPED: &[&str] = &[
    "public",
    "override",
    "internal",
    "private",
    "sealed",
    "abstract",
    "open",
    "data",
    "enum",
    "suspend",
    "inline",
    "operator",
    "infix",
    "@JvmStatic",
    "@JvmOverloads",
    "@Volatile",
];
const WANTED: &[&str] =
    &["class", "interface", "object", "companion", "fun interface", "fun", "val", "var"];
/// What every object has.
const EVERYWHERE: &[&str] = &["toString", "equals", "hashCode"];

pub(super) fn names(files: &Files<'_>) -> Result<Names> {
    let mut names = Names::new();
    for path in files.list(FOLDER, "kt")? {
        let text = files.read(&path)?;
        declared(&text, &mut names, line);
        // The parameters of a constructor that are properties, where it stands in one line.
        for line in text.lines().filter(|line| line.contains("class ") && line.contains("(public "))
        {
            let (class, rest) = line
                .split_once("class ")
                .expect("it is in there")
                .1
                .split_once('(')
                .unwrap_or_default();
            for property in rest.split("public ").skip(1) {
                if let Some((_, name)) = after(property, SKIPPED, &["val", "var"]) {
                    names.insert(Name::member(word(class), word(name)));
                }
            }
        }
    }
    Ok(names)
}

fn line<'a>(line: &'a str, within: &[Within]) -> Line<'a> {
    let is_public = line.split_whitespace().any(|one| one == "public" || one == "override")
        && !line.starts_with("private ")
        && !line.starts_with("internal ");
    if within.last().is_some_and(|one| one.line.contains("enum class ")) && is_constant(line) {
        return Line::Members(word(line));
    }
    match after(line, SKIPPED, WANTED) {
        Some(("class" | "interface" | "object" | "fun interface", rest)) => {
            Line::Type { name: word(rest), is_public, extends: false }
        }
        Some(("companion", _)) => Line::Companion,
        Some((_, rest)) if is_public => {
            // `<T> Type.name(`: what it extends is somebody else's.
            let rest = match rest.split_once("> ") {
                Some((start, rest)) if start.starts_with('<') => rest,
                _ => rest,
            };
            let end = rest.find(['(', ':', ' ', '=']).unwrap_or(rest.len());
            let name = rest[..end].rsplit('.').next().unwrap_or_default();
            if EVERYWHERE.contains(&name) { Line::Nothing } else { Line::Members(name) }
        }
        _ => Line::Nothing,
    }
}

fn is_constant(line: &str) -> bool {
    let name = word(line);
    !name.is_empty() && name.chars().all(|letter| letter.is_uppercase() || letter == '_')
}
