//! Each public name exists in all languages, or stands in one file with the reason why not.
//!
//! Names are compared in a common form: types in capitals, everything else in lower case with underscores. A member is
//! looked for only in the languages that have its type. A row of the file names something in that form, and says for each
//! language what it is called there, `–` if it is not there, or nothing if it has the common name.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    Files, Result, kotlin,
    model::{Model, Source},
    names::{Kind, LANGUAGES, Name, Names},
    text::camel,
};

const FILE: &str = "bindings/PARITY.md";
const MISSING: &str = "–";

/// Types whose members are not compared: they are generated, compared with the description as options are, those of
/// adapters for a library, or what programs make, which is parameters in one language and fields in another one.
const MEMBERS_APART: &[&str] = &[
    "AuthorizerOptions",
    "Classifier",
    "ClientOptions",
    "CommandOptions",
    "CredentialDocument",
    "Document",
    "EndpointOptions",
    "ErrorCode",
    "Event",
    "EventName",
    "JsonOptions",
    "KeySwapOptions",
    "Policy",
    "RequestOptions",
    "Signature",
    "Source.command",
    "Source.endpoint",
    "Source.env",
    "Source.file",
    "Source.json",
    "Stats",
    "adapters",
];

pub(crate) fn check(model: &Model, options: &[Names], files: &Files<'_>) -> Result<()> {
    let rows = rows(&files.read(FILE)?)?;
    let mut wrong = Vec::new();
    let languages: Vec<_> = (0..LANGUAGES.len())
        .map(|nth| {
            let mut names = LANGUAGES[nth].names(files)?;
            names.extend(options[nth].iter().cloned());
            Ok(Common::new(nth, model, &names, &rows, &mut wrong))
        })
        .collect::<Result<_>>()?;
    let all: BTreeMap<&str, Option<&str>> = languages
        .iter()
        .flat_map(|language| &language.of)
        .map(|(name, of)| (&**name, of.as_deref()))
        .collect();
    let said: BTreeMap<&str, &Row> =
        rows.iter().flat_map(|row| row.names.iter().map(move |name| (&**name, row))).collect();
    let mut needed: BTreeSet<&str> = BTreeSet::new();
    for (name, of) in &all {
        let mut missing = Vec::new();
        for (nth, language) in languages.iter().enumerate() {
            let cell = said.get(name).map_or("", |row| &row.cells[nth]);
            let is_wanted = of.is_none_or(|of| language.of.contains_key(of));
            let shown = LANGUAGES[nth].name;
            match (language.of.contains_key(*name), cell == MISSING) {
                (true, true) => wrong.push(format!("`{name}` is there in {shown}")),
                (false, false) if is_wanted => missing.push(shown),
                (false, true) if is_wanted => {
                    needed.insert(*name);
                }
                _ => {}
            }
        }
        if !missing.is_empty() {
            wrong.push(format!("`{name}` is not there in {}", missing.join(", ")));
        }
    }
    for row in &rows {
        let is_renamed = (0..LANGUAGES.len()).any(|nth| row.called(nth).next().is_some());
        for name in &row.names {
            if !is_renamed && !needed.contains(&**name) {
                wrong.push(format!("`{name}` need not stand there any more"));
            }
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    wrong.sort();
    wrong.dedup();
    Err(format!(
        "{FILE}: the languages differ in what is not said there:\n  {}",
        wrong.join("\n  ")
    ))
}

/// A line of the table.
struct Row {
    /// What is spoken of.
    names: Vec<String>,
    /// For each language.
    cells: Vec<String>,
}

impl Row {
    /// What it is called there, if that is something else.
    fn called(&self, language: usize) -> impl Iterator<Item = &str> {
        let cell = &*self.cells[language];
        cell.split(", ").filter(|name| !name.is_empty() && *name != MISSING)
    }
}

fn rows(file: &str) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = Vec::new();
    for line in file.lines().filter(|line| line.starts_with("| `")) {
        let line = line.replace('`', "");
        let cells: Vec<_> =
            line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
        let [names, cells @ .., reason] = &*cells else { return Err(format!("{FILE}: {line}")) };
        if cells.len() != LANGUAGES.len() || reason.is_empty() {
            return Err(format!(
                "{FILE}: a name, a cell for each language and a reason are expected: {line}"
            ));
        }
        let row =
            Row { names: names.split(", ").map(str::to_owned).collect(), cells: cells.to_vec() };
        let is_renamed = (0..LANGUAGES.len()).any(|nth| row.called(nth).next().is_some());
        if is_renamed && row.names.len() > 1 {
            return Err(format!("{FILE}: only one name can have others: {line}"));
        }
        if let Some(twice) =
            row.names.iter().find(|name| rows.iter().any(|row| row.names.contains(name)))
        {
            return Err(format!("{FILE}: `{twice}` stands there twice"));
        }
        rows.push(row);
    }
    Ok(rows)
}

/// The names of a language in the common form, each with the type that it is a member of.
struct Common {
    of: BTreeMap<String, Option<String>>,
}

impl Common {
    fn new(
        nth: usize,
        model: &Model,
        names: &Names,
        rows: &[Row],
        wrong: &mut Vec<String>,
    ) -> Self {
        let language = LANGUAGES[nth].name;
        let written: BTreeSet<String> = names.iter().map(Name::written).collect();
        let mut called: BTreeMap<&str, &str> = BTreeMap::new();
        for row in rows {
            for name in row.called(nth) {
                if !written.contains(name) {
                    wrong.push(format!("`{}` is no `{name}` in {language}", row.names[0]));
                }
                called.insert(name, &row.names[0]);
            }
        }
        let mut of = BTreeMap::new();
        for name in names {
            // Options stand with what they are of in the common form already.
            let is_of = called.get(&*name.of).filter(|_| name.kind != Kind::Option);
            let is_of = is_of.map_or(&*name.of, |common| *common);
            if is_described(model, name, is_of) {
                continue;
            }
            let usual = name.common(is_of);
            let common = called.get(&*name.written()).map_or(&*usual, |common| *common);
            if called.contains_key(&*name.written()) && *common == usual {
                wrong.push(format!("`{usual}` has its common name in {language}"));
            }
            of.insert(common.to_owned(), type_of(common));
        }
        Self { of }
    }
}

/// The type that this is of: what is a type in one language may be a function of another type elsewhere.
fn type_of(common: &str) -> Option<String> {
    if let Some((of, _)) = common.split_once('(') {
        return Some(of.to_owned());
    }
    let (of, name) = common.rsplit_once('.')?;
    let is_member = of.starts_with(char::is_uppercase) && name.starts_with(char::is_lowercase);
    is_member.then(|| of.to_owned())
}

/// Whether the generator writes it, or its members are not compared.
fn is_described(model: &Model, name: &Name, of: &str) -> bool {
    let is_error = |error: &str| name.name == format!("KeySwapException.{}", kotlin::class(error));
    let is_event = |event: &str| {
        let class = format!("Event.{}", kotlin::kind(event));
        name.name == class || of == class
    };
    let is_store = |source: &Source| {
        let names = [&source.class, &camel(&source.kind), &format!("{}Options", source.class)];
        source.is_store() && (names.contains(&&name.name) || names.contains(&&of.to_owned()))
    };
    name.kind == Kind::Member && MEMBERS_APART.contains(&of)
        || name.name == "Event.Unknown"
        || model.sources.iter().any(is_store)
        || model.events.iter().any(|event| is_event(&event.name))
        || model.errors.iter().any(|error| is_error(&error.name))
}
