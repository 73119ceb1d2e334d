use std::future::pending;

use tokio::time::advance;

use super::*;
use crate::{Credential, KeySwap, Policy, clock::Clock};

/// A source that answers as a test wants.
#[derive(Debug, Default)]
struct Told {
    answer: Mutex<Option<Result<CredentialSet, Error>>>,
    /// The validators that it was asked with.
    asked: Mutex<Vec<Option<String>>>,
    mints: bool,
}

impl Told {
    fn new(answer: Result<CredentialSet, Error>) -> Arc<Self> {
        Arc::new(Self { answer: Mutex::new(Some(answer)), ..Self::default() })
    }

    fn tell(&self, answer: Result<CredentialSet, Error>) {
        *self.answer.lock().expect("no test panicked") = Some(answer);
    }

    fn asked(&self) -> usize {
        self.asked.lock().expect("no test panicked").len()
    }
}

impl Source for Told {
    fn fetch<'a>(
        &'a self,
        known: Option<&'a CredentialSet>,
    ) -> BoxFuture<'a, Result<Fetched, Error>> {
        let known = known.and_then(|known| known.validator()).map(str::to_owned);
        self.asked.lock().expect("no test panicked").push(known.clone());
        let answer = self.answer.lock().expect("no test panicked").clone();
        Box::pin(async move {
            match answer {
                Some(Ok(set)) if known.is_some() && set.validator() == known.as_deref() => {
                    Ok(Fetched::NotModified)
                }
                Some(answer) => answer.map(Fetched::Set),
                None => pending().await,
            }
        })
    }

    fn mints(&self) -> bool {
        self.mints
    }

    fn watch(&self, hints: Hints) -> Option<BoxFuture<'static, ()>> {
        hints.send(Hint::new().generation(7));
        Some(Box::pin(async {}))
    }
}

fn key(id: &str, generation: impl Into<Option<u64>>) -> CredentialSet {
    let set = CredentialSet::new(Credential::new(id, format!("{id}-material")));
    CredentialSet { generation: generation.into(), ..set }
}

fn down() -> Error {
    Error::new(ErrorKind::Unavailable, "the store is down")
}

async fn followed(first: &Arc<Told>, second: &Arc<Told>) -> KeySwap {
    let source = first_of([first.clone() as _, second.clone() as _]);
    KeySwap::follow(source).clock(Clock::tokio()).await.expect("a set")
}

async fn pass(seconds: u64) {
    for _ in 0..seconds {
        advance(Duration::from_secs(1)).await;
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }
}

fn in_use(keys: &KeySwap) -> String {
    keys.current().expect("a credential").id().to_owned()
}

#[tokio::test(start_paused = true)]
async fn what_stands_in_at_the_start_gives_way_as_soon_as_the_first_works() {
    let (store, file) = (Told::new(Err(down())), Told::new(Ok(key("old", 90))));
    let keys = followed(&store, &file).await;
    assert_eq!(in_use(&keys), "old");
    pass(40).await;
    let asked = store.asked();
    assert!(
        in_use(&keys) == "old" && (2..=4).contains(&asked),
        "asked {asked} times: it goes on, and asks again"
    );
    store.tell(Ok(key("new", 3)));
    pass(40).await;
    assert_eq!(in_use(&keys), "new", "its number is lower, but another one's");
    file.tell(Ok(key("older", 91)));
    let asked = file.asked();
    pass(700).await;
    assert_eq!(
        (in_use(&keys).as_str(), file.asked()),
        ("new", asked),
        "nobody asks what is not needed"
    );
}

#[tokio::test(start_paused = true)]
async fn what_stands_in_hides_no_failure_from_observers() {
    let (store, file) = (Told::new(Err(down())), Told::new(Ok(key("old", 90))));
    let source = first_of([store.clone() as _, file.clone() as _]);
    let keys = KeySwap::follow(source).clock(Clock::tokio()).start().expect("a handle");
    let mut events = keys.events();
    keys.ready().await.expect("a set");
    pass(40).await;
    store.tell(Ok(key("new", 3)));
    pass(40).await;
    keys.close();
    let mut told = Vec::new();
    while let Some(event) = events.next().await {
        told.push(event.name());
    }
    told.retain(|name| ["fetch_failed", "recovered"].contains(name));
    let (failed, recovered) = told.split_at(told.len() - 1);
    assert_eq!(recovered, ["recovered"], "once, as the first works again: {told:?}");
    assert!(failed.len() >= 2 && failed.iter().all(|it| *it == "fetch_failed"), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_panics_has_failed_and_the_next_is_asked() {
    let broken = Arc::new(super::super::from_fn(|| async { panic!("a bug") }));
    let sources = [broken as _, Told::new(Ok(key("old", None))) as _];
    let keys = KeySwap::follow(first_of(sources)).clock(Clock::tokio()).await.expect("a set");
    assert_eq!(in_use(&keys), "old");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_displaces_nothing_while_what_it_brought_is_good() {
    let end = Timestamp::from_millisecond(Clock::tokio().now().wall).expect("a time");
    let end = end.checked_add(SignedDuration::from_hours(2)).expect("a time");
    let credential = Credential::new("new", "n").with_expires_at(end);
    let (store, file) =
        (Told::new(Ok(CredentialSet::new(credential))), Told::new(Ok(key("old", None))));
    let keys = followed(&store, &file).await;
    store.tell(Err(down()));
    pass(3600).await;
    assert_eq!((in_use(&keys).as_str(), file.asked()), ("new", 0));
    // Its end has come: now the last resort is better than nothing.
    pass(3700).await;
    assert_eq!(in_use(&keys), "old");
}

#[tokio::test(start_paused = true)]
async fn after_a_rejection_all_are_asked_and_each_with_what_is_its_own() {
    let (store, file) = (Told::new(Err(down())), Told::new(Ok(key("spare", None))));
    let source = first_of([store.clone() as _, file.clone() as _]);
    let held =
        source.placed(0, CredentialSet { validator: Some("\"a/b\"".into()), ..key("k1", 1) });
    assert_eq!(held.validator(), Some("0/\"a/b\""));
    assert!(source.ask(Some(&held)).await.is_err());
    assert_eq!(store.asked.lock().expect("asked")[..], [Some("\"a/b\"".to_owned())]);
    assert_eq!(file.asked(), 0);
    // The engine leaves out the validator once the API has rejected what is held.
    let rejected = CredentialSet { validator: None, ..held };
    let Fetched::Set(spare) = source.ask(Some(&rejected)).await.expect("the last resort") else {
        panic!("not modified")
    };
    assert_eq!(spare.primary().map(Credential::id), Some("spare"));
    assert_eq!(file.asked.lock().expect("asked")[..], [None]);
}

#[tokio::test]
async fn nothing_stands_in_for_a_set_that_was_revoked() {
    let file = Told::new(Ok(key("old", None)));
    let revoked = Error::new(ErrorKind::SetRevoked, "revoked");
    let emptied = CredentialSet { generation: Some(2), ..CredentialSet::default() };
    for (answer, says) in [(Err(revoked), "revoked"), (Ok(emptied), "the store is down")] {
        let store = Told::new(answer.clone());
        let source = first_of([store.clone() as _, file.clone() as _]);
        assert_eq!(source.ask(None).await.is_err(), answer.is_err());
        store.tell(Err(if answer.is_err() { answer.expect_err("revoked") } else { down() }));
        assert_eq!(source.ask(None).await.expect_err("nothing").to_string(), says);
        store.tell(Err(down()));
        assert_eq!(source.ask(None).await.expect_err("nothing").to_string(), "the store is down");
        assert_eq!(file.asked(), 0);
        store.tell(Ok(key("new", 3)));
        assert!(source.ask(None).await.is_ok());
        store.tell(Err(down()));
        assert!(source.ask(None).await.is_ok(), "it works again, and may be stood in for");
        file.asked.lock().expect("asked").clear();
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_hangs_leaves_time_for_the_others() {
    let (store, file) = (Arc::<Told>::default(), Told::new(Ok(key("old", None))));
    let source = first_of([store as _, file as _]);
    source.begin(&Terms::of(&Policy::default())).expect("begun");
    let clock = Clock::tokio();
    assert!(matches!(source.ask(None).await, Ok(Fetched::Set(_))));
    assert_eq!(clock.now().boot, 5001, "half of the time that a fetch has");
    let both = first_of([Arc::<Told>::default() as _, Arc::<Told>::default() as _]);
    let error = both.ask(None).await.expect_err("both hang").to_string();
    assert!(error.starts_with("source 1 of 2 did not answer"), "{error}");
    assert!(!error.contains("Told"), "what a source prints of itself may hold a key: {error}");
}

#[tokio::test]
async fn the_error_is_that_which_may_go_away_soon() {
    let forbidden = Error::new(ErrorKind::Forbidden, "the file is not readable");
    let source = first_of([Told::new(Err(forbidden)) as _, Told::new(Err(down())) as _]);
    let error = source.ask(None).await.expect_err("none works");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(error.to_string(), "the store is down; none of the 2 sources works");
}

#[tokio::test]
async fn hints_name_no_number_and_minting_is_said() {
    let (heard, mut hints) = tokio::sync::mpsc::unbounded_channel();
    let minting = Arc::new(Told { mints: true, ..Told::default() });
    assert!(!first_of([Arc::<Told>::default() as _]).mints());
    let source = first_of([Arc::<Told>::default() as _, minting as _]);
    assert!(source.mints());
    let watch = source.watch(Hints::new(move |said| heard.send(said).expect("heard")));
    watch.expect("a watch").await;
    for _ in 0..2 {
        assert!(matches!(
            hints.recv().await,
            Some(PushSignal::Hint(Hint { generation: None, .. }))
        ));
    }
}
