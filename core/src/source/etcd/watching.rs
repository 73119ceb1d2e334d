//! How a change is heard of.
//!
//! # Theory of operation
//!
//! As a push channel does: what is heard becomes a hint, and what changed is found out by the fetch. A watch begins
//! behind what the first fetch saw, or the last watch told, so nothing is missed between two of them. If etcd forgot that revision, or is another cluster than it was (a backup was restored),
//! something may have been missed: a fetch is asked for, and the watch begins there.
//!
//! A quiet watch and a dead connection look the same, and the JSON gateway takes no question on a connection that
//! answers. So each watch is ended after 50 s, before proxies give up, and begun anew: that it opens is the sign of life.
//! Nothing of a line is kept. It is read up to 64 KiB, because it holds the new value, and wiped.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};
use reqwest::Response;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use zeroize::Zeroizing;

use super::{
    answer::{Heard, Moment, heard},
    cluster::{Cluster, question},
};
use crate::{
    moment::millis,
    secret::Secret,
    source::{
        BoxFuture, Hint, Hints,
        endpoint_client::ResponseHead,
        push::{Silence, plan::Plan},
        wire::{MAX_DOCUMENT, read},
    },
};

/// How long one watch lasts.
const LASTS: Duration = Duration::from_secs(50);

/// What it takes to watch one key.
pub(super) struct Watching {
    pub(super) cluster: Cluster,
    /// In base64.
    pub(super) key: Box<str>,
    /// What the fetches saw.
    pub(super) seen: watch::Receiver<Option<Moment>>,
}

/// How a watch ended.
enum End {
    /// It lasted.
    Well,
    Broken(Option<Duration>),
    /// It was closed because it sent too much.
    Flooded,
}

impl Watching {
    /// Follows it until its source is dropped.
    pub(super) fn follow(self, hints: Hints) -> BoxFuture<'static, ()> {
        Box::pin(self.run(hints))
    }

    async fn run(mut self, hints: Hints) {
        let lost_after = LASTS + self.cluster.members()[0].timeout();
        // What the first fetch sees is where the first watch begins.
        let Ok(first) = self.seen.wait_for(Option::is_some).await.map(|seen| seen.clone()) else {
            return;
        };
        let mut following = Following {
            plan: Plan::new(self.cluster.members()[0].terms(), fastrand::u64(..)),
            silence: Silence::new(hints.clone(), lost_after),
            hints,
            told: first,
            member: self.cluster.first(),
            watching: self,
        };
        while let Ok(()) = following.once().await {}
    }
}

struct Following {
    watching: Watching,
    hints: Hints,
    plan: Plan,
    silence: Silence,
    /// Up to where everything is known: what the first fetch saw, and then what was heard. Not what later fetches saw:
    /// another handle may have the same source.
    told: Option<Moment>,
    member: usize,
}

impl Following {
    /// One watch, and the wait for the next. An error is the end: the source was dropped.
    async fn once(&mut self) -> Result<(), ()> {
        let end = {
            let mut seen = self.watching.seen.clone();
            let dropped = async { while seen.changed().await.is_ok() {} };
            tokio::select! {
                () = dropped => return Err(()),
                end = self.listen() => end,
            }
        };
        let pause = match end {
            End::Well => {
                self.plan.works();
                self.silence.hearing.works();
                return Ok(());
            }
            End::Broken(retry_after) => self.plan.pause(retry_after),
            End::Flooded => {
                if self.silence.hearing.floods() {
                    self.hints.lost(Duration::ZERO);
                }
                self.plan.pause(None)
            }
        };
        self.member = (self.member + 1) % self.watching.cluster.members().len();
        self.silence.over(sleep(pause)).await;
        Ok(())
    }

    async fn listen(&mut self) -> End {
        let cluster = self.watching.cluster.clone();
        let member = &cluster.members()[self.member];
        let token = match self.silence.over(cluster.token(None, cluster.end())).await {
            Ok(token) => token,
            Err(error) => return End::Broken(error.retry_after()),
        };
        let body = create(&self.watching.key, self.told.as_ref());
        let asked = member.open(question(member, &["watch"], body.as_bytes(), token.as_ref()));
        let asked = self.silence.over(timeout(member.timeout(), asked)).await;
        let Ok(Ok(mut response)) = asked else { return End::Broken(None) };
        if response.status() != 200 {
            if response.status() == 401 {
                cluster.forget(&token).await;
            }
            return End::Broken(ResponseHead::read(response.headers()).retry_after);
        }
        let began = self.silence.now();
        // What was missed is told by the watch itself.
        let _ = self.silence.hearing.opens(began);
        self.hear_out(&mut response, &cluster, &token).await
    }

    async fn hear_out(
        &mut self,
        response: &mut Response,
        cluster: &Cluster,
        token: &Option<Secret>,
    ) -> End {
        let began = self.silence.now();
        let opens_by = millis(cluster.members()[self.member].timeout().min(LASTS));
        let mut is_open = false;
        let mut lines = Lines::new();
        loop {
            let most = if is_open { millis(LASTS) } else { opens_by };
            let left = Duration::from_millis((began + most).saturating_sub(self.silence.now()));
            let chunk = match self.silence.over(timeout(left, response.chunk())).await {
                Ok(Ok(Some(chunk))) => chunk,
                Err(_) if is_open => return End::Well,
                _ => return End::Broken(None),
            };
            let now = self.silence.now();
            if !self.silence.hearing.bears(now, 0, chunk.len()) {
                return End::Flooded;
            }
            let mut left = &chunk[..];
            while let Some(line) = lines.next(&mut left) {
                let Some(line) = line else { return End::Broken(None) };
                let Ok(line) = read(&line) else { return End::Broken(None) };
                match heard(&line) {
                    Heard::Open(at) => {
                        is_open = true;
                        self.silence.hearing.hears(now);
                        if self.told.as_ref().is_some_and(|told| is_elsewhere(told, &at)) {
                            self.told = Some(at);
                            self.changed();
                            return End::Broken(None);
                        }
                    }
                    Heard::Changed(at, times) => {
                        self.silence.hearing.hears(now);
                        if !self.silence.hearing.bears(now, times, 0) {
                            return End::Flooded;
                        }
                        self.told = Some(at);
                        self.changed();
                    }
                    Heard::Alive => self.silence.hearing.hears(now),
                    Heard::Compacted(revision) => {
                        if let Some(told) = &mut self.told {
                            told.revision = revision;
                        }
                        self.changed();
                        return End::Broken(None);
                    }
                    Heard::Unknown => {
                        cluster.forget(token).await;
                        return End::Broken(None);
                    }
                    Heard::Closed => return End::Broken(None),
                }
            }
        }
    }

    fn changed(&self) {
        self.hints.send(Hint::new().immediate(true));
    }
}

/// The question for a watch that begins behind what is known.
fn create(key: &str, told: Option<&Moment>) -> String {
    let from = told.map_or(0, |told| told.revision.saturating_add(1));
    // Without progress reports: that a watch opens each 50 s says as much.
    format!(r#"{{"create_request":{{"key":"{key}","start_revision":"{from}"}}}}"#)
}

/// Whether a watch would wait for what this cluster may reach in a year, if ever.
fn is_elsewhere(told: &Moment, at: &Moment) -> bool {
    told.cluster != at.cluster || at.revision < told.revision
}

/// A key as the gateway wants it.
pub(super) fn base64(key: &str) -> Box<str> {
    BASE64.encode(key).into()
}

/// Lines of at most 64 KiB.
struct Lines(Zeroizing<Vec<u8>>);

impl Lines {
    fn new() -> Self {
        // One buffer of the full size: one that grows leaves copies behind.
        Self(Zeroizing::new(Vec::with_capacity(MAX_DOCUMENT)))
    }

    /// The next line that is complete, without empty ones. Within: none, if it is too long.
    fn next(&mut self, chunk: &mut &[u8]) -> Option<Option<Zeroizing<Vec<u8>>>> {
        loop {
            if chunk.is_empty() {
                return None;
            }
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let (part, rest) = chunk.split_at(end.unwrap_or(chunk.len()));
            if self.0.len() + part.len() > MAX_DOCUMENT {
                return Some(None);
            }
            self.0.extend_from_slice(part);
            *chunk = rest.get(1..).unwrap_or_default();
            end?;
            let line = Zeroizing::new(self.0.to_vec());
            self.0.clear();
            if !line.iter().all(u8::is_ascii_whitespace) {
                return Some(Some(line));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(cluster: u64, revision: u64) -> Moment {
        Moment { cluster, revision }
    }

    #[test]
    fn lines_come_in_any_pieces_and_have_a_bound() {
        let whole = b"{\"a\":1}\n\n{\"b\":2}\r\n{\"c\"";
        for size in 1..=whole.len() {
            let (mut lines, mut heard) = (Lines::new(), Vec::new());
            for mut piece in whole.chunks(size) {
                while let Some(line) = lines.next(&mut piece) {
                    heard.push(String::from_utf8(line.expect("short").to_vec()).expect("text"));
                }
            }
            assert_eq!(heard, ["{\"a\":1}", "{\"b\":2}\r"]);
        }
        let mut lines = Lines::new();
        let piece = [b'x'; 1024];
        for _ in 0..64 {
            assert!(lines.next(&mut &piece[..]).is_none());
        }
        assert!(lines.next(&mut &b"x"[..]).is_some_and(|line| line.is_none()), "too long");
    }

    #[test]
    fn a_watch_begins_behind_what_is_known() {
        assert!(create("L2s=", Some(&at(9, 7))).contains(r#""start_revision":"8""#));
        assert!(create("L2s=", None).contains(r#""start_revision":"0""#), "from now on");
        assert!(is_elsewhere(&at(9, 7), &at(9, 6)) && is_elsewhere(&at(9, 7), &at(8, 9)));
        assert!(!is_elsewhere(&at(9, 7), &at(9, 7)));
    }
}
