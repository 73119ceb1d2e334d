//! What goes wrong at the token endpoint, one thing at a time.

use std::time::Duration;

use keyswap::{ErrorKind, KeySwap};
use keyswap_source_tests::load::until;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{at, mock, short};

#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_the_token_stays_and_it_recovers() {
    let server = mock().await;
    // Shorter than the handle's own, so that it is the source that says what was too slow.
    let tokens = at(&server).client_secret("s1").timeout(Duration::from_secs(1));
    let keys = KeySwap::follow(tokens).policy(short()).await.expect("a token");
    let fault = |name: &str| (json!({"fault": name}), json!({"fault": null}));
    let refused = |status: u16, code: &str| {
        (json!({"secrets": [], "status": status, "code": code}), json!({"secrets": ["s1"]}))
    };
    let answer = |wrong: Value| (json!({"answer": wrong}), json!({"answer": {}}));
    let matrix = [
        (fault("down"), ErrorKind::Unavailable, "cannot answer now"),
        (fault("broken"), ErrorKind::Unavailable, "broke before"),
        (fault("slow"), ErrorKind::Timeout, "within"),
        (fault("garbage"), ErrorKind::Malformed, "not JSON"),
        (fault("throttled"), ErrorKind::Throttled, "fewer requests"),
        (fault("forbidden"), ErrorKind::Forbidden, "allow them to this client"),
        (refused(401, "invalid_client"), ErrorKind::BootstrapRejected, "invalid_client"),
        (refused(400, "invalid_client"), ErrorKind::BootstrapRejected, "check its id and"),
        (refused(401, "unauthorized_client"), ErrorKind::BootstrapRejected, "unauthorized_client"),
        (refused(400, "unauthorized_client"), ErrorKind::BootstrapRejected, "check its secret"),
        (refused(403, "no"), ErrorKind::Forbidden, "forbids"),
        (refused(404, "no"), ErrorKind::UnknownSet, "check the token URL"),
        (refused(400, "temporarily_unavailable"), ErrorKind::Unavailable, "asked again"),
        (refused(400, "invalid_target"), ErrorKind::Forbidden, "invalid_target"),
        (refused(400, "invalid_request"), ErrorKind::Malformed, "check the options"),
        (refused(302, "no"), ErrorKind::Malformed, "redirect"),
        (answer(json!({"token_type": "DPoP"})), ErrorKind::Malformed, "DPoP"),
        (answer(json!({"access_token": ""})), ErrorKind::Malformed, "without an access_token"),
        // Some say so with a status of success.
        (refused(200, "invalid_client"), ErrorKind::BootstrapRejected, "invalid_client"),
    ];
    for ((breaks, heals), kind, words) in matrix {
        let id = keys.current().unwrap().id().to_owned();
        server.control(&breaks).await;
        let error = keys.refresh().await.expect_err(words);
        let text = format!("{error} {error:?}");
        assert!(error.kind() == kind && text.contains(words), "{breaks}: {text}");
        assert!(text.contains("127.0.0.1") && !text.contains("s3cr3t"), "{text}");
        assert_eq!(keys.current().unwrap().id(), id, "what is held stays");
        server.control(&heals).await;
        let began = Instant::now();
        until("it recovers", Duration::from_secs(4), || {
            keys.last_failure().is_none() && keys.current().unwrap().id() != id
        })
        .await;
        // One backoff; one that was asked for is waited for, and a send that hangs is waited out.
        let most = match kind {
            ErrorKind::Throttled | ErrorKind::Timeout => 2500,
            _ => 800,
        };
        assert!(began.elapsed() < Duration::from_millis(most), "{words}: {:?}", began.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_the_server_asks_for_is_kept() {
    let server = mock().await;
    let keys = KeySwap::follow(at(&server).client_secret("s1")).policy(short());
    let keys = keys.await.expect("a token");
    server.control(&json!({"fault": "throttled"})).await;
    let error = keys.refresh().await.expect_err("throttled");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(1)));
    let asked = server.seen().await["asked"].as_u64();
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(server.seen().await["asked"].as_u64(), asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_life_is_taken_as_the_server_writes_it() {
    let server = mock().await;
    for (written, lives) in [
        (json!(3600), Some(3600)),
        (json!("3600"), Some(3600)),
        (json!(3600.4), Some(3600)),
        (json!(""), Some(7200)),
        (json!(-1), Some(7200)),
        (json!(0), Some(7200)),
        (json!("soon"), Some(7200)),
        (json!(99_999_999_999_999_u64), None),
    ] {
        server.control(&json!({"answer": {"expires_in": written}})).await;
        let tokens = at(&server).client_secret("s1").default_lifetime(Duration::from_secs(7200));
        let keys = KeySwap::follow(tokens).await.expect("a token");
        let token = keys.current().unwrap().to_owned();
        let end = token.expires_at().map(|end| end.as_second());
        let made = token.created_at().expect("a time").as_second();
        assert_eq!(end.map(|end| end - made), lives, "{written}");
    }
    server.control(&json!({"answer": {"expires_in": ""}})).await;
    let keys = KeySwap::follow(at(&server).client_secret("s1")).await.expect("a token");
    assert_eq!(keys.current().unwrap().expires_at(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_granted_counts_and_not_what_was_asked_for() {
    let server = mock().await;
    server.control(&json!({"answer": {"scope": "read"}})).await;
    let tokens = at(&server).client_secret("s1").scopes(["read", "write"]);
    let tokens = tokens.audience("https://a").resource("https://r").resource("https://q?a=1");
    let keys = KeySwap::follow(tokens).await.expect("a token");
    assert_eq!(keys.current().unwrap().scopes().join(" "), "read");
    let form = server.seen().await["form"].clone();
    let expected = json!({
        "grant_type": "client_credentials",
        "scope": "read write",
        "audience": "https://a",
        "resource": ["https://r", "https://q?a=1"],
    });
    assert_eq!(form, expected);
}

#[tokio::test]
async fn what_is_not_valid_is_told_before_anything_is_asked() {
    let url = "https://login.example.com/token";
    let at = || keyswap::source::oauth2::ClientCredentials::new(url).unwrap().client_id("bot");
    for (tokens, words) in [
        (at(), "nothing to prove itself"),
        (at().client_secret("s").auth_style("digest"), "basic or post"),
        (at().private_key_jwt("k1", "s3cr3t", "ES256"), "must be PEM"),
        (at().private_key_jwt("k1", "s3cr3t", "HS256"), "ES256, RS256 or EdDSA"),
        (at().client_secret("s").parameter("scope", "x"), "an option of its own"),
        (keyswap::source::oauth2::ClientCredentials::new(url).unwrap().client_secret("s"), "no id"),
    ] {
        let shown = format!("{tokens:?}");
        let error = KeySwap::follow(tokens).start().expect_err(words);
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        let text = error.to_string();
        assert!(text.contains(words) && !text.contains("s3cr3t"), "{text}");
        assert!(!shown.contains("s3cr3t"), "{shown}");
    }
    assert!(keyswap::source::oauth2::ClientCredentials::new("login.example.com").is_err());
}
