//! What stands at a path, read from one version of it.
//!
//! A folder is swapped as a whole where something keeps it fresh: Kubernetes fills a new folder and then
//! points the link `..data` at it; others point a link at the folder itself. To go through such a link for
//! each file could mix two versions, so the path and the link are resolved once, and again at the end: only
//! if both are what they were is what was read one version. If not, there is a newer one, and it is read.

use std::{
    fs,
    hash::{Hash, Hasher},
    io::ErrorKind as Io,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use crate::{
    error::Error,
    source::{
        reading::{self, Failure},
        wire::{MAX_DOCUMENT, MAX_PIECES},
    },
};

/// The most entries of a folder that are looked at, hidden ones and folders too.
const MAX_ENTRIES: usize = 1024;
/// How often a folder is read again because it was swapped meanwhile. Swaps are seconds apart at the least.
const TRIES: usize = 3;

pub(super) enum Content {
    Whole(Zeroizing<Vec<u8>>),
    Pieces(Vec<Piece>),
}

pub(super) struct Piece {
    pub(super) name: String,
    pub(super) bytes: Zeroizing<Vec<u8>>,
}

impl Hash for Content {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Whole(bytes) => (0, bytes.as_slice()).hash(state),
            Self::Pieces(pieces) => {
                (1, pieces.len()).hash(state);
                pieces.iter().for_each(|it| (&it.name, it.bytes.as_slice()).hash(state));
            }
        }
    }
}

pub(super) fn read(path: &Path) -> Result<Content, Error> {
    let mut outcome = read_version(path);
    for _ in 1..TRIES {
        match &outcome {
            Err(Failure::Swapped) => {}
            Err(Failure::Io(error)) if error.kind() == Io::NotFound => {}
            _ => break,
        }
        outcome = read_version(path);
    }
    outcome.map_err(|failure| failure.told(path))
}

fn read_version(path: &Path) -> Result<Content, Failure> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(Content::Whole(reading::read(path, MAX_DOCUMENT)?));
    }
    let before = Version::of(path)?;
    let pieces = match pieces(&before.folder) {
        // A version is removed file by file after the link has moved on.
        Err(Failure::Io(error)) if error.kind() == Io::NotFound => return Err(Failure::Swapped),
        pieces => pieces?,
    };
    match Version::of(path)? == before {
        true => Ok(Content::Pieces(pieces)),
        false => Err(Failure::Swapped),
    }
}

/// Which folder a path leads to, whatever links are on the way.
#[derive(PartialEq)]
struct Version {
    folder: PathBuf,
    /// The folder itself, on systems that have a number for it: another one may have its name by now.
    number: Option<(u64, u64)>,
}

impl Version {
    fn of(path: &Path) -> Result<Self, Failure> {
        let root = path.canonicalize()?;
        let link = root.join("..data");
        let folder = match fs::symlink_metadata(&link) {
            Err(error) if error.kind() == Io::NotFound => root,
            Err(error) => return Err(error.into()),
            // The link is there: one that leads nowhere is one that is moving, and not one that is absent.
            Ok(_) => match link.canonicalize() {
                Err(error) if error.kind() == Io::NotFound => return Err(Failure::Swapped),
                folder => folder?,
            },
        };
        #[cfg(unix)]
        let number = {
            use std::os::unix::fs::MetadataExt;
            let found = match fs::metadata(&folder) {
                Err(error) if error.kind() == Io::NotFound => return Err(Failure::Swapped),
                found => found?,
            };
            Some((found.dev(), found.ino()))
        };
        #[cfg(not(unix))]
        let number = None;
        Ok(Self { folder, number })
    }
}

fn pieces(folder: &Path) -> Result<Vec<Piece>, Failure> {
    let mut pieces = Vec::new();
    let mut size = 0;
    for (count, entry) in folder.read_dir()?.enumerate() {
        let entry = entry?;
        if count == MAX_ENTRIES {
            return Err(Failure::TooMany);
        }
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.') || !fs::metadata(entry.path())?.is_file() {
            continue;
        }
        if pieces.len() == MAX_PIECES {
            return Err(Failure::TooMany);
        }
        let bytes = reading::read(&entry.path(), MAX_DOCUMENT)?;
        size += bytes.len();
        if size > MAX_DOCUMENT {
            return Err(Failure::TooLarge(MAX_DOCUMENT));
        }
        pieces.push(Piece { name, bytes });
    }
    // The order of a folder is anybody's guess, and the digest goes by it.
    pieces.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(pieces)
}
