//! The proxies of the environment. It can only be set for another process, so each of these runs in one.

use std::process::Command;

use crate::{
    Limit,
    adapters::{Adapter, Ask, Settings},
    answer, each, followed,
    wire::Wire,
};

const NO_ENVIRONMENT: &str = "hyper reads no environment: a proxy is its connector's";

fn in_a_child(test: &str, variables: &[(&str, &str)]) {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--ignored", "--exact", &format!("environment::{test}"), "--nocapture"]);
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        child.env_remove(name).env_remove(name.to_uppercase());
    }
    let output = child.envs(variables.iter().copied()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
}

/// What came of a request with the adapter, and with the library alone.
async fn both(adapter: Adapter, url: &str) -> [Result<u16, String>; 2] {
    let settings = Settings { plain_http: adapter == Adapter::Tower, ..Settings::default() };
    let keyed = adapter.keyed(&followed(&["good"]).await, url, settings);
    let [keyed, alone] = [keyed, adapter.alone(settings)];
    let ask = Ask::default();
    [
        keyed.send(url, &ask).await.map(|it| it.status()),
        alone.send(url, &ask).await.map(|it| it.status()),
    ]
}

/// Of a host that is not there. Plain HTTP is what hyper's own connector speaks.
fn url(adapter: Adapter, host: &str) -> String {
    format!("{}://{host}/", if adapter == Adapter::Tower { "http" } else { "https" })
}

#[tokio::test]
async fn the_environments_proxy() {
    // One port for all, since the environment of a process is the same for all its tests.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    in_a_child("child_proxy", &[("all_proxy", &proxy), ("no_proxy", "direct.test")]);
}

#[tokio::test]
#[ignore = "needs an environment of its own: the test above runs it"]
async fn child_proxy() {
    each("the proxies of the environment are used, and NO_PROXY counts", |adapter| async move {
        let address = std::env::var("all_proxy").unwrap().replace("http://", "");
        let proxy = Wire::at(&address, |_| answer(403, "", b"")).await;
        for outcome in both(adapter, &url(adapter, "api.test")).await {
            assert!(outcome.is_err(), "{outcome:?}");
        }
        let asked: Vec<_> = proxy.heard().iter().map(|heard| heard.line.clone()).collect();
        for outcome in both(adapter, &url(adapter, "direct.test")).await {
            assert!(outcome.is_err(), "{outcome:?}");
        }
        assert_eq!(proxy.heard().len(), asked.len(), "it is asked for nothing that is excepted");
        if adapter == Adapter::Tower {
            assert_eq!(asked.len(), 0);
            return Limit::Some(NO_ENVIRONMENT);
        }
        assert_eq!(asked, ["CONNECT api.test:443 HTTP/1.1"; 2]);
        None
    })
    .await;
}

#[tokio::test]
async fn the_environments_proxy_of_another_kind() {
    in_a_child("child_socks", &[("all_proxy", "socks5://127.0.0.1:1")]);
}

#[tokio::test]
#[ignore = "needs an environment of its own: the test above runs it"]
async fn child_socks() {
    each("a proxy that cannot be used is said", |adapter| async move {
        let [keyed, alone] = both(adapter, &url(adapter, "api.test")).await;
        let (keyed, alone) = (keyed.unwrap_err(), alone.unwrap_err());
        if adapter == Adapter::Tower {
            assert!(!keyed.contains("socks") && keyed == alone, "{keyed} | {alone}");
            return Limit::Some(NO_ENVIRONMENT);
        }
        assert!(keyed.contains("socks") && alone.contains("socks"), "{keyed} | {alone}");
        None
    })
    .await;
}
