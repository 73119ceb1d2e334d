//! What the push channel does next. Pure: time comes in as milliseconds, and waiting goes out as a
//! duration.

use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;

use crate::{
    credential::CredentialSet, engine::rotation::default_backoff, moment::millis, policy::Policy,
    source::Hint,
};

/// For how long a channel that is not there after all is left alone, unless the levels change.
const ABSENT: Duration = Duration::from_secs(5 * 60);

/// A way to hear of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Channel {
    /// Server-sent events.
    Events,
    /// Long polls.
    Wait,
}

/// What the fetches found out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::source) struct Known {
    pub(super) events: bool,
    pub(super) wait: bool,
    pub(super) validator: Option<Box<str>>,
}

impl Known {
    pub(in crate::source) fn of(set: &CredentialSet) -> Self {
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
pub(super) enum Meaning {
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

pub(super) fn meaning(status: StatusCode) -> Meaning {
    match status.as_u16() {
        200 => Meaning::Open,
        304 => Meaning::Unchanged,
        204 | 404 | 405 | 406 | 501 => Meaning::Absent,
        410 => Meaning::Revoked,
        _ => Meaning::Failed,
    }
}

/// What an event hints at. None for those that are only a sign of life.
pub(super) fn hint(name: &[u8], data: &[u8]) -> Option<Hint> {
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
pub(super) struct Plan {
    policy: Policy,
    seed: u64,
    delays: Option<Box<dyn Iterator<Item = Duration> + Send>>,
    /// What the last levels offered, and until when each is known not to be there after all.
    offered: [bool; 2],
    absent: [Option<u64>; 2],
    least: Duration,
    revoked: u32,
}

impl Plan {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            policy: Policy::default(),
            seed,
            delays: None,
            offered: [false; 2],
            absent: [None; 2],
            least: Duration::ZERO,
            revoked: 0,
        }
    }

    /// The channel to follow: events before long polls.
    pub(super) fn channel(&mut self, known: &Known, now: u64) -> Option<Channel> {
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
    pub(super) fn looks_again_in(&self, now: u64) -> Option<Duration> {
        let ends = self.absent.iter().flatten().filter(|end| **end > now);
        ends.min().map(|end| Duration::from_millis(end - now))
    }

    /// The channel is not there after all.
    pub(super) fn is_absent(&mut self, channel: Channel, now: u64) {
        self.absent[channel as usize] = Some(now.saturating_add(millis(ABSENT)));
    }

    /// The channel works: the next failure is a first one.
    pub(super) fn works(&mut self) {
        self.delays = None;
        self.revoked = 0;
    }

    /// The server wants no new connection before.
    pub(super) fn at_least(&mut self, wait: Duration) {
        self.least = wait.min(self.policy.retry_after_max);
    }

    /// How long to wait before the next connection.
    pub(super) fn pause(&mut self, retry_after: Option<Duration>) -> Duration {
        let (policy, seed) = (&self.policy, self.seed);
        let delays = self.delays.get_or_insert_with(|| default_backoff(policy)(seed));
        self.seed = self.seed.wrapping_add(1);
        let delay = delays.next().unwrap_or(policy.backoff_max);
        let asked = retry_after
            .map_or(Duration::ZERO, |it| it.clamp(policy.retry_after_min, policy.retry_after_max));
        delay.max(self.least).max(asked)
    }

    /// Whether it is news that the set is gone, and how long to wait before looking again.
    pub(super) fn revoked(&mut self) -> (bool, Duration) {
        let slow = self.policy.slow_retry_min.saturating_mul(1 << self.revoked.min(8));
        self.revoked += 1;
        (self.revoked == 1, slow.min(self.policy.slow_retry_max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(events: bool, wait: bool) -> Known {
        Known { events, wait, validator: Some("\"g1\"".into()) }
    }

    #[test]
    fn events_come_before_long_polls_and_a_poll_needs_a_validator() {
        let mut plan = Plan::new(1);
        assert_eq!(plan.channel(&known(true, true), 0), Some(Channel::Events));
        assert_eq!(plan.channel(&known(false, true), 0), Some(Channel::Wait));
        assert_eq!(plan.channel(&known(false, false), 0), None);
        let bare = |events| Known { validator: None, ..known(events, true) };
        assert_eq!(plan.channel(&bare(false), 0), None);
        assert_eq!(plan.channel(&bare(true), 0), Some(Channel::Events));
    }

    #[test]
    fn what_is_not_there_is_left_alone_until_the_levels_change_or_five_minutes_passed() {
        let mut plan = Plan::new(1);
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
        let mut plan = Plan::new(7);
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
        let mut plan = Plan::new(1);
        let waits: Vec<_> = (0..5).map(|_| plan.revoked()).collect();
        let seconds = [(true, 60), (false, 120), (false, 240), (false, 300), (false, 300)];
        assert_eq!(waits, seconds.map(|(news, wait)| (news, Duration::from_secs(wait))));
        plan.works();
        assert!(plan.revoked().0);
    }
}
