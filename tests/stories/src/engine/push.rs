//! The push channel of the virtual client: what it makes of a stream of events.
//!
//! It is heard without delay. While events are dropped it is there again as soon as it can be, and then
//! asks for a fetch, since nobody knows what was missed. A silence beyond the heartbeat is told once.

use std::time::Duration;

use keyswap::engine::rotation::Input;
use keyswap_endpoint::world::{EventsRequest, Level, Opened, Planned, Pushed, Said, Stream, World};

/// Three pings of the protocol.
const HEARTBEAT: u64 = 45_000;

pub(super) struct Push {
    follows: bool,
    heartbeat: u64,
    stream: Option<Stream>,
    /// When it heard anything last. None before the first connection.
    heard_at: Option<u64>,
    /// What was missed is not known, so the next thing that is heard means a fetch.
    lost: bool,
    /// It was told that nothing is heard.
    told: bool,
    next_at: Option<u64>,
}

impl Push {
    pub(super) fn new(follows: bool, heartbeat_ms: Option<u64>) -> Self {
        Self {
            follows,
            heartbeat: heartbeat_ms.unwrap_or(HEARTBEAT),
            stream: None,
            heard_at: None,
            lost: false,
            told: false,
            next_at: None,
        }
    }

    /// When to listen again, in milliseconds of the story. A step may come before.
    pub(super) fn next_at(&self) -> Option<u64> {
        self.next_at
    }

    /// What is heard now, by one who holds this generation.
    pub(super) fn listen(&mut self, world: &mut World, now: u64, held: Option<u64>) -> Vec<Input> {
        if !self.follows || held.is_none() || !world.config().levels.contains(&Level::Events) {
            return Vec::new();
        }
        let mut inputs = Vec::new();
        // A break, or a silence, is answered by a new connection; that may be refused.
        for _ in 0..2 {
            let Some(stream) = self.connected(world, now) else { break };
            match world.pushed(now, stream) {
                Pushed::Frames { frames, next_at } => {
                    for frame in frames {
                        self.heard_at = Some(now);
                        self.told = false;
                        inputs.extend(self.heard(frame.said, held));
                    }
                    let silent_at = self.heard_at.map_or(now, |at| at) + self.heartbeat;
                    if now >= silent_at && !self.told {
                        (self.told, self.lost, self.stream) = (true, true, None);
                        inputs.push(Input::PushLost(Duration::from_millis(self.heartbeat)));
                        continue;
                    }
                    let silent_at = if self.told { u64::MAX } else { silent_at };
                    self.next_at = Some(next_at.min(silent_at)).filter(|at| *at < u64::MAX);
                    return inputs;
                }
                Pushed::Broken => (self.lost, self.stream) = (true, None),
            }
        }
        self.next_at = world.next_due(now, 0);
        inputs
    }

    fn connected(&mut self, world: &mut World, now: u64) -> Option<&mut Stream> {
        if self.stream.is_none() {
            let token = world.config().bootstrap.clone();
            let ask = EventsRequest { bearer: Some(token.reveal()), ..Default::default() };
            if let Planned::Answer { reply: Opened::Stream(stream), .. } = world.events(now, &ask) {
                self.stream = Some(stream);
                self.heard_at.get_or_insert(now);
            } else {
                self.lost = true;
            }
        }
        self.stream.as_mut()
    }

    fn heard(&mut self, said: Said, held: Option<u64>) -> Option<Input> {
        let Said::State { generation, immediate, revocation, .. } = said else { return None };
        if std::mem::take(&mut self.lost) {
            return Some(Input::Hinted { generation: None, immediate: false });
        }
        // A set that is revoked keeps its generation, and is news all the same.
        let is_unnumbered = revocation && held.is_some_and(|held| generation <= held);
        Some(Input::Hinted { generation: (!is_unnumbered).then_some(generation), immediate })
    }
}

#[cfg(test)]
mod tests {
    use keyswap_endpoint::world::Setting;

    use super::*;

    fn world() -> World {
        let config = serde_json::from_str(r#"{"levels": ["events"], "ping_ms": 20}"#);
        World::new(config.expect("a world"), Setting::default())
    }

    fn apply(world: &mut World, now: u64, step: &str) {
        world.apply(now, &serde_json::from_str(step).expect(step)).expect(step);
    }

    /// What is heard, in short.
    fn heard(push: &mut Push, world: &mut World, now: u64) -> Vec<String> {
        let inputs = push.listen(world, now, Some(1));
        let short = |input| match input {
            Input::Hinted { generation, immediate } => format!("{generation:?} {immediate}"),
            Input::PushLost(silent) => format!("lost {}", silent.as_millis()),
            other => panic!("{other:?}"),
        };
        inputs.into_iter().map(short).collect()
    }

    #[test]
    fn each_publication_is_a_hint() {
        let (mut push, mut world) = (Push::new(true, None), world());
        assert!(push.listen(&mut world, 0, None).is_empty(), "nothing is held yet");
        assert_eq!(heard(&mut push, &mut world, 0), ["Some(1) false"]);
        apply(&mut world, 5, r#"{"do": "rotate", "publish_after_ms": 10}"#);
        assert!(heard(&mut push, &mut world, 5).is_empty());
        assert_eq!(push.next_at(), Some(15));
        assert_eq!(heard(&mut push, &mut world, 15), ["Some(2) false"]);
        apply(&mut world, 16, r#"{"do": "cut"}"#);
        assert_eq!(heard(&mut push, &mut world, 16), ["Some(3) true"]);
        let (mut push, mut world) = (Push::new(true, None), self::world());
        heard(&mut push, &mut world, 0);
        apply(&mut world, 5, r#"{"do": "revoke_set"}"#);
        assert_eq!(heard(&mut push, &mut world, 5), ["None true"], "the generation is the same");
        assert!(Push::new(false, None).listen(&mut world, 5, Some(1)).is_empty());
    }

    #[test]
    fn after_a_drop_one_fetch_is_asked_for() {
        let (mut push, mut world) = (Push::new(true, None), world());
        heard(&mut push, &mut world, 0);
        apply(&mut world, 5, r#"{"do":"endpoint","fault":"events_dropped","for_ms":50}"#);
        assert!(heard(&mut push, &mut world, 5).is_empty());
        assert_eq!(push.next_at(), Some(55));
        apply(&mut world, 10, r#"{"do": "rotate"}"#);
        assert!(heard(&mut push, &mut world, 10).is_empty());
        assert_eq!(heard(&mut push, &mut world, 55), ["None false"]);
        assert_eq!(world.counters()["push.connects"], 2);
    }

    #[test]
    fn a_long_silence_is_told_once() {
        let (mut push, mut world) = (Push::new(true, Some(30)), world());
        heard(&mut push, &mut world, 0);
        apply(&mut world, 5, r#"{"do":"endpoint","fault":"events_silent","for_ms":200}"#);
        assert!(heard(&mut push, &mut world, 5).is_empty());
        assert_eq!(push.next_at(), Some(30));
        assert_eq!(heard(&mut push, &mut world, 30), ["lost 30"]);
        assert!(heard(&mut push, &mut world, 100).is_empty());
        assert_eq!(push.next_at(), Some(205));
        assert_eq!(heard(&mut push, &mut world, 205), ["None false"]);
        // A short one is only made up for.
        apply(&mut world, 210, r#"{"do":"endpoint","fault":"events_silent","for_ms":10}"#);
        assert!(heard(&mut push, &mut world, 211).is_empty());
        assert_eq!(heard(&mut push, &mut world, 220), ["Some(1) false"]);
    }
}
