//! Every rule of a rotation, one test each, in virtual time.

use jiff::Timestamp;

use super::*;
use crate::{
    credential::{Credential, NamedScheme},
    source::Report,
};

mod adoption;
mod announced;
mod recovery;

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
fn the_first_set_is_used_at_once() {
    let mut life = Life::begin();
    assert_eq!(life.cause(), Some(ErrorKind::NotReady));
    assert_eq!(life.starts.len(), 1, "it fetches at once");
    life.fetched(set(1, "k1", &[]));
    assert_eq!(life.in_use(), Some("k1"));
    assert_eq!(life.told(), ["fetched", "swapped"]);
    assert!(matches!(life.settled[..], [Ok(())]));
}

#[test]
fn a_newcomer_is_tried_while_the_old_one_stays() {
    let mut life = Life::holding(set(1, "k1", &[]));
    life.refresh(set(2, "k2", &["k1"]));
    assert_eq!((life.in_use(), life.candidate()), (Some("k1"), Some("k2")));
    assert_eq!(life.usable(), ["k1", "k2"]);
    assert_eq!(life.probe_opens_in(), 0);
    assert!(life.rotation.snapshot().is_probing());
    life.accepted("k2");
    assert_eq!((life.in_use(), life.candidate()), (Some("k2"), None));
    assert_eq!(life.usable(), ["k2", "k1"]);
    assert_eq!(life.told(), ["fetched", "candidate", "promoted"]);
}

#[test]
fn a_newcomer_replaces_at_once_what_is_gone_or_ends_soon() {
    let mut life = Life::holding(set(1, "k1", &[]));
    life.refresh(set(2, "k2", &[]));
    assert_eq!(life.in_use(), Some("k2"));
    for (left, in_use) in [(29, "k3"), (30, "k2")] {
        let mut life = Life::holding(set(1, "k2", &[]));
        life.pass(5.0);
        let old = key("k2").with_grace_expires_at(life.at(left));
        life.step(Input::RefreshRequested);
        life.fetched(set(2, "k3", &[]).with_previous(old));
        assert_eq!(life.in_use(), Some(in_use), "{left} s left");
    }
}

#[test]
fn probes_back_off() {
    let mut life = Life::holding(set(1, "k1", &[]));
    life.refresh(set(2, "k2", &["k1"]));
    let starts = life.starts.len();
    for seconds in [1, 2, 4, 8, 15, 30, 30] {
        life.rejected("k2");
        assert_eq!(life.probe_opens_in(), seconds * 1000);
        assert_eq!(life.in_use(), Some("k1"));
        life.pass(seconds as f64);
    }
    assert_eq!(life.starts.len(), starts, "a rejected candidate forces no fetch");
    life.accepted("k2");
    assert_eq!(life.in_use(), Some("k2"));
}

#[test]
fn a_candidate_nobody_reports_on_is_promoted_after_a_minute() {
    let mut life = Life::holding(set(1, "k1", &[]));
    life.refresh(set(2, "k2", &["k1"]));
    life.pass(59.9);
    assert_eq!(life.in_use(), Some("k1"));
    life.pass(0.2);
    assert_eq!(life.in_use(), Some("k2"));
    assert!(matches!(
        life.events[..],
        [.., Event::Promoted { proven: false, .. }, Event::Lagging { .. }]
            | [.., Event::Promoted { proven: false, .. }]
    ));
}

#[test]
fn a_candidate_without_a_verdict_is_promoted_at_half_life() {
    let mut life = Life::holding(set(1, "k1", &[]));
    life.refresh(set(2, "k2", &["k1"]));
    life.accepted("k1");
    life.pass(299.0);
    assert_eq!(life.in_use(), Some("k1"), "ten minutes of grace, so five");
    life.pass(2.0);
    assert_eq!(life.in_use(), Some("k2"));
}

#[test]
fn a_rejected_candidate_is_promoted_shortly_before_the_end() {
    let mut life = Life::holding(set(1, "k1", &[]));
    life.refresh(set(2, "k2", &["k1"]));
    life.rejected("k2");
    life.pass(589.0);
    assert_eq!(life.in_use(), Some("k1"));
    life.pass(2.0);
    assert_eq!(life.in_use(), Some("k2"));
}

#[test]
fn a_lagging_candidate_is_told_of() {
    let mut life = Life::holding(set(1, "k1", &[]));
    life.refresh(set(2, "k2", &["k1"]));
    life.rejected("k2");
    life.told();
    life.pass(61.0);
    assert!(life.told().contains(&"lagging"));
    life.pass(30.0);
    assert!(!life.told().contains(&"lagging"), "the next one is told when the time has doubled");
}

// ---- rejections ----

#[test]
fn one_rejection_flips_nothing_and_two_do() {
    let mut life = Life::holding(set(2, "k2", &["k1"]));
    life.rejected("k2");
    life.accepted("k1");
    assert_eq!(life.in_use(), Some("k2"));
    life.rejected("k2");
    assert_eq!((life.in_use(), life.candidate()), (Some("k1"), Some("k2")));
    assert_eq!(life.probe_opens_in(), 1000);
    assert_eq!(life.rotation.counts().fallbacks, 1);
    assert_eq!(life.told(), ["rejected", "fell_back", "candidate", "rejected"]);
    life.accepted("k2");
    assert_eq!(life.in_use(), Some("k2"));
    assert_eq!(life.told(), ["promoted"], "what fell back comes back without a rollback");
}

#[test]
fn nothing_falls_back_to_what_is_about_to_end() {
    for (left, in_use) in [(10, "k2"), (11, "k1")] {
        let mut life = Life::begin();
        let old = key("k1").with_grace_expires_at(life.at(left));
        life.fetched(set(2, "k2", &[]).with_previous(old));
        life.rejected("k2");
        life.rejected("k2");
        life.accepted("k1");
        assert_eq!(life.in_use(), Some(in_use), "{left} s left");
    }
}

#[test]
fn an_acceptance_between_rejections_starts_the_count_again() {
    let mut life = Life::holding(set(2, "k2", &["k1"]));
    life.rejected("k2");
    life.accepted("k2");
    life.rejected("k2");
    life.accepted("k1");
    assert_eq!(life.in_use(), Some("k2"));
}

#[test]
fn nothing_is_used_that_was_not_accepted_after_the_rejection() {
    let mut life = Life::holding(set(2, "k2", &["k1"]));
    life.accepted("k1");
    for _ in 0..5 {
        life.rejected("k2");
        life.rejected("k1");
    }
    assert_eq!(life.in_use(), Some("k2"));
}

#[test]
fn evidence_from_before_a_change_changes_nothing() {
    let mut life = Life::holding(set(1, "k1", &[]));
    let early = life.send();
    life.refresh(set(2, "k2", &[]));
    for _ in 0..3 {
        life.step(Input::Rejected(Evidence { credential: "k2".into(), sent: early }));
        life.step(Input::Rejected(Evidence { credential: "k1".into(), sent: early + 100 }));
    }
    assert_eq!(life.rotation.counts().rejections, 0);
    life.refresh(set(3, "k3", &["k2"]));
    life.step(Input::Accepted(Evidence { credential: "k3".into(), sent: early }));
    assert_eq!(life.in_use(), Some("k2"));
    // A probe's rejection makes what was on its way with it old.
    let (probe, other) = (life.send(), life.send());
    life.step(Input::Rejected(Evidence { credential: "k3".into(), sent: probe }));
    life.step(Input::Rejected(Evidence { credential: "k3".into(), sent: other }));
    assert_eq!(life.probe_opens_in(), 1000, "one rejection, not two");
    // After a fallback, what was sent before says nothing of either.
    let early = life.send();
    life.rejected("k2");
    life.accepted("k3");
    assert_eq!(life.in_use(), Some("k3"));
    life.step(Input::Rejected(Evidence { credential: "k3".into(), sent: early }));
    assert!(!life.rotation.snapshot().suspect);
}

#[test]
fn a_rejection_older_than_an_acceptance_says_nothing() {
    let mut life = Life::holding(set(1, "k1", &[]));
    let early = life.send();
    life.accepted("k1");
    life.step(Input::Rejected(Evidence { credential: "k1".into(), sent: early }));
    assert_eq!(life.rotation.counts().rejections, 0);
}

// ---- episodes ----

#[test]
fn a_rejection_forces_a_fetch_past_the_floor() {
    let mut life = Life::holding(set(1, "k1", &[]));
    life.rejected("k1");
    assert_eq!(life.starts, [START.boot, START.boot], "no floor, and no delay");
    assert_eq!(life.rotation.counts().forced, 1);
    assert!(life.rotation.snapshot().suspect);
    life.fetched(set(2, "k2", &[]));
    assert_eq!(life.in_use(), Some("k2"));
    assert!(!life.rotation.snapshot().suspect);
}

#[test]
fn episodes_are_rare_and_get_rarer() {
    let mut life = Life::holding(set(1, "k1", &[]));
    let mut forced = Vec::new();
    let began = life.now.boot;
    for _ in 0..1200 {
        life.rejected("k1");
        if life.live.is_some() {
            forced.push((life.now.boot - began) / 1000);
            life.not_modified();
        }
        life.pass(1.0);
        if life.live.is_some() {
            life.not_modified();
        }
    }
    let forced_by_rejections = life.rotation.counts().forced;
    assert_eq!(forced, [0, 30, 90, 210, 450, 750, 1050]);
    assert_eq!(forced_by_rejections, 7);
    // A new generation begins anew.
    life.refresh(set(2, "k1", &["k0"]));
    life.rejected("k1");
    assert!(life.live.is_some());
}

#[test]
fn a_running_fetch_is_joined() {
    let mut life = Life::holding(set(1, "k1", &[]));
    life.pass(10.0);
    life.step(Input::RefreshRequested);
    life.rejected("k1");
    assert_eq!(life.rotation.counts().forced, 0);
    life.not_modified();
    assert!(life.live.is_none(), "nobody waits");
    life.step(Input::Waited);
    life.pass(0.999);
    assert!(life.live.is_none());
    life.pass(0.002);
    assert!(life.live.is_some());
}

#[test]
fn an_unchanged_answer_is_asked_again_while_callers_wait_as_tokens_allow() {
    let mut life = Life::holding(set(1, "k1", &[]));
    life.pass(100.0);
    let began = life.now.boot;
    life.rejected("k1");
    while life.now.boot < began + 30_000 {
        if life.live.is_some() {
            life.not_modified();
        }
        life.step(Input::Waited);
        life.pass(0.1);
    }
    let starts = life.starts_from(began);
    assert_eq!(starts, [0, 1000, 5000]);
    assert_eq!(life.rotation.counts().forced, 3);
}

#[test]
fn a_fetch_that_brings_what_the_api_accepts_costs_no_token() {
    for is_good in [true, false] {
        let mut life = Life::holding(set(1, "k1", &[]));
        let began = life.now.boot;
        for generation in 2..8 {
            let id = format!("k{generation}");
            let held = life.in_use().expect("in use").to_owned();
            life.rejected(&held);
            for _ in 0..100 {
                if life.live.is_none() {
                    life.pass(0.1);
                }
            }
            life.fetched(set(generation, &id, &[]));
            if is_good {
                life.accepted(&id);
            }
        }
        // Two at once, and one more each five seconds.
        let took = if is_good { 0 } else { 20_000 };
        assert_eq!(life.now.boot - began, took, "accepted: {is_good}");
    }
}

#[test]
fn nobody_waits_for_what_will_not_come_in_time() {
    let mut life = Life::holding(set(1, "k1", &[]));
    life.step(Input::Waited);
    assert!(matches!(life.settled[..], [Ok(()), Ok(())]), "no fetch runs");
    life.pass(10.0);
    life.step(Input::RefreshRequested);
    life.failed(outage().with_retry_after(Duration::from_secs(60)));
    life.rejected("k1");
    life.settled.clear();
    life.step(Input::Waited);
    assert_eq!(life.settled.len(), 1, "the source asked to be left alone for a minute");
    assert!(!life.rotation.snapshot().suspect, "or a request would wait again at once, and again");
    life.pass(0.5);
    life.step(Input::RefreshRequested);
    life.step(Input::Waited);
    assert!(life.settled[1].is_err(), "a refresh that does not take place does not work");
}

#[test]
fn when_everything_was_tried_in_vain_requests_fail_fast_for_a_while() {
    let mut life = Life::holding(set(2, "k2", &["k1"]));
    life.rejected("k2");
    life.rejected("k1");
    life.not_modified();
    life.pass(9.9);
    assert!(life.rotation.snapshot().suspect && !life.rotation.snapshot().is_exhausted());
    life.pass(0.2);
    assert!(life.rotation.snapshot().is_exhausted());
    assert!(life.told().contains(&"exhausted"));
    life.pass(19.8);
    assert!(life.rotation.snapshot().is_exhausted());
    life.pass(0.2);
    assert!(!life.rotation.snapshot().is_exhausted(), "the cooldown is over");
}

#[test]
fn any_acceptance_and_any_new_generation_end_the_exhaustion() {
    let exhausted = || {
        let mut life = Life::holding(set(2, "k2", &["k1"]));
        life.rejected("k2");
        life.rejected("k1");
        life.not_modified();
        life.pass(11.0);
        assert!(life.rotation.snapshot().is_exhausted());
        life.told();
        life
    };
    for id in ["k1", "k2"] {
        let mut life = exhausted();
        life.accepted(id);
        assert!(!life.rotation.snapshot().is_exhausted(), "{id} was accepted");
        assert_eq!(life.told(), ["recovered"]);
    }
    let mut life = exhausted();
    life.refresh(set(3, "k3", &["k2"]));
    assert!(!life.rotation.snapshot().is_exhausted());
}

#[test]
fn it_is_not_exhausted_while_something_was_not_tried() {
    let mut life = Life::holding(set(2, "k2", &["k1"]));
    for _ in 0..5 {
        life.rejected("k2");
    }
    life.not_modified();
    life.pass(11.0);
    assert!(!life.rotation.snapshot().is_exhausted(), "k1 was not tried");
}

// ---- when to fetch ----

#[test]
fn a_floor_lies_between_two_fetches() {
    let mut life = Life::holding(set(1, "k1", &[]));
    for _ in 0..5 {
        life.step(Input::RefreshRequested);
        life.pass(5.0);
        if life.live.is_some() {
            life.not_modified();
        }
    }
    assert!(life.starts.len() >= 4);
    assert!(life.starts.windows(2).all(|pair| pair[1] - pair[0] >= 5000), "{:?}", life.starts);
    let mut life = Life::begin();
    life.fetched(living(&life, 1, "k1", 20));
    life.step(Input::RefreshRequested);
    life.pass(2.0);
    assert_eq!(life.starts_from(START.boot), [0, 2000], "a tenth of a short life");
    life.not_modified();
    life.step(Input::RefreshRequested);
    life.pass(1.8);
    life.fetched(living(&life, 2, "k2", 3));
    life.step(Input::RefreshRequested);
    life.pass(0.99);
    assert!(life.live.is_none(), "never less than a second");
}

#[test]
fn a_source_that_mints_is_asked_by_the_life_of_what_it_made() {
    let mut life = Life::begin();
    life.rotation.source_mints();
    life.fetched(living(&life, 1, "k1", 3600).with_refresh_after(life.at(60)));
    life.starts.clear();
    let began = life.now.boot;
    while life.now.boot < began + 3_599_000 {
        life.pass(1.0);
        if life.live.is_some() {
            life.not_modified();
        }
    }
    let starts = life.starts_from(began);
    // 30 % of an hour is less than 20 minutes; then 30 % of what is left each time.
    assert!((2_520_000..3_060_000).contains(&starts[0]), "{starts:?}");
    assert!(starts.len() >= 3 && starts[1] < 3_500_000, "{starts:?}");
    assert!(starts.windows(2).all(|pair| pair[1] - pair[0] >= 1000), "{starts:?}");
    // The life that it names may be wrong, too: once a day; and without one, once an hour.
    for (seconds, least, most) in [(9_000_000, 86_000, 86_500), (0, 2_880, 3_601)] {
        let mut life = Life::begin();
        life.rotation.source_mints();
        let set = set(1, "k1", &[]);
        life.fetched(if seconds > 0 { living(&life, 1, "k1", seconds) } else { set });
        assert!((least..=most).contains(&life.pass_until_a_fetch()), "{seconds}");
    }
}

#[test]
fn a_source_that_reads_is_polled_whatever_the_end() {
    for seconds in [3_600, 90 * 86_400] {
        let mut life = Life::begin();
        life.fetched(living(&life, 1, "k1", seconds));
        for _ in 0..5 {
            assert!((239..=361).contains(&life.pass_until_a_fetch()), "{seconds}");
            life.not_modified();
        }
    }
}

#[test]
fn no_time_that_the_source_names_silences_a_client() {
    let far = |life: &Life, set: CredentialSet| set.with_refresh_after(life.at(9_000_000_000));
    for splay in [0, 86_400] {
        let mut life = Life::begin();
        let set = set(1, "k1", &[]).with_splay(Duration::from_secs(splay));
        life.fetched(far(&life, set));
        let waited = life.pass_until_a_fetch();
        assert!((2_880..=3_600).contains(&waited), "a wish for 2312, a splay of {splay} s");
    }
    let mut life = Life::begin();
    life.fetched(set(1, "k1", &[]).with_splay(Duration::from_secs(86_400)));
    life.step(Input::Hinted { generation: None, immediate: false });
    assert!(life.pass_until_a_fetch() <= 360, "a hint is no reason to wait for longer");
    // The ends of time, as languages write "never", are no times.
    for never in [Timestamp::MAX, Timestamp::MIN] {
        let mut life = Life::begin();
        let old = key("k0").with_expires_at(never).with_grace_expires_at(never);
        let primary = key("k1").with_expires_at(never).with_not_before(never);
        let set = CredentialSet::new(primary).with_generation(1).with_previous(old);
        life.fetched(set.with_refresh_after(never).with_as_of(never));
        assert_eq!(life.usable(), ["k1", "k0"], "{never}");
        assert!(life.pass_until_a_fetch() <= 360, "{never}: no end, and no wish");
    }
}

#[test]
fn without_an_end_it_polls() {
    let mut life = Life::holding(set(1, "k1", &[]));
    for _ in 0..20 {
        let before = life.starts.len();
        let began = life.now.boot;
        while life.starts.len() == before {
            life.pass(1.0);
        }
        assert!((239_000..=361_000).contains(&(life.now.boot - began)));
        life.not_modified();
    }
}

#[test]
fn the_servers_wish_wins_but_not_once_it_has_passed() {
    let mut life = Life::begin();
    let wish = living(&life, 1, "k1", 3600).with_refresh_after(life.at(60));
    life.fetched(wish);
    life.pass(59.0);
    assert!(life.live.is_none());
    life.pass(1.5);
    life.not_modified();
    life.pass(239.0);
    assert!(life.live.is_none(), "the wish has passed: its own schedule again");
    life.pass(122.0);
    assert!(life.live.is_some());
    let mut life = Life::begin();
    life.fetched(living(&life, 1, "k1", 60).with_refresh_after(life.at(86_400)));
    life.pass(60.0);
    assert!(life.live.is_some(), "a wish beyond the end is no reason to let it end");
}

#[test]
fn the_splay_spreads_a_fleet() {
    let due = |seed| {
        let policy = Arc::new(Policy::default());
        let mut rotation = Rotation::new(START, seed, policy.clone(), default_backoff(&policy));
        rotation.step(START, 0, Input::Woke);
        let at = Timestamp::from_millisecond(START.wall + 60_000).expect("a time");
        let set = set(1, "k1", &[]).with_refresh_after(at).with_splay(Duration::from_secs(20));
        rotation.step(START, 0, Input::Fetched(1, set));
        rotation.fetching.wake_at() - START.boot
    };
    let due: Vec<_> = (0..50).map(due).collect();
    assert!(due.iter().all(|due| (60_000..80_000).contains(due)), "{due:?}");
    assert!(due.iter().max().expect("some") - due.iter().min().expect("some") > 10_000);
}

#[test]
fn failures_back_off_and_displace_nothing() {
    let mut life = Life::holding(set(1, "k1", &[]));
    life.pass(10.0);
    life.step(Input::RefreshRequested);
    for _ in 0..4 {
        life.failed(outage());
        assert_eq!(life.in_use(), Some("k1"));
        life.pass(19.9);
        assert!(life.live.is_none());
        life.pass(0.2);
    }
    life.told();
    life.not_modified();
    assert!(life.told().contains(&"recovered"));
    assert_eq!(life.rotation.counts().failed, 4);
}

#[test]
fn with_nothing_usable_it_tries_more_often() {
    let mut life = Life::begin();
    life.failed(outage());
    assert_eq!(life.cause(), Some(ErrorKind::Unavailable), "requests are told why");
    life.pass(14.9);
    assert!(life.live.is_none());
    life.pass(0.2);
    assert!(life.live.is_some(), "15 s, not 20");
}

#[test]
fn permanent_failures_are_tried_slowly_for_ever() {
    let mut life = Life::holding(set(1, "k1", &[]));
    life.pass(10.0);
    life.step(Input::RefreshRequested);
    let began = life.now.boot;
    life.starts.clear();
    for _ in 0..40 {
        if life.live.is_some() {
            life.failed(Error::new(ErrorKind::BootstrapRejected, "no"));
        }
        life.pass(60.0);
    }
    let waits: Vec<_> = life.starts.windows(2).map(|pair| (pair[1] - pair[0]) / 1000).collect();
    assert_eq!(life.starts[0] - began, 60_000);
    assert_eq!(waits, [120, 240, 300, 300, 300, 300, 300, 300]);
}

#[test]
fn with_nothing_usable_the_next_fetch_is_near_whatever_the_failure_is_called() {
    let lasting = [
        ErrorKind::BootstrapRejected,
        ErrorKind::Forbidden,
        ErrorKind::UnknownSet,
        ErrorKind::OlderGeneration,
        ErrorKind::SignatureInvalid,
        ErrorKind::InvalidConfig,
        ErrorKind::Malformed,
        ErrorKind::Throttled,
    ];
    for kind in lasting {
        let failure = || Error::new(kind, "no").with_retry_after(Duration::from_secs(300));
        let mut life = Life::begin();
        for _ in 0..4 {
            life.failed(failure());
            life.pass(15.1);
            assert!(life.live.is_some(), "at the start, {kind:?}");
        }
        // What was planned while all was well does not hold it up once it is not.
        let mut life = Life::begin();
        life.fetched(living(&life, 1, "k1", 120));
        life.pass(100.0);
        life.failed(failure());
        life.pass(22.0);
        life.rejected("k1");
        assert_eq!(life.in_use(), None);
        life.starts.clear();
        let began = life.now.boot;
        life.pass(15.1);
        assert!(!life.starts_from(began).is_empty(), "after the end, {kind:?}");
    }
    // What the API rejects is as good as nothing.
    let mut life = Life::holding(set(1, "k1", &[]));
    life.pass(10.0);
    life.rejected("k1");
    life.failed(Error::new(ErrorKind::Forbidden, "no"));
    assert!(matches!(
        life.events.last(),
        Some(Event::FetchFailed { retry_in, .. }) if *retry_in <= Duration::from_secs(15)
    ));
    assert!(life.pass_until_a_fetch() <= 15);
    // A set that was revoked is looked for slowly.
    let mut life = Life::holding(set(1, "k1", &[]));
    life.step(Input::RefreshRequested);
    life.pass(5.0);
    life.failed(Error::new(ErrorKind::SetRevoked, "gone"));
    life.pass(59.0);
    assert!(life.live.is_none());
}

#[test]
fn retry_after_is_honoured_clamped_and_spread() {
    // Asked for, granted, and the latest that a client of the fleet comes.
    for (asked, granted, latest) in [(0, 1, 2), (20, 20, 40), (100, 100, 160), (86_400, 300, 360)] {
        let mut life = Life::holding(set(1, "k1", &[]));
        life.pass(10.0);
        life.step(Input::RefreshRequested);
        life.failed(outage().with_retry_after(Duration::from_secs(asked)));
        life.rejected("k1");
        life.hint(Some(9));
        life.step(Input::RefreshRequested);
        let before = life.starts.len();
        life.pass(f64::from(granted) - 0.1);
        assert_eq!(life.starts.len(), before, "{asked}");
        life.pass(f64::from(latest - granted) + 0.2);
        assert!(life.starts.len() > before, "{asked}");
    }
}

#[test]
fn a_hint_is_a_fetch_unless_it_is_known() {
    let mut life = Life::holding(set(3, "k3", &[]));
    life.pass(10.0);
    life.hint(Some(3));
    assert!(life.live.is_none());
    life.hint(Some(4));
    assert!(life.live.is_some());
    life.hint(Some(4));
    life.fetched(set(4, "k4", &[]));
    life.pass(30.0);
    assert!(life.live.is_none(), "the running fetch brought it");
}

#[test]
fn a_hint_above_what_a_fetch_brought_is_worth_one_more() {
    let mut life = Life::holding(set(3, "k3", &[]));
    life.pass(10.0);
    life.hint(Some(4));
    life.hint(Some(6));
    life.fetched(set(4, "k4", &[]));
    life.pass(5.0);
    life.not_modified();
    life.pass(60.0);
    assert!(life.live.is_none(), "one more, not for ever");
    // The source does not yet know what the hint speaks of.
    life.hint(Some(5));
    life.not_modified();
    life.pass(5.0);
    life.fetched(set(5, "k5", &[]));
    assert_eq!(life.in_use(), Some("k5"));
}

#[test]
fn a_hint_without_a_number_during_a_fetch_is_worth_one_more() {
    let mut life = Life::holding(set(3, "k3", &[]));
    life.pass(10.0);
    life.hint(None);
    life.hint(None);
    life.fetched(set(4, "k4", &[]));
    life.pass(5.0);
    assert!(life.live.is_some(), "it may be about what that fetch missed");
    life.not_modified();
    life.pass(60.0);
    assert!(life.live.is_none());
}

#[test]
fn a_fetch_that_hangs_is_given_up_and_what_it_brings_late_is_ignored() {
    let mut life = Life::holding(set(1, "k1", &[]));
    life.pass(10.0);
    life.step(Input::RefreshRequested);
    let late = life.live.expect("a fetch runs");
    life.pass(10.0);
    assert!(life.live.is_none());
    assert_eq!(
        life.settled.last().and_then(|last| last.clone().err()).map(|e| e.kind()),
        Some(ErrorKind::Timeout)
    );
    assert!(life.told().contains(&"fetch_failed"));
    let settled = life.settled.len();
    life.step(Input::Fetched(late, set(2, "k2", &[])));
    life.step(Input::NotModified(late));
    life.step(Input::Failed(late, Error::new(ErrorKind::SetRevoked, "late")));
    assert_eq!((life.in_use(), life.settled.len()), (Some("k1"), settled));
    assert_eq!(life.told(), [""; 0]);
}

// ---- what may not displace a set ----

#[test]
fn bad_answers_are_failures() {
    let mut life = Life::holding(set(4, "k4", &["k1"]));
    life.refresh(set(5, "k5", &["k4"]).with_revoked("k1"));
    life.accepted("k5");
    let ended = living(&life, 6, "k6", -1);
    let bad = [
        (CredentialSet::default().with_generation(6), ErrorKind::Malformed),
        (set(4, "k4", &[]), ErrorKind::OlderGeneration),
        (set(6, "k1", &["k5"]), ErrorKind::Malformed),
        (set(6, "k6", &["k1"]), ErrorKind::Malformed),
        (
            CredentialSet::new(Credential::new("k5", "other")).with_generation(6),
            ErrorKind::Malformed,
        ),
        (ended, ErrorKind::Malformed),
        (set(5, "k9", &[]), ErrorKind::Malformed),
        (set(5, "k5", &[]), ErrorKind::Malformed),
        (
            CredentialSet::new(key("k6").with_not_before(life.at(60))).with_generation(6),
            ErrorKind::Malformed,
        ),
    ];
    for (answer, kind) in bad {
        life.refresh(answer);
        let failure = life.settled.last().and_then(|last| last.clone().err());
        assert_eq!(failure.map(|failure| failure.kind()), Some(kind));
        assert_eq!((life.in_use(), life.usable()), (Some("k5"), vec!["k5", "k4"]));
        assert_eq!(life.rotation.snapshot().set().map(CredentialSet::generation), Some(5));
    }
}

#[test]
fn an_answer_is_judged_by_the_sources_clock() {
    let mut life = Life::begin();
    // Here it is an hour later than at the source.
    let there = life.at(-3600);
    let ends = life.at(-3000);
    life.fetched(
        CredentialSet::new(key("k1").with_expires_at(ends)).with_generation(1).with_as_of(there),
    );
    assert_eq!(life.in_use(), Some("k1"), "it has ten minutes to live");
}

#[test]
fn the_same_generation_only_renews() {
    let mut life = Life::holding(set(1, "k1", &[]));
    let epoch = life.rotation.snapshot().epoch();
    life.refresh(set(1, "k1", &[]));
    assert_eq!((life.in_use(), life.rotation.snapshot().epoch()), (Some("k1"), epoch));
    assert_eq!(life.rotation.counts().changed, 1);
    assert_eq!(life.rotation.counts().not_modified, 1);
}

#[test]
fn an_unchanged_key_is_no_change() {
    let mut life = Life::holding(set(1, "k1", &[]));
    let before = life.rotation.snapshot().in_use.clone().expect("in use");
    life.refresh(set(2, "k1", &[]));
    let after = life.rotation.snapshot().in_use.clone().expect("in use");
    assert!(Arc::ptr_eq(&before, &after));
    assert_eq!(life.told(), ["fetched"]);
}

#[test]
fn a_source_without_generations_gets_local_ones() {
    let plain = |id: &str, material: &str| CredentialSet::new(Credential::new(id, material));
    let mut life = Life::begin();
    life.fetched(plain("k", "one"));
    life.refresh(plain("k", "one"));
    let counts = life.rotation.counts();
    assert_eq!((counts.changed, counts.not_modified), (1, 1));
    life.told();
    life.refresh(plain("k", "two"));
    assert_eq!(life.rotation.snapshot().in_use().and_then(|k| k.reveal("key")), Some("two"));
    assert_eq!(life.told(), ["fetched", "swapped"], "other material under the same id is a swap");
    life.refresh(plain("k3", "three").with_previous(Credential::new("k", "two")));
    assert_eq!((life.in_use(), life.candidate()), (Some("k"), Some("k3")));
    assert_eq!(life.rotation.snapshot().set().map(CredentialSet::generation), Some(3));
}

#[test]
fn a_renewed_lease_lives_longer_under_the_same_generation() {
    let mut life = Life::begin();
    let lease = |life: &Life| CredentialSet::new(key("k1").with_expires_at(life.at(100)));
    life.fetched(lease(&life));
    for _ in 0..10 {
        life.pass(60.0);
        life.step(Input::RefreshRequested);
        let lease = lease(&life);
        life.fetched(lease);
    }
    assert_eq!(life.in_use(), Some("k1"));
    assert_eq!(life.rotation.counts().changed, 1);
    assert_eq!(
        life.rotation.snapshot().in_use().and_then(Credential::expires_at),
        Some(life.at(100))
    );
}

#[test]
fn a_rollback_is_a_new_generation() {
    let mut life = Life::holding(set(1, "k1", &[]));
    life.refresh(set(2, "k2", &["k1"]));
    life.accepted("k2");
    life.told();
    life.refresh(set(3, "k1", &["k2"]));
    assert_eq!(life.candidate(), Some("k1"));
    life.accepted("k1");
    assert_eq!(life.told(), ["fetched", "candidate", "rolled_back"]);
    assert_eq!(life.rotation.counts().rollbacks, 1);
    life.refresh(set(4, "k2", &[]));
    assert_eq!(life.told(), ["fetched", "rolled_back"], "at once, when the other is gone");
}

#[test]
fn a_revoked_id_is_out_at_once_and_for_good() {
    let mut life = Life::holding(set(1, "k1", &[]));
    life.refresh(set(2, "k2", &[]).with_revoked("k1"));
    assert_eq!((life.in_use(), life.usable()), (Some("k2"), vec!["k2"]));
    assert_eq!(life.told(), ["fetched", "revoked", "swapped"]);
    life.refresh(set(3, "k3", &["k1"]));
    life.refresh(set(4, "k4", &[]).with_next(key("k1").with_activate_at(life.at(0))));
    assert_eq!(life.usable(), ["k2"]);
}

#[test]
fn a_revoked_set_is_empty_until_a_higher_generation() {
    let mut life = Life::holding(set(4, "k4", &["k3"]));
    life.pass(5.0);
    life.step(Input::RefreshRequested);
    life.failed(Error::new(ErrorKind::SetRevoked, "gone"));
    assert_eq!((life.in_use(), life.cause()), (None, Some(ErrorKind::SetRevoked)));
    assert!(life.rotation.snapshot().set().is_none());
    assert_eq!(life.told(), ["revoked", "fetch_failed"]);
    life.refresh(set(4, "k4", &["k3"]));
    assert_eq!(life.cause(), Some(ErrorKind::SetRevoked), "the same generation restores nothing");
    life.pass(120.0);
    assert!(life.live.is_some(), "it keeps asking, slowly");
    life.failed(outage());
    assert_eq!(life.cause(), Some(ErrorKind::SetRevoked), "an outage is not the reason");
    life.refresh(set(5, "k5", &[]));
    assert_eq!((life.in_use(), life.cause()), (Some("k5"), None));
}

fn born(set: CredentialSet, lineage: &str) -> CredentialSet {
    CredentialSet { lineage: Some(lineage.into()), ..set }
}

#[test]
fn a_lost_history_locks_nobody_out() {
    let mut life = Life::begin();
    let first = living(&life, 40, "k1", 60);
    life.fetched(born(CredentialSet { stale_ok_until: Some(life.at(60)), ..first }, "a"));
    let reset = born(CredentialSet::new(Credential::new("k1", "other")).with_generation(2), "b");
    for generation in [2, 40, 41] {
        life.told();
        life.refresh(CredentialSet { generation: Some(generation), ..reset.clone() });
        assert_eq!(life.told(), ["fetch_failed"], "generation {generation}");
        assert_eq!(life.rotation.snapshot().set().map(CredentialSet::generation), Some(40));
        let failure = life.rotation.failure.as_ref().expect("a failure");
        assert_eq!(failure.kind(), ErrorKind::OlderGeneration);
        assert!(failure.to_string().contains("began a new lineage"), "{failure}");
    }
    life.pass(60.0);
    assert_eq!(life.in_use(), None);
    while life.live.is_none() {
        life.pass(1.0);
    }
    life.fetched(reset);
    assert_eq!(life.rotation.snapshot().set().map(CredentialSet::generation), Some(2));
    assert_eq!(life.rotation.snapshot().in_use().and_then(|k| k.reveal("key")), Some("other"));
}

#[test]
fn a_signed_answer_may_begin_a_new_lineage_at_once() {
    let mut life = Life::begin();
    life.fetched(born(set(40, "k1", &[]), "a"));
    let signed = |set: CredentialSet| CredentialSet { signed: true, ..set };
    life.refresh(signed(set(39, "k0", &[])));
    assert_eq!(life.in_use(), Some("k1"), "a signature alone does not lower a generation");
    life.refresh(signed(born(set(2, "k2", &[]), "b")));
    assert_eq!(life.rotation.snapshot().set().map(CredentialSet::generation), Some(2));
    assert_eq!(life.in_use(), Some("k2"));
}

#[test]
fn a_set_that_names_no_lineage_is_of_the_one_that_is_held() {
    let mut life = Life::holding(set(1, "k1", &[]));
    life.refresh(born(set(2, "k1", &[]), "a"));
    life.refresh(set(3, "k1", &[]));
    assert_eq!(life.rotation.snapshot().set().map(CredentialSet::generation), Some(3));
    life.refresh(born(set(4, "k1", &[]), "b"));
    assert_eq!(life.rotation.snapshot().set().map(CredentialSet::generation), Some(3));
    life.refresh(set(2, "k1", &[]));
    assert_eq!(life.rotation.snapshot().set().map(CredentialSet::generation), Some(3));
}

// ---- lives and their ends ----

#[test]
fn a_previous_one_is_kept_for_its_grace() {
    let cases = [
        (Some(100), Some(50), 100),
        (Some(100), None, 100),
        (None, Some(50), 50),
        (None, Some(5000), 600),
        (None, None, 600),
    ];
    for (grace, expires, kept) in cases {
        let mut life = Life::begin();
        let mut old = key("k1");
        old = grace.map_or(old.clone(), |at| old.with_grace_expires_at(life.at(at)));
        old = expires.map_or(old.clone(), |at| old.with_expires_at(life.at(at)));
        life.fetched(set(2, "k2", &[]).with_previous(old));
        life.pass(kept as f64 - 0.5);
        assert_eq!(life.usable(), ["k2", "k1"], "{grace:?} {expires:?}");
        life.pass(1.0);
        assert_eq!(life.usable(), ["k2"], "{grace:?} {expires:?}");
    }
}

#[test]
fn past_its_end_the_last_one_serves_for_a_grace_that_a_rejection_ends() {
    for refused in [false, true] {
        let mut life = Life::begin();
        life.fetched(living(&life, 1, "k1", 120));
        life.pass(100.0);
        life.failed(outage());
        life.pass(22.0);
        assert_eq!(life.in_use(), Some("k1"), "past its end");
        if refused {
            let early = life.send();
            life.rejected("k1");
            assert_eq!((life.in_use(), life.cause()), (None, Some(ErrorKind::Unavailable)));
            life.accepted("k1");
            life.step(Input::Accepted(Evidence { credential: "k1".into(), sent: early }));
            assert_eq!(life.in_use(), None, "a grace that was refused does not come back");
            continue;
        }
        life.pass(117.0);
        assert_eq!(life.in_use(), Some("k1"), "as long as it lived");
        life.pass(2.0);
        assert_eq!(life.in_use(), None);
        assert!(life.told().contains(&"expired"));
    }
}

#[test]
fn strict_programs_have_no_stale_grace_and_the_server_may_set_its_own() {
    let mut life = Life::with(Policy { stale_grace: Duration::ZERO, ..Policy::default() });
    life.fetched(living(&life, 1, "k1", 60));
    life.pass(61.0);
    assert_eq!((life.in_use(), life.cause()), (None, Some(ErrorKind::Timeout)));
    let mut life = Life::begin();
    life.fetched(living(&life, 1, "k1", 60).with_stale_ok_until(life.at(90)));
    life.pass(89.0);
    assert_eq!(life.in_use(), Some("k1"));
    life.pass(2.0);
    assert_eq!(life.in_use(), None);
}

#[test]
fn requests_are_warned_shortly_before_the_end() {
    let mut life = Life::begin();
    life.fetched(living(&life, 1, "k1", 100));
    life.pass(89.0);
    assert!(!life.rotation.snapshot().hard);
    life.pass(2.0);
    assert!(life.rotation.snapshot().hard, "a tenth of its life");
}

#[test]
fn a_staged_one_is_tried_from_its_time_on_and_never_before() {
    let mut life = Life::begin();
    let staged = key("k2").with_activate_at(life.at(60));
    life.fetched(set(1, "k1", &[]).with_next(staged));
    life.pass(59.0);
    assert_eq!((life.usable(), life.candidate()), (vec!["k1"], None));
    life.pass(1.5);
    assert_eq!((life.in_use(), life.candidate()), (Some("k1"), Some("k2")));
    let mut life = Life::begin();
    life.fetched(set(1, "k1", &[]).with_next(key("k2")));
    life.pass(100_000.0);
    assert_eq!(life.usable(), ["k1"], "without a time it is for information only");
}

#[test]
fn an_unknown_scheme_is_unusable_and_not_an_error() {
    let foreign = || NamedScheme { name: "smoke-signals".into(), header: None };
    let mut life = Life::begin();
    life.fetched(CredentialSet::new(key("k1").with_scheme(foreign())).with_generation(1));
    assert_eq!(life.cause(), Some(ErrorKind::SchemeFailed));
    let mut life = Life::holding(set(1, "k1", &[]));
    life.refresh(
        CredentialSet::new(key("k2").with_scheme(foreign()))
            .with_generation(2)
            .with_previous(key("k1")),
    );
    assert_eq!((life.in_use(), life.candidate(), life.usable()), (Some("k1"), None, vec!["k1"]));
    let mut life = Life::begin();
    life.rotation.know_schemes(["smoke-signals".into()]);
    life.fetched(CredentialSet::new(key("k1").with_scheme(foreign())).with_generation(1));
    assert_eq!(life.in_use(), Some("k1"));
}

#[test]
fn a_credential_is_not_used_before_it_is_valid() {
    let mut life = Life::begin();
    let early = key("k2").with_not_before(life.at(30));
    let now = life.at(0);
    life.fetched(CredentialSet::new(early).with_generation(1).with_as_of(now));
    assert_eq!(life.cause(), Some(ErrorKind::NotReady));
    life.pass(31.0);
    assert_eq!(life.in_use(), Some("k2"));
}

// ---- clocks ----

#[test]
fn a_wall_clock_set_back_lengthens_no_life() {
    let mut life = Life::begin();
    let set = CredentialSet { as_of: None, ..living(&life, 1, "k1", 600) };
    life.fetched(set.clone());
    life.now.wall -= 3_600_000;
    life.step(Input::Woke);
    assert_eq!(life.told().last(), Some(&"clock_jumped"));
    life.pass(5.0);
    life.fetched(set);
    life.pass(590.0);
    assert!(life.rotation.snapshot().hard);
    life.pass(6.0);
    let primary = &life.rotation.held.members[0];
    assert!(primary.has_ended(life.now), "a source that shows no clock does not move a known end");
}

#[test]
fn a_sleep_hides_no_end_and_the_sources_clock_mends_a_wrong_one() {
    let mut life = Life::begin();
    let zero = life.at(0);
    let ends = life.at(3600);
    let first = || CredentialSet::new(key("k1").with_expires_at(ends)).with_generation(1);
    life.fetched(first().with_as_of(zero).with_stale_ok_until(zero));
    assert!(life.rotation.confirmable().is_some());
    life.now.wall += 7_200_000;
    life.step(Input::Woke);
    assert_eq!(life.in_use(), None, "by the wall clock it has ended");
    assert!(life.told().contains(&"clock_jumped"));
    life.pass(5.0);
    assert!(life.live.is_some(), "and it asks at once");
    assert!(life.rotation.confirmable().is_none(), "for the full state");
    let later = zero.checked_add(jiff::SignedDuration::from_secs(5)).expect("a time");
    life.fetched(first().with_as_of(later));
    assert_eq!(life.in_use(), Some("k1"), "it was the wall clock that was wrong");
}

#[test]
fn an_unchanged_answer_does_not_keep_an_ended_one_alive() {
    let mut life = Life::begin();
    life.fetched(living(&life, 1, "k1", 60).with_stale_ok_until(life.at(60)));
    life.pass(61.0);
    while life.live.is_none() {
        life.pass(1.0);
    }
    life.not_modified();
    assert_eq!(life.in_use(), None);
    assert!(life.settled.last().is_some_and(Result::is_err));
}

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
