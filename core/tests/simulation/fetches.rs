//! What must be true of fetches: when they start, and which answers are taken.

use keyswap::{
    Credential, CredentialSet, ErrorKind, Moment,
    engine::rotation::{Counts, Input},
};

use super::{Checked, Oracle, members, must};

pub(super) const FLOOR_MIN: u64 = 1_000;
const FLOOR: u64 = 5_000;
const RETRY_AFTER_MAX: u64 = 300_000;
pub(super) const TOKENS: f64 = 2.0;
const TOKEN_EVERY: f64 = 5_000.0;
const URGENT_MAX: u64 = 15_000;
const GO_BACK: u64 = 10_000;

impl Oracle {
    /// The way back is for those with nothing to lose, and to an answer that was given before.
    pub(super) fn check_way_back(&self, input: &Input, now: Moment) -> Checked {
        let Input::Fetched(_, set) = input else {
            return Err(format!("invariant 2: {input:?} leads back"));
        };
        let ids: Vec<_> = members(set).map(|member| member.id().to_owned()).collect();
        let before = self
            .refused
            .iter()
            .find(|(known, number, _)| *known == ids && *number == set.generation());
        let long_ago = before.is_some_and(|(_, _, at)| at + GO_BACK <= now.boot);
        must!(long_ago, "invariant 2: generation {} was not given before", set.generation());
        // What fits on no request is as good as rejected.
        let is_good = self.surely_usable().find(|held| {
            !self.is_unfit(held)
                && self.ids.get(held.id()).is_none_or(|known| known.rejected <= known.accepted)
        });
        must!(
            is_good.is_none(),
            "invariant 2: it leads back, and {} was not rejected",
            is_good.map_or("", Credential::id)
        );
        Ok(())
    }

    pub(super) fn book_refusal(&mut self, input: &Input, counts: Counts, now: Moment) {
        if counts.changed > self.counts.changed {
            self.refused.clear();
        }
        let (Input::Fetched(_, set), true) = (input, counts.failed > self.counts.failed) else {
            return;
        };
        let ids: Vec<_> = members(set).map(|member| member.id().to_owned()).collect();
        let number = set.generation();
        if !self.refused.iter().any(|(known, of, _)| *known == ids && *of == number) {
            self.refused.push((ids, number, now.boot));
        }
    }

    /// The outcome of the live fetch, if this input ends it.
    pub(super) fn end_of_fetch(&self, input: &Input) -> Option<Result<(), ErrorKind>> {
        match input {
            Input::Fetched(ticket, _) | Input::NotModified(ticket) => {
                (self.live == Some(*ticket)).then_some(Ok(()))
            }
            Input::Failed(ticket, error) => (self.live == Some(*ticket)).then(|| Err(error.kind())),
            _ => None,
        }
    }

    pub(super) fn started(&mut self, ticket: u64, now: Moment, counts: Counts) -> Checked {
        must!(self.live.is_none(), "invariant 4: two fetches are live");
        self.live = Some(ticket);
        must!(now.boot >= self.not_before, "invariant 5: Retry-After is not honoured");
        self.earn_tokens(now);
        self.is_forced = counts.forced > self.counts.forced;
        if self.is_forced {
            self.tokens -= 1.0;
            must!(self.tokens > -0.001, "invariant 5: a forced fetch without a token");
        } else if let Some(last) = self.last_start {
            must!(
                now.boot >= last + self.floor,
                "invariant 5: {} ms between fetches, the floor is {}",
                now.boot - last,
                self.floor
            );
        }
        self.last_start = Some(now.boot);
        Ok(())
    }

    pub(super) fn earn_tokens(&mut self, now: Moment) {
        let earned = (now.boot - self.tokens_at) as f64 / TOKEN_EVERY;
        self.tokens = (self.tokens + earned).min(TOKENS);
        self.tokens_at = now.boot;
    }

    /// Books the answer to a fetch: the floor and the token that follow from it.
    pub(super) fn answered(
        &mut self,
        now: Moment,
        counts: Counts,
        ended: Option<Result<(), ErrorKind>>,
        input: &Input,
    ) {
        if let (Some(_), Input::Failed(_, error)) = (ended, input)
            && let Some(wait) = error.retry_after()
        {
            let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            let wait = wait.clamp(FLOOR_MIN, RETRY_AFTER_MAX);
            self.not_before_in_need = now.boot + wait.min(URGENT_MAX);
            let is_calm = self.rejections == 0 && self.lives_on(now);
            self.not_before = if is_calm { now.boot + wait } else { self.not_before_in_need };
        }
        let worked =
            counts.changed + counts.not_modified > self.counts.changed + self.counts.not_modified;
        if worked {
            let primary = self.snapshot.set().and_then(CredentialSet::primary);
            let lives = primary.filter(|primary| primary.expires_at().is_some());
            self.floor = match lives.and_then(|primary| self.ends.get(primary.id())) {
                Some(ends) => {
                    let wall = u64::try_from(ends.wall.saturating_sub(now.wall)).unwrap_or(0);
                    let left = wall.min(ends.boot.saturating_sub(now.boot));
                    (left / 10).clamp(FLOOR_MIN, FLOOR)
                }
                None => FLOOR,
            };
        }
    }
}
