//! A program's own function: as a source, or for a bootstrap credential.
//!
//! A call is begun and answered later, from any thread. One that was given up may still run; at most one such
//! runs beside a new one.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use keyswap::{
    CredentialSet, Error, ErrorKind, Secret, Source,
    host::parse_short,
    source::{BoxFuture, Fetched},
};
use tokio::sync::oneshot;

use crate::SecretText;

/// Calls of one function that may run at once: a live one, and one that was given up.
const MOST_CALLS: usize = 2;

/// What a language calls for a function of the program.
pub trait ForeignFunction: Send + Sync + 'static {
    /// Begins one call, and does not wait: what comes of it is put into `answer`, on any thread. What this returns
    /// is kept as long as the answer is waited for; dropping it gives the call up.
    ///
    /// # Errors
    /// Why it could not be begun.
    fn begin(&self, answer: Answer) -> Result<Pending, Error>;

    /// The same function for a forked child, where no thread and no event loop of the parent is.
    fn in_child(&self) -> Option<Arc<dyn ForeignFunction>> {
        None
    }
}

/// A call that goes on as long as this is kept, or until it is answered.
pub type Pending = Box<dyn Send + Sync>;

/// A function of the program. As a source, it returns the JSON of a set, in the short form or in that of the
/// protocol; for a bootstrap credential, its text.
#[derive(Clone)]
pub struct Function {
    foreign: Arc<dyn ForeignFunction>,
    running: Arc<AtomicUsize>,
    mints: bool,
}

impl Function {
    /// A function that reads what stands somewhere.
    pub fn new(foreign: Arc<dyn ForeignFunction>) -> Self {
        Self { foreign, running: Arc::default(), mints: false }
    }

    /// Whether each call of it makes a new credential.
    pub fn minting(self, mints: bool) -> Self {
        Self { mints, ..self }
    }

    /// The same for a forked child: the parent's calls do not run there.
    pub fn in_child(&self) -> Self {
        let foreign = self.foreign.in_child().unwrap_or_else(|| self.foreign.clone());
        Self { foreign, running: Arc::default(), mints: self.mints }
    }

    /// Calls it, and waits for its answer.
    ///
    /// # Errors
    /// That of the call; that too many of them still run.
    pub async fn call(&self) -> Result<SecretText, Error> {
        if self.running.load(Ordering::Relaxed) >= MOST_CALLS {
            let what = "two earlier calls of the function have not returned: it is not called again before one does";
            return Err(Error::new(ErrorKind::SourceFailed, what));
        }
        let (tell, told) = oneshot::channel();
        let running = Running::begin(self.running.clone());
        let _pending = self.foreign.begin(Answer(Mutex::new(Some((tell, running)))))?;
        let unanswered = || Error::new(ErrorKind::SourceFailed, "the function gave no answer");
        told.await.unwrap_or_else(|_| Err(unanswered()))
    }
}

impl Function {
    /// The same, for a secret.
    pub(crate) async fn ask(self) -> Result<Secret, Error> {
        self.call().await.map(|text| text.to_core())
    }
}

impl Source for Function {
    fn fetch<'a>(&'a self, _: Option<&'a CredentialSet>) -> BoxFuture<'a, Result<Fetched, Error>> {
        Box::pin(async move {
            let document = self.call().await?;
            parse_short(document.reveal().as_bytes()).map(Fetched::Set)
        })
    }

    fn mints(&self) -> bool {
        self.mints
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Function(..)")
    }
}

/// Where a language puts what the function returned. Only the first answer counts; dropped without one, the call
/// has failed.
pub struct Answer(Mutex<Option<(Tell, Running)>>);

type Tell = oneshot::Sender<Result<SecretText, Error>>;

impl Answer {
    /// The function returned this text, or failed with this error ([`crate::function_failed`]).
    pub fn settle(&self, outcome: Result<SecretText, Error>) {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((tell, _running)) = taken {
            let _ = tell.send(outcome);
        }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answer(..)")
    }
}

/// Counts a call for as long as it may run, given up or not.
struct Running(Arc<AtomicUsize>);

impl Running {
    fn begin(count: Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::function_failed;

    /// Keeps the answers, so that calls run on.
    #[derive(Default)]
    struct Slow(Mutex<Vec<Answer>>);

    impl ForeignFunction for Slow {
        fn begin(&self, answer: Answer) -> Result<Pending, Error> {
            self.0.lock().expect("a lock").push(answer);
            Ok(Box::new(()))
        }
    }

    async fn given_up(function: &Function) -> bool {
        tokio::time::timeout(Duration::from_millis(5), function.call()).await.is_err()
    }

    #[tokio::test]
    async fn at_most_two_calls_run() {
        let slow = Arc::new(Slow::default());
        let function = Function::new(slow.clone());
        assert!(given_up(&function).await && given_up(&function).await);
        let error = function.call().await.expect_err("two run");
        assert!(error.to_string().starts_with("two earlier calls"), "{error}");
        assert!(given_up(&function.in_child()).await, "a child counts its own");
        // One returns, though nobody waits for it any more.
        slow.0.lock().expect("a lock").remove(0).settle(Ok("late".into()));
        assert!(given_up(&function).await);
    }

    struct At(Result<&'static str, &'static str>);

    impl ForeignFunction for At {
        fn begin(&self, answer: Answer) -> Result<Pending, Error> {
            answer.settle(self.0.map(Into::into).map_err(function_failed));
            answer.settle(Ok("a second answer".into()));
            Ok(Box::new(()))
        }
    }

    #[tokio::test]
    async fn it_is_a_source() {
        let json = r#"{"current": {"id": "k1", "key": "s3cr3t"}}"#;
        let function = Function::new(Arc::new(At(Ok(json)))).minting(true);
        assert!(Source::mints(&function));
        let Ok(Fetched::Set(set)) = function.fetch(None).await else { panic!("a set") };
        assert_eq!(set.primary().and_then(|one| one.reveal("key")), Some("s3cr3t"));
        let error = Function::new(Arc::new(At(Err("threw TypeError")))).fetch(None).await;
        let error = error.expect_err("it threw").to_string();
        assert_eq!(error, "the function threw TypeError; the set that is held stays in use");
        struct Dropping;
        impl ForeignFunction for Dropping {
            fn begin(&self, _: Answer) -> Result<Pending, Error> {
                Ok(Box::new(()))
            }
        }
        let error = Function::new(Arc::new(Dropping)).call().await.expect_err("no answer");
        assert_eq!(error.kind(), ErrorKind::SourceFailed);
    }
}
