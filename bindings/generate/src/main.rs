//! `keyswap-generate [--check] [--root FOLDER]`: writes the generated files, or says which of them are not as they
//! would be written.

use std::{
    env,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use keyswap_generate::{COMMAND, generate};

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            say(&format!("keyswap-generate: {message}"));
            ExitCode::FAILURE
        }
    }
}

/// Whether all is well.
fn run() -> Result<bool, String> {
    let (mut check, mut root) = (false, PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../.."));
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match &*argument {
            "--check" => check = true,
            "--root" => root = arguments.next().ok_or("--root takes a folder")?.into(),
            other => return Err(format!("{other} is not an option: there are --check and --root")),
        }
    }
    let generated = generate(&root)?;
    if !check {
        for path in generated.write(&root)? {
            say(&format!("written {path}"));
        }
        return Ok(true);
    }
    let stale = generated.stale();
    for (path, line) in &stale {
        say(&format!("{path} is out of date, from line {line} on"));
    }
    if !stale.is_empty() {
        say(&format!("run `{COMMAND}` and commit what it writes"));
    }
    Ok(stale.is_empty())
}

/// A line for people. Nobody is there to be told that it cannot be written.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
