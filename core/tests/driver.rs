//! The driver under a paused clock: a source that is scripted, and time that jumps.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::{
    collections::VecDeque,
    future::{IntoFuture, pending},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::StreamExt;
use jiff::{SignedDuration, Timestamp};
#[cfg(feature = "host")]
use keyswap::host;
use keyswap::{
    Clock, Credential, CredentialSet, Error, ErrorKind, Event, KeySwap, Policy, Source,
    source::{self, BoxFuture, Fetched, Hint},
};
use tokio::runtime::Runtime;

/// What one fetch does.
#[derive(Debug)]
enum Answer {
    Set(CredentialSet),
    NotModified,
    Fail(Error),
    Panic,
    Hang,
    After(Duration, CredentialSet),
}

/// Answers each fetch from a list, and «not modified» once that has ended.
#[derive(Clone, Debug, Default)]
struct Script(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    answers: VecDeque<Answer>,
    fetches: u32,
    mints: bool,
}

impl Script {
    fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        let answers = answers.into_iter().collect();
        Self(Arc::new(Mutex::new(State { answers, fetches: 0, mints: false })))
    }

    fn minting(self) -> Self {
        self.0.lock().unwrap().mints = true;
        self
    }

    fn fetches(&self) -> u32 {
        self.0.lock().unwrap().fetches
    }

    fn push(&self, answer: Answer) {
        self.0.lock().unwrap().answers.push_back(answer);
    }

    /// Handles to this script: this one, and that of a driver that still lives.
    fn handles(&self) -> usize {
        Arc::strong_count(&self.0)
    }
}

impl Source for Script {
    fn mints(&self) -> bool {
        self.0.lock().unwrap().mints
    }

    fn fetch<'a>(&'a self, _: Option<&'a CredentialSet>) -> BoxFuture<'a, Result<Fetched, Error>> {
        let answer = {
            let mut state = self.0.lock().unwrap();
            state.fetches += 1;
            state.answers.pop_front().unwrap_or(Answer::NotModified)
        };
        Box::pin(async move {
            match answer {
                Answer::Set(set) => Ok(Fetched::Set(set)),
                Answer::NotModified => Ok(Fetched::NotModified),
                Answer::Fail(error) => Err(error),
                Answer::Panic => panic!("the source panics on purpose"),
                Answer::Hang => pending().await,
                Answer::After(delay, set) => {
                    tokio::time::sleep(delay).await;
                    Ok(Fetched::Set(set))
                }
            }
        })
    }
}

fn set(generation: u64) -> CredentialSet {
    let id = format!("k{generation}");
    let primary = Credential::new(&id, format!("material-{id}"));
    let mut set = CredentialSet::new(primary).with_generation(generation);
    if generation > 1 {
        let id = format!("k{}", generation - 1);
        set = set.with_previous(Credential::new(&id, format!("material-{id}")));
    }
    set
}

fn expiring(generation: u64, life: Duration) -> CredentialSet {
    let now = Timestamp::now();
    let ends = now + SignedDuration::try_from(life).unwrap();
    let id = format!("k{generation}");
    let primary = Credential::new(&id, format!("material-{id}")).with_expires_at(ends);
    CredentialSet::new(primary).with_generation(generation).with_as_of(now)
}

fn unavailable() -> Answer {
    Answer::Fail(Error::new(ErrorKind::Unavailable, "down on purpose"))
}

fn start(script: &Script) -> KeySwap {
    KeySwap::follow(script.clone()).clock(Clock::tokio()).seed(7).start().unwrap()
}

fn in_use(keys: &KeySwap) -> String {
    keys.current().map_or_else(|error| error.code().into(), |current| current.id().to_owned())
}

/// Lets time jump.
async fn advance(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_refresh_comes_before_the_end_and_a_failure_displaces_nothing() {
    let hour = Duration::from_secs(3600);
    let script = Script::new([Answer::Set(expiring(1, hour)), unavailable(), unavailable()]);
    let script = script.minting();
    let keys = start(&script);
    keys.ready().await.unwrap();
    assert_eq!(in_use(&keys), "k1");
    advance(2400.0).await;
    assert_eq!(script.fetches(), 1, "40 minutes in, nothing is due: the lead is at most 20 min");
    script.push(Answer::Set(expiring(2, hour * 2)));
    advance(900.0).await;
    assert_eq!(in_use(&keys), "k2");
    assert_eq!(keys.stats().counts.failed, 2);
}

#[cfg(feature = "host")]
#[tokio::test(start_paused = true)]
async fn an_inherited_set_serves_while_the_first_fetch_runs() {
    let follow = |script: &Script, set| {
        let follow = KeySwap::follow(script.clone()).clock(Clock::tokio()).seed(7);
        host::inherit(follow, set).start().unwrap()
    };
    let script = Script::new([Answer::After(Duration::from_secs(2), set(3))]);
    let keys = follow(&script, set(2));
    assert_eq!(in_use(&keys), "k2", "at once");
    advance(1.0).await;
    assert_eq!(script.fetches(), 1, "it fetches at once all the same");
    advance(2.0).await;
    assert_eq!(keys.stats().generation, Some(3));
    assert_eq!(keys.stats().counts.changed, 1, "what was inherited was not fetched");

    let script = Script::new([Answer::Set(set(1)), unavailable()]);
    let keys = follow(&script, set(2));
    advance(1.0).await;
    assert_eq!(in_use(&keys), "k2", "a lower generation does not displace it");

    let ended = Timestamp::now() - SignedDuration::from_secs(60);
    let ended = CredentialSet::new(Credential::new("k0", "material").with_expires_at(ended));
    let keys = follow(&Script::new([Answer::Hang]), ended);
    assert_eq!(in_use(&keys), "not_ready", "what has ended is passed over");
}

#[tokio::test(start_paused = true)]
async fn the_source_may_panic_or_hang() {
    let script =
        Script::new([Answer::Set(set(1)), Answer::Panic, Answer::Hang, Answer::Set(set(2))]);
    let keys = start(&script);
    let mut events = keys.events();
    keys.ready().await.unwrap();
    let panicked = keys.refresh().await.unwrap_err();
    assert_eq!(panicked.kind(), ErrorKind::SourceFailed);
    let hung = keys.refresh().await.unwrap_err();
    assert_eq!(hung.kind(), ErrorKind::Timeout);
    assert_eq!(in_use(&keys), "k1");
    keys.refresh().await.unwrap();
    assert_eq!(keys.set().unwrap().generation(), 2);
    let mut told = Vec::new();
    while let Some(event) = events.try_next() {
        told.push(event.name());
    }
    assert_eq!(
        told,
        ["fetched", "swapped", "fetch_failed", "fetch_failed", "recovered", "fetched", "candidate"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_caller_does_not_cancel_the_fetch() {
    let script = Script::new([Answer::After(Duration::from_secs(4), set(1))]);
    let keys = start(&script);
    let impatient = tokio::time::timeout(Duration::from_secs(1), keys.ready()).await;
    assert!(impatient.is_err());
    keys.ready().await.unwrap();
    assert_eq!((in_use(&keys).as_str(), script.fetches()), ("k1", 1));
}

#[tokio::test(start_paused = true)]
async fn all_who_wait_share_one_fetch_and_its_outcome() {
    let script = Script::new([unavailable(), Answer::After(Duration::from_secs(2), set(1))]);
    let keys = start(&script);
    let outcomes = wait_all(&keys, 100).await;
    assert!(outcomes.iter().all(|outcome| {
        outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::Unavailable)
    }));
    assert_eq!(script.fetches(), 1);
    advance(1.5).await;
    let outcomes = wait_all(&keys, 100).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(script.fetches(), 2);
    assert_eq!(keys.stats().waiting, 0);
}

async fn wait_all(keys: &KeySwap, count: usize) -> Vec<Result<(), Error>> {
    let wait = |keys: KeySwap| async move { keys.ready().await };
    let tasks: Vec<_> = (0..count).map(|_| tokio::spawn(wait(keys.clone()))).collect();
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.push(task.await.unwrap());
    }
    outcomes
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_handle_ends_the_task_even_in_a_fetch() {
    let script = Script::new([Answer::Set(set(1)), Answer::Hang]);
    let keys = start(&script);
    let clone = keys.clone();
    let mut events = keys.events();
    keys.ready().await.unwrap();
    let refresh = tokio::spawn(async move { clone.refresh().await });
    advance(6.0).await;
    assert_eq!(script.fetches(), 2);
    refresh.abort();
    let _ = refresh.await;
    assert!(script.handles() > 1, "the driver holds its source");
    drop(keys);
    while events.next().await.is_some() {}
    advance(0.001).await;
    assert_eq!(script.handles(), 1, "the driver, its fetch and its source are gone");
}

#[cfg(feature = "host")]
#[tokio::test(start_paused = true)]
async fn each_epoch_is_told_once_it_can_be_read_and_the_end_is_one() {
    let script = Script::new([Answer::Set(set(1)), Answer::Set(set(2))]);
    let told = Arc::new(Mutex::new(Vec::new()));
    let write = told.clone();
    let follow = KeySwap::follow(script);
    let follow = host::on_publish(follow, move |epoch| write.lock().unwrap().push(epoch));
    let keys = follow.start().unwrap();
    assert_eq!(host::epoch(&keys), keys.snapshot().epoch());
    keys.ready().await.unwrap();
    advance(6.0).await;
    keys.refresh().await.unwrap();
    assert_eq!(host::epoch(&keys), keys.snapshot().epoch());
    keys.shutdown().await;
    let told = told.lock().unwrap().clone();
    assert!(told.len() >= 3, "{told:?}");
    assert!(told.is_sorted_by(|a, b| a < b), "{told:?}");
    assert_eq!(told.last(), Some(&host::epoch(&keys)));
    assert_eq!(keys.snapshot().epoch(), host::epoch(&keys), "the end is published as well");
}

#[tokio::test(start_paused = true)]
async fn closing_settles_everybody_with_a_typed_error() {
    let script = Script::new([Answer::Hang]);
    let keys = start(&script);
    let waiting = tokio::spawn({
        let keys = keys.clone();
        async move { keys.ready().await }
    });
    advance(0.1).await;
    keys.close();
    assert_eq!(waiting.await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(in_use(&keys), "closed");
    assert_eq!(keys.refresh().await.unwrap_err().kind(), ErrorKind::Closed);
    assert!(keys.events().next().await.is_none());
    keys.close();
}

#[tokio::test(start_paused = true)]
async fn a_bad_first_outcome_fails_the_start() {
    let rejected = Error::new(ErrorKind::BootstrapRejected, "bootstrap credential rejected (401)");
    let script = Script::new([Answer::Fail(rejected)]);
    let error = KeySwap::follow(script.clone()).clock(Clock::tokio()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BootstrapRejected);
    let policy = Policy::default().poll(Duration::ZERO);
    let error = KeySwap::follow(script).policy(policy).start().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_gives_up_waiting_loses_nothing() {
    let gate = Arc::new(tokio::sync::Notify::new());
    let vault = source::from_fn({
        let gate = gate.clone();
        move || {
            let gate = gate.clone();
            async move {
                gate.notified().await;
                Ok(CredentialSet::new(Credential::new("k1", "material")))
            }
        }
    });
    let keys = KeySwap::follow(vault).clock(Clock::tokio()).start().unwrap();
    let mut events = keys.events();
    let patience = Duration::from_millis(10);
    assert!(tokio::time::timeout(patience, events.next()).await.is_err());
    assert!(events.try_next().is_none());
    gate.notify_one();
    keys.ready().await.unwrap();
    let first = events.try_next().unwrap();
    keys.close();
    let mut names = vec![first.name()];
    names.extend(events.map(|event| event.name()).collect::<Vec<_>>().await);
    assert_eq!(names, ["fetched", "swapped"], "and it ends with the handle");
}

#[test]
fn outside_a_runtime_it_says_so() {
    let error = KeySwap::follow(Script::new([])).start().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(error.to_string().contains("runtime"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_observer_is_told_what_it_missed() {
    let script = Script::new([Answer::Set(set(1))]);
    let policy = Policy::default().poll(Duration::from_secs(5));
    let keys = KeySwap::follow(script).clock(Clock::tokio()).policy(policy).start().unwrap();
    let mut events = keys.events();
    keys.ready().await.unwrap();
    advance(5.0 * 500.0).await;
    let first = events.next().await.unwrap();
    assert!(matches!(first, Event::Lagged { missed, .. } if missed > 100), "{first:?}");
    assert!(matches!(events.next().await, Some(Event::NotModified { generation: 1, .. })));
}

#[tokio::test(start_paused = true)]
async fn the_programs_own_schedule_is_used() {
    let script = Script::new((0..50).map(|_| unavailable()));
    let keys = KeySwap::follow(script.clone())
        .clock(Clock::tokio())
        .backoff(|| std::iter::repeat(Duration::from_secs(10)))
        .start()
        .unwrap();
    advance(95.0).await;
    assert_eq!(script.fetches(), 10, "one at once, then one each 10 s");
    drop(keys);
}

#[tokio::test(start_paused = true)]
async fn an_expired_set_says_so_and_a_new_one_restores() {
    let minute = Duration::from_secs(60);
    let script = Script::new([Answer::Set(expiring(1, minute))]);
    for _ in 0..200 {
        script.push(unavailable());
    }
    let keys = start(&script);
    keys.ready().await.unwrap();
    advance(90.0).await;
    assert_eq!(in_use(&keys), "k1", "the stale grace is as long as the life, at most 15 min");
    advance(31.0).await;
    assert!(["expired", "unavailable"].contains(&&*in_use(&keys)), "{}", in_use(&keys));
    script.0.lock().unwrap().answers.clear();
    script.push(Answer::Set(expiring(2, minute * 60)));
    advance(16.0).await;
    assert_eq!(in_use(&keys), "k2");
}

// ---- what the other side can send without end ----

#[tokio::test(start_paused = true)]
async fn a_flood_of_hints_is_one_hint() {
    let script = Script::new([Answer::Set(set(1))]);
    let keys = start(&script);
    keys.ready().await.unwrap();
    let mut events = keys.events();
    advance(60.0).await;
    // Nothing of it is heard before this task lets go: it stands in one place.
    for generation in 0..1_000_000 {
        keys.hint(Hint::new().generation(generation));
    }
    advance(0.1).await;
    assert_eq!(script.fetches(), 2);
    keys.refresh().await.unwrap();
    assert_eq!(events.next().await.unwrap().name(), "not_modified");
}

// ---- runtimes that end ----

/// What holds of a handle whose runtime has ended.
fn beyond_its_runtime(make: impl FnOnce() -> (Runtime, KeySwap, Script)) {
    let (runtime, keys, script) = make();
    drop(runtime);
    script.push(Answer::Set(set(2)));
    let other = Runtime::new().unwrap();
    other.block_on(async {
        let mut events = keys.events();
        keys.refresh().await.unwrap();
        assert_eq!(keys.stats().generation, Some(2));
        while events.next().await.unwrap().name() != "fetched" {}
        keys.shutdown().await;
    });
    assert_eq!(script.handles(), 1, "it ends with the handle all the same");
}

fn quick() -> Policy {
    Policy::default()
        .fetch_floor_min(Duration::from_millis(10))
        .fetch_floor(Duration::from_millis(10))
        .backoff_min(Duration::from_millis(10))
}

#[test]
fn a_handle_goes_on_when_the_runtime_that_made_it_ends() {
    beyond_its_runtime(|| {
        let runtime = Runtime::new().unwrap();
        let script = Script::new([Answer::Set(set(1))]);
        let follow = KeySwap::follow(script.clone()).policy(quick());
        let keys = runtime.block_on(follow.into_future()).unwrap();
        (runtime, keys, script)
    });
    // While a fetch runs, and on a runtime of one thread, as each `#[tokio::test]` has.
    beyond_its_runtime(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let script = Script::new([Answer::Hang]);
        let keys = runtime.block_on(async {
            let keys = KeySwap::follow(script.clone()).policy(quick()).start().unwrap();
            tokio::task::yield_now().await;
            keys
        });
        (runtime, keys, script)
    });
}

#[test]
fn a_runtime_that_was_passed_is_the_programs_to_end_and_every_call_says_so() {
    let runtime = Runtime::new().unwrap();
    let script = Script::new([Answer::Set(set(1))]);
    let follow = KeySwap::follow(script.clone()).runtime(runtime.handle().clone());
    let keys = follow.start().unwrap();
    runtime.block_on(keys.ready()).unwrap();
    drop(runtime);
    let error = keys.current().expect_err("its runtime has ended");
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert!(error.to_string().contains("runtime"), "{error}");
    let refreshed = Runtime::new().unwrap().block_on(keys.refresh());
    assert_eq!(refreshed.expect_err("as well").kind(), ErrorKind::Closed);
}

#[test]
fn a_handle_that_is_dropped_first_leaves_nothing_behind() {
    let runtime = Runtime::new().unwrap();
    let script = Script::new([Answer::Set(set(1))]);
    let keys = runtime.block_on(KeySwap::follow(script.clone()).into_future()).unwrap();
    drop(keys);
    drop(runtime);
    assert_eq!(script.handles(), 1);
}
