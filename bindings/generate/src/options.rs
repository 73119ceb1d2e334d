//! Options that a language writes by hand, since each has another type there: they must at least be there.

use crate::{
    Files, Result,
    model::{Model, Record},
    python, swift,
    text::camel,
};

pub(crate) fn check(model: &Model, files: &Files<'_>) -> Result<()> {
    let python = |file| format!("bindings/python/python/keyswap/{file}");
    let snake = |name: &str| format!("{name}:");
    let merged = python::MERGED;
    for record in [&model.authorizer, &model.client] {
        present(files, &python("_client.py"), record, merged, &snake)?;
    }
    present(files, &python("_keys.py"), &model.keyswap, merged, &snake)?;
    present(files, &python("_native.pyi"), &model.authorizer, merged, &snake)?;
    let kotlin = "bindings/kotlin/src/main/kotlin/dev/keyswap";
    // `noPush()` there.
    present(files, &format!("{kotlin}/Source.kt"), &model.endpoint, &["push"], &camel)?;
    present(
        files,
        "bindings/swift/Sources/Keyswap/Source.swift",
        &model.endpoint,
        &[],
        &swift::option,
    )
}

/// Each option must stand in that file, by the name that it has there.
fn present(
    files: &Files<'_>,
    path: &str,
    record: &Record,
    but: &[&str],
    name: &dyn Fn(&str) -> String,
) -> Result<()> {
    let text = files.read(path)?;
    for field in record.fields.iter().filter(|field| !but.contains(&&*field.name)) {
        let name = name(&field.name);
        let is_letter =
            |letter: Option<char>| letter.is_some_and(|it| it.is_alphanumeric() || it == '_');
        let found = text.match_indices(&*name).any(|(at, _)| {
            let (before, after) = (&text[..at], &text[at + name.len()..]);
            !is_letter(before.chars().next_back()) && !is_letter(after.chars().next())
        });
        if !found {
            return Err(format!(
                "{path}: the option `{}` of the host is missing: it is written there by hand",
                name.trim_end_matches(':')
            ));
        }
    }
    Ok(())
}
