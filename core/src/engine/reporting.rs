//! Which credentials this program uses, and when the provider is told.
//!
//! # Theory of operation
//!
//! An operator may retire a key once no program uses it any more. So each credential that is or was held
//! has a record here, which every step brings up to date: it is *active* while it is in use or tried as
//! the candidate, and for one drain time after anything last showed that a request carried it: what the API
//! said of it, or a send that fell back to it; then *drained*. One that the API rejects, and that is not in
//! use, is *rejected*; one that was never handed out is *received*. The credential in use is active even
//! while it is rejected: telling otherwise would invite an operator to retire what requests still carry.
//!
//! A report is due shortly after any record, or the generation, differs from what the provider was last
//! told, and each third of the lease. The delay gathers the changes of a second, and spreads the fleet
//! over the splay that the set names. What is told is always the newest state, read when it is told.
//!
//! Guarantees: nothing is told before the first set; one report is on its way at a time; a credential
//! that is gone is told as drained once, and then forgotten; once a source has declined, nothing more is
//! told until the levels of its set change. It decides nothing about traffic, and failing to report
//! leads to nothing but a later report.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::holdings::Holdings;
use crate::{
    backoff::doubled,
    credential::{Credential, CredentialId, Tally},
    error::Error,
    moment::{Moment, millis},
    policy::Policy,
    report::{Observation, Report, ReportedStatus},
};

/// The level of the protocol at which a source takes reports.
const LEVEL: &str = "acks";
/// Changes within this time are told together.
const BATCH: Duration = Duration::from_secs(1);
/// The first delay after a failed report; it doubles, up to a third of the lease.
const RETRY: Duration = Duration::from_secs(1);
/// How many credentials that are gone it remembers until it can tell that they are drained.
const REMEMBERED: usize = 16;

/// What the program uses, and what the provider was told of it.
pub(super) struct Reporting {
    policy: Arc<Policy>,
    records: Vec<Record>,
    /// The newest generation, the one on its way, and the one that the provider was told.
    generation: Option<u64>,
    sending: Option<u64>,
    told: Option<u64>,
    levels: Vec<Box<str>>,
    declined: bool,
    /// When the changes that were seen are to be told.
    gathered_at: Option<u64>,
    /// When the lease is to be renewed.
    renew_at: u64,
    not_before: u64,
    failures: u32,
}

/// What is known of one credential's use.
struct Record {
    // Not the credential: what is told of a key that is gone must not keep its material alive.
    id: CredentialId,
    tally: Tally,
    /// What was counted for other material of this id.
    earlier: u64,
    /// What requests had left of a trace when it was last looked at.
    seen: u64,
    rejected: u64,
    used_at: Option<Moment>,
    is_held: bool,
    /// In use, or tried: any request may carry it now.
    is_handed_out: bool,
    status: ReportedStatus,
    sending: Option<ReportedStatus>,
    told: Option<ReportedStatus>,
}

/// Who carries what, after a step.
pub(super) struct InHand<'a> {
    pub(super) in_use: Option<&'a str>,
    pub(super) candidate: Option<&'a str>,
}

impl Reporting {
    pub(super) fn new(policy: Arc<Policy>) -> Self {
        Self {
            policy,
            records: Vec::new(),
            generation: None,
            sending: None,
            told: None,
            levels: Vec::new(),
            declined: false,
            gathered_at: None,
            renew_at: u64::MAX,
            not_before: 0,
            failures: 0,
        }
    }

    /// The API said something of a credential: a request carried it.
    pub(super) fn heard(&mut self, now: Moment, id: &str, is_rejected: bool) {
        if let Some(record) = self.records.iter_mut().find(|record| record.is(id)) {
            record.used_at = Some(now);
            record.rejected += u64::from(is_rejected);
        }
    }

    /// Brings the records up to date, and says what is to be told now.
    pub(super) fn pass(
        &mut self,
        now: Moment,
        holdings: &Holdings,
        hand: &InHand<'_>,
    ) -> Option<Report> {
        self.look(now, holdings, hand);
        let splay = holdings.splay().mul_f64(holdings.jitter).min(self.third());
        if self.is_changed() {
            self.gathered_at.get_or_insert(later(now.boot, BATCH + splay));
        } else {
            self.gathered_at = None;
        }
        if self.due()? > now.boot {
            return None;
        }
        self.gathered_at = None;
        self.sending = self.generation;
        for record in &mut self.records {
            record.sending = Some(record.status);
        }
        Some(self.report(now, self.policy.lease, |record| record.status))
    }

    /// When it wants to be looked at again.
    pub(super) fn wake_at(&self) -> u64 {
        let drained = self.records.iter().filter_map(|record| record.drains_at(&self.policy));
        drained.chain(self.due()).min().unwrap_or(u64::MAX)
    }

    /// The report that was on its way reached the provider, or did not.
    pub(super) fn concluded(&mut self, now: u64, outcome: &Result<(), Error>) {
        let Some(generation) = self.sending.take() else { return };
        match outcome {
            Ok(()) => {
                self.told = Some(generation);
                self.failures = 0;
                self.renew_at = later(now, self.third());
                for record in &mut self.records {
                    record.told = record.sending.take().or(record.told);
                }
                self.records.retain(|record| !record.is_done());
            }
            Err(error) if matches!(error.status(), Some(404 | 405)) => self.declined = true,
            Err(error) => {
                let policy = &self.policy;
                let delay = doubled(RETRY, self.failures, self.third());
                let asked = error.retry_after();
                let asked =
                    asked.map(|it| it.clamp(policy.retry_after_min, policy.retry_after_max));
                self.failures = self.failures.saturating_add(1);
                self.not_before = later(now, asked.map_or(delay, |asked| asked.max(delay)));
                self.renew_at = self.not_before;
            }
        }
    }

    /// The source takes no reports.
    pub(super) fn decline(&mut self) {
        self.sending = None;
        self.declined = true;
    }

    /// The last report, if the provider was ever told anything.
    pub(super) fn final_report(&self, now: Moment) -> Option<Report> {
        let knows = self.told.is_some() || self.sending.is_some();
        let wanted = knows && !self.declined;
        wanted.then(|| self.report(now, Duration::ZERO, |_| ReportedStatus::Drained))
    }

    fn look(&mut self, now: Moment, holdings: &Holdings, hand: &InHand<'_>) {
        for record in &mut self.records {
            // What was handed out until this step was carried until now.
            let trace = record.tally.trace();
            if record.is_handed_out || trace != record.seen {
                record.used_at = Some(now);
            }
            record.seen = trace;
            (record.is_held, record.is_handed_out) = (false, false);
        }
        if let Some(set) = &holdings.set {
            self.generation = set.generation;
            if self.levels != set.levels {
                self.levels.clone_from(&set.levels);
                self.declined = false;
            }
        }
        let drain = self.policy.drain;
        for member in &holdings.members {
            let id = member.credential.id();
            let is_in_use = hand.in_use == Some(id);
            let is_rejected = member.run.is_some() && !is_in_use;
            let is_handed_out = is_in_use || hand.candidate == Some(id);
            let record = self.record(&member.credential);
            record.is_held = true;
            record.is_handed_out = is_handed_out;
            record.used_at = if is_handed_out { Some(now) } else { record.used_at };
            record.status = match is_rejected {
                true => ReportedStatus::Rejected,
                false => record.by_use(now, drain),
            };
        }
        for record in self.records.iter_mut().filter(|record| !record.is_held) {
            record.status = record.by_use(now, drain);
        }
        self.forget();
    }

    fn record(&mut self, credential: &Credential) -> &mut Record {
        let known = self.records.iter().position(|record| record.is(credential.id()));
        let at = known.unwrap_or_else(|| {
            self.records.push(Record::new(credential));
            self.records.len() - 1
        });
        let record = &mut self.records[at];
        if !record.tally.is(credential.accepted()) {
            record.earlier += record.tally.count();
            record.seen = credential.accepted().trace();
        }
        record.tally = credential.accepted().clone();
        record
    }

    /// Forgets what is gone and was never handed out, what is gone and told as drained, and, while nothing
    /// can be told, the oldest of what is gone.
    fn forget(&mut self) {
        self.records.retain(|record| !record.is_done());
        let gone = self.records.iter().filter(|record| !record.is_held).count();
        let mut excess = gone.saturating_sub(REMEMBERED);
        self.records.retain(|record| {
            let goes = excess > 0 && !record.is_held;
            excess -= usize::from(goes);
            !goes
        });
    }

    fn is_changed(&self) -> bool {
        self.generation != self.told
            || self.records.iter().any(|record| record.told != Some(record.status))
    }

    /// When the next report is due; never, while one is on its way, or nobody wants any.
    fn due(&self) -> Option<u64> {
        let wanted = !self.declined && !self.policy.lease.is_zero() && self.generation.is_some();
        let due = self.gathered_at.map_or(self.renew_at, |gathered| gathered.min(self.renew_at));
        (wanted && self.sending.is_none()).then_some(due.max(self.not_before))
    }

    fn third(&self) -> Duration {
        (self.policy.lease / 3).max(BATCH)
    }

    fn report(
        &self,
        now: Moment,
        lease: Duration,
        status: impl Fn(&Record) -> ReportedStatus,
    ) -> Report {
        let wall = |at: Moment| Timestamp::from_millisecond(at.wall).ok();
        let observations = self.records.iter().map(|record| Observation {
            credential: record.id(),
            status: status(record),
            last_used_at: if record.is_handed_out { Some(now) } else { record.used_at }
                .and_then(wall),
            ok: record.earlier.saturating_add(record.tally.count()),
            rejected: record.rejected,
        });
        Report {
            generation: self.generation.unwrap_or(0),
            lease,
            announced: self.levels.iter().any(|level| **level == *LEVEL),
            observations: observations.collect(),
        }
    }
}

impl Record {
    fn new(credential: &Credential) -> Self {
        Self {
            id: credential.shared_id(),
            tally: credential.accepted().clone(),
            seen: credential.accepted().trace(),
            earlier: 0,
            rejected: 0,
            used_at: None,
            is_held: true,
            is_handed_out: false,
            status: ReportedStatus::Received,
            sending: None,
            told: None,
        }
    }

    fn id(&self) -> CredentialId {
        self.id.clone()
    }

    fn is(&self, id: &str) -> bool {
        *self.id == *id
    }

    fn by_use(&self, now: Moment, drain: Duration) -> ReportedStatus {
        match self.used_at {
            _ if self.is_handed_out => ReportedStatus::Active,
            None => ReportedStatus::Received,
            Some(at) if now.boot < later(at.boot, drain) => ReportedStatus::Active,
            Some(_) => ReportedStatus::Drained,
        }
    }

    /// When it becomes drained by itself.
    fn drains_at(&self, policy: &Policy) -> Option<u64> {
        let drains = self.status == ReportedStatus::Active && !self.is_handed_out;
        self.used_at.filter(|_| drains).map(|at| later(at.boot, policy.drain))
    }

    /// Whether there is nothing more to tell of it.
    fn is_done(&self) -> bool {
        let drained =
            self.status == ReportedStatus::Drained && self.told == Some(ReportedStatus::Drained);
        !self.is_held && (drained || self.used_at.is_none())
    }
}

fn later(at: u64, by: Duration) -> u64 {
    at.saturating_add(millis(by))
}
