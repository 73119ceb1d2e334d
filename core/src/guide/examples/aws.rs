use keyswap::{Client, Error, KeySwap, Scheme, source::aws::SecretsManager};

/// A client of an API whose key is in a secret such as `{"api_key": "..."}`. Where AWS is, and who asks, is what AWS's own
/// tools go by: the environment, a profile, or the role of the container or the machine.
pub async fn example(secret: &str, api: &str) -> Result<Client, Error> {
    let keys = KeySwap::follow(SecretsManager::new(secret).key("/api_key")).await?;
    Client::builder(&keys).base_url(api)?.scheme(Scheme::bearer()).build()
}
