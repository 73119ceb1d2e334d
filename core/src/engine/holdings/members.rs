//! The credentials of a set as members of what is held, with their times in the client's own time.

use std::time::Duration;

use jiff::Timestamp;

use super::Holdings;
use crate::{
    credential::CredentialSet,
    engine::member::{Member, NEVER, Role},
    moment::Moment,
};

impl Holdings {
    /// Makes members of a set's credentials. What is known of a key that was held before stays known.
    /// Returns the members that are gone.
    pub(super) fn seat(&mut self, now: Moment, set: &CredentialSet, sends: u64) -> Vec<Member> {
        let mut old = std::mem::take(&mut self.members);
        for (index, credential) in set.members().enumerate() {
            let role = match index {
                0 => Role::Primary,
                n if n <= set.previous.len() => Role::Previous,
                _ => Role::Next,
            };
            let same = old.iter().position(|member| member.credential.is_same_key(credential));
            let before = same.map(|at| old.swap_remove(at));
            let mut member = before.unwrap_or_else(|| Member::new(credential.clone(), role, sends));
            // A source that shows its clock corrects what was believed before. One that does not leaves
            // alone what is known, or a wall clock that was set back would lengthen lives.
            let is_same = *member.credential == **credential;
            let is_known = member.is_timed && member.role == role && is_same;
            // The object that requests already hold is kept, so that an unchanged key is no change.
            if !is_same {
                member.credential = credential.clone();
                (member.life, member.outlived) = (None, false);
            }
            member.role = role;
            let retired = (role == Role::Previous).then(|| member.retired.unwrap_or(now));
            member.retired = retired;
            if !is_known || set.as_of.is_some() {
                self.read_times(now, &mut member, set);
            }
            // Admitted all the same: by this machine's clock alone it has ended.
            if index == 0 && set.as_of.is_none() && member.has_ended(now) {
                (member.ends, member.outlived) = (None, true);
            }
            self.members.push(member);
        }
        let moment = |at| named(at).map(|at| to_moment(now, set, at));
        let Member { ends, life, .. } = self.members[0];
        let life = life.unwrap_or(Duration::ZERO);
        let hard = life.mul_f64(self.policy.hard_lead_ratio).min(self.policy.hard_lead_max);
        // Counted from its end, by the life that it had when it came: a new set that keeps it changes neither.
        let grace = life.min(self.policy.stale_grace);
        self.hard_at = ends.map(|ends| ends.before(hard));
        self.stale_until = moment(set.stale_ok_until).or_else(|| ends.map(|ends| ends + grace));
        self.refresh_at = moment(set.refresh_after);
        old
    }

    /// Turns the times that the source named into local ones.
    fn read_times(&self, now: Moment, member: &mut Member, set: &CredentialSet) {
        let moment = |at| named(at).map(|at| to_moment(now, set, at));
        let credential = &member.credential;
        let splay = set.splay.mul_f64(self.jitter);
        member.is_timed = true;
        member.starts = match member.role {
            _ if self.is_foreign(member) => Some(NEVER),
            // Without a time, a staged credential is for information only.
            Role::Next => Some(moment(credential.activate_at()).map_or(NEVER, |at| at + splay)),
            _ => moment(credential.not_before()),
        };
        let expires = moment(credential.expires_at());
        member.outlived &= set.as_of.is_none();
        let expires = expires.filter(|_| !member.outlived);
        if member.life.is_none() && member.role != Role::Previous {
            member.life = expires.map(|expires| expires.remaining(now));
        }
        member.ends = match member.retired {
            // Nobody said that it ends. It is given up when the API has accepted what followed it.
            Some(_) if set.implied => expires,
            None => expires,
            Some(retired) => moment(credential.grace_expires_at()).or_else(|| {
                let grace = retired + self.policy.previous_grace;
                Some(expires.map_or(grace, |expires| expires.earlier(grace)))
            }),
        };
    }

    /// Whether it names a scheme that this program cannot apply.
    pub(super) fn is_foreign(&self, member: &Member) -> bool {
        let named = member.credential.scheme();
        named.is_some_and(|named| !self.known_schemes.contains(&named.name))
    }
}

/// Whether the primary credential of a set has ended, as far as anybody can tell.
pub(in crate::engine) fn has_ended(now: Moment, set: &CredentialSet) -> bool {
    let ends = set.primary().and_then(|primary| named(primary.expires_at()));
    ends.is_some_and(|ends| to_moment(now, set, ends).reached(now))
}

/// A time, unless it is a way to say that there is none: the last year that can be written, as some
/// languages write "never", or the first.
pub(super) fn named(at: Option<Timestamp>) -> Option<Timestamp> {
    /// The first instants of the years 2 and 9999.
    const YEARS: std::ops::Range<i64> = -62_104_060_800..253_370_764_800;
    at.filter(|at| YEARS.contains(&at.as_second()))
}

/// The local moment of a time that the source named, by the source's own clock.
pub(super) fn to_moment(now: Moment, set: &CredentialSet, at: Timestamp) -> Moment {
    let source_now = named(set.as_of).map_or(now.wall, Timestamp::as_millisecond);
    let left = at.as_millisecond().saturating_sub(source_now);
    match u64::try_from(left) {
        Ok(left) => now + Duration::from_millis(left),
        Err(_) => now.before(Duration::from_millis(left.unsigned_abs())),
    }
}
