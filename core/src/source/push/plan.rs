//! What the push channel does next, and what becomes of what it hears. Pure: time comes in as milliseconds,
//! and waiting goes out as a duration.

use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;

use crate::{
    backoff::doubled,
    credential::CredentialSet,
    moment::millis,
    source::{Hint, Terms},
};

/// For how long a channel that is not there after all is left alone, unless the levels change.
const ABSENT: Duration = Duration::from_secs(5 * 60);

/// The most events of a stream, and bytes, in a second. A set changes a few times a day, and a server has a
/// ping each 15 s to send: whatever sends so much more has nothing to tell.
const EVENTS_A_SECOND: u32 = 50;
const BYTES_A_SECOND: usize = 64 * 1024;

/// A way to hear of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Server-sent events.
    Events,
    /// Long polls.
    Wait,
}

/// What the fetches found out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    pub(super) events: bool,
    pub(super) wait: bool,
    pub(super) validator: Option<Box<str>>,
}

impl Known {
    /// What this set says of its endpoint's channels.
    pub fn of(set: &CredentialSet) -> Self {
        let names = |level: &str| set.levels().iter().any(|known| &**known == level);
        Self {
            events: names("events"),
            wait: names("wait"),
            validator: set.validator().map(Into::into),
        }
    }

    pub(super) fn offers(&self, channel: Channel) -> bool {
        match channel {
            Channel::Events => self.events,
            // Without a validator each poll would be answered at once.
            Channel::Wait => self.wait && self.validator.is_some(),
        }
    }
}

/// What the status of an answer says about its channel.
#[derive(Debug, PartialEq, Eq)]
pub enum Meaning {
    /// It is there: 200.
    Open,
    /// It is there, and nothing changed: 304.
    Unchanged,
    /// The endpoint does not serve it.
    Absent,
    /// The set is gone.
    Revoked,
    /// Not now.
    Failed,
}

/// What it says.
pub fn meaning(status: StatusCode) -> Meaning {
    match status.as_u16() {
        200 => Meaning::Open,
        304 => Meaning::Unchanged,
        204 | 404 | 405 | 406 | 501 => Meaning::Absent,
        410 => Meaning::Revoked,
        _ => Meaning::Failed,
    }
}

/// What an event hints at. None for those that are only a sign of life.
pub fn hint(name: &[u8], data: &[u8]) -> Option<Hint> {
    #[derive(Default, Deserialize)]
    struct Data<'a> {
        generation: Option<u64>,
        #[serde(borrow)]
        urgency: Option<&'a str>,
    }
    match name {
        b"changed" => {
            // A hint that cannot be read is a hint all the same.
            let data: Data<'_> = serde_json::from_slice(data).unwrap_or_default();
            let immediate = data.urgency == Some("immediate");
            Some(Hint { generation: data.generation, immediate })
        }
        // Only a set revokes. A generation is left out, because one that is held would hide the hint.
        b"revoked" => Some(Hint { generation: None, immediate: true }),
        _ => None,
    }
}

/// Which channel to follow, and how long to wait between two connections.
pub struct Plan {
    terms: Terms,
    seed: u64,
    delays: Option<Box<dyn Iterator<Item = Duration> + Send>>,
    /// What the last levels offered, and until when each is known not to be there after all.
    offered: [bool; 2],
    absent: [Option<u64>; 2],
    least: Duration,
    revoked: u32,
}

impl Plan {
    /// One that follows nothing yet.
    pub fn new(terms: Terms, seed: u64) -> Self {
        Self {
            terms,
            seed,
            delays: None,
            offered: [false; 2],
            absent: [None; 2],
            least: Duration::ZERO,
            revoked: 0,
        }
    }

    /// The channel to follow: events before long polls.
    pub fn channel(&mut self, known: &Known, now: u64) -> Option<Channel> {
        let offered = [known.events, known.wait];
        if offered != self.offered {
            self.offered = offered;
            self.absent = [None; 2];
        }
        [Channel::Events, Channel::Wait].into_iter().find(|channel| {
            known.offers(*channel) && self.absent[*channel as usize].is_none_or(|end| end <= now)
        })
    }

    /// How long until a channel that is not there is looked for again.
    pub fn looks_again_in(&self, now: u64) -> Option<Duration> {
        let ends = self.absent.iter().flatten().filter(|end| **end > now);
        ends.min().map(|end| Duration::from_millis(end - now))
    }

    /// The channel is not there after all.
    pub fn is_absent(&mut self, channel: Channel, now: u64) {
        self.absent[channel as usize] = Some(now.saturating_add(millis(ABSENT)));
    }

    /// The channel works: the next failure is a first one.
    pub fn works(&mut self) {
        self.delays = None;
        self.revoked = 0;
    }

    /// The server wants no new connection before.
    pub fn at_least(&mut self, wait: Duration) {
        self.least = wait.min(self.terms.policy().retry_after_max);
    }

    /// How long to wait before the next connection.
    pub fn pause(&mut self, retry_after: Option<Duration>) -> Duration {
        let (policy, seed) = (self.terms.policy(), self.seed);
        let delays = self.delays.get_or_insert_with(|| self.terms.delays(seed));
        self.seed = self.seed.wrapping_add(1);
        let delay = delays.next().unwrap_or(policy.backoff_max);
        let asked = retry_after
            .map_or(Duration::ZERO, |it| it.clamp(policy.retry_after_min, policy.retry_after_max));
        delay.max(self.least).max(asked)
    }

    /// Whether it is news that the set is gone, and how long to wait before looking again.
    pub fn revoked(&mut self) -> (bool, Duration) {
        let policy = self.terms.policy();
        let slow = doubled(policy.slow_retry_min, self.revoked, policy.slow_retry_max);
        self.revoked += 1;
        (self.revoked == 1, slow)
    }
}

/// What is heard, and for how long nothing was.
pub struct Hearing {
    since: u64,
    limit: Duration,
    /// That it is lost was told, and nothing was heard since.
    told: bool,
    /// That it sends too much was told, and it has not worked since.
    told_of_flood: bool,
    /// A stream was open before.
    was_open: bool,
    /// The second that is counted, with its events and bytes.
    second: u64,
    events: u32,
    bytes: usize,
}

impl Hearing {
    /// One that has heard nothing since now, and is silent after so long.
    pub fn new(now: u64, limit: Duration) -> Self {
        Self {
            since: now,
            limit,
            told: false,
            told_of_flood: false,
            was_open: false,
            second: now,
            events: 0,
            bytes: 0,
        }
    }

    /// Another channel, with another limit.
    pub fn begins(&mut self, now: u64, limit: Duration) {
        self.limit = limit;
        self.hears(now);
    }

    /// A stream is open. After the first, something may have been missed in between.
    pub fn opens(&mut self, now: u64) -> Option<Hint> {
        self.hears(now);
        (self.second, self.events, self.bytes) = (now, 0, 0);
        let missed = std::mem::replace(&mut self.was_open, true);
        missed.then_some(Hint { generation: None, immediate: false })
    }

    /// A sign of life.
    pub fn hears(&mut self, now: u64) {
        self.since = now;
        self.told = false;
    }

    /// So much more was heard. Whether it is still what there can be to tell: if not, the stream is to be
    /// closed, however it goes on.
    #[must_use]
    pub fn bears(&mut self, now: u64, events: u32, bytes: usize) -> bool {
        if now.saturating_sub(self.second) >= 1000 {
            (self.second, self.events, self.bytes) = (now, 0, 0);
        }
        self.events = self.events.saturating_add(events);
        self.bytes = self.bytes.saturating_add(bytes);
        self.events <= EVENTS_A_SECOND && self.bytes <= BYTES_A_SECOND
    }

    /// A stream was closed because it sent too much. Whether that is to be told: once, until one works.
    pub fn floods(&mut self) -> bool {
        !std::mem::replace(&mut self.told_of_flood, true)
    }

    /// A stream lasted as long as one that works.
    pub fn works(&mut self) {
        self.told_of_flood = false;
    }

    /// When it will have been silent for too long. None if that was told.
    pub fn silent_at(&self) -> Option<u64> {
        (!self.told).then(|| self.since.saturating_add(millis(self.limit)))
    }

    /// For how long it has been silent, if that is too long and was not told yet.
    pub fn is_lost(&mut self, now: u64) -> Option<Duration> {
        self.silent_at().filter(|at| *at <= now)?;
        self.told = true;
        Some(Duration::from_millis(now.saturating_sub(self.since)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_says_more_than_there_can_be_is_not_borne() {
        let mut hearing = Hearing::new(0, Duration::from_secs(45));
        assert!(hearing.opens(0).is_none(), "nothing was missed before the first");
        for second in 0..100 {
            let now = second * 1000;
            assert!((0..50).all(|event| hearing.bears(now + event, 1, 100)), "50 a second");
        }
        assert!((0..50).all(|_| hearing.bears(200_000, 1, 100)));
        assert!(!hearing.bears(200_999, 1, 100), "the 51st");
        assert!(hearing.bears(201_000, 1, 100), "another second");
        assert!(hearing.bears(202_000, 0, 64 * 1024));
        assert!(!hearing.bears(202_500, 0, 1), "bytes without an end");
        assert!((hearing.floods(), hearing.floods()) == (true, false), "told once");
        assert!(hearing.opens(203_000).is_some_and(|hint| hint.generation.is_none()));
        assert!(!hearing.floods(), "to be open is not to work");
        hearing.works();
        assert!(hearing.floods());
    }

    #[test]
    fn silence_is_told_once_until_something_is_heard() {
        let mut hearing = Hearing::new(5, Duration::from_secs(45));
        assert_eq!((hearing.silent_at(), hearing.is_lost(45_004)), (Some(45_005), None));
        assert_eq!(hearing.is_lost(45_006), Some(Duration::from_millis(45_001)));
        assert_eq!((hearing.silent_at(), hearing.is_lost(99_000)), (None, None));
        hearing.hears(100_000);
        assert_eq!(hearing.silent_at(), Some(145_000));
        hearing.begins(100_000, Duration::from_secs(60));
        assert_eq!(hearing.silent_at(), Some(160_000));
    }

    /// The program's own numbers, and its own delays.
    #[test]
    fn connections_keep_to_the_terms_of_the_handle() {
        use std::sync::Arc;
        let policy = crate::Policy {
            retry_after_max: Duration::from_secs(7),
            slow_retry_min: Duration::from_secs(2),
            slow_retry_max: Duration::from_secs(3),
            ..crate::Policy::default()
        };
        let steady = |_| Box::new(std::iter::repeat(Duration::from_secs(4))) as _;
        let mut plan = Plan::new(Terms::new(Arc::new(policy), Arc::new(steady)), 1);
        let waits: Vec<_> = (0..3).map(|_| plan.pause(None).as_secs()).collect();
        assert_eq!(waits, [4, 4, 4]);
        assert_eq!(plan.pause(Some(Duration::from_secs(90))), Duration::from_secs(7));
        let gone: Vec<_> = (0..3).map(|_| plan.revoked().1.as_secs()).collect();
        assert_eq!(gone, [2, 3, 3]);
    }

    fn known(events: bool, wait: bool) -> Known {
        Known { events, wait, validator: Some("\"g1\"".into()) }
    }

    #[test]
    fn events_come_before_long_polls_and_a_poll_needs_a_validator() {
        let mut plan = Plan::new(Terms::default(), 1);
        assert_eq!(plan.channel(&known(true, true), 0), Some(Channel::Events));
        assert_eq!(plan.channel(&known(false, true), 0), Some(Channel::Wait));
        assert_eq!(plan.channel(&known(false, false), 0), None);
        let bare = |events| Known { validator: None, ..known(events, true) };
        assert_eq!(plan.channel(&bare(false), 0), None);
        assert_eq!(plan.channel(&bare(true), 0), Some(Channel::Events));
    }

    #[test]
    fn what_is_not_there_is_left_alone_until_the_levels_change_or_five_minutes_passed() {
        let mut plan = Plan::new(Terms::default(), 1);
        let both = known(true, true);
        assert_eq!(plan.channel(&both, 0), Some(Channel::Events));
        plan.is_absent(Channel::Events, 0);
        assert_eq!(plan.channel(&both, 1), Some(Channel::Wait));
        plan.is_absent(Channel::Wait, 1_000);
        assert_eq!(plan.channel(&both, 1_000), None);
        assert_eq!(plan.looks_again_in(1_000), Some(Duration::from_secs(299)));
        let moved = Known { validator: Some("\"g2\"".into()), ..both.clone() };
        assert_eq!(plan.channel(&moved, 299_999), None, "another generation is no other level");
        assert_eq!(plan.channel(&both, 300_000), Some(Channel::Events));
        plan.is_absent(Channel::Events, 300_000);
        assert_eq!(plan.channel(&known(true, false), 300_001), Some(Channel::Events));
    }

    #[test]
    fn statuses_mean_what_the_protocol_says() {
        let of = |status| meaning(StatusCode::from_u16(status).expect("a status"));
        assert_eq!(
            (of(200), of(304), of(410)),
            (Meaning::Open, Meaning::Unchanged, Meaning::Revoked)
        );
        for status in [204, 404, 405, 406, 501] {
            assert_eq!(of(status), Meaning::Absent);
        }
        for status in [301, 400, 401, 403, 429, 500, 503] {
            assert_eq!(of(status), Meaning::Failed);
        }
    }

    #[test]
    fn an_event_is_a_hint_and_no_more() {
        let told = |name: &str, data: &str| {
            hint(name.as_bytes(), data.as_bytes()).map(|hint| (hint.generation, hint.immediate))
        };
        assert_eq!(
            told("changed", r#"{"generation":43,"urgency":"normal"}"#),
            Some((Some(43), false))
        );
        let revoked = r#"{"generation":43,"urgency":"immediate","revoked":["k"]}"#;
        assert_eq!(told("changed", revoked), Some((Some(43), true)));
        assert_eq!(told("revoked", revoked), Some((None, true)));
        for garbage in ["", "43", "{", r#"{"generation":-1}"#, r#"{"generation":"x"}"#] {
            assert_eq!(told("changed", garbage), Some((None, false)), "{garbage}");
        }
        for name in ["ping", "message", "", "Changed"] {
            assert_eq!(told(name, "{}"), None, "{name}");
        }
    }

    #[test]
    fn connections_are_spread_and_grow_rarer_within_what_the_server_asks() {
        let longest = |plan: &mut Plan| {
            plan.works();
            (0..9).map(|_| plan.pause(None)).max()
        };
        let mut plan = Plan::new(Terms::default(), 7);
        let first: Vec<_> = (0..200)
            .map(|_| {
                plan.works();
                plan.pause(None)
            })
            .collect();
        assert!(first.iter().all(|wait| *wait <= Duration::from_secs(1)));
        assert!(first.iter().any(|wait| *wait < Duration::from_millis(300)), "full jitter");
        assert!(first.iter().any(|wait| *wait > Duration::from_millis(700)), "full jitter");
        let most = (0..20).filter_map(|_| longest(&mut plan)).max().expect("some");
        assert!((Duration::from_secs(30)..=Duration::from_secs(60)).contains(&most), "{most:?}");
        plan.works();
        assert_eq!(plan.pause(Some(Duration::from_secs(90))), Duration::from_secs(90));
        assert_eq!(plan.pause(Some(Duration::from_secs(9999))), Duration::from_secs(300));
        plan.works();
        plan.at_least(Duration::from_secs(20));
        assert_eq!(plan.pause(None), Duration::from_secs(20));
        plan.at_least(Duration::from_secs(9999));
        assert_eq!(plan.pause(None), Duration::from_secs(300));
    }

    #[test]
    fn a_set_that_is_gone_is_news_once_and_looked_for_slowly() {
        let mut plan = Plan::new(Terms::default(), 1);
        let waits: Vec<_> = (0..5).map(|_| plan.revoked()).collect();
        let seconds = [(true, 60), (false, 120), (false, 240), (false, 300), (false, 300)];
        assert_eq!(waits, seconds.map(|(news, wait)| (news, Duration::from_secs(wait))));
        plan.works();
        assert!(plan.revoked().0);
    }
}
