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
    UnsignedRequest, Verdict, function_failed, header_pairs, signature_failed,
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

/// A function that judges responses.
pub(crate) struct JsClassifier(pub(crate) Queue<Judging>);

impl ForeignClassifier for JsClassifier {
    fn judge(&self, response: Judged) -> Option<Verdict> {
        self.0.ask(|tell| Judging { response, tell }).flatten()
    }
}

/// A response to be judged.
#[napi]
pub struct Judging {
    response: Judged,
    tell: Tell<Option<Verdict>>,
}

#[napi]
impl Judging {
    /// The status.
    #[napi(getter)]
    pub fn status(&self) -> u16 {
        self.response.status
    }

    /// The headers: a name, its value, and so on.
    #[napi(getter)]
    pub fn headers(&self) -> Vec<String> {
        flat(&self.response.headers)
    }

    /// The beginning of the body, once it was asked for.
    #[napi(getter)]
    pub fn body(&self) -> Option<Buffer> {
        self.response.body.clone().map(Buffer::from)
    }

    /// What the function says.
    #[napi]
    pub fn said(&self, verdict: String) {
        self.tell.tell(keyswap::host::verdict(&verdict));
    }
}

/// A function that signs requests.
pub(crate) struct JsSigner(pub(crate) Queue<Signing>);

impl ForeignSign for JsSigner {
    fn sign(
        &self,
        credential: Arc<keyswap::Credential>,
        request: UnsignedRequest,
    ) -> std::result::Result<Signature, Error> {
        let outcome = self.0.ask(|tell| Signing { credential, request, tell });
        let late = || Err(signature_failed("it gave no answer in time"));
        outcome.unwrap_or_else(late)
    }
}

/// A request to be signed.
#[napi]
pub struct Signing {
    credential: Arc<keyswap::Credential>,
    request: UnsignedRequest,
    tell: Tell<std::result::Result<Signature, Error>>,
}

#[napi]
impl Signing {
    /// The credential to sign it with.
    #[napi(getter)]
    pub fn credential(&self) -> NativeCredential {
        NativeCredential(self.credential.clone())
    }

    /// The method.
    #[napi(getter)]
    pub fn method(&self) -> &str {
        &self.request.method
    }

    /// The whole URL.
    #[napi(getter)]
    pub fn url(&self) -> &str {
        &self.request.url
    }

    /// The headers: a name, its value, and so on.
    #[napi(getter)]
    pub fn headers(&self) -> Vec<String> {
        flat(&self.request.headers)
    }

    /// The body; none if there is none, or if it is a stream.
    #[napi(getter)]
    pub fn body(&self) -> Option<Buffer> {
        self.request.body.clone().map(Buffer::from)
    }

    /// The time, in milliseconds since 1970.
    #[napi(getter)]
    pub fn now(&self) -> f64 {
        self.request.now_ms as f64
    }

    /// What the function adds: names and values.
    #[napi]
    pub fn signed(&self, headers: Vec<String>, query: Vec<String>) {
        self.tell.tell(Ok(signature(&headers, &query)));
    }

    /// The function failed: what it did, without its words.
    #[napi]
    pub fn failed(&self, what: String) {
        self.tell.tell(Err(signature_failed(&what)));
    }
}

/// A signature that is made where the attempt is driven: the core calls nobody.
pub(crate) struct Elsewhere;

impl ForeignSign for Elsewhere {
    fn sign(
        &self,
        _: Arc<keyswap::Credential>,
        _: UnsignedRequest,
    ) -> std::result::Result<Signature, Error> {
        Err(signature_failed("it is called by the attempt"))
    }
}

pub(crate) fn signature(headers: &[String], query: &[String]) -> Signature {
    let owned = |(name, value): (&String, &String)| (name.clone(), value.clone());
    Signature {
        headers: header_pairs(headers).map(owned).collect(),
        query: header_pairs(query).map(owned).collect(),
    }
}

pub(crate) fn flat(pairs: &[(String, String)]) -> Vec<String> {
    pairs.iter().flat_map(|(name, value)| [name.clone(), value.clone()]).collect()
}
