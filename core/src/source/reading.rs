//! How files of other programs' making are read: secrets, bootstrap credentials, certificates.
//!
//! # Theory of operation
//!
//! Whoever may write to such a place can put anything there, and a network share can stop to answer. So:
//!
//! - Only regular files are read. A pipe, a device or a socket is refused, looked at before it is opened
//!   (to open a device can do things) and again after (it may have been put there in between), and opened
//!   without blocking, because to open a pipe waits for its other end.
//! - A reading has a thread of its own, and each place at most one: what hangs costs one thread, however
//!   often it is asked for, and none of the runtime's. Name look-ups and other files need those.
//! - A program ends without waiting for such a thread. The runtime waits for its own.
//! - At most so many bytes are read, into buffers that are wiped.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::{Semaphore, oneshot};
use zeroize::Zeroizing;

use super::wire::MAX_DOCUMENT;
use crate::error::{Error, ErrorKind};

/// The largest bundle of certificates, in bytes: five times what machines have.
const MAX_BUNDLE: usize = 1024 * 1024;

/// Reads from one place. Clones share the one thread.
#[derive(Clone)]
pub(super) struct Reader(Arc<Semaphore>);

impl Reader {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }

    /// Does what may wait for a disk or a network on a thread of its own, once the one before is done.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        path: PathBuf,
        work: impl FnOnce(&Path) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let cut_off = || Error::new(ErrorKind::Unavailable, "the reading of a file was cut off");
        let turn = self.0.clone().acquire_owned().await.map_err(|_| cut_off())?;
        let (done, outcome) = oneshot::channel();
        let thread = move || {
            let result = work(&path);
            drop(turn);
            // Whoever asked may have lost patience.
            let _ = done.send(result);
        };
        let thread = std::thread::Builder::new().name("keyswap-file".into()).spawn(thread);
        thread.map_err(|_| {
            Error::new(ErrorKind::Unavailable, "the system gives no thread to read a file with")
        })?;
        outcome.await.unwrap_or_else(|_| Err(cut_off()))
    }

    /// Reads a file of at most 64 KiB.
    pub(super) async fn small(&self, path: PathBuf) -> Result<Zeroizing<Vec<u8>>, Error> {
        self.file(path, MAX_DOCUMENT).await
    }

    /// Reads a file of certificates.
    pub(super) async fn bundle(&self, path: PathBuf) -> Result<Zeroizing<Vec<u8>>, Error> {
        self.file(path, MAX_BUNDLE).await
    }

    async fn file(&self, path: PathBuf, most: usize) -> Result<Zeroizing<Vec<u8>>, Error> {
        self.run(path, move |path| read(path, most).map_err(|failure| failure.told(path))).await
    }
}

/// Why nothing was read.
pub(super) enum Failure {
    Io(io::Error),
    /// Than so many bytes.
    TooLarge(usize),
    TooMany,
    Irregular,
    Swapped,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Failure {
    pub(super) fn told(self, path: &Path) -> Error {
        let unavailable =
            |what: String| Error::new(ErrorKind::Unavailable, format!("{} {what}", path.display()));
        match self {
            Self::TooLarge(most) => fault(path, &format!("it is larger than {} KiB", most / 1024)),
            Self::TooMany => fault(path, "it has too many files: at most 64 are read"),
            Self::Irregular => {
                unavailable("is not a regular file, and nothing else is read".into())
            }
            Self::Swapped => unavailable("changed again and again while it was being read".into()),
            Self::Io(error) => unavailable(format!("cannot be read: {}", error.kind())),
        }
    }
}

pub(super) fn fault(path: &Path, what: &str) -> Error {
    Error::new(ErrorKind::Malformed, format!("{}: {what}", path.display()))
}

/// Reads a regular file of at most so many bytes, on this thread.
pub(super) fn read(path: &Path, most: usize) -> Result<Zeroizing<Vec<u8>>, Failure> {
    use io::Read;
    let file = open(path)?;
    // One buffer of the full size, because one that grows leaves copies behind; and then one of the right
    // size, because what is kept is little.
    let mut bytes = Zeroizing::new(Vec::with_capacity(most + 1));
    file.take(most as u64 + 1).read_to_end(&mut bytes)?;
    match bytes.len() > most {
        true => Err(Failure::TooLarge(most)),
        false => Ok(Zeroizing::new(bytes.as_slice().to_vec())),
    }
}

fn open(path: &Path) -> Result<fs::File, Failure> {
    let regular = |kind: fs::Metadata| match kind.is_file() {
        true => Ok(()),
        false => Err(Failure::Irregular),
    };
    regular(fs::metadata(path)?)?;
    let mut options = fs::OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        options.custom_flags(flags.bits().cast_signed());
    }
    let file = options.open(path)?;
    regular(file.metadata()?)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[cfg(unix)]
    #[test]
    fn what_is_not_a_regular_file_is_not_read() {
        for path in ["/dev/null", "/dev/zero", "/"] {
            assert!(matches!(read(Path::new(path), 10), Err(Failure::Irregular)), "{path}");
        }
    }

    /// What hangs costs one thread, however often it is asked for, and a program ends all the same.
    #[tokio::test]
    async fn a_reading_that_hangs_is_the_only_one_of_its_place() {
        let (reader, place) = (Reader::new(), PathBuf::from("share"));
        let (began, begins) = channel();
        let (answer, answers) = channel::<()>();
        let mut asked = tokio::task::JoinSet::new();
        let first = began.clone();
        asked.spawn({
            let reader = reader.clone();
            let place = place.clone();
            async move {
                let hangs = move |_: &Path| {
                    first.send("first").map_err(|_| fault(Path::new(""), "gone"))?;
                    let _ = answers.recv();
                    Ok(())
                };
                reader.run(place, hangs).await
            }
        });
        while begins.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
        // Whoever asked has lost patience; the thread hangs on.
        asked.shutdown().await;
        for _ in 0..100 {
            let began = began.clone();
            let again = reader.run(place.clone(), move |_| {
                began.send("again").map_err(|_| fault(Path::new(""), "gone"))
            });
            let outcome = tokio::time::timeout(std::time::Duration::from_millis(1), again).await;
            assert!(outcome.is_err(), "it waits for the one that hangs");
        }
        assert!(begins.try_recv().is_err());
        drop(answer);
        reader.run(place, |_| Ok(())).await.expect("it goes on when the share answers");
    }

    /// A runtime waits for its own threads when it is dropped, and so does a `main` that has one.
    #[test]
    fn a_program_ends_while_a_reading_hangs() {
        let (answer, answers) = channel::<()>();
        let (end, ended) = channel();
        let program = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime");
            runtime.block_on(async {
                let hangs = move |_: &Path| {
                    let _ = answers.recv();
                    Ok(())
                };
                let reading = Reader::new();
                let reading = reading.run(PathBuf::from("share"), hangs);
                let wait = std::time::Duration::from_millis(20);
                assert!(tokio::time::timeout(wait, reading).await.is_err(), "it hangs");
            });
            drop(runtime);
            end.send(()).expect("told");
        });
        ended.recv_timeout(std::time::Duration::from_secs(20)).expect("it ends");
        drop(answer);
        program.join().expect("it ended");
    }
}
