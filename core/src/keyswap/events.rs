//! What observers of a handle receive.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll, Waker},
};

use futures_core::Stream;
use tokio::sync::broadcast::{self, error::RecvError};

use crate::event::Event;

/// The events of one handle, from the time it was made. Bounded: an observer that is too slow is told
/// how many it [missed](Event::Lagged), and delays nobody. It ends once the handle is closed or dropped.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), keyswap::Error> {
/// # use keyswap::{Credential, CredentialSet, KeySwap, source};
/// # let vault = || source::from_fn(|| async { Ok(CredentialSet::new(Credential::new("k2", "material"))) });
/// use futures_util::StreamExt;
/// let keys = KeySwap::follow(vault()).start()?;
/// let names = keys.events().map(|event| event.name()).take(2);
/// assert_eq!(names.collect::<Vec<_>>().await, ["fetched", "swapped"]);
/// # Ok(()) }
/// ```
#[must_use = "events are received only by those who ask for them"]
pub struct Events(Option<Receiving>);

/// The receiver, on its way to the next event. It comes back with that.
type Receiving = Pin<Box<dyn Future<Output = (Result<Event, RecvError>, Receiver)> + Send + Sync>>;
type Receiver = broadcast::Receiver<Event>;

impl Events {
    pub(super) fn new(receiver: Option<Receiver>) -> Self {
        Self(receiver.map(receive))
    }

    /// The next event; none once the handle is closed or dropped. Nothing is lost if it is dropped before that.
    pub async fn next(&mut self) -> Option<Event> {
        poll_fn(|context| self.poll(context)).await
    }

    /// An event that is there already.
    pub fn try_next(&mut self) -> Option<Event> {
        // Whether one is there must not depend on what else the task has done since it last gave way.
        let mut ready = tokio::task::unconstrained(poll_fn(|context| self.poll(context)));
        match Pin::new(&mut ready).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(event) => event,
            Poll::Pending => None,
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        let Some(receiving) = &mut self.0 else { return Poll::Ready(None) };
        let Poll::Ready((received, receiver)) = receiving.as_mut().poll(context) else {
            return Poll::Pending;
        };
        let event = match received {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(missed)) => Some(Event::Lagged { missed }),
            Err(RecvError::Closed) => None,
        };
        self.0 = event.as_ref().map(|_| receive(receiver));
        Poll::Ready(event)
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.poll(context)
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("ended", &self.0.is_none()).finish_non_exhaustive()
    }
}

fn receive(mut receiver: Receiver) -> Receiving {
    Box::pin(async move { (receiver.recv().await, receiver) })
}
