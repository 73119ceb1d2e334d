//! Rust: the record that has the fields of every event, and what uniffi must be told of the records of the host once more.

use std::fmt::Write as _;

use crate::{
    Files, Result,
    model::{Field, Kind, Model},
    read::{self, OPTIONS, RECORDS, Source},
    text::Style,
};

const UNIFFI: &str = "bindings/uniffi/src/records.rs";
const WIDTH: usize = 112;

/// Records of the host, and the regions of what uniffi is told of them.
const MIRRORED: &[(&str, &str, &str)] = &[
    (RECORDS, "EventRecord", "event"),
    (RECORDS, "StatsRecord", "stats"),
    (OPTIONS, "EndpointOptions", "endpoint"),
    (OPTIONS, "AuthorizerOptions", "authorizer"),
    (OPTIONS, "SchemeOptions", "scheme"),
    (OPTIONS, "ClassifierOptions", "classifier"),
];

/// Types that are called otherwise there.
const CALLED: &[&str] = &["ClassifierOptions", "SchemeKind", "SchemeOptions"];

pub(crate) fn write(model: &Model, files: &Files<'_>) -> Result<()> {
    files.region(RECORDS, "event", &event(model))?;
    for (path, name, region) in MIRRORED {
        let mut made = String::new();
        for field in &Source::new(files, path)?.structure(name)?.fields {
            let of = CALLED.iter().fold(read::shown(&field.ty), |of, name| {
                of.replace(name, &format!("Native{name}"))
            });
            let of = of.replace(',', ", ");
            let _ = writeln!(made, "pub {}: {of},", read::shown(&field.ident));
        }
        files.region(UNIFFI, region, &made)?;
    }
    Ok(())
}

fn event(model: &Model) -> String {
    let mut made = String::new();
    for field in &model.event_fields {
        for line in field.doc.lines(WIDTH, Style::Snake, &model.names) {
            let _ = writeln!(made, "/// {line}");
        }
        let _ = writeln!(made, "pub {}: Option<{}>,", field.name, of(field));
    }
    made
}

fn of(field: &Field) -> &'static str {
    match field.kind {
        Kind::Text | Kind::Code => "String",
        Kind::Texts => "Vec<String>",
        Kind::Truth => "bool",
        Kind::SignedMillis => "i64",
        _ => "u64",
    }
}
