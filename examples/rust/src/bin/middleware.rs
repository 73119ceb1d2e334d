//! A program that sends with `reqwest-middleware`. `cargo run --bin middleware`
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use keyswap::{Authorizer, Endpoint, KeySwap, Scheme, integrations::reqwest_middleware as keyed};
use keyswap_endpoint::{server::Endpoint as Embedded, world::WorldConfig};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let running = Embedded::start(WorldConfig::default()).await?;
    let endpoint = Endpoint::new(running.set_url())?.bootstrap(running.bootstrap());
    let keys = KeySwap::follow(endpoint).await?;
    let authorizer = Authorizer::builder(&keys)
        .scheme(Scheme::header("x-api-key"))
        .allow_origin(running.api_url())?
        .build()?;
    // Further middleware, such as tracing or retries, is attached with `.with(...)`.
    let api = keyed::client(&authorizer, keyed::http()?)?.build();

    let price = format!("{}/v1/price", running.api_url());
    let before = api.get(&price).send().await?.error_for_status()?.text().await?;
    running.apply(&serde_json::from_str(r#"{"do": "cut"}"#)?)?;
    let after = api.get(&price).send().await?.error_for_status()?.text().await?;

    println!("{before}\n{after}");
    assert!(before.contains("k1") && after.contains("k2"));
    // A redirect to another origin is followed, and carries nothing.
    let elsewhere = api.get(format!("{}/redirect", running.api_url())).send().await?;
    assert!(elsewhere.url().as_str().starts_with(running.other_url()));
    assert_eq!(running.counters()["leaks"], 0);
    Ok(())
}
