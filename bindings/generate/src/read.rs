//! Reads the description from the sources of Rust. What it does not understand is an error, and never left out.

use quote::ToTokens;
use syn::{Expr, Item, ItemEnum, ItemStruct, Lit, Meta};

use crate::{
    Files, Result,
    model::{self, Error, Event, Field, Kind, Model, Record},
    text::{Text, snake},
};

const ERROR: &str = "core/src/error.rs";
const EVENT: &str = "core/src/event.rs";
const POLICY: &str = "core/src/policy.rs";
pub(crate) const OPTIONS: &str = "bindings/host/src/options.rs";
const STORES: &str = "bindings/host/src/options/stores.rs";
pub(crate) const RECORDS: &str = "bindings/host/src/records.rs";

pub(crate) fn model(files: &Files<'_>) -> Result<Model> {
    let source = |path| Source::new(files, path);
    let (options, records) = (source(OPTIONS)?, source(RECORDS)?);
    let policy = source(POLICY)?.record("Policy", policy_kind)?;
    let option = |name| options.record(name, option_kind);
    let events = events(&source(EVENT)?)?;
    let mut model = Model {
        version: version(&files.read("Cargo.toml")?)?,
        policy,
        errors: errors(&source(ERROR)?)?,
        event_fields: event_fields(&events, &source(EVENT)?)?,
        events,
        stats: records.record("StatsRecord", stats_kind)?,
        sources: sources(files)?,
        authorizer: option("AuthorizerOptions")?,
        client: option("ClientOptions")?,
        keyswap: option("KeySwapOptions")?,
        names: [].into(),
    };
    let options = [&model.authorizer, &model.client, &model.keyswap];
    let options = options.into_iter().chain(model.sources.iter().map(|source| &source.record));
    let named = [&model.policy, &model.stats].into_iter().chain(options);
    model.names = named.flat_map(|record| &record.fields).map(|field| field.name.clone()).collect();
    Ok(model)
}

/// The sources that the host makes by their names, but for what is of other sources alone.
fn sources(files: &Files<'_>) -> Result<Vec<model::Source>> {
    let mut described = Source::new(files, OPTIONS)?;
    for path in files.list(OPTIONS.trim_end_matches(".rs"), "rs")? {
        described.items.extend(Source::new(files, &path)?.items);
    }
    let table = Source::new(files, STORES)?;
    let rows = table.items.iter().find_map(|item| match item {
        Item::Const(item) if item.ident == "SOURCES" => elements(&item.expr),
        _ => None,
    });
    let rows: Vec<_> = rows.into_iter().flatten().filter_map(elements).collect();
    let mut sources = Vec::new();
    for row in rows {
        let [kind, reader] = &*row.into_iter().map(shown).collect::<Vec<_>>() else {
            return Err(table.error("SOURCES", "a line is a name and how it is read"));
        };
        let name = reader.split(['<', '>']).nth(1).unwrap_or_default();
        if let Some(class) = name.strip_suffix("Options") {
            let (kind, class) = (kind.trim_matches('"').to_owned(), class.to_owned());
            let record = described.record(name, option_kind)?;
            sources.push(model::Source { record, kind, class });
        }
    }
    if sources.is_empty() {
        return Err(table.error("SOURCES", "there is no such table"));
    }
    Ok(sources)
}

/// Those of an array, or of a tuple.
fn elements(expr: &Expr) -> Option<Vec<&Expr>> {
    match expr {
        Expr::Reference(expr) => elements(&expr.expr),
        Expr::Array(array) => Some(array.elems.iter().collect()),
        Expr::Tuple(tuple) => Some(tuple.elems.iter().collect()),
        _ => None,
    }
}

fn version(manifest: &str) -> Result<String> {
    let section = manifest.split_once("[workspace.package]").map(|(_, section)| section);
    let version = section.and_then(|section| {
        let line = section.lines().find_map(|line| line.strip_prefix("version = \""))?;
        line.strip_suffix('"')
    });
    Ok(version.ok_or("Cargo.toml: there is no version of the workspace")?.to_owned())
}

fn policy_kind(_: &str, of: &str) -> Option<(Kind, bool)> {
    let kind = match of {
        "f64" => Kind::Share,
        "u32" => Kind::Whole,
        "Duration" => Kind::Seconds,
        "Vec<Duration>" => Kind::ManySeconds,
        _ => return None,
    };
    Some((kind, true))
}

fn option_kind(name: &str, of: &str) -> Option<(Kind, bool)> {
    let kind = match of {
        // What has to be given; the other types have a default.
        "String" => return Some((Kind::Text, false)),
        "Option<String>" => Kind::Text,
        "Option<SecretText>" => Kind::Secret,
        "Option<SecretOrKeys>" => Kind::SecretOrKeys,
        "Option<SecretOrFunction>" => Kind::SecretOrFunction,
        "bool" | "Option<bool>" => Kind::Truth,
        "u32" | "Option<u32>" => Kind::Whole,
        "Option<f64>" => Kind::Seconds,
        "Vec<String>" if ["argv", "endpoints"].contains(&name) => {
            return Some((Kind::Texts, false));
        }
        "Vec<String>" => Kind::Texts,
        "Vec<(String,String)>" => Kind::Pairs,
        "HashMap<String,SecretText>" => Kind::Map,
        "Policy" if name == "policy" => Kind::Policy,
        "Option<SchemeOptions>" => Kind::Scheme,
        "Option<ClassifierOptions>" => Kind::Classifier,
        _ => return None,
    };
    Some((kind, true))
}

fn stats_kind(name: &str, of: &str) -> Option<(Kind, bool)> {
    Some(match of {
        "u64" => (Kind::Whole, false),
        "Option<u64>" if name.ends_with("_ms") => (Kind::Millis, true),
        "Option<u64>" => (Kind::Whole, true),
        "Option<i64>" if name.ends_with("_ms") => (Kind::Instant, true),
        "Option<String>" => (Kind::Text, true),
        _ => return None,
    })
}

/// The kinds of errors, with their codes, which `ErrorKind` has in a `match` over all of them.
fn errors(source: &Source) -> Result<Vec<Error>> {
    let kinds = source.enumeration("ErrorKind")?;
    let codes = source.texts_of_variants("ErrorKind")?;
    let read = kinds.variants.iter().map(|variant| {
        let name = variant.ident.to_string();
        let code = codes.iter().find(|(kind, _)| *kind == name).map(|(_, code)| code.clone());
        let code = code.ok_or_else(|| source.error(&name, "it has no code"))?;
        if code != snake(&name) {
            return Err(source.error(&name, "its code is not its name in lower case"));
        }
        Ok(Error { doc: source.doc(&name, &variant.attrs)?, name, code })
    });
    read.collect()
}

/// The kinds of events with their fields, as they are written as data.
fn events(source: &Source) -> Result<Vec<Event>> {
    let event = source.enumeration("Event")?;
    let written = serde(&event.attrs);
    if !["tag=\"event\"", "rename_all=\"snake_case\""].iter().all(|is| written.contains(is)) {
        return Err(source.error("Event", "it is written in a way that is not known here"));
    }
    let mut events = Vec::new();
    for variant in &event.variants {
        let name = variant.ident.to_string();
        let mut fields = Vec::new();
        for field in &variant.fields {
            let (of, written) = (shown(&field.ty), serde(&field.attrs));
            let what = format!("{name}.{}", shown(&field.ident));
            if written.contains("flatten") {
                let inner = of.strip_prefix("Option<").and_then(|of| of.strip_suffix('>'));
                let inner =
                    inner.ok_or_else(|| source.error(&what, "what is flattened is optional"))?;
                for field in &source.structure(inner)?.fields {
                    fields.push(event_field(source, &what, field, true)?);
                }
            } else {
                fields.push(event_field(source, &what, field, of.starts_with("Option<"))?);
            }
        }
        let doc = source.doc(&name, &variant.attrs)?;
        events.push(Event { name: snake(&name), doc, fields });
    }
    Ok(events)
}

fn event_field(source: &Source, what: &str, field: &syn::Field, optional: bool) -> Result<Field> {
    let (of, written) = (shown(&field.ty), serde(&field.attrs));
    let of = of.strip_prefix("Option<").and_then(|of| of.strip_suffix('>')).unwrap_or(&of);
    let renamed = written.split_once("rename=\"").and_then(|(_, after)| after.split_once('"'));
    let name = renamed.map_or_else(|| shown(&field.ident), |(name, _)| name.to_owned());
    let by = written.split_once("serialize_with=\"").and_then(|(_, after)| after.split_once('"'));
    let kind = match (of, by.map_or("", |(by, _)| by)) {
        ("CredentialId", "") => Kind::Text,
        ("Vec<CredentialId>", "") => Kind::Texts,
        ("bool", "") => Kind::Truth,
        ("u64", "") => Kind::Whole,
        ("i64", "") if name.ends_with("_ms") => Kind::SignedMillis,
        ("Duration", "as_millis" | "as_optional_millis") if name.ends_with("_ms") => Kind::Millis,
        ("Duration", "as_secs") if name == "seconds" => Kind::WholeSeconds,
        ("Error", "as_code") => Kind::Code,
        ("Error", "as_reason") => Kind::Text,
        _ => return Err(source.error(what, &format!("what it is written as is not known: {of}"))),
    };
    let doc = source.doc(what, &field.attrs)?;
    let doc = match kind {
        Kind::Millis | Kind::SignedMillis => doc.measured("milliseconds"),
        Kind::WholeSeconds => doc.measured("seconds"),
        _ => doc,
    };
    Ok(Field { name, doc, kind, optional })
}

/// The fields of all events, by their names: each has one type, and of comments that differ the shortest is for all.
fn event_fields(events: &[Event], source: &Source) -> Result<Vec<Field>> {
    let mut fields: Vec<Field> = Vec::new();
    for event in events {
        for field in &event.fields {
            let Some(known) = fields.iter_mut().find(|one| one.name == field.name) else {
                fields.push(Field { optional: true, ..field.clone() });
                continue;
            };
            if known.kind != field.kind {
                return Err(source.error(&field.name, "events have it with several types"));
            }
            if field.doc.len() < known.doc.len() {
                known.doc = field.doc.clone();
            }
        }
    }
    Ok(fields)
}

/// A file of Rust.
pub(crate) struct Source {
    path: String,
    items: Vec<Item>,
}

impl Source {
    pub(crate) fn new(files: &Files<'_>, path: &str) -> Result<Self> {
        let file = syn::parse_file(&files.read(path)?);
        let items = file.map_err(|error| format!("{path}: {error}"))?.items;
        Ok(Self { path: path.to_owned(), items })
    }

    fn error(&self, what: &str, why: &str) -> String {
        format!("{}: {what}: {why}", self.path)
    }

    pub(crate) fn structure(&self, name: &str) -> Result<&ItemStruct> {
        let found = self.items.iter().find_map(|item| match item {
            Item::Struct(item) if item.ident == name => Some(item),
            _ => None,
        });
        found.ok_or_else(|| self.error(name, "there is no such struct"))
    }

    fn enumeration(&self, name: &str) -> Result<&ItemEnum> {
        let found = self.items.iter().find_map(|item| match item {
            Item::Enum(item) if item.ident == name => Some(item),
            _ => None,
        });
        found.ok_or_else(|| self.error(name, "there is no such enum"))
    }

    /// What the public fields of a struct are.
    fn record(&self, name: &str, kind: fn(&str, &str) -> Option<(Kind, bool)>) -> Result<Record> {
        let item = self.structure(name)?;
        let mut fields = Vec::new();
        for field in &item.fields {
            let (name, of) = (shown(&field.ident), shown(&field.ty));
            if serde(&field.attrs).contains("flatten") {
                fields.extend(self.record(&of, kind)?.fields);
                continue;
            }
            let (kind, optional) = kind(&name, &of)
                .ok_or_else(|| self.error(&name, &format!("its type is not known: {of}")))?;
            let doc = self.doc(&name, &field.attrs)?;
            // The type says so, for a number of the policy.
            if of == "Option<f64>" && !doc.says(", in seconds") {
                return Err(self.error(&name, "its comment must say `, in seconds`"));
            }
            fields.push(Field { name, doc, kind, optional });
        }
        Ok(Record { doc: self.doc(name, &item.attrs)?, fields })
    }

    /// The first text of each arm of the `match` over an enum's own variants that has an arm for each.
    fn texts_of_variants(&self, name: &str) -> Result<Vec<(String, String)>> {
        let count = self.enumeration(name)?.variants.len();
        for item in &self.items {
            let Item::Impl(item) = item else { continue };
            if shown(&item.self_ty) != name || item.trait_.is_some() {
                continue;
            }
            for item in &item.items {
                let syn::ImplItem::Fn(function) = item else { continue };
                let Some(syn::Stmt::Expr(Expr::Match(all), None)) = function.block.stmts.last()
                else {
                    continue;
                };
                let texts: Vec<_> = all.arms.iter().filter_map(text_of).collect();
                if texts.len() == count {
                    return Ok(texts);
                }
            }
        }
        Err(self.error(name, "there is no function that gives each variant a text"))
    }

    fn doc(&self, what: &str, attributes: &[syn::Attribute]) -> Result<Text> {
        let text = comment(attributes);
        if text.is_empty() { Err(self.error(what, "it has no comment")) } else { Ok(text) }
    }
}

/// What a doc comment says.
pub(crate) fn comment(attributes: &[syn::Attribute]) -> Text {
    let mut comment = String::new();
    for attribute in attributes {
        if let Meta::NameValue(meta) = &attribute.meta
            && meta.path.is_ident("doc")
            && let Expr::Lit(line) = &meta.value
            && let Lit::Str(line) = &line.lit
        {
            comment += &line.value();
            comment.push('\n');
        }
    }
    Text::new(&comment)
}

/// `Self::Variant => "text"`, or `("text", ..)`.
fn text_of(arm: &syn::Arm) -> Option<(String, String)> {
    let variant = shown(&arm.pat).strip_prefix("Self::")?.to_owned();
    let body = match &*arm.body {
        Expr::Tuple(tuple) => tuple.elems.first()?,
        body => body,
    };
    let Expr::Lit(body) = body else { return None };
    let Lit::Str(text) = &body.lit else { return None };
    Some((variant, text.value()))
}

/// What is said to serde, without spaces.
fn serde(attributes: &[syn::Attribute]) -> String {
    let ours = attributes.iter().filter(|attribute| attribute.path().is_ident("serde"));
    ours.map(|attribute| shown(&attribute.meta)).collect()
}

/// As it is written, without spaces.
pub(crate) fn shown(tokens: &impl ToTokens) -> String {
    tokens.to_token_stream().to_string().split_whitespace().collect()
}
