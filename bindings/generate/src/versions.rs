//! The version of the workspace, in every package and wherever one of ours depends on another one.

use crate::{Files, Result};

/// Where a version stands: what is before it, which says that it is ours, and what ends it.
const PLACES: &[(&str, &str, char)] = &[
    ("Cargo.toml", "keyswap = { path = \"core\", version = \"", '"'),
    ("Cargo.toml", "keyswap-endpoint = { path = \"tests/endpoint\", version = \"", '"'),
    ("Cargo.toml", "keyswap-host = { path = \"bindings/host\", version = \"", '"'),
    ("bindings/host/Cargo.toml", "keyswap = { path = \"../../core\", version = \"", '"'),
    ("bindings/uniffi/Cargo.toml", "keyswap = { path = \"../../core\", version = \"", '"'),
    ("bindings/node/package.json", "\"name\": \"keyswap\",\n  \"version\": \"", '"'),
    ("bindings/node/package-lock.json", "{\n  \"name\": \"keyswap\",\n  \"version\": \"", '"'),
    (
        "bindings/node/package-lock.json",
        "\n      \"name\": \"keyswap\",\n      \"version\": \"",
        '"',
    ),
    ("bindings/kotlin/pom.xml", "<artifactId>keyswap</artifactId>\n  <version>", '<'),
    ("bindings/kotlin/README.md", "\"dev.keyswap:keyswap:", '"'),
    ("bindings/kotlin/README.md", "<artifactId>keyswap</artifactId>\n  <version>", '<'),
    ("bindings/kotlin/android/build.gradle.kts", "\nversion = \"", '"'),
    ("examples/android/build.gradle.kts", "\"dev.keyswap:keyswap-android:", '"'),
    ("examples/backoff/Cargo.toml", "\nversion = \"", '"'),
    ("examples/backoff/Cargo.lock", "name = \"keyswap\"\nversion = \"", '"'),
    ("examples/backoff/Cargo.lock", "name = \"keyswap-example-backoff\"\nversion = \"", '"'),
];

/// Crates that take it from the workspace. That of Python gives it to the wheel.
const TAKEN: &[&str] =
    &["bindings/host", "bindings/node", "bindings/python", "bindings/uniffi", "core"];

pub(crate) fn write(version: &str, files: &Files<'_>) -> Result<()> {
    for folder in TAKEN {
        let path = format!("{folder}/Cargo.toml");
        if !files.read(&path)?.lines().any(|line| line == "version.workspace = true") {
            return Err(format!("{path}: `version.workspace = true` is expected"));
        }
    }
    for (path, before, end) in PLACES {
        let text = files.read(path)?;
        let parts: Vec<&str> = text.split(before).collect();
        let [head, tail] = parts[..] else {
            return Err(format!("{path}: a version is expected once after `{before}`"));
        };
        let rest = tail.find(*end).map(|at| &tail[at..]);
        let rest = rest.ok_or_else(|| format!("{path}: no version stands after `{before}`"))?;
        files.whole(path, format!("{head}{before}{version}{rest}"));
    }
    Ok(())
}
