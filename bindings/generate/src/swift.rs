//! Swift: names in camel case, with abbreviations in capitals, times in seconds or a `Date`.

use std::fmt::Write as _;

use crate::{
    Files, Result,
    kotlin::property,
    model::{Field, Kind, Model, Record},
    text::{Style, Text, camel, snake},
};

const FOLDER: &str = "bindings/swift/Sources/Keyswap";
const WIDTH: usize = 116;

pub(crate) fn write(model: &Model, files: &Files<'_>) -> Result<()> {
    files.region(&format!("{FOLDER}/KeyswapError.swift"), "errors", &errors(model))?;
    files.region(&format!("{FOLDER}/Policy.swift"), "policy", &policy(model))?;
    let source = format!("{FOLDER}/Source.swift");
    files.region(&source, "endpoint", &factory(model, &model.endpoint, "endpoint"))?;
    files.region(&source, "json", &factory(model, &model.json, "json"))?;
    files.whole(&format!("{FOLDER}/Event.swift"), event(model) + &stats(model));
    Ok(())
}

/// The name of a case for an error.
pub(crate) fn case(name: &str) -> String {
    capitals(&camel(&snake(name)), "Url", "URL")
}

/// The name of an option.
pub(crate) fn option(name: &str) -> String {
    capitals(&capitals(&camel(name), "Http", "HTTP"), "Url", "URL")
}

fn capitals(name: &str, word: &str, capitals: &str) -> String {
    name.replace(word, capitals)
}

fn comment(text: &Text, model: &Model, indent: usize) -> String {
    let mut made = String::new();
    for line in text.lines(WIDTH - indent, Style::Camel, &model.names) {
        let _ = writeln!(made, "{}", format!("/// {line}").trim_end());
    }
    made
}

/// What a list says of an option.
pub(crate) fn entry(model: &Model, name: &str, doc: &Text) -> Vec<String> {
    let entry = Text::new(&format!("- {name}: {}", doc.line(Style::Camel, &model.names)));
    let lines = entry.lines(WIDTH - 12, Style::Camel, &model.names).into_iter().enumerate();
    lines
        .map(|(nth, line)| if nth == 0 { format!("  {line}") } else { format!("    {line}") })
        .collect()
}

/// An option as functions that are written by hand take it.
pub(crate) fn passed(field: &Field) -> String {
    let of = match field.kind {
        _ if field.name == "base_url" => "URL",
        Kind::Texts => "[URL]",
        Kind::Map => "[String: String] = [:]",
        Kind::Truth if field.doc.says("True by default") => "Bool = true",
        Kind::Truth => "Bool = false",
        Kind::Seconds => "TimeInterval? = nil",
        Kind::Scheme => "Scheme? = nil",
        Kind::Classifier => "Classifier? = nil",
        Kind::Policy => "Policy? = nil",
        _ => "String? = nil",
    };
    format!("{}: {of}", option(&field.name))
}

/// How a source is made, up to the options as the core has them.
fn factory(model: &Model, record: &Record, what: &str) -> String {
    let mut docs = comment(&record.doc, model, 4) + "///\n/// - Parameters:\n";
    let mut say = |name: &str, doc: &Text| {
        entry(model, name, doc).iter().for_each(|line| docs += &format!("/// {line}\n"));
    };
    let (mut parameters, mut options) = (Vec::new(), Vec::new());
    for field in &record.fields {
        let (name, native) = (option(&field.name), camel(&field.name));
        say(&name, &field.doc);
        match field.kind {
            _ if !field.optional => {
                parameters.push(format!("_ {name}: URL"));
                options.push(format!("{native}: {name}.absoluteString"));
                continue;
            }
            Kind::Secret => {
                options.push(format!("{native}: {name}.map {{ NativeSecret(text: $0) }}"))
            }
            Kind::Map => {
                options.push(format!("{native}: {name}.mapValues {{ NativeSecret(text: $0) }}"))
            }
            _ => options.push(format!("{native}: {name}")),
        }
        parameters.push(passed(field));
        if field.name == "bootstrap_file" {
            let said =
                "What holds the bootstrap credential, a `Keychain` say. It is read as a file is.";
            say("bootstrapStorage", &Text::new(said));
            parameters.push("bootstrapStorage: (any SecretStorage)? = nil".to_owned());
        }
    }
    let said = "Further endpoints that show the same set, asked in order when this one fails.";
    say("regions", &Text::new(said));
    parameters.push("regions: [Source] = []".to_owned());
    docs += "/// - Throws: `KeyswapError` with the code `invalid_config` or `insecure_url`.\n";
    let list = |entries: Vec<String>, indent: &str| {
        entries.iter().map(|entry| format!("{indent}{entry}")).collect::<Vec<_>>().join(",\n")
    };
    format!(
        "{docs}public static func {what}(\n{}\n) throws -> Source {{\n    let options = Native{}Options(\n{})\n",
        list(parameters, "    "),
        what[..1].to_uppercase() + &what[1..],
        list(options, "        ")
    )
}

/// The same for a client, whose base is an allowed origin already.
pub(crate) fn of_client(field: &Field) -> String {
    passed(field) + if field.kind == Kind::Texts { " = []" } else { "" }
}

fn errors(model: &Model) -> String {
    let mut made = String::new();
    for error in &model.errors {
        made += &comment(&error.doc, model, 8);
        made += &named(&case(&error.name), &error.code);
    }
    made
}

fn policy(model: &Model) -> String {
    let mut made = String::new();
    for field in &model.policy.fields {
        let of = match field.kind {
            Kind::Share => "Double",
            Kind::Whole => "Int",
            Kind::ManySeconds => "[TimeInterval]",
            _ => "TimeInterval",
        };
        made += &comment(&field.doc, model, 8);
        let _ = writeln!(made, "public var {}: {of}?", camel(&field.name));
    }
    made
}

const EVENT: &str = "// Generated by keyswap-generate from the sources of Rust: do not edit.

import Foundation
import KeySwapNative

/// Something that happened to the credentials: its name, and fields that are ids and numbers. What this kind of event
/// does not have is nil.
public struct Event: Sendable, CustomStringConvertible {
    private let native: NativeEvent
    init(_ native: NativeEvent) { self.native = native }

    /// The same in a sentence.
    public var description: String { native.text }
    /// Its stable name, the same in every language.
    public var name: String { native.name }
    /// Which event it is; nil for one that this version does not know.
    public var kind: Kind? { Kind(rawValue: native.name) }
";

fn event(model: &Model) -> String {
    let mut made = EVENT.to_owned();
    for field in &model.event_fields {
        let names: Vec<_> =
            model.events_with(&field.name).iter().map(|name| format!("`{name}`")).collect();
        let doc = typed(&field.doc.clone().and(&format!("Of {}.", names.join(", "))), model);
        made += &indented(&(doc + &getter(field)));
    }
    made + &indented(&kinds(model)) + "}\n\n"
}

/// Every event that may happen.
fn kinds(model: &Model) -> String {
    let mut made =
        "\n/// What may happen.\npublic enum Kind: String, CaseIterable, Sendable {\n".to_owned();
    for event in &model.events {
        made +=
            &indented(&(comment(&event.doc, model, 12) + &named(&camel(&event.name), &event.name)));
    }
    made + "}\n"
}

/// A case for a word that is the same in every language.
fn named(case: &str, word: &str) -> String {
    match case == word {
        true => format!("case {case}\n"),
        false => format!("case {case} = \"{word}\"\n"),
    }
}

fn stats(model: &Model) -> String {
    let doc = comment(&model.stats.doc.first(), model, 4);
    let mut made = format!(
        "{doc}public struct Stats: Sendable {{\n    private let native: NativeStats\n    init(_ native: NativeStats) {{ self.native = native }}\n\n"
    );
    for field in &model.stats.fields {
        made += &indented(&(typed(&field.doc, model) + &getter(field)));
    }
    made + "}\n"
}

/// A property that reads the native record.
fn getter(field: &Field) -> String {
    let native = format!("native.{}", camel(&field.name));
    let (of, read) = match field.kind {
        Kind::Text | Kind::Code => ("String", native),
        Kind::Texts => ("[String]", native),
        Kind::Truth => ("Bool", native),
        Kind::Instant => ("Date", format!("date({native})")),
        Kind::Millis | Kind::SignedMillis => {
            ("Duration", format!("{native}.map {{ .milliseconds(Int64(clamping: $0)) }}"))
        }
        Kind::WholeSeconds => ("Duration", format!("{native}.map {{ .seconds(Double($0)) }}")),
        _ => ("UInt64", native),
    };
    let mark = if field.optional { "?" } else { "" };
    format!("public var {}: {of}{mark} {{ {read} }}\n", property(field))
}

/// The comment of a property whose type knows its unit.
fn typed(text: &Text, model: &Model) -> String {
    let text = text.instead(", in milliseconds", "").instead(", in seconds", "");
    comment(&text, model, 8)
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", format!("    {line}").trim_end())).collect()
}
