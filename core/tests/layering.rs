//! Which module may import which: `core/ARCHITECTURE.md` says why.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeSet, fs, path::Path};

/// Each module, and the modules that it may import. All of those stand above it, so no import leads back.
/// A name that the crate re-exports at its root is imported from its own module.
const MAY_IMPORT: &[(&str, &str)] = &[
    ("error", ""),
    ("secret", ""),
    ("moment", ""),
    ("structured_fields", ""),
    ("policy", "error"),
    ("backoff", "policy"),
    ("credential", "error secret"),
    ("event", "credential error moment"),
    ("report", "credential"),
    ("response_view", ""),
    ("clock", "moment"),
    ("scheme", "credential error secret"),
    ("engine", "backoff credential error event moment policy report response_view"),
    ("store", "credential engine error"),
    ("metrics", "credential engine moment store"),
    ("net", "clock error"),
    ("signing", "credential engine error net response_view scheme secret"),
    ("source", "backoff clock credential error moment net policy report secret structured_fields"),
    ("driver", "clock engine error event metrics policy source store"),
    ("keyswap", "clock credential driver engine error event policy source store"),
    (
        "client",
        "credential driver engine error keyswap moment net policy response_view scheme signing structured_fields",
    ),
    ("lend", "client credential engine error keyswap scheme source"),
    ("integrations", "client engine error moment net scheme"),
    ("host", "client credential engine error event keyswap net response_view scheme secret source"),
    ("fuzzing", "client source"),
    ("guide", ""),
];

/// What one module alone may use, and which.
const OWNED: &[(&str, &[&str])] = &[
    ("arc_swap::", &["store"]),
    ("spawn(", &["driver", "source/command", "source/reading"]),
    ("Timestamp::now(", &["clock"]),
    ("Instant::now(", &["clock"]),
    ("SystemTime::now(", &["clock"]),
    ("reqwest::", &["client", "integrations", "net", "source"]),
    (" ::metrics::", &["metrics"]),
];

/// What the engine is free of, so that it runs under any clock and any runtime.
const NOT_IN_ENGINE: &[&str] = &["tokio", "reqwest", "arc_swap", "std::fs", "std::net", "::now()"];

#[test]
fn every_import_is_allowed() {
    let mut used = BTreeSet::new();
    for (module, text) in sources() {
        let top = module.split('/').next().unwrap();
        if top == "lib" {
            continue;
        }
        // A module's own imports stand at the margin; those of a module inside it are further in.
        let root = "super::".repeat(module.split('/').count());
        let leaves = |line: &str| !line.starts_with(' ') && line.contains(&root);
        assert!(
            !text.lines().any(leaves),
            "{module} imports from the root by {root}, not by crate::"
        );
        let allowed = allowed_to(top);
        for imported in imports(&text).into_iter().filter(|imported| imported != top) {
            assert!(
                allowed.contains(&&*imported),
                "{module} imports crate::{imported}, which MAY_IMPORT does not allow"
            );
            used.insert((top.to_owned(), imported));
        }
    }
    for (module, imported) in pairs() {
        assert!(used.contains(&(module.into(), imported.into())), "{module} needs no {imported}");
    }
}

#[test]
fn no_import_leads_back() {
    let place = |module: &str| MAY_IMPORT.iter().position(|(name, _)| *name == module).unwrap();
    for (module, imported) in pairs() {
        assert!(place(imported) < place(module), "{imported} stands below {module}");
    }
}

#[test]
fn an_import_is_seen_however_it_is_written() {
    let grouped =
        "use crate::{\n    engine::{a, b},\n    source::{\n        c,\n    },\n};\nfn d() {}";
    assert_eq!(imports(grouped), ["engine", "source"].map(str::to_owned).into());
    let at_once = "pub use crate::{store::{A, B}, source::C};";
    assert_eq!(imports(at_once), ["source", "store"].map(str::to_owned).into());
    assert_eq!(imports("crate::client::status::read(headers)"), ["client".to_owned()].into());
}

#[test]
fn some_things_have_one_owner() {
    for (module, text) in sources() {
        for (what, owners) in OWNED {
            let owned = owners
                .iter()
                .any(|owner| module == *owner || module.starts_with(&format!("{owner}/")));
            assert!(
                owned || !text.contains(what),
                "{module} uses {what}, which belongs to {owners:?}"
            );
        }
    }
}

#[test]
fn the_engine_is_pure() {
    let mut seen = 0;
    for (module, text) in sources().into_iter().filter(|(module, _)| module.starts_with("engine/"))
    {
        seen += 1;
        for what in NOT_IN_ENGINE {
            assert!(!text.contains(what), "{module} mentions {what}");
        }
    }
    assert!(seen >= 4, "the engine's files were found");
}

/// What a module may import.
fn allowed_to(module: &str) -> Vec<&'static str> {
    let found = MAY_IMPORT.iter().find(|(name, _)| *name == module);
    found.map(|(_, allowed)| allowed.split_whitespace().collect()).unwrap_or_else(|| {
        panic!("{module} has no place: add it to MAY_IMPORT, and to ARCHITECTURE.md")
    })
}

fn pairs() -> impl Iterator<Item = (&'static str, &'static str)> {
    MAY_IMPORT.iter().flat_map(|(module, allowed)| {
        allowed.split_whitespace().map(move |imported| (*module, imported))
    })
}

/// The first path segments after `crate::`, also in a grouped import.
fn imports(text: &str) -> BTreeSet<String> {
    let word = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let mut found = BTreeSet::new();
    for (at, path) in text.match_indices("crate::") {
        let rest = &text[at + path.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.insert(word(rest));
            continue;
        };
        let (mut depth, mut begins) = (0, 0);
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                ',' if depth == 0 => {
                    found.insert(word(&group[begins..at]));
                    begins = at + 1;
                }
                '}' => {
                    found.insert(word(&group[begins..at]));
                    break;
                }
                _ => {}
            }
        }
    }
    found.remove("");
    found
}

/// Every module of the crate, by its path without the ending, and its text without tests and comments.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if path.extension().is_none_or(|ending| ending != "rs") {
                continue;
            }
            let name = path.strip_prefix(&root).unwrap().with_extension("");
            let name = name.to_str().unwrap().replace('\\', "/");
            if name.split('/').any(|part| part == "tests") {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            let code: Vec<_> =
                code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            found.push((name.trim_end_matches("/mod").to_owned(), code.join("\n")));
        }
    }
    assert!(found.len() > 15, "the sources were found");
    found
}
