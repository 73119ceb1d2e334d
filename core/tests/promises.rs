//! Each promise names its test, and the test is there: `.github/SECURITY.md` and the invariants of
//! `ARCHITECTURE.md`.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where tests stand, from the top of the repository.
const PLACES: [&str; 4] = ["core/", "tests/", "bindings/", "examples/"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn page(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap().replace("\r\n", "\n")
}

/// Everything that a page sets in backticks and that is the place of a test.
fn tests_named_by(page: &str) -> Vec<&str> {
    let quoted = page.split('`').skip(1).step_by(2);
    quoted.filter(|text| PLACES.iter().any(|place| text.starts_with(place))).collect()
}

/// What is wrong with a test's name: `path` or `path::name`, from the top or from `core/`. The test stands
/// in that file, or in the folder of the file's name.
fn fault(test: &str) -> Option<String> {
    let (path, name) = match test.split_once("::") {
        Some((path, name)) => (path, Some(name)),
        None => (test, None),
    };
    let there = [root(), root().join("core")].map(|from| from.join(path));
    let Some(file) = there.into_iter().find(|path| path.exists()) else {
        return Some(format!("{path} is not there"));
    };
    let name = name?;
    let rooms = fs::read_dir(file.with_extension("")).into_iter().flatten().flatten();
    let mut files = std::iter::once(file).chain(rooms.map(|room| room.path()));
    let is_there = files.any(|file| holds(&fs::read_to_string(file).unwrap_or_default(), name));
    (!is_there).then(|| format!("{path} has no test {name}"))
}

/// Whether a text holds these words, and not only as a part of longer ones.
fn holds(text: &str, name: &str) -> bool {
    let is_part = |letter: Option<char>| letter.is_some_and(|it| it.is_alphanumeric() || it == '_');
    text.match_indices(name).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + name.len()..]);
        !is_part(before.chars().next_back()) && !is_part(after.chars().next())
    })
}

#[test]
fn every_test_that_a_promise_names_is_there() {
    let security = page(".github/SECURITY.md");
    let architecture = page("core/ARCHITECTURE.md");
    let invariants = architecture.split("## Invariants").nth(1).unwrap();
    let invariants = invariants.split("\n## ").next().unwrap();
    for (page, least) in [(security.as_str(), 30), (invariants, 5)] {
        let named = tests_named_by(page);
        assert!(named.len() >= least, "the tests were found: {named:?}");
        let faults: Vec<_> = named.into_iter().filter_map(fault).collect();
        assert!(faults.is_empty(), "{faults:#?}");
    }
}

#[test]
fn every_promise_names_a_test() {
    let security = page(".github/SECURITY.md");
    let promises = security.split("## What is promised").nth(1).unwrap();
    let promises = promises.split("\n## ").next().unwrap();
    let rows = promises.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| --"));
    let rows: Vec<_> = rows.filter(|line| !line.starts_with("| promise")).collect();
    assert!(rows.len() > 15, "{}", rows.len());
    for row in rows {
        assert!(!tests_named_by(row).is_empty(), "without a test: {row}");
    }
}

#[test]
fn what_is_not_there_is_seen() {
    assert_eq!(fault("tests/promises.rs::every_promise_names_a_test"), None);
    assert_eq!(fault("core/tests/promises.rs"), None);
    for test in ["core/tests/none.rs", "core/tests/driver.rs::the_source_may", "core/x::y"] {
        assert!(fault(test).is_some(), "{test}");
    }
}

/// Material lies in memory and on the wire only: there is nothing on a disk for others to read.
#[test]
fn the_core_writes_no_file_but_one_that_a_program_names() {
    /// A refresh token that each use replaces has to be kept: by the program, or in its `TokenFile`.
    const MAY: &str = "source/oauth2/storage.rs";
    const WRITES: [&str; 8] = [
        "fs::write",
        "File::create",
        ".write(true)",
        ".append(true)",
        ".create(",
        "create_dir",
        "tempfile",
        "temp_dir",
    ];
    let mut folders = vec![root().join("core/src")];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if path.ends_with("tests.rs") {
                continue;
            }
            seen += 1;
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            let found = WRITES.iter().find(|what| code.contains(**what));
            assert_eq!(found.is_some(), path.ends_with(MAY), "{}: {found:?}", path.display());
        }
    }
    assert!(seen > 30, "the sources were found: {seen}");
}
