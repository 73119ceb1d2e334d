//! Bodies in pieces: what a client sends, and what the API answered.

use std::{
    fmt,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use keyswap::{Error, ErrorKind, Response};
use tokio::sync::mpsc;

use crate::{error::invalid, keys::within, text::pairs_of};

/// A body that is sent as it comes, once. Unless it is closed as whole it breaks the request: half a body must not be
/// taken for a whole one. Clones are the same body.
#[derive(Clone)]
pub struct Body(Arc<Pipe>);

struct Pipe {
    parts: Mutex<Option<mpsc::Sender<Bytes>>>,
    taken: Mutex<Option<mpsc::Receiver<Bytes>>>,
    is_whole: AtomicBool,
}

impl Body {
    /// A body to come.
    #[expect(clippy::new_without_default, reason = "a body that nobody fills is no default")]
    pub fn new() -> Self {
        let (parts, taken) = mpsc::channel(1);
        Self(Arc::new(Pipe {
            parts: Mutex::new(Some(parts)),
            taken: Mutex::new(Some(taken)),
            is_whole: AtomicBool::new(false),
        }))
    }

    /// Hands over one part, once there is room. False if nobody wants more.
    pub fn send(&self, part: Bytes) -> impl Future<Output = bool> + Send + 'static + use<> {
        let parts = lock(&self.0.parts).clone();
        async move {
            match parts {
                Some(parts) => parts.send(part).await.is_ok(),
                None => false,
            }
        }
    }

    /// The body ends here: whole, or broken off. Only the first call counts.
    pub fn close(&self, is_whole: bool) {
        // Kept until it is said how the body ends: the reader asks once the last sender is gone.
        let parts = lock(&self.0.parts).take();
        if parts.is_some() {
            self.0.is_whole.store(is_whole, Ordering::Release);
        }
    }

    pub(crate) fn stream(
        &self,
    ) -> Result<impl Stream<Item = Result<Bytes, Error>> + Send + 'static + use<>, Error> {
        let parts = lock(&self.0.taken).take();
        let parts = parts.ok_or_else(|| invalid("a stream is sent only once"))?;
        let pipe = self.0.clone();
        Ok(futures_util::stream::unfold(Some(parts), move |parts| {
            let pipe = pipe.clone();
            async move {
                let mut parts = parts?;
                match parts.recv().await {
                    Some(part) => Some((Ok(part), Some(parts))),
                    None if pipe.is_whole.load(Ordering::Acquire) => None,
                    None => {
                        let what = "the body broke off";
                        Some((Err(Error::new(ErrorKind::Transport, what)), None))
                    }
                }
            }
        }))
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Body(..)")
    }
}

/// What the API answered; its body is on its way. Clones are the same answer.
#[derive(Clone)]
pub struct Reply(Arc<Arrived>);

struct Arrived {
    status: u16,
    headers: Vec<(String, String)>,
    url: String,
    error: Option<Error>,
    cause: Option<Error>,
    timeout: Option<Duration>,
    /// While nobody reads from it.
    body: Mutex<Option<Response>>,
}

impl Reply {
    pub(crate) fn new(response: Response, timeout: Option<Duration>) -> Self {
        Self(Arc::new(Arrived {
            status: response.status().as_u16(),
            headers: pairs_of(response.headers()),
            url: response.url().to_string(),
            error: response.status_error(),
            cause: response.cause().cloned(),
            timeout,
            body: Mutex::new(Some(response)),
        }))
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.0.status
    }

    /// The headers, with names in lower case.
    pub fn headers(&self) -> &[(String, String)] {
        &self.0.headers
    }

    /// The URL that answered, after redirects, and without what a scheme added.
    pub fn url(&self) -> &str {
        &self.0.url
    }

    /// The error that a status of 400 or more is.
    pub fn error(&self) -> Option<&Error> {
        self.0.error.as_ref()
    }

    /// Why a wait for a fresh credential brought nothing.
    pub fn cause(&self) -> Option<&Error> {
        self.0.cause.as_ref()
    }

    /// The next part of the body; none at its end.
    pub fn next(
        &self,
    ) -> impl Future<Output = Result<Option<Bytes>, Error>> + Send + 'static + use<> {
        let reply = self.0.clone();
        async move {
            // Taken out while it is read: a reader that gives up closes the connection.
            let taken = lock(&reply.body).take();
            let Some(mut response) = taken else { return Ok(None) };
            let part = reply.read(&mut response).await?;
            if part.is_some() {
                *lock(&reply.body) = Some(response);
            }
            Ok(part)
        }
    }

    /// The rest of the body.
    pub fn rest(&self) -> impl Future<Output = Result<Bytes, Error>> + Send + 'static + use<> {
        let reply = self.0.clone();
        async move {
            let taken = lock(&reply.body).take();
            let Some(mut response) = taken else { return Ok(Bytes::new()) };
            let first = reply.read(&mut response).await?.unwrap_or_default();
            let Some(second) = reply.read(&mut response).await? else { return Ok(first) };
            let mut whole = BytesMut::with_capacity(2 * (first.len() + second.len()));
            whole.extend_from_slice(&first);
            whole.extend_from_slice(&second);
            while let Some(part) = reply.read(&mut response).await? {
                whole.extend_from_slice(&part);
            }
            Ok(whole.freeze())
        }
    }

    /// Leaves the rest of the body unread.
    pub fn close(&self) {
        lock(&self.0.body).take();
    }
}

impl Arrived {
    /// The next part, which may take as long as a response may.
    async fn read(&self, response: &mut Response) -> Result<Option<Bytes>, Error> {
        let what = |limit| format!("no more of the response's body came within {limit}");
        within(self.timeout, response.chunk(), what).await
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply({})", self.0.status)
    }
}

fn lock<T>(slot: &Mutex<T>) -> MutexGuard<'_, T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use futures_util::{FutureExt, StreamExt};

    use super::*;

    #[test]
    fn a_body_that_ends_whole_never_seems_broken() {
        for _ in 0..10_000 {
            let body = Body::new();
            let mut stream = Box::pin(body.stream().expect("a stream"));
            let reader = thread::spawn(move || {
                // Asked all the time, it may see the end between any two steps of the other thread.
                loop {
                    if let Some(end) = stream.next().now_or_never() {
                        return end.is_none();
                    }
                }
            });
            body.close(true);
            assert!(reader.join().expect("no panic"), "it broke off");
        }
    }
}
