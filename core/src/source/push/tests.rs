//! Real sockets under a paused clock: time moves only where a test says so.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    task::JoinSet,
    time::advance,
};

use super::*;
use crate::{
    credential::{Credential, CredentialSet},
    source::{Endpoint, Hint, PushSignal, Source},
};

const STREAM: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";

// ---- events ----

#[tokio::test(start_paused = true)]
async fn an_event_becomes_a_hint_and_the_first_connection_costs_none() {
    let mut life = Life::begin().await;
    life.learn(&["wait", "events"], "g42");
    let mut server = life.connection().await;
    assert!(server.head.starts_with("GET /sets/eu/events?code=x HTTP/1.1\r\n"), "{}", server.head);
    assert!(server.has("accept: text/event-stream"));
    assert!(server.has("authorization: Bearer b00t"));
    assert!(!server.has("if-none-match"));
    server.say(STREAM).await;
    server.say("event: changed\ndata: {\"generation\":42}\n\nevent: ping\ndata: {}\n\n").await;
    server.say("event: chan").await;
    server.say("ged\r\ndata: {\"generation\":43,\"urgency\":\"immediate\"}\r\n\r\n").await;
    server.say("event: revoked\ndata: {\"generation\":43,\"revoked\":[\"k\"]}\n\n").await;
    assert_eq!(life.said().await, "hint 42");
    assert_eq!(life.said().await, "hint 43 now");
    assert_eq!(life.said().await, "hint now");
    drop(server);
    let (mut server, waited) = life.next_connection().await;
    assert!(waited <= 1_100, "{waited} ms");
    server.say(STREAM).await;
    assert_eq!(life.said().await, "hint", "something may have been missed");
}

#[tokio::test(start_paused = true)]
async fn silence_is_told_once_and_ends_the_connection() {
    let mut life = Life::begin().await;
    life.learn(&["events"], "g1");
    let mut server = life.connection().await;
    server.say(STREAM).await;
    server.say("event: changed\ndata: {\"generation\":1}\n\n").await;
    assert_eq!(life.said().await, "hint 1");
    advance(HEARTBEAT - Duration::from_millis(5)).await;
    server.say(": a sign of life\n\nevent: changed\ndata: {\"generation\":2}\n\n").await;
    assert_eq!(life.said().await, "hint 2");
    advance(HEARTBEAT + Duration::from_millis(5)).await;
    assert_eq!(life.said().await, "lost after 45 s");
    // Three connections that say nothing are still the same silence.
    for _ in 0..3 {
        let (mut refused, _) = life.next_connection().await;
        refused.say("HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n").await;
    }
    let (mut server, _) = life.next_connection().await;
    server.say(STREAM).await;
    assert_eq!(life.said().await, "hint", "nothing else was told meanwhile");
    advance(HEARTBEAT + Duration::from_millis(5)).await;
    assert_eq!(life.said().await, "lost after 45 s");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_never_answers_is_a_silence_too() {
    let mut life = Life::begin().await;
    life.learn(&["events"], "g1");
    let mut waited = 0;
    let _silent = life.connection().await;
    let mut servers = Vec::new();
    while life.hints.is_empty() {
        let (server, more) = life.next_connection().await;
        servers.push(server);
        waited += more;
        // More than the 45 s, since a slow moment of the machine lets more of the paused time pass.
        assert!(waited < 300_000);
    }
    assert_eq!(life.said().await, "lost after 45 s");
}

#[tokio::test(start_paused = true)]
async fn the_server_says_how_long_to_stay_away() {
    let mut life = Life::begin().await;
    life.learn(&["events"], "g1");
    let mut server = life.connection().await;
    server.say("HTTP/1.1 503 X\r\nretry-after: 20\r\ncontent-length: 0\r\n\r\n").await;
    let (mut server, waited) = life.next_connection().await;
    assert!((20_000..21_000).contains(&waited), "{waited}");
    server.say(STREAM).await;
    server.say("retry: 9000\n\nevent: changed\ndata: {}\n\n").await;
    assert_eq!(life.said().await, "hint");
    drop(server);
    let (_, waited) = life.next_connection().await;
    assert!((9_000..10_000).contains(&waited), "{waited}");
}

#[tokio::test(start_paused = true)]
async fn an_event_without_end_is_not_read_on() {
    let life = Life::begin().await;
    life.learn(&["events"], "g1");
    let mut server = life.connection().await;
    server.say(STREAM).await;
    server.say(&"x".repeat(17 * 1024)).await;
    server.is_closed().await;
    life.next_connection().await;
}

#[tokio::test(start_paused = true)]
async fn a_rejected_bootstrap_is_read_again_once() {
    let life = Life::with(|endpoint| {
        let mut calls = 0..;
        let calls = std::sync::Mutex::new(move || calls.next().unwrap_or(0));
        endpoint.bootstrap_fn(move || {
            let call = (calls.lock().expect("a count"))();
            async move { Ok(format!("b00t-{call}")) }
        })
    })
    .await;
    life.learn(&["events"], "g1");
    let refusal = "HTTP/1.1 401 X\r\ncontent-length: 0\r\n\r\n";
    for bearer in ["b00t-0", "b00t-1"] {
        let mut server = life.connection().await;
        assert!(server.has(&format!("authorization: Bearer {bearer}")), "{}", server.head);
        server.say(refusal).await;
    }
    let (_, waited) = life.next_connection().await;
    assert!(waited > 0, "then it backs off");
}

#[tokio::test(start_paused = true)]
async fn a_set_that_is_gone_makes_one_fetch_and_is_looked_for_slowly() {
    let mut life = Life::begin().await;
    life.learn(&["events"], "g1");
    let gone = "HTTP/1.1 410 X\r\ncontent-length: 0\r\n\r\n";
    life.connection().await.say(gone).await;
    assert_eq!(life.said().await, "hint now");
    let (mut server, waited) = life.next_connection().await;
    assert!((60_000..61_000).contains(&waited), "{waited}");
    server.say(gone).await;
    // The silence since the beginning is told, and the second 410 is no news.
    assert_eq!(life.said().await, "lost after 45 s");
    let (mut server, waited) = life.next_connection().await;
    assert!(waited >= 120_000, "{waited}");
    server.say(STREAM).await;
    server.say("event: changed\ndata: {\"generation\":9}\n\n").await;
    assert_eq!(life.said().await, "hint 9");
}

// ---- long polls ----

#[tokio::test(start_paused = true)]
async fn where_there_are_no_events_it_polls_and_waits_for_the_fetch() {
    for absent in [
        "HTTP/1.1 404 X\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 0\r\n\r\n",
    ] {
        let mut life = Life::begin().await;
        life.learn(&["wait", "events"], "g1");
        life.connection().await.say(absent).await;
        let mut server = life.connection().await;
        assert!(server.head.starts_with("GET /sets/eu?code=x&wait=50 HTTP/1.1\r\n"));
        assert!(server.has("if-none-match: g1"));
        // Its body is not waited for, and not read.
        server.say("HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n{\"current\":").await;
        server.is_closed().await;
        assert_eq!(life.said().await, "hint now");
        life.learn(&["wait", "events"], "g2");
        let (server, waited) = life.next_connection().await;
        assert_eq!(waited, 0, "as soon as the fetch has brought it");
        assert!(server.has("if-none-match: g2"), "{}", server.head);
    }
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_brings_nothing_is_waited_for_half_a_minute() {
    let mut life = Life::begin().await;
    life.learn(&["wait"], "g1");
    life.connection().await.say("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n").await;
    assert_eq!(life.said().await, "hint now");
    let (server, waited) = life.next_connection().await;
    assert!((30_000..31_000).contains(&waited), "{waited}");
    assert!(server.has("if-none-match: g1"));
}

#[tokio::test(start_paused = true)]
async fn an_unchanged_answer_in_time_is_followed_by_the_next_poll() {
    let life = Life::begin().await;
    life.learn(&["wait"], "g1");
    for _ in 0..3 {
        let (mut server, waited) = life.next_connection().await;
        assert_eq!(waited, 0);
        advance(WAIT).await;
        server.say("HTTP/1.1 304 X\r\n\r\n").await;
    }
    assert!(life.hints.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_wait_is_left_alone() {
    let life = Life::begin().await;
    life.learn(&["wait"], "g1");
    let mut server = life.connection().await;
    advance(WAIT / 4 - Duration::from_millis(5)).await;
    server.say("HTTP/1.1 304 X\r\n\r\n").await;
    let (mut server, waited) = life.next_connection().await;
    assert!((300_000..301_000).contains(&waited), "{waited}");
    server.say("HTTP/1.1 304 X\r\n\r\n").await;
    // Another generation changes nothing; other levels do.
    server.is_closed().await;
    life.learn(&["wait", "events"], "g1");
    let (server, waited) = life.next_connection().await;
    assert_eq!(waited, 0);
    assert!(server.head.starts_with("GET /sets/eu/events"));
}

#[tokio::test(start_paused = true)]
async fn a_poll_without_an_answer_is_a_silence() {
    let mut life = Life::begin().await;
    life.learn(&["wait"], "g1");
    let _silent = life.connection().await;
    let (_, waited) = life.next_connection().await;
    assert!((60_000..62_000).contains(&waited), "{waited}");
    assert_eq!(life.said().await, "lost after 60 s");
}

// ---- beginning and ending ----

#[tokio::test(start_paused = true)]
async fn levels_begin_and_end_it() {
    let mut life = Life::begin().await;
    life.learn(&[], "g1");
    life.learn(&["acks"], "g1");
    life.learn(&["events"], "g2");
    let mut server = life.connection().await;
    server.say(STREAM).await;
    life.learn(&["events"], "g3");
    server.say("event: changed\ndata: {\"generation\":4}\n\n").await;
    assert_eq!(life.said().await, "hint 4", "another generation is no other level");
    life.learn(&[], "g4");
    server.is_closed().await;
    life.learn(&["events"], "g5");
    let (_, waited) = life.next_connection().await;
    assert_eq!(waited, 0);
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_its_endpoint_and_when_it_is_dropped() {
    let life = Life::begin().await;
    life.learn(&["events"], "g1");
    let mut server = life.connection().await;
    server.say(STREAM).await;
    let Life { mut beside, endpoint, .. } = life;
    drop(endpoint);
    beside.join_next().await.expect("a watch").expect("it ends");
    server.is_closed().await;

    let mut life = Life::begin().await;
    life.learn(&["events"], "g1");
    let mut server = life.connection().await;
    life.beside.abort_all();
    server.is_closed().await;
}

#[test]
fn it_is_followed_unless_the_program_says_otherwise() {
    let watch = |endpoint: Endpoint| endpoint.watch(Hints::new(|_| {})).is_some();
    let endpoint = || Endpoint::new("https://keys.example.com/sets/eu").expect("a URL");
    assert!(watch(endpoint()));
    assert!(!watch(endpoint().no_push()));
    assert!(watch(endpoint().no_push().heartbeat(Duration::from_secs(9))));
}

#[tokio::test(start_paused = true)]
async fn plain_http_to_another_machine_is_not_even_tried() {
    let endpoint = Endpoint::new("http://keys.example.com/sets/eu").expect("a URL");
    let endpoint = endpoint.bootstrap_fn(|| async {
        panic!("the bootstrap credential is not even read");
        #[allow(unreachable_code)]
        Ok(String::new())
    });
    let (hear, mut hints) = unbounded_channel();
    let mut beside = JoinSet::new();
    let hints_in = Hints::new(move |said| hear.send(said).expect("heard"));
    beside.spawn(endpoint.watch(hints_in).expect("a watch"));
    endpoint.learn(&set(&["events"], "g1"));
    // Without sockets the paused clock runs by itself.
    assert_eq!(text(hints.recv().await), "lost after 45 s");
}

#[test]
fn a_channel_stands_beside_the_set_and_keeps_its_query() {
    let url = |text: &str| Url::parse(text).expect("a URL");
    let set = url("https://k.example.com/v1/sets/eu?code=x");
    assert_eq!(events_url(&set), url("https://k.example.com/v1/sets/eu/events?code=x"));
    assert_eq!(wait_url(&set), url("https://k.example.com/v1/sets/eu?code=x&wait=50"));
    let bare = url("https://k.example.com/v1/sets/eu/");
    assert_eq!(events_url(&bare), url("https://k.example.com/v1/sets/eu/events"));
    assert_eq!(wait_url(&bare), url("https://k.example.com/v1/sets/eu/?wait=50"));
}

// ---- a life under a paused clock ----

struct Life {
    listener: TcpListener,
    endpoint: Endpoint,
    beside: JoinSet<()>,
    hints: UnboundedReceiver<PushSignal>,
    /// While a blocking task runs, a paused clock does not run ahead of the sockets by itself. It ends
    /// after half a real minute: what a test then still waits for fails, instead of hanging.
    _held: std::sync::mpsc::Sender<()>,
}

struct Connection {
    head: String,
    stream: TcpStream,
}

impl Life {
    async fn begin() -> Self {
        Self::with(|endpoint| endpoint.bootstrap("b00t")).await
    }

    async fn with(configure: impl FnOnce(Endpoint) -> Endpoint) -> Self {
        let (held, until) = std::sync::mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || until.recv_timeout(Duration::from_secs(30)));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let endpoint = Endpoint::new(format!("http://{address}/sets/eu?code=x")).expect("a URL");
        let endpoint = configure(endpoint);
        let (hear, hints) = unbounded_channel();
        let mut beside = JoinSet::new();
        let heard = Hints::new(move |said| drop(hear.send(said)));
        beside.spawn(endpoint.watch(heard).expect("a watch"));
        Self { listener, endpoint, beside, hints, _held: held }
    }

    fn learn(&self, levels: &[&str], validator: &str) {
        self.endpoint.learn(&set(levels, validator));
    }

    /// A connection that is made without any time passing.
    async fn connection(&self) -> Connection {
        let (stream, _) = in_time(self.listener.accept()).await.expect("a connection");
        Self::heard(stream).await
    }

    async fn heard(mut stream: TcpStream) -> Connection {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("a head"));
        }
        Connection { head: String::from_utf8(head).expect("text"), stream }
    }

    /// The next one, and how many milliseconds had to pass before it was made.
    async fn next_connection(&self) -> (Connection, u64) {
        let mut waited = Duration::ZERO;
        loop {
            // What sockets do takes a real moment.
            let moment = tokio::task::spawn_blocking(|| {
                std::thread::sleep(Duration::from_millis(5));
            });
            tokio::select! {
                biased;
                accepted = self.listener.accept() => {
                    // No more time passes until its head has come.
                    let (stream, _) = accepted.expect("a connection");
                    return (Self::heard(stream).await, millis(waited));
                }
                _ = moment => {
                    let step = if waited < Duration::from_secs(2) { 100 } else { 500 };
                    let step = Duration::from_millis(step);
                    advance(step).await;
                    waited += step;
                }
            }
        }
    }

    async fn said(&mut self) -> String {
        text(in_time(self.hints.recv()).await)
    }
}

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(3600), work).await.expect("it comes")
}

impl Connection {
    fn has(&self, line: &str) -> bool {
        self.head.to_ascii_lowercase().contains(&format!("\r\n{}", line.to_ascii_lowercase()))
    }

    async fn say(&mut self, text: &str) {
        // A client that stops reading is right to.
        let _ = self.stream.write_all(text.as_bytes()).await;
    }

    /// Waits until the client has gone.
    async fn is_closed(&mut self) {
        let mut rest = Vec::new();
        // How it is closed does not matter.
        let _ = in_time(self.stream.read_to_end(&mut rest)).await;
    }
}

fn set(levels: &[&str], validator: &str) -> CredentialSet {
    CredentialSet {
        levels: levels.iter().map(|level| Box::from(*level)).collect(),
        ..CredentialSet::new(Credential::new("k", "material")).with_validator(validator)
    }
}

fn text(said: Option<PushSignal>) -> String {
    match said.expect("something") {
        PushSignal::Hint(Hint { generation, immediate }) => {
            let generation = generation.map_or_else(String::new, |it| format!(" {it}"));
            format!("hint{generation}{}", if immediate { " now" } else { "" })
        }
        PushSignal::Lost(silent) => format!("lost after {} s", silent.as_secs()),
    }
}
