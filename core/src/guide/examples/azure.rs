use keyswap::{Client, Error, KeySwap, Scheme, source::azure::KeyVault};

/// What the API answers to a request that carries the key in a secret such as
/// `KeyVault::new("https://my-vault.vault.azure.net", "trading")?`.
pub async fn example(secret: KeyVault, api: &str) -> Result<String, Error> {
    let keys = KeySwap::follow(secret.key("/api_key")).name("trading").await?;
    let client = Client::builder(&keys).scheme(Scheme::bearer()).base_url(api)?.build()?;
    client.get("/").send().await?.text().await
}
