//! The public names of each language, read from its sources by their indentation.

mod kotlin;
mod node;
mod python;
mod rust;
mod swift;

use std::collections::BTreeSet;

use crate::{Files, Result, text::lower};

/// A language, and how its names are found.
pub(crate) struct Language {
    pub(crate) name: &'static str,
    names: fn(&Files<'_>) -> Result<Names>,
}

pub(crate) const LANGUAGES: [Language; 5] = [
    Language { name: "Rust", names: rust::names },
    Language { name: "Python", names: python::names },
    Language { name: "Node", names: node::names },
    Language { name: "Kotlin", names: kotlin::names },
    Language { name: "Swift", names: swift::names },
];

impl Language {
    pub(crate) fn names(&self, files: &Files<'_>) -> Result<Names> {
        (self.names)(files).map_err(|why| format!("{}: {why}", self.name))
    }
}

pub(crate) use node::generated;

pub(crate) type Names = BTreeSet<Name>;

/// A name, as its language writes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    /// The type that it is a member of, or nothing.
    pub(crate) of: String,
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Type,
    /// Or a function or constant, of no type.
    Member,
    /// What is passed to make something.
    Option,
}

impl Name {
    fn kind(name: &str) -> Self {
        Self { of: String::new(), name: name.to_owned(), kind: Kind::Type }
    }

    fn member(of: &str, name: &str) -> Self {
        Self { of: of.to_owned(), name: name.to_owned(), kind: Kind::Member }
    }

    pub(crate) fn option(of: &str, name: &str) -> Self {
        Self { of: of.to_owned(), name: name.to_owned(), kind: Kind::Option }
    }

    /// `Type`, `function`, `Type.member`, `Type(option)`.
    pub(crate) fn written(&self) -> String {
        self.with(&self.of, &self.name)
    }

    fn with(&self, of: &str, name: &str) -> String {
        match self.kind {
            Kind::Option => format!("{of}({name})"),
            _ => joined(of, name),
        }
    }

    /// The same for all languages: types in capitals, what else there is in lower case.
    pub(crate) fn common(&self, of: &str) -> String {
        match self.kind {
            Kind::Type => self.name.clone(),
            _ => self.with(of, &lower(&self.name)),
        }
    }
}

/// What a line of a source declares.
enum Line<'a> {
    /// A type, or what extends one: what is indented more is in it.
    Type {
        name: &'a str,
        is_public: bool,
        extends: bool,
    },
    /// What is in here counts as if it stood outside of it.
    Companion,
    /// One member, or several that are separated by commas.
    Members(&'a str),
    Nothing,
}

/// The declarations of a source whose blocks are indented by four. The types that a line is in are passed, the innermost
/// last.
fn declared(text: &str, names: &mut Names, line: impl for<'a> Fn(&'a str, &[Within]) -> Line<'a>) {
    let mut within: Vec<Within> = Vec::new();
    for written in text.lines() {
        let rest = written.trim_start();
        let is_comment = ["/", "*"].iter().any(|start| rest.starts_with(start));
        // What closes the parameters of a constructor does not close its class.
        if rest.is_empty() || is_comment || rest.starts_with(')') {
            continue;
        }
        let indent = written.len() - rest.len();
        while within.last().is_some_and(|one| one.indent >= indent) {
            within.pop();
        }
        let of = within.last().map_or("", |one| &*one.path).to_owned();
        let is_shown = within.iter().all(|one| one.is_public);
        let is_near = within.last().is_none_or(|one| indent == one.indent + 4);
        match line(rest, &within) {
            Line::Type { name, is_public, extends } => {
                if is_public && is_shown && !extends {
                    names.insert(Name::kind(&joined(&of, name)));
                }
                within.push(Within::new(indent, joined(&of, name), rest, is_public));
            }
            Line::Companion => within.push(Within::new(indent, of, rest, true)),
            Line::Members(list) if is_shown && is_near => {
                let members = list.split(',').map(|name| Name::member(&of, word(name.trim())));
                names.extend(members.filter(|member| !member.name.is_empty()));
            }
            _ => {}
        }
    }
}

/// A type around a line.
struct Within {
    indent: usize,
    path: String,
    /// The line that begins it.
    line: String,
    is_public: bool,
}

impl Within {
    fn new(indent: usize, path: String, line: &str, is_public: bool) -> Self {
        Self { indent, path, line: line.to_owned(), is_public }
    }
}

fn joined(of: &str, name: &str) -> String {
    if of.is_empty() { name.to_owned() } else { format!("{of}.{name}") }
}

/// The identifier that this begins with, which is quoted where it is a word of the language.
pub(crate) fn word(text: &str) -> &str {
    let text = text.strip_prefix('`').unwrap_or(text);
    let end = text.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
    &text[..end.unwrap_or(text.len())]
}

/// What follows the first of these words, each with its space, and how it begins.
fn after<'a>(
    mut text: &'a str,
    skipped: &[&str],
    wanted: &[&'static str],
) -> Option<(&'static str, &'a str)> {
    loop {
        if let Some(found) = wanted.iter().find(|one| {
            text.strip_prefix(**one).is_some_and(|rest| rest.starts_with([' ', '<', '(']))
        }) {
            return Some((found, text[found.len()..].trim_start()));
        }
        text = skipped.iter().find_map(|one| text.strip_prefix(one)?.strip_prefix(' '))?;
    }
}
