//! The classes of sources, each with what may be said of it.

use std::fmt::Write as _;

use super::{MERGED, PACKAGE, WIDER, WIDTH, docstring, entry, header};
use crate::{
    Files, Result,
    model::{Field, Kind, Model, Source},
    text::Style,
};

/// What the file is, and why it is a long one.
const REASON: &str = "Where sets come from: a class for each kind of source.

They stand in one file of more than 500 lines since nobody writes or edits it: most of it is what the options mean,
beside the options.";
const IMPORTS: &str = "from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import cast

from . import _native
from ._inputs import to_inputs, to_json, to_map, to_path, to_pem, to_text, to_texts
";

pub(super) fn write(model: &Model, files: &Files<'_>) -> Result<()> {
    let mut made = header(REASON) + IMPORTS;
    for source in &model.sources {
        made += &class(model, source);
    }
    files.whole(&format!("{PACKAGE}/_sources.py"), made);
    let mut classes: Vec<_> = model.sources.iter().map(|source| &*source.class).collect();
    classes.sort_unstable();
    let list = |before: &str, after: &str| {
        classes.iter().fold(String::new(), |made, class| made + before + class + after)
    };
    let init = format!("{PACKAGE}/__init__.py");
    let imported = format!("from ._sources import (\n{})\n", list("    ", ",\n"));
    files.region(&init, "sources", &imported)?;
    files.region(&init, "names", &list("\"", "\",\n"))
}

/// How programs make one.
pub(crate) fn maker(source: &Source) -> String {
    let subjects = source.subjects().map(|field| format!("{}, ", field.name));
    format!("keyswap.{}({}...)", source.class, subjects.collect::<String>())
}

fn class(model: &Model, source: &Source) -> String {
    let (class, fields) = (&source.class, &source.record.fields);
    let mut parameters = String::new();
    let mut docs = String::new();
    let mut options = String::new();
    let mut inputs = String::new();
    for field in fields {
        let name = name_of(field);
        let _ = writeln!(options, "            \"{}\": {},", field.name, value(field));
        if MERGED.contains(&name) {
            continue;
        }
        // What has to be given stands first, and where it is.
        if field.optional && name != "url" && !parameters.contains("*,") {
            parameters += "        *,\n";
        }
        let _ = writeln!(parameters, "        {name}: {},", parameter(field));
        let shown = Field { name: name.to_owned(), ..field.clone() };
        for line in entry(model, &shown, WIDTH - 8) {
            let _ = writeln!(docs, "        {line}");
        }
        if takes_more(field) {
            let _ = write!(inputs, "{name}={name}, ");
        }
    }
    if source.has_regions() {
        let _ = writeln!(parameters, "        regions: Sequence[{class}] = (),");
        docs += "        - `regions`: Further endpoints that show the same set, asked in order when this one fails.\n";
        inputs += "regions=regions, ";
    }
    let doc =
        source.record.doc.first().lines(WIDTH - 11, Style::Snake, &model.names).join("\n        ");
    let mut passed = format!("cls, \"{}\", to_json(options, \"option\")", source.kind);
    let mut made = format!(
        "\n\nclass {class}(_native.Source):\n{}\n",
        docstring(&source.record.doc, model, 4)
    );
    let _ = write!(
        made,
        "    __slots__ = ()\n\n    def __new__(\n        cls,\n{parameters}    ) -> {class}:\n        \"\"\"{doc}\n\n{docs}\n        Raises InvalidConfigError for what is not valid.\n        \"\"\"\n        options = {{\n{options}        }}\n"
    );
    if !inputs.is_empty() {
        let _ = writeln!(made, "        inputs = to_inputs({})", inputs.trim_end_matches(", "));
        passed += ", inputs";
    }
    made + &format!(
        "        made = super().__new__({passed})\n        return cast({class}, made)\n"
    )
}

/// Whether it may be something that JSON cannot hold.
fn takes_more(field: &Field) -> bool {
    field.name == "bootstrap" || matches!(field.kind, Kind::SecretOrKeys | Kind::SecretOrFunction)
}

/// The name of an option. Those of AWS are as its SDK for Python has them.
fn name_of(field: &Field) -> &str {
    match &*field.name {
        "region" => "region_name",
        "profile" => "profile_name",
        name => name,
    }
}

fn is_path(field: &Field) -> bool {
    field.name == "path" || field.name.ends_with("_file")
}

/// The type of a parameter, and what it is if nothing is said.
fn parameter(field: &Field) -> String {
    let wider = WIDER.iter().find(|(name, _, _)| *name == field.name).map(|(_, of, _)| *of);
    let of = wider.unwrap_or(match field.kind {
        _ if is_path(field) && field.optional => "str | os.PathLike[str] | None",
        _ if is_path(field) => "str | os.PathLike[str]",
        Kind::Text if !field.optional => "str",
        Kind::Texts => "Sequence[str]",
        Kind::Map => "Mapping[str, str] | None",
        Kind::Truth => "bool",
        Kind::Seconds => "float | None",
        Kind::SecretOrKeys => "str | _native.KeySwap | None",
        Kind::SecretOrFunction => "str | Callable[[], str] | Callable[[], Awaitable[str]] | None",
        Kind::Whole => "int | None",
        _ => "str | None",
    });
    let default = match field.kind {
        _ if !field.optional => "",
        // What this is when nothing is said stands in its comment.
        Kind::Truth if field.doc.says("True by default") => " = True",
        Kind::Truth => " = False",
        Kind::Texts => " = ()",
        _ => " = None",
    };
    format!("{of}{default}")
}

/// A parameter as the core has it.
fn value(field: &Field) -> String {
    let name = name_of(field);
    match field.kind {
        _ if name == "no_bootstrap" => "bootstrap is False".to_owned(),
        _ if is_path(field) => format!("to_path({name})"),
        _ if ["root_certificates", "client_certificate"].contains(&name) => {
            format!("to_pem({name})")
        }
        _ if takes_more(field) => format!("to_text(\"{name}\", {name})"),
        Kind::Map => format!("to_map(\"{name}\", {name})"),
        Kind::Texts => format!("to_texts(\"{name}\", {name})"),
        _ => name.to_owned(),
    }
}
