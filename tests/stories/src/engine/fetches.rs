//! What the driver and the source for endpoints do: steps of the rotation, and fetches through the regions.

use std::{mem, sync::Arc, time::Duration};

use keyswap::{
    CredentialSet, Error, ErrorKind,
    engine::rotation::{Action, Input},
    source::{
        self, Fetched,
        rules::{Ask, Tour},
    },
};
use keyswap_endpoint::world::{FetchReply, FetchRequest, Planned};

use super::{BOOT, Happening, Play, millis};

/// The most bytes of a fetch's answer.
const MAX_DOCUMENT: usize = 64 * 1024;

/// What a region answered to a fetch on its way.
pub(super) struct RegionAnswer {
    fetch: Fetch,
    region: usize,
    outcome: Outcome,
}

/// One fetch on its way through the regions.
pub(super) struct Fetch {
    ticket: u64,
    tour: Tour,
    held: Option<Arc<CredentialSet>>,
}

pub(super) type Outcome = Result<Fetched, Error>;

impl Play<'_> {
    pub(super) fn step(&mut self, input: Input) {
        let actions = self.rotation.step(self.moment(), self.sends, input);
        for action in actions {
            match action {
                Action::Publish(snapshot) => {
                    self.snapshot = snapshot;
                    self.wake();
                }
                Action::StartFetch(ticket) => self.fetch(ticket),
                Action::AbandonFetch(ticket) => {
                    self.live.take_if(|(live, _)| *live == ticket);
                    if let Some((_, region)) = self.asking.take_if(|(asking, _)| *asking == ticket)
                    {
                        self.regions.given_up(self.now, region, "a region");
                    }
                }
                Action::Settle(outcome) => {
                    for (turn, _) in self.waiters.clone() {
                        self.turn(turn).into_iter().for_each(|request| request.machine.settled());
                    }
                    self.wake();
                    self.settled = Some(outcome);
                }
                Action::Tell(event) => self.tally.told(event.name()),
                // Reports touch no traffic: a story is the same without them.
                Action::Report(_) => {}
            }
        }
        let wake = self.rotation.wake_at().map_or(u64::MAX, |at| at.boot.saturating_sub(BOOT));
        // As in the driver: never less than a millisecond.
        self.wake = wake.max(self.now + 1);
    }

    /// Those who wait look again.
    pub(super) fn wake(&mut self) {
        for (turn, _) in mem::take(&mut self.waiters) {
            self.later(0, Happening::Resumes(turn));
        }
    }

    /// What the push channel says, if there is one.
    pub(super) fn listen(&mut self) {
        let now = self.story_time();
        let snapshot = self.snapshot.clone();
        for input in self.push.listen(&mut self.world, now, snapshot.set()) {
            self.step(input);
        }
    }

    pub(super) fn fetch(&mut self, ticket: u64) {
        self.live = Some((ticket, self.now));
        let held = self.rotation.known_to_fetch();
        held.iter().for_each(|held| self.regions.holds(held));
        let is_conditional = held.as_ref().is_some_and(|held| held.validator().is_some());
        let tour = self.regions.tour(self.now, is_conditional);
        self.ask(Fetch { ticket, tour, held });
    }

    pub(super) fn ask(&mut self, mut fetch: Fetch) {
        let Some(ask) = self.regions.next(self.now, &mut fetch.tour) else {
            return self.fetch_ends(fetch.ticket, fetch.tour.end());
        };
        let Ask { region, patience, validator } = ask;
        let now = self.story_time();
        let bearer = self.world.config().bootstrap.clone();
        // One that is alone is asked as it is; what each of several calls a set is its own.
        let is_alone = self.world.config().regions == 1;
        let own = fetch.held.as_ref().and_then(|held| held.validator());
        let validator = if is_alone { own } else { validator.as_deref() };
        let request = FetchRequest {
            bearer: Some(bearer.reveal()),
            if_none_match: validator,
            no_cache: fetch.held.as_ref().is_some_and(|held| held.validator().is_none()),
            region,
            ..FetchRequest::default()
        };
        let broken = || Error::new(ErrorKind::Unavailable, "the connection broke");
        let (wait, outcome) = match self.world.fetch(now, &request) {
            Planned::Answer { after_ms, reply } => (after_ms, self.read(&reply)),
            Planned::Torn { after_ms, .. } => (after_ms, Err(broken())),
            Planned::Dropped => (0, Err(broken())),
            // One that is alone is left to the deadline of the whole fetch.
            Planned::Hang if is_alone => return,
            Planned::Hang => {
                let late = Error::new(ErrorKind::Timeout, "no answer from this region");
                (millis(patience), Err(late))
            }
        };
        if !is_alone {
            self.asking = Some((fetch.ticket, region));
        }
        self.later(
            wait,
            Happening::RegionAnswers(Box::new(RegionAnswer { fetch, region, outcome })),
        );
    }

    pub(super) fn region_answers(&mut self, answer: RegionAnswer) {
        let RegionAnswer { mut fetch, region, outcome } = answer;
        let is_asked = self.asking.take_if(|(asking, _)| *asking == fetch.ticket).is_some();
        if !is_asked {
            // It is alone; or the fetch was abandoned, and its answer is delivered all the same.
            return self.fetch_ends(fetch.ticket, outcome);
        }
        match self.regions.judge(self.now, &mut fetch.tour, region, "a region", outcome) {
            Some(outcome) => self.fetch_ends(fetch.ticket, outcome),
            None => self.ask(fetch),
        }
    }

    /// What an answer means to a client that may have pinned the endpoint's key.
    pub(super) fn read(&self, reply: &FetchReply) -> Outcome {
        match &self.pinned {
            Some(key) if matches!(reply.status, 200 | 304 | 410) && !reply.is_signed_by(key) => {
                Err(Error::new(ErrorKind::SignatureInvalid, "the answer is not signed"))
            }
            _ => read(reply),
        }
    }

    pub(super) fn fetch_ends(&mut self, ticket: u64, outcome: Outcome) {
        self.step(match outcome {
            Ok(Fetched::Set(set)) => Input::Fetched(ticket, set),
            Ok(Fetched::NotModified) => Input::NotModified(ticket),
            Ok(other) => unreachable!("no story tells how a fetch brings {other:?}"),
            Err(error) => Input::Failed(ticket, error),
        });
        self.live.take_if(|(live, _)| *live == ticket);
    }
}

/// What a fetch's answer means, as the source for endpoints reads it.
fn read(reply: &FetchReply) -> Outcome {
    let fail = |kind| Err(Error::new(kind, format!("the endpoint answered {}", reply.status)));
    let revoked = || String::from_utf8_lossy(&reply.body).contains(":set-revoked\"");
    let outcome = match reply.status {
        200 if reply.body.len() > MAX_DOCUMENT => fail(ErrorKind::Malformed),
        200 => source::parse(&reply.body).map(|set| {
            Fetched::Set(match &reply.etag {
                Some(etag) => set.with_validator(etag),
                None => set,
            })
        }),
        304 => Ok(Fetched::NotModified),
        401 => fail(ErrorKind::BootstrapRejected),
        403 => fail(ErrorKind::Forbidden),
        404 => fail(ErrorKind::UnknownSet),
        410 if revoked() => fail(ErrorKind::SetRevoked),
        429 => fail(ErrorKind::Throttled),
        408 | 409 | 410 | 425 | 500..600 => fail(ErrorKind::Unavailable),
        _ => fail(ErrorKind::Malformed),
    };
    outcome.map_err(|error| match reply.retry_after {
        Some(seconds) => error.with_retry_after(Duration::from_secs(seconds)),
        None => error,
    })
}
