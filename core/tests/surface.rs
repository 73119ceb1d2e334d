//! What the public surface lets change later, and what it does not let a program forget.
#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};

use keyswap::{
    Authorizer, Client, Endpoint, Error, KeySwap, NamedScheme, Policy, ResponseFilter, source,
};

/// Each statement forgets something. It is the compiler that tests: were it not warned of, the
/// expectation would not be fulfilled.
#[deny(unfulfilled_lint_expectations)]
#[expect(dead_code, reason = "it is to be compiled")]
fn what_is_forgotten(keys: &KeySwap, authorizer: &Authorizer) -> Result<(), Error> {
    macro_rules! forgotten {
        ($($what:expr;)*) => {
            $({
                #[expect(unused_must_use)]
                {
                    $what;
                }
            })*
        };
    }
    let url = "https://api.example.com".parse().unwrap();
    forgotten! {
        KeySwap::follow(source::Env::new("API_KEY"));
        KeySwap::follow(source::Env::new("API_KEY")).name("trading");
        Client::builder(keys);
        Client::builder(keys).base_url("https://api.example.com")?;
        Authorizer::builder(keys);
        authorizer.begin(&url, true, None)?;
        authorizer.begin(&url, true, None)?.step().clone();
        Endpoint::new("https://keys.example.com/sets/a")?.no_push();
        source::File::new("/var/run/secrets/trading");
        source::Env::new("API_KEY");
        source::Json::new("https://keys.example.com")?.key("/api_key");
        source::Command::new(["op", "read", "op://a/b/c"]);
        NamedScheme::new("api_key").with_header("x-key");
        ResponseFilter::new([401]).with_body_limit(64);
        Policy::default();
        source::Hint::default();
    }
    Ok(())
}

/// Modules whose types are no part of what programs rely on: the engine but for what the root shows of
/// it, and what only the stories drive.
const UNSTABLE: [&str; 3] = ["engine/", "source/push/", "source/regions/"];
const SHOWN: &str = "engine/verdict.rs";

/// The public records and enums that a field or a variant could be added to, and whether they say so.
fn open_types(text: &str) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    let mut attributes = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let line = line.trim_end();
        if let Some(kind) = line.strip_prefix("pub enum ").or(line.strip_prefix("pub struct ")) {
            let is_enum = line.starts_with("pub enum");
            let mut has_fields = is_enum;
            if line.ends_with('{') {
                for inner in lines.by_ref() {
                    has_fields |= inner.starts_with("    pub ");
                    if inner == "}" {
                        break;
                    }
                }
            }
            let name: String = kind.chars().take_while(|c| c.is_alphanumeric()).collect();
            if has_fields {
                found.push((name, attributes.contains("#[non_exhaustive]")));
            }
            attributes.clear();
        } else if line.starts_with("#[") || line.starts_with("//") {
            attributes += line;
        } else if line.is_empty() || line == "}" {
            attributes.clear();
        }
    }
    found
}

#[test]
fn what_may_grow_says_so() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut folders, mut seen) = (vec![root.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
            if path.is_dir() {
                folders.push(path);
            } else if name == SHOWN || !UNSTABLE.iter().any(|room| name.starts_with(room)) {
                let text = fs::read_to_string(&path).unwrap();
                for (kind, is_open) in open_types(text.split("#[cfg(test)]").next().unwrap()) {
                    assert!(is_open, "{name}: {kind} is exhaustive");
                    seen.push(kind);
                }
            }
        }
    }
    for kind in ["Event", "Policy", "Step", "Moment", "ResponseFilter", "Fetched"] {
        assert!(seen.iter().any(|it| it == kind), "{kind} was found: {seen:?}");
    }
}

#[test]
fn what_an_event_tells_may_grow() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/event.rs");
    let text = fs::read_to_string(path).unwrap();
    let body = text.split("pub enum Event {").nth(1).unwrap().split("\n}").next().unwrap();
    let lines: Vec<_> = body.lines().collect();
    let variants = lines.windows(2).filter(|pair| {
        pair[1].strip_prefix("    ").is_some_and(|line| line.starts_with(char::is_uppercase))
    });
    let variants: Vec<_> = variants.collect();
    assert_eq!(variants.len(), keyswap::Event::NAMES.len());
    for pair in variants {
        assert_eq!(pair[0].trim(), "#[non_exhaustive]", "before {}", pair[1].trim());
    }
}
