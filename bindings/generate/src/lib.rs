//! Writes what the five languages say alike, from the one description in Rust.
//!
//! Options, numbers of the policy, events, statistics and errors are described once, in the doc comments of the core and of
//! `keyswap-host`. `read` makes a `Model` of them, one module for each language writes it in that
//! language, and `versions` puts the version of the workspace into every package. What a language has of its own
//! (the base class of an error, a type that is wider than the core's) stands in the module of that language.
//!
//! A file is generated as a whole where that is possible, else in marked `regions`. What is generated is committed;
//! `--check` fails where it is not as it would be written. What is not understood is an error, and never left out.

mod kotlin;
mod markdown;
mod model;
mod names;
mod options;
mod parity;
mod python;
mod read;
mod regions;
mod rust;
mod signature;
mod stubs;
mod swift;
mod text;
mod typescript;
mod versions;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// What brings everything up to date.
pub const COMMAND: &str = "cargo run -p keyswap-generate";

/// Why nothing can be generated, as a sentence.
pub(crate) type Result<T> = std::result::Result<T, String>;

/// Generates everything, from the sources in this folder.
///
/// # Errors
/// What cannot be read or is not understood, and where it stands.
pub fn generate(root: &Path) -> Result<Generated> {
    let files = Files::new(root);
    let model = read::model(&files)?;
    rust::write(&model, &files)?;
    python::write(&model, &files)?;
    stubs::write(&model, &files)?;
    typescript::write(&model, &files)?;
    kotlin::write(&model, &files)?;
    swift::write(&model, &files)?;
    markdown::write(&model, &files)?;
    versions::write(&model.version, &files)?;
    let options = options::check(&model, &files)?;
    parity::check(&model, &options, &files)?;
    Ok(files.done())
}

/// What was generated, beside what stands there.
pub struct Generated {
    /// Each file that was read or written, by its path from the root; none where there is no such file yet.
    before: BTreeMap<String, Option<String>>,
    after: BTreeMap<String, String>,
    used: BTreeSet<String>,
}

impl Generated {
    /// Every file that this depends on or writes.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.used.iter().map(String::as_str)
    }

    /// The files that are not as they would be written, with the number of the first line that differs.
    pub fn stale(&self) -> Vec<(&str, usize)> {
        let stale = self.after.iter().filter_map(|(path, after)| {
            let before = self.before.get(path)?.as_deref().unwrap_or_default();
            (before != after).then(|| {
                let same = before.lines().zip(after.lines()).take_while(|(a, b)| a == b).count();
                (path.as_str(), same + 1)
            })
        });
        stale.collect()
    }

    /// Writes what is not up to date, and returns which files that were.
    ///
    /// # Errors
    /// What cannot be written.
    pub fn write(&self, root: &Path) -> Result<Vec<&str>> {
        let mut written = Vec::new();
        for (path, _) in self.stale() {
            let (full, text) = (root.join(path), &self.after[path]);
            let made = full.parent().map_or(Ok(()), fs::create_dir_all);
            made.and_then(|()| fs::write(&full, text))
                .map_err(|error| format!("{path}: {error}"))?;
            written.push(path);
        }
        Ok(written)
    }
}

/// The files of the repository: as they are, and as they will be.
pub(crate) struct Files<'a> {
    root: &'a Path,
    before: RefCell<BTreeMap<String, Option<String>>>,
    after: RefCell<BTreeMap<String, String>>,
}

impl<'a> Files<'a> {
    fn new(root: &'a Path) -> Self {
        Self { root, before: RefCell::default(), after: RefCell::default() }
    }

    /// The file as it will be, if something of it was generated already, else as it is.
    pub(crate) fn read(&self, path: &str) -> Result<String> {
        if let Some(text) = self.after.borrow().get(path) {
            return Ok(text.clone());
        }
        let text =
            fs::read_to_string(self.root.join(path)).map_err(|error| format!("{path}: {error}"))?;
        self.before.borrow_mut().insert(path.to_owned(), Some(text.clone()));
        Ok(text)
    }

    /// The files in this folder and below whose names end so, in order.
    pub(crate) fn list(&self, folder: &str, ending: &str) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let entries =
            fs::read_dir(self.root.join(folder)).map_err(|error| format!("{folder}: {error}"))?;
        for entry in entries {
            let entry = entry.map_err(|error| format!("{folder}: {error}"))?;
            let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                found.extend(self.list(&path, ending)?);
            } else if path.rsplit_once('.').is_some_and(|(_, end)| end == ending) {
                found.push(path);
            }
        }
        found.sort();
        Ok(found)
    }

    /// A file that is generated as a whole.
    pub(crate) fn whole(&self, path: &str, text: String) {
        let before = fs::read_to_string(self.root.join(path)).ok();
        self.before.borrow_mut().entry(path.to_owned()).or_insert(before);
        self.after.borrow_mut().insert(path.to_owned(), text);
    }

    /// A region of a file that is written by hand otherwise.
    pub(crate) fn region(&self, path: &str, name: &str, text: &str) -> Result<()> {
        let file = self.read(path)?;
        let file = regions::replace(&file, name, text).map_err(|why| format!("{path}: {why}"))?;
        self.whole(path, file);
        Ok(())
    }

    fn done(self) -> Generated {
        let (before, after) = (self.before.into_inner(), self.after.into_inner());
        let used = before.keys().cloned().collect();
        Generated { before, after, used }
    }
}
