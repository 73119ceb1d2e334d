//! The HTTP clients that fetch from endpoints: one for the world, one for this machine.
//!
//! Each is built once a process, at first use; an endpoint with TLS of its own has its own. They keep no idle connections: fetches are minutes
//! apart, and a pooled connection belongs to the runtime that made it, which may be gone after a fork
//! or when a program has several runtimes. They follow no redirects and repeat nothing on their own.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    sync::{Arc, OnceLock},
    time::Duration,
};

use reqwest::{
    Client, ClientBuilder,
    header::{self, HeaderMap},
};
use rustls::{ClientConfig, RootCertStore, crypto::CryptoProvider};
use url::{Host, Url};

use super::{calendar::http_date, trust::Machine};
use crate::error::{Error, ErrorKind};

/// Time to connect to a rotation endpoint: a share of the whole fetch that leaves room for the answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

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

/// A client for this URL, with this TLS.
pub(super) fn build(url: &Url, tls: ClientConfig) -> Result<Client, Error> {
    let mut builder = builder(tls);
    if is_loopback(url) {
        builder = on_this_machine(builder);
    }
    builder
        .build()
        .map_err(|_| unbuildable("the HTTP client cannot be set up: check the proxy settings"))
}

/// How long an answer asks to be left alone: in seconds, or until a date. A date is counted from the
/// answer's own, so that this machine's clock does not matter.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let asked = text(header::RETRY_AFTER)?.trim();
    if let Ok(seconds) = asked.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let wait = http_date(asked)?.duration_since(http_date(text(header::DATE)?)?);
    Some(wait.try_into().unwrap_or(Duration::ZERO))
}

/// Whether the host is this machine by its very name or address.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// What is for this machine reaches no other: a proxy's loopback is another machine, and a resolver may
/// call another one `localhost`.
pub(crate) fn on_this_machine(builder: ClientBuilder) -> ClientBuilder {
    pin_localhost(builder).no_proxy()
}

/// The name of this machine means its loopback addresses, whatever a resolver says.
pub(crate) fn pin_localhost(builder: ClientBuilder) -> ClientBuilder {
    let local = [(Ipv4Addr::LOCALHOST, 0).into(), (Ipv6Addr::LOCALHOST, 0).into()];
    builder.resolve_to_addrs("localhost", &local)
}

/// The TLS configuration of every client of this crate: its own, so that no process-wide crypto
/// provider is needed or installed. All copies share one verifier and one store of sessions.
pub(crate) fn tls_config() -> Result<ClientConfig, Error> {
    static CONFIG: OnceLock<ClientConfig> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(config.clone());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let machine =
        Machine::new(provider.clone()).ok_or_else(|| unbuildable("TLS cannot be set up"))?;
    let trust = Trust::Machine(machine);
    let config = configure(provider, trust).map_err(|_| unbuildable("TLS cannot be set up"))?;
    Ok(CONFIG.get_or_init(|| config).clone())
}

/// TLS that trusts these certificates alone.
pub(super) fn tls_config_trusting(roots: RootCertStore) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    configure(provider, Trust::These(roots)).map_err(|_| unbuildable("TLS cannot be set up"))
}

/// Whom a client believes.
enum Trust {
    Machine(Machine),
    These(RootCertStore),
}

fn configure(provider: Arc<CryptoProvider>, trust: Trust) -> Result<ClientConfig, rustls::Error> {
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = match trust {
        Trust::Machine(machine) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(machine))
            .with_no_client_auth(),
        Trust::These(roots) => builder.with_root_certificates(roots).with_no_client_auth(),
    };
    // reqwest adds no protocols to a configuration that it did not make.
    config.alpn_protocols = match cfg!(feature = "http2") {
        true => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        false => vec![b"http/1.1".to_vec()],
    };
    Ok(config)
}

pub(super) fn unbuildable(what: &str) -> Error {
    Error::new(ErrorKind::Unavailable, what)
}

fn builder(tls: ClientConfig) -> ClientBuilder {
    Client::builder()
        .tls_backend_preconfigured(tls)
        .user_agent(concat!("keyswap/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(0)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_a_name_or_an_address_and_nothing_alike() {
        let is = |url: &str| is_loopback(&Url::parse(url).expect("a URL"));
        for url in
            ["http://127.0.0.1:1/", "http://127.9.9.9", "http://[::1]:1", "http://LOCALHOST/"]
        {
            assert!(is(url), "{url}");
        }
        for url in ["http://localhost.example.com", "http://128.0.0.1", "http://[::2]", "data:x"] {
            assert!(!is(url), "{url}");
        }
    }

    #[test]
    fn no_process_wide_provider_is_installed() {
        tls_config().expect("a configuration");
        client_for(&Url::parse("https://keys.example.com").expect("a URL")).expect("a client");
        assert!(CryptoProvider::get_default().is_none());
    }
}
