//! Redirects, and what goes to this machine.

use crate::*;

#[tokio::test]
async fn what_was_answered_is_never_sent_again() {
    let rig = Rig::new("{}").await;
    let client = rig.client().build().unwrap();
    let client = &client;
    let statuses = [301, 302, 303, 307, 308];
    for (to, kind) in [("always-401/x", None), ("closed", Some(ErrorKind::Transport))] {
        let paths = statuses.map(|status| format!("/redirect/{status}/{to}"));
        let orders = paths.iter().map(|path| client.post(path).body("buy").send());
        let outcomes = futures_util::future::join_all(orders).await;
        for (path, outcome) in paths.iter().zip(outcomes) {
            assert_eq!(outcome.as_ref().err().map(|error| error.kind()), kind, "{path}");
            assert_eq!(rig.count(&format!("api.path.{path}")), 1, "{path}");
        }
    }
    // The API's own failures are retried where they happened.
    let rig = Rig::new("{}").await;
    let client = rig.client().build().unwrap();
    for _ in 0..2 {
        assert_eq!(status(&client, "/redirect/302/flaky/x").await, 200);
    }
    let counts =
        ["/redirect/302/flaky/x", "/flaky/x"].map(|path| rig.count(&format!("api.path.{path}")));
    assert_eq!(counts, [2, 3]);
}

#[tokio::test]
async fn a_chain_that_left_the_allowed_origins_carries_nothing_any_more() {
    let rig = Rig::new("{}").await;
    let back = format!(
        "HTTP/1.1 302 Found\r\nlocation: {}/v1/price\r\ncontent-length: 0\r\n\r\n",
        rig.running.api_url()
    );
    let (elsewhere, _) = raw(back, 1).await;
    let away = format!("HTTP/1.1 302 Found\r\nlocation: {elsewhere}\r\ncontent-length: 0\r\n\r\n");
    let (allowed, _) = raw(away, 1).await;
    let client = rig.client().allow_origin(&allowed).unwrap().build().unwrap();
    let answer = client.get(&allowed).send().await.unwrap();
    assert_eq!(answer.status(), 401, "{answer:?}");
    assert_eq!((rig.count("api.sends"), rig.count("api.with.k1")), (1, 0));
    assert_eq!(rig.keys.stats().counts.rejections, 0, "it carried no credential");
}

#[tokio::test]
async fn a_key_that_comes_back_in_a_redirect_is_neither_sent_nor_shown() {
    let rig = Rig::new("{}").await;
    let client = rig.client().scheme(Scheme::query("api_key")).build().unwrap();
    let answer = client.get("/redirect/302/login?a=1").send().await.unwrap();
    assert_eq!(answer.status(), 302);
    let location = answer.headers()["location"].to_str().unwrap();
    assert_eq!(location, format!("{}/***", rig.running.other_url()));
    assert_eq!((answer.url().query(), rig.count("leaks")), (Some("a=1"), 0));
    let unfollowed = rig.client().no_redirects().scheme(Scheme::query("api_key")).build().unwrap();
    let answer = unfollowed.get("/redirect/302/login").send().await.unwrap();
    assert!(answer.headers()["location"].to_str().unwrap().ends_with("/***"));
}

#[tokio::test]
async fn an_error_shows_only_the_origin_of_a_url_that_the_caller_did_not_write() {
    let rig = Rig::new("{}").await;
    let client = rig.client().build().unwrap();
    let error = client.get("/redirect/302/closed").send().await.unwrap_err().to_string();
    assert!(error.starts_with("GET http://127.0.0.1:") && !error.contains("landed"), "{error}");
    let answer = client.get("/redirect/302/always-403/token").send().await.unwrap();
    let shown = format!("{answer:?} {}", answer.status_error().unwrap());
    assert!(!shown.contains("token"), "{shown}");
    let own = client.get("/always-403/mine").send().await.unwrap();
    assert!(own.status_error().unwrap().to_string().contains("/always-403/mine"));
}

#[tokio::test]
async fn a_classifier_is_asked_before_a_redirect_is_followed() {
    #[derive(Debug)]
    struct LoginPage;
    impl Classifier for LoginPage {
        fn classify(&self, response: &ResponseView<'_>) -> Verdict {
            match response.status().as_u16() {
                302 => Verdict::Rejected,
                _ => Verdict::Accepted,
            }
        }
        fn response_filter(&self) -> ResponseFilter {
            ResponseFilter::new([302])
        }
    }
    let rig = Rig::new("{}").await;
    rig.step(r#"{"do": "rotate", "grace_ms": 60000}"#);
    rig.keys.refresh().await.unwrap();
    let client = rig.client().classifier(LoginPage).build().unwrap();
    client.get("/redirect/302/v1/landed").send().await.unwrap();
    assert!(rig.count("api.with.k1") > 0 && rig.count("api.with.k2") > 0, "both were tried");
    assert_eq!(rig.count("api.path./v1/landed"), 0, "and none was taken for good");
    assert!(rig.keys.stats().counts.rejections >= 2, "each was told as a rejection");
    assert_eq!(rig.keys.current().unwrap().id(), "k1", "and no trial was won");
}

#[tokio::test]
async fn what_is_for_this_machine_reaches_no_other_and_no_proxy() {
    let rig = Rig::new("{}").await;
    let (trap, trapped) = raw("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".into(), 1).await;
    let trap_at = trap.trim_start_matches("http://").parse().unwrap();
    let by_name = rig.running.api_url().replace("127.0.0.1", "localhost");
    for base in [rig.running.api_url(), &by_name] {
        let trap = trap.clone();
        let client = rig
            .client()
            .base_url(base)
            .unwrap()
            .http(move |http| {
                let proxy = reqwest::Proxy::all(&trap).unwrap();
                http.resolve("localhost", trap_at).proxy(proxy)
            })
            .build()
            .unwrap();
        assert_eq!(status(&client, "/v1/price").await, 200, "{base}");
    }
    assert_eq!(trapped.load(std::sync::atomic::Ordering::Relaxed), 0);
}
