//! One request of another HTTP library, on its way through a rotation.
//!
//! An attempt is used by one thread at a time; a second one is told so, and never waits.

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, TryLockError},
};

use http::HeaderMap;
use keyswap::{Credential, Error, ErrorKind, Failure, ResponseFilter, Verdict, host};

use crate::{
    patch::Patch,
    sign::Signature,
    text::{method_of, status_of, url_of},
};

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send the request with what `apply` adds, and report with `response` or `failed`.
    Send = 0,
    /// Call `wait`; keep the last response meanwhile.
    Wait = 1,
    /// Call `response` again with the first bytes of the body: at most `body_limit`.
    NeedBody = 2,
    /// The last response, or the library's own error, is the answer.
    Return = 3,
    /// There is no response to return: `error` says why.
    Fail = 4,
}

impl From<&keyswap::Step> for Step {
    fn from(step: &keyswap::Step) -> Self {
        match step {
            keyswap::Step::Send => Self::Send,
            keyswap::Step::Wait => Self::Wait,
            keyswap::Step::NeedBody { .. } => Self::NeedBody,
            keyswap::Step::Fail(_) => Self::Fail,
            _ => Self::Return,
        }
    }
}

/// What went wrong with a send that got no response: `connect`, `timeout`, or anything else.
pub fn failure_named(name: &str) -> Failure {
    match name {
        "connect" => Failure::Connect,
        "timeout" => Failure::Timeout,
        _ => Failure::Other,
    }
}

/// One request on its way: one hop. Clones are the same attempt.
///
/// Each method fails with `closed` once it is closed, while it is waited for, and while another thread uses it.
#[derive(Clone)]
pub struct Attempt {
    place: Arc<Mutex<Place>>,
    filter: Arc<ResponseFilter>,
}

/// Where it is.
enum Place {
    Here(Box<keyswap::Attempt>),
    /// Waited for.
    Away,
    Closed,
}

/// A credential that the send under way is to be signed with.
#[derive(Clone, Debug)]
pub struct Signing {
    /// Which.
    pub credential: Arc<Credential>,
}

impl Attempt {
    pub(crate) fn new(attempt: keyswap::Attempt, filter: ResponseFilter) -> Self {
        let place = Arc::new(Mutex::new(Place::Here(Box::new(attempt))));
        Self { place, filter: Arc::new(filter) }
    }

    /// What to do next.
    pub fn step(&self) -> Result<Step, Error> {
        self.with(|attempt| Ok(attempt.step().into()))
    }

    /// The error of [`Step::Fail`].
    pub fn error(&self) -> Result<Option<Error>, Error> {
        self.with(|attempt| match attempt.step() {
            keyswap::Step::Fail(error) => Ok(Some(error.clone())),
            _ => Ok(None),
        })
    }

    /// How many bytes [`Step::NeedBody`] asks for.
    pub fn body_limit(&self) -> Result<usize, Error> {
        self.with(|attempt| match attempt.step() {
            keyswap::Step::NeedBody { max, .. } => Ok(*max),
            _ => Ok(0),
        })
    }

    /// The id of the credential of the send under way.
    pub fn credential_id(&self) -> Result<Option<String>, Error> {
        self.with(|attempt| Ok(attempt.credential_id().map(str::to_owned)))
    }

    /// How often the request was sent so far, with the send under way.
    pub fn sends(&self) -> Result<u32, Error> {
        self.with(|attempt| Ok(attempt.sends()))
    }

    /// What to add to the request for this hop. For an origin that is not allowed, nothing. `body` is none for a
    /// stream. A signature of the program is called meanwhile, on this thread.
    ///
    /// # Errors
    /// `scheme_failed` if the credential cannot be put on the request.
    pub fn apply(
        &self,
        method: &str,
        url: &str,
        headers: &HeaderMap,
        body: Option<&[u8]>,
    ) -> Result<Patch, Error> {
        let (method, url) = (method_of(method)?, url_of(url)?);
        self.with(|attempt| attempt.apply(&method, &url, headers, body).map(Patch::new))
    }

    /// For a language whose signatures take their time: what the send under way is to be signed with, in place of
    /// [`apply`](Self::apply). None for an origin that is not allowed: it is sent without. The signature is passed to
    /// [`signed`](Self::signed).
    pub fn begin_signing(&self, method: &str, url: &str) -> Result<Option<Signing>, Error> {
        let (method, url) = (method_of(method)?, url_of(url)?);
        self.with(|attempt| {
            let credential = host::begin_signing(attempt, &method, &url);
            Ok(credential.map(|credential| Signing { credential }))
        })
    }

    /// What the signature adds to the request. None if it failed, and another credential is to be signed with:
    /// begin again.
    ///
    /// # Errors
    /// `scheme_failed` if it failed, and no credential is left.
    pub fn signed(
        &self,
        signing: &Signing,
        outcome: Result<Signature, Error>,
    ) -> Result<Option<Patch>, Error> {
        self.with(|attempt| {
            let error = match outcome.and_then(|made| made.patch(&signing.credential)) {
                Ok(patch) => return Ok(Some(Patch::new(patch))),
                Err(error) => error,
            };
            match host::signing_failed(attempt, error.clone()) {
                keyswap::Step::Send => Ok(None),
                _ => Err(error),
            }
        })
    }

    /// The response of this hop has come: its status, its headers, the body that [`Step::NeedBody`] asked for, and what
    /// the program's classifier said, if it was asked here.
    ///
    /// # Errors
    /// `invalid_config` if that is no status.
    pub fn response(
        &self,
        status: u32,
        headers: &HeaderMap,
        body: Option<&[u8]>,
        verdict: Option<Verdict>,
    ) -> Result<Step, Error> {
        let status = status_of(status)?;
        // It is only asked about the responses that it wants to see.
        let verdict = verdict.filter(|_| self.filter.statuses.contains(&status.as_u16()));
        self.with(|attempt| {
            Ok(match verdict {
                Some(verdict) => {
                    host::response_judged(attempt, status, headers, body, verdict).into()
                }
                None => attempt.response(status, headers, body).into(),
            })
        })
    }

    /// No response came.
    pub fn failed(&self, failure: Failure) -> Result<Step, Error> {
        self.with(|attempt| Ok(attempt.failed(failure).into()))
    }

    /// Whether the last response was a rejection. If the first one was, too, it is the one to return when all is in
    /// vain.
    pub fn is_rejected(&self) -> Result<bool, Error> {
        self.with(|attempt| Ok(attempt.is_rejected()))
    }

    /// Why a wait for a fresh credential brought nothing.
    pub fn cause(&self) -> Result<Option<Error>, Error> {
        self.with(|attempt| Ok(attempt.cause().cloned()))
    }

    /// Begins again for a reason that is not the credential: after a 503, say. False if the request was sent as often
    /// as it may be.
    pub fn repeat(&self) -> Result<bool, Error> {
        self.with(|attempt| Ok(attempt.repeat()))
    }

    /// Waits as [`Step::Wait`] says; at once, if the step is another. The attempt is away until then, and a wait that is
    /// dropped once it has begun closes it.
    pub fn wait(&self) -> impl Future<Output = Result<Step, Error>> + Send + 'static + use<> {
        let taken = self.take();
        async move {
            let mut away = taken?;
            let mut attempt = away.attempt.take().ok_or_else(absent)?;
            let step = attempt.wait().await.into();
            away.attempt = Some(attempt);
            Ok(step)
        }
    }

    /// Gives back what it holds. It may be called at any time, and again.
    pub fn close(&self) {
        if let Ok(mut place) = self.place() {
            *place = Place::Closed;
        }
    }

    fn take(&self) -> Result<Away, Error> {
        let mut place = self.place()?;
        match std::mem::replace(&mut *place, Place::Away) {
            Place::Here(attempt) => {
                let place = self.place.clone();
                Ok(Away { place, attempt: Some(attempt) })
            }
            other => {
                *place = other;
                Err(absent())
            }
        }
    }

    fn with<T>(
        &self,
        use_it: impl FnOnce(&mut keyswap::Attempt) -> Result<T, Error>,
    ) -> Result<T, Error> {
        match &mut *self.place()? {
            Place::Here(attempt) => use_it(attempt),
            _ => Err(absent()),
        }
    }

    /// The state, for a moment. It never waits: two threads that share an attempt are a mistake.
    fn place(&self) -> Result<MutexGuard<'_, Place>, Error> {
        match self.place.try_lock() {
            Ok(place) => Ok(place),
            Err(TryLockError::Poisoned(place)) => Ok(place.into_inner()),
            Err(TryLockError::WouldBlock) => Err(absent()),
        }
    }
}

/// An attempt that is waited for. Dropped without it, the attempt is closed.
struct Away {
    place: Arc<Mutex<Place>>,
    attempt: Option<Box<keyswap::Attempt>>,
}

impl Drop for Away {
    fn drop(&mut self) {
        let attempt = self.attempt.take();
        let mut place = self.place.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // One that was closed meanwhile stays closed.
        if matches!(*place, Place::Away) {
            *place = attempt.map_or(Place::Closed, Place::Here);
        }
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.credential_id().ok().flatten();
        f.debug_struct("Attempt").field("credential", &id).finish_non_exhaustive()
    }
}

fn absent() -> Error {
    Error::new(ErrorKind::Closed, "the attempt is closed, or in use elsewhere")
}
