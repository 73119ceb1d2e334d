//! An endpoint with a certificate authority of its own, over real TLS on this machine.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use keyswap::{
    Error, ErrorKind,
    source::{Endpoint, Fetched, Source},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

const DOCUMENT: &str = r#"{"set": "eu", "generation": 7,
    "current": {"id": "k_7", "material": {"key": "m4terial-9b1c"}}}"#;

#[tokio::test]
async fn a_private_root_is_trusted_where_the_program_says_so_and_nowhere_else() {
    let authority = authority();
    let url = serve(&authority, None).await;
    let endpoint = || Endpoint::new(&url).unwrap().bootstrap("b00tstrap");
    let trusting = endpoint().root_certificates(authority.pem().as_bytes()).unwrap();
    assert_eq!(generation(trusting.fetch(None).await), 7);

    let error = endpoint().fetch(None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("TLS certificate or handshake"), "{error}");

    // Instead of the platform's roots, and not beside them: another authority is not enough.
    let other = endpoint().root_certificates(self::authority().pem().as_bytes()).unwrap();
    assert_eq!(other.fetch(None).await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn one_pem_may_hold_several_roots() {
    let authority = authority();
    let url = serve(&authority, None).await;
    let both = format!("{}\n{}", self::authority().pem(), authority.pem());
    let endpoint = Endpoint::new(&url).unwrap().bootstrap("x");
    let endpoint = endpoint.root_certificates(both.as_bytes()).unwrap();
    assert_eq!(generation(endpoint.fetch(None).await), 7);
}

#[tokio::test]
async fn a_client_certificate_says_who_asks() {
    let (ours, clients) = (authority(), authority());
    let url = serve(&ours, Some(&clients)).await;
    let endpoint = || {
        let endpoint = Endpoint::new(&url).unwrap().no_bootstrap();
        endpoint.root_certificates(ours.pem().as_bytes()).unwrap()
    };
    let (certificate, key) = issue(&clients);
    for pem in [format!("{certificate}{key}"), format!("{key}{certificate}")] {
        let known = endpoint().client_certificate(pem.as_bytes()).unwrap();
        assert_eq!(generation(known.fetch(None).await), 7);
    }
    // The order of the two settings is of no matter.
    let pem = format!("{certificate}{key}");
    let turned = Endpoint::new(&url).unwrap().no_bootstrap();
    let turned = turned.client_certificate(pem.as_bytes()).unwrap();
    let turned = turned.root_certificates(ours.pem().as_bytes()).unwrap();
    assert_eq!(generation(turned.fetch(None).await), 7);

    let (certificate, key) = issue(&authority());
    let pem = format!("{certificate}{key}");
    let stranger = endpoint().client_certificate(pem.as_bytes()).unwrap();
    for endpoint in [endpoint(), stranger] {
        let error = endpoint.fetch(None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Forbidden, "{error}");
        assert!(error.to_string().contains("`client_certificate`"), "{error}");
    }
}

// ---- certificates that are renewed ----

/// An agent renews a certificate of a few seconds; the program never stops, and is never restarted.
#[tokio::test]
async fn a_client_certificate_that_ends_is_renewed_in_its_file() {
    let (ours, clients) = (authority(), authority());
    let url = serve(&ours, Some(&clients)).await;
    let path = Place::new("client.pem");
    let endpoint = Endpoint::new(&url).unwrap().no_bootstrap();
    let endpoint = endpoint.root_certificates(ours.pem().as_bytes()).unwrap();
    let endpoint = endpoint.client_certificate_file(&path.0);
    path.write(&issue_for(&clients, Some(4)));
    assert_eq!(generation(endpoint.fetch(None).await), 7);
    let ended = in_time(async || endpoint.fetch(None).await.err()).await;
    assert_eq!(ended.kind(), ErrorKind::Forbidden, "{ended}");
    path.write(&issue_for(&clients, None));
    assert_eq!(generation(endpoint.fetch(None).await), 7);
    // What is half written changes nothing: what was made last is used until it is whole.
    path.write("-----BEGIN CERTIFICATE-----\nczNjcjN0\n");
    assert_eq!(generation(endpoint.fetch(None).await), 7);
    std::fs::remove_file(&path.0).unwrap();
    assert_eq!(generation(endpoint.fetch(None).await), 7);
}

#[tokio::test]
async fn root_certificates_are_read_again_when_their_file_changes() {
    let (old, new) = (authority(), authority());
    let url = serve(&new, None).await;
    let path = Place::new("roots.pem");
    let endpoint = Endpoint::new(&url).unwrap().bootstrap("b00tstrap");
    let endpoint = endpoint.root_certificates_file(&path.0);
    let error = endpoint.fetch(None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "it may come into being later: {error}");
    path.write("s3cr3t");
    let error = endpoint.fetch(None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
    let shown = error.to_string();
    assert!(shown.contains(path.0.to_str().unwrap()) && !shown.contains("s3cr3t"), "{shown}");
    path.write(&old.pem());
    let error = endpoint.fetch(None).await.unwrap_err();
    assert!(error.to_string().contains("TLS certificate or handshake"), "{error}");
    path.write(&format!("{}{}", old.pem(), new.pem()));
    assert_eq!(generation(endpoint.fetch(None).await), 7);
    // An authority that is removed is believed no more.
    path.write(&old.pem());
    assert!(endpoint.fetch(None).await.is_err());
}

/// The machine's own bundle can only be another one for another process: this test's own.
#[cfg(target_os = "linux")]
#[test]
fn the_machines_bundle_is_read_again_when_it_changes() {
    let bundle = Place::new("machine.pem");
    bundle.write(&authority().pem());
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--ignored", "--exact", "child_with_another_bundle"]);
    child.env("SSL_CERT_FILE", &bundle.0).env_remove("SSL_CERT_DIR");
    let output = child.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
#[ignore = "needs an environment of its own: the test above runs it"]
async fn child_with_another_bundle() {
    let ours = authority();
    let url = serve(&ours, None).await;
    let endpoint = Endpoint::new(&url).unwrap().bootstrap("b00tstrap");
    let error = endpoint.fetch(None).await.unwrap_err();
    assert!(error.to_string().contains("TLS certificate or handshake"), "{error}");
    let bundle = PathBuf::from(std::env::var_os("SSL_CERT_FILE").unwrap());
    std::fs::write(bundle.with_extension("new"), ours.pem()).unwrap();
    std::fs::rename(bundle.with_extension("new"), &bundle).unwrap();
    let set = in_time(async || endpoint.fetch(None).await.ok()).await;
    assert_eq!(generation(Ok(set)), 7);
}

/// What comes to be within a minute.
async fn in_time<T>(look: impl AsyncFn() -> Option<T>) -> T {
    let look = async {
        loop {
            if let Some(found) = look().await {
                break found;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), look).await.expect("it comes")
}

/// A file of this test's own.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = format!("keyswap-tls-{}-{count}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        std::fs::create_dir(&folder).unwrap();
        Self(folder.join(name))
    }

    fn write(&self, content: &str) {
        std::fs::write(self.0.with_extension("new"), content).unwrap();
        std::fs::rename(self.0.with_extension("new"), &self.0).unwrap();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.0.parent().unwrap());
    }
}

#[test]
fn what_is_no_certificate_is_told_and_never_quoted() {
    let authority = authority();
    let (certificate, key) = issue(&authority);
    let (_, other_key) = issue(&authority);
    let endpoint = || Endpoint::new("https://keys.example.com/sets/eu").unwrap();
    let broken = "-----BEGIN CERTIFICATE-----\nczNjcjN0\n-----END CERTIFICATE-----\n";
    let roots = [
        ("s3cr3t".to_owned(), "no -----BEGIN CERTIFICATE-----"),
        (key.clone(), "no -----BEGIN CERTIFICATE-----"),
        (broken.to_owned(), "each must be an X.509 certificate"),
        (certificate.replace("-----END", "-----NOT"), "a section of it cannot be read"),
    ];
    for (pem, words) in roots {
        refused(endpoint().root_certificates(pem.as_bytes()), words, &pem);
    }
    let identities = [
        (certificate.clone(), "has no private key"),
        (key.clone(), "no -----BEGIN CERTIFICATE-----"),
        (format!("{certificate}{other_key}"), "must belong to it"),
        (format!("{broken}{key}"), "must belong to it"),
    ];
    for (pem, words) in identities {
        refused(endpoint().client_certificate(pem.as_bytes()), words, &pem);
    }
    let shown = format!(
        "{:?}",
        endpoint().client_certificate(format!("{certificate}{key}").as_bytes()).unwrap()
    );
    assert!(!key.lines().any(|line| !line.is_empty() && shown.contains(line)), "{shown}");
}

#[track_caller]
fn refused(outcome: Result<Endpoint, Error>, words: &str, pem: &str) {
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    let shown = format!("{error} {error:?}");
    assert!(shown.contains(words), "{words}: {shown}");
    let inner = pem.lines().filter(|line| !line.is_empty() && !line.starts_with("-----"));
    for line in inner {
        assert!(!shown.contains(line), "{shown}");
    }
}

#[track_caller]
fn generation(outcome: Result<Fetched, Error>) -> u64 {
    match outcome.unwrap() {
        Fetched::Set(set) => set.generation(),
        other => panic!("{other:?}"),
    }
}

// ---- certificates and a server ----

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// The two in one file, the certificate for so many seconds if that is said.
fn issue_for(authority: &Authority, seconds: Option<u64>) -> String {
    let (certificate, key) = issue_until(authority, seconds);
    format!("{certificate}{key}")
}

/// A certificate for this machine, and its key, both as PEM.
fn issue(authority: &Authority) -> (String, String) {
    issue_until(authority, None)
}

fn issue_until(authority: &Authority, seconds: Option<u64>) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    if let Some(seconds) = seconds {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + now + Duration::from_secs(seconds);
    }
    (params.signed_by(&key, authority).unwrap().pem(), key.serialize_pem())
}

/// Answers every request with the document, to clients of that authority if one is named.
async fn serve(authority: &Authority, clients: Option<&Authority>) -> String {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, authority).unwrap().der().clone();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = match clients {
        None => config.with_no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(clients.der().clone()).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            config.with_client_cert_verifier(verifier.unwrap())
        }
    };
    let mut config = config.with_single_cert(vec![certificate], key).unwrap();
    // Who resumes a session is not asked for a certificate again.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = match acceptor.accept(stream).into_fallible().await {
                Ok(stream) => stream,
                // Closing before the client has read why would reset the connection.
                Err((_, mut stream)) => {
                    let _ = stream.read_to_end(&mut Vec::new()).await;
                    continue;
                }
            };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let Ok(byte) = stream.read_u8().await else { break };
                head.push(byte);
            }
            let length = DOCUMENT.len();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{DOCUMENT}");
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    format!("https://localhost:{port}/sets/eu")
}
