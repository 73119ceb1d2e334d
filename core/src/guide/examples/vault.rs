use keyswap::{Current, Error, KeySwap, source::vault::Vault};

/// The API keys in `secret/data/trading`, for a program that is the AppRole of this id.
pub async fn example(server: &str, role_id: &str, secret_id_file: &str) -> Result<KeySwap, Error> {
    let vault = Vault::new(server)?.app_role_file(role_id, secret_id_file);
    KeySwap::follow(vault.kv("secret", "trading").key("/api_key")).await
}

/// Logs in to a database with the account that is held. If its password was rotated a moment ago it is
/// fetched, and the log-in repeated: of a static role, the one before is dead at once.
pub async fn log_in<C, E, F>(
    keys: &KeySwap,
    connect: impl Fn(Current) -> F,
    is_wrong_password: impl Fn(&E) -> bool,
) -> Result<C, E>
where
    E: From<Error>,
    F: Future<Output = Result<C, E>>,
{
    for _ in 0..2 {
        match connect(keys.current()?).await {
            Err(error) if is_wrong_password(&error) => keys.refresh().await?,
            outcome => return outcome,
        }
    }
    connect(keys.current()?).await
}
