//! The functions that make sources, each with what may be said of it.

use std::{collections::BTreeSet, fmt::Write as _};

use super::{comment, interface, option, set, type_of};
use crate::{
    model::{Field, Kind, Model, Source},
    text::{Style, camel},
};

pub(super) fn text(model: &Model) -> String {
    let mut made =
        "import type { KeySwap } from '../keys'\nimport { made, type Source } from '../source'\n"
            .to_owned();
    for source in &model.sources {
        made += &maker_of(model, source);
    }
    let fields = || model.sources.iter().flat_map(|source| &source.record.fields);
    let named = |kind: Kind| -> BTreeSet<String> {
        fields().filter(|field| field.kind == kind).map(|field| option(&field.name)).collect()
    };
    made += "\n/** The options of sources that are times. */\nexport const ";
    made += &set("SOURCE_TIMES", named(Kind::Seconds).into_iter());
    made += "\n/** Those that are lists of strings. */\nexport const ";
    made += &set("SOURCE_LISTS", named(Kind::Texts).into_iter());
    made += "\n/** Those that are names with their values. */\nexport const ";
    made + &set("SOURCE_MAPS", named(Kind::Map).into_iter())
}

pub(super) fn exports(model: &Model) -> String {
    let mut made = "export {\n".to_owned();
    for source in &model.sources {
        let _ = write!(made, "  {},", camel(&source.kind));
        if has_options(source) {
            let _ = write!(made, " type {}Options,", source.class);
        }
        made.push('\n');
    }
    made + "} from './generated/sources'\n"
}

/// How programs make one.
pub(crate) fn maker(source: &Source) -> String {
    let subjects = source.subjects().map(|field| format!("{}, ", option(&field.name)));
    format!("{}({}{{ ... }})", camel(&source.kind), subjects.collect::<String>())
}

fn has_options(source: &Source) -> bool {
    source.record.fields.iter().any(|field| field.optional)
}

fn maker_of(model: &Model, source: &Source) -> String {
    let (class, function) = (&source.class, camel(&source.kind));
    let mut made = String::new();
    let mut parameters: Vec<String> = source
        .subjects()
        .map(|field| format!("{}: {}", option(&field.name), type_of(field).0))
        .collect();
    let names: Vec<String> = source.subjects().map(|field| option(&field.name)).collect();
    let mut passed = format!("'{}', {{ {} }}", source.kind, names.join(", ")).replace("{  }", "{}");
    if has_options(source) {
        let more = match source.has_regions() {
            false => "",
            true => {
                "  /** Further endpoints that show the same set, asked in order when this one fails. */\n  regions?: readonly (string | URL | Source)[]\n"
            }
        };
        let fields: Vec<&Field> =
            source.record.fields.iter().filter(|field| field.optional).collect();
        let name = format!("{class}Options");
        made += &interface(model, &name, &source.record.doc, &fields, more);
        parameters.push(format!("options: {name} = {{}}"));
        passed += ", options";
    }
    made.push('\n');
    made += &comment(&source.record.doc, model, Style::CamelMillis, 0);
    let parameters = parameters.join(", ");
    made + &format!(
        "export function {function}({parameters}): Source {{\n  return made({passed})\n}}\n"
    )
}
