//! Keys behind any JSON endpoint.

use std::time::Duration;

use http::Method;
use jiff::Timestamp;
use keyswap::{
    Credential, CredentialSet, ErrorKind, KeySwap, Policy,
    source::{Fetched, Json, Source, Terms, from_fn},
};

use crate::{
    BOOTSTRAP, MATERIAL, QUERY, failed, fetched,
    sources::server::{Answer, answer, serve},
};

const DATE: &str = "date: Mon, 23 Nov 2026 18:00:00 GMT\r\n";

fn key(set: &CredentialSet) -> (&str, Option<&str>, Option<Timestamp>) {
    let primary = set.primary().unwrap();
    (primary.id(), primary.reveal("key"), primary.expires_at())
}

fn time(text: &str) -> Option<Timestamp> {
    Some(text.parse().unwrap())
}

/// The set that a source makes of one answer.
async fn of(body: &str, source: impl Fn(Json) -> Json) -> CredentialSet {
    let server = serve([answer(200, DATE, body)]).await;
    fetched(source(Json::new(&server.url).unwrap()).fetch(None).await)
}

#[tokio::test]
async fn a_key_with_its_life_needs_one_pointer() {
    let body = format!(r#"{{"api_key": "{MATERIAL}", "expires_in": 3600}}"#);
    let set = of(&body, |it| it.key("/api_key")).await;
    let (id, key, end) = key(&set);
    assert_eq!((key, end), (Some(MATERIAL), time("2026-11-23T19:00:00Z")));
    assert!(id.starts_with("json-") && id.len() == 13, "{id}");
    assert_eq!((set.generation(), set.previous().len()), (0, 0));
}

#[tokio::test]
async fn each_shape_is_read_where_the_pointers_say() {
    // Everything, further in, with numbers for names.
    let body = r#"{"data": {
        "now": {"kid": 7, "v": "2026-11", "k/1": "new", "sec": "s", "pass": "p", "until": 1795456800},
        "old": [{"kid": 6, "v": null, "k/1": "old", "sec": "s", "pass": "p", "until": "2026-11-23T18:30:00Z"}],
        "seq": 9}}"#;
    let whole = |it: Json| {
        let it = it.within("/data/now").key("/k~11").secret("/sec").passphrase("/pass").id("/kid");
        it.version("/v").expires_at("/until").previous("/data/old").generation("/data/seq")
    };
    let set = of(body, whole).await;
    assert_eq!(key(&set), ("7", Some("new"), Timestamp::from_second(1_795_456_800).ok()));
    let primary = set.primary().unwrap();
    assert_eq!(primary.version(), Some("2026-11"));
    assert_eq!((primary.reveal("secret"), primary.reveal("passphrase")), (Some("s"), Some("p")));
    let old = set.previous().next().unwrap();
    assert_eq!((old.id(), old.version()), ("6", None));
    assert_eq!((old.reveal("key"), old.expires_at()), (Some("old"), time("2026-11-23T18:30:00Z")));
    assert_eq!(set.generation(), 9);

    // The key before, as a text beside the key; the one that is the same is none.
    for (body, count) in [
        (r#"{"key": "new", "old": "old"}"#, 1),
        (r#"{"key": "new", "old": "new"}"#, 0),
        (r#"{"key": "new", "old": null}"#, 0),
        (r#"{"key": "new"}"#, 0),
        (r#"{"key": "new", "old": {"key": "old", "expires_in": "60"}}"#, 1),
    ] {
        assert_eq!(of(body, |it| it.previous("/old")).await.previous().len(), count, "{body}");
    }
    // The whole answer is the key; an item of a list; no end; an end of the calendar.
    assert_eq!(key(&of(r#""plain""#, |it| it.key("")).await).1, Some("plain"));
    assert_eq!(key(&of(r#"[{"key": "k"}]"#, |it| it.within("/0")).await).1, Some("k"));
    for body in [
        r#"{"key": "k"}"#,
        r#"{"key": "k", "expires_in": null}"#,
        r#"{"key": "k", "expires_in": 1e15}"#,
        r#"{"key": "k", "expires_at": "9999-12-31T23:59:59Z", "expires_in": 5}"#,
    ] {
        let end = |it: Json| if body.contains("_at") { it.expires_at("/expires_at") } else { it };
        assert_eq!(key(&of(body, end).await).2, None, "{body}");
    }
}

#[tokio::test]
async fn what_is_not_where_it_should_be_is_named_by_its_pointer() {
    let s = MATERIAL;
    let cases = [
        (s.to_owned(), "it is not JSON"),
        (format!(r#"{{"api_key": "{s}""#), "the JSON ends too early"),
        (format!(r#"{{"apikey": "{s}"}}"#), "what stands at /api_key must be a string"),
        (r#"{"api_key": 5}"#.into(), "what stands at /api_key must be a string"),
        (r#"{"api_key": " "}"#.into(), "the key is empty"),
        (format!(r#"{{"api_key": "{s}", "expires_in": -5}}"#), "/expires_in must be a number"),
        (format!(r#"{{"api_key": "{s}", "expires_in": "{s}"}}"#), "/expires_in must be a number"),
        (format!(r#"{{"api_key": "{s}", "api_key": "{s}"}}"#), "a field stands twice"),
        (format!(r#"{{"x": "{}"}}"#, s.repeat(6000)), "more than 64 KiB"),
        (format!("{}1", "[".repeat(60_000)), "it is not JSON"),
        (format!(r#"{{"api_key": "{s}", "old": {{"key": "{s}"}}}}"#), "at /old/api_key must be"),
        (
            format!(r#"{{"api_key": "{s}", "old": [1, 2, 3]}}"#),
            "/old must be a list of at most two",
        ),
    ];
    for (body, words) in cases {
        let server = serve([answer(200, "", &body)]).await;
        let source = Json::new(&server.url).unwrap().key("/api_key").previous("/old");
        let error = failed(&source, None).await;
        assert_eq!(error.kind(), ErrorKind::Malformed, "{error}");
        assert!(error.to_string().contains(words), "{words}: {error}");
    }
    let named = |it: Json| it.id("/id").generation("/n").within("/d").expires_at("/at");
    for (body, words) in [
        (r#"{"d": {"key": "k"}, "n": 1}"#, "/d/id must be a string or a whole number"),
        (r#"{"d": {"key": "k", "id": "a b"}, "n": 1}"#, "a credential id must match"),
        (r#"{"d": {"key": "k", "id": "a"}}"#, "/n must be a whole number"),
        (r#"{"n": 1}"#, "there is nothing at /d"),
        (r#"{"d": {"key": "k", "id": "a", "at": "soon"}, "n": 1}"#, "/d/at must be an RFC 3339"),
    ] {
        let server = serve([answer(200, "", body)]).await;
        let error = failed(&named(Json::new(&server.url).unwrap()), None).await;
        assert!(error.to_string().contains(words), "{words}: {error}");
    }
}

#[tokio::test]
async fn each_status_is_the_error_that_says_what_to_do() {
    use ErrorKind::*;
    let wait = "retry-after: 7\r\n";
    let location = format!("location: https://elsewhere.example.com/?{BOOTSTRAP}\r\n");
    for (status, head, kind, words, retry_after) in [
        (400, "", Malformed, "check the URL and the method", None),
        (401, "", BootstrapRejected, "(401) by http://", None),
        (403, "", Forbidden, "have the provider allow it", None),
        (404, "", UnknownSet, "is not known (404)", None),
        (410, "", Unavailable, "cannot answer now (410)", None),
        (429, wait, Throttled, "fewer requests", Some(7)),
        (500, "", Unavailable, "cannot answer now (500)", None),
        (503, wait, Unavailable, "(503)", Some(7)),
        (204, "", Malformed, "answered 204", None),
        (304, "", Malformed, "answered 304", None),
        (302, &*location, Malformed, "redirects are refused", None),
    ] {
        let server = serve([answer(status, head, MATERIAL)]).await;
        let source = Json::new(&server.url).unwrap().bootstrap(BOOTSTRAP);
        let error = failed(&source, None).await;
        assert_eq!((error.kind(), error.status()), (kind, Some(status)), "{error}");
        assert!(error.to_string().contains(words), "{words}: {error}");
        assert_eq!(error.retry_after(), retry_after.map(Duration::from_secs), "{error}");
        assert_eq!(server.requests().len(), 1, "{error}");
    }
    for (says, kind, millis) in
        [(Answer::Silent, Timeout, 100), (Answer::Endless, Malformed, 10_000)]
    {
        let server = serve([says]).await;
        let source = Json::new(&server.url).unwrap().timeout(Duration::from_millis(millis));
        assert_eq!(failed(&source, None).await.kind(), kind);
    }
    let source = Json::new(format!("http://keys.example.com/?c={QUERY}")).unwrap();
    assert_eq!(failed(&source, None).await.kind(), InsecureUrl);
}

#[tokio::test]
async fn it_is_asked_on_a_condition_where_an_unchanged_answer_means_no_change() {
    let etag = "etag: \"one\"\r\n";
    let plain = r#"{"key": "k"}"#;
    let server = serve([answer(200, etag, plain), answer(304, "", "")]).await;
    let source = Json::new(&server.url).unwrap();
    let set = fetched(source.fetch(None).await);
    assert_eq!(set.validator(), Some("\"one\""));
    assert!(matches!(source.fetch(Some(&set)).await.unwrap(), Fetched::NotModified));
    assert!(server.requests()[1].contains("if-none-match: \"one\"\r\n"));
    // A life that begins with each answer would seem to end, were the same answer no answer.
    let living = r#"{"key": "k", "expires_in": 60}"#;
    let server = serve([answer(200, etag, living)]).await;
    let source = Json::new(&server.url).unwrap();
    let set = fetched(source.fetch(None).await);
    fetched(source.fetch(Some(&set)).await);
    assert_eq!(set.validator(), None);
    assert!(!server.requests()[1].contains("if-none-match"));
    assert!(!source.mints());
    // Who posts wants something to be made.
    let server = serve([answer(201, etag, plain)]).await;
    let source = Json::new(&server.url).unwrap().method(Method::POST).minting();
    assert_eq!(fetched(source.fetch(Some(&set)).await).validator(), None);
    assert!(source.mints());
}

#[tokio::test]
async fn it_is_asked_as_the_program_says() {
    let plain = answer(200, "", r#"{"key": "k"}"#);
    let asked = async |source: fn(Json) -> Json| {
        let server = serve([plain.clone()]).await;
        fetched(source(Json::new(&server.url).unwrap()).fetch(None).await);
        server.requests().remove(0)
    };
    let head = asked(|it| it).await;
    assert!(head.starts_with(&format!("GET /v1/sets/eu?code={QUERY} ")), "{head}");
    assert!(head.contains("accept: application/json\r\n") && !head.contains("authorization"));
    let head = asked(|it| it.bootstrap(BOOTSTRAP).header("x-team", "a")).await;
    assert!(head.contains(&format!("authorization: Bearer {BOOTSTRAP}\r\n")), "{head}");
    assert!(head.contains("x-team: a\r\n"), "{head}");
    let head = asked(|it| it.bootstrap("user:pass").bootstrap_basic()).await;
    assert!(head.contains("authorization: Basic dXNlcjpwYXNz\r\n"), "{head}");
    let head = asked(|it| it.bootstrap_header("X-Vault-Token").bootstrap(BOOTSTRAP)).await;
    assert!(head.contains(&format!("x-vault-token: {BOOTSTRAP}\r\n")), "{head}");
    let head = asked(|it| it.body(r#"{"role": "a"}"#)).await;
    assert!(head.starts_with("POST ") && head.contains("content-type: application/json"), "{head}");
    assert!(head.contains("content-length: 13\r\n"), "{head}");
    let head = asked(|it| it.body("role=a").method(Method::PUT)).await;
    assert!(head.starts_with("PUT ") && head.contains("x-www-form-urlencoded"), "{head}");
}

#[tokio::test]
async fn a_rejected_credential_is_read_again_once() {
    let server = serve([answer(401, "", ""), answer(200, "", r#"{"key": "k"}"#)]).await;
    let turn = std::sync::atomic::AtomicU32::new(0);
    let source = Json::new(&server.url).unwrap().bootstrap_fn(move || {
        let turn = turn.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        std::future::ready(Ok(format!("{BOOTSTRAP}-{turn}")))
    });
    fetched(source.fetch(None).await);
    assert_eq!(server.bearers(), [format!("{BOOTSTRAP}-0"), format!("{BOOTSTRAP}-1")]);
}

#[tokio::test]
async fn a_rejected_key_of_another_handle_is_told_and_the_next_one_is_shown() {
    let (admitted, sets) = (r#"{"key": "k"}"#, std::sync::atomic::AtomicU32::new(0));
    let server = serve([
        answer(200, "", admitted),
        // The second one is tried, and not known yet.
        answer(401, "", ""),
        answer(200, "", admitted),
        // Both are cut, and only the place where they are kept knows others.
        answer(401, "", ""),
        answer(401, "", ""),
        answer(200, "", admitted),
    ])
    .await;
    let key = |number: u32| {
        // No header can carry the fourth, so it is passed over.
        let text = format!("{BOOTSTRAP}-{number}") + if number == 4 { "\n" } else { "" };
        Credential::new(format!("b{number}"), text)
    };
    let place = std::sync::Arc::new(sets);
    let read = place.clone();
    let admin = KeySwap::follow(from_fn(move || {
        let now = match read.load(std::sync::atomic::Ordering::SeqCst) {
            0 => CredentialSet::new(key(1)),
            1 => CredentialSet::new(key(2)).with_previous(key(1)),
            _ => CredentialSet::new(key(4)).with_previous(key(3)),
        };
        std::future::ready(Ok(now))
    }));
    let least = Duration::from_millis(1);
    let policy = Policy::default().fetch_floor(least).fetch_floor_min(least);
    let admin = admin.policy(policy).await.unwrap();
    let source = Json::new(&server.url).unwrap().bootstrap_keys(&admin);
    fetched(source.fetch(None).await);
    for turn in 1..3 {
        place.store(turn, std::sync::atomic::Ordering::SeqCst);
        if turn == 1 {
            admin.refresh().await.unwrap();
        }
        fetched(source.fetch(None).await);
    }
    let shown = server.bearers();
    let shown: Vec<_> = shown.iter().map(|it| it.trim_start_matches(BOOTSTRAP)).collect();
    assert_eq!(shown[..3], ["-1", "-2", "-1"]);
    assert_eq!((shown.len(), shown[5]), (6, "-3"), "{shown:?}");
    assert!(!format!("{source:?}").contains(BOOTSTRAP));
}

#[tokio::test]
async fn what_is_wrong_with_a_key_to_log_in_with_is_told() {
    let server = serve([answer(401, "", "")]).await;
    // It has one, and it is not accepted.
    let one = KeySwap::follow(from_fn(|| {
        std::future::ready(Ok(CredentialSet::new(Credential::new("b1", BOOTSTRAP))))
    }));
    let one = one.await.unwrap();
    let source = Json::new(&server.url).unwrap().bootstrap_keys(&one);
    source.begin(&Terms::of(&Policy::default().fetch_timeout(Duration::from_millis(500)))).unwrap();
    let error = failed(&source, None).await;
    assert_eq!(error.kind(), ErrorKind::BootstrapRejected);
    assert!(error.to_string().contains("bootstrap_keys"), "{error}");
    // It has none of that name; and it may go nowhere but where it is sent.
    let bare = Credential::bare("b1").with_material("password", BOOTSTRAP);
    let bare = CredentialSet::new(bare);
    let other = KeySwap::follow(from_fn(move || std::future::ready(Ok(bare.clone()))));
    let other = other.await.unwrap();
    let asked = server.requests().len();
    let source = Json::new(&server.url).unwrap().bootstrap_keys(&other);
    source.begin(&Terms::of(&Policy::default().fetch_timeout(Duration::from_millis(500)))).unwrap();
    let error = failed(&source, None).await;
    assert_eq!(error.kind(), ErrorKind::SourceFailed);
    assert!(error.to_string().contains("no material to log in with"), "{error}");
    assert_eq!(server.requests().len(), asked, "nothing was sent");
}

#[tokio::test]
async fn what_is_not_valid_is_told_before_anything_is_sent() {
    let at = || Json::new("https://keys.example.com/x").unwrap();
    for (source, words) in [
        (at().key("api_key"), "api_key is no JSON pointer: it must look like /data/api_key"),
        (at().id("/a~2"), "no JSON pointer"),
        (at().header("x y", MATERIAL), "a header cannot be sent"),
        (at().header("x", format!("{MATERIAL}\n")), "a header cannot be sent"),
        (at().header("host", MATERIAL), "a header cannot be sent"),
        (at().bootstrap_header("x y"), "not the name of a header"),
    ] {
        let error = failed(&source, None).await;
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.to_string().contains(words), "{error}");
        assert!(KeySwap::follow(source).await.is_err(), "the handle does not start");
    }
    assert!(Json::new("keys.example.com").is_err());
}

#[tokio::test]
async fn regions_are_asked_in_order_and_name_the_same_keys_alike() {
    let down = serve([answer(503, "", "")]).await;
    let one = serve([answer(200, "", r#"{"key": "k"}"#), answer(503, "", "")]).await;
    let two = serve([answer(200, "", r#"{"key": "k"}"#), answer(200, "", r#"{"key": "j"}"#)]).await;
    let at = |url: &str| Json::new(url).unwrap();
    let source = at(&one.url).or(at(&down.url)).or(at(&two.url));
    let first = fetched(source.fetch(None).await);
    let held = first.clone().with_generation(5);
    let second = fetched(source.fetch(Some(&held)).await);
    assert_eq!(first.primary(), second.primary(), "the same key has the same name everywhere");
    let third = fetched(source.fetch(Some(&held)).await);
    assert_eq!(third.primary().and_then(|it| it.reveal("key")), Some("j"));
    assert_ne!(third.primary().map(Credential::id), first.primary().map(Credential::id));
    assert!(!source.mints() && !source.health()[0].is_healthy);
}
