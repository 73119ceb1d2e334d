//! A program's own function, called on the thread of JavaScript that it belongs to.
//!
//! The call is queued and never holds the event loop: a process that has nothing else to do ends, and the
//! function is not called any more. An answer that comes after the engine's deadline is dropped.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use keyswap::{
    CredentialSet, Error, ErrorKind, Source,
    source::{BoxFuture, Fetched},
};
use napi::{
    Status,
    bindgen_prelude::{Function as JsFunction, *},
    threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode::NonBlocking},
};
use napi_derive::napi;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

/// Calls of one source that may run at once: a live one, and one that was given up.
const MOST_CALLS: usize = 2;

type Queue = ThreadsafeFunction<Answer, (), Answer, Status, false, true>;
type Outcome = std::result::Result<Zeroizing<String>, String>;

/// What a program passed.
#[derive(Clone)]
pub(crate) struct Function {
    queue: Arc<Queue>,
    running: Arc<AtomicUsize>,
    /// As a source: whether each call makes a new credential.
    mints: bool,
}

impl Function {
    pub(crate) fn new(function: &JsFunction<'_, Answer, ()>) -> Result<Self> {
        let queue = function.build_threadsafe_function::<Answer>();
        let queue = queue.callee_handled::<false>().weak::<true>().build()?;
        Ok(Self { queue: Arc::new(queue), running: Arc::default(), mints: false })
    }

    pub(crate) fn minting(self, mints: bool) -> Self {
        Self { mints, ..self }
    }

    async fn call(self, question: String) -> std::result::Result<Zeroizing<String>, Error> {
        if self.running.load(Ordering::Relaxed) >= MOST_CALLS {
            let what = "two earlier calls of the function have not returned: it is not called again before one does";
            return Err(Error::new(ErrorKind::SourceFailed, what));
        }
        let (tell, told) = oneshot::channel();
        let running = Running::begin(self.running.clone());
        if !self.queue_up(question, tell, Some(running)) {
            let what = "the thread of JavaScript that the function belongs to has ended";
            return Err(Error::new(ErrorKind::SourceFailed, what));
        }
        match told.await {
            Ok(Ok(text)) => Ok(text),
            Ok(Err(what)) => Err(Error::new(
                ErrorKind::SourceFailed,
                format!("the function {what}; the set that is held stays in use"),
            )),
            Err(_) => Err(Error::new(ErrorKind::SourceFailed, "the function gave no answer")),
        }
    }

    /// Asks on a thread that may block.
    pub(crate) fn ask(&self, question: String, patience: Duration) -> Option<String> {
        let (tell, told) = oneshot::channel();
        if !self.queue_up(question, tell, None) {
            return None;
        }
        let limited = async move { tokio::time::timeout(patience, told).await };
        let outcome = tokio::runtime::Handle::try_current().ok()?.block_on(limited);
        outcome.ok()?.ok()?.ok().map(|text| String::clone(&text))
    }

    fn queue_up(
        &self,
        question: String,
        tell: oneshot::Sender<Outcome>,
        running: Option<Running>,
    ) -> bool {
        let answer = Answer { question, tell: Mutex::new(Some((tell, running))) };
        self.queue.call(answer, NonBlocking) == Status::Ok
    }

    /// A bootstrap credential from the function.
    pub(crate) async fn text(self) -> std::result::Result<String, Error> {
        self.call(String::new()).await.map(|text| String::clone(&text))
    }
}

impl Source for Function {
    fn fetch<'a>(
        &'a self,
        _: Option<&'a CredentialSet>,
    ) -> BoxFuture<'a, std::result::Result<Fetched, Error>> {
        let call = self.clone().call(String::new());
        Box::pin(async move {
            let json = call.await?;
            keyswap::host::parse_short(json.as_bytes()).map(Fetched::Set)
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

/// Where JavaScript puts what the function returned, once.
#[napi]
pub struct Answer {
    question: String,
    tell: Mutex<Option<(oneshot::Sender<Outcome>, Option<Running>)>>,
}

#[napi]
impl Answer {
    /// What the function is asked; empty for a source.
    #[napi(getter)]
    pub fn question(&self) -> &str {
        &self.question
    }

    /// The function returned this.
    #[napi]
    pub fn returned(&self, text: String) {
        self.settle(Ok(Zeroizing::new(text)));
    }

    /// The function failed: what it did, without its words, which may hold anything.
    #[napi]
    pub fn failed(&self, what: String) {
        self.settle(Err(what));
    }

    fn settle(&self, outcome: Outcome) {
        let taken = self.tell.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((tell, _running)) = taken {
            let _ = tell.send(outcome);
        }
    }
}

/// Counts a call for as long as it may run, given up or not.
pub(crate) struct Running(Arc<AtomicUsize>);

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
