//! The same over HTTP/2 (RFC 9113), which a client speaks where TLS agrees on it.

use std::{
    io,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::{attacks::Attack, server::Script};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `:status: 200` and `:status: 103`.
const OK: &[u8] = &[0x88];
const INTERIM: &[u8] = b"\x08\x03103";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn headers(block: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, 1, block)
}

/// The answer that a fetch hopes for.
pub(crate) fn good(document: &str) -> Script {
    Script::says([headers(OK), frame(DATA, END_STREAM, 1, document.as_bytes())].concat()).held()
}

pub(crate) fn attacks() -> Vec<Attack> {
    let attack = |name, script| Attack { name, script, waits: false };
    let waiting = |name, script| Attack { name, script, waits: true };
    let tick = Duration::from_millis(20);
    // A name and a value of 4,000 letters that go into the table, and then are named by one byte each.
    let entry = [b"\x40\x01x\x7f\xa1\x1e".as_slice(), &[b'y'; 4000]].concat();
    let bomb = [OK, &entry, &[0xbe; 12_000]].concat();
    vec![
        waiting("silence", Script::says("").held()),
        waiting("a head, and silence", Script::says(headers(OK)).held()),
        waiting(
            "a body by drips",
            Script::says(headers(OK)).endless(frame(DATA, 0, 1, b" ")).each(tick),
        ),
        attack(
            "a body without end",
            Script::says(headers(OK)).endless(frame(DATA, 0, 1, &[b' '; 16_384])),
        ),
        attack(
            "empty pieces of a body without end",
            Script::says(headers(OK)).endless(frame(DATA, 0, 1, b"")),
        ),
        attack(
            "headers without end",
            Script::says(frame(HEADERS, 0, 1, OK)).endless(frame(
                CONTINUATION,
                0,
                1,
                b"\0\x01x\x01y",
            )),
        ),
        attack(
            "empty pieces of headers without end",
            Script::says(frame(HEADERS, 0, 1, OK)).endless(frame(CONTINUATION, 0, 1, b"")),
        ),
        attack("headers that unfold a thousandfold", Script::says(headers(&bomb)).held()),
        waiting("interim answers without end", Script::says("").endless(headers(INTERIM))),
        waiting("pings without end", Script::says("").endless(frame(PING, 0, 0, &[0; 8]))),
        waiting("settings without end", Script::says("").endless(frame(SETTINGS, 0, 0, b""))),
        waiting(
            "priorities without end",
            Script::says("").endless(frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 1])),
        ),
        waiting(
            "frames that nobody knows without end",
            Script::says("").endless(frame(99, 0, 0, b"x")),
        ),
        attack(
            "windows beyond every number",
            Script::says("").endless(frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])),
        ),
        attack(
            "answers that nobody asked for",
            Script::says(frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2, 0x82])).held(),
        ),
        attack("streams that nobody began", Script::says(frame(DATA, 0, 7, b"x")).held()),
        attack("a frame larger than agreed", Script::says(frame(DATA, 0, 1, &[0; 20_000])).held()),
        attack("a compression that is none", Script::says(headers(&[0xff; 16])).held()),
        attack("a reset", Script::says(frame(RST_STREAM, 0, 1, &[0, 0, 0, 7])).held()),
        attack("a farewell", Script::says(frame(GOAWAY, 0, 0, &[0; 8])).held()),
        attack("no frames at all", Script::says("HTTP/1.1 200 OK\r\n\r\n{}").held()),
    ]
}

/// A server on this machine: the URL of its set, and the authority to trust.
pub(crate) async fn serve(first: Script, then: Script) -> (String, String) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap().der().clone();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let mut config = config.with_single_cert(vec![certificate], key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut scripts = std::iter::once(first).chain(std::iter::repeat(then));
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, script) = (acceptor.clone(), scripts.next().unwrap());
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                // A client that stops reading is right to.
                let _ = match until_asked(&mut stream).await {
                    Ok(()) => script.play(&mut stream, &AtomicU64::new(0)).await,
                    Err(error) => Err(error),
                };
            });
        }
    });
    (format!("https://localhost:{port}/v1/sets/eu"), authority.pem())
}

/// Reads on until the request is there, so that what follows is an answer.
async fn until_asked(stream: &mut (impl AsyncRead + AsyncWriteExt + Unpin)) -> io::Result<()> {
    stream.write_all(&frame(SETTINGS, 0, 0, b"")).await?;
    stream.read_exact(&mut [0; 24]).await?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        stream.read_exact(&mut vec![0; length as usize]).await?;
        if head[3] == HEADERS {
            return Ok(());
        }
    }
}
