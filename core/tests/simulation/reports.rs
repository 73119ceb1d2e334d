//! What the provider is told of the credentials in use, and what it answers.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use fastrand::Rng;
use keyswap::{
    Credential, CredentialSet, Error, ErrorKind, Snapshot,
    engine::rotation::{Action, Input},
    source::{Report, ReportedStatus},
};

use crate::oracle::{Checked, must};

const DRAIN: u64 = 30_000;
const BATCH: u64 = 1_000;

pub(crate) struct Reports {
    /// Of its own, so that lives are what they were without reports.
    rng: Rng,
    seen: Option<Arc<Snapshot>>,
    generation: Option<u64>,
    /// When requests were last given each credential, or could have been.
    carried: BTreeMap<String, u64>,
    /// Gone, and told as drained.
    settled: BTreeSet<String>,
    underway: Option<Report>,
    last: Option<u64>,
    declined: bool,
}

impl Reports {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            rng: Rng::with_seed(seed ^ 0x5eed),
            seen: None,
            generation: None,
            carried: BTreeMap::new(),
            settled: BTreeSet::new(),
            underway: None,
            last: None,
            declined: false,
        }
    }

    pub(crate) fn time_to(&mut self, report: &Report) -> u64 {
        self.underway = Some(report.clone());
        self.rng.u64(1..12_000)
    }

    /// A request carries this credential now.
    pub(crate) fn sent(&mut self, credential: &Credential, now: u64) {
        self.carried.insert(credential.id().to_owned(), now);
    }

    pub(crate) fn answer(&mut self) -> Input {
        let failed = Error::new(ErrorKind::Unavailable, "down on purpose");
        match self.rng.u16(..200) {
            0 => Input::ReportDeclined,
            1 => Input::Reported(Err(failed.with_status(404))),
            2..60 => Input::Reported(Err(failed)),
            _ => Input::Reported(Ok(())),
        }
    }

    pub(crate) fn check(
        &mut self,
        snapshot: &Arc<Snapshot>,
        now: u64,
        input: &Input,
        actions: &[Action],
    ) -> Checked {
        self.hear(input, snapshot, now);
        // What was shown until this step was carried until now.
        for shown in self.seen.iter().chain([snapshot]) {
            for carried in [shown.in_use(), shown.candidate()].into_iter().flatten() {
                self.carried.insert(carried.id().to_owned(), now);
            }
        }
        self.seen = Some(snapshot.clone());
        self.generation = snapshot.set().map(CredentialSet::generation).or(self.generation);
        let held =
            |id: &str| snapshot.set().is_some_and(|set| members(set).any(|it| it.id() == id));
        self.settled.retain(|id| !held(id));
        for action in actions {
            if let Action::Report(report) = action {
                let is_last = matches!(input, Input::Closed);
                self.told(report, is_last, snapshot, now)?;
            }
        }
        Ok(())
    }

    fn hear(&mut self, input: &Input, snapshot: &Snapshot, now: u64) {
        match input {
            Input::Reported(outcome) => {
                let Some(report) = self.underway.take() else { return };
                self.declined |= outcome.as_ref().is_err_and(|error| error.status() == Some(404));
                let is_gone = |id: &str| {
                    !snapshot.set().is_some_and(|set| members(set).any(|it| it.id() == id))
                };
                // One that a request carried while the report was on its way is not drained any more.
                let is_idle = |id: &str| self.carried.get(id).is_none_or(|at| now >= at + DRAIN);
                let observed = report.observations.iter();
                let ids: Vec<_> = observed
                    .filter(|it| it.status == ReportedStatus::Drained)
                    .map(|it| it.credential.to_string())
                    .filter(|id| is_gone(id) && is_idle(id))
                    .collect();
                if outcome.is_ok() {
                    self.settled.extend(ids);
                }
            }
            Input::ReportDeclined => (self.underway, self.declined) = (None, true),
            // A request that fell back to it carried it, too.
            Input::Rejected(evidence) | Input::Accepted(evidence)
                if !self.settled.contains(&*evidence.credential) =>
            {
                if let Some(at) = self.carried.get_mut(&*evidence.credential) {
                    *at = now;
                }
            }
            _ => {}
        }
    }

    fn told(&mut self, report: &Report, is_last: bool, snapshot: &Snapshot, now: u64) -> Checked {
        let status = |id: &str| {
            report.observations.iter().find(|it| *it.credential == *id).map(|it| it.status)
        };
        must!(!self.declined, "a source that declined is asked again");
        must!(Some(report.generation) == self.generation, "another generation is reported");
        must!(report.lease.is_zero() == is_last, "a lease of {:?}", report.lease);
        if is_last {
            let all_drained =
                report.observations.iter().all(|it| it.status == ReportedStatus::Drained);
            must!(all_drained, "the last report tells of one in use");
            return Ok(());
        }
        must!(report.lease == Duration::from_secs(900), "a lease of {:?}", report.lease);
        must!(self.underway.is_none(), "two reports are on their way");
        must!(self.last.is_none_or(|last| now >= last + BATCH), "reports come too often");
        self.last = Some(now);
        if let Some(in_use) = snapshot.in_use().map(Credential::id) {
            must!(status(in_use) == Some(ReportedStatus::Active), "{in_use} is not told as in use");
        }
        for (id, at) in &self.carried {
            let told = status(id);
            let is_fresh = now < at + DRAIN;
            must!(
                !is_fresh
                    || matches!(told, Some(ReportedStatus::Active | ReportedStatus::Rejected)),
                "{id} is told as {told:?}, and was carried {} ms ago",
                now - at
            );
        }
        for observed in &report.observations {
            let id = &*observed.credential;
            must!(!self.settled.contains(id), "{id} is told as drained again");
        }
        Ok(())
    }
}

fn members(set: &CredentialSet) -> impl Iterator<Item = &Credential> {
    set.primary().into_iter().chain(set.previous()).chain(set.next())
}
