//! Tables: all of it in the README of the bindings, in the names of data, and in that of each language what programs
//! look for there, in the names of the language.

use crate::{
    Files, Result, kotlin,
    model::{Field, Kind, Model, Record, Source},
    python, swift,
    text::{Style, Text, camel},
    typescript,
};

/// A language, as its README names things.
struct Language {
    path: &'static str,
    style: Style,
    /// The name of an error, if it has one beside its code.
    error: fn(&str) -> String,
    option: fn(&str) -> String,
    /// Options that are said by others here.
    merged: &'static [&'static str],
    /// How a source is made, if stores are there.
    maker: fn(&Source) -> String,
}

const LANGUAGES: &[Language] = &[
    Language {
        path: "bindings/python/README.md",
        style: Style::Snake,
        error: python::class,
        option: str::to_owned,
        merged: &["no_bootstrap"],
        maker: python::maker,
    },
    Language {
        path: "bindings/node/README.md",
        style: Style::CamelMillis,
        error: |_| String::new(),
        option: typescript::option,
        merged: &["no_bootstrap"],
        maker: typescript::maker,
    },
    Language {
        path: "bindings/kotlin/README.md",
        style: Style::CamelTyped,
        error: kotlin::class,
        option: camel,
        merged: &["push"],
        maker: |_| String::new(),
    },
    Language {
        path: "bindings/swift/README.md",
        style: Style::CamelTyped,
        error: swift::case,
        option: swift::option,
        merged: &[],
        maker: |_| String::new(),
    },
];

pub(crate) fn write(model: &Model, files: &Files<'_>) -> Result<()> {
    let all = "bindings/README.md";
    let region = |name, record: &Record| files.region(all, name, &fields(model, record));
    region("policy", &model.policy)?;
    region("stats", &model.stats)?;
    for kind in ["endpoint", "json", "command"] {
        region(kind, model.source(kind))?;
    }
    files.region(all, "stores", &stores(model))?;
    region("authorizer", &model.authorizer)?;
    region("client", &model.client)?;
    region("handle", &model.keyswap)?;
    files.region(all, "events", &events(model))?;
    files.region(all, "errors", &errors(model, Style::Snake, |_| String::new()))?;
    for language in LANGUAGES {
        files.region(language.path, "errors", &errors(model, language.style, language.error))?;
        files.region(language.path, "endpoint", &endpoint(model, language))?;
        if model.sources.iter().any(|source| !(language.maker)(source).is_empty()) {
            files.region(language.path, "stores", &makers(model, language))?;
        }
    }
    Ok(())
}

fn table(heads: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let heads: Vec<_> = heads.iter().map(|head| (*head).to_owned()).collect();
    let mut made = line(&heads) + &line(&vec!["---".to_owned(); heads.len()]);
    rows.for_each(|row| made += &line(&row));
    made
}

/// As it stands in a cell.
fn cell(text: &Text, model: &Model, style: Style) -> String {
    text.line(style, &model.names).replace('|', "\\|")
}

fn fields(model: &Model, record: &Record) -> String {
    let rows = record.fields.iter().map(|field| {
        let of = unit(field).to_owned();
        vec![format!("`{}`", field.name), of, cell(&field.doc, model, Style::Snake)]
    });
    table(&["name", "holds", "meaning"], rows)
}

/// What may be said of each of the other sources.
fn stores(model: &Model) -> String {
    let all = model.sources.iter().filter(|source| source.is_store());
    let all = all.map(|source| {
        let doc = source.record.doc.line(Style::Snake, &model.names);
        format!("`{}`: {doc}\n\n{}", source.kind, fields(model, &source.record))
    });
    all.collect::<Vec<_>>().join("\n")
}

/// How each of the other sources is made, and what it is.
fn makers(model: &Model, language: &Language) -> String {
    let rows = model.sources.iter().filter(|source| source.is_store()).map(|source| {
        let doc = source.record.doc.first();
        vec![format!("`{}`", (language.maker)(source)), cell(&doc, model, language.style)]
    });
    table(&["source", "what it follows"], rows)
}

fn unit(field: &Field) -> &'static str {
    match field.kind {
        Kind::Text | Kind::Code => "text",
        Kind::Secret | Kind::SecretOrKeys | Kind::SecretOrFunction => "a secret",
        Kind::Texts => "texts",
        Kind::Pairs | Kind::Map => "pairs",
        Kind::Truth => "yes or no",
        Kind::Whole => "a number",
        Kind::Share => "a share",
        Kind::Seconds | Kind::WholeSeconds => "seconds",
        Kind::ManySeconds => "several seconds",
        Kind::Millis | Kind::SignedMillis => "milliseconds",
        Kind::Instant => "a time",
        Kind::Policy => "a policy",
        Kind::Scheme => "a scheme",
        Kind::Classifier => "a classifier",
    }
}

fn events(model: &Model) -> String {
    let rows = model.events.iter().map(|event| {
        let fields = event.fields.iter().map(|field| {
            let mark = if field.optional { "?" } else { "" };
            format!("`{}{mark}`", field.name)
        });
        let fields = fields.collect::<Vec<_>>().join(", ");
        vec![format!("`{}`", event.name), fields, cell(&event.doc, model, Style::Snake)]
    });
    table(&["event", "fields", "meaning"], rows)
}

fn errors(model: &Model, style: Style, name: fn(&str) -> String) -> String {
    let is_named = !name("").is_empty();
    let rows = model.errors.iter().map(|error| {
        let mut row = vec![format!("`{}`", error.code), cell(&error.doc, model, style)];
        if is_named {
            row.insert(1, format!("`{}`", name(&error.name)));
        }
        row
    });
    let heads: &[_] = if is_named { &["code", "name", "meaning"] } else { &["code", "meaning"] };
    table(heads, rows)
}

fn endpoint(model: &Model, language: &Language) -> String {
    let merged = |field: &&Field| field.optional && !language.merged.contains(&&*field.name);
    let rows = model.source("endpoint").fields.iter().filter(merged).map(|field| {
        let name = format!("`{}`", (language.option)(&field.name));
        vec![name, cell(&field.doc, model, language.style)]
    });
    table(&["option", "meaning"], rows)
}
