//! Folders of tests, and files in them that are replaced as programs replace them.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

/// A folder that is gone when this is.
pub struct Folder(PathBuf);

impl Folder {
    /// One that is empty.
    pub fn new(name: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Relaxed);
        let path = format!("keyswap-{name}-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(path);
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Where that file of it is, as text.
    pub fn file(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }

    /// Writes a file, by renaming a new one over it.
    pub fn replace(&self, name: &str, content: &str) {
        let new = self.0.join(format!(".{name}.new"));
        fs::write(&new, content).expect("a file");
        fs::rename(new, self.0.join(name)).expect("a file of that name");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
