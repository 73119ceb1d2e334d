use keyswap::{Client, KeySwap, Scheme, source::etcd};

pub async fn example(
    endpoints: &[&str],
    password_file: &str,
    api: &str,
) -> Result<Client, keyswap::Error> {
    let key = etcd::Key::new(endpoints, "/keys/trading")?.user("bot").password_file(password_file);
    let keys = KeySwap::follow(key).await?;
    Client::builder(&keys).scheme(Scheme::bearer()).base_url(api)?.build()
}
