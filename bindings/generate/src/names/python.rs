//! Python: what the package and its modules of other libraries have in `__all__`, and what the classes among it hold.

use std::collections::BTreeMap;

use super::{Name, Names, word};
use crate::{Files, Result};

const FOLDER: &str = "bindings/python/python/keyswap";

pub(super) fn names(files: &Files<'_>) -> Result<Names> {
    let mut classes = Classes::default();
    let mut sources = Vec::new();
    for path in files.list(FOLDER, "py")?.into_iter().chain(files.list(FOLDER, "pyi")?) {
        let text = files.read(&path)?;
        let module =
            path[FOLDER.len() + 1..].rsplit_once('.').map_or("", |(module, _)| module).to_owned();
        classes.read(&module, &text);
        sources.push((module, text));
    }
    let mut names = Names::new();
    for (module, text) in &sources {
        let prefix = match module.strip_prefix("integrations/") {
            Some("__init__") => "integrations.".to_owned(),
            Some(inner) if !inner.starts_with('_') => format!("{inner}."),
            None if module == "__init__" => String::new(),
            _ => continue,
        };
        let imported = imports(text);
        for name in all(text).into_iter().filter(|name| !name.starts_with('_')) {
            let home = imported.get(&*name).map_or(&**module, |module| module);
            let shown = format!("{prefix}{name}");
            if name.starts_with(char::is_uppercase) {
                names.insert(Name::kind(&shown));
            } else {
                names.insert(Name::member("", &shown));
            }
            for member in classes.members(home, &name) {
                names.insert(Name::member(&shown, &member));
            }
        }
    }
    Ok(names)
}

/// The texts of `__all__`.
fn all(text: &str) -> Vec<String> {
    let list = text.split_once("\n__all__ = [").and_then(|(_, rest)| rest.split_once(']'));
    let list = list.map_or("", |(list, _)| list);
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The modules that names are imported from: `from ._keys import Events, KeySwap`, in one line or in several.
fn imports(text: &str) -> BTreeMap<&str, String> {
    let mut found = BTreeMap::new();
    for statement in text.split("\nfrom .").skip(1) {
        let Some((module, rest)) = statement.split_once(" import ") else { continue };
        let list = match rest.strip_prefix('(') {
            Some(rest) => rest.split(')').next(),
            None => rest.lines().next(),
        };
        for name in list.unwrap_or_default().split(',').map(str::trim) {
            found.insert(name, module.to_owned());
        }
    }
    found
}

/// What each class declares, and what it is derived from.
#[derive(Default)]
struct Classes(BTreeMap<(String, String), (Vec<String>, Vec<String>)>);

impl Classes {
    fn read(&mut self, module: &str, text: &str) {
        let mut of = None;
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("class ") {
                let name = word(rest);
                let bases =
                    rest[name.len()..].strip_prefix('(').and_then(|rest| rest.split_once(')'));
                let bases = bases
                    .map_or("", |(bases, _)| bases)
                    .split(',')
                    .map(|base| base.trim().to_owned());
                let class = (module.to_owned(), name.to_owned());
                self.0.insert(class.clone(), (bases.collect(), Vec::new()));
                of = Some(class);
            } else if !line.is_empty() && !line.starts_with([' ', ')']) {
                of = None;
            } else if let Some(rest) = line.strip_prefix("    ") {
                let rest = rest.strip_prefix("async ").unwrap_or(rest);
                let (rest, ends) =
                    rest.strip_prefix("def ").map_or((rest, ": "), |rest| (rest, "("));
                let name = word(rest);
                // A constant of a class stands for a type that others have.
                let is_shown = name.chars().any(char::is_lowercase)
                    && !name.starts_with('_')
                    && rest[name.len()..].starts_with(ends);
                if is_shown
                    && let Some((_, members)) = of.as_ref().and_then(|of| self.0.get_mut(of))
                {
                    members.push(name.to_owned());
                }
            }
        }
    }

    /// The public members of a class and of those of ours that it is derived from. What has an `a` before the name of
    /// another one is that one, for an event loop.
    fn members(&self, module: &str, class: &str) -> Vec<String> {
        let Some((bases, own)) = self.0.get(&(module.to_owned(), class.to_owned())) else {
            return Vec::new();
        };
        let mut members = own.clone();
        for base in bases {
            let (from, base) = base.split_once('.').unwrap_or((module, base));
            members.extend(self.members(from, base));
        }
        let known = members.clone();
        members.retain(|name| {
            !name.strip_prefix('a').is_some_and(|plain| known.iter().any(|one| one == plain))
        });
        members
    }
}
