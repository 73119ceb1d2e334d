use keyswap::{
    Client, KeySwap,
    source::{File, oauth2::ClientCredentials},
};

/// A client of an API that wants tokens. The secret that they are asked for with is in a file, and is rotated.
pub async fn example(token_url: &str, secret: &str, api: &str) -> Result<Client, keyswap::Error> {
    let secrets = KeySwap::follow(File::new(secret)).await?;
    let tokens = ClientCredentials::new(token_url)?
        .client_id("bot")
        .client_secret_from(&secrets)
        .scopes(["read"]);
    let keys = KeySwap::follow(tokens).await?;
    Client::builder(&keys).base_url(api)?.build()
}
