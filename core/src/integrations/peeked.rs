//! A body whose beginning was read to judge the response, and is given to the caller all the same.

use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};

/// The body of a response. Unless a [`Classifier`](crate::Classifier) asked to see its beginning, nothing
/// of it was read.
pub struct Peeked<R: Body> {
    /// What was read, in the order in which it came: an error, too, if there was one.
    read: VecDeque<Result<Frame<Bytes>, R::Error>>,
    /// Boxed, so that a body that must not move can be peeked into.
    rest: Pin<Box<R>>,
}

impl<R: Body> Peeked<R> {
    pub(super) fn new(body: R) -> Self {
        Self { read: VecDeque::new(), rest: Box::pin(body) }
    }

    /// Reads at most `max` bytes ahead, or a little more if they come together.
    pub(super) async fn peek(&mut self, max: usize) -> Bytes {
        let mut seen = BytesMut::new();
        while seen.len() < max {
            let Some(frame) = poll_fn(|context| self.poll_rest(context)).await else { break };
            // A connection that breaks here tells the caller when it reads on.
            let is_broken = frame.is_err();
            if let Some(data) = frame.as_ref().ok().and_then(Frame::data_ref) {
                seen.extend_from_slice(data);
            }
            self.read.push_back(frame);
            if is_broken {
                break;
            }
        }
        seen.truncate(max);
        seen.freeze()
    }

    fn poll_rest(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, R::Error>>> {
        let frame = ready!(self.rest.as_mut().poll_frame(context));
        Poll::Ready(frame.map(|frame| {
            frame.map(|frame| frame.map_data(|mut data| data.copy_to_bytes(data.remaining())))
        }))
    }
}

// The body itself is in a box, and what was read is never pinned.
impl<R: Body> Unpin for Peeked<R> {}

impl<R: Body> Body for Peeked<R> {
    type Data = Bytes;
    type Error = R::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, R::Error>>> {
        match self.read.pop_front() {
            Some(frame) => Poll::Ready(Some(frame)),
            None => self.poll_rest(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let frames = self.read.iter().filter_map(|frame| frame.as_ref().ok()?.data_ref());
        let read: usize = frames.map(Bytes::len).sum();
        let (read, rest) = (read as u64, self.rest.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(read));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(read));
        }
        hint
    }
}

impl<R: Body> fmt::Debug for Peeked<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peeked").field("read", &self.read.len()).finish_non_exhaustive()
    }
}
