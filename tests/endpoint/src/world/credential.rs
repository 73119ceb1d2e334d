//! One credential, and when each replica accepts it.

use super::config::Secret;

/// A credential of the model. Times are milliseconds of the story.
#[derive(Clone, Debug)]
pub(super) struct Credential {
    pub(super) id: String,
    pub(super) number: u64,
    pub(super) material: Secret,
    pub(super) created_at: u64,
    pub(super) not_before: u64,
    pub(super) activate_at: Option<u64>,
    pub(super) expires_at: Option<u64>,
    pub(super) grace_ends_at: Option<u64>,
    /// Grace that the credential before this one gets when this one is first used. Not told: at once.
    pub(super) grace_at_first_use: Option<u64>,
    /// Until when the API answers 403 to it.
    pub(super) forbidden_until: u64,
    /// Requests that carried it.
    pub(super) sends: u64,
    /// When the API accepted it last.
    pub(super) accepted_at: Option<u64>,
    spans: Vec<Vec<Span>>,
}

/// From when until when one replica accepts a credential.
#[derive(Clone, Copy, Debug)]
struct Span {
    from: u64,
    until: Option<u64>,
}

impl Credential {
    pub(super) fn new(number: u64, seed: u64, replicas: usize, now: u64) -> Self {
        let id = format!("k{number}");
        Self {
            material: material(seed, &id),
            id,
            number,
            created_at: now,
            not_before: now,
            activate_at: None,
            expires_at: None,
            grace_ends_at: None,
            grace_at_first_use: None,
            forbidden_until: 0,
            sends: 0,
            accepted_at: None,
            spans: vec![Vec::new(); replicas],
        }
    }

    /// This replica accepts the credential from then on, until it expires.
    pub(super) fn admit(&mut self, replica: usize, from: u64) {
        self.spans[replica].push(Span { from, until: self.expires_at });
    }

    /// This replica accepts it no longer than this.
    pub(super) fn end(&mut self, replica: usize, at: u64) {
        let spans = &mut self.spans[replica];
        spans.retain(|span| span.from < at);
        for span in spans {
            span.until = Some(span.until.map_or(at, |until| until.min(at)));
        }
    }

    /// Nothing accepts it any more.
    pub(super) fn end_everywhere(&mut self, at: u64) {
        for replica in 0..self.spans.len() {
            self.end(replica, at);
        }
    }

    /// Where it is accepted now, or will be, it stays so until then: a grace replaces the expiry.
    pub(super) fn keep(&mut self, replica: usize, now: u64, until: u64) {
        for span in &mut self.spans[replica] {
            if span.until.is_none_or(|end| end > now) {
                span.until = Some(until.max(span.from));
            }
        }
    }

    pub(super) fn accepted(&self, replica: usize, at: u64) -> bool {
        let holds = |span: &Span| span.from <= at && span.until.is_none_or(|until| at < until);
        self.spans[replica].iter().any(holds)
    }

    /// No replica accepts it, nor will.
    pub(super) fn is_gone(&self, now: u64) -> bool {
        let over = |span: &Span| span.until.is_some_and(|until| until <= now);
        self.spans.iter().flatten().all(over)
    }

    /// The last change of this replica's mind at or before this time.
    pub(super) fn last_change(&self, replica: usize, at: u64) -> Option<u64> {
        let changes = |span: &Span| [Some(span.from), span.until];
        self.spans[replica].iter().flat_map(changes).flatten().filter(|change| *change <= at).max()
    }
}

/// Material that follows from seed and id alone, so that every run of a story has the same.
fn material(seed: u64, id: &str) -> Secret {
    let mut state = id.bytes().fold(seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mut word = || {
        state = state.wrapping_add(STEP);
        mixed(state)
    };
    Secret::new(format!("ks_live_{:016x}{:016x}", word(), word()))
}

/// The nth number that follows from a seed, as good as drawn at random.
pub(super) fn drawn(seed: u64, nth: u64) -> u64 {
    mixed(seed.wrapping_add(nth.wrapping_add(1).wrapping_mul(STEP)))
}

// The generator `SplitMix64`: a counter with this step, and its number mixed.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

fn mixed(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn material_follows_from_seed_and_id() {
        let one = Credential::new(1, 7, 1, 0);
        assert_eq!(one.material, Credential::new(1, 7, 2, 9).material);
        assert_ne!(one.material, Credential::new(2, 7, 1, 0).material);
        assert_ne!(one.material, Credential::new(1, 8, 1, 0).material);
        let text = one.material.reveal();
        assert_eq!(text.len(), "ks_live_".len() + 32);
        assert!(!text.contains("k1"));
        assert!(!format!("{one:?}").contains(text));
    }

    #[test]
    fn spans_end_and_are_kept() {
        let mut one = Credential::new(1, 0, 1, 0);
        one.expires_at = Some(100);
        one.admit(0, 10);
        assert!(!one.accepted(0, 9) && one.accepted(0, 10) && one.accepted(0, 99));
        assert!(!one.accepted(0, 100));
        one.keep(0, 50, 150);
        assert!(one.accepted(0, 149) && !one.accepted(0, 150));
        one.end(0, 60);
        one.end(0, 70);
        assert!(one.accepted(0, 59) && !one.accepted(0, 60));
        one.keep(0, 80, 200);
        assert!(!one.accepted(0, 90), "a grace does not revive");
        assert_eq!(one.last_change(0, 59), Some(10));
        assert_eq!(one.last_change(0, 60), Some(60));
        one.end(0, 5);
        assert_eq!(one.last_change(0, 100), None);
    }
}
