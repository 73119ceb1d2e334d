//! The TLS of every client of this crate: whom it trusts, and what it speaks.

use std::sync::{Arc, OnceLock};

use rustls::{ClientConfig, RootCertStore, crypto::CryptoProvider};

use super::trust::Machine;
use crate::error::{Error, ErrorKind};

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
pub(crate) fn tls_config_trusting(roots: RootCertStore) -> Result<ClientConfig, Error> {
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

/// A client, or its TLS, cannot be set up.
pub(crate) fn unbuildable(what: &str) -> Error {
    Error::new(ErrorKind::Unavailable, what)
}
