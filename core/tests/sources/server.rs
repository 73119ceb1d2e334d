//! A server that says what it was told to.

use std::sync::{Arc, Mutex};

use keyswap::source::Endpoint;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::QUERY;

pub(crate) struct Server {
    pub(crate) url: String,
    heads: Arc<Mutex<Vec<String>>>,
}

pub(crate) enum Answer {
    Says(Vec<u8>),
    /// Not an answer: the connection stays open and nothing is said.
    Silent,
    /// A body without end.
    Endless,
}

impl From<String> for Answer {
    fn from(says: String) -> Self {
        Self::Says(says.into())
    }
}

impl From<Vec<u8>> for Answer {
    fn from(says: Vec<u8>) -> Self {
        Self::Says(says)
    }
}

pub(crate) fn answer(status: u16, head: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\n{head}content-length: {length}\r\n\r\n{body}")
}

/// Gives these answers, one a connection; the last one again and again.
pub(crate) async fn serve<A: Into<Answer>, const N: usize>(answers: [A; N]) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/sets/eu?code={QUERY}", listener.local_addr().unwrap());
    let heads = Arc::new(Mutex::new(Vec::new()));
    let answers: Vec<Answer> = answers.into_iter().map(Into::into).collect();
    let seen = heads.clone();
    tokio::spawn(async move {
        for turn in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            seen.lock().unwrap().push(String::from_utf8(head).unwrap());
            match &answers[turn.min(answers.len() - 1)] {
                Answer::Says(says) => {
                    // A client that stops reading is right to.
                    let _ = stream.write_all(says).await;
                }
                Answer::Silent => std::future::pending().await,
                Answer::Endless => {
                    let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
                    let _ = stream.write_all(head).await;
                    while stream.write_all(b"4\r\n    \r\n").await.is_ok() {}
                }
            }
        }
    });
    Server { url, heads }
}

impl Server {
    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::new(&self.url).unwrap()
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    pub(crate) fn bearers(&self) -> Vec<String> {
        let bearer = |head: &String| {
            let line = head.lines().find(|line| line.starts_with("authorization: Bearer "));
            line.unwrap_or_default().trim_start_matches("authorization: Bearer ").to_owned()
        };
        self.requests().iter().map(bearer).collect()
    }
}
