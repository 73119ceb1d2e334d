//! A client that hides nothing: one connection, one request after the other.

// Each test file uses its own part of this.
#![allow(dead_code)]

use std::io;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connection to an origin.
pub(crate) struct Connection(TcpStream);

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// As much came as `Content-Length` promised.
    pub(crate) whole: bool,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a body of JSON")
    }
}

/// Splits a URL into its authority and the rest.
pub(crate) fn parts(url: &str) -> (&str, &str) {
    let rest = url.strip_prefix("http://").expect("an http URL");
    rest.find('/').map_or((rest, "/"), |at| rest.split_at(at))
}

impl Connection {
    pub(crate) async fn to(url: &str) -> Self {
        Self(TcpStream::connect(parts(url).0).await.expect("a connection"))
    }

    /// Sends a request; none is a connection that ended without an answer.
    pub(crate) async fn ask(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Option<Answer> {
        let mut text = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n");
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        // Whoever drops connections may do so while this is being written.
        self.0.write_all(text.as_bytes()).await.ok()?;
        self.answer().await.ok()
    }

    async fn answer(&mut self) -> io::Result<Answer> {
        let mut read = Vec::new();
        let end = loop {
            if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if self.0.read_buf(&mut read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        let head = String::from_utf8_lossy(&read[..end]).into_owned();
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let headers: Vec<_> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let status = status.expect("a status");
        let mut answer = Answer { status, headers, body: read.split_off(end), whole: true };
        let length = answer.header("content-length").and_then(|length| length.parse().ok());
        let length = if status == 304 { 0 } else { length.unwrap_or(0_usize) };
        while answer.body.len() < length && answer.whole {
            // A reset after half a body is an end like any other.
            answer.whole = self.0.read_buf(&mut answer.body).await.unwrap_or(0) > 0;
        }
        Ok(answer)
    }
}

/// The bits of a body that has no end.
pub(crate) struct Stream {
    socket: TcpStream,
    read: Vec<u8>,
}

impl Stream {
    /// Asks for it; none is a connection that ended without an answer.
    pub(crate) async fn open(url: &str, headers: &[(&str, &str)]) -> Option<(Answer, Self)> {
        let mut connection = Connection::to(url).await;
        let mut answer = connection.ask("GET", parts(url).1, headers, "").await?;
        let read = std::mem::take(&mut answer.body);
        Some((answer, Self { socket: connection.0, read }))
    }

    /// The next event, without the framing of chunks; none if the connection ended.
    pub(crate) async fn event(&mut self) -> Option<String> {
        loop {
            let text = String::from_utf8_lossy(&self.read);
            if let Some((size, rest)) = text.split_once("\r\n") {
                let size = usize::from_str_radix(size, 16).expect("the size of a chunk");
                if size == 0 {
                    return None;
                }
                if rest.len() >= size + 2 {
                    let event = rest[..size].to_owned();
                    let used = text.len() - rest.len() + size + 2;
                    self.read.drain(..used);
                    return Some(event);
                }
            }
            // A reset is an end like any other.
            if self.socket.read_buf(&mut self.read).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }
}

/// One request on a connection of its own.
pub(crate) async fn ask(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Option<Answer> {
    Connection::to(url).await.ask(method, parts(url).1, headers, body).await
}
