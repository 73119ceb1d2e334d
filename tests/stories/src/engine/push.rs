//! The push channel of the virtual client: the core's own rules, performed upon the world's streams.
//!
//! What is heard takes no time, and so does a connection that is made or refused. When the next one is tried,
//! which events are hints, and when silence is told, the core says.

use std::time::Duration;

use http::StatusCode;
use keyswap::{
    CredentialSet,
    engine::rotation::Input,
    source::{
        Hint, Terms,
        rules::{Channel, Events, HEARTBEAT, Heard, Hearing, Known, Meaning, Plan, hint, meaning},
    },
};
use keyswap_endpoint::world::{EventsRequest, Opened, Planned, Pushed, Stream, World};

/// More breaks than one instant can have: each is answered by a pause.
const TURNS: usize = 8;

pub(super) struct Push {
    follows: bool,
    heartbeat: Duration,
    known: Known,
    plan: Plan,
    hearing: Hearing,
    followed: bool,
    open: Option<Open>,
    /// When the next connection is tried, while there is none.
    again_at: u64,
    next_at: Option<u64>,
}

struct Open {
    stream: Stream,
    events: Events,
    since: u64,
}

impl Push {
    pub(super) fn new(follows: bool, heartbeat_ms: Option<u64>, terms: Terms, seed: u64) -> Self {
        let heartbeat = heartbeat_ms.map_or(HEARTBEAT, Duration::from_millis);
        Self {
            follows,
            heartbeat,
            known: Known::default(),
            plan: Plan::new(terms, seed),
            hearing: Hearing::new(0, heartbeat),
            followed: false,
            open: None,
            again_at: 0,
            next_at: None,
        }
    }

    /// When to listen again, in milliseconds of the story. A step may come before.
    pub(super) fn next_at(&self) -> Option<u64> {
        self.next_at
    }

    /// What is heard now, by one who holds this set.
    pub(super) fn listen(
        &mut self,
        world: &mut World,
        now: u64,
        held: Option<&CredentialSet>,
    ) -> Vec<Input> {
        if let Some(held) = held {
            self.known = Known::of(held);
        }
        let mut inputs = Vec::new();
        self.next_at = None;
        let follows = self.plan.channel(&self.known, now) == Some(Channel::Events);
        if std::mem::replace(&mut self.followed, follows) != follows {
            self.hearing.begins(now, self.heartbeat);
        }
        if !self.follows || !follows {
            self.open = None;
            self.next_at = self.plan.looks_again_in(now).map(|wait| now + millis(wait));
            return inputs;
        }
        let mut spoken_at = None;
        let mut is_flooded = false;
        for _ in 0..TURNS {
            if self.open.is_none() && self.again_at <= now {
                self.connect(world, now, &mut inputs);
            }
            let Some(open) = &mut self.open else { break };
            match world.pushed(now, &mut open.stream) {
                Pushed::Frames { frames, next_at } => {
                    for frame in frames {
                        self.hearing.hears(now);
                        let text = frame.text();
                        is_flooded = !self.hearing.bears(now, 1, text.len());
                        if is_flooded {
                            break;
                        }
                        let heard = open.events.read(text.as_bytes());
                        for heard in heard.into_iter().flatten() {
                            match heard {
                                Heard::Event { name, data } => {
                                    inputs.extend(hint(&name, &data).map(hinted));
                                }
                                Heard::Retry(wait) => self.plan.at_least(wait),
                            }
                        }
                    }
                    spoken_at = Some(next_at);
                    break;
                }
                Pushed::Broken => self.breaks(now),
            }
        }
        if is_flooded {
            inputs.extend(self.hearing.floods().then_some(Input::PushLost(Duration::ZERO)));
            self.breaks(now);
            spoken_at = None;
        }
        if let Some(silent) = self.hearing.is_lost(now) {
            inputs.push(Input::PushLost(silent));
            self.breaks(now);
            spoken_at = None;
        }
        let again_at = self.open.is_none().then_some(self.again_at.max(now + 1));
        let times = [spoken_at, again_at, self.hearing.silent_at()];
        self.next_at = times.into_iter().flatten().min().filter(|at| *at < u64::MAX);
        inputs
    }

    fn connect(&mut self, world: &mut World, now: u64, inputs: &mut Vec<Input>) {
        let token = world.config().bootstrap.clone();
        let ask = EventsRequest { bearer: Some(token.reveal()), ..Default::default() };
        let pause = match world.events(now, &ask) {
            Planned::Answer { reply: Opened::Stream(stream), .. } => {
                inputs.extend(self.hearing.opens(now).map(hinted));
                self.open = Some(Open { stream, events: Events::default(), since: now });
                return;
            }
            Planned::Answer { reply: Opened::Refused(reply), .. } => {
                let status = StatusCode::from_u16(reply.status).unwrap_or_default();
                match meaning(status) {
                    Meaning::Absent => {
                        self.plan.is_absent(Channel::Events, now);
                        return;
                    }
                    Meaning::Revoked => {
                        let (is_news, pause) = self.plan.revoked();
                        let news = Hint::new().immediate(true);
                        inputs.extend(is_news.then(|| hinted(news)));
                        pause
                    }
                    _ => self.plan.pause(reply.retry_after.map(Duration::from_secs)),
                }
            }
            _ => self.plan.pause(None),
        };
        self.again_at = now + millis(pause);
    }

    /// The stream ended, or has to.
    fn breaks(&mut self, now: u64) {
        if let Some(open) = self.open.take() {
            if now.saturating_sub(open.since) >= millis(self.heartbeat) {
                self.plan.works();
                self.hearing.works();
            }
            self.again_at = now + millis(self.plan.pause(None));
        }
    }
}

fn hinted(hint: Hint) -> Input {
    Input::Hinted { generation: hint.generation, immediate: hint.immediate }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use keyswap_endpoint::world::Setting;

    use super::*;

    fn world() -> World {
        let config = serde_json::from_str(r#"{"levels": ["events"], "ping_ms": 20}"#);
        World::new(config.expect("a world"), Setting::default())
    }

    fn push(heartbeat_ms: Option<u64>) -> Push {
        Push::new(true, heartbeat_ms, Terms::default(), 1)
    }

    fn apply(world: &mut World, now: u64, step: &str) {
        world.apply(now, &serde_json::from_str(step).expect(step)).expect(step);
    }

    /// What is heard, in short.
    fn heard(push: &mut Push, world: &mut World, now: u64) -> Vec<String> {
        let set = br#"{"levels": ["events"], "current": {"id": "k", "material": {"key": "x"}}}"#;
        let set = keyswap::source::parse(set).expect("a set");
        let inputs = push.listen(world, now, Some(&set));
        let short = |input| match input {
            Input::Hinted { generation, immediate } => format!("{generation:?} {immediate}"),
            Input::PushLost(silent) => format!("lost {}", silent.as_millis()),
            other => panic!("{other:?}"),
        };
        inputs.into_iter().map(short).collect()
    }

    #[test]
    fn each_publication_is_a_hint() {
        let (mut push, mut world) = (push(None), world());
        assert!(push.listen(&mut world, 0, None).is_empty(), "nothing is held yet");
        assert_eq!(heard(&mut push, &mut world, 0), ["Some(1) false"]);
        apply(&mut world, 5, r#"{"do": "rotate", "publish_after_ms": 10}"#);
        assert!(heard(&mut push, &mut world, 5).is_empty());
        assert_eq!(push.next_at(), Some(15));
        assert_eq!(heard(&mut push, &mut world, 15), ["Some(2) false"]);
        apply(&mut world, 16, r#"{"do": "cut"}"#);
        assert_eq!(heard(&mut push, &mut world, 16), ["Some(3) true"]);
        apply(&mut world, 17, r#"{"do": "revoke_set"}"#);
        assert_eq!(heard(&mut push, &mut world, 17), ["None true"], "the generation is the same");
    }

    #[test]
    fn after_a_drop_one_fetch_is_asked_for_as_soon_as_the_core_tries_again() {
        let (mut push, mut world) = (push(None), world());
        heard(&mut push, &mut world, 0);
        apply(&mut world, 5, r#"{"do":"endpoint","fault":"events_dropped","for_ms":50}"#);
        assert!(heard(&mut push, &mut world, 5).is_empty());
        apply(&mut world, 10, r#"{"do": "rotate"}"#);
        let mut said = Vec::new();
        while said.is_empty() {
            let at = push.next_at().expect("it tries again");
            assert!(at < 60_000, "{at}");
            said = heard(&mut push, &mut world, at);
        }
        assert_eq!(said[0], "None false");
        assert_eq!(world.counters()["push.connects"], 2);
    }

    #[test]
    fn a_long_silence_is_told_once() {
        let (mut push, mut world) = (push(Some(30)), world());
        heard(&mut push, &mut world, 0);
        apply(&mut world, 5, r#"{"do":"endpoint","fault":"events_silent","for_ms":200}"#);
        assert!(heard(&mut push, &mut world, 5).is_empty());
        assert_eq!(push.next_at(), Some(30));
        assert_eq!(heard(&mut push, &mut world, 30), ["lost 30"]);
        let mut said = Vec::new();
        while said.is_empty() {
            let at = push.next_at().expect("it tries again");
            assert!(at < 60_000, "{at}");
            said = heard(&mut push, &mut world, at);
        }
        assert_eq!(said[0], "None false", "not told again, and made up for");
    }
}
