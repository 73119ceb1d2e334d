//! A program's own functions, called on the thread of JavaScript that they belong to.
//!
//! A call is queued and never holds the event loop: a process that has nothing else to do ends, and the
//! function is not called any more.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use keyswap_host::{
    Error, ErrorKind, ForeignClassifier, ForeignFunction, ForeignSign, Judged, Pending, Signature,
    UnsignedRequest, Verdict, function_failed, signature_failed,
};
use napi::{
    Status,
    bindgen_prelude::{Function as JsFunction, *},
    threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode::NonBlocking},
};
use napi_derive::napi;
use tokio::sync::oneshot;

use crate::credential::NativeCredential;

/// How long a function of the program may take where the core waits for it on a thread of its own.
const PATIENCE: Duration = Duration::from_secs(5);

/// A function of JavaScript that can be called from any thread, with one value.
pub(crate) struct Queue<T: JsValuesTupleIntoVec + Send + 'static>(
    Arc<ThreadsafeFunction<T, (), T, Status, false, true>>,
);

impl<T: JsValuesTupleIntoVec + Send + 'static> Queue<T> {
    pub(crate) fn new(function: &JsFunction<'_, T, ()>) -> Result<Self> {
        let queue = function.build_threadsafe_function::<T>();
        queue.callee_handled::<false>().weak::<true>().build().map(Arc::new).map(Self)
    }

    /// Whether its thread is still there.
    pub(crate) fn call(&self, value: T) -> bool {
        self.0.call(value, NonBlocking) == Status::Ok
    }

    /// Calls it, and waits for its answer, on a thread that may block.
    fn ask<A>(&self, make: impl FnOnce(Tell<A>) -> T) -> Option<A> {
        let (tell, told) = oneshot::channel();
        if !self.call(make(Tell(Mutex::new(Some(tell))))) {
            return None;
        }
        let limited = async move { tokio::time::timeout(PATIENCE, told).await };
        tokio::runtime::Handle::try_current().ok()?.block_on(limited).ok()?.ok()
    }
}

/// Where an answer goes, once.
struct Tell<A>(Mutex<Option<oneshot::Sender<A>>>);

impl<A> Tell<A> {
    fn tell(&self, answer: A) {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        taken.map(|tell| tell.send(answer));
    }
}

/// A source, or a bootstrap credential.
pub(crate) struct JsSource(pub(crate) Queue<Answer>);

impl ForeignFunction for JsSource {
    fn begin(&self, answer: keyswap_host::Answer) -> std::result::Result<Pending, Error> {
        if self.0.call(Answer(answer)) {
            return Ok(Box::new(()));
        }
        let what = "the thread of JavaScript that the function belongs to has ended";
        Err(Error::new(ErrorKind::SourceFailed, what))
    }
}

/// Where JavaScript puts what the function returned, once.
#[napi]
pub struct Answer(keyswap_host::Answer);

#[napi]
impl Answer {
    /// The function returned this.
    #[napi]
    pub fn returned(&self, text: String) {
        self.0.settle(Ok(text.into()));
    }

    /// The function failed: what it did, without its words, which may hold anything.
    #[napi]
    pub fn failed(&self, what: String) {
        self.0.settle(Err(function_failed(&what)));
    }
}

/// A function that judges responses: of where the verdict goes, the status, the headers by turns, and the beginning of
/// the body, once it was asked for.
pub(crate) struct JsClassifier(pub(crate) Queue<Judging>);

pub(crate) type Judging = FnArgs<(Judgement, u16, Vec<String>, Option<Buffer>)>;

impl ForeignClassifier for JsClassifier {
    fn judge(&self, response: Judged) -> Option<Verdict> {
        let Judged { status, headers, body, .. } = response;
        let told = |tell| (Judgement(tell), status, flat(&headers), body.map(Buffer::from)).into();
        self.0.ask(told).flatten()
    }
}

/// Where a verdict goes.
#[napi]
pub struct Judgement(Tell<Option<Verdict>>);

#[napi]
impl Judgement {
    /// What the function says.
    #[napi]
    pub fn said(&self, verdict: String) {
        self.0.tell(keyswap::host::verdict(&verdict));
    }
}

/// A function that signs requests: of where the signature goes, the credential, and the request.
pub(crate) struct JsSigner(pub(crate) Queue<Signing>);

pub(crate) type Signing = FnArgs<(Signed, NativeCredential, Unsigned)>;

impl ForeignSign for JsSigner {
    fn sign(
        &self,
        credential: Arc<keyswap::Credential>,
        request: UnsignedRequest,
    ) -> std::result::Result<Signature, Error> {
        let UnsignedRequest { method, url, headers, body, now_ms, .. } = request;
        let (headers, body) = (flat(&headers), body.map(Buffer::from));
        let unsigned = Unsigned { method, url, headers, body, now: now_ms as f64 };
        let told = |tell| (Signed(tell), NativeCredential(credential), unsigned).into();
        let late = || Err(signature_failed("it gave no answer in time"));
        self.0.ask(told).unwrap_or_else(late)
    }
}

/// A request to be signed.
#[napi(object, object_from_js = false)]
pub struct Unsigned {
    /// The method.
    pub method: String,
    /// The whole URL.
    pub url: String,
    /// The headers: a name, its value, and so on.
    pub headers: Vec<String>,
    /// The body; none if there is none, or if it is a stream.
    pub body: Option<Buffer>,
    /// The time, in milliseconds since 1970.
    pub now: f64,
}

/// Where a signature goes.
#[napi]
pub struct Signed(Tell<std::result::Result<Signature, Error>>);

#[napi]
impl Signed {
    /// What the function adds, names and values by turns, or what it did if it failed, without its words.
    #[napi]
    pub fn made(&self, headers: Vec<String>, query: Vec<String>, failed: Option<String>) {
        self.0.tell(signature(&headers, &query, failed));
    }
}

pub(crate) fn signature(
    headers: &[String],
    query: &[String],
    failed: Option<String>,
) -> std::result::Result<Signature, Error> {
    failed.map_or_else(
        || Ok(Signature::from_raw(headers, query)),
        |what| Err(signature_failed(&what)),
    )
}

pub(crate) fn flat(pairs: &[(String, String)]) -> Vec<String> {
    pairs.iter().flat_map(|(name, value)| [name.clone(), value.clone()]).collect()
}
