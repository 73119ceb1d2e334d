//! Real sockets under a paused clock: time moves only where a test says so.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc::unbounded_channel,
    task::JoinSet,
    time::advance,
};

use super::*;
use crate::{error::ErrorKind, source::parse};

// ---- fail-over ----

#[tokio::test(start_paused = true)]
async fn on_any_failure_the_next_region_is_asked() {
    let cases = ["401", "403", "404", "429", "500", "503", "302", "410", "204", "garbage", "torn"];
    for case in cases {
        let mut world = World::new(2).await;
        let fetch = world.fetch(None);
        world.next(0).await.say(&broken(case)).await;
        world.next(1).await.say(&document(7, "a", "v7")).await;
        assert_eq!(generation(fetch.await), 7, "{case}");
        // The one that failed is asked last from now on: and so not at all.
        let fetch = world.fetch(None);
        world.next(1).await.say(&document(8, "a", "v8")).await;
        assert_eq!(generation(fetch.await), 8, "{case}");
        let [first, second] = &world.regions.health()[..] else { panic!("two") };
        assert!(!first.is_healthy && first.error.is_some(), "{first:?}");
        assert_eq!((second.is_healthy, second.generation), (true, Some(8)));
        assert!(first.origin.starts_with("http://127.0.0.1:"), "{first:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_region_that_hangs_leaves_time_for_the_others() {
    let mut world = World::new(2).await;
    let fetch = world.fetch(None);
    let _hangs = world.next(0).await;
    advance(Duration::from_millis(4_501)).await;
    world.next(1).await.say(&document(7, "a", "v7")).await;
    assert_eq!(generation(fetch.await), 7);
    assert_eq!(world.trouble(0), Some(ErrorKind::Timeout));
    // After its rest it is the first again.
    advance(Duration::from_secs(30)).await;
    let fetch = world.fetch(None);
    world.next(0).await.say(&document(7, "a", "v7")).await;
    assert_eq!(generation(fetch.await), 7);
    assert!(world.regions.health()[0].is_healthy);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_is_given_up_counts_against_the_region_that_it_hung_in() {
    let mut world = World::new(2).await;
    let fetch = world.fetch(None);
    let _hangs = world.next(0).await;
    drop(fetch);
    world.fetches.shutdown().await;
    assert_eq!(world.trouble(0), Some(ErrorKind::Timeout));
    let fetch = world.fetch(None);
    world.next(1).await.say(&document(7, "a", "v7")).await;
    assert_eq!(generation(fetch.await), 7);
}

#[tokio::test(start_paused = true)]
async fn if_all_fail_the_first_error_says_how_many_were_tried() {
    use ErrorKind::*;
    let cases = [
        (["503", "404", "500"], Unavailable, 0),
        (["403", "404", "500"], Unavailable, 2),
        (["403", "404", "401"], Forbidden, 0),
    ];
    for (answers, kind, from) in cases {
        let mut world = World::new(3).await;
        let fetch = world.fetch(None);
        for (region, answer) in answers.iter().enumerate() {
            world.next(region).await.say(&broken(answer)).await;
        }
        let error = fetch.await.expect("judged").expect_err("all failed");
        assert_eq!(error.kind(), kind, "{error}");
        let shown = error.to_string();
        assert!(shown.contains("none of 3 regions answers well"), "{shown}");
        assert!(shown.contains(&world.regions.health()[from].origin), "{shown}");
        assert_eq!(error.status().map(|it| it.to_string()).as_deref(), Some(answers[from]));
        assert_eq!(error.retry_after(), None);
    }
    let mut world = World::new(2).await;
    let fetch = world.fetch(None);
    for (region, wait) in [(0, 90), (1, 20)] {
        let answer = format!("HTTP/1.1 429 X\r\nretry-after: {wait}\r\ncontent-length: 0\r\n\r\n");
        world.next(region).await.say(&answer).await;
    }
    let error = fetch.await.expect("judged").expect_err("all failed");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(20)), "one can be asked by then");
}

#[tokio::test(start_paused = true)]
async fn a_revocation_is_believed_at_once() {
    let mut world = World::new(2).await;
    let fetch = world.fetch(Some(held(7, "a", "v7")));
    let body = r#"{"type": "urn:keyswap:error:set-revoked", "set": "eu"}"#;
    let length = body.len();
    let gone = format!("HTTP/1.1 410 X\r\ncontent-length: {length}\r\n\r\n{body}");
    world.next(0).await.say(&gone).await;
    let error = fetch.await.expect("judged").expect_err("gone");
    assert_eq!(error.kind(), ErrorKind::SetRevoked);
    assert!(world.regions.health()[0].is_healthy);
}

// ---- what is held ----

#[tokio::test(start_paused = true)]
async fn who_asks_again_at_once_hears_of_the_other_regions() {
    let mut world = World::new(2).await;
    let same = || Some(held(7, "a", "v7"));
    // An ordinary look asks one region.
    let fetch = world.fetch(same());
    world.next(0).await.say(&document(7, "a", "v7")).await;
    assert_eq!(generation(fetch.await), 7);
    // The first region still knows nothing newer; the second does.
    advance(Duration::from_secs(1)).await;
    let fetch = world.fetch(same());
    world.next(0).await.say(&document(7, "a", "v7")).await;
    world.next(1).await.say(&document(8, "a", "v8")).await;
    assert_eq!(generation(fetch.await), 8);
    // If nobody knows any, that is the answer, and the next ordinary look is one again.
    advance(Duration::from_secs(1)).await;
    let fetch = world.fetch(Some(held(8, "a", "v8")));
    world.next(0).await.say(&document(7, "a", "v7")).await;
    world.next(1).await.say(&document(8, "a", "v8")).await;
    assert_eq!(generation(fetch.await), 8);
    advance(Duration::from_secs(5)).await;
    let fetch = world.fetch(Some(held(8, "a", "v8")));
    world.next(0).await.say(&document(8, "a", "v8b")).await;
    assert_eq!(generation(fetch.await), 8);
}

#[tokio::test(start_paused = true)]
async fn a_region_that_is_behind_is_passed_over() {
    let mut world = World::new(2).await;
    for _ in 0..2 {
        let fetch = world.fetch(Some(held(7, "a", "v7")));
        world.next(0).await.say(&document(6, "a", "v6")).await;
        world.next(1).await.say(&document(7, "a", "v7")).await;
        assert_eq!(generation(fetch.await), 7);
        let first = &world.regions.health()[0];
        assert_eq!(world.trouble(0), Some(ErrorKind::OlderGeneration));
        assert_eq!((first.is_healthy, first.generation), (false, Some(6)));
    }
    // If nothing else answers, the engine is given it, and refuses it.
    let fetch = world.fetch(Some(held(7, "a", "v7")));
    world.next(0).await.say(&document(6, "a", "v6")).await;
    world.next(1).await.say(&broken("500")).await;
    assert_eq!(generation(fetch.await), 6);
    // A fetch for the full state knows what was held.
    let fetch = world.fetch(None);
    world.next(0).await.say(&document(6, "a", "v6")).await;
    advance(Duration::from_millis(1)).await;
    world.next(1).await.say(&document(8, "a", "v8")).await;
    assert_eq!(generation(fetch.await), 8);
}

#[tokio::test(start_paused = true)]
async fn a_new_lineage_is_for_the_engine_to_judge_when_no_region_has_the_old_one() {
    let mut world = World::new(3).await;
    let fetch = world.fetch(Some(held(7, "a", "v7")));
    world.next(0).await.say(&document(6, "a", "v6")).await;
    world.next(1).await.say(&document(2, "b", "v2")).await;
    world.next(2).await.say(&document(8, "a", "v8")).await;
    assert_eq!(generation(fetch.await), 8);
    let fetch = world.fetch(Some(held(8, "a", "v8")));
    world.next(0).await.say(&document(6, "a", "v6")).await;
    world.next(1).await.say(&document(2, "b", "v2")).await;
    world.next(2).await.say(&broken("500")).await;
    assert_eq!(generation(fetch.await), 2, "a new beginning says more than an older state");
}

#[tokio::test(start_paused = true)]
async fn each_region_is_asked_with_its_own_validator() {
    let mut world = World::new(2).await;
    let fetch = world.fetch(None);
    world.next(0).await.say(&document(7, "a", "near")).await;
    assert_eq!(generation(fetch.await), 7);
    let fetch = world.fetch(Some(held(7, "a", "near")));
    let mut first = world.next(0).await;
    assert!(first.head.contains("if-none-match: near"), "{}", first.head);
    first.say(&broken("500")).await;
    let mut second = world.next(1).await;
    assert!(!second.head.contains("if-none-match"), "{}", second.head);
    second.say(&document(7, "a", "far")).await;
    assert_eq!(generation(fetch.await), 7);
    let fetch = world.fetch(Some(held(7, "a", "near")));
    let mut second = world.next(1).await;
    assert!(second.head.contains("if-none-match: far"), "{}", second.head);
    second.say("HTTP/1.1 304 X\r\n\r\n").await;
    assert!(matches!(fetch.await, Ok(Ok(Fetched::NotModified))));
}

#[test]
fn printing_shows_where_they_are_and_nothing_else() {
    let at = |host: &str| Endpoint::new(format!("https://{host}/sets/eu?c=s3cr3t")).expect("a URL");
    let regions = at("a.example").bootstrap("s3cr3t").or(at("b.example").bootstrap("s3cr3t"));
    let shown = format!("{regions:?} {:?}", regions.health());
    assert!(shown.contains("https://a.example") && shown.contains("https://b.example"), "{shown}");
    assert!(!shown.contains("s3cr3t"), "{shown}");
}

// ---- push ----

#[tokio::test(start_paused = true)]
async fn push_moves_on_when_it_is_lost_and_that_is_told_once() {
    let mut world = World::new(2).await;
    let (hear, mut said) = unbounded_channel();
    let watch = world.regions.watch(Hints::new(move |it| drop(hear.send(text(&it)))));
    let mut beside = JoinSet::new();
    beside.spawn(watch.expect("a watch"));
    let fetch = world.fetch(None);
    world.next(0).await.say(&document(7, "a", "v7")).await;
    assert_eq!(generation(fetch.await), 7);

    let stream = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    let event = |generation| format!("event: changed\ndata: {{\"generation\":{generation}}}\n\n");
    let mut first = world.next(0).await;
    assert!(first.head.starts_with("GET /sets/eu/events "), "{}", first.head);
    first.say(stream).await;
    first.say(&event(7)).await;
    assert_eq!(in_time(said.recv()).await.as_deref(), Some("hint 7"));
    advance(Duration::from_secs(46)).await;
    assert_eq!(in_time(said.recv()).await.as_deref(), Some("lost"));
    // The second has never been asked, and is taken to serve what the first does. It is silent as well.
    let mut second = world.next(1).await;
    second.is_closed_after(Duration::from_secs(46)).await;
    // Both are silent: back to the first, and nothing more to tell until something is heard.
    let mut first = world.next(0).await;
    first.say(stream).await;
    first.say(&event(8)).await;
    assert_eq!(in_time(said.recv()).await.as_deref(), Some("hint 8"));
    advance(Duration::from_secs(46)).await;
    assert_eq!(in_time(said.recv()).await.as_deref(), Some("lost"));
}

#[test]
fn push_follows_only_where_the_program_wants_it() {
    let at = |host: &str| {
        Endpoint::new(format!("https://{host}/sets/eu")).expect("a URL").bootstrap("b00t")
    };
    let watch = |first: Endpoint, second| first.or(second).watch(Hints::new(|_| {})).is_some();
    assert!(watch(at("a.example").no_push(), at("b.example")));
    assert!(!watch(at("a.example").no_push(), at("b.example").no_push()));
}

// ---- a world of regions under a paused clock ----

type Outcome = Result<Fetched, Error>;

struct World {
    regions: Regions,
    listeners: Vec<TcpListener>,
    fetches: JoinSet<()>,
    /// While a blocking task runs, a paused clock does not run ahead of the sockets by itself. It ends
    /// after half a real minute: what a test then still waits for fails, instead of hanging.
    _held: std::sync::mpsc::Sender<()>,
}

struct Connection {
    head: String,
    stream: TcpStream,
}

impl World {
    async fn new(count: usize) -> Self {
        let (held, until) = std::sync::mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || until.recv_timeout(Duration::from_secs(30)));
        let mut listeners = Vec::new();
        let mut endpoints = Vec::new();
        for _ in 0..count {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let url = format!("http://{}/sets/eu", listener.local_addr().expect("an address"));
            endpoints.push(Endpoint::new(url).expect("a URL").bootstrap("b00t"));
            listeners.push(listener);
        }
        let first = endpoints.remove(0);
        let second = endpoints.remove(0);
        let regions = endpoints.into_iter().fold(first.or(second), Regions::or);
        Self { regions, listeners, fetches: JoinSet::new(), _held: held }
    }

    fn fetch(&mut self, held: Option<CredentialSet>) -> tokio::sync::oneshot::Receiver<Outcome> {
        let (tell, told) = tokio::sync::oneshot::channel();
        let regions = self.regions.clone();
        self.fetches.spawn(async move {
            let _ = tell.send(regions.fetch(held.as_ref()).await);
        });
        told
    }

    /// Why this region's last answer was not good.
    fn trouble(&self, region: usize) -> Option<ErrorKind> {
        self.regions.health().swap_remove(region).error.map(|error| error.kind())
    }

    /// The next connection to this region.
    async fn next(&self, region: usize) -> Connection {
        let accepted = in_time(self.listeners[region].accept()).await;
        let (mut stream, _) = accepted.expect("a connection");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("a head"));
        }
        Connection { head: String::from_utf8(head).expect("text"), stream }
    }
}

impl Connection {
    async fn say(&mut self, text: &str) {
        // A client that stops reading is right to.
        let _ = self.stream.write_all(text.as_bytes()).await;
        if !text.contains("event-stream") && !text.starts_with("event:") {
            let _ = self.stream.shutdown().await;
        }
    }

    /// Nothing is said, and time passes, until the client has gone.
    async fn is_closed_after(&mut self, time: Duration) {
        advance(time).await;
        let _ = in_time(self.stream.read_to_end(&mut Vec::new())).await;
    }
}

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(3600), work).await.expect("it comes")
}

fn document(generation: u64, lineage: &str, validator: &str) -> String {
    let body = json(generation, lineage);
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\netag: {validator}\r\ncontent-length: {length}\r\n\r\n{body}")
}

fn json(generation: u64, lineage: &str) -> String {
    format!(
        r#"{{"generation": {generation}, "lineage": "{lineage}", "levels": ["events"],
            "current": {{"id": "k", "material": {{"key": "m4terial"}}}}}}"#
    )
}

fn held(generation: u64, lineage: &str, validator: &str) -> CredentialSet {
    parse(json(generation, lineage).as_bytes()).expect("well-formed").with_validator(validator)
}

fn broken(how: &str) -> String {
    match how {
        "garbage" => "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\ngarbage".to_owned(),
        "torn" => "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{".to_owned(),
        "302" => "HTTP/1.1 302 X\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "204" => "HTTP/1.1 204 X\r\n\r\n".to_owned(),
        status => format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n"),
    }
}

#[track_caller]
fn generation(outcome: Result<Outcome, tokio::sync::oneshot::error::RecvError>) -> u64 {
    match outcome.expect("judged").expect("an answer") {
        Fetched::Set(set) => set.generation(),
        Fetched::NotModified => panic!("not modified"),
    }
}

fn text(said: &PushSignal) -> String {
    match said {
        PushSignal::Hint(hint) => {
            format!("hint{}", hint.generation.map_or_else(String::new, |it| format!(" {it}")))
        }
        PushSignal::Lost(_) => "lost".to_owned(),
    }
}
