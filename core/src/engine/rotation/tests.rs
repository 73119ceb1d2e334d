//! Every rule of a rotation, one test each, in virtual time.

use jiff::Timestamp;

use super::*;
use crate::{
    credential::{Credential, NamedScheme},
    event::WentBack,
    report::Report,
};

mod answers;
mod credential_status;
mod episodes;
mod fetching;
mod recovery;
mod reports;
mod selection;
mod times;

const START: Moment = Moment { wall: 1_800_000_000_000, boot: 5_000_000 };

/// A rotation with a clock, and a memory of what it said.
struct Life {
    rotation: Rotation,
    now: Moment,
    sends: u64,
    live: Option<u64>,
    starts: Vec<u64>,
    events: Vec<Event>,
    settled: Vec<Result<(), Error>>,
    published: Vec<Arc<Snapshot>>,
    reports: Vec<Report>,
}

impl Life {
    fn begin() -> Self {
        Self::with(Policy::default())
    }

    fn with(policy: Policy) -> Self {
        let backoff: Backoff = Arc::new(|_| Box::new(std::iter::repeat(Duration::from_secs(20))));
        let mut life = Self {
            rotation: Rotation::new(START, 7, Arc::new(policy), backoff),
            now: START,
            sends: 0,
            live: None,
            starts: Vec::new(),
            events: Vec::new(),
            settled: Vec::new(),
            published: Vec::new(),
            reports: Vec::new(),
        };
        life.step(Input::Woke);
        life
    }

    /// A life in which this set is held, and the API accepted something before.
    fn holding(set: CredentialSet) -> Self {
        let mut life = Self::begin();
        life.fetched(set);
        life.rotation.fetching.is_proven = true;
        life.step(Input::Woke);
        life.events.clear();
        life
    }

    fn step(&mut self, input: Input) -> Vec<Action> {
        let actions = self.rotation.step(self.now, self.sends, input);
        let mut settled = false;
        for action in &actions {
            match action {
                Action::StartFetch(ticket) => {
                    assert!(self.live.is_none(), "one fetch at a time");
                    self.live = Some(*ticket);
                    self.starts.push(self.now.boot);
                }
                Action::AbandonFetch(ticket) => assert_eq!(self.live.take(), Some(*ticket)),
                Action::Publish(snapshot) => {
                    assert!(!settled, "snapshots are published before anybody is woken");
                    self.published.push(snapshot.clone());
                }
                Action::Settle(outcome) => {
                    settled = true;
                    self.settled.push(outcome.clone());
                }
                Action::Tell(event) => self.events.push(event.clone()),
                Action::Report(report) => self.reports.push(report.clone()),
            }
        }
        actions
    }

    /// Lets time pass, from wake-up to wake-up.
    fn pass(&mut self, seconds: f64) {
        let until = self.now + Duration::from_secs_f64(seconds);
        while let Some(wake) = self.rotation.wake_at().filter(|wake| wake.reached(until)) {
            assert!(wake.boot > self.now.boot, "a wake-up lies in the future");
            let wait = wake.remaining(self.now);
            self.now = self.now + wait;
            self.step(Input::Woke);
        }
        self.now = until;
        self.step(Input::Woke);
    }

    /// How many seconds it took until a fetch began.
    fn pass_until_a_fetch(&mut self) -> u64 {
        let began = self.now.boot;
        while self.live.is_none() {
            self.pass(1.0);
            assert!(self.now.boot - began < 200_000_000, "no fetch within two days");
        }
        (self.now.boot - began) / 1000
    }

    fn ticket(&mut self) -> u64 {
        self.live.take().expect("a fetch runs")
    }

    fn fetched(&mut self, set: CredentialSet) {
        let ticket = self.ticket();
        self.step(Input::Fetched(ticket, set));
    }

    fn not_modified(&mut self) {
        let ticket = self.ticket();
        self.step(Input::NotModified(ticket));
    }

    fn failed(&mut self, error: Error) {
        let ticket = self.ticket();
        self.step(Input::Failed(ticket, error));
    }

    fn refresh(&mut self, set: CredentialSet) {
        self.pass(5.0);
        self.step(Input::RefreshRequested);
        self.fetched(set);
    }

    fn hint(&mut self, generation: Option<u64>) {
        self.step(Input::Hinted { generation, immediate: true });
    }

    fn send(&mut self) -> u64 {
        self.sends += 1;
        self.sends
    }

    fn rejected(&mut self, id: &str) {
        let sent = self.send();
        self.step(Input::Rejected(Evidence { credential: id.into(), sent }));
    }

    fn accepted(&mut self, id: &str) {
        let sent = self.send();
        self.step(Input::Accepted(Evidence { credential: id.into(), sent }));
    }

    fn in_use(&self) -> Option<&str> {
        self.rotation.snapshot().in_use().map(Credential::id)
    }

    fn candidate(&self) -> Option<&str> {
        self.rotation.snapshot().candidate().map(Credential::id)
    }

    fn usable(&self) -> Vec<&str> {
        self.rotation.snapshot().usable.iter().map(|usable| usable.credential.id()).collect()
    }

    fn cause(&self) -> Option<ErrorKind> {
        self.rotation.snapshot().cause.as_ref().map(Error::kind)
    }

    /// The names of the events since the last look.
    fn told(&mut self) -> Vec<&'static str> {
        std::mem::take(&mut self.events).iter().map(Event::name).collect()
    }

    fn starts_from(&self, since: u64) -> Vec<u64> {
        self.starts.iter().filter(|at| **at >= since).map(|at| at - since).collect()
    }

    /// A time that the source names: so many seconds from now, by the client's wall clock.
    fn at(&self, seconds: i64) -> Timestamp {
        Timestamp::from_millisecond(self.now.wall + seconds * 1000).expect("a time")
    }

    /// The probe slot opens this many milliseconds from now.
    fn probe_opens_in(&self) -> u64 {
        let snapshot = self.rotation.snapshot();
        let slot = &snapshot.candidate.as_ref().expect("a candidate").slot;
        (0..).find(|wait| slot.claim(self.now.boot + wait, 0)).expect("it opens")
    }
}

fn key(id: &str) -> Credential {
    Credential::new(id, format!("material of {id}"))
}

fn set(generation: u64, primary: &str, previous: &[&str]) -> CredentialSet {
    let set = CredentialSet::new(key(primary)).with_generation(generation);
    previous.iter().fold(set, |set, id| set.with_previous(key(id)))
}

/// A set whose primary credential lives so long, from a source that shows its clock.
fn living(life: &Life, generation: u64, id: &str, seconds: i64) -> CredentialSet {
    CredentialSet::new(key(id).with_expires_at(life.at(seconds)))
        .with_generation(generation)
        .with_as_of(life.at(0))
}

fn outage() -> Error {
    Error::new(ErrorKind::Unavailable, "no answer")
}

// ---- careful swap ----

#[test]
fn there_is_always_a_next_look_until_it_is_closed() {
    let mut life = Life::holding(set(1, "k1", &[]));
    for _ in 0..100 {
        let wake = life.rotation.wake_at().expect("a wake-up");
        assert!(wake.boot <= life.now.boot + 30_000);
        life.pass(7.3);
    }
    let actions = life.step(Input::Closed);
    let settled = actions.last().expect("waiters are woken");
    assert!(matches!(settled, Action::Settle(Err(error)) if error.kind() == ErrorKind::Closed));
    assert!(life.live.is_none());
    assert_eq!(life.rotation.wake_at(), None);
    assert!(life.step(Input::RefreshRequested).is_empty());
}

#[test]
fn absurd_numbers_do_no_harm() {
    let forever = Duration::MAX;
    let mut life = Life::with(Policy {
        stale_grace: forever,
        previous_grace: forever,
        rotation_window: forever,
        wait: forever,
        fetch_timeout: forever,
        episode: forever,
        episode_max: forever,
        lagging: forever,
        fetch_floor: forever,
        ..Policy::default()
    });
    let far = Timestamp::MAX;
    let old = key("k1").with_expires_at(far).with_grace_expires_at(far);
    let next = key("k3").with_activate_at(far);
    let set = CredentialSet::new(key("k2").with_expires_at(far).with_not_before(Timestamp::MIN))
        .with_generation(u64::MAX)
        .with_previous(old)
        .with_next(next)
        .with_as_of(Timestamp::MIN)
        .with_refresh_after(far)
        .with_stale_ok_until(far)
        .with_splay(forever);
    life.fetched(set.clone());
    life.rejected("k2");
    life.step(Input::Waited);
    life.hint(Some(u64::MAX));
    life.failed(Error::new(ErrorKind::SetRevoked, "gone").with_retry_after(forever));
    life.pass(1000.0);
    life.step(Input::RefreshRequested);
    assert!(life.rotation.wake_at().is_some());
    assert_eq!(life.cause(), Some(ErrorKind::SetRevoked));
}
