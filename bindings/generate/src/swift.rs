//! Swift: names in camel case, with abbreviations in capitals, times as a `Duration` or a `Date`.

use std::fmt::Write as _;

use crate::{
    Files, Result,
    kotlin::property,
    model::{Event, Field, Kind, Model, Record},
    text::{Style, Text, camel, capital, snake},
};

const FOLDER: &str = "bindings/swift/Sources/Keyswap";
const WIDTH: usize = 116;

pub(crate) fn write(model: &Model, files: &Files<'_>) -> Result<()> {
    files.region(&format!("{FOLDER}/KeyswapError.swift"), "errors", &errors(model))?;
    files.region(&format!("{FOLDER}/KeyswapError.swift"), "codes", &codes(model))?;
    files.region(&format!("{FOLDER}/Policy.swift"), "policy", &policy(model))?;
    files.region(&format!("{FOLDER}/Policy.swift"), "json", &json(model))?;
    let source = format!("{FOLDER}/Source.swift");
    files.region(&source, "endpoint", &factory(model, model.source("endpoint"), "endpoint"))?;
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
    for line in text.lines(WIDTH - indent, Style::CamelTyped, &model.names) {
        let _ = writeln!(made, "{}", format!("/// {line}").trim_end());
    }
    made
}

/// What a list says of an option.
pub(crate) fn entry(model: &Model, name: &str, doc: &Text) -> Vec<String> {
    let entry = Text::new(&format!("- {name}: {}", doc.line(Style::CamelTyped, &model.names)));
    let lines = entry.lines(WIDTH - 12, Style::CamelTyped, &model.names).into_iter().enumerate();
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
        Kind::Seconds => "Duration? = nil",
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
            Kind::Seconds => options.push(format!("{native}: {name}?.inSeconds")),
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

/// The same for a client, whose base is an allowed origin already. What has a default shows it.
pub(crate) fn of_client(field: &Field) -> String {
    let name = option(&field.name);
    match (field.kind, field.default()) {
        (Kind::Texts, _) => passed(field) + " = []",
        (Kind::Seconds, Some(seconds)) => format!("{name}: Duration? = .seconds({seconds})"),
        (Kind::Whole, Some(number)) => format!("{name}: Int = {number}"),
        _ => passed(field),
    }
}

fn errors(model: &Model) -> String {
    let mut made = String::new();
    for error in &model.errors {
        made += &comment(&error.doc, model, 8);
        let _ = writeln!(made, "case {}", case(&error.name));
    }
    made
}

/// Between cases and their words.
fn codes(model: &Model) -> String {
    let mut made = "\
/// All that this version knows.
public static let allCases: [Code] = [
"
    .to_owned();
    for error in &model.errors {
        let _ = writeln!(made, "    .{},", case(&error.name));
    }
    made += "]

/// The stable word, the same in every language.
public var rawValue: String {
    switch self {
";
    for error in &model.errors {
        let _ = writeln!(made, "    case .{}: \"{}\"", case(&error.name), error.code);
    }
    made + "    case .unknown(let code): code\n    }\n}\n"
}

fn policy(model: &Model) -> String {
    let mut made = String::new();
    for field in &model.policy.fields {
        let of = match field.kind {
            Kind::Share => "Double",
            Kind::Whole => "Int",
            Kind::ManySeconds => "[Duration]",
            _ => "Duration",
        };
        made += &comment(&field.doc, model, 8);
        let _ = writeln!(made, "public var {}: {of}?", camel(&field.name));
    }
    made
}

/// The policy as the core and the other languages write it: times are seconds.
fn json(model: &Model) -> String {
    let fields = &model.policy.fields;
    let mut made = "private enum Name: String, CodingKey {\n".to_owned();
    for field in fields {
        made += &format!("    {}", named(&camel(&field.name), &field.name));
    }
    made += "}

/// From numbers by the names that all languages share.
public init(from decoder: any Decoder) throws {
    let values = try decoder.container(keyedBy: Name.self)
";
    for field in fields {
        let name = camel(&field.name);
        let (of, more) = match field.kind {
            Kind::Share => ("Double", ""),
            Kind::Whole => ("Int", ""),
            Kind::ManySeconds => ("[Double]", "?.map(Duration.init(inSeconds:))"),
            _ => ("Double", ".map(Duration.init(inSeconds:))"),
        };
        let _ = writeln!(
            made,
            "    {name} = try values.decodeIfPresent({of}.self, forKey: .{name}){more}"
        );
    }
    made += "}

/// To numbers by the names that all languages share.
public func encode(to encoder: any Encoder) throws {
    var values = encoder.container(keyedBy: Name.self)
";
    for field in fields {
        let name = camel(&field.name);
        let more = match field.kind {
            Kind::Share | Kind::Whole => "",
            Kind::ManySeconds => "?.map(\\.inSeconds)",
            _ => "?.inSeconds",
        };
        let _ = writeln!(made, "    try values.encodeIfPresent({name}{more}, forKey: .{name})");
    }
    made + "}\n"
}

const EVENT: &str = "// Generated by keyswap-generate from the sources of Rust: do not edit.

import Foundation
import KeySwapNative

/// Something that happened to the credentials. What it holds are ids and numbers, and never a secret. Cases may be
/// added: end each `switch` with `default`.
///
/// ```swift
/// for await event in keys.events {
///     switch event {
///     case .swapped(let swap): print(\"\\(swap.to) is in use\")
///     default: print(event)
///     }
/// }
/// ```
public enum Event: Sendable, Hashable, CustomStringConvertible {
";

fn event(model: &Model) -> String {
    let mut made = EVENT.to_owned();
    for event in &model.events {
        let name = camel(&event.name);
        made += &indented(&comment(&event.doc, model, 8));
        let _ = writeln!(made, "    case {name}({})", capital(&name));
    }
    made += "    /// One that this version does not know.
    case unknown(Unknown)

    /// Its stable name, the same in every language.
    public var name: String { told.name }
    /// The same in a sentence.
    public var description: String { told.text }
";
    model.events.iter().for_each(|event| made += &indented(&payload(event, model)));
    made += "
    /// An event that this version does not know.
    public struct Unknown: Sendable, Hashable {
        /// Its stable name, the same in every language.
        public let name: String
        /// The same in a sentence.
        public let text: String
    }

    /// What any of them says of itself.
    private var told: Unknown {
        switch self {
";
    for event in &model.events {
        let name = camel(&event.name);
        let word = &event.name;
        let _ = writeln!(
            made,
            "        case .{name}(let event): Unknown(name: \"{word}\", text: event.text)"
        );
    }
    made += "        case .unknown(let event): event
        }
    }

    init(_ native: NativeEvent) {
        self = Event.known(native) ?? .unknown(Unknown(name: native.name, text: native.text))
    }

    /// None if it lacks what an event of its name holds.
    private static func known(_ native: NativeEvent) -> Event? {
        switch native.name {
";
    for event in &model.events {
        let name = camel(&event.name);
        let (word, of) = (&event.name, capital(&name));
        let _ = writeln!(made, "        case \"{word}\": {of}(native).map(Event.{name})");
    }
    made + "        default: nil
        }
    }
}

"
}

/// What one kind of event holds.
fn payload(event: &Event, model: &Model) -> String {
    let name = camel(&event.name);
    let mut made = format!(
        "\n/// What `{name}` holds.\npublic struct {}: Sendable, Hashable {{\n",
        capital(&name)
    );
    for field in &event.fields {
        let (of, _) = read(field, "");
        let mark = if field.optional { "?" } else { "" };
        made += &indented(&typed(&field.doc, model));
        let _ = writeln!(made, "    public let {}: {of}{mark}", property(field));
    }
    made += "    fileprivate let text: String\n\n    fileprivate init?(_ native: NativeEvent) {\n";
    let needed =
        event.fields.iter().filter(|field| !field.optional).map(|field| camel(&field.name));
    let bound: Vec<_> = needed.map(|name| format!("let {name} = native.{name}")).collect();
    if !bound.is_empty() {
        let _ = writeln!(made, "        guard {} else {{ return nil }}", bound.join(", "));
    }
    for field in &event.fields {
        let native = camel(&field.name);
        let from = if field.optional { format!("native.{native}") } else { native };
        let (_, read) = read(field, &from);
        let _ = writeln!(made, "        self.{} = {read}", property(field));
    }
    made + "        text = native.text\n    }\n}\n"
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
    let (of, read) = read(field, &format!("native.{}", camel(&field.name)));
    let mark = if field.optional { "?" } else { "" };
    format!("public var {}: {of}{mark} {{ {read} }}\n", property(field))
}

/// The type of a field, and how it is read from what the native record has.
fn read(field: &Field, native: &str) -> (&'static str, String) {
    let mapped = |to: &str| match field.optional {
        true => format!("{native}.map {{ {} }}", to.replace("IT", "$0")),
        false => to.replace("IT", native),
    };
    match field.kind {
        Kind::Text => ("String", native.to_owned()),
        Kind::Code => ("KeyswapError.Code", mapped("KeyswapError.Code(rawValue: IT)")),
        Kind::Texts => ("[String]", native.to_owned()),
        Kind::Truth => ("Bool", native.to_owned()),
        Kind::Instant => ("Date", format!("date({native})")),
        Kind::Millis | Kind::SignedMillis => {
            ("Duration", mapped(".milliseconds(Int64(clamping: IT))"))
        }
        Kind::WholeSeconds => ("Duration", mapped(".seconds(Int64(clamping: IT))")),
        _ => ("UInt64", native.to_owned()),
    }
}

/// The comment of a property whose type knows its unit.
fn typed(text: &Text, model: &Model) -> String {
    let text = text.instead(", in milliseconds", "").instead(", in seconds", "");
    comment(&text, model, 8)
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", format!("    {line}").trim_end())).collect()
}
