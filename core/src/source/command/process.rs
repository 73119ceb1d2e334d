//! One run of a command, on a thread of its own.
//!
//! # Theory of operation
//!
//! The process is the first of a group, so that what it starts can be ended with it. It has no input, its errors go
//! nowhere, and its output is read up to a bound. Whoever asked for the run holds its [`Reins`]: let go of before the
//! run is over, because it takes too long, because the handle was dropped or because the runtime ends, they kill the
//! group. A thread of its own then collects what is left, so no zombie stays.
//!
//! A number of a process may be given to another one once the first has been collected. So it is killed only under a
//! lock, and forgotten under the same lock before it is collected.

use std::{
    io::{self, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use zeroize::Zeroizing;

use super::output::Output;
use crate::source::wire::MAX_DOCUMENT;

/// What became of a run.
pub(super) enum Outcome {
    Printed(Output, ExitStatus),
    /// More than is read.
    TooMuch,
    NotStarted(io::Error),
    /// Its output could not be read, or its end was not told.
    Lost,
}

/// A run that ends when this is dropped, if it has not by itself.
#[derive(Default)]
pub(super) struct Reins(Arc<Shared>);

#[derive(Default)]
struct Shared {
    is_stopped: AtomicBool,
    running: Mutex<Option<Running>>,
}

/// What can be killed.
#[cfg(unix)]
type Running = rustix::process::Pid;
#[cfg(not(unix))]
type Running = Child;
/// It is held where it is killed.
#[cfg(not(unix))]
struct Held;

impl Drop for Reins {
    fn drop(&mut self) {
        self.0.is_stopped.store(true, Ordering::SeqCst);
        self.0.kill();
    }
}

impl Reins {
    /// What a thread needs to run it. Each is for one run.
    pub(super) fn run(&self) -> impl FnOnce(Command) -> Outcome + Send + 'static {
        let shared = self.0.clone();
        move |command| shared.run(command)
    }
}

impl Shared {
    fn run(&self, mut command: Command) -> Outcome {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        #[cfg(unix)]
        {
            use std::os::unix::process::CommandExt;
            command.process_group(0);
        }
        if self.is_stopped() {
            return Outcome::Lost;
        }
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => return Outcome::NotStarted(error),
        };
        let output = child.stdout.take();
        let mut whole = self.hold(child);
        let read = output.map(|output| self.read(output));
        let has_more = matches!(&read, Some(Ok(read)) if read.len() > MAX_DOCUMENT);
        if has_more || !matches!(read, Some(Ok(_))) {
            self.kill();
        }
        let status = self.collect(&mut whole);
        match (read, status) {
            _ if has_more => Outcome::TooMuch,
            (Some(Ok(read)), Ok(status)) => Outcome::Printed(read, status),
            _ => Outcome::Lost,
        }
    }

    fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::SeqCst)
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(unix)]
impl Shared {
    fn hold(&self, child: Child) -> Child {
        *self.running() = rustix::process::Pid::from_raw(child.id().cast_signed());
        // It may have been let go of while it was being started.
        if self.is_stopped() {
            self.kill();
        }
        child
    }

    fn kill(&self) {
        use rustix::process::{Signal, kill_process_group};
        if let Some(group) = *self.running() {
            // It may be over already.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    /// Reads until all who can write have ended, or it is too much. A process that left the group is not killed with
    /// it, and may keep the pipe: so it is looked now and then whether anybody still waits.
    fn read(&self, mut output: std::process::ChildStdout) -> io::Result<Output> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        // One buffer of the full size: one that grows leaves copies behind.
        let mut all = Zeroizing::new(vec![0; MAX_DOCUMENT + 1]);
        let mut filled = 0;
        while filled < all.len() {
            if self.is_stopped() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let mut watched = [PollFd::new(&output, PollFlags::IN)];
            match poll(&mut watched, Some(&LOOK)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => continue,
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
            match output.read(&mut all[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        all.truncate(filled);
        Ok(all)
    }

    fn collect(&self, child: &mut Child) -> io::Result<ExitStatus> {
        use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
        // Waits without collecting: until then its number is its own.
        if let Some(pid) = Pid::from_raw(child.id().cast_signed()) {
            let until = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(pid), until) {}
        }
        *self.running() = None;
        child.wait()
    }
}

#[cfg(not(unix))]
impl Shared {
    fn hold(&self, child: Child) -> Held {
        *self.running() = Some(child);
        if self.is_stopped() {
            self.kill();
        }
        Held
    }

    fn kill(&self) {
        if let Some(child) = self.running().as_mut() {
            let _ = child.kill();
        }
    }

    fn read(&self, output: std::process::ChildStdout) -> io::Result<Output> {
        let mut all = Zeroizing::new(Vec::with_capacity(MAX_DOCUMENT + 1));
        output.take(MAX_DOCUMENT as u64 + 1).read_to_end(&mut all)?;
        Ok(all)
    }

    fn collect(&self, _: &mut Held) -> io::Result<ExitStatus> {
        // It has closed its output, or was killed, and ends soon.
        loop {
            match self.running().as_mut().map(Child::try_wait) {
                Some(Ok(None)) => {}
                Some(Ok(Some(status))) => return Ok(status),
                Some(Err(error)) => return Err(error),
                None => return Err(io::ErrorKind::NotFound.into()),
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}
