//! Node: what the entry points of the package export, and what the classes and interfaces among it hold.

use super::{Name, Names, after, word};
use crate::{Files, Result};

const FOLDER: &str = "bindings/node/lib";
const INDEX: &str = "index";
/// What Node itself asks for by these names.
const EVERYWHERE: &[&str] = &["constructor", "return", "throw", "toJSON", "toString"];
/// Entry points whose every export is public.
const OTHERS: &[&str] = &["axios", "undici"];

pub(super) fn names(files: &Files<'_>) -> Result<Names> {
    let mut names = Names::new();
    for (name, module) in exported(&files.read(&format!("{FOLDER}/{INDEX}.ts"))?) {
        let source = files.read(&format!("{FOLDER}/{module}.ts"))?;
        if !read(&source, Some(&name), &mut names) {
            return Err(format!("{module}.ts: it exports no {name}"));
        }
    }
    for module in OTHERS {
        read(&files.read(&format!("{FOLDER}/{module}.ts"))?, None, &mut names);
    }
    Ok(names)
}

/// The members of the generated interfaces of options, those too that are exported as parts of others.
pub(crate) fn generated(files: &Files<'_>, names: &mut Names) -> Result<()> {
    read(&files.read(&format!("{FOLDER}/generated/options.ts"))?, None, names);
    Ok(())
}

/// Names, and the modules that they come from: `export { type A, b } from './module'`.
fn exported(index: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for statement in index.split("export ").skip(1) {
        let Some((list, from)) = statement.split_once("} from './") else { continue };
        let module = from.split('\'').next().unwrap_or_default();
        for name in list.split(['{', ',']).map(str::trim) {
            let name = name.strip_prefix("type ").unwrap_or(name).trim();
            if !name.is_empty() && name != "type" {
                found.push((name.to_owned(), module.to_owned()));
            }
        }
    }
    found
}

/// Reads one export of a module, or all; returns whether there is any.
fn read(source: &str, wanted: Option<&str>, names: &mut Names) -> bool {
    let skipped = ["export", "async", "abstract", "declare"];
    let (mut found, mut of) = (false, None);
    let (mut is_internal, mut is_alternatives) = (false, false);
    for line in source.lines() {
        let rest = line.trim_start();
        match line.len() - rest.len() {
            0 if rest.starts_with("export ") => {
                of = None;
                let kinds = &["class", "interface", "type", "function", "const"];
                let Some((kind, rest)) = after(rest, &skipped, kinds) else { continue };
                let name = word(rest);
                if wanted.is_some_and(|wanted| wanted != name) {
                    continue;
                }
                found = true;
                if matches!(kind, "function" | "const") {
                    names.insert(Name::member("", name));
                    continue;
                }
                names.insert(Name::kind(name));
                is_alternatives = kind == "type";
                of = Some(name.to_owned());
                if is_alternatives {
                    alternatives(rest, name, names);
                }
            }
            0 if !rest.is_empty() => of = None,
            2 => {
                let Some(of) = &of else { continue };
                if rest.starts_with("/*") {
                    is_internal = rest.contains("@internal");
                } else if is_alternatives {
                    alternatives(rest, of, names);
                } else if !std::mem::take(&mut is_internal)
                    && let Some(name) = member(rest).filter(|name| !EVERYWHERE.contains(name))
                {
                    names.insert(Name::member(of, name));
                }
            }
            _ => {}
        }
    }
    found
}

/// Those of a type that is one of several texts.
fn alternatives(line: &str, of: &str, names: &mut Names) {
    let Some((_, list)) = line
        .split_once("= '")
        .or_else(|| line.split_once("| '").filter(|(before, _)| before.is_empty()))
    else {
        return;
    };
    for text in format!("'{list}").split('\'').skip(1).step_by(2) {
        names.insert(Name::member(of, text));
    }
}

/// The public member that this line of a class or an interface declares.
fn member(line: &str) -> Option<&str> {
    let (mut rest, starts) = (line, ["readonly ", "static ", "async ", "get ", "set "]);
    while let Some(next) = starts.iter().find_map(|start| rest.strip_prefix(start)) {
        rest = next;
    }
    let name = word(rest);
    let follows = rest[name.len()..].starts_with(['(', ':', '?', '<', ';', '!']);
    (!name.is_empty() && follows).then_some(name)
}
