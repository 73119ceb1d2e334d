//! Work that takes long, and may be given up.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use keyswap::{Error, ErrorKind};
use tokio::sync::Notify;

/// Work that goes on, for a caller that may give it up. One serves one call; clones are the same job.
#[derive(Clone, Debug, Default)]
pub struct Job(Arc<State>);

#[derive(Debug, Default)]
struct State {
    is_cancelled: AtomicBool,
    given_up: Notify,
}

impl Job {
    /// Ends the work, which then fails with the code `closed`. Without effect once it has ended.
    pub fn cancel(&self) {
        self.0.is_cancelled.store(true, Ordering::Release);
        self.0.given_up.notify_one();
    }

    /// The work, until it is given up.
    ///
    /// # Errors
    /// That of the work; `closed` if it is given up.
    pub async fn run<T>(
        self,
        work: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        let cancelled = || Err(Error::new(ErrorKind::Closed, "the caller gave it up"));
        if self.0.is_cancelled.load(Ordering::Acquire) {
            return cancelled();
        }
        tokio::select! {
            outcome = work => outcome,
            () = self.0.given_up.notified() => cancelled(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_ends_when_it_is_given_up() {
        let job = Job::default();
        let work = job.clone().run(std::future::pending::<Result<(), Error>>());
        job.cancel();
        assert_eq!(work.await.expect_err("given up").kind(), ErrorKind::Closed);
        let again = job.run(async { Ok(()) }).await;
        assert_eq!(again.expect_err("it stays so").kind(), ErrorKind::Closed);
        assert_eq!(Job::default().run(async { Ok(7) }).await.expect("done"), 7);
    }
}
