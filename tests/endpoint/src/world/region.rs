//! The regions: endpoints that show the same world, each with troubles of its own.

use super::rotation::Publication;
use super::{EndpointFault, EndpointStep, Fault, StepError, World};

/// One endpoint.
#[derive(Clone, Debug, Default)]
pub(super) struct Region {
    pub(super) fault: Fault<EndpointFault>,
    /// What it has to say to those who listen, in the order in which it became visible.
    pub(super) notices: Vec<Notice>,
    /// How often it broke off what was open.
    pub(super) breaks: u64,
    /// How often it fell silent.
    pub(super) silences: u64,
    /// Fetches that it was asked.
    pub(super) fetches: u64,
}

/// That a publication became visible.
#[derive(Clone, Copy, Debug)]
pub(super) struct Notice {
    /// When it is told.
    pub(super) due_at: u64,
    /// The publication's place.
    pub(super) place: usize,
}

impl World {
    pub(super) fn region(&self, region: usize) -> &Region {
        &self.regions[region.min(self.regions.len() - 1)]
    }

    pub(super) fn region_mut(&mut self, region: usize) -> &mut Region {
        let last = self.regions.len() - 1;
        &mut self.regions[region.min(last)]
    }

    /// A fault befalls one region, or all.
    pub(super) fn befall(&mut self, now: u64, step: &EndpointStep) -> Result<(), StepError> {
        let last = self.regions.len() - 1;
        if let Some(named) = step.region.filter(|named| *named > last) {
            return Err(StepError::Region { named, last });
        }
        for (n, region) in self.regions.iter_mut().enumerate() {
            if step.region.is_none_or(|named| named == n) {
                region.fault.set(now, step.fault.clone(), step.for_ms);
                match step.fault {
                    Some(EndpointFault::Outage | EndpointFault::EventsDropped) => {
                        region.breaks += 1;
                    }
                    Some(EndpointFault::EventsSilent) => region.silences += 1,
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Notes for each region what has become visible. It is done before anything changes, so a fault
    /// that comes later has no part in it.
    pub(super) fn announce(&mut self, now: u64) {
        let visible_at = |place: &usize| self.published[*place].visible_at;
        let mut due: Vec<usize> =
            self.unannounced.iter().copied().filter(|place| visible_at(place) <= now).collect();
        if due.is_empty() {
            return;
        }
        due.sort_by_key(visible_at);
        self.unannounced.retain(|place| self.published[*place].visible_at > now);
        for place in due {
            let at = self.published[place].visible_at;
            for region in &mut self.regions {
                let late = match region.fault.at(at) {
                    Some(EndpointFault::EventsSlow { ms } | EndpointFault::Behind { ms }) => ms,
                    _ => 0,
                };
                region.notices.push(Notice { due_at: at.saturating_add(late), place });
            }
        }
    }

    /// What a region with this fault shows now, with its place in the history.
    pub(super) fn shown(&self, now: u64, fault: Option<&EndpointFault>) -> (usize, &Publication) {
        match fault {
            Some(EndpointFault::Behind { ms }) => self.visible(now.saturating_sub(*ms)),
            _ => self.visible(now),
        }
    }

    /// When something may change by itself that a region shows, steps aside.
    pub fn next_due(&self, now: u64, region: usize) -> Option<u64> {
        let fault = &self.region(region).fault;
        let late = match fault.at(now) {
            Some(EndpointFault::Behind { ms }) => ms,
            _ => 0,
        };
        let shown = self.published.iter().map(|one| one.visible_at.saturating_add(late));
        let activation = self.activation.as_ref().map(|(at, _)| *at);
        shown.chain(activation).chain(fault.ends(now)).filter(|at| *at > now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{step, world};
    use super::super::{FetchRequest, Planned, World};
    use super::*;

    fn apply(world: &mut World, now: u64, json: &str) {
        world.apply(now, &step(json)).expect(json);
    }

    /// The generation that a region shows; none if it does not answer.
    fn shown(world: &mut World, now: u64, region: usize) -> Option<u64> {
        let ask = FetchRequest { bearer: Some("bootstrap"), region, ..Default::default() };
        match world.fetch(now, &ask) {
            Planned::Answer { reply, .. } => reply.generation,
            _ => None,
        }
    }

    #[test]
    fn each_region_has_its_own_faults_and_counts() {
        let mut world = world(r#"{"regions": 3}"#);
        apply(&mut world, 0, r#"{"do": "endpoint", "fault": "outage", "region": 1}"#);
        assert_eq!([0, 1, 2].map(|one| shown(&mut world, 0, one)), [Some(1), None, Some(1)]);
        apply(&mut world, 5, r#"{"do": "endpoint", "fault": "outage"}"#);
        assert_eq!([0, 1, 2].map(|one| shown(&mut world, 5, one)), [None; 3]);
        apply(&mut world, 9, r#"{"do": "endpoint", "fault": "none", "region": 2}"#);
        assert_eq!([1, 2].map(|one| shown(&mut world, 9, one)), [None, Some(1)]);
        let counters = world.counters();
        assert_eq!([0, 1, 2].map(|one| counters[&format!("fetch.region.{one}")]), [2, 3, 3]);
        assert_eq!((counters["fetch.started"], counters["fetch.changed"]), (8, 3));
        let error = world.apply(9, &step(r#"{"do":"endpoint","fault":"none","region":3}"#));
        assert_eq!(error, Err(StepError::Region { named: 3, last: 2 }));
    }

    #[test]
    fn a_region_may_be_behind() {
        let mut world = world(r#"{"regions": 2}"#);
        apply(&mut world, 0, r#"{"do": "endpoint", "fault": "behind", "ms": 100, "region": 0}"#);
        apply(&mut world, 50, r#"{"do": "rotate"}"#);
        assert_eq!([0, 1].map(|one| shown(&mut world, 149, one)), [Some(1), Some(2)]);
        assert_eq!((world.next_due(149, 0), world.next_due(149, 1)), (Some(150), None));
        assert_eq!(shown(&mut world, 150, 0), Some(2));
    }
}
