//! Reports of what is in use, through the driver and to an endpoint.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::{
    future::{pending, ready},
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{HeaderMap, Method, StatusCode};
use keyswap::{
    Authorizer, Clock, Credential, CredentialSet, Endpoint, Error, ErrorKind, KeySwap, Scheme,
    Source,
    source::{BoxFuture, Fetched, Report, ReportedStatus},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::Instant,
};

const KEY: &str = "m4terial-9b1c";
const BOOTSTRAP: &str = "b00tstrap-7f3a";

/// A source that takes reports as the test says.
#[derive(Clone, Debug, Default)]
struct Provider(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    takes: Takes,
    reports: Vec<Report>,
}

#[derive(Clone, Copy, Debug, Default)]
enum Takes {
    #[default]
    All,
    Nothing,
    Fails,
    Hangs,
    Panics,
}

impl Provider {
    fn that(takes: Takes) -> Self {
        let provider = Self::default();
        provider.0.lock().unwrap().takes = takes;
        provider
    }

    fn reports(&self) -> Vec<Report> {
        self.0.lock().unwrap().reports.clone()
    }

    /// Handles to this provider: this one, and that of a driver that still lives.
    fn handles(&self) -> usize {
        Arc::strong_count(&self.0)
    }
}

impl Source for Provider {
    fn fetch<'a>(&'a self, _: Option<&'a CredentialSet>) -> BoxFuture<'a, Result<Fetched, Error>> {
        let set = CredentialSet::new(Credential::new("k1", KEY)).with_generation(1);
        Box::pin(ready(Ok(Fetched::Set(set))))
    }

    fn report(&self, report: Report) -> Option<BoxFuture<'static, Result<(), Error>>> {
        let mut state = self.0.lock().unwrap();
        state.reports.push(report);
        let takes = state.takes;
        drop(state);
        match takes {
            Takes::All => Some(Box::pin(ready(Ok(())))),
            Takes::Nothing => None,
            Takes::Fails => {
                let failed = Error::new(ErrorKind::Unavailable, "down on purpose");
                Some(Box::pin(ready(Err(failed))))
            }
            Takes::Hangs => Some(Box::pin(pending())),
            Takes::Panics => panic!("the source panics on purpose"),
        }
    }
}

async fn follow(provider: &Provider) -> KeySwap {
    KeySwap::follow(provider.clone()).clock(Clock::tokio()).seed(7).await.unwrap()
}

/// Lets time jump.
async fn advance(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_source_is_told_what_is_in_use_and_how_often_the_api_took_it() {
    let provider = Provider::default();
    let keys = follow(&provider).await;
    let home = "https://api.example.com/".parse().unwrap();
    let authorizer = Authorizer::builder(&keys).scheme(Scheme::bearer());
    let authorizer = authorizer.allow_origin("https://api.example.com").unwrap().build().unwrap();
    for status in [200, 204, 500, 401] {
        let mut attempt = authorizer.begin(&home, false, None).unwrap();
        attempt.apply(&Method::GET, &home, &HeaderMap::new(), None).unwrap();
        attempt.response(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), None);
    }
    advance(1.1).await;
    let reports = provider.reports();
    assert_eq!((reports.len(), reports[0].generation), (1, 1));
    let k1 = &reports[0].observations[0];
    assert_eq!(
        (&*k1.credential, k1.status, k1.ok, k1.rejected),
        ("k1", ReportedStatus::Active, 2, 1)
    );
    assert!(!format!("{reports:?}").contains(KEY));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_declines_is_asked_once() {
    let provider = Provider::that(Takes::Nothing);
    let keys = follow(&provider).await;
    advance(5_000.0).await;
    assert_eq!(provider.reports().len(), 1);
    keys.shutdown().await;
    assert_eq!(provider.reports().len(), 1, "and gets no final report");
}

#[tokio::test(start_paused = true)]
async fn a_report_that_fails_hangs_or_panics_touches_nothing() {
    for takes in [Takes::Fails, Takes::Hangs, Takes::Panics] {
        let provider = Provider::that(takes);
        let keys = follow(&provider).await;
        let mut events = keys.events();
        advance(60.0).await;
        assert!((3..=6).contains(&provider.reports().len()), "{takes:?}");
        assert_eq!(keys.current().unwrap().id(), "k1");
        assert!(events.try_next().is_none(), "{takes:?}");
        assert_eq!(keys.stats().counts.failed, 0);
        provider.0.lock().unwrap().takes = Takes::All;
        advance(60.0).await;
        let known = provider.reports().len();
        advance(230.0).await;
        assert_eq!(
            provider.reports().len(),
            known,
            "it arrived, and is renewed in 300 s: {takes:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn whichever_way_a_handle_ends_the_source_hears_it_last() {
    enum End {
        Drop,
        Close,
        Shutdown,
    }
    for end in [End::Drop, End::Close, End::Shutdown] {
        let provider = Provider::default();
        let keys = follow(&provider).await;
        advance(2.0).await;
        match end {
            End::Drop => drop(keys),
            End::Close => keys.close(),
            End::Shutdown => {
                keys.shutdown().await;
                assert_eq!(provider.handles(), 1, "the task is gone by then");
                assert_eq!(keys.current().unwrap_err().kind(), ErrorKind::Closed);
            }
        }
        advance(0.01).await;
        let reports = provider.reports();
        assert_eq!(reports.len(), 2);
        assert_eq!(reports[1].lease, Duration::ZERO);
        assert_eq!(reports[1].observations[0].status, ReportedStatus::Drained);
        assert_eq!(provider.handles(), 1, "the driver and its source are gone");
    }
}

#[tokio::test(start_paused = true)]
async fn a_final_report_that_hangs_is_given_up_after_a_second() {
    let provider = Provider::default();
    let keys = follow(&provider).await;
    advance(2.0).await;
    provider.0.lock().unwrap().takes = Takes::Hangs;
    let began = Instant::now();
    keys.shutdown().await;
    assert_eq!(began.elapsed().as_secs(), 1);
    assert_eq!((provider.reports().len(), provider.handles()), (2, 1));
    let began = Instant::now();
    keys.shutdown().await;
    assert_eq!(keys.refresh().await.unwrap_err().kind(), ErrorKind::Closed);
    assert!(began.elapsed().is_zero(), "nothing is left to wait for");
}

#[tokio::test(start_paused = true)]
async fn who_asks_while_the_final_report_is_sent_is_told_at_once() {
    let provider = Provider::default();
    let keys = follow(&provider).await;
    advance(2.0).await;
    provider.0.lock().unwrap().takes = Takes::Hangs;
    keys.close();
    advance(0.01).await;
    let began = Instant::now();
    assert_eq!(keys.refresh().await.unwrap_err().kind(), ErrorKind::Closed);
    assert!(began.elapsed().is_zero());
}

// ---- to an endpoint ----

/// Lets time jump while nothing is on its way through a socket.
async fn in_virtual_time(seconds: f64) {
    tokio::time::pause();
    advance(seconds).await;
    tokio::time::resume();
}

#[tokio::test]
async fn an_endpoint_with_the_level_gets_the_report_below_its_set() {
    let server = serve(r#"["acks"]"#, [202]).await;
    let keys = KeySwap::follow(server.endpoint()).policy(server.policy()).await.unwrap();
    server.until(2).await;
    keys.shutdown().await;
    server.until(3).await;
    let requests = server.requests();
    assert!(requests[0].starts_with("GET /v1/sets/eu?code=7 HTTP/1.1\r\n"), "{}", requests[0]);
    let mut instances = Vec::new();
    for (request, (lease, status)) in requests[1..].iter().zip([(3, "active"), (0, "drained")]) {
        assert!(request.starts_with("POST /v1/sets/eu/acks?code=7 HTTP/1.1\r\n"), "{request}");
        let head = request.to_ascii_lowercase();
        assert!(head.contains(&format!("\r\nauthorization: bearer {BOOTSTRAP}\r\n")), "{head}");
        assert!(head.contains("\r\ncontent-type: application/json\r\n"), "{head}");
        assert!(!request.contains(KEY));
        let mut body: Value =
            serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap();
        instances.push(body["instance"].take());
        let observed = &mut body["observations"][0];
        assert!(observed["last_used_at"].take().is_string());
        let sdk = concat!("keyswap/", env!("CARGO_PKG_VERSION"));
        assert_eq!(
            body,
            json!({
                "instance": null, "app": "bot/2.1", "sdk": sdk, "lease_seconds": lease, "generation": 7,
                "observations": [{ "credential": "k_7", "status": status, "last_used_at": null, "ok": 0, "rejected": 0 }],
            })
        );
    }
    assert!(instances[0].as_str().is_some_and(|name| name.len() == 32));
    assert_eq!(instances[0], instances[1]);
}

#[tokio::test]
async fn an_endpoint_without_the_level_is_never_sent_one() {
    let server = serve(r#"["wait", "events"]"#, []).await;
    let keys = server.follow().await;
    in_virtual_time(5.0).await;
    keys.shutdown().await;
    let requests = server.requests();
    assert!(requests.iter().all(|request| request.starts_with("GET ")), "{requests:?}");
}

#[tokio::test]
async fn a_level_that_is_not_there_after_all_and_a_redirect_are_left_alone() {
    for status in [404, 405] {
        let server = serve(r#"["acks"]"#, [status, 202]).await;
        let keys = server.follow().await;
        server.until(2).await;
        in_virtual_time(5.0).await;
        keys.shutdown().await;
        assert_eq!(server.requests().len(), 2, "{status}");
    }
    // A redirect could carry the bootstrap credential elsewhere: it is a failure, and tried again.
    let server = serve(r#"["acks"]"#, [307, 202]).await;
    let keys = KeySwap::follow(server.endpoint()).policy(server.policy()).await.unwrap();
    server.until(3).await;
    assert!(server.requests()[1..].iter().all(|it| it.starts_with("POST /v1/sets/eu/acks?")));
    drop(keys);
}

#[tokio::test]
async fn a_report_that_is_refused_is_an_error_that_shows_nothing() {
    use ErrorKind::*;
    let provider = Provider::default();
    let keys = follow(&provider).await;
    in_virtual_time(1.1).await;
    drop(keys);
    let mut report = provider.reports().remove(0);
    let statuses = [401, 403, 404, 405, 429, 500, 307, 200, 204];
    let server = serve("[]", statuses).await;
    let endpoint = server.endpoint();
    assert!(endpoint.report(report.clone()).is_none(), "nobody said that it takes one");
    report.announced = true;
    for kind in
        [BootstrapRejected, Forbidden, UnknownSet, UnknownSet, Throttled, Unavailable, Malformed]
    {
        let error = endpoint.report(report.clone()).unwrap().await.unwrap_err();
        assert_eq!(error.kind(), kind);
        assert_hidden(&error);
    }
    for _ in 0..2 {
        endpoint.report(report.clone()).unwrap().await.unwrap();
    }
    let nowhere = Endpoint::new("http://127.0.0.1:1/sets/eu?code=qu3ry").unwrap();
    let error = nowhere.bootstrap(BOOTSTRAP).report(report.clone()).unwrap().await.unwrap_err();
    assert_eq!(error.kind(), Unavailable);
    assert_hidden(&error);
    let plain = Endpoint::new("http://keys.example.com/sets/eu?code=qu3ry").unwrap();
    let error = plain.bootstrap(BOOTSTRAP).report(report).unwrap().await.unwrap_err();
    assert_eq!(error.kind(), InsecureUrl);
    assert_hidden(&error);
}

#[track_caller]
fn assert_hidden(error: &Error) {
    let shown = format!("{error} {error:?}");
    for secret in [BOOTSTRAP, KEY, "code=", "qu3ry"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

/// An endpoint of one set and these levels, which answers reports with one status after the other.
struct Server {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn endpoint(&self) -> Endpoint {
        let url = format!("http://127.0.0.1:{}/v1/sets/eu?code=7", self.port);
        Endpoint::new(url).unwrap().bootstrap(BOOTSTRAP).app("bot/2.1")
    }

    /// A handle that goes by the runtime's clock, so that time can jump.
    async fn follow(&self) -> KeySwap {
        let keys = KeySwap::follow(self.endpoint()).policy(self.policy());
        keys.clock(Clock::tokio()).await.unwrap()
    }

    /// A lease that is renewed each second.
    fn policy(&self) -> keyswap::Policy {
        serde_json::from_str(r#"{"lease": 3}"#).unwrap()
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    async fn until(&self, count: usize) {
        let seen = async {
            while self.requests().len() < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), seen).await.unwrap();
    }
}

async fn serve(levels: &str, statuses: impl IntoIterator<Item = u16>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = requests.clone();
    let document = format!(
        r#"{{"set": "eu", "generation": 7, "levels": {levels}, "current": {{"id": "k_7", "material": {{"key": "{KEY}"}}}}}}"#
    );
    let mut statuses: Vec<_> = statuses.into_iter().collect();
    statuses.reverse();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let request = read(&mut stream).await;
            let (status, body) = match request.starts_with("GET") {
                true => (200, document.as_str()),
                false => (statuses.pop().unwrap_or(202), ""),
            };
            seen.lock().unwrap().push(request);
            let head = format!(
                "HTTP/1.1 {status} X\r\nlocation: /elsewhere\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all((head + body).as_bytes()).await;
        }
    });
    Server { port, requests }
}

/// One request, with its body.
async fn read(stream: &mut tokio::net::TcpStream) -> String {
    let mut text = Vec::new();
    loop {
        let whole = String::from_utf8_lossy(&text).into_owned();
        if let Some((head, body)) = whole.split_once("\r\n\r\n") {
            let length = head.to_ascii_lowercase();
            let length = length.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return whole;
            }
        }
        if stream.read_buf(&mut text).await.unwrap_or(0) == 0 {
            return whole;
        }
    }
}
