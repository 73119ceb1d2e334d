//! The credential that is shown to an endpoint.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use keyswap::{Error, ErrorKind, source::Source};

use crate::{
    BOOTSTRAP, DOCUMENT, failed, fetched,
    sources::folder::Folder,
    sources::server::{answer, serve},
};

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
    assert!(error.to_string().contains("none is shown"), "{error}");
}

/// The environment can only be set for another process, so these two run in one: this test's own.
#[test]
fn the_environments_bootstrap_is_the_default_and_serves_one_origin() {
    for (test, value) in [("child_with", Some(BOOTSTRAP)), ("child_without", None)] {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        let test = format!("sources::bootstrap::{test}");
        child.args(["--ignored", "--exact", &test]).env_remove("KEYSWAP_BOOTSTRAP");
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
