//! Imports point to the left, never back: `core/ARCHITECTURE.md` says why.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeSet, fs, path::Path};

/// The layers, from the left. A module may import from its own layer and from those before it.
const LAYERS: &[&[&str]] = &[
    &["error", "secret", "moment"],
    &["credential", "policy", "event", "response_view"],
    &["engine", "store", "scheme", "source", "clock"],
    &["driver", "metrics"],
    &["keyswap"],
    &["client"],
    &["integrations", "host"],
    &["fuzzing"],
];

/// What one module alone may use, and which.
const OWNED: &[(&str, &[&str])] = &[
    ("arc_swap::", &["store"]),
    ("spawn(", &["driver", "source/reading"]),
    ("Timestamp::now(", &["clock"]),
    ("Instant::now(", &["clock"]),
    ("SystemTime::now(", &[]),
    ("reqwest::", &["client", "integrations", "source"]),
    (" ::metrics::", &["metrics"]),
];

/// What the engine is free of, so that it runs under any clock and any runtime.
const NOT_IN_ENGINE: &[&str] = &["tokio", "reqwest", "arc_swap", "std::fs", "std::net", "::now()"];

#[test]
fn every_import_points_to_the_left() {
    for (module, text) in sources() {
        let top = module.split('/').next().unwrap();
        if top == "lib" {
            continue;
        }
        let layer = layer_of(top);
        for imported in imports(&text) {
            assert!(
                layer_of(&imported) <= layer,
                "{module} imports crate::{imported}, which is to its right"
            );
        }
    }
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

fn layer_of(module: &str) -> usize {
    LAYERS.iter().position(|layer| layer.contains(&module)).unwrap_or_else(|| {
        panic!("{module} has no layer: add it to LAYERS, and to ARCHITECTURE.md")
    })
}

/// The first path segments after `crate::`, also in a grouped import.
fn imports(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let word = |text: &str| -> String {
        text.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect()
    };
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => found.extend([word(rest)]),
            Some(group) => {
                let mut depth = 0;
                for line in group.lines() {
                    let line = line.trim();
                    if depth == 0 && !line.starts_with('}') {
                        found.extend([word(line)]);
                    }
                    depth += line.matches('{').count() as i32 - line.matches('}').count() as i32;
                    if depth < 0 {
                        break;
                    }
                }
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
            let name = path.strip_prefix(&root).unwrap().with_extension("");
            let name = name.to_str().unwrap().replace('\\', "/");
            if name.ends_with("tests") {
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
