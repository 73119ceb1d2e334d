//! The push channel of a rotation endpoint: server-sent events, or long polls.
//!
//! # Theory of operation
//!
//! Push makes a fetch come sooner, and does nothing else. Whatever is heard becomes a hint; what has
//! changed is found out by the fetch, with all its rules. So a channel that lies can at worst make this
//! program ask, as often as the engine's floor lets it, and one that is silent or lost costs only time:
//! polling never stops. No event and no long poll's answer is believed, kept or printed; of a long poll's
//! answer, which is full of secrets, not one byte of the body is read.
//!
//! Which channel there is, the sets say (`levels`): events, else long polls, else none until that
//! changes. One that is named and not there (404, 406, a poll that does not wait) is left alone for five
//! minutes. The fetches pass on what they find out, the levels and the newest validator, through
//! [`Known`]; nothing is passed the other way but hints.
//!
//! - The server says its generation when a connection begins, so the first one costs no fetch. After
//!   each further one a fetch is asked for: something may have been missed between the two.
//! - A stream that sends more than there can be to tell (50 events or 64 KiB in a second) is closed, told as
//!   lost once until one works again, and connected anew as rarely as one that fails. What it said in that
//!   second was a hint as well, so what can come of it is bounded.
//! - Silence for longer than the heartbeat is told to observers, once until something is heard again.
//!   It is also the end of a connection that looks open.
//! - Connections are spread by full jitter, grow rarer as they fail, and never come sooner than the
//!   server asked (`Retry-After`, `retry:`). One that lasted as long as a heartbeat counts as good.
//! - It is one future, with one connection and no task of its own: to drop it is to end it. It ends by
//!   itself when its endpoint is dropped.

pub(in crate::source) mod events;
pub(in crate::source) mod plan;

use std::{future::Future, time::Duration};

use http::{Method, header};
use reqwest::Response;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use url::Url;

use self::{
    events::{Events, Heard},
    plan::{Channel, Hearing, Meaning, Plan, hint, meaning},
};
use super::{
    BoxFuture, Hints,
    endpoint_client::{EndpointClient, EndpointRequest, ResponseHead},
};
use crate::{clock::Clock, error::Error, moment::millis};

pub(super) use self::plan::Known;

/// Three of the protocol's pings, which come each 15 s.
pub const HEARTBEAT: Duration = Duration::from_secs(45);
/// How long a long poll asks the server to wait: less than the minute after which proxies give up.
const WAIT: Duration = Duration::from_secs(50);
/// How long a fetch may take to bring what a long poll announced, before the poll is repeated.
const SETTLE: Duration = Duration::from_secs(30);

/// What it takes to follow one endpoint's push channel.
pub(super) struct Push {
    pub(super) client: EndpointClient,
    pub(super) heartbeat: Duration,
    pub(super) known: watch::Receiver<Known>,
    /// Called whenever something is heard.
    pub(super) heard: Box<dyn Fn() + Send>,
}

impl Push {
    /// Follows it until the endpoint is dropped. In a box, so that this stands in a program once, whoever awaits it.
    pub(super) fn follow(self, hints: Hints) -> BoxFuture<'static, ()> {
        let following = Following {
            silence: Silence::new(hints.clone(), self.heartbeat),
            plan: Plan::new(self.client.terms(), fastrand::u64(..)),
            push: self,
            hints,
        };
        Box::pin(following.run())
    }
}

struct Following {
    push: Push,
    hints: Hints,
    plan: Plan,
    silence: Silence,
}

/// How following a channel for a while ended.
enum End {
    /// As it should: look which channel is next.
    Well,
    /// There is no such channel.
    Absent,
    /// The set is gone.
    Revoked,
    /// The connection failed or broke.
    Broken(Option<Duration>),
    /// It was closed because it sent too much.
    Flooded,
    /// The endpoint was dropped.
    Over,
}

impl Following {
    async fn run(mut self) {
        let mut followed = None;
        loop {
            let now = self.silence.now();
            let known = self.push.known.borrow_and_update().clone();
            let channel = self.plan.channel(&known, now);
            if channel != followed {
                followed = channel;
                self.silence.begin(match channel {
                    Some(Channel::Wait) => {
                        self.push.heartbeat.max(WAIT + self.push.client.timeout())
                    }
                    _ => self.push.heartbeat,
                });
            }
            let end = match channel {
                Some(Channel::Events) => self.listen().await,
                Some(Channel::Wait) => self.poll(known).await,
                None => self.rest(now).await,
            };
            let pause = match (end, channel) {
                (End::Over, _) => return,
                (End::Absent, Some(channel)) => {
                    self.plan.is_absent(channel, self.silence.now());
                    continue;
                }
                (End::Well | End::Absent, _) => continue,
                (End::Revoked, _) => {
                    let (is_news, pause) = self.plan.revoked();
                    if is_news {
                        self.hints.changed();
                    }
                    pause
                }
                (End::Broken(retry_after), _) => self.plan.pause(retry_after),
                (End::Flooded, _) => {
                    if self.silence.hearing.floods() {
                        self.hints.lost(Duration::ZERO);
                    }
                    self.plan.pause(None)
                }
            };
            self.silence.over(sleep(pause)).await;
        }
    }

    /// Nothing to follow: waits until there may be.
    async fn rest(&mut self, now: u64) -> End {
        let again = self.plan.looks_again_in(now);
        let changed = self.push.known.changed();
        let still_there = match again {
            Some(wait) => timeout(wait, changed).await.unwrap_or(Ok(())),
            None => changed.await,
        };
        if still_there.is_ok() { End::Well } else { End::Over }
    }

    // ---- events ----

    async fn listen(&mut self) -> End {
        let url = events_url(&self.push.client.url);
        let request = EndpointRequest {
            method: Method::GET,
            url: &url,
            accept: "text/event-stream",
            validator: None,
            is_fresh: false,
            headers: None,
            body: None,
            timeout: None,
        };
        let limit = self.push.client.timeout();
        let asked = self.silence.over(timeout(limit, self.push.client.send(&request))).await;
        let mut response = match open(asked.ok()) {
            Ok(response) => response,
            Err(end) => return end,
        };
        if meaning(response.status()) != Meaning::Open || !is_event_stream(&response) {
            return End::Absent;
        }
        let began = self.silence.now();
        (self.push.heard)();
        if let Some(hint) = self.silence.hearing.opens(began) {
            self.hints.send(hint);
        }
        let end = self.hear_out(&mut response).await;
        let lasted = self.silence.now().saturating_sub(began);
        if lasted >= millis(self.push.heartbeat) && !matches!(end, End::Flooded) {
            self.plan.works();
            self.silence.hearing.works();
        }
        end
    }

    async fn hear_out(&mut self, response: &mut Response) -> End {
        let mut events = Events::default();
        loop {
            // Of the two, the levels alone may end a connection that works.
            let chunk = tokio::select! {
                chunk = self.silence.over(timeout(self.push.heartbeat, response.chunk())) => chunk,
                changed = self.push.known.changed() => {
                    if changed.is_err() {
                        return End::Over;
                    }
                    if self.push.known.borrow_and_update().offers(Channel::Events) {
                        continue;
                    }
                    return End::Well;
                }
            };
            let Ok(Ok(Some(chunk))) = chunk else { return End::Broken(None) };
            self.hear();
            let now = self.silence.now();
            if !self.silence.hearing.bears(now, 0, chunk.len()) {
                return End::Flooded;
            }
            let Ok(heard) = events.read(&chunk) else { return End::Broken(None) };
            for heard in heard {
                if !self.silence.hearing.bears(now, 1, 0) {
                    return End::Flooded;
                }
                match heard {
                    Heard::Event { name, data } => {
                        if let Some(hint) = hint(&name, &data) {
                            self.hints.send(hint);
                        }
                    }
                    Heard::Retry(wait) => self.plan.at_least(wait),
                }
            }
        }
    }

    // ---- long polls ----

    async fn poll(&mut self, known: Known) -> End {
        let url = wait_url(&self.push.client.url);
        let request = EndpointRequest {
            method: Method::GET,
            url: &url,
            accept: "application/json",
            validator: known.validator.as_deref(),
            is_fresh: false,
            headers: None,
            body: None,
            timeout: None,
        };
        let began = self.silence.now();
        let limit = WAIT + self.push.client.timeout();
        let asked = self.silence.over(timeout(limit, self.push.client.send(&request))).await;
        let response = match open(asked.ok()) {
            Ok(response) => response,
            Err(end) => return end,
        };
        let changed = meaning(response.status()) == Meaning::Open;
        // Nothing of the body is read: the connection ends here.
        drop(response);
        self.hear();
        if changed {
            self.plan.works();
            return self.settle(&known).await;
        }
        if self.silence.now().saturating_sub(began) < millis(WAIT / 4) {
            return End::Absent;
        }
        self.plan.works();
        End::Well
    }

    /// Something newer is there. The same answer would come again at once until a fetch has brought it.
    async fn settle(&mut self, polled: &Known) -> End {
        let is_newer = |known: &Known| known.validator != polled.validator;
        if is_newer(&self.push.known.borrow_and_update()) {
            return End::Well;
        }
        self.hints.changed();
        match timeout(SETTLE, self.push.known.wait_for(is_newer)).await {
            Ok(Err(_)) => End::Over,
            _ => End::Well,
        }
    }

    fn hear(&mut self) {
        let now = self.silence.now();
        self.silence.hearing.hears(now);
        (self.push.heard)();
    }
}

/// The answer, if there is one and its channel is there.
fn open(asked: Option<Result<Response, Error>>) -> Result<Response, End> {
    let Some(Ok(response)) = asked else { return Err(End::Broken(None)) };
    match meaning(response.status()) {
        Meaning::Open | Meaning::Unchanged => Ok(response),
        Meaning::Absent => Err(End::Absent),
        Meaning::Revoked => Err(End::Revoked),
        Meaning::Failed => Err(End::Broken(ResponseHead::read(response.headers()).retry_after)),
    }
}

fn is_event_stream(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default();
    let is_plain = !response.headers().contains_key(header::CONTENT_ENCODING);
    is_plain && kind.trim().eq_ignore_ascii_case("text/event-stream")
}

/// `.../sets/NAME/events`, with the query that the endpoint's URL has.
fn events_url(url: &Url) -> Url {
    let mut url = url.clone();
    let path = format!("{}/events", url.path().trim_end_matches('/'));
    url.set_path(&path);
    url
}

fn wait_url(url: &Url) -> Url {
    let mut url = url.clone();
    url.query_pairs_mut().append_pair("wait", &WAIT.as_secs().to_string());
    url
}

/// Tells when nothing was heard for too long.
pub(super) struct Silence {
    hints: Hints,
    clock: Clock,
    pub(super) hearing: Hearing,
}

impl Silence {
    pub(super) fn new(hints: Hints, limit: Duration) -> Self {
        // Of the runtime that the future runs on, as all its waiting is.
        let clock = Clock::tokio();
        Self { hints, hearing: Hearing::new(clock.now().boot, limit), clock }
    }

    pub(super) fn now(&self) -> u64 {
        self.clock.now().boot
    }

    fn begin(&mut self, limit: Duration) {
        self.hearing.begins(self.clock.now().boot, limit);
    }

    /// Does something that takes time, and tells if the silence grows too long meanwhile.
    pub(super) async fn over<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        while let Some(at) = self.hearing.silent_at() {
            let left = Duration::from_millis(at.saturating_sub(self.now()));
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = sleep(left) => {
                    if let Some(silent) = self.hearing.is_lost(self.now()) {
                        self.hints.lost(silent);
                    }
                }
            }
        }
        work.await
    }
}

#[cfg(test)]
mod tests;
