//! When the credentials of the set end, as the client may believe at worst.

use keyswap::{CredentialSet, Moment};

use super::Oracle;

const PREVIOUS_GRACE: u64 = 600_000;

/// When a credential of the set ends, as the client may believe at worst.
pub(super) struct Ends {
    pub(super) wall: i64,
    pub(super) boot: u64,
    pub(super) reached: bool,
}

impl Ends {
    pub(super) fn lower(&mut self, wall: i64, boot: u64) {
        self.wall = self.wall.min(wall);
        self.boot = self.boot.min(boot);
    }
}

impl Oracle {
    /// The worst that the client may believe of the ends of what it holds.
    pub(super) fn read_ends(&mut self, source_now: Option<i64>, now: Moment) {
        let Some(held) = self.snapshot.set() else { return };
        let source_now = source_now.unwrap_or(now.wall);
        let left = |at: jiff::Timestamp| {
            u64::try_from(at.as_millisecond().saturating_sub(source_now)).unwrap_or(0)
        };
        let forever = 1 << 50;
        let primary = held.primary().map(|primary| (primary, false));
        let previous = held.previous().map(|previous| (previous, true));
        for (credential, is_previous) in primary.into_iter().chain(previous) {
            let expires = credential.expires_at().map_or(forever, left);
            let life = match credential.grace_expires_at() {
                Some(grace) if is_previous => left(grace).min(expires),
                None if is_previous => expires.min(PREVIOUS_GRACE),
                _ => expires,
            };
            let (wall, boot) = (now.wall.saturating_add_unsigned(life), now.boot + life);
            self.ends
                .entry(credential.id().to_owned())
                .or_insert(Ends { wall, boot, reached: false })
                .lower(wall, boot);
        }
    }

    pub(super) fn pass_time(&mut self, now: Moment) {
        for ends in self.ends.values_mut() {
            ends.reached |= now.wall >= ends.wall || now.boot >= ends.boot;
        }
        // What need has cut short stays short.
        if !self.is_calm() {
            self.not_before = self.not_before.min(self.not_before_in_need);
        }
    }

    /// Whether what is in use has more than the last minute, or tenth, of its life left.
    pub(super) fn lives_on(&self, now: Moment) -> bool {
        let primary = self.snapshot.set().and_then(CredentialSet::primary);
        primary.and_then(|primary| self.ends.get(primary.id())).is_some_and(|ends| {
            let wall = u64::try_from(ends.wall.saturating_sub(now.wall)).unwrap_or(0);
            wall.min(ends.boot.saturating_sub(now.boot)) > 60_000
        })
    }
}
