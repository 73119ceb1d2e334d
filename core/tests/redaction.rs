//! Nothing printable contains material: every public type, every error, every event, every log line.
#![allow(clippy::unwrap_used)]

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{HeaderMap, Method, StatusCode};
use jiff::Timestamp;
use keyswap::{
    Authorizer, Client, Credential, CredentialSet, Error, ErrorKind, KeySwap, NamedScheme, Policy,
    ResponseView, Scheme, Unsigned, source,
};

/// Material that would be noticed anywhere.
const KEY: &str = "MATERIAL-KEY-7f3a";
const SECRET: &str = "MATERIAL-SECRET-9b1c";
const BOOTSTRAP: &str = "MATERIAL-BOOTSTRAP-55d2";

fn credential(id: &str) -> Credential {
    Credential::new(id, KEY).with_material("secret", SECRET).with_scheme(NamedScheme::new("bearer"))
}

fn set() -> CredentialSet {
    CredentialSet::new(credential("k2"))
        .with_previous(credential("k1"))
        .with_next(credential("k3"))
        .with_revoked("k0")
        .with_generation(2)
}

#[track_caller]
fn assert_clean(what: &str, text: &str) {
    for material in [KEY, SECRET, BOOTSTRAP] {
        assert!(!text.contains(material), "{what} shows material: {text}");
        // base64, as a Basic header would have it.
        let encoded = "TUFURVJJQUwt";
        assert!(!text.contains(encoded), "{what} shows encoded material: {text}");
    }
}

#[tokio::test]
async fn no_public_type_prints_material() {
    let keys = KeySwap::follow(source::from_fn(|| async { Ok(set()) })).await.unwrap();
    let authorizer = Authorizer::builder(&keys)
        .scheme(Scheme::basic())
        .allow_origin("https://api.example.com")
        .unwrap()
        .build()
        .unwrap();
    let client = Client::builder(&keys)
        .base_url("https://user:MATERIAL-KEY-7f3a@api.example.com")
        .unwrap()
        .scheme(Scheme::query("api_key"))
        .build()
        .unwrap();
    let url = "https://api.example.com/x?api_key=MATERIAL-KEY-7f3a".parse().unwrap();
    let mut attempt = authorizer.begin(&url, true, None).unwrap();
    let headers = HeaderMap::new();
    let patch = attempt.apply(&Method::GET, &url, &headers, None).unwrap();
    let told = HeaderMap::from_iter([(http::header::LOCATION, KEY.parse().unwrap())]);
    let hop = format!("https://u:{SECRET}@api.example.com/{KEY}?k={KEY}#{KEY}").parse().unwrap();
    let view = ResponseView::new(&Method::GET, &hop, StatusCode::FOUND, &told);
    let shown = [
        ("ResponseView", format!("{:#?}", view.with_body(KEY.as_bytes()))),
        ("Credential", format!("{:?}", credential("k1"))),
        ("Material", format!("{:#?}", credential("k1").material())),
        ("CredentialSet", format!("{:#?}", set())),
        ("Snapshot", format!("{:#?}", keys.snapshot())),
        ("Current", format!("{:?}", keys.current().unwrap())),
        ("KeySwap", format!("{keys:#?}")),
        ("Stats", format!("{:#?}", keys.stats())),
        ("Authorizer", format!("{authorizer:#?}")),
        ("Attempt", format!("{attempt:#?}")),
        ("ResponseFilter", format!("{:?}", authorizer.response_filter())),
        ("Patch", format!("{patch:#?}")),
        ("Client", format!("{client:#?}")),
        ("Json", {
            let json = source::Json::new("https://keys.example.com/x?k=MATERIAL-KEY-7f3a").unwrap();
            let json = json.bootstrap(BOOTSTRAP).header("x-key", SECRET).body(KEY);
            let shown = format!("{json:#?}");
            let regions = source::Json::new("https://a.example.com").unwrap().or(json);
            format!("{shown} {regions:#?}")
        }),
        ("Command", {
            let command = source::Command::new(["op", "read", KEY]).env("TOKEN", SECRET);
            format!("{command:#?}")
        }),
        ("RequestBuilder", format!("{:?}", client.get("/v1?k=MATERIAL-KEY-7f3a"))),
    ];
    for (what, text) in &shown {
        assert_clean(what, text);
    }
    let mut sent = HeaderMap::new();
    patch.apply_headers(&mut sent);
    assert!(sent["authorization"].is_sensitive());
    assert_clean("HeaderMap", &format!("{sent:?}"));
}

#[tokio::test]
async fn no_error_prints_material() {
    let lines = Credential::new("k1", format!("{KEY}\n{SECRET}"));
    let headers = HeaderMap::new();
    let url = "https://api.example.com".parse().unwrap();
    let request = Unsigned::new(&Method::GET, &url, &headers, None, Timestamp::UNIX_EPOCH);
    let mut errors = vec![
        Scheme::bearer().apply(&lines, &request).unwrap_err(),
        Scheme::header("x-api-key").apply(&Credential::bare("k1"), &request).unwrap_err(),
        set().with_previous(credential("k1")).check().unwrap_err(),
    ];

    // A request that fails on its way, with the key in its query.
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let keys = KeySwap::follow(source::from_fn(|| async { Ok(set()) })).await.unwrap();
    let client = Client::builder(&keys)
        .base_url(&address)
        .unwrap()
        .scheme(Scheme::query("api_key"))
        .no_retries()
        .build()
        .unwrap();
    errors.push(client.get("/v1").send().await.unwrap_err());
    errors.push(
        client.get("https://elsewhere.example.com/?k=MATERIAL-KEY-7f3a").send().await.unwrap_err(),
    );
    let kinds: Vec<_> = errors.iter().map(Error::kind).collect();
    assert!(kinds.contains(&ErrorKind::Transport) && kinds.contains(&ErrorKind::OriginNotAllowed));
    for error in errors {
        assert_clean("Display of Error", &error.to_string());
        assert_clean("Debug of Error", &format!("{error:#?}"));
    }
}

#[tokio::test]
async fn no_log_line_and_no_event_prints_material() {
    // For the whole process: a subscriber of one thread may miss what others registered first.
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer({
            let log = log.clone();
            move || log.clone()
        })
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();

    let world = serde_json::from_str(&format!(r#"{{"bootstrap": "{BOOTSTRAP}"}}"#)).unwrap();
    let running = keyswap_endpoint::server::Endpoint::start(world).await.unwrap();
    let (url, bootstrap) = (running.set_url(), running.bootstrap());
    let endpoint = source::Endpoint::new(&url).unwrap().bootstrap(bootstrap.as_str());
    assert!(!format!("{endpoint:#?}").contains(&bootstrap));
    let policy = Policy::default()
        .fetch_floor_min(Duration::from_millis(1))
        .fetch_floor(Duration::from_millis(1));
    let keys = KeySwap::follow(endpoint).policy(policy).await.unwrap();
    let mut events = keys.events();
    let client = Client::builder(&keys)
        .base_url(running.api_url())
        .unwrap()
        .scheme(Scheme::query("api_key"))
        .build()
        .unwrap();
    let mut material = vec![keys.current().unwrap().reveal("key").unwrap().to_owned()];
    for step in [r#"{"do":"rotate"}"#, r#"{"do":"cut"}"#, r#"{"do":"revoke"}"#] {
        running.apply(&serde_json::from_str(step).unwrap()).unwrap();
        let response = client.get("/v1/price").send().await.unwrap();
        assert!(!format!("{response:?}").contains("api_key"));
        assert_eq!((response.status().as_u16(), response.url().query()), (200, None));
        keys.refresh().await.unwrap();
        material.push(keys.current().unwrap().reveal("key").unwrap().to_owned());
    }
    material.push(bootstrap);
    let mut told = String::new();
    while let Some(event) = events.try_next() {
        told += &format!("{event}\n{event:?}\n{}\n", serde_json::to_string(&event).unwrap());
    }
    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("keyswap") && told.contains("fetched"), "something was told: {told}");
    for material in material {
        assert!(!logged.contains(&material), "a log line shows material");
        assert!(!told.contains(&material), "an event shows material");
    }
}

/// A writer that keeps what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
