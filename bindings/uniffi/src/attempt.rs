//! One request of another HTTP library, on its way through a rotation.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue};
use keyswap::{Error, ErrorKind, Failure, Step};
use tokio::runtime::Handle;

use crate::{
    authorizer::{NativePatch, method_of, parse, status_of},
    errors::{NativeError, invalid},
    job::{NativeJob, Task, runtime},
    scheme::{NativeVerdict, having_said},
};

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum NativeStep {
    /// Send the request with what `apply` adds, and report with `response` or `failed`.
    Send,
    /// Call `wait`; keep the last response meanwhile.
    Wait,
    /// Call `response` again with the first bytes of the body: at most `body_limit`.
    NeedBody,
    /// The last response, or the transport's own error, is the answer.
    Return,
    /// There is no response to return: `check` throws the error.
    Fail,
}

/// What went wrong with a send that got no response.
#[derive(Clone, Copy, Debug, uniffi::Enum)]
pub enum NativeFailure {
    /// No connection could be made: nothing was sent.
    Connect,
    /// It took too long.
    Timeout,
    /// Anything else.
    Other,
}

/// One request on its way.
#[derive(uniffi::Object)]
pub struct NativeAttempt(Mutex<Place>);

/// Where an attempt is.
enum Place {
    Here(Box<keyswap::Attempt>),
    /// Waited for, by the runtime.
    Away(Task<keyswap::Attempt>),
    Closed,
}

impl NativeAttempt {
    pub(crate) fn new(attempt: keyswap::Attempt) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Place::Here(Box::new(attempt)))))
    }

    fn with<T>(
        &self,
        use_it: impl FnOnce(&mut keyswap::Attempt) -> Result<T, NativeError>,
    ) -> Result<T, NativeError> {
        match &mut *self.place() {
            Place::Here(attempt) => use_it(attempt),
            _ => Err(absent().into()),
        }
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The wait that goes on, begun if it was not.
    fn away(&self) -> Result<Task<keyswap::Attempt>, Error> {
        let mut place = self.place();
        match std::mem::replace(&mut *place, Place::Closed) {
            Place::Away(task) => Ok(task),
            Place::Closed => Err(absent()),
            Place::Here(mut attempt) => {
                let waiting = async move {
                    attempt.wait().await;
                    *attempt
                };
                Ok(Task(runtime()?.spawn(waiting)))
            }
        }
    }

    fn back(&self, attempt: keyswap::Attempt) -> NativeStep {
        let step = seen(attempt.step());
        *self.place() = Place::Here(Box::new(attempt));
        step
    }
}

#[uniffi::export]
impl NativeAttempt {
    /// What to do next.
    ///
    /// # Errors
    /// `closed` once it is closed, or while it is waited for; so do all others.
    pub fn step(&self) -> Result<NativeStep, NativeError> {
        self.with(|attempt| Ok(seen(attempt.step())))
    }

    /// Throws the error of `Fail`.
    ///
    /// # Errors
    /// That one.
    pub fn check(&self) -> Result<(), NativeError> {
        self.with(|attempt| match attempt.step() {
            Step::Fail(error) => Err(error.clone().into()),
            _ => Ok(()),
        })
    }

    /// How many bytes `NeedBody` asks for.
    ///
    /// # Errors
    /// `closed`.
    pub fn body_limit(&self) -> Result<u32, NativeError> {
        self.with(|attempt| match attempt.step() {
            Step::NeedBody { max, .. } => Ok(u32::try_from(*max).unwrap_or(u32::MAX)),
            _ => Ok(0),
        })
    }

    /// What to add to the request for this hop. For an origin that is not allowed, nothing.
    ///
    /// # Errors
    /// `scheme_failed` if the credential cannot be put on the request.
    pub fn apply(&self, method: String, url: String) -> Result<Arc<NativePatch>, NativeError> {
        let url = parse(&url)?;
        let method = method_of(&method)?;
        self.with(|attempt| {
            let patch = attempt.apply(&method, &url, &HeaderMap::new(), None)?;
            Ok(NativePatch::new(patch))
        })
    }

    /// The response of this hop has come: its status, its headers by turns, the body that `NeedBody`
    /// asked for, and what the program's function said.
    ///
    /// # Errors
    /// `invalid_config` if that is no status.
    pub fn response(
        &self,
        status: u32,
        headers: Vec<String>,
        body: Option<Vec<u8>>,
        said: Option<NativeVerdict>,
    ) -> Result<NativeStep, NativeError> {
        let status = status_of(status)?;
        let headers = header_map(&headers);
        self.with(|attempt| {
            let shown = || seen(attempt.response(status, &headers, body.as_deref()));
            Ok(having_said(said.map(Into::into), shown))
        })
    }

    /// No response came.
    ///
    /// # Errors
    /// `closed`.
    pub fn failed(&self, failure: NativeFailure) -> Result<NativeStep, NativeError> {
        let failure = match failure {
            NativeFailure::Connect => Failure::Connect,
            NativeFailure::Timeout => Failure::Timeout,
            NativeFailure::Other => Failure::Other,
        };
        self.with(|attempt| Ok(seen(attempt.failed(failure))))
    }

    /// Whether the last response was a rejection. If the first one was, too, that is the one to return when
    /// all is in vain.
    ///
    /// # Errors
    /// `closed`.
    pub fn is_rejected(&self) -> Result<bool, NativeError> {
        self.with(|attempt| Ok(attempt.is_rejected()))
    }

    /// Waits as `Wait` says; at once, if the step is another. Cancelled, it closes the attempt.
    ///
    /// # Errors
    /// `closed`, also if the job is cancelled.
    pub async fn wait(self: Arc<Self>, job: Arc<NativeJob>) -> Result<NativeStep, NativeError> {
        let task = self.away()?;
        let waited = job.run(async move { task.await.map_err(|_| absent()) }).await?;
        Ok(self.back(waited))
    }

    /// The same on a thread that may block, for at most so long: `Wait` if it is not over then.
    ///
    /// # Errors
    /// `closed`; `invalid_config` on a thread of this library's own.
    pub fn wait_blocking(&self, most_ms: u64) -> Result<NativeStep, NativeError> {
        if Handle::try_current().is_ok() {
            return Err(invalid("a thread that calls a program's own code must not be blocked"));
        }
        let runtime = runtime()?;
        let mut task = self.away()?;
        let most = Duration::from_millis(most_ms);
        match runtime.block_on(async { tokio::time::timeout(most, &mut task).await }) {
            Ok(Ok(attempt)) => Ok(self.back(attempt)),
            Ok(Err(_)) => Err(absent().into()),
            Err(_) => {
                *self.place() = Place::Away(task);
                Ok(NativeStep::Wait)
            }
        }
    }

    /// Gives back what it holds. It may be called at any time, and again.
    pub fn end(&self) {
        *self.place() = Place::Closed;
    }
}

impl std::fmt::Debug for NativeAttempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Attempt(..)")
    }
}

fn absent() -> Error {
    Error::new(ErrorKind::Closed, "the attempt is closed, or waited for")
}

fn seen(step: &Step) -> NativeStep {
    match step {
        Step::Send => NativeStep::Send,
        Step::Wait => NativeStep::Wait,
        Step::NeedBody { .. } => NativeStep::NeedBody,
        Step::Fail(_) => NativeStep::Fail,
        _ => NativeStep::Return,
    }
}

/// Headers as another library has them. What is no header is passed over: it cannot be sent either.
fn header_map(turns: &[String]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for turn in turns.chunks_exact(2) {
        if let (Ok(name), Ok(value)) =
            (turn[0].parse::<HeaderName>(), HeaderValue::from_str(&turn[1]))
        {
            headers.append(name, value);
        }
    }
    headers
}
