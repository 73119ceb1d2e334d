//! Where a refresh token is kept, when each use brings another one.

use std::{
    fmt, fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use crate::{
    error::{Error, ErrorKind},
    secret::Secret,
    source::{BoxFuture, reading::Reader},
};

/// Keeps a refresh token. Implement it for a place of your own; [`TokenFile`] is a file.
///
/// A server that rotates refresh tokens gives another one with each use, and the one before is then worth nothing: a
/// program that loses it has to be logged in again by a person. So what is stored must still be there after a crash
/// when `store` returns.
pub trait TokenStorage: fmt::Debug + Send + Sync + 'static {
    /// The token that was stored last. It is asked for before each use, so another one may be put there by hand.
    ///
    /// # Errors
    /// Any error; nothing is asked for then.
    fn load(&self) -> BoxFuture<'_, Result<Secret, Error>>;

    /// Keeps this one from now on, in place of the one before. It is called before anything that came with it is used.
    ///
    /// # Errors
    /// Any error. It is stored again before the next use, and what came with it waits for that.
    fn store(&self, token: Secret) -> BoxFuture<'_, Result<(), Error>>;
}

/// A refresh token in a file that this program may read and write, and nobody else: it is replaced whole, with mode
/// 0600, and is on the disk when that is done. One program may use it at a time.
#[derive(Clone)]
pub struct TokenFile {
    path: PathBuf,
    reader: Reader,
}

impl TokenFile {
    /// The token in this file. Put the first one there by hand.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), reader: Reader::new() }
    }
}

impl TokenStorage for TokenFile {
    fn load(&self) -> BoxFuture<'_, Result<Secret, Error>> {
        Box::pin(async move {
            let bytes = self.reader.small(self.path.clone()).await?;
            match std::str::from_utf8(&bytes).map(str::trim) {
                Ok("") | Err(_) => Err(Error::new(
                    ErrorKind::InvalidConfig,
                    format!("{} holds no refresh token", self.path.display()),
                )),
                Ok(token) => Ok(Secret::from(token)),
            }
        })
    }

    fn store(&self, token: Secret) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let write = move |path: &Path| {
                replace(path, token.reveal().as_bytes()).map_err(|error| {
                    let what = format!("{} cannot be written: {}", path.display(), error.kind());
                    Error::new(ErrorKind::Unavailable, what)
                })
            };
            self.reader.run(self.path.clone(), write).await
        })
    }
}

impl fmt::Debug for TokenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TokenFile").field(&self.path).finish()
    }
}

/// Puts a new file in the place of the old one, at once: whoever reads it, and whoever comes after a crash, finds the
/// whole of one of the two.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    // Where a link leads to is replaced, and not the link.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut new = path.clone().into_os_string();
    new.push(".new");
    let new = PathBuf::from(new);
    // What a crash left there is of no use.
    let _ = fs::remove_file(&new);
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&new)?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    drop(file);
    if let Err(error) = written.and_then(|()| fs::rename(&new, &path)) {
        let _ = fs::remove_file(&new);
        return Err(error);
    }
    // The name is on the disk when its folder is.
    #[cfg(unix)]
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("keyswap-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder");
        folder
    }

    #[tokio::test]
    async fn a_file_is_replaced_whole_and_only_its_owner_reads_it() {
        let folder = folder("storage");
        let path = folder.join("token");
        fs::write(&path, "r1\n").expect("written");
        // What a crash left there.
        fs::write(folder.join("token.new"), "r0").expect("written");
        let file = TokenFile::new(&path);
        assert_eq!(file.load().await.expect("a token").reveal(), "r1");
        file.store("r2".into()).await.expect("stored");
        assert_eq!(file.load().await.expect("a token").reveal(), "r2");
        let names: Vec<_> = fs::read_dir(&folder).expect("a folder").collect();
        assert_eq!(names.len(), 1, "nothing is left beside it");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(&path).expect("a file").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        assert!(!format!("{file:?}").contains("r2"));
        fs::remove_dir_all(folder).expect("removed");
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn what_a_link_leads_to_is_replaced_and_a_failure_leaves_the_old_one() {
        let folder = folder("link");
        let (path, link) = (folder.join("token"), folder.join("link"));
        fs::write(&path, "r1").expect("written");
        std::os::unix::fs::symlink(&path, &link).expect("a link");
        TokenFile::new(&link).store("r2".into()).await.expect("stored");
        assert!(fs::symlink_metadata(&link).expect("a link").is_symlink());
        assert_eq!(fs::read_to_string(&path).expect("a file"), "r2");
        // A folder in the place of the new file cannot be replaced.
        fs::create_dir_all(folder.join("token.new/x")).expect("a folder");
        let error = TokenFile::new(&path).store("s3cr3t".into()).await.expect_err("in the way");
        assert!(error.kind() == ErrorKind::Unavailable && !error.to_string().contains("s3cr3t"));
        assert_eq!(fs::read_to_string(&path).expect("a file"), "r2");
        fs::remove_dir_all(folder).expect("removed");
    }

    #[tokio::test]
    async fn what_is_no_token_is_told() {
        let folder = folder("empty");
        let path = folder.join("token");
        let error = TokenFile::new(&path).load().await.expect_err("no file");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        fs::write(&path, " \n").expect("written");
        assert!(TokenFile::new(&path).load().await.is_err());
        fs::remove_dir_all(folder).expect("removed");
    }
}
