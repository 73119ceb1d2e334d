//! The numbers of a handle as a Prometheus page. `cargo run --bin prometheus`
//!
//! The feature `metrics` of keyswap speaks to the `metrics` facade, so any other exporter will do.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use keyswap::{Client, Endpoint, KeySwap, Scheme};
use keyswap_endpoint::{server::Endpoint as Embedded, world::WorldConfig};
use metrics_exporter_prometheus::PrometheusBuilder;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    // Before the first handle is made, which describes what it counts.
    let page = PrometheusBuilder::new().install_recorder()?;
    let running = Embedded::start(WorldConfig::default()).await?;
    let endpoint = Endpoint::new(running.set_url())?.bootstrap(running.bootstrap());
    let keys = KeySwap::follow(endpoint).name("trading").await?;
    let api = Client::builder(&keys)
        .base_url(running.api_url())?
        .scheme(Scheme::header("x-api-key"))
        .build()?;
    api.get("/v1/price").send().await?.error_for_status()?;
    running.apply(&serde_json::from_str(r#"{"do": "cut"}"#)?)?;
    api.get("/v1/price").send().await?.error_for_status()?;

    // A program serves this text at `/metrics`.
    let text = page.render();
    println!("{text}");
    for line in [
        r#"keyswap_fetches_total{set="trading",outcome="changed"} 2"#,
        r#"keyswap_forced_fetches_total{set="trading"} 1"#,
        r#"keyswap_rejections_total{set="trading"} 1"#,
        r#"keyswap_generation{set="trading"} 2"#,
    ] {
        assert!(text.contains(line), "{line}");
    }
    assert!(!text.contains(keys.current()?.reveal("key").unwrap_or_default()));
    Ok(())
}
