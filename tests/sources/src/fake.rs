//! A server of HTTP that answers as a function says, for stores that run nowhere but at their vendor's.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use rcgen::{CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer},
};
use url::Url;

/// What was asked.
pub struct Request {
    /// `GET`, say.
    pub method: String,
    /// With its query; the host is whatever it was asked by.
    pub url: Url,
    headers: Vec<(String, String)>,
    /// As text.
    pub body: String,
}

impl Request {
    /// The header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The field of this name in the query.
    pub fn query(&self, name: &str) -> Option<String> {
        self.url.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into())
    }

    /// The field of this name in the form that was posted.
    pub fn form(&self, name: &str) -> Option<String> {
        let mut fields = url::form_urlencoded::parse(self.body.as_bytes());
        fields.find(|(known, _)| known == name).map(|(_, value)| value.into())
    }
}

/// What is answered.
pub struct Response {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Response {
    /// With this status and body.
    pub fn new(status: u16, body: impl ToString) -> Self {
        Self { status, headers: Vec::new(), body: body.to_string() }
    }

    /// And with this header.
    pub fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }
}

/// What is wrong with the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It answers 503.
    Down,
    /// It answers nothing for a long time.
    Slow,
    /// It answers 200 and something that is nothing.
    Garbage,
    /// It answers 429, and wants to be left alone for a second.
    Throttled,
    /// It breaks the connection.
    Broken,
}

/// The server. It ends when this is dropped.
pub struct Fake {
    url: String,
    ca: String,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

struct State {
    answer: Box<dyn Fn(&Request) -> Response + Send + Sync>,
    fault: Mutex<Option<Fault>>,
    asked: AtomicU64,
}

impl Fake {
    /// Over plain HTTP, on this machine.
    pub async fn plain(answer: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Self {
        Self::start(None, String::new(), answer).await
    }

    /// Over TLS, with a certificate of an authority of its own.
    pub async fn tls(answer: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        authority.key_usages =
            vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
        authority.distinguished_name.push(DnType::CommonName, "an authority of tests");
        let ca = authority.self_signed(&key).expect("a certificate").pem();
        let issuer = Issuer::new(authority, key);
        let own = KeyPair::generate().expect("a key");
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut certificate = CertificateParams::new(names).expect("names");
        certificate.use_authority_key_identifier_extension = true;
        let certificate = certificate.signed_by(&own, &issuer).expect("signed");
        let own = PrivateKeyDer::Pkcs8(own.serialize_der().into());
        let config = ServerConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], own)
            .expect("a configuration");
        Self::start(Some(TlsAcceptor::from(Arc::new(config))), ca, answer).await
    }

    async fn start(
        tls: Option<TlsAcceptor>,
        ca: String,
        answer: impl Fn(&Request) -> Response + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let fault = Mutex::default();
        let state =
            Arc::new(State { answer: Box::new(answer), fault, asked: AtomicU64::default() });
        let shared = state.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (shared, tls) = (shared.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, &shared).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve(stream, &shared).await,
                            Err(_) => None,
                        },
                    }
                });
            }
        });
        Self { url: format!("{scheme}://{address}"), ca, state, accepting }
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The certificate of its authority.
    pub fn ca(&self) -> &str {
        &self.ca
    }

    /// From now on this is wrong with it, or nothing.
    pub fn fails(&self, fault: impl Into<Option<Fault>>) {
        *self.state.fault.lock().unwrap() = fault.into();
    }

    /// How often it was asked.
    pub fn asked(&self) -> u64 {
        self.state.asked.load(Relaxed)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Answers until the connection ends.
async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, state: &State) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let request = read(&mut stream).await?;
        state.asked.fetch_add(1, Relaxed);
        let fault = *state.fault.lock().unwrap();
        let response = match fault {
            None => (state.answer)(&request),
            Some(Fault::Down) => Response::new(503, "down for s3cr3t reasons"),
            Some(Fault::Garbage) => Response::new(200, "<html>s3cr3t</html>"),
            Some(Fault::Throttled) => Response::new(429, "s3cr3t").with("retry-after", 1),
            Some(Fault::Broken) => return None,
            Some(Fault::Slow) => {
                tokio::time::sleep(Duration::from_secs(20)).await;
                return None;
            }
        };
        let mut head = format!(
            "HTTP/1.1 {} -\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
            response.status,
            response.body.len()
        );
        for (name, value) in &response.headers {
            head += &format!("{name}: {value}\r\n");
        }
        let whole = format!("{head}\r\n{}", response.body);
        stream.write_all(whole.as_bytes()).await.ok()?;
        stream.flush().await.ok()?;
    }
}

async fn read(stream: &mut (impl AsyncBufReadExt + Unpin)) -> Option<Request> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
    let (method, rest) = line.split_once(' ')?;
    let (method, path) = (method.to_owned(), rest.split_once(' ')?.0.to_owned());
    let mut headers = Vec::new();
    loop {
        line.clear();
        stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let mut body = vec![0; length.map_or(0, |(_, length)| length.parse().unwrap_or(0))];
    stream.read_exact(&mut body).await.ok()?;
    let url = Url::parse(&format!("http://fake{path}")).ok()?;
    Some(Request { method, url, headers, body: String::from_utf8_lossy(&body).into() })
}
