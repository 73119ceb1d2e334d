//! Level 1: long polls, and streams of events.
//!
//! # Theory of operation
//!
//! Nothing waits here. An open stream and a held request are values, and are asked again and again: each
//! answer says what there is now, and when to ask again at the latest. Whoever asks must also ask after
//! each step. Between two questions nothing is lost: what became visible was noted when it did, with the
//! fault that there was then.
//!
//! A stream says the present generation at once. When a silence ends it does so again, since nobody
//! could know what was missed. No event carries material.

use serde_json::json;

use super::fetch::FetchReply;
use super::problem::Problem;
use super::{CommitKind, EndpointFault, FetchRequest, Level, Planned, World};

/// The longest wait of a long poll, in seconds, by the protocol.
const LONGEST_WAIT: u64 = 55;

/// How many events a stream that floods says at once, and how many milliseconds later it does so again.
const FLOOD: usize = 1_000;
const FLOOD_MS: u64 = 10;

#[derive(Clone, Debug, Default)]
pub(super) struct PushCounts {
    pub(super) connects: u64,
    pub(super) events: u64,
    pub(super) waits: u64,
}

// ---- long polls ----

/// What becomes of a fetch that may wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It is answered, or not, at once.
    At(Planned<FetchReply>),
    /// It is held: ask [`World::held`].
    Held(Hold),
}

/// A long poll that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// When to ask again, in milliseconds of the story.
    pub next_at: u64,
    until: u64,
}

impl World {
    /// What becomes of a fetch that arrives now and may be a long poll. Those are not counted as fetches.
    pub fn ask(&mut self, now: u64, request: &FetchRequest<'_>) -> Asked {
        match self.wait_of(request) {
            Ok(seconds @ 1..) => {
                self.push.waits += 1;
                let mut hold = Hold { next_at: now, until: now.saturating_add(seconds * 1000) };
                match self.held(now, request, &mut hold) {
                    Some(planned) => Asked::At(planned),
                    None => Asked::Held(hold),
                }
            }
            // A wait that makes no sense is refused like any other fetch.
            Ok(0) | Err(_) => Asked::At(self.fetch(now, request)),
        }
    }

    /// What becomes of a long poll that is held; none if it goes on being held.
    pub fn held(
        &mut self,
        now: u64,
        request: &FetchRequest<'_>,
        hold: &mut Hold,
    ) -> Option<Planned<FetchReply>> {
        self.advance(now);
        let planned = self.plan(now, request);
        let unchanged = planned.reply().is_some_and(|reply| reply.status == 304);
        if !unchanged || now >= hold.until {
            return Some(planned);
        }
        hold.next_at = self.next_due(now, request.region).unwrap_or(hold.until).min(hold.until);
        None
    }

    /// The seconds that a fetch may wait. 0 where long polls are not served.
    pub(super) fn wait_of(&self, request: &FetchRequest<'_>) -> Result<u64, ()> {
        match request.wait {
            Some(text) if self.serves(Level::Wait) => {
                text.parse().ok().filter(|seconds| *seconds <= LONGEST_WAIT).ok_or(())
            }
            _ => Ok(0),
        }
    }

    pub(super) fn serves(&self, level: Level) -> bool {
        self.config.levels.contains(&level)
    }
}

// ---- events ----

/// `GET {base}/sets/{id}/events`.
#[derive(Clone, Copy, Default)]
pub struct EventsRequest<'a> {
    /// The token of `Authorization: Bearer`.
    pub bearer: Option<&'a str>,
    /// The set; the world's own if not said.
    pub set: Option<&'a str>,
    /// The region that is asked, from 0.
    pub region: usize,
}

impl std::fmt::Debug for EventsRequest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventsRequest")
            .field("set", &self.set)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

/// The answer to one who wants to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// A stream: ask [`World::pushed`] what it says.
    Stream(Stream),
    /// A refusal.
    Refused(FetchReply),
}

/// A stream of events that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    region: usize,
    breaks: u64,
    silences: u64,
    /// When it says what there is; none once it has.
    begins_at: Option<u64>,
    /// The notices that it has passed.
    passed: usize,
    /// The place of the newest publication that it spoke of.
    told: usize,
    spoke_at: u64,
}

/// What a stream has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// These, in order; often nothing.
    Frames {
        /// What is to be sent.
        frames: Vec<Frame>,
        /// When to ask again, in milliseconds of the story.
        next_at: u64,
    },
    /// The connection is broken off.
    Broken,
}

/// One event of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it says.
    pub said: Said,
    tag: String,
}

/// What an event says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// A generation is there, or was revoked.
    State {
        /// The generation. A set that is revoked keeps the one that it had.
        generation: u64,
        /// Nobody is to take his time.
        immediate: bool,
        /// It is a revocation, of a credential or of the set.
        revocation: bool,
        /// The ids that the set says are revoked.
        revoked: Vec<String>,
    },
    /// The stream is alive.
    Ping,
}

impl Frame {
    /// As it stands in a `text/event-stream`.
    pub fn text(&self) -> String {
        match &self.said {
            Said::Ping => "event: ping\ndata: {}\n\n".to_owned(),
            Said::State { generation, immediate, revocation, revoked } => {
                let event = if *revocation { "revoked" } else { "changed" };
                let urgency = if *immediate { "immediate" } else { "normal" };
                let data =
                    json!({"generation": generation, "urgency": urgency, "revoked": revoked});
                format!("event: {event}\nid: {}\ndata: {data}\n\n", self.tag)
            }
        }
    }
}

impl World {
    /// What becomes of one who wants to listen.
    pub fn events(&mut self, now: u64, request: &EventsRequest<'_>) -> Planned<Opened> {
        self.advance(now);
        let EventsRequest { bearer, set, region } = *request;
        let fault = self.region(region).fault.at(now);
        let delay = match fault {
            Some(EndpointFault::Outage | EndpointFault::EventsDropped) => return Planned::Dropped,
            Some(EndpointFault::Hang) => return Planned::Hang,
            Some(EndpointFault::Slow { ms }) => ms,
            _ => 0,
        };
        let after_ms = self.config.endpoint_latency_ms.saturating_add(delay);
        let fault = fault.as_ref();
        let refusal = self.refusal(now, bearer, set, fault).or_else(|| {
            let detail = "this endpoint serves no events";
            let refused = || self.problem(now, fault, Problem::UnknownSet, detail);
            (!self.serves(Level::Events)).then(refused)
        });
        if let Some(refusal) = refusal {
            return Planned::Answer { after_ms, reply: Opened::Refused(refusal) };
        }
        self.push.connects += 1;
        let late = match fault {
            Some(EndpointFault::EventsSlow { ms }) => *ms,
            _ => 0,
        };
        let here = self.region(region);
        let stream = Stream {
            region,
            breaks: here.breaks,
            silences: here.silences,
            begins_at: Some(now.saturating_add(late)),
            passed: 0,
            told: 0,
            spoke_at: now,
        };
        Planned::Answer { after_ms, reply: Opened::Stream(stream) }
    }

    /// What an open stream has to say now.
    pub fn pushed(&mut self, now: u64, stream: &mut Stream) -> Pushed {
        self.advance(now);
        let here = self.region(stream.region);
        if here.breaks != stream.breaks {
            return Pushed::Broken;
        }
        let due = self.next_due(now, stream.region).unwrap_or(u64::MAX);
        let fault = here.fault.at(now);
        if fault == Some(EndpointFault::EventsSilent) {
            // What is not said now is made up for when the silence ends.
            stream.begins_at = Some(now);
            return Pushed::Frames { frames: Vec::new(), next_at: due };
        }
        if fault == Some(EndpointFault::EventsFlood) {
            // Said anew when the flood ends: who heard it may have closed his ears.
            stream.begins_at = Some(now);
            let (place, _) = self.shown(now, fault.as_ref());
            let frames = vec![self.present(place); FLOOD];
            return Pushed::Frames { frames, next_at: due.min(now.saturating_add(FLOOD_MS)) };
        }
        if here.silences != stream.silences {
            stream.silences = here.silences;
            stream.begins_at = Some(now);
        }

        let mut frames = Vec::new();
        if stream.begins_at.take_if(|at| *at <= now).is_some() {
            let (place, _) = self.shown(now, fault.as_ref());
            stream.told = place;
            frames.push(self.present(place));
        }
        if stream.begins_at.is_none() {
            let here = self.region(stream.region);
            while let Some(notice) = here.notices.get(stream.passed)
                && notice.due_at <= now
            {
                stream.passed += 1;
                // One that came to be visible when a newer one was there already was never seen.
                if notice.place > stream.told {
                    stream.told = notice.place;
                    frames.push(self.news(notice.place));
                }
            }
        }
        self.push.events += frames.len() as u64;
        if frames.is_empty() && now >= stream.spoke_at.saturating_add(self.config.ping_ms) {
            frames.push(Frame { said: Said::Ping, tag: String::new() });
        }
        if !frames.is_empty() {
            stream.spoke_at = now;
        }
        let notices = &self.region(stream.region).notices;
        // While it has not begun, what was noted before is no news.
        let notice = notices.get(stream.passed).filter(|_| stream.begins_at.is_none());
        let next_at = [
            stream.begins_at,
            notice.map(|notice| notice.due_at),
            Some(stream.spoke_at.saturating_add(self.config.ping_ms)),
        ];
        let next_at = next_at.into_iter().flatten().fold(due, u64::min);
        Pushed::Frames { frames, next_at }
    }

    /// That a publication has become visible.
    fn news(&self, place: usize) -> Frame {
        let kind = self.published[place].kind;
        let revocation = matches!(kind, CommitKind::Revoke | CommitKind::RevokeSet);
        let cut = matches!(kind, CommitKind::Cut | CommitKind::Rollback);
        self.frame(place, revocation, revocation || cut)
    }

    /// What there is, to one who begins to listen: how it came about is no news to him.
    fn present(&self, place: usize) -> Frame {
        let closed = self.published[place].state.closed;
        self.frame(place, closed, closed)
    }

    fn frame(&self, place: usize, revocation: bool, immediate: bool) -> Frame {
        let state = &self.published[place].state;
        let revoked = state.revoked.iter().map(|at| self.credentials[*at].id.clone()).collect();
        let generation = state.generation;
        let said = Said::State { generation, immediate, revocation, revoked };
        Frame { said, tag: state.tag(generation) }
    }
}

#[cfg(test)]
mod tests;
