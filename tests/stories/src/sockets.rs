//! A story over real sockets: the handle and the client as programs use them, against the embedded
//! endpoint on loopback.
//!
//! # Theory of operation
//!
//! The endpoint knows the story and makes its steps happen by its own clock; callers are tasks that
//! keep to the times of the story as well as the machine lets them. A story is written so that this is
//! enough: what it counts is decided by the order of events that lie apart, not by luck.

use std::{
    cell::RefCell,
    mem,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use keyswap::{Events, KeySwap, Source, source};
use keyswap_endpoint::{
    server::{Endpoint, Running},
    story::{Caller, Story},
};
use tokio::task::{JoinSet, LocalSet};

pub use crate::sender::Through;
use crate::{
    PlayError, Report,
    lateness::Heartbeat,
    sender::Sender,
    setup::{ClientSetup, Setup, Start},
    tally::Tally,
};

/// Turns of the runtime in which what was under way at the end gets done.
const LAST_TURNS: u32 = 16;

/// Plays a story in a runtime of one thread, on the thread that calls.
///
/// # Errors
/// When it cannot be played. That its counts do not come out is told in the report.
pub fn play(story: &Story, through: Through) -> Result<Report, PlayError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, run(story, through))
}

type Count = Rc<RefCell<Tally>>;

async fn run(story: &Story, through: Through) -> Result<Report, PlayError> {
    let Setup { policy, client: setup } = Setup::of(story)?;
    let endpoint = Endpoint::builder().start().await?;
    endpoint.load(story.clone())?;
    if setup.start == Start::Cold {
        endpoint.begin();
    }
    let keys = KeySwap::follow(source(&endpoint, &setup)?).policy(policy).start()?;
    // Nothing was awaited since: no event can have been missed.
    let mut events = keys.events();
    let sender = Sender::new(through, &keys, endpoint.api_url(), &setup)?;
    if setup.start == Start::Ready {
        keys.ready().await?;
        // What was told before the client was ready is no part of the story.
        while events.try_next().is_some() {}
        endpoint.begin();
    }
    let begin = Instant::now();
    let heartbeat = Heartbeat::start();
    let count = Count::default();
    let told = tokio::task::spawn_local(listen(events, count.clone()));
    let mut callers = JoinSet::new();
    for caller in &story.callers {
        for _ in 0..caller.count {
            callers.spawn_local(call(sender.clone(), caller.clone(), begin, count.clone()));
        }
    }
    for hint in setup.hints {
        let keys = keys.clone();
        callers.spawn_local(async move {
            until(begin, hint.at).await;
            keys.hint(source::Hint::new().generation(hint.generation).immediate(true));
        });
    }
    until(begin, story.run_ms).await;
    while callers.join_next().await.is_some() {}
    for _ in 0..LAST_TURNS {
        tokio::task::yield_now().await;
    }
    told.abort();
    let late = heartbeat.stop();
    let stats = keys.stats();
    let counted =
        mem::take(&mut *count.borrow_mut()).close(stats.in_use.as_deref(), stats.generation);
    let verdict = endpoint.finish(counted);
    Ok(Report {
        counted: verdict.counters,
        mismatches: verdict.mismatches,
        errors: verdict.errors,
        late,
    })
}

/// The endpoint as the story wants it followed, with all its regions.
fn source(endpoint: &Running, setup: &ClientSetup) -> Result<Arc<dyn Source>, keyswap::Error> {
    let first = region(endpoint.set_url().as_str(), endpoint, setup)?;
    let urls = endpoint.set_urls();
    let Some((second, more)) = urls[1..].split_first() else { return Ok(Arc::new(first)) };
    let mut regions = first.or(region(second, endpoint, setup)?);
    for url in more {
        regions = regions.or(region(url, endpoint, setup)?);
    }
    Ok(Arc::new(regions))
}

fn region(
    url: &str,
    endpoint: &Running,
    setup: &ClientSetup,
) -> Result<source::Endpoint, keyswap::Error> {
    let mut source = source::Endpoint::new(url)?.bootstrap(endpoint.bootstrap());
    if !setup.push {
        source = source.no_push();
    }
    if let Some(ms) = setup.heartbeat_ms {
        source = source.heartbeat(Duration::from_millis(ms));
    }
    if setup.signed_by_endpoint {
        source = source.signed_by(&endpoint.public_key())?;
    }
    Ok(source)
}

async fn listen(mut events: Events, count: Count) {
    while let Some(event) = events.next().await {
        count.borrow_mut().told(event.name());
    }
}

async fn call(sender: Sender, caller: Caller, begin: Instant, count: Count) {
    for nth in 0..caller.repeat {
        until(begin, caller.at + nth * caller.every).await;
        count.borrow_mut().requested();
        let request = sender.send(&caller);
        let outcome = match caller.cancel_after_ms {
            None => request.await,
            Some(patience) => {
                match tokio::time::timeout(Duration::from_millis(patience), request).await {
                    Ok(outcome) => outcome,
                    Err(_) => {
                        count.borrow_mut().cancelled();
                        continue;
                    }
                }
            }
        };
        match outcome {
            Ok(status) => count.borrow_mut().answered(status),
            Err(code) => count.borrow_mut().failed_with(code),
        }
    }
}

async fn until(begin: Instant, at: u64) {
    tokio::time::sleep_until((begin + Duration::from_millis(at)).into()).await;
}
