//! Credentials in files and mounted folders.

mod content;
#[cfg(feature = "watch")]
mod watching;

use std::{
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    path::{Path, PathBuf},
};

use self::content::{Content, Piece};
use super::{
    BoxFuture, Fetched, Source,
    reading::{Reader, fault},
    wire,
};
use crate::{
    credential::{Credential, CredentialSet},
    error::Error,
    secret::Secret,
};

/// A file or a folder that something else keeps fresh: a sidecar, an agent, Kubernetes.
///
/// What is there decides how it is read:
/// - A file whose text begins with `{` is a `keyswap/1` document, as an endpoint would answer with;
///   its `generation` may be absent, and its `server_time` is ignored, because it stands still.
/// - Any other file is the key itself, without the white space around it.
/// - A folder has one file for each piece of material (`key`, `secret`, `passphrase`, ...), and may have
///   `id` and `version`: at most 64 files. Hidden files and folders in it are skipped.
///
/// When a key without a document changes, the last one that the API accepted stays in the set as its
/// fallback.
///
/// Replace a file by renaming a new one over it: one that is being written in place can be read when it
/// is half there. A folder that Kubernetes mounts, or that is itself a link, is always read from one version
/// of it. Only regular files are read, each time on a thread of its own, and one at a time: a pipe or a
/// network share that hangs holds up nothing else, and no program that wants to end.
///
/// ```
/// use keyswap::source::File;
/// let mounted = File::new("/var/run/secrets/trading");
/// ```
///
/// # Errors of a fetch
/// [`Unavailable`](crate::ErrorKind::Unavailable) if it cannot be read or is no regular file, and
/// [`Malformed`](crate::ErrorKind::Malformed) if it is empty, larger than 64 KiB, or not well-formed. Both
/// name the path, and neither quotes the content.
#[must_use = "a source does nothing until it is followed"]
pub struct File {
    path: PathBuf,
    reader: Reader,
    // Ids and validators are told to logs and observers. A plain digest of a key would let whoever reads
    // those try out keys, or see that two programs share one; one under a random key of this source's
    // own says only «changed» or «the same».
    digest: RandomState,
}

impl File {
    /// The file or folder at this path. It may come into being later.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), reader: Reader::new(), digest: RandomState::new() }
    }

    fn set(&self, content: &Content, known: Option<&CredentialSet>) -> Result<Fetched, Error> {
        let validator = format!("file-{:016x}", self.digest.hash_one(content));
        if known.is_some_and(|known| known.validator() == Some(&validator)) {
            return Ok(Fetched::NotModified);
        }
        let set = match content {
            Content::Whole(bytes) => match text(&self.path, bytes)? {
                text if text.starts_with('{') => {
                    let mut set = wire::parse(text.as_bytes())
                        .map_err(|error| fault(&self.path, &error.to_string()))?;
                    set.as_of = None;
                    set
                }
                key => CredentialSet::new(Credential::new(self.derived_id(key), key)),
            },
            Content::Pieces(pieces) => CredentialSet::new(self.credential(pieces)?),
        };
        set.check().map_err(|error| fault(&self.path, &error.to_string()))?;
        Ok(Fetched::Set(set.with_validator(&validator)))
    }

    fn credential(&self, pieces: &[Piece]) -> Result<Credential, Error> {
        let (mut id, mut version, mut material) = (None, None, Vec::new());
        for Piece { name, bytes } in pieces {
            let text = text(&self.path.join(name), bytes)?;
            match name.as_str() {
                "id" => id = Some(text),
                "version" => version = Some(text),
                name => material.push((name, text)),
            }
        }
        if material.is_empty() {
            return Err(fault(&self.path, "no file in it is a piece of material, such as key"));
        }
        let id = id.map_or_else(|| self.derived_id(&material), str::to_owned);
        let mut credential = Credential::bare(id);
        for (name, text) in material {
            credential = credential.with_material(name, Secret::from(text));
        }
        Ok(match version {
            Some(version) => credential.with_version(version),
            None => credential,
        })
    }

    fn derived_id(&self, content: impl Hash) -> String {
        // Eight digits are read easily, and two keys in a row that share them are one in four billion.
        format!("file-{:08x}", self.digest.hash_one(content) as u32)
    }
}

impl Source for File {
    fn fetch<'a>(
        &'a self,
        known: Option<&'a CredentialSet>,
    ) -> BoxFuture<'a, Result<Fetched, Error>> {
        Box::pin(async move {
            let content = self.reader.run(self.path.clone(), content::read).await?;
            self.set(&content, known)
        })
    }

    #[cfg(feature = "watch")]
    fn watch(&self, hints: super::Hints) -> Option<BoxFuture<'static, ()>> {
        Some(Box::pin(watching::follow(self.path.clone(), self.reader.clone(), hints)))
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("File").field(&self.path).finish()
    }
}

fn text<'a>(path: &Path, bytes: &'a [u8]) -> Result<&'a str, Error> {
    let text = std::str::from_utf8(bytes).map_err(|_| fault(path, "it is not UTF-8 text"))?;
    // Editors on Windows put a byte order mark first, which no key has.
    match text.trim_start_matches('\u{feff}').trim() {
        "" => Err(fault(path, "it is empty")),
        text => Ok(text),
    }
}

#[cfg(feature = "fuzzing")]
impl File {
    pub(super) fn reads_whole(&self, bytes: &[u8]) -> bool {
        self.set(&Content::Whole(bytes.to_vec().into()), None).is_ok()
    }

    pub(super) fn reads_pieces(&self, pieces: &[(&str, &[u8])]) -> bool {
        let piece = |(name, bytes): &(&str, &[u8])| Piece {
            name: (*name).to_owned(),
            bytes: bytes.to_vec().into(),
        };
        self.set(&Content::Pieces(pieces.iter().map(piece).collect()), None).is_ok()
    }
}

#[cfg(test)]
mod tests;
