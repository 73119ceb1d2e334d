use std::time::Duration;

use keyswap::{Current, Error, KeySwap, source::vault::Vault};

/// The API keys in `secret/data/trading`, for a program that is the AppRole of this id.
pub async fn example(server: &str, role_id: &str, secret_id_file: &str) -> Result<KeySwap, Error> {
    let vault = Vault::new(server)?.app_role_file(role_id, secret_id_file);
    KeySwap::follow(vault.kv("secret", "trading").key("/api_key")).await
}

/// Logs in to a database with the account that is held. Of a static role, the password before is dead at once:
/// what was rotated a moment ago is fetched, and the log-in repeated, for some three seconds.
pub async fn log_in<C, E, F>(
    keys: &KeySwap,
    connect: impl Fn(Current) -> F,
    is_wrong_password: impl Fn(&E) -> bool,
) -> Result<C, E>
where
    E: From<Error>,
    F: Future<Output = Result<C, E>>,
{
    let mut pause = Duration::from_millis(100);
    loop {
        match connect(keys.current()?).await {
            Err(error) if is_wrong_password(&error) && pause < Duration::from_secs(2) => {
                // The database may have the new one before the server tells it.
                tokio::time::sleep(pause).await;
                keys.refresh().await?;
                pause *= 2;
            }
            outcome => return outcome,
        }
    }
}
