//! Plain numbers, validated once.
//!
//! Every default has its reason beside it. All of them may be changed; most programs change none.

use std::time::Duration;

use crate::error::{Error, ErrorKind};

mod data;

/// The numbers that the engine works with.
///
/// ```
/// # use std::time::Duration;
/// use keyswap::Policy;
/// let policy = Policy::default().poll(Duration::from_secs(60)).forced_burst(3);
/// policy.validate()?;
/// assert_eq!((policy.poll.as_secs(), policy.forced_burst), (60, 3));
/// # Ok::<(), keyswap::Error>(())
/// ```
///
/// As data (JSON and the other languages) durations are seconds: `{"poll": 60, "fetch_timeout": 2.5}`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[must_use]
pub struct Policy {
    /// Share of the remaining life, at the fetch, that is left when a refresh begins. 0.3: Vault and
    /// Kafka use a ratio too.
    pub soft_lead_ratio: f64,
    /// The most that a refresh runs ahead of the end. 20 min: what Databricks' clients use.
    pub soft_lead_max: Duration,
    /// Share of the life before its end in which requests wait for a running fetch. 0.1.
    pub hard_lead_ratio: f64,
    /// The most that this window lasts. 60 s: short enough for short lives.
    pub hard_lead_max: Duration,
    /// Time between fetches from a source that reads what stands somewhere, whatever the end that the set
    /// names. 300 s: the AWS secrets agent's. A source that [mints](crate::Source::mints) is not polled.
    pub poll: Duration,
    /// How far a poll may stray from its time, as a share, so that fleets do not march in step. 0.2.
    pub poll_spread: f64,
    /// The longest that anything a source says puts off the next fetch: `refresh_after`, a splay,
    /// `Retry-After`, an end. 1 h: a time that the other side names never silences a client.
    pub ceiling: Duration,
    /// The least time between two starts of a fetch, even after success. 5 s, less for short lives (a
    /// tenth of the life), but never less than [`fetch_floor_min`](Self::fetch_floor_min).
    pub fetch_floor: Duration,
    /// The floor of the floor. 1 s: short-lived tokens must not spin.
    pub fetch_floor_min: Duration,
    /// First delay after a failed fetch; it doubles, with full jitter. 1 s.
    pub backoff_min: Duration,
    /// The longest such delay. 60 s: peers use 5 s to 10 min.
    pub backoff_max: Duration,
    /// The longest wait for the next fetch while nothing is usable, whatever the failure is called and
    /// whatever `Retry-After` says. 15 s.
    pub backoff_max_urgent: Duration,
    /// A `Retry-After` is never taken as less than this. 1 s.
    pub retry_after_min: Duration,
    /// Nor as more than this. 5 min. A fetch comes at that time or up to as much later, and at most
    /// [`backoff_max`](Self::backoff_max) later: a fleet that was told one instant must not come at it.
    pub retry_after_max: Duration,
    /// First delay after a failure that looks permanent; it doubles and never stops. 60 s.
    pub slow_retry_min: Duration,
    /// The longest such delay. 5 min.
    pub slow_retry_max: Duration,
    /// Time for one whole fetch, whatever the source is. 10 s.
    pub fetch_timeout: Duration,
    /// How old the signature of an answer may be, where answers must be signed. 1 h: clocks that nobody looks
    /// after, and no more. The clock may also be slow, by 5 min.
    pub signature_age: Duration,
    /// How long a running fetch may hold up requests shortly before the end of a life. 1 s.
    pub hard_wait: Duration,
    /// The longest that a request waits for a fetch when it has nothing else to try. 10 s.
    pub wait: Duration,
    /// The same for a key that is simply wrong: nothing that this handle held was ever accepted, and one
    /// forced fetch has found nothing else. 2 s.
    pub wait_unproven: Duration,
    /// How far apart a source must have given the same older answer twice before it is believed, once the
    /// API has rejected all that is held. 10 s: longer than a region is wrong for a moment.
    pub go_back: Duration,
    /// Forced fetches at once. 2.
    pub forced_burst: u32,
    /// Time in which one more is earned. 5 s; Alamofire allows 5 in 30 s.
    pub forced_every: Duration,
    /// Delays between probes of a candidate that was rejected; the last one repeats. 1, 2, 4, 8, 15,
    /// 30 s: propagation takes 15 s to minutes.
    pub probe_delays: Vec<Duration>,
    /// How long one probe may hold the slot. 5 s.
    pub probe_timeout: Duration,
    /// When to probe again after an answer that said nothing about the credential. 1 s.
    pub probe_again: Duration,
    /// When a candidate is used unproven if nobody reports what the API says. 60 s.
    pub probe_unreported: Duration,
    /// The least life a credential must have left to stay in use while its successor is proven. 30 s.
    pub keep_in_use: Duration,
    /// How long before its end a credential whose successor is still rejected is given up. 10 s.
    pub give_up: Duration,
    /// Time between two episodes of one rejected credential; it doubles. 30 s.
    pub episode: Duration,
    /// The longest such time. 5 min: no storm, no silence.
    pub episode_max: Duration,
    /// How long after a swap, or after the first rejection, replicas may still disagree. 60 s.
    pub rotation_window: Duration,
    /// The pause before a credential is tried a second time. 200 ms, give or take half of it.
    pub rotation_pause: Duration,
    /// How long a previous credential is kept if the source says nothing. 10 min.
    pub previous_grace: Duration,
    /// How far past its end a credential is used while the source cannot be reached: at most this, and
    /// at most its own life. 15 min. Zero is strict.
    pub stale_grace: Duration,
    /// Everything is looked at again at least this often, whatever the timers say. 30 s.
    pub wake: Duration,
    /// How long a credential other than the newest may be in use before that is told. 60 s.
    pub lagging: Duration,
    /// For how long a report of the credentials in use holds; it is renewed each third of that. 900 s: the
    /// protocol's. Zero reports nothing.
    pub lease: Duration,
    /// How long after a credential was last handed out no request carries it any more. 30 s: the time that
    /// [`Client`](crate::Client) gives a request.
    pub drain: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        let secs = Duration::from_secs;
        Self {
            soft_lead_ratio: 0.3,
            soft_lead_max: secs(20 * 60),
            hard_lead_ratio: 0.1,
            hard_lead_max: secs(60),
            poll: secs(300),
            poll_spread: 0.2,
            ceiling: secs(60 * 60),
            fetch_floor: secs(5),
            fetch_floor_min: secs(1),
            backoff_min: secs(1),
            backoff_max: secs(60),
            backoff_max_urgent: secs(15),
            retry_after_min: secs(1),
            retry_after_max: secs(5 * 60),
            slow_retry_min: secs(60),
            slow_retry_max: secs(5 * 60),
            fetch_timeout: secs(10),
            signature_age: secs(3600),
            hard_wait: secs(1),
            wait: secs(10),
            wait_unproven: secs(2),
            go_back: secs(10),
            forced_burst: 2,
            forced_every: secs(5),
            probe_delays: [1, 2, 4, 8, 15, 30].map(secs).to_vec(),
            probe_timeout: secs(5),
            probe_again: secs(1),
            probe_unreported: secs(60),
            keep_in_use: secs(30),
            give_up: secs(10),
            episode: secs(30),
            episode_max: secs(5 * 60),
            rotation_window: secs(60),
            rotation_pause: Duration::from_millis(200),
            previous_grace: secs(10 * 60),
            stale_grace: secs(15 * 60),
            wake: secs(30),
            lagging: secs(60),
            lease: secs(900),
            drain: secs(30),
        }
    }
}

impl Policy {
    /// Checks that the numbers make sense together.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`], naming the number and what it must be.
    pub fn validate(&self) -> Result<(), Error> {
        let ratio = |value: f64| (0.0..1.0).contains(&value);
        let some = |value: Duration| !value.is_zero();
        let rules = [
            (ratio(self.soft_lead_ratio), "soft_lead_ratio must be at least 0 and less than 1"),
            (ratio(self.hard_lead_ratio), "hard_lead_ratio must be at least 0 and less than 1"),
            (ratio(self.poll_spread), "poll_spread must be at least 0 and less than 1"),
            (some(self.poll), "poll must be more than zero"),
            (some(self.ceiling), "ceiling must be more than zero"),
            (some(self.fetch_floor_min), "fetch_floor_min must be more than zero"),
            (some(self.backoff_min), "backoff_min must be more than zero"),
            (self.backoff_min <= self.backoff_max, "backoff_max must not be less than backoff_min"),
            (
                self.retry_after_min <= self.retry_after_max,
                "retry_after_max must not be less than retry_after_min",
            ),
            (some(self.slow_retry_min), "slow_retry_min must be more than zero"),
            (
                self.slow_retry_min <= self.slow_retry_max,
                "slow_retry_max must not be less than slow_retry_min",
            ),
            (some(self.fetch_timeout), "fetch_timeout must be more than zero"),
            (some(self.signature_age), "signature_age must be more than zero"),
            (self.forced_burst > 0, "forced_burst must be at least 1"),
            (some(self.forced_every), "forced_every must be more than zero"),
            (
                !self.probe_delays.is_empty() && self.probe_delays.iter().all(|delay| some(*delay)),
                "probe_delays must name at least one delay of more than zero",
            ),
            (some(self.probe_timeout), "probe_timeout must be more than zero"),
            (some(self.episode), "episode must be more than zero"),
            (self.episode <= self.episode_max, "episode_max must not be less than episode"),
            (some(self.wake), "wake must be more than zero"),
            (some(self.lagging), "lagging must be more than zero"),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            None => Ok(()),
            Some((_, rule)) => {
                Err(Error::new(ErrorKind::InvalidConfig, format!("invalid policy: {rule}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        Policy::default().validate().expect("valid");
    }

    #[test]
    fn a_wrong_number_is_named() {
        let policy = Policy { forced_burst: 0, ..Policy::default() };
        let error = policy.validate().expect_err("invalid");
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.to_string().contains("forced_burst"), "{error}");
    }

    #[test]
    fn data_is_in_seconds_and_strict() {
        let policy: Policy =
            serde_json::from_str(r#"{"poll": 0.5, "probe_delays": [0.1]}"#).expect("json");
        assert_eq!(policy.poll, Duration::from_millis(500));
        assert_eq!(policy.probe_delays, [Duration::from_millis(100)]);
        assert!(serde_json::from_str::<Policy>(r#"{"pol": 1}"#).is_err());
        assert!(serde_json::from_str::<Policy>(r#"{"poll": -1}"#).is_err());
    }
}
