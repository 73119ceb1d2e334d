//! The stub of the module that is written in Rust: its signatures are by hand, and compared with the module by a tool of
//! Python's; what it says of them comes from the comments in Rust.

use std::collections::BTreeMap;

use syn::{ImplItem, Item};

use crate::{
    Files, Result,
    model::Model,
    names::{Kind, LANGUAGES, word},
    python::docstring,
    read,
    text::Text,
};

const SOURCES: &str = "bindings/python/src";
const STUB: &str = "bindings/python/python/keyswap/_native.pyi";

/// What is said of a class (with an empty name of a member), and of its members.
type Docs = BTreeMap<(String, String), Text>;

pub(crate) fn write(model: &Model, files: &Files<'_>) -> Result<()> {
    let docs = docs(files)?;
    let public = LANGUAGES[1].names(files)?;
    let is_public =
        |class: &str| public.iter().any(|name| name.kind == Kind::Type && name.name == class);
    let (mut made, mut class, mut declared) = (String::new(), String::new(), String::new());
    for line in bare(&files.read(STUB)?) {
        let rest = line.trim_start();
        let name = |start: &str| rest.strip_prefix(start).map(|rest| word(rest).to_owned());
        // What is spoken of, and how far its docstring is indented.
        let said = if let Some(name) = name("class ") {
            class = name;
            Some((String::new(), 4))
        } else if let Some((name, _)) = rest.split_once(": Final") {
            Some((name.to_owned(), 4))
        } else {
            declared = name("def ").unwrap_or(declared);
            rest.ends_with(": ...").then(|| (declared.clone(), 8))
        };
        let said = said.filter(|(name, _)| is_public(&class) && !name.starts_with('_'));
        let said =
            said.and_then(|(name, indent)| Some((docs.get(&(class.clone(), name))?, indent)));
        match said {
            Some((doc, indent)) => {
                made = made
                    + line.strip_suffix(" ...").unwrap_or(&line)
                    + "\n"
                    + &docstring(doc, model, indent);
            }
            None => made = made + &line + "\n",
        }
    }
    files.whole(STUB, made);
    Ok(())
}

/// The lines of the stub, without what it says.
fn bare(stub: &str) -> Vec<String> {
    let (mut lines, mut is_within): (Vec<String>, _) = (Vec::new(), false);
    for line in stub.lines() {
        let rest = line.trim();
        if !is_within && !rest.starts_with("\"\"\"") {
            lines.push(line.to_owned());
            continue;
        }
        if let Some(last) = lines.last_mut()
            && last.ends_with(':')
            && !last.starts_with("class ")
        {
            last.push_str(" ...");
        }
        // It ends where its last quotes are, in the line of the first ones or in a later one.
        is_within = !rest.ends_with("\"\"\"") || (!is_within && rest.len() < 6);
    }
    lines
}

fn docs(files: &Files<'_>) -> Result<Docs> {
    let mut docs = Docs::new();
    for path in files.list(SOURCES, "rs")? {
        let file =
            syn::parse_file(&files.read(&path)?).map_err(|error| format!("{path}: {error}"))?;
        for item in &file.items {
            match item {
                Item::Struct(item) if has(&item.attrs, "pyclass") => {
                    let class = item.ident.to_string();
                    for field in &item.fields {
                        if let Some(name) = &field.ident {
                            docs.insert(
                                (class.clone(), name.to_string()),
                                read::comment(&field.attrs),
                            );
                        }
                    }
                    docs.insert((class, String::new()), read::comment(&item.attrs));
                }
                Item::Impl(item) if has(&item.attrs, "pymethods") => {
                    let class = read::shown(&item.self_ty);
                    for item in &item.items {
                        let (name, attributes) = match item {
                            ImplItem::Fn(item) => (item.sig.ident.to_string(), &item.attrs),
                            ImplItem::Const(item) => (item.ident.to_string(), &item.attrs),
                            _ => continue,
                        };
                        docs.insert((class.clone(), name), read::comment(attributes));
                    }
                }
                _ => {}
            }
        }
    }
    docs.retain(|_, text| !text.is_empty());
    Ok(docs)
}

fn has(attributes: &[syn::Attribute], name: &str) -> bool {
    attributes.iter().any(|attribute| attribute.path().is_ident(name))
}
