//! What an endpoint's answers become.

use std::time::Duration;

use keyswap::{
    ErrorKind,
    source::{Endpoint, Fetched, Source},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::{
    BOOTSTRAP, DOCUMENT, MATERIAL, QUERY, failed, fetched,
    sources::server::{Answer, answer, serve},
};

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
        format!(
            r#"{{"type": "urn:keyswap:error:{kind}", "set": "eu", "detail": "{MATERIAL} {BOOTSTRAP}"}}"#
        )
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
    let server = serve([Answer::Endless]).await;
    let error = failed(&server.endpoint().bootstrap(BOOTSTRAP), None).await;
    assert_eq!(error.kind(), ErrorKind::Malformed, "{error}");
}

#[tokio::test]
async fn silence_is_a_timeout() {
    let server = serve([Answer::Silent]).await;
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
