//! What the caller gets, and when.

use crate::*;

#[tokio::test]
async fn a_body_is_never_quoted_in_an_error() {
    #[derive(Debug, serde::Deserialize)]
    struct Wrong {
        #[expect(dead_code, reason = "it is never read: the body is of another type")]
        credential: u64,
    }
    let rig = Rig::new("{}").await;
    let client = rig.client().build().unwrap();
    let error = client.get("/v1/price").send().await.unwrap().json::<Wrong>().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Body);
    let text = format!("{error} {error:?}");
    assert!(!text.contains("k1") && text.contains("line 1, column"), "{text}");
}

#[tokio::test]
async fn a_header_of_the_callers_own_is_an_error_or_wins_and_is_never_replaced() {
    let rig = Rig::new("{}").await;
    let key = rig.keys.current().unwrap().reveal("key").unwrap().to_owned();
    let mixed = rig.client().build().unwrap().get("/v1/price").header("X-Api-Key", "mine");
    let error = mixed.send().await.unwrap_err();
    assert_eq!((error.kind(), rig.count("api.sends")), (ErrorKind::InvalidConfig, 0));
    assert!(error.to_string().contains("x-api-key"), "{error}");
    let defaults = HeaderMap::from_iter([(
        http::HeaderName::from_static("x-api-key"),
        http::HeaderValue::from_static("mine"),
    )]);
    let mixed = rig.client().default_headers(defaults).build().unwrap();
    let error = mixed.get("/v1/price").send().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);

    let client = rig.client().own_header_wins().build().unwrap();
    let own = |path: &str, key: &str| client.get(path).header("x-api-key", key);
    assert_eq!(own("/v1/price", "mine").send().await.unwrap().status(), 401);
    assert_eq!((rig.count("api.sends"), rig.count("api.with.k1")), (1, 0));
    let counts = rig.keys.stats().counts;
    assert_eq!((counts.rejections, counts.forced), (0, 0), "it is no evidence");
    // It stays with its origin like a key of ours.
    assert_eq!(own("/redirect", &key).send().await.unwrap().status(), 200);
    assert_eq!(rig.count("leaks"), 0);
    assert_eq!(status(&client, "/v1/price").await, 200);
}

#[tokio::test]
async fn a_request_that_is_sent_once_gets_the_apis_own_answer() {
    let rig = Rig::new("{}").await;
    let client = rig.client().build().unwrap();
    rig.step(r#"{"do": "cut"}"#);
    let once = client.get("/v1/price").no_resend().send().await.unwrap();
    assert_eq!((once.status().as_u16(), rig.count("api.sends")), (401, 1));
    rig.step(r#"{"do": "api", "fault": "server_error", "status": 503}"#);
    let once = client.get("/v1/price").no_resend().send().await.unwrap();
    assert_eq!((once.status().as_u16(), rig.count("api.sends")), (503, 2));
}

#[tokio::test]
async fn a_response_in_hand_is_what_the_caller_gets_when_its_time_is_over() {
    let rig = Rig::new("{}").await;
    let client = rig.client().build().unwrap();
    // The API has rotated, and the endpoint does not say so before long.
    rig.step(r#"{"do": "rotate", "overlap": false, "publish_after_ms": 60000}"#);
    let patience = Duration::from_secs(1);
    let all = (0..50).map(|_| client.get("/v1/price").timeout(patience).send());
    let began = std::time::Instant::now();
    for answer in futures_util::future::join_all(all).await {
        assert_eq!(answer.unwrap().status(), 401);
    }
    assert!(began.elapsed() < patience * 3, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_wait_that_the_api_asks_for_and_the_caller_has_not_is_not_begun() {
    let rig = Rig::new("{}").await;
    let client = rig.client().build().unwrap();
    rig.step(r#"{"do": "api", "fault": "rate_limited", "retry_after": 5}"#);
    let asked = client.get("/v1/price").timeout(Duration::from_secs(1));
    let answer = asked.send().await.unwrap();
    assert_eq!((answer.status().as_u16(), rig.count("api.sends")), (429, 1));
    // What was lost, because the second send did not end in time, is named.
    let rig = Rig::new("{}").await;
    let client = rig.client().build().unwrap();
    rig.step(r#"{"do": "api", "fault": "server_error", "status": 503, "for_ms": 200}"#);
    let running = async {
        while rig.count("api.sends") == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        rig.step(r#"{"do": "api", "fault": "hang"}"#);
    };
    let asked = client.get("/v1/price").timeout(Duration::from_millis(600)).send();
    let error = tokio::join!(asked, running).0.unwrap_err();
    assert_eq!((error.kind(), error.status()), (ErrorKind::Timeout, Some(503)), "{error}");
}

#[tokio::test]
async fn an_api_that_asks_for_fewer_requests_is_left_alone_by_all() {
    let rig = Rig::new("{}").await;
    let client = rig.client().no_retries().build().unwrap();
    rig.step(r#"{"do": "api", "fault": "rate_limited", "retry_after": 1, "for_ms": 500}"#);
    assert_eq!(status(&client, "/v1/price").await, 429);
    assert!(client.authorizer().is_throttled());
    let began = std::time::Instant::now();
    let hurried = client.get("/v1/price").timeout(Duration::from_millis(300)).send().await;
    assert_eq!(hurried.unwrap().status(), 429, "who cannot wait gets the API's own answer");
    let all = (0..8).map(|_| status(&client, "/v1/price"));
    assert_eq!(futures_util::future::join_all(all).await, [200; 8]);
    assert!(began.elapsed() >= Duration::from_millis(950), "{:?}", began.elapsed());
    assert_eq!(rig.count("api.sends"), 10);
    assert!(!client.authorizer().is_throttled());
}

#[tokio::test]
async fn a_rejection_names_the_fetch_that_failed() {
    let rig = Rig::new("{}").await;
    let client = rig.client().build().unwrap();
    rig.step(r#"{"do": "endpoint", "fault": "server_error", "status": 503}"#);
    rig.step(r#"{"do": "cut"}"#);
    let answer = client.get("/v1/price").send().await.unwrap();
    assert_eq!(answer.status(), 401);
    let cause = answer.cause().expect("the failure of the fetch");
    assert_eq!(cause.kind(), ErrorKind::Unavailable);
    let text = answer.status_error().unwrap().to_string();
    assert!(
        text.contains("no fresh credential came") && text.contains(&cause.to_string()),
        "{text}"
    );
    assert!(client.get("/always-403").send().await.unwrap().cause().is_none());
}

#[tokio::test]
async fn when_all_is_in_vain_the_first_rejection_is_the_answer() {
    let rig = Rig::new(r#"{"replicas": 7}"#).await;
    let client = rig.client().build().unwrap();
    rig.step(r#"{"do": "rotate", "grace_ms": 60000}"#);
    rig.keys.refresh().await.unwrap();
    let answer = client.get("/always-401").send().await.unwrap();
    assert_eq!(answer.status(), 401);
    assert!(rig.count("api.sends") > 1);
    let body = answer.text().await.unwrap();
    assert!(body.contains(r#""replica":0"#), "{body}");
}

#[tokio::test]
async fn a_rejection_that_comes_during_an_upload_is_read() {
    let answer = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 3\r\nconnection: close\r\n\r\nno!";
    for after in [1, 100_000] {
        let rig = Rig::new("{}").await;
        let (url, _) = raw(answer.into(), after).await;
        let client = rig.client().base_url(&url).unwrap().build().unwrap();
        let whole = Bytes::from(vec![0_u8; 16 * 1024 * 1024]);
        for round in 0..4 {
            let parts =
                stream::iter((0..1024).map(|_| Ok::<_, std::io::Error>(vec![0; 16384].into())));
            let requests = [
                client.post("/upload").body(whole.clone()).no_resend(),
                client.post("/upload").body_stream(parts),
            ];
            for request in requests {
                let sent = request.send().await;
                let answer = sent.unwrap_or_else(|error| panic!("{after} {round}: {error}"));
                assert_eq!(answer.status(), 401);
            }
        }
    }
}
