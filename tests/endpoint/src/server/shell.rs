//! Accepting connections and putting answers on them, or breaking them off.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

use super::shared::Shared;
use crate::world::Planned;

/// The answer to a request, or that there is none.
pub(super) type Answer = Result<Response<Body>, Dropped>;

/// The connection is to be closed without an answer. For hyper it is an error of the service, which
/// is just what makes it close the connection at once.
#[derive(Debug)]
pub(super) struct Dropped;

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection is dropped, as planned")
    }
}

impl std::error::Error for Dropped {}

/// Serves a listener until the server is stopped.
pub(super) fn serve<F, A>(
    listener: TcpListener,
    shared: Arc<Shared>,
    mut stopped: watch::Receiver<()>,
    answer: F,
) where
    F: Fn(Arc<Shared>, Request<Incoming>) -> A + Copy + Send + Sync + 'static,
    A: Future<Output = Answer> + Send + 'static,
{
    tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stopped.changed() => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    let one = connection(stream, Arc::clone(&shared), answer);
                    let mut stopped = stopped.clone();
                    tokio::spawn(async move {
                        tokio::select! {
                            biased;
                            _ = stopped.changed() => {}
                            () = one => {}
                        }
                    });
                }
                // Too many open files, for one: others must be closed first.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    });
}

async fn connection<F, A>(stream: TcpStream, shared: Arc<Shared>, answer: F)
where
    F: Fn(Arc<Shared>, Request<Incoming>) -> A,
    A: Future<Output = Answer>,
{
    // Without this, small answers on loopback wait for an acknowledgement. It is only slower if not.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| answer(Arc::clone(&shared), request));
    // An error is a client that went away, or a connection that was broken off on purpose.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// Waits as planned, then answers, or breaks off.
pub(super) async fn perform<T>(
    shared: Arc<Shared>,
    planned: Planned<T>,
    write: impl FnOnce(T) -> Response<Bytes>,
) -> Answer {
    match planned {
        Planned::Answer { after_ms, reply } => {
            pause(after_ms).await;
            Ok(write(reply).map(Body::whole))
        }
        Planned::Torn { after_ms, reply } => {
            pause(after_ms).await;
            Ok(write(reply).map(Body::torn))
        }
        Planned::Dropped => Err(Dropped),
        Planned::Hang => {
            let gone = shared.world_gone();
            drop(shared);
            gone.await;
            Err(Dropped)
        }
    }
}

pub(super) async fn pause(ms: u64) {
    if ms > 0 {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

/// A body that is whole, or ends half-way, or comes bit by bit.
#[derive(Debug)]
pub(super) enum Body {
    Sized {
        data: Option<Bytes>,
        /// What the head says about the length.
        length: u64,
        /// Turns to wait before breaking off, so that what was written is on its way.
        turns: u8,
    },
    /// An error breaks the connection off.
    Streamed(mpsc::Receiver<io::Result<Bytes>>),
}

impl Body {
    pub(super) fn whole(data: Bytes) -> Self {
        let length = data.len() as u64;
        Self::Sized { data: Some(data).filter(|data| !data.is_empty()), length, turns: 0 }
    }

    fn torn(data: Bytes) -> Self {
        let length = data.len() as u64;
        let half = data.slice(..data.len() / 2);
        Self::Sized { data: Some(half), length, turns: 2 }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let (data, turns) = match &mut *self {
            Self::Sized { data, turns, .. } => (data, turns),
            Self::Streamed(bits) => {
                return bits.poll_recv(context).map(|bit| bit.map(|bit| bit.map(Frame::data)));
            }
        };
        if let Some(data) = data.take() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        match turns {
            0 => Poll::Ready(None),
            1 => Poll::Ready(Some(Err(io::Error::other("the body is torn, as planned")))),
            _ => {
                *turns -= 1;
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Sized { data: None, turns: 0, .. })
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            // It is asked once, before anything was taken.
            Self::Sized { length, .. } => SizeHint::with_exact(*length),
            Self::Streamed(_) => SizeHint::default(),
        }
    }
}

/// A response of our own: its parts are all valid, so building it cannot fail.
pub(super) fn response(
    status: u16,
    headers: &[(&'static str, &str)],
    body: Bytes,
) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    for (name, value) in headers {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(*name, value);
        }
    }
    response
}

/// Reads a body to its end and throws it away. A connection is kept alive only then.
pub(super) async fn drain(mut body: Incoming) -> Result<(), Dropped> {
    use http_body_util::BodyExt;
    while let Some(frame) = body.frame().await {
        frame.map_err(|_| Dropped)?;
    }
    Ok(())
}

/// Reads a small body.
pub(super) async fn collect(body: Incoming) -> Result<Bytes, Dropped> {
    use http_body_util::{BodyExt, Limited};
    const MOST: usize = 4 * 1024 * 1024;
    let collected = Limited::new(body, MOST).collect().await.map_err(|_| Dropped)?;
    Ok(collected.to_bytes())
}
