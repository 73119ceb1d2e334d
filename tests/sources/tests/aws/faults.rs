//! Each source with a store that is down, slow, broken, busy, or that allows nothing for a while.

use std::time::Duration;

use keyswap::{
    ErrorKind, KeySwap, Source,
    source::aws::{ParameterStore, SecretsAgent, SecretsManager},
};
use keyswap_source_tests::{aws::Stub, fake::Fault, load::until};

use crate::{
    REGION, follow, in_use, next_failure,
    world::{Mode, TOKEN, World},
};

/// What is wrong, what it is called, and words of it.
const CASES: [(Wrong, ErrorKind, &str); 5] = [
    (Wrong::Fault(Fault::Down), ErrorKind::Unavailable, "cannot answer now"),
    (Wrong::Fault(Fault::Slow), ErrorKind::Timeout, "did not answer within"),
    (Wrong::Fault(Fault::Garbage), ErrorKind::Malformed, "answered 200"),
    (Wrong::Mode(Mode::Throttles), ErrorKind::Throttled, "wants fewer requests"),
    (Wrong::Mode(Mode::Denies), ErrorKind::Forbidden, "prod/"),
];

#[derive(Clone, Copy)]
enum Wrong {
    Fault(Fault),
    Mode(Mode),
}

impl Wrong {
    fn begins(self, world: &World, stub: &Stub) {
        match self {
            Self::Fault(fault) => stub.fails(fault),
            Self::Mode(mode) => world.set(mode),
        }
    }

    fn ends(world: &World, stub: &Stub) {
        stub.fails(None);
        world.set(Mode::Well);
    }
}

async fn goes_through(world: World, stub: Stub, source: impl Source) {
    let keys = follow(source).await;
    let mut held = "k1".to_owned();
    for (step, (wrong, kind, words)) in CASES.into_iter().enumerate() {
        let mut events = keys.events();
        wrong.begins(&world, &stub);
        let (told, text) = next_failure(&mut events).await;
        assert_eq!(told, kind, "{text}");
        assert!(text.contains(words), "{text}");
        assert!(text.contains(stub.url()), "it says where: {text}");
        assert!(!text.contains("s3cr3t"), "{text}");
        assert_eq!(newest(&keys), held, "what is held stays");
        // The last failure may just have been told, and a wait of its own be running: one backoff, or the time that was
        // asked for, up to as much later.
        held = format!("k{}", step + 2);
        world.rotate(&held);
        Wrong::ends(&world, &stub);
        until("it is back", Duration::from_millis(2_500), || newest(&keys) == held).await;
    }
}

fn newest(keys: &KeySwap) -> String {
    keys.set().unwrap().primary().unwrap().reveal("key").unwrap().to_owned()
}

#[tokio::test]
async fn secrets_manager() {
    let world = World::new(&["k1"]);
    let stub = world.serve().await;
    let source = SecretsManager::new("prod/trading").region(REGION).endpoint_url(stub.url());
    let source = source.credentials("AKID", "x", None).timeout(Duration::from_millis(300));
    goes_through(world, stub, source).await;
}

#[tokio::test]
async fn parameter_store() {
    let world = World::new(&["k1"]);
    let stub = world.serve().await;
    let source = ParameterStore::new("/prod/key").region(REGION).endpoint_url(stub.url());
    let source = source.credentials("AKID", "x", None).timeout(Duration::from_millis(300));
    goes_through(world, stub, source).await;
}

#[tokio::test]
async fn agent() {
    let world = World::new(&["k1"]);
    let stub = world.serve().await;
    let source = SecretsAgent::new("prod/trading").endpoint_url(stub.url()).token(TOKEN);
    goes_through_fresh(world, stub, source.timeout(Duration::from_millis(300))).await;
}

/// As above, where only a rejection makes the agent look for something new.
async fn goes_through_fresh(world: World, stub: Stub, source: SecretsAgent) {
    for (wrong, kind, words) in CASES {
        let keys = follow(source.clone()).await;
        let held = newest(&keys);
        let mut events = keys.events();
        wrong.begins(&world, &stub);
        let (told, text) = next_failure(&mut events).await;
        assert_eq!(told, kind, "{text}");
        assert!(text.contains(words) && text.contains(stub.url()), "{text}");
        assert!(!text.contains("s3cr3t"), "{text}");
        assert_eq!(newest(&keys), held, "what is held stays");
        Wrong::ends(&world, &stub);
        until("it is back", Duration::from_millis(2_500), || keys.last_failure().is_none()).await;
        assert_eq!(in_use(&keys), held);
    }
}
