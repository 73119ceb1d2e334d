//! The waiting of level 1: a request that is held, and a stream that is open.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::routes::write;
use super::shared::Shared;
use super::shell::{Answer, Body, Dropped, pause, perform, response};
use crate::world::{
    Asked, EventsRequest, FetchReply, FetchRequest, Opened, Planned, Pushed, Stream,
};

/// Frames that may wait for a listener that does not read.
const UNREAD: usize = 16;

/// Holds a long poll until there is an answer; any other fetch has one at once.
pub(super) async fn hold(
    shared: &Shared,
    request: &FetchRequest<'_>,
) -> Result<Planned<FetchReply>, Dropped> {
    let number = shared.number();
    let mut hold = match shared.with(|world, now| world.ask(now, request)) {
        Asked::At(planned) => return Ok(planned),
        Asked::Held(hold) => hold,
    };
    loop {
        let ask = |world: &mut crate::world::World, now| {
            let planned = world.held(now, request, &mut hold);
            (planned, hold.next_at)
        };
        match shared.watch(number, ask) {
            Some((Some(planned), _)) => return Ok(planned),
            Some((None, pause)) => pause.over().await,
            None => return Err(Dropped),
        }
    }
}

/// Opens a stream of events, or refuses to.
pub(super) async fn listen(shared: Arc<Shared>, request: &EventsRequest<'_>) -> Answer {
    let number = shared.number();
    let planned = match shared.with(|world, now| world.events(now, request)) {
        Planned::Answer { after_ms, reply: Opened::Stream(stream) } => {
            pause(after_ms).await;
            let (out, bits) = mpsc::channel(UNREAD);
            tokio::spawn(feed(shared, number, stream, out));
            let headers = [("content-type", "text/event-stream"), ("cache-control", "no-store")];
            return Ok(response(200, &headers, Bytes::new()).map(|_| Body::Streamed(bits)));
        }
        Planned::Answer { after_ms, reply: Opened::Refused(reply) }
        | Planned::Torn { after_ms, reply: Opened::Refused(reply) } => {
            Planned::Answer { after_ms, reply }
        }
        Planned::Hang => Planned::Hang,
        Planned::Dropped | Planned::Torn { .. } => Planned::Dropped,
    };
    perform(shared, planned, write).await
}

/// Says what there is to say until the listener, the stream or the world is gone.
async fn feed(
    shared: Arc<Shared>,
    number: u64,
    mut stream: Stream,
    out: mpsc::Sender<io::Result<Bytes>>,
) {
    loop {
        let ask = |world: &mut crate::world::World, now| match world.pushed(now, &mut stream) {
            Pushed::Frames { frames, next_at } => (Some(frames), next_at),
            Pushed::Broken => (None, now),
        };
        let Some((Some(frames), pause)) = shared.watch(number, ask) else {
            let _ = out.send(Err(io::Error::other("the stream is broken off, as planned"))).await;
            return;
        };
        for frame in frames {
            // An error is a listener that went away.
            if out.send(Ok(Bytes::from(frame.text()))).await.is_err() {
                return;
            }
        }
        tokio::select! {
            () = out.closed() => return,
            () = pause.over() => {}
        }
    }
}
