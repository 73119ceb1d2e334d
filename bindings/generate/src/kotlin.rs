//! Kotlin: names in camel case, times that are a `Duration` or an `Instant`.

use std::fmt::Write as _;

use crate::{
    Files, Result,
    model::{Field, Kind, Model, Record},
    text::{Style, Text, camel, capital},
};

const FOLDER: &str = "bindings/kotlin/src/main/kotlin/dev/keyswap";
const WIDTH: usize = 120;

pub(crate) fn write(model: &Model, files: &Files<'_>) -> Result<()> {
    let errors_in = format!("{FOLDER}/KeySwapException.kt");
    files.region(&errors_in, "errors", &errors(model))?;
    files.region(&errors_in, "codes", &codes(model))?;
    files.region(&format!("{FOLDER}/Policy.kt"), "policy", &policy(model))?;
    let source = format!("{FOLDER}/Source.kt");
    files.region(&source, "endpoint", &settings(model, model.source("endpoint")))?;
    files.region(&source, "record", &native(model.source("endpoint"), "endpoint"))?;
    files.whole(&format!("{FOLDER}/Event.kt"), event(model) + &stats(model));
    Ok(())
}

/// The name of the class of an error.
pub(crate) fn class(name: &str) -> String {
    name.to_owned()
}

/// Durations whose name without its unit would say nothing.
const NAMES: &[(&str, &str)] = &[("for_ms", "cooldown"), ("seconds", "since")];

/// The name of a property that has a type of its own where data has a unit.
pub(crate) fn property(field: &Field) -> String {
    let other = NAMES.iter().find(|(name, _)| *name == field.name);
    other.map_or_else(|| camel(field.bare()), |(_, name)| (*name).to_owned())
}

/// A comment, within a class.
pub(crate) fn comment(text: &Text, model: &Model) -> String {
    let lines = text.lines(WIDTH - 11, Style::CamelTyped, &model.names);
    if let [line] = &*lines {
        return format!("/** {line} */\n");
    }
    let mut made = "/**\n".to_owned();
    for line in lines {
        let _ = writeln!(made, "{}", format!(" * {line}").trim_end());
    }
    made + " */\n"
}

/// What a list says of an option.
pub(crate) fn entry(model: &Model, field: &Field) -> Vec<String> {
    let entry = Text::new(&format!("@param {} ", camel(&field.name)));
    let entry = entry.and(&field.doc.line(Style::CamelTyped, &model.names));
    let lines = entry.lines(WIDTH - 8, Style::CamelTyped, &model.names).into_iter().enumerate();
    lines.map(|(nth, line)| if nth == 0 { line } else { format!("  {line}") }).collect()
}

/// An option as functions that are written by hand take it.
pub(crate) fn passed(field: &Field, has_default: bool) -> String {
    let (of, default) = match field.kind {
        Kind::Texts => ("List<String>", "emptyList()"),
        Kind::Truth => ("Boolean", "false"),
        Kind::Scheme => ("Scheme?", "null"),
        Kind::Classifier => ("Classifier?", "null"),
        Kind::Policy => ("Policy?", "null"),
        Kind::Seconds => ("Duration?", "null"),
        _ => ("String?", "null"),
    };
    let default = if has_default { format!(" = {default}") } else { String::new() };
    format!("{}: {of}{default}", camel(&field.name))
}

/// What is said of a source: variables, and functions for what is a secret, much text, or not as usual.
fn settings(model: &Model, record: &Record) -> String {
    let options = record.fields.iter().filter(|field| field.optional).map(|field| {
        let (name, doc) = (camel(&field.name), comment(&field.doc, model));
        let not_followed = Text::new("The push channel is not followed, even where the set offers one. Polling never stops.");
        match set_by(field) {
            _ if field.name == "push" => format!(
                "private var push = true\n\n{}public fun noPush() {{\n    push = false\n}}\n",
                comment(&not_followed, model)
            ),
            Some("header") => format!(
                "private val headers = mutableMapOf<String, NativeSecret>()\n\n{doc}public fun header(name: String, value: String) {{\n    headers[name] = NativeSecret(value)\n}}\n"
            ),
            Some("") => {
                format!("private var {name} = false\n\n{doc}public fun {name}() {{\n    {name} = true\n}}\n")
            }
            Some(by) => {
                let (of, value) = match field.kind {
                    Kind::Secret => ("NativeSecret", format!("NativeSecret({by})")),
                    _ => ("String", by.to_owned()),
                };
                format!(
                    "private var {name}: {of}? = null\n\n{doc}public fun {name}({by}: String) {{\n    {name} = {value}\n}}\n"
                )
            }
            None if field.kind == Kind::Seconds => {
                format!("{doc}public var {}\n{}", passed(field, true), java_setter(&name))
            }
            None => format!("{doc}public var {}\n", passed(field, true)),
        }
    });
    options.collect::<Vec<_>>().join("\n")
}

/// What an option of an endpoint is passed as, if a function sets it.
fn set_by(field: &Field) -> Option<&'static str> {
    match field.kind {
        Kind::Truth => Some(""),
        Kind::Map => Some("header"),
        _ if field.name.ends_with("_file") => Some("path"),
        _ if field.name.ends_with("_certificate") || field.name.ends_with("_certificates") => {
            Some("pem")
        }
        Kind::Secret => Some("secret"),
        _ => None,
    }
}

/// The same as the core has it.
fn native(record: &Record, what: &str) -> String {
    let what = what[..1].to_uppercase() + &what[1..];
    let mut made = format!("val options = Native{what}Options(\n");
    for field in &record.fields {
        let name = camel(&field.name);
        let unit = if field.kind == Kind::Seconds { ".inSeconds()" } else { "" };
        let _ = writeln!(made, "    {name} = {name}{unit},");
    }
    made + ")\n"
}

fn errors(model: &Model) -> String {
    let classes = model.errors.iter().map(|error| {
        let doc = comment(&error.doc, model);
        format!(
            "{doc}public class {} internal constructor(of: Told) : KeySwapException(of)\n",
            error.name
        )
    });
    classes.collect::<Vec<_>>().join("\n")
}

fn codes(model: &Model) -> String {
    let mut made = String::new();
    for error in &model.errors {
        let _ = writeln!(made, "\"{}\" to ::{},", error.code, error.name);
    }
    made
}

fn policy(model: &Model) -> String {
    let properties = model.policy.fields.iter().map(|field| {
        let (of, by) = match field.kind {
            Kind::Share => ("Double", "number"),
            Kind::Whole => ("Int", "whole"),
            Kind::ManySeconds => ("List<Duration>", "times"),
            _ => ("Duration", "time"),
        };
        let (doc, name) = (comment(&field.doc, model), &field.name);
        let java = if of == "Duration" { java_setter(&camel(name)) } else { String::new() };
        format!("{doc}public var {}: {of}? by {by}(\"{name}\")\n{java}", camel(name))
    });
    properties.collect::<Vec<_>>().join("\n")
}

/// Java has a type of its own for time, and cannot make Kotlin's.
fn java_setter(name: &str) -> String {
    let upper = name[..1].to_uppercase() + &name[1..];
    format!(
        "
/** [{name}], for Java. */
public fun set{upper}(time: java.time.Duration?) {{
    {name} = time?.toKotlinDuration()
}}
"
    )
}

const EVENT: &str = "// Generated by keyswap-generate from the sources of Rust: do not edit.

package dev.keyswap

import dev.keyswap.internal.NativeEvent
import dev.keyswap.internal.NativeStats
import java.time.Instant
import kotlin.time.Duration
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.seconds
import kotlin.time.toJavaDuration

/**
 * Something that happened to the credentials: a class for each kind, and ids and numbers in it. It prints as one line for
 * people. Kinds may be added, so end a `when` with `else`.
 *
 * ```kotlin
 * keys.events.collect { event ->
 *     when (event) {
 *         is Event.Swapped -> println(\"${event.to} is in use\")
 *         is Event.FetchFailed -> println(\"${event.error}; next in ${event.retryIn}\")
 *         else -> println(event)
 *     }
 * }
 * ```
 */
public sealed interface Event {
";

fn event(model: &Model) -> String {
    let mut made = EVENT.to_owned();
    let names: Vec<_> = model.events.iter().map(|event| format!("`{}`", event.name)).collect();
    let doc = Text::new("Its stable name, the same in every language:");
    let doc = comment(&doc.and(&format!("{}.", names.join(", "))), model);
    made += &indented(&format!("{doc}public val name: String\n"));
    let mut kinds = String::new();
    for event in &model.events {
        let (class, doc) = (kind(&event.name), comment(&event.doc, model));
        made += &indented(&format!("\n{doc}{}", one_kind(&class, &event.fields, model)));
        let _ = writeln!(kinds, "    \"{}\" -> Event.{class}(native)", event.name);
    }
    let doc = Text::new("Something that this version does not know.");
    made += &indented(&format!("\n{}{}", comment(&doc, model), one_kind("Unknown", &[], model)));
    let _ = write!(
        made,
        "}}\n\ninternal fun eventOf(native: NativeEvent): Event = when (native.name) {{\n{kinds}    else -> Event.Unknown(native)\n}}\n\n"
    );
    made
}

/// The name of the class of an event.
pub(crate) fn kind(name: &str) -> String {
    capital(&camel(name))
}

fn one_kind(class: &str, fields: &[Field], model: &Model) -> String {
    let mut made = format!(
        "public class {class} internal constructor(private val native: NativeEvent) : Event {{\n"
    );
    for field in fields {
        made += &indented(&(comment(&field.doc, model) + &getter(field, true) + "\n"));
    }
    made + "    override val name: String get() = native.name\n\n    override fun toString(): String = native.text\n}\n"
}

fn stats(model: &Model) -> String {
    let doc = comment(&model.stats.doc.first(), model);
    let mut made = format!(
        "{doc}public class Stats internal constructor(private val native: NativeStats) {{\n"
    );
    for (nth, field) in model.stats.fields.iter().enumerate() {
        let gap = if nth == 0 { "" } else { "\n" };
        made += &indented(&format!("{gap}{}{}", comment(&field.doc, model), getter(field, false)));
    }
    made + "
    override fun toString(): String =
        \"Stats(generation $generation, ${inUse ?: \"nothing\"} in use, fetches $fetchesChanged/$fetchesNotModified/\" +
            \"$fetchesFailed, rejections $rejections, sends $sends)\"
}
"
}

/// A property that reads the native record, which may hold what other kinds have.
fn getter(field: &Field, is_of_kind: bool) -> String {
    let sure = if is_of_kind && !field.optional { "!!" } else { "" };
    let native = format!("native.{}{sure}", camel(&field.name));
    let q = if field.optional { "?" } else { "" };
    let (of, read) = match field.kind {
        Kind::Text | Kind::Code => ("String", native),
        Kind::Texts => ("List<String>", native),
        Kind::Truth => ("Boolean", native),
        Kind::Instant => ("Instant", format!("{native}?.let(Instant::ofEpochMilli)")),
        Kind::SignedMillis => ("Duration", format!("{native}{q}.milliseconds")),
        Kind::Millis => ("Duration", format!("{native}{q}.toLong(){q}.milliseconds")),
        Kind::WholeSeconds => ("Duration", format!("{native}{q}.toLong(){q}.seconds")),
        _ => ("Long", format!("{native}{q}.toLong()")),
    };
    let name = property(field);
    let getter = format!("public val {name}: {of}{q} get() = {read}\n");
    if of == "Duration" { getter + &java_getter(&name, q) } else { getter }
}

/// Java cannot read Kotlin's type for time. It sees the name without the ending.
fn java_getter(name: &str, q: &str) -> String {
    let upper = name[..1].to_uppercase() + &name[1..];
    format!(
        "
/** [{name}], for Java: `get{upper}`. */
@get:JvmName(\"get{upper}\")
public val {name}Time: java.time.Duration{q} get() = {name}{q}.toJavaDuration()
"
    )
}

fn indented(text: &str) -> String {
    let lines = text
        .lines()
        .map(|line| if line.is_empty() { "\n".to_owned() } else { format!("    {line}\n") });
    lines.collect()
}
