//! Credentials in files and mounted folders.

use std::{
    fmt,
    hash::{BuildHasher, Hash, Hasher, RandomState},
    io::{ErrorKind as Io, Read},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::{BoxFuture, Fetched, Source, wire};
use crate::{
    credential::{Credential, CredentialSet},
    error::{Error, ErrorKind},
    secret::Secret,
};

/// A file or a folder that something else keeps fresh: a sidecar, an agent, Kubernetes.
///
/// What is there decides how it is read:
/// - A file whose text begins with `{` is a `keyswap/1` document, as an endpoint would answer with;
///   its `generation` may be absent, and its `server_time` is ignored, because it stands still.
/// - Any other file is the key itself, without the white space around it.
/// - A folder has one file for each piece of material (`key`, `secret`, `passphrase`, ...), and may have
///   `id` and `version`. Hidden files and folders in it are skipped.
///
/// When a key without a document changes, the one before stays in the set as its fallback.
///
/// Replace a file by renaming a new one over it: one that is being written in place can be read when it
/// is half there. A folder that Kubernetes mounts is always read from one version of it.
///
/// ```
/// use keyswap::source::File;
/// let mounted = File::new("/var/run/secrets/trading");
/// ```
///
/// # Errors of a fetch
/// [`ErrorKind::Unavailable`] if it cannot be read, and [`ErrorKind::Malformed`] if it is empty, larger
/// than 64 KiB, or not well-formed. Both name the path, and neither quotes the content.
pub struct File {
    path: PathBuf,
    // Ids and validators are told to logs and observers. A plain digest of a key would let whoever reads
    // those try out keys, or see that two programs share one; one under a random key of this source's
    // own says only «changed» or «the same».
    digest: RandomState,
}

impl File {
    /// The file or folder at this path. It may come into being later.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), digest: RandomState::new() }
    }

    fn set(&self, content: &Content, held: Option<&CredentialSet>) -> Result<Fetched, Error> {
        let validator = format!("file-{:016x}", self.digest.hash_one(content));
        if held.is_some_and(|held| held.validator() == Some(&validator)) {
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
                key => self.followed(Credential::new(self.derived_id(key), key), held),
            },
            Content::Pieces(pieces) => self.followed(self.credential(pieces)?, held),
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

    /// The set of this credential and the one that it followed. An API that is slow to learn the new key
    /// still takes the old one, and a file names no fallback of its own.
    fn followed(&self, primary: Credential, held: Option<&CredentialSet>) -> CredentialSet {
        let held_primary = held.and_then(CredentialSet::primary);
        let before = match held_primary {
            Some(same) if same.material() == primary.material() => {
                held.and_then(|held| held.previous().next())
            }
            other => other,
        };
        let before = before.filter(|before| {
            before.id() != primary.id() && before.material() != primary.material()
        });
        match before {
            Some(before) => CredentialSet::new(primary).with_previous(before.clone()),
            None => CredentialSet::new(primary),
        }
    }

    fn derived_id(&self, content: impl Hash) -> String {
        // Eight digits are read easily, and two keys in a row that share them are one in four billion.
        format!("file-{:08x}", self.digest.hash_one(content) as u32)
    }
}

impl Source for File {
    fn fetch<'a>(
        &'a self,
        held: Option<&'a CredentialSet>,
    ) -> BoxFuture<'a, Result<Fetched, Error>> {
        Box::pin(async move {
            let content = off_thread(self.path.clone(), read).await?;
            self.set(&content, held)
        })
    }

    #[cfg(feature = "watch")]
    fn watch(&self, hints: super::Hints) -> Option<BoxFuture<'static, ()>> {
        Some(Box::pin(watching::follow(self.path.clone(), hints)))
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("File").field(&self.path).finish()
    }
}

/// Reads a file of at most 64 KiB.
pub(super) async fn read_small(path: PathBuf) -> Result<Zeroizing<Vec<u8>>, Error> {
    off_thread(path, |path| read_file(path).map_err(|failure| failure.told(path))).await
}

/// What stands at the path.
enum Content {
    Whole(Zeroizing<Vec<u8>>),
    Pieces(Vec<Piece>),
}

struct Piece {
    name: String,
    bytes: Zeroizing<Vec<u8>>,
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

enum Failure {
    Io(std::io::Error),
    TooLarge,
    Swapped,
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl Failure {
    fn told(self, path: &Path) -> Error {
        match self {
            Self::TooLarge => fault(path, "it is larger than 64 KiB"),
            Self::Swapped => Error::new(
                ErrorKind::Unavailable,
                format!("{} changed twice while it was being read", path.display()),
            ),
            Self::Io(error) => Error::new(
                ErrorKind::Unavailable,
                format!("{} cannot be read: {}", path.display(), error.kind()),
            ),
        }
    }
}

fn fault(path: &Path, what: &str) -> Error {
    Error::new(ErrorKind::Malformed, format!("{}: {what}", path.display()))
}

fn text<'a>(path: &Path, bytes: &'a [u8]) -> Result<&'a str, Error> {
    let text = std::str::from_utf8(bytes).map_err(|_| fault(path, "it is not UTF-8 text"))?;
    // Editors on Windows put a byte order mark first, which no key has.
    match text.trim_start_matches('\u{feff}').trim() {
        "" => Err(fault(path, "it is empty")),
        text => Ok(text),
    }
}

/// Reads on a thread where waiting for a disk, or for a network share, holds up nothing else.
async fn off_thread<T: Send + 'static>(
    path: PathBuf,
    read: impl FnOnce(&Path) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(move || read(&path)).await.unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Unavailable, "the reading of a file was cut off"))
    })
}

fn read(path: &Path) -> Result<Content, Error> {
    match read_version(path) {
        // The version that was being read was replaced meanwhile: there is a newer one.
        Err(Failure::Swapped) => read_version(path),
        Err(Failure::Io(error)) if error.kind() == Io::NotFound => read_version(path),
        other => other,
    }
    .map_err(|failure| failure.told(path))
}

fn read_version(path: &Path) -> Result<Content, Failure> {
    if !std::fs::metadata(path)?.is_dir() {
        return Ok(Content::Whole(read_file(path)?));
    }
    // Kubernetes fills a new folder and then points the link `..data` at it. Going through the link for
    // each piece could mix two versions, so it is resolved once.
    let link = path.join("..data");
    let version = match link.canonicalize() {
        Ok(version) => version,
        Err(error) if error.kind() == Io::NotFound => return Ok(Content::Pieces(pieces(path)?)),
        Err(error) => return Err(error.into()),
    };
    let pieces = pieces(&version)?;
    // The folder is removed file by file after the link has moved on: only if the link has not moved
    // were all pieces still there.
    match link.canonicalize()? == version {
        true => Ok(Content::Pieces(pieces)),
        false => Err(Failure::Swapped),
    }
}

fn pieces(folder: &Path) -> Result<Vec<Piece>, Failure> {
    let mut pieces = Vec::new();
    let mut size = 0;
    for entry in folder.read_dir()? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.') || !std::fs::metadata(entry.path())?.is_file() {
            continue;
        }
        let bytes = read_file(&entry.path())?;
        size += bytes.len();
        if size > wire::MAX_DOCUMENT {
            return Err(Failure::TooLarge);
        }
        pieces.push(Piece { name, bytes });
    }
    // The order of a folder is anybody's guess, and the digest goes by it.
    pieces.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(pieces)
}

fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    // One buffer of the full size: one that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(wire::MAX_DOCUMENT + 1));
    let most = wire::MAX_DOCUMENT as u64 + 1;
    std::fs::File::open(path)?.take(most).read_to_end(&mut bytes)?;
    match bytes.len() > wire::MAX_DOCUMENT {
        true => Err(Failure::TooLarge),
        false => Ok(bytes),
    }
}

/// Hints from the operating system. They only make the next reading come sooner: on network shares and
/// through links there are none, and polling goes on either way.
#[cfg(feature = "watch")]
mod watching {
    use std::{
        ffi::OsStr,
        future::pending,
        path::{Path, PathBuf},
        time::Duration,
    };

    use notify::{
        Event, EventKind, RecursiveMode, Watcher,
        event::{AccessKind, AccessMode},
    };
    use tokio::sync::mpsc;

    use super::super::Hints;

    /// One change of a file is several events: they are one hint when none came for this long.
    const QUIET: Duration = Duration::from_millis(50);

    pub(super) async fn follow(path: PathBuf, hints: Hints) {
        let (changed, mut changes) = mpsc::channel(1);
        let watcher = watch(&path, move || {
            // A full channel holds the news already.
            let _ = changed.try_send(());
        });
        let Ok(_watcher) = watcher else {
            tracing::debug!(path = %path.display(), "not watched, only polled");
            return pending().await;
        };
        while changes.recv().await.is_some() {
            while let Ok(Some(())) = tokio::time::timeout(QUIET, changes.recv()).await {}
            hints.changed();
        }
    }

    fn watch(path: &Path, changed: impl Fn() + Send + 'static) -> notify::Result<impl Watcher> {
        let path = std::path::absolute(path)?;
        // A file is replaced by another one of that name: only its folder sees that.
        let (folder, name) = match (path.is_dir(), path.parent()) {
            (false, Some(parent)) => (parent, path.file_name().map(OsStr::to_owned)),
            _ => (&*path, None),
        };
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.map_or(true, |event| matters(&event, name.as_deref())) {
                changed();
            }
        })?;
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    }

    fn matters(event: &Event, name: Option<&OsStr>) -> bool {
        // Reading is an access, and must not be a reason to read again.
        let changes = match event.kind {
            EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
            _ => true,
        };
        let of_interest = |path: &PathBuf| match (name, path.file_name()) {
            (Some(name), Some(found)) => {
                // Kubernetes moves `..data`, to which the file is a link.
                found == name || found.as_encoded_bytes().starts_with(b"..")
            }
            _ => true,
        };
        changes && (event.paths.is_empty() || event.paths.iter().any(of_interest))
    }
}

#[cfg(test)]
#[cfg(feature = "watch")]
mod tests {
    use super::{
        super::{Hints, Said},
        *,
    };

    #[tokio::test]
    async fn a_file_that_is_replaced_gives_a_hint_and_reading_it_gives_none() {
        let name = format!("keyswap-watch-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).expect("a folder");
        let path = folder.join("key");
        std::fs::write(&path, "one").expect("written");
        let (heard, mut hints) = tokio::sync::mpsc::unbounded_channel();
        let file = File::new(&path);
        let watch = file.watch(Hints::new(move |said| heard.send(said).expect("heard")));
        let mut beside = tokio::task::JoinSet::new();
        beside.spawn(watch.expect("a watch"));
        // The watch begins at its own time, so the file is replaced until that is heard.
        let hint = loop {
            std::fs::write(folder.join("new"), "two").expect("written");
            std::fs::rename(folder.join("new"), &path).expect("renamed");
            let wait = std::time::Duration::from_millis(500);
            if let Ok(hint) = tokio::time::timeout(wait, hints.recv()).await {
                break hint.expect("a hint");
            }
        };
        assert!(matches!(hint, Said::Hint(hint) if hint.immediate));
        while hints.try_recv().is_ok() {}
        std::fs::write(folder.join("other"), "x").expect("written");
        file.fetch(None).await.expect("a set");
        let quiet = std::time::Duration::from_millis(200);
        assert!(tokio::time::timeout(quiet, hints.recv()).await.is_err(), "a read is no hint");
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
