use std::time::Duration;

use keyswap::{Client, Endpoint, KeySwap, Scheme};

#[tokio::main]
async fn main() -> Result<(), keyswap::Error> {
    let endpoint = Endpoint::new("https://keys.example.com/keyswap/v1/sets/trading")?;
    let keys = KeySwap::follow(endpoint).await?;
    let api = Client::builder(&keys)
        .base_url("https://api.example.com")?
        .scheme(Scheme::header("x-api-key"))
        .build()?;
    loop {
        let price = api.get("/v1/price/BTC").send().await?.error_for_status()?.text().await?;
        println!("{price} read with {}", keys.current()?.id());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
