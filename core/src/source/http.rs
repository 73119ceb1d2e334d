//! The HTTP clients that fetch from endpoints: one for the world, one for this machine, one for the metadata service of
//! the cloud that it is in.
//!
//! Each is built once a process, at first use; an endpoint with TLS of its own has its own. They keep no idle connections: fetches are minutes
//! apart, and a pooled connection belongs to the runtime that made it, which may be gone after a fork
//! or when a program has several runtimes. They follow no redirects and repeat nothing on their own.

use std::{sync::OnceLock, time::Duration};

use reqwest::{Client, ClientBuilder};
use rustls::ClientConfig;
use url::Url;

use crate::{
    error::Error,
    net::{is_loopback, on_this_machine, tls_config, unbuildable},
};

/// Time to connect to a rotation endpoint: a share of the whole fetch that leaves room for the answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The same to a metadata service, which is one hop away.
const METADATA_CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The client that may fetch from this URL.
pub(super) fn client_for(url: &Url) -> Result<Client, Error> {
    static WORLD: OnceLock<Client> = OnceLock::new();
    static LOOPBACK: OnceLock<Client> = OnceLock::new();
    let slot = if is_loopback(url) { &LOOPBACK } else { &WORLD };
    if let Some(client) = slot.get() {
        return Ok(client.clone());
    }
    let client = build(url, tls_config()?)?;
    Ok(slot.get_or_init(|| client).clone())
}

/// The client for the metadata service of a cloud. It is a machine's own, so what a proxy reaches is another machine's;
/// and where there is none, nothing answers at its address.
pub(super) fn metadata_client() -> Result<Client, Error> {
    static METADATA: OnceLock<Client> = OnceLock::new();
    if let Some(client) = METADATA.get() {
        return Ok(client.clone());
    }
    let builder = builder(tls_config()?).no_proxy().connect_timeout(METADATA_CONNECT_TIMEOUT);
    let client = built(builder)?;
    Ok(METADATA.get_or_init(|| client).clone())
}

/// A client for this URL, with this TLS.
pub(super) fn build(url: &Url, tls: ClientConfig) -> Result<Client, Error> {
    let mut builder = builder(tls);
    if is_loopback(url) {
        builder = on_this_machine(builder);
    }
    built(builder)
}

fn built(builder: ClientBuilder) -> Result<Client, Error> {
    builder
        .build()
        .map_err(|_| unbuildable("the HTTP client cannot be set up: check the proxy settings"))
}

fn builder(tls: ClientConfig) -> ClientBuilder {
    Client::builder()
        .tls_backend_preconfigured(tls)
        .user_agent(concat!("keyswap/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(0)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        // A program may build reqwest so that it decodes by itself; but what is signed is what was sent.
        .no_gzip()
        .no_brotli()
        .no_deflate()
        .no_zstd()
        .referer(false)
}

#[cfg(test)]
mod tests {
    use rustls::crypto::CryptoProvider;

    use super::*;

    #[test]
    fn no_process_wide_provider_is_installed() {
        tls_config().expect("a configuration");
        client_for(&Url::parse("https://keys.example.com").expect("a URL")).expect("a client");
        assert!(CryptoProvider::get_default().is_none());
    }
}
