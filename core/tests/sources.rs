//! The built-in sources against real sockets and real folders.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use keyswap::{
    CredentialSet, Error, ErrorKind,
    source::{Endpoint, Fetched, File, Source},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// What no error and no `Debug` may show.
const BOOTSTRAP: &str = "b00tstrap-7f3a";
const MATERIAL: &str = "m4terial-9b1c";
const QUERY: &str = "qu3ry-55d2";

const DOCUMENT: &str = r#"{"protocol": "keyswap/1", "set": "eu", "generation": 7,
    "current": {"id": "k_7", "material": {"key": "m4terial-9b1c"}}}"#;

// ---- the endpoint ----

#[tokio::test]
async fn a_fetch_is_conditional_and_an_answer_brings_set_time_and_validator() {
    let date = "date: Mon, 23 Nov 2026 18:00:00 GMT\r\netag: \"g7\"\r\n";
    let server = serve([answer(200, date, DOCUMENT), answer(304, "", "")]).await;
    let endpoint = server.endpoint().bootstrap(BOOTSTRAP);
    let set = fetched(endpoint.fetch(None).await);
    assert_eq!(set.generation(), 7);
    assert_eq!(set.validator(), Some("\"g7\""));
    assert_eq!(set.primary().unwrap().reveal("key"), Some(MATERIAL));
    // The only time that the answer had is that of its Date.
    let dated = fetched(keyswap::source::parse(DOCUMENT.as_bytes()).map(Fetched::Set))
        .with_as_of("2026-11-23T18:00:00Z".parse().unwrap())
        .with_validator("\"g7\"");
    assert_eq!(set, dated);
    assert!(matches!(endpoint.fetch(Some(&set)).await.unwrap(), Fetched::NotModified));

    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    assert!(requests[0].starts_with(&format!("GET /v1/sets/eu?code={QUERY} HTTP/1.1\r\n")));
    for request in &requests {
        let head = request.to_ascii_lowercase();
        assert!(head.contains(&format!("\r\nauthorization: bearer {BOOTSTRAP}\r\n")), "{head}");
        assert!(head.contains("\r\naccept: application/json\r\n"), "{head}");
        assert!(head.contains("\r\nuser-agent: keyswap/"), "{head}");
    }
    assert!(!requests[0].to_ascii_lowercase().contains("if-none-match"));
    assert!(requests[1].to_ascii_lowercase().contains("\r\nif-none-match: \"g7\"\r\n"));
}

#[tokio::test]
async fn the_servers_own_time_is_believed_before_the_date() {
    let document = DOCUMENT.replacen('{', r#"{"server_time": "2026-11-23T17:00:00Z", "#, 1);
    let head = "date: Mon, 23 Nov 2026 18:00:00 GMT\r\n";
    let server = serve([answer(200, head, &document)]).await;
    let set = fetched(server.endpoint().bootstrap(BOOTSTRAP).fetch(None).await);
    assert_eq!(set, keyswap::source::parse(document.as_bytes()).unwrap());
}

#[tokio::test]
async fn each_answer_is_the_error_that_says_what_to_do() {
    use ErrorKind::*;
    let problem = |kind: &str| {
        format!(r#"{{"type": "urn:keyswap:error:{kind}", "detail": "{MATERIAL} {BOOTSTRAP}"}}"#)
    };
    let big = format!(r#"{{"x": "{}"}}"#, MATERIAL.repeat(6000));
    let wait = "retry-after: 7\r\n";
    let location = format!("location: https://elsewhere.example.com/?{BOOTSTRAP}\r\n");
    let cases = [
        (answer(400, "", &problem("bad-request")), Malformed, "check that the URL", None),
        (
            answer(401, "", &problem("bootstrap-invalid")),
            BootstrapRejected,
            "(401) by http://",
            None,
        ),
        (answer(403, "", &problem("forbidden")), Forbidden, "have the provider allow", None),
        (
            answer(404, "", &problem("unknown-set")),
            UnknownSet,
            "/v1/sets/eu is not known (404)",
            None,
        ),
        (answer(407, "", ""), Unavailable, "check HTTPS_PROXY", None),
        (answer(409, "", &problem("rotation-in-progress")), Unavailable, "asked again", None),
        (answer(410, "", &problem("set-revoked")), SetRevoked, "ask them for a new set", None),
        (answer(410, "", &problem("gone-fishing")), Unavailable, "cannot answer now (410)", None),
        (answer(410, "", "gone"), Unavailable, "cannot answer now (410)", None),
        (answer(418, "", MATERIAL), Malformed, "answered 418", None),
        (answer(429, wait, &problem("rate-limited")), Throttled, "fewer requests", Some(7)),
        (answer(500, "", MATERIAL), Unavailable, "cannot answer now (500)", None),
        (answer(503, wait, &problem("unavailable")), Unavailable, "(503)", Some(7)),
        (answer(204, "", ""), Malformed, "answered 204", None),
        (answer(304, "", ""), Malformed, "answered 304", None),
        (answer(302, &location, ""), Malformed, "redirects are refused while carrying", None),
        (answer(308, &location, ""), Malformed, "redirects are refused while carrying", None),
        (answer(200, "", MATERIAL), Malformed, "it is not JSON", None),
        (
            answer(200, "", &DOCUMENT.replace("7,", "\"m4terial-9b1c\",")),
            Malformed,
            "generation",
            None,
        ),
        (answer(200, "", &DOCUMENT.replace("\"eu\"", "\"us\"")), Malformed, "set must be", None),
        (answer(200, "", &big), Malformed, "more than 64 KiB", None),
        (answer(200, "", DOCUMENT).replace("length: ", "length: 9"), Unavailable, "broke", None),
        ("HTTP/1.1 200 OK\r\ncontent-len".into(), Unavailable, "broke", None),
        (String::new(), Unavailable, "broke", None),
    ];
    for (answer, kind, words, retry_after) in cases {
        let server = serve([answer]).await;
        let endpoint = server.endpoint().bootstrap(BOOTSTRAP);
        let error = failed(&endpoint, None).await;
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(words), "{words}: {error}");
        assert_eq!(error.retry_after(), retry_after.map(Duration::from_secs), "{error}");
        assert_eq!(server.requests().len(), 1, "{error}");
    }
}

#[tokio::test]
async fn an_endless_answer_is_not_read_to_its_end() {
    let server = serve([Endless]).await;
    let error = failed(&server.endpoint().bootstrap(BOOTSTRAP), None).await;
    assert_eq!(error.kind(), ErrorKind::Malformed, "{error}");
}

#[tokio::test]
async fn silence_is_a_timeout() {
    let server = serve([Silent]).await;
    let endpoint = server.endpoint().bootstrap(BOOTSTRAP).timeout(Duration::from_millis(100));
    let error = failed(&endpoint, None).await;
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("did not answer within 100ms"), "{error}");
}

#[tokio::test]
async fn an_endpoint_that_is_down_is_named_by_its_origin() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let endpoint = Endpoint::new(format!("{origin}/sets/eu?code={QUERY}")).unwrap();
    let error = failed(&endpoint.bootstrap(BOOTSTRAP), None).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(error.to_string(), format!("{origin} cannot be reached: connection refused"));
}

#[tokio::test]
async fn a_failed_handshake_is_told_apart_from_a_host_that_is_down() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 this is not TLS\r\n\r\n").await.unwrap();
        // Closing before the client has read would reset the connection, which is another fault.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let endpoint = Endpoint::new(format!("{origin}/sets/eu?code={QUERY}")).unwrap();
    let error = failed(&endpoint.bootstrap(BOOTSTRAP), None).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let words = "its TLS certificate or handshake is not acceptable";
    assert_eq!(error.to_string(), format!("{origin} cannot be reached: {words}"));
}

#[tokio::test]
async fn localhost_is_this_machine() {
    let server = serve([answer(200, "", DOCUMENT)]).await;
    let url = server.url.replace("127.0.0.1", "localhost");
    fetched(Endpoint::new(url).unwrap().bootstrap(BOOTSTRAP).fetch(None).await);
}

#[tokio::test]
async fn plain_http_to_another_machine_is_refused_before_anything_is_sent() {
    let endpoint = Endpoint::new(format!("http://keys.example.com/sets/eu?c={QUERY}")).unwrap();
    let endpoint = endpoint.bootstrap_fn(|| async {
        panic!("the bootstrap credential is not even read");
        #[allow(unreachable_code)]
        Ok(String::new())
    });
    let error = failed(&endpoint, None).await;
    assert_eq!(error.kind(), ErrorKind::InsecureUrl);
    assert!(
        error.to_string().contains("use https://, or the option `plain_http_allowed`"),
        "{error}"
    );
}

// ---- the bootstrap credential ----

#[tokio::test]
async fn a_rejected_bootstrap_is_read_again_once_and_the_request_repeated_once() {
    let folder = Folder::new();
    let path = folder.write("bootstrap", "old-b00tstrap-7f3a\n");
    let server = serve([
        answer(200, "", DOCUMENT),
        answer(401, "", ""),
        answer(200, "", DOCUMENT),
        answer(401, "", ""),
    ])
    .await;
    let endpoint = server.endpoint().bootstrap_file(&path);
    fetched(endpoint.fetch(None).await);
    folder.write("bootstrap", "new-b00tstrap-7f3a\n");
    fetched(endpoint.fetch(None).await);
    // Nothing new in the file: it is not tried twice.
    let error = failed(&endpoint, None).await;
    assert_eq!(error.kind(), ErrorKind::BootstrapRejected);
    assert!(error.to_string().contains(&format!("into {}", path.display())), "{error}");
    assert_eq!(
        server.bearers(),
        ["old", "old", "new", "new"].map(|it| format!("{it}-{BOOTSTRAP}"))
    );
}

#[tokio::test]
async fn a_second_rejection_ends_the_fetch_and_the_next_one_asks_the_callback_anew() {
    let calls = Arc::new(AtomicU32::new(0));
    let server = serve([answer(401, "", "")]).await;
    let count = calls.clone();
    let endpoint = server.endpoint().bootstrap_fn(move || {
        let call = count.fetch_add(1, Ordering::SeqCst);
        async move { Ok(format!("{BOOTSTRAP}-{call}")) }
    });
    for sent in [2, 4] {
        let error = failed(&endpoint, None).await;
        assert_eq!(error.kind(), ErrorKind::BootstrapRejected);
        assert_eq!(server.requests().len(), sent);
    }
    assert_eq!(server.bearers(), [0, 1, 2, 3].map(|call| format!("{BOOTSTRAP}-{call}")));
}

#[tokio::test]
async fn a_callback_that_fails_is_a_failed_source_whatever_it_says() {
    let server = serve([answer(200, "", DOCUMENT)]).await;
    let endpoint = server.endpoint().bootstrap_fn(|| async {
        Err::<String, _>(Error::new(ErrorKind::SetRevoked, "the vault is sealed"))
    });
    let error = failed(&endpoint, None).await;
    assert_eq!(error.kind(), ErrorKind::SourceFailed);
    assert_eq!(error.to_string(), "the vault is sealed");
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_bootstrap_that_is_missing_or_no_header_is_told_and_nothing_is_sent() {
    let folder = Folder::new();
    let server = serve([answer(200, "", DOCUMENT)]).await;
    let cases = [
        (server.endpoint().bootstrap(" "), ErrorKind::InvalidConfig, "credential missing: pass"),
        (
            server.endpoint().bootstrap(format!("{BOOTSTRAP}\n{BOOTSTRAP}")),
            ErrorKind::InvalidConfig,
            "one line of ASCII",
        ),
        (
            server.endpoint().bootstrap_file(folder.path("none")),
            ErrorKind::Unavailable,
            "none cannot be read: entity not found",
        ),
    ];
    for (endpoint, kind, words) in cases {
        let error = failed(&endpoint, None).await;
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn an_endpoint_without_bootstrap_is_shown_none() {
    let server = serve([answer(200, "", DOCUMENT), answer(401, "", "")]).await;
    let endpoint = server.endpoint().no_bootstrap();
    fetched(endpoint.fetch(None).await);
    assert!(!server.requests()[0].to_ascii_lowercase().contains("authorization"));
    let error = failed(&endpoint, None).await;
    assert_eq!(error.kind(), ErrorKind::BootstrapRejected);
    assert!(error.to_string().contains("that none is needed"), "{error}");
}

/// The environment can only be set for another process, so these two run in one: this test's own.
#[test]
fn the_environments_bootstrap_is_the_default_and_serves_one_origin() {
    for (test, value) in [("child_with", Some(BOOTSTRAP)), ("child_without", None)] {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--ignored", "--exact", test]).env_remove("KEYSWAP_BOOTSTRAP");
        child.envs(value.map(|value| ("KEYSWAP_BOOTSTRAP", value)));
        // Nobody is behind this proxy: what goes to this machine must not go through it.
        child.envs(
            ["http_proxy", "HTTP_PROXY", "ALL_PROXY"].map(|name| (name, "http://127.0.0.1:1")),
        );
        child.env_remove("no_proxy").env_remove("NO_PROXY");
        let output = child.output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && told.contains("1 passed"), "{test}: {told}");
    }
}

#[tokio::test]
#[ignore = "needs an environment of its own: the test above runs it"]
async fn child_with() {
    let first =
        serve([answer(200, "", DOCUMENT), answer(200, "", DOCUMENT), answer(401, "", "")]).await;
    let second = serve([answer(200, "", DOCUMENT)]).await;
    fetched(first.endpoint().fetch(None).await);
    fetched(first.endpoint().fetch(None).await);
    assert_eq!(first.bearers(), [BOOTSTRAP, BOOTSTRAP]);
    let error = failed(&second.endpoint(), None).await;
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(error.to_string().contains("as the option `bootstrap`"), "{error}");
    assert!(second.requests().is_empty());
    fetched(second.endpoint().bootstrap("its-own").fetch(None).await);
    assert_eq!(second.bearers(), ["its-own"]);
    let error = failed(&first.endpoint(), None).await;
    let origin = first.url.split("/v1").next().unwrap();
    assert_eq!(
        error.to_string(),
        format!(
            "bootstrap credential rejected (401) by {origin}: set KEYSWAP_BOOTSTRAP or the option `bootstrap`"
        )
    );
}

#[tokio::test]
#[ignore = "needs an environment of its own: the test above runs it"]
async fn child_without() {
    let server = serve([answer(200, "", DOCUMENT)]).await;
    let error = failed(&server.endpoint(), None).await;
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    let words = "bootstrap credential missing: set KEYSWAP_BOOTSTRAP or the option `bootstrap`";
    assert_eq!(error.to_string(), words);
    assert!(server.requests().is_empty());
}

// ---- files ----

#[tokio::test]
async fn a_plain_file_is_the_key_and_the_one_before_is_its_fallback() {
    let folder = Folder::new();
    let path = folder.write("key", "\u{feff}m4terial-9b1c-1 \r\n");
    let file = File::new(&path);
    let first = fetched(file.fetch(None).await);
    let primary = first.primary().unwrap();
    assert_eq!(primary.reveal("key"), Some("m4terial-9b1c-1"));
    assert!(primary.id().starts_with("file-"), "{primary:?}");
    assert!(!format!("{file:?} {first:?}").contains(MATERIAL));
    assert!(matches!(file.fetch(Some(&first)).await.unwrap(), Fetched::NotModified));

    folder.write("key", "m4terial-9b1c-2");
    let second = fetched(file.fetch(Some(&first)).await);
    assert_eq!(second.primary().unwrap().reveal("key"), Some("m4terial-9b1c-2"));
    let previous: Vec<_> = second.previous().map(keyswap::Credential::id).collect();
    assert_eq!(previous, [primary.id()]);

    // Other white space is the same key, and must not cost the fallback.
    folder.write("key", "m4terial-9b1c-2\n");
    let same = fetched(file.fetch(Some(&second)).await);
    assert_eq!(same.primary(), second.primary());
    assert!(same.previous().eq(second.previous()));

    folder.write("key", "m4terial-9b1c-3");
    let third = fetched(file.fetch(Some(&same)).await);
    assert_eq!(third.previous().len(), 1);
    assert_eq!(third.previous().next().unwrap().reveal("key"), Some("m4terial-9b1c-2"));
    // Back again: the same key has the same id, and never stands in the set twice.
    folder.write("key", "m4terial-9b1c-2");
    let back = fetched(file.fetch(Some(&third)).await);
    assert_eq!(back.primary(), same.primary());
    assert_eq!(back.previous().next().unwrap().reveal("key"), Some("m4terial-9b1c-3"));
}

#[tokio::test]
async fn ids_of_one_key_differ_from_source_to_source() {
    let folder = Folder::new();
    let path = folder.write("key", MATERIAL);
    let mut ids = Vec::new();
    for _ in 0..2 {
        let set = fetched(File::new(&path).fetch(None).await);
        ids.push((set.primary().unwrap().id().to_owned(), set.validator().unwrap().to_owned()));
    }
    assert_ne!(ids[0].0, ids[1].0);
    assert_ne!(ids[0].1, ids[1].1);
}

#[tokio::test]
async fn a_document_is_read_as_one() {
    let folder = Folder::new();
    let document = DOCUMENT.replacen('{', r#"{"server_time": "2020-01-01T00:00:00Z", "#, 1);
    let file = File::new(folder.write("keys.json", &format!("\n{document}\n")));
    let set = fetched(file.fetch(None).await);
    // The time in a file stands still: credentials would never end by it.
    let mut plain = keyswap::source::parse(DOCUMENT.as_bytes()).unwrap();
    plain = plain.with_validator(set.validator().unwrap());
    assert_eq!(set, plain);
    assert!(matches!(file.fetch(Some(&set)).await.unwrap(), Fetched::NotModified));
}

#[tokio::test]
async fn a_folder_has_one_file_for_each_piece() {
    let folder = Folder::new();
    folder.write("key", "m4terial-9b1c-k\n");
    folder.write("secret", "m4terial-9b1c-s");
    folder.write("id", "k_7\n");
    folder.write("version", "7");
    folder.write(".hidden", "no");
    std::fs::create_dir(folder.path("nested")).unwrap();
    let file = File::new(&folder.0);
    let set = fetched(file.fetch(None).await);
    let primary = set.primary().unwrap();
    assert_eq!((primary.id(), primary.version()), ("k_7", Some("7")));
    assert_eq!(primary.reveal("key"), Some("m4terial-9b1c-k"));
    assert_eq!(primary.reveal("secret"), Some("m4terial-9b1c-s"));
    assert_eq!(primary.reveal(".hidden").or(primary.reveal("id")), None);
    assert!(matches!(file.fetch(Some(&set)).await.unwrap(), Fetched::NotModified));
    // The same id with other material has no fallback of that id.
    folder.write("secret", "m4terial-9b1c-t");
    assert_eq!(fetched(file.fetch(Some(&set)).await).previous().len(), 0);
    folder.write("id", "k_8");
    assert_eq!(fetched(file.fetch(Some(&set)).await).previous().len(), 1);
}

/// A writer swaps versions as the kubelet does, as fast as it can, while the folder is read.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kubernetes_mount_is_never_read_from_two_versions() {
    let folder = Folder::new();
    let mount = Mount::new(&folder.0);
    mount.swap(0);
    for name in ["key", "secret"] {
        std::os::unix::fs::symlink(format!("..data/{name}"), folder.path(name)).unwrap();
    }
    let stop = Arc::new(AtomicU32::new(0));
    let writer = std::thread::spawn({
        let stop = stop.clone();
        move || {
            let mut version = 0;
            while stop.load(Ordering::Relaxed) == 0 {
                version += 1;
                mount.swap(version);
            }
            version
        }
    });
    let file = File::new(&folder.0);
    let (mut read, mut seen) = (0, std::collections::HashSet::new());
    for _ in 0..1000 {
        // The writer is a thousand times faster than a kubelet, so a version may vanish twice in a row.
        let set = match file.fetch(None).await {
            Err(error) if error.kind() == ErrorKind::Unavailable => continue,
            other => fetched(other),
        };
        let primary = set.primary().unwrap();
        let key = primary.reveal("key").unwrap().strip_prefix("key-").unwrap();
        let secret = primary.reveal("secret").unwrap().strip_prefix("secret-").unwrap();
        assert_eq!(key, secret);
        read += 1;
        seen.insert(key.to_owned());
    }
    stop.store(1, Ordering::Relaxed);
    assert!(writer.join().unwrap() > 1);
    assert!(read > 100, "{read} of 1000 were read");
    assert!(seen.len() > 1, "the versions changed meanwhile");
}

#[tokio::test]
async fn each_fault_of_a_file_names_the_path_and_quotes_nothing() {
    use ErrorKind::*;
    let folder = Folder::new();
    std::fs::create_dir(folder.path("empty-folder")).unwrap();
    std::fs::create_dir(folder.path("large-folder")).unwrap();
    for name in ["a", "b"] {
        folder.write(&format!("large-folder/{name}"), &"x".repeat(40 * 1024));
    }
    std::fs::write(folder.path("binary"), b"m4terial-9b1c\xff").unwrap();
    folder.write("empty", " \n");
    folder.write("large", &MATERIAL.repeat(6000));
    folder.write("broken", &DOCUMENT[..DOCUMENT.len() - 1]);
    folder.write("wrong", &DOCUMENT.replace("\"k_7\"", "\"m4terial-9b1c !\""));
    let cases = [
        ("missing", Unavailable, "entity not found"),
        ("empty", Malformed, "it is empty"),
        ("large", Malformed, "larger than 64 KiB"),
        ("binary", Malformed, "not UTF-8"),
        ("broken", Malformed, "the JSON ends too early"),
        ("wrong", Malformed, "id must match"),
        ("empty-folder", Malformed, "no file in it"),
        ("large-folder", Malformed, "larger than 64 KiB"),
    ];
    for (name, kind, words) in cases {
        let path = folder.path(name);
        let error = failed(&File::new(&path), None).await;
        assert_eq!(error.kind(), kind, "{error}");
        let shown = error.to_string();
        assert!(shown.contains(words) && shown.contains(path.to_str().unwrap()), "{shown}");
    }
}

// ---- a server that says what it was told to ----

struct Server {
    url: String,
    heads: Arc<Mutex<Vec<String>>>,
}

/// Not an answer: the connection stays open and nothing is said.
struct Silent;
/// A body without end.
struct Endless;

enum Answer {
    Says(String),
    Silent,
    Endless,
}

impl From<String> for Answer {
    fn from(says: String) -> Self {
        Self::Says(says)
    }
}

impl From<Silent> for Answer {
    fn from(_: Silent) -> Self {
        Self::Silent
    }
}

impl From<Endless> for Answer {
    fn from(_: Endless) -> Self {
        Self::Endless
    }
}

fn answer(status: u16, head: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\n{head}content-length: {length}\r\n\r\n{body}")
}

/// Gives these answers, one a connection; the last one again and again.
async fn serve<A: Into<Answer>, const N: usize>(answers: [A; N]) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/sets/eu?code={QUERY}", listener.local_addr().unwrap());
    let heads = Arc::new(Mutex::new(Vec::new()));
    let answers: Vec<Answer> = answers.into_iter().map(Into::into).collect();
    let seen = heads.clone();
    tokio::spawn(async move {
        for turn in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            seen.lock().unwrap().push(String::from_utf8(head).unwrap());
            match &answers[turn.min(answers.len() - 1)] {
                Answer::Says(says) => {
                    // A client that stops reading is right to.
                    let _ = stream.write_all(says.as_bytes()).await;
                }
                Answer::Silent => std::future::pending().await,
                Answer::Endless => {
                    let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
                    let _ = stream.write_all(head).await;
                    while stream.write_all(b"4\r\n    \r\n").await.is_ok() {}
                }
            }
        }
    });
    Server { url, heads }
}

impl Server {
    fn endpoint(&self) -> Endpoint {
        Endpoint::new(&self.url).unwrap()
    }

    fn requests(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    fn bearers(&self) -> Vec<String> {
        let bearer = |head: &String| {
            let line = head.lines().find(|line| line.starts_with("authorization: Bearer "));
            line.unwrap_or_default().trim_start_matches("authorization: Bearer ").to_owned()
        };
        self.requests().iter().map(bearer).collect()
    }
}

#[track_caller]
fn fetched(outcome: Result<Fetched, Error>) -> CredentialSet {
    match outcome.unwrap() {
        Fetched::Set(set) => set,
        Fetched::NotModified => panic!("not modified"),
    }
}

/// The error of a fetch, after a look at whether it or the source shows a secret.
async fn failed(source: &impl Source, held: Option<&CredentialSet>) -> Error {
    let error = source.fetch(held).await.unwrap_err();
    let shown = format!("{error} {error:?} {source:?}");
    for secret in [BOOTSTRAP, MATERIAL, QUERY] {
        assert!(!shown.contains(secret), "{shown}");
    }
    error
}

// ---- a folder of its own ----

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("keyswap-sources-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        let new = self.path(".new");
        std::fs::write(&new, content).unwrap();
        std::fs::rename(new, &path).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A folder as Kubernetes mounts a secret.
#[cfg(unix)]
struct Mount(PathBuf);

#[cfg(unix)]
impl Mount {
    fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Makes a new version, points `..data` at it, removes the one before.
    fn swap(&self, version: u32) {
        let folder = self.0.join(format!("..version_{version}"));
        std::fs::create_dir(&folder).unwrap();
        for name in ["key", "secret"] {
            std::fs::write(folder.join(name), format!("{name}-{version}")).unwrap();
        }
        let link = self.0.join("..data_tmp");
        std::os::unix::fs::symlink(&folder, &link).unwrap();
        std::fs::rename(link, self.0.join("..data")).unwrap();
        if let Some(before) = version.checked_sub(1) {
            std::fs::remove_dir_all(self.0.join(format!("..version_{before}"))).unwrap();
        }
    }
}
