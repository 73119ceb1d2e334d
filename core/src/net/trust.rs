//! Whom this machine trusts, which changes while a program runs.
//!
//! On systems that keep their certificates in files, the verifier reads them when it is made. Those files
//! are renewed by updates and by operators, and programs run for months: an authority that is new must be
//! believed, and one that was removed must not be, without a restart. So they are read again when a
//! certificate is judged and they were read some minutes ago, and at once, though at most once a second, when
//! it is refused. Other systems are asked each time anyway.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{
    DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use rustls_platform_verifier::Verifier;

use crate::clock::Clock;

/// How old what was read may be, in milliseconds.
const AGE: u64 = 5 * 60 * 1000;
/// The same where it refuses a certificate.
const AGE_IN_DOUBT: u64 = 1000;

/// The machine's own verifier, made anew now and then.
pub(super) struct Machine {
    provider: Arc<CryptoProvider>,
    held: Mutex<(Arc<dyn ServerCertVerifier>, u64)>,
}

impl Machine {
    pub(super) fn new(provider: Arc<CryptoProvider>) -> Option<Self> {
        let verifier = own(&provider).or_else(|| mozillas(&provider))?;
        let held = Mutex::new((verifier, Clock::system().boot()));
        Some(Self { provider, held })
    }

    /// What was read at most so long ago.
    fn verifier(&self, age: u64) -> Arc<dyn ServerCertVerifier> {
        let now = Clock::system().boot();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let is_read_once =
            cfg!(all(unix, not(target_vendor = "apple"), not(target_os = "android")));
        if is_read_once && now.saturating_sub(held.1) >= age {
            // Files that cannot be read now change nothing: whom nobody named is not trusted in their place.
            held.0 = own(&self.provider).unwrap_or_else(|| held.0.clone());
            held.1 = now;
        }
        held.0.clone()
    }
}

fn own(provider: &Arc<CryptoProvider>) -> Option<Arc<dyn ServerCertVerifier>> {
    // On Android the platform's verifier panics unless the program has handed it a Java VM.
    let own = match cfg!(target_os = "android") {
        true => None,
        false => Verifier::new(provider.clone()).ok(),
    };
    own.map(|own| Arc::new(own) as Arc<dyn ServerCertVerifier>)
}

/// A machine without CA certificates, as slim containers are, gets Mozilla's: failing there would cost
/// every fetch for no gain in safety.
fn mozillas(provider: &Arc<CryptoProvider>) -> Option<Arc<dyn ServerCertVerifier>> {
    let roots = Arc::new(mozilla());
    let built = WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build();
    built.ok().map(|built| built as Arc<dyn ServerCertVerifier>)
}

fn mozilla() -> RootCertStore {
    webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect()
}

impl ServerCertVerifier for Machine {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let judge = |age| {
            let verifier = self.verifier(age);
            verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        };
        match judge(AGE) {
            Err(Error::InvalidCertificate(_)) => judge(AGE_IN_DOUBT),
            judged => judged,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier(u64::MAX).verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier(u64::MAX).verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier(u64::MAX).supported_verify_schemes()
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Machine(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_certificates_trusts_mozilla() {
        assert!(mozilla().len() > 50);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        mozillas(&provider).expect("a verifier");
    }
}
