//! One request of another HTTP library, on its way through a rotation. The steps are those of the core, as
//! small numbers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use keyswap::{Failure, Step, host};
use napi::{Env, bindgen_prelude::*};
use napi_derive::napi;

use crate::{
    authorizer::{parse, shown},
    errors::{Thrown, invalid, raise, thrown},
    runtime::{Job, promise},
    scheme::having_said,
};

const SEND: u32 = 0;
const WAIT: u32 = 1;
const NEED_BODY: u32 = 2;
const RETURN: u32 = 3;
const FAIL: u32 = 4;

/// One request on its way. None while it is waited for elsewhere, and once closed.
#[napi]
pub struct NativeAttempt(Arc<Mutex<Option<keyswap::Attempt>>>);

impl NativeAttempt {
    pub(crate) fn new(attempt: keyswap::Attempt) -> Self {
        Self(Arc::new(Mutex::new(Some(attempt))))
    }

    fn with<T>(&self, use_it: impl FnOnce(&mut keyswap::Attempt) -> Result<T>) -> Result<T> {
        match &mut *lock(&self.0) {
            Some(attempt) => use_it(attempt),
            None => Err(invalid("the attempt is closed, or waited for")),
        }
    }
}

#[napi]
impl NativeAttempt {
    /// What to do next.
    #[napi(getter)]
    pub fn step(&self) -> Result<u32> {
        self.with(|attempt| Ok(number(attempt.step())))
    }

    /// The error of FAIL.
    #[napi(getter)]
    pub fn error(&self) -> Result<Option<Thrown>> {
        self.with(|attempt| match attempt.step() {
            Step::Fail(error) => Ok(Some(thrown(error))),
            _ => Ok(None),
        })
    }

    /// How many bytes NEED_BODY asks for.
    #[napi(getter)]
    pub fn body_limit(&self) -> Result<u32> {
        self.with(|attempt| match attempt.step() {
            Step::NeedBody { max, .. } => Ok(*max as u32),
            _ => Ok(0),
        })
    }

    /// Whether the last response was a rejection.
    #[napi(getter)]
    pub fn is_rejected(&self) -> Result<bool> {
        self.with(|attempt| Ok(attempt.is_rejected()))
    }

    /// Why a wait for a fresh credential brought nothing.
    #[napi(getter)]
    pub fn cause(&self) -> Result<Option<Thrown>> {
        self.with(|attempt| Ok(attempt.cause().map(thrown)))
    }

    /// What to add to the request for this hop, by turns a name and its value, in the clear. For an
    /// origin that is not allowed, nothing.
    #[napi]
    pub fn apply(&self, method: String, url: String) -> Result<Vec<String>> {
        let url = parse(&url)?;
        let method = method_of(&method)?;
        self.with(|attempt| {
            let patch = attempt.apply(&method, &url, &HeaderMap::new(), None);
            patch.map(|patch| shown(&patch)).map_err(|error| raise(&error))
        })
    }

    /// The response of this hop has come: its status, its headers by turns, the body that NEED_BODY asked
    /// for, and what the program's function said. Returns the next step.
    #[napi]
    pub fn response(
        &self,
        status: u32,
        headers: Vec<String>,
        body: Option<Uint8Array>,
        said: Option<String>,
    ) -> Result<u32> {
        let status =
            u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok());
        let status = status.ok_or_else(|| invalid("not an HTTP status"))?;
        let headers = header_map(&headers);
        let said = said.as_deref().and_then(host::verdict);
        self.with(|attempt| {
            let body = body.as_ref().map(|body| body.as_ref());
            Ok(having_said(said, || number(attempt.response(status, &headers, body))))
        })
    }

    /// No response came: `connect`, `timeout`, or anything else.
    #[napi]
    pub fn failed(&self, failure: String) -> Result<u32> {
        let failure = match failure.as_str() {
            "connect" => Failure::Connect,
            "timeout" => Failure::Timeout,
            _ => Failure::Other,
        };
        self.with(|attempt| Ok(number(attempt.failed(failure))))
    }

    /// Waits as WAIT says; at once, if the step is another. Settles with the next step.
    #[napi(ts_return_type = "Promise<unknown>")]
    pub fn wait<'env>(&self, env: &'env Env, job: &Job) -> Result<Object<'env>> {
        let (state, taken) = (self.0.clone(), lock(&self.0).take());
        let Some(mut attempt) = taken else {
            return Err(invalid("the attempt is closed, or waited for"));
        };
        let work = async move {
            let step = number(attempt.wait().await);
            *lock(&state) = Some(attempt);
            Ok(step)
        };
        promise(env, Some(job), work, |_, step| Ok(step))
    }

    /// Gives back what it holds. It may be called at any time, and again.
    #[napi]
    pub fn close(&self) {
        lock(&self.0).take();
    }
}

fn number(step: &Step) -> u32 {
    match step {
        Step::Send => SEND,
        Step::Wait => WAIT,
        Step::NeedBody { .. } => NEED_BODY,
        Step::Fail(_) => FAIL,
        _ => RETURN,
    }
}

fn lock<T>(slot: &Mutex<T>) -> MutexGuard<'_, T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn method_of(name: &str) -> Result<Method> {
    Method::from_bytes(name.as_bytes()).map_err(|_| invalid("not the name of an HTTP method"))
}

/// Headers as another library has them. What is no header is passed over: it cannot be sent either.
pub(crate) fn header_map(turns: &[String]) -> HeaderMap {
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
