//! One credential of the set, with what is known of it: when it is usable, what the API said of it, and
//! what its rejection set in motion.

use std::{sync::Arc, time::Duration};

use crate::{
    backoff::doubled,
    credential::Credential,
    error::Error,
    moment::{Moment, millis},
    policy::Policy,
};

/// A time that does not come.
pub(super) const NEVER: Moment = Moment { wall: i64::MAX, boot: u64::MAX };

/// How many acceptances in a row prove a credential on which replicas disagreed. Two of them that answer
/// at random bring so many once in 65,536 times.
const STEADY: u32 = 16;
/// A credential that was accepted less often, and is rejected, is one that replicas disagree on.
const YOUNG: u32 = 8;

pub(super) struct Member {
    pub(super) credential: Arc<Credential>,
    pub(super) role: Role,
    pub(super) starts: Option<Moment>,
    pub(super) ends: Option<Moment>,
    /// What it had left to live when it came, or when its end was last moved.
    pub(super) life: Option<Duration>,
    /// Whether its end, which was judged by this machine's clock alone, proved to be none.
    pub(super) outlived: bool,
    /// When it was first seen as a previous one: its grace counts from then.
    pub(super) retired: Option<Moment>,
    /// Whether the times above were read from a set for the role that it has.
    pub(super) is_timed: bool,
    /// The number of sends when its state last changed. Evidence up to it is ignored.
    since: u64,
    /// The last send that the API accepted.
    accepted: u64,
    /// The rejections with no acceptance between.
    pub(super) run: Option<Run>,
    /// Why no request can carry it, if none can.
    pub(super) unfit: Option<Error>,
    /// The acceptance that proved it, with no rejection since.
    pub(super) proven: Option<u64>,
    /// Whether the API took it back and rejected it again: its replicas disagree. Then one acceptance
    /// proves nothing.
    pub(super) wavers: bool,
    /// Whether it was accepted after a rejection.
    pub(super) returned: bool,
    /// The acceptances with no rejection between.
    streak: u32,
    pub(super) episode: Option<Episode>,
    /// When what the API said of it beside an answer was last followed.
    status_followed: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Primary,
    Previous,
    Next,
}

/// Rejections with no acceptance between: the first and the last send, and how many.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) count: u32,
}

/// What the rejection of a credential in use set in motion: a forced fetch, and requests that wait for it.
pub(super) struct Episode {
    opened: u64,
    cooldown: Duration,
    state: EpisodeState,
}

impl Episode {
    /// When the next one may begin.
    pub(super) fn cools_at(&self) -> u64 {
        self.opened.saturating_add(millis(self.cooldown))
    }

    /// When its state changes by itself: requests wait for its fetches so long, and then fail fast until it
    /// has cooled down.
    pub(super) fn changes_at(&self, wait: Duration) -> Option<u64> {
        match self.state {
            EpisodeState::Open => Some(self.opened.saturating_add(millis(wait))),
            EpisodeState::Exhausted => Some(self.cools_at()),
            EpisodeState::Over => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EpisodeState {
    Open,
    Exhausted,
    Over,
}

impl Member {
    pub(super) fn new(credential: Arc<Credential>, role: Role, sends: u64) -> Self {
        Self {
            credential,
            role,
            starts: None,
            ends: None,
            life: None,
            outlived: false,
            retired: None,
            is_timed: false,
            since: sends,
            accepted: 0,
            run: None,
            unfit: None,
            proven: None,
            wavers: false,
            returned: false,
            streak: 0,
            episode: None,
            status_followed: None,
        }
    }

    pub(super) fn is(&self, id: &str) -> bool {
        self.credential.id() == id
    }

    pub(super) fn has_ended(&self, now: Moment) -> bool {
        self.ends.is_some_and(|ends| ends.reached(now))
    }

    pub(super) fn is_usable(&self, now: Moment) -> bool {
        self.starts.is_none_or(|starts| starts.reached(now)) && !self.has_ended(now)
    }

    /// Its state changes now: what was sent before says nothing of what it has become.
    pub(super) fn begin_anew(&mut self, sends: u64) {
        self.ignore_until(sends);
        self.run = None;
    }

    /// What was sent so far says nothing any more.
    pub(super) fn ignore_until(&mut self, sends: u64) {
        self.since = sends;
    }

    /// The API rejected it. False if that is too old to count.
    pub(super) fn rejected(&mut self, sent: u64) -> bool {
        let counts = sent > self.since && sent > self.accepted;
        if counts {
            let run = self.run.get_or_insert(Run { first: sent, last: sent, count: 0 });
            run.last = run.last.max(sent);
            run.count = run.count.saturating_add(1);
            self.proven = None;
            // A few acceptances after which it is rejected were those of some replicas. Most are not told, only
            // counted.
            let is_young = self.credential.accepted().count() < YOUNG.into();
            self.wavers |= self.returned || (is_young && (1..YOUNG).contains(&self.streak));
            self.streak = 0;
        }
        counts
    }

    /// No request can carry it. That is true whenever it is heard.
    pub(super) fn is_unfit(&mut self, sends: u64, why: Error) {
        let run = self.run.get_or_insert(Run { first: sends, last: sends, count: 0 });
        run.count = run.count.saturating_add(1);
        self.proven = None;
        self.unfit = Some(why);
    }

    /// The API accepted it. False if that is too old to count.
    pub(super) fn accepted(&mut self, sent: u64) -> bool {
        let counts = sent > self.since;
        if counts {
            self.accepted = self.accepted.max(sent);
            self.unfit = None;
            let was_rejected = self.run.is_some();
            self.run = self.run.filter(|run| sent < run.last);
            if self.run.is_none() {
                self.prove(sent, was_rejected);
            }
        }
        counts
    }

    fn prove(&mut self, sent: u64, was_rejected: bool) {
        self.returned |= was_rejected;
        self.streak = self.streak.saturating_add(1);
        if self.streak >= STEADY {
            (self.wavers, self.returned) = (false, false);
        }
        if !self.wavers {
            self.proven.get_or_insert(sent);
        }
    }

    pub(super) fn is_steady(&self) -> bool {
        self.streak >= STEADY
    }

    /// Whether the API is known to have accepted it at any time.
    pub(super) fn was_accepted(&self) -> bool {
        self.accepted > 0 || self.credential.accepted().count() > 0
    }

    /// Whether what came of a send tells something of what it is now.
    pub(super) fn is_news(&self, sent: u64) -> bool {
        sent > self.since
    }

    /// Whether the API accepted a send later than this one.
    pub(super) fn was_accepted_after(&self, sent: u64) -> bool {
        self.accepted > sent
    }

    /// Begins an episode, unless the last one has not cooled down. Each takes twice as long to cool.
    pub(super) fn open_episode(&mut self, now: u64, policy: &Policy) -> bool {
        let cooldown = match &self.episode {
            Some(episode) if now < episode.cools_at() => return false,
            Some(episode) => doubled(episode.cooldown, 1, policy.episode_max),
            None => policy.episode,
        };
        self.episode = Some(Episode { opened: now, cooldown, state: EpisodeState::Open });
        true
    }

    /// Whether what the API says of it beside an answer is to be followed now: what stands on every response would
    /// otherwise be a storm.
    pub(super) fn follow_status(&mut self, now: u64, policy: &Policy) -> bool {
        let rests = |at: u64| now < at.saturating_add(millis(policy.episode));
        let follows = !self.status_followed.is_some_and(rests);
        if follows {
            self.status_followed = Some(now);
        }
        follows
    }

    pub(super) fn end_episode(&mut self, state: EpisodeState) {
        if let Some(episode) = &mut self.episode {
            episode.state = state;
        }
    }

    pub(super) fn is_in(&self, state: EpisodeState) -> bool {
        self.episode.as_ref().is_some_and(|episode| episode.state == state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rejected after so many acceptances in a row.
    fn wavers_after(acceptances: u64) -> bool {
        let credential = Arc::new(Credential::new("k1", "s"));
        let mut member = Member::new(credential, Role::Primary, 0);
        (1..=acceptances).for_each(|sent| assert!(member.accepted(sent)));
        assert!(member.rejected(acceptances + 1));
        member.wavers
    }

    #[test]
    fn a_few_acceptances_before_a_rejection_were_those_of_some_replicas() {
        assert!(!wavers_after(0), "nobody knows it yet");
        assert!(wavers_after(1));
        assert!(wavers_after(u64::from(YOUNG) - 1));
        assert!(!wavers_after(YOUNG.into()), "it was proven, and is gone");
    }
}
