//! Several sets in one program, each with a scope of its own. `cargo run --bin named_sets`
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use keyswap::{Client, Endpoint, ErrorKind, KeySwap, Scheme};
use keyswap_endpoint::server::{Endpoint as Embedded, Running};

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// An endpoint and an API of its own for each set: in a program they are often the same.
async fn follow(set: &str, scope: &str) -> Result<(Running, KeySwap), Failed> {
    let world = serde_json::from_str(&format!(r#"{{"scopes": ["{scope}"]}}"#))?;
    let running = Embedded::builder().set(set).world(world).start().await?;
    let endpoint = Endpoint::new(running.set_url())?.bootstrap(running.bootstrap());
    Ok((running, KeySwap::follow(endpoint).await?))
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let (prices, reading) = follow("reading", "read").await?;
    let (orders, trading) = follow("trading", "trade:write").await?;
    let api = Client::builder(&reading)
        .base_url(prices.api_url())?
        .allow_origin(orders.api_url())?
        .scheme(Scheme::header("x-api-key"))
        .named("trading", &trading)
        .build()?;
    let order = || {
        let url = format!("{}/v1/orders", orders.api_url());
        api.post(&url).body("order").scopes(["trade:write"])
    };

    let price = api.get("/v1/price").scopes(["read"]).send().await?;
    let placed = order().keys("trading").send().await?;
    // The wrong set is an error before anything is sent, and never another set by itself.
    let refused = order().send().await.err().ok_or("it was sent")?;

    println!("{} {}\n{refused}", price.status(), placed.status());
    assert!(price.status().is_success() && placed.status().is_success());
    assert_eq!(refused.kind(), ErrorKind::MissingScope);
    assert_eq!(orders.counters()["api.sends"], 1);
    Ok(())
}
