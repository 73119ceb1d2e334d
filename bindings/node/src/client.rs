//! The HTTP client: requests are sent, through any rotation, by the core.

use std::sync::Arc;

use bytes::Bytes;
use keyswap_host::{
    Body, Client, Foreign, Keys, Reply, Request, RequestBody, options::from_json, owned_pairs,
};
use napi::{
    Env,
    bindgen_prelude::{Function as JsFunction, *},
};
use napi_derive::napi;

use crate::{
    errors::{Thrown, thrown, told},
    foreign::{JsClassifier, JsSigner, Judging, Queue, Signing, flat},
    keys::NativeKeySwap,
    runtime::{self, Job, promise},
};

/// A request as JavaScript hands it over.
#[napi(object, object_to_js = false)]
pub struct Order {
    /// The method.
    pub method: String,
    /// The URL, or a path below the base.
    pub url: String,
    /// Raw headers.
    pub headers: Vec<String>,
    /// In seconds; none is no limit.
    pub timeout: Option<f64>,
    /// The name of further keys.
    pub keys: Option<String>,
    /// What the credential must be good for.
    pub scopes: Vec<String>,
    /// False to be sent once.
    pub resend: bool,
}

/// Sends requests with credentials.
#[napi]
pub struct NativeClient(Client);

#[napi]
impl NativeClient {
    /// Options are JSON; the functions are called on the thread that they belong to.
    #[napi]
    pub fn of(
        keys: &NativeKeySwap,
        authorizer: String,
        options: String,
        names: Vec<String>,
        named: Vec<ClassInstance<'_, NativeKeySwap>>,
        classifier: Option<JsFunction<'_, Judging, ()>>,
        signer: Option<JsFunction<'_, Signing, ()>>,
    ) -> Result<Either<NativeClient, Thrown>> {
        let mut foreign = Foreign::default();
        if let Some(classifier) = &classifier {
            foreign.classifier = Some(Arc::new(JsClassifier(Queue::new(classifier)?)));
        }
        if let Some(signer) = &signer {
            foreign.sign = Some(Arc::new(JsSigner(Queue::new(signer)?)));
        }
        let named = names.into_iter().zip(named.iter().map(|keys| keys.keys.clone()));
        let named: Vec<(String, Keys)> = named.collect();
        // The client of HTTP wants to be made where its runtime is.
        let runtime = runtime::handle()?;
        let _entered = runtime.enter();
        let made = || {
            let (authorizer, options) = (from_json(&authorizer)?, from_json(&options)?);
            Client::new(&keys.keys, &authorizer, &options, &named, &foreign)
        };
        Ok(told(made().map(Self)))
    }

    /// Sends a request; settles with its response, once the head is there. A body is whole, or a stream.
    #[napi(ts_return_type = "Promise<unknown>")]
    pub fn send<'env>(
        &self,
        env: &'env Env,
        order: Order,
        whole: Option<Uint8Array>,
        stream: Option<&NativeBody>,
        job: &Job,
    ) -> Result<Object<'env>> {
        let sending = self.0.send(Request {
            method: order.method,
            url: order.url,
            headers: owned_pairs(&order.headers),
            body: match (whole, stream) {
                (Some(body), _) => RequestBody::Whole(Bytes::copy_from_slice(&body)),
                (None, Some(body)) => RequestBody::Stream(body.0.clone()),
                (None, None) => RequestBody::None,
            },
            timeout: order.timeout,
            no_timeout: order.timeout.is_none(),
            keys: order.keys,
            scopes: order.scopes,
            no_resend: !order.resend,
            ..Request::default()
        });
        promise(env, Some(job), async { sending?.await }, NativeReply)
    }
}

/// What the API answered; its body is on its way.
#[napi]
pub struct NativeReply(Reply);

#[napi]
impl NativeReply {
    /// The HTTP status.
    #[napi(getter)]
    pub fn status(&self) -> u16 {
        self.0.status()
    }

    /// Raw headers.
    #[napi(getter)]
    pub fn headers(&self) -> Vec<String> {
        flat(self.0.headers())
    }

    /// After redirects, and without what a scheme added.
    #[napi(getter)]
    pub fn url(&self) -> &str {
        self.0.url()
    }

    /// The error that a status of 400 or more is.
    #[napi(getter)]
    pub fn error(&self) -> Option<Thrown> {
        self.0.error().map(thrown)
    }

    /// Why a wait for a fresh credential brought nothing.
    #[napi(getter)]
    pub fn cause(&self) -> Option<Thrown> {
        self.0.cause().map(thrown)
    }

    /// The next part of the body; nothing at its end.
    #[napi(ts_return_type = "Promise<unknown>")]
    pub fn next<'env>(&self, env: &'env Env, job: &Job) -> Result<Object<'env>> {
        promise(env, Some(job), self.0.next(), |part| part.map(|part| Buffer::from(&part[..])))
    }

    /// The rest of the body.
    #[napi(ts_return_type = "Promise<unknown>")]
    pub fn rest<'env>(&self, env: &'env Env, job: &Job) -> Result<Object<'env>> {
        promise(env, Some(job), self.0.rest(), |whole| Buffer::from(&whole[..]))
    }

    /// Leaves the rest of the body unread.
    #[napi]
    pub fn close(&self) {
        self.0.close();
    }
}

/// A body that is sent as it comes, once. Unless it is closed as whole it breaks the request.
#[napi]
pub struct NativeBody(Body);

#[napi]
impl NativeBody {
    /// A body to come.
    #[napi(constructor)]
    #[allow(clippy::new_without_default, reason = "it is made by JavaScript")]
    pub fn new() -> Self {
        Self(Body::new())
    }

    /// Hands over one part, once there is room. Settles with false if nobody wants more.
    #[napi(ts_return_type = "Promise<unknown>")]
    pub fn send<'env>(&self, env: &'env Env, part: Uint8Array) -> Result<Object<'env>> {
        let sending = self.0.send(Bytes::copy_from_slice(&part));
        promise(env, None, async { Ok(sending.await) }, |wanted| wanted)
    }

    /// The body ends here: whole, or broken off. Only the first call counts.
    #[napi]
    pub fn close(&self, is_whole: bool) {
        self.0.close(is_whole);
    }
}

/// Bytes of a rejection that are read to keep its connection, and milliseconds that this may take.
#[napi]
pub(crate) fn small_and_brief() -> Vec<u32> {
    vec![keyswap_host::SMALL as u32, keyswap_host::BRIEF.as_millis() as u32]
}
