//! The table of a policy's numbers: how each is set in code, and how it is read from data.
//!
//! As data, durations are seconds, what is not named keeps its default, and what is not a number of the
//! policy is an error. What is derived for forty fields is several times as large as going by a table, which
//! counts on a phone.

use std::{borrow::Cow, fmt, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};

use super::Policy;

/// Where a number of the policy stands, and what is said of it.
enum Place<'a> {
    Share(&'a mut f64),
    Count(&'a mut u32),
    Seconds(&'a mut Duration),
    Delays(&'a mut Vec<Duration>),
}

/// What a number of this kind is in code.
macro_rules! value {
    (Share) => { f64 };
    (Count) => { u32 };
    (Seconds) => { Duration };
    (Delays) => { Vec<Duration> };
}

macro_rules! table {
    ($($name:ident: $kind:ident,)*) => {
        impl Policy {
            $(
                #[doc = concat!("Sets [`", stringify!($name), "`](Self#structfield.", stringify!($name), ").")]
                pub fn $name(mut self, $name: value!($kind)) -> Self {
                    self.$name = $name;
                    self
                }
            )*
        }

        const NAMES: &[&str] = &[$(stringify!($name)),*];

        fn place<'a>(policy: &'a mut Policy, name: &str) -> Option<Place<'a>> {
            // Whatever is added to the policy has to be named here.
            let Policy { $($name),* } = policy;
            $(
                if name == stringify!($name) {
                    return Some(Place::$kind($name));
                }
            )*
            None
        }
    };
}

table! {
    soft_lead_ratio: Share,
    soft_lead_max: Seconds,
    hard_lead_ratio: Share,
    hard_lead_max: Seconds,
    poll: Seconds,
    poll_spread: Share,
    ceiling: Seconds,
    fetch_floor: Seconds,
    fetch_floor_min: Seconds,
    backoff_min: Seconds,
    backoff_max: Seconds,
    backoff_max_urgent: Seconds,
    retry_after_min: Seconds,
    retry_after_max: Seconds,
    slow_retry_min: Seconds,
    slow_retry_max: Seconds,
    fetch_timeout: Seconds,
    signature_age: Seconds,
    hard_wait: Seconds,
    wait: Seconds,
    wait_unproven: Seconds,
    go_back: Seconds,
    forced_burst: Count,
    forced_every: Seconds,
    probe_delays: Delays,
    probe_timeout: Seconds,
    probe_again: Seconds,
    probe_unreported: Seconds,
    keep_in_use: Seconds,
    give_up: Seconds,
    episode: Seconds,
    episode_max: Seconds,
    rotation_window: Seconds,
    rotation_pause: Seconds,
    previous_grace: Seconds,
    stale_grace: Seconds,
    wake: Seconds,
    lagging: Seconds,
    lease: Seconds,
    drain: Seconds,
}

impl<'de> Deserialize<'de> for Policy {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Numbers)
    }
}

struct Numbers;

impl<'de> Visitor<'de> for Numbers {
    type Value = Policy;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the numbers of a policy by their names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Policy, A::Error> {
        let mut policy = Policy::default();
        while let Some(name) = map.next_key::<Cow<'_, str>>()? {
            match place(&mut policy, &name) {
                Some(Place::Share(share)) => *share = map.next_value()?,
                Some(Place::Count(count)) => *count = map.next_value()?,
                Some(Place::Seconds(duration)) => *duration = seconds(map.next_value()?)?,
                Some(Place::Delays(delays)) => {
                    let read = map.next_value::<Vec<f64>>()?.into_iter().map(seconds);
                    *delays = read.collect::<Result<_, _>>()?;
                }
                None => return Err(A::Error::unknown_field(&name, NAMES)),
            }
        }
        Ok(policy)
    }
}

fn seconds<E: Error>(number: f64) -> Result<Duration, E> {
    Duration::try_from_secs_f64(number)
        .map_err(|_| E::custom("a duration must be a number of seconds, zero or more"))
}
