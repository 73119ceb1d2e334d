//! How late the machine was while a story was played: measured, and not guessed.
//!
//! A heartbeat that wants to wake every few milliseconds wakes later when the machine has no time for the
//! thread on which a story is played. Stories let [`TOLERANCE`] pass between things whose order decides a
//! count. Only where a gap was longer than that was the machine to blame, and the story may be played again.

use std::{
    cell::Cell,
    env,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    rc::Rc,
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::task::{self, JoinHandle};

/// What a story bears.
pub const TOLERANCE: Duration = Duration::from_millis(100);
/// A tenth of what matters.
const BEAT: Duration = Duration::from_millis(10);

/// The longest time by which the tasks of this thread were late for anything.
pub(crate) struct Heartbeat {
    beats: Rc<Beats>,
    task: JoinHandle<()>,
}

struct Beats {
    last: Cell<Instant>,
    worst: Cell<Duration>,
}

impl Beats {
    fn beat(&self) {
        let late = self.last.replace(Instant::now()).elapsed().saturating_sub(BEAT);
        self.worst.set(self.worst.get().max(late));
    }
}

impl Heartbeat {
    /// Within a `LocalSet`.
    pub(crate) fn start() -> Self {
        let beats =
            Rc::new(Beats { last: Cell::new(Instant::now()), worst: Cell::new(Duration::ZERO) });
        let beating = beats.clone();
        let task = task::spawn_local(async move {
            loop {
                tokio::time::sleep(BEAT).await;
                beating.beat();
            }
        });
        Self { beats, task }
    }

    pub(crate) fn stop(self) -> Duration {
        self.task.abort();
        self.beats.beat();
        self.beats.worst.get()
    }
}

/// Whether a story that did not come out may be played again. With `KEYSWAP_NO_REPLAY=1` none may.
pub fn may_replay(late: Duration) -> bool {
    late > TOLERANCE && !env::var("KEYSWAP_NO_REPLAY").is_ok_and(|value| value == "1")
}

/// Where the tests of all languages write what was played again.
pub fn list_of_replays() -> PathBuf {
    let here = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    env::var_os("CARGO_TARGET_DIR").map_or_else(here, PathBuf::from).join("tests/replayed.jsonl")
}

/// Adds a replay to the list.
///
/// # Errors
/// If the list cannot be written.
pub fn note(
    list: &Path,
    through: &str,
    story: &str,
    late: Duration,
    complaint: &str,
) -> io::Result<()> {
    if let Some(folder) = list.parent() {
        fs::create_dir_all(folder)?;
    }
    let late_ms = late.as_millis();
    let line =
        json!({"through": through, "story": story, "late_ms": late_ms, "complaint": complaint});
    writeln!(OpenOptions::new().create(true).append(true).open(list)?, "{line}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_holds_the_thread_makes_everything_late() -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let late = task::LocalSet::new().block_on(&runtime, async {
            let heartbeat = Heartbeat::start();
            tokio::time::sleep(BEAT).await;
            std::thread::sleep(Duration::from_millis(150));
            heartbeat.stop()
        });
        assert!(late >= Duration::from_millis(130), "{late:?}");
        Ok(())
    }
}
