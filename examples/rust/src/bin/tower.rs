//! A program whose client is a stack of tower services. `cargo run --bin tower`
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use keyswap::{
    Authorizer, Endpoint, KeySwap, Scheme,
    integrations::{RequireScopes, tower::AuthorizeLayer},
};
use keyswap_endpoint::{server::Endpoint as Embedded, world::WorldConfig};
use tower::{Layer, ServiceExt, timeout::TimeoutLayer};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let running = Embedded::start(WorldConfig::default()).await?;
    let endpoint = Endpoint::new(running.set_url())?.bootstrap(running.bootstrap());
    let keys = KeySwap::follow(endpoint).await?;
    let authorizer = Authorizer::builder(&keys)
        .scheme(Scheme::header("x-api-key"))
        .allow_origin(running.api_url())?
        .build()?;
    // The timeout stands outside: it holds for all sends of a request together. So would a layer that
    // follows redirects.
    let http = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let patience = Duration::from_secs(10);
    let api = AuthorizeLayer::new(&authorizer).deadline(patience).layer(http);
    let api = TimeoutLayer::new(patience).layer(api);

    let order = || {
        let order = Full::new(Bytes::from_static(b"order"));
        Request::post(format!("{}/v1/orders", running.api_url())).body(order)
    };
    let before = api.clone().oneshot(order()?).await?.into_body().collect().await?.to_bytes();
    running.apply(&serde_json::from_str(r#"{"do": "cut"}"#)?)?;
    let after = api.clone().oneshot(order()?).await?.into_body().collect().await?.to_bytes();

    let (before, after) = (String::from_utf8_lossy(&before), String::from_utf8_lossy(&after));
    println!("{before}\n{after}");
    assert!(before.contains("k1") && after.contains("k2"));

    // An error of this crate can be told from one of hyper's.
    let mut refused = order()?;
    refused.extensions_mut().insert(RequireScopes::new(["trade:write"]));
    let error = api.oneshot(refused).await.err().ok_or("it was sent")?;
    let error: &keyswap::Error = error.downcast_ref().ok_or("another error")?;
    println!("{error}");
    assert_eq!(error.code(), "missing_scope");
    Ok(())
}
