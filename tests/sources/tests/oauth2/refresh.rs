//! Refresh tokens that are worth nothing once they were used, at a server that revokes all when one is used twice.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use keyswap::{
    Error, ErrorKind, KeySwap, Secret,
    source::{
        BoxFuture,
        oauth2::{RefreshToken, TokenStorage},
    },
};
use keyswap_source_tests::{
    load::{Load, until},
    node::NodeServer,
};
use serde_json::{Value, json};

use crate::{folder, short};

/// The server, and the refresh token of somebody who has logged in.
async fn server(ttl: u32) -> (NodeServer, String) {
    let server = NodeServer::start("oidc_provider", &[]).await;
    let app = json!({
        "client_id": "app", "token_endpoint_auth_method": "none", "application_type": "native",
        "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
        "redirect_uris": ["http://127.0.0.1/"],
    });
    server.control(&json!({"clients": [app], "ttl": ttl})).await;
    let token = granted(&server).await;
    (server, token)
}

async fn granted(server: &NodeServer) -> String {
    let answer: Value = server.control(&json!({"grant": "app"})).await;
    answer["refreshToken"].as_str().expect("a token").to_owned()
}

fn at(server: &NodeServer) -> RefreshToken {
    RefreshToken::new(server.url("/token")).expect("a URL").client_id("app")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_use_brings_another_one_which_is_in_the_file_before_it_is_used() {
    let (server, token) = server(1).await;
    let folder = folder("refresh");
    let file = folder.join("token");
    std::fs::write(&file, &token).unwrap();
    let keys = KeySwap::follow(at(&server).token_file(&file)).policy(short());
    let keys = keys.await.expect("a token");
    let load = Load::start(&keys, &server.url("/api"), 10);
    tokio::time::sleep(Duration::from_secs(3)).await;
    load.end().await;
    assert!(keys.stats().counts.changed > 2, "tokens end, and are made anew");
    // The program ends at any moment, and the next one goes on from the file.
    keys.close();
    let second = std::fs::read_to_string(&file).unwrap();
    assert_ne!(second, token);
    let keys = KeySwap::follow(at(&server).token_file(&file)).policy(short());
    let keys = keys.await.expect("a token");
    assert_ne!(std::fs::read_to_string(&file).unwrap(), second);

    // One that was used is worth nothing, until somebody logs in again.
    std::fs::write(&file, &token).unwrap();
    let error = keys.refresh().await.expect_err("it was used");
    assert_eq!(error.kind(), ErrorKind::BootstrapRejected, "{error}");
    assert!(error.to_string().contains("invalid_grant") && !error.to_string().contains(&token));
    std::fs::write(&file, granted(&server).await).unwrap();
    until("it recovers", Duration::from_secs(2), || keys.last_failure().is_none()).await;
    std::fs::remove_dir_all(folder).unwrap();
}

/// A place that fails when it is told to.
#[derive(Clone, Debug, Default)]
struct Place {
    token: Arc<Mutex<String>>,
    is_full: Arc<AtomicBool>,
    stored: Arc<AtomicU32>,
}

impl TokenStorage for Place {
    fn load(&self) -> BoxFuture<'_, Result<Secret, Error>> {
        let token = Secret::from(self.token.lock().unwrap().as_str());
        Box::pin(std::future::ready(Ok(token)))
    }

    fn store(&self, token: Secret) -> BoxFuture<'_, Result<(), Error>> {
        let full = Error::new(ErrorKind::SourceFailed, "the disk is full");
        Box::pin(async move {
            if self.is_full.load(SeqCst) {
                return Err(full);
            }
            self.stored.fetch_add(1, SeqCst);
            *self.token.lock().unwrap() = token.reveal().into();
            Ok(())
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_stored_is_kept_and_nothing_of_it_is_used_before() {
    let (server, token) = server(60).await;
    let place = Place::default();
    place.token.lock().unwrap().clone_from(&token);
    let keys = KeySwap::follow(at(&server).storage(place.clone())).policy(short());
    let keys = keys.await.expect("a token");
    let first = keys.current().unwrap().id().to_owned();
    place.is_full.store(true, SeqCst);
    let error = keys.refresh().await.expect_err("it cannot be stored");
    assert_eq!(error.kind(), ErrorKind::SourceFailed);
    assert!(error.to_string().contains("the disk is full"), "{error}");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(keys.current().unwrap().id(), first, "what came with it waits");
    assert_eq!(place.stored.load(SeqCst), 1);
    // Had the server been asked again with the one that was used, it would have revoked everything.
    place.is_full.store(false, SeqCst);
    until("it recovers", Duration::from_secs(2), || keys.last_failure().is_none()).await;
    let second = keys.current().unwrap().to_owned();
    assert_ne!(second.id(), first);
    assert_eq!(server.get("/api/", second.reveal("key").unwrap()).await, 200);
    keys.refresh().await.expect("the new one works");
    assert_eq!(place.stored.load(SeqCst), 3);
}

#[tokio::test]
async fn without_a_place_it_does_not_start() {
    let tokens = RefreshToken::new("https://login.example.com/token").unwrap().client_id("app");
    let error = KeySwap::follow(tokens).start().expect_err("no place");
    assert!(error.to_string().contains("token_file"), "{error}");
}
