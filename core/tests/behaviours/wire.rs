//! A server that says on the wire exactly what a test wants said, and keeps what it heard.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream, tcp},
    sync::Notify,
};

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Heard {
    pub(crate) line: String,
    /// Names as they were spelled, and values.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) connection: usize,
}

impl Heard {
    /// The first header of this name, however it was spelled.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn path(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }

    /// All but what differs from one send to the next.
    pub(crate) fn but_for(&self, name: &str) -> Self {
        let mut rest = Self { connection: 0, ..self.clone() };
        rest.headers.retain(|(found, _)| !found.eq_ignore_ascii_case(name));
        rest
    }
}

/// What is said, one after another. Then the connection is kept.
pub(crate) enum Piece {
    Say(Vec<u8>),
    /// Again and again, until nobody listens.
    Repeat(&'static [u8], Duration),
    /// Until the test has seen what was said.
    Await(Arc<Notify>),
    /// Until the other side ends the connection.
    Hang,
    End,
}

type Script = dyn Fn(&Heard) -> Vec<Piece> + Send + Sync;

pub(crate) struct Wire {
    pub(crate) url: String,
    heard: Arc<Mutex<Vec<Heard>>>,
    ended: Arc<AtomicUsize>,
    listening: tokio::task::JoinHandle<()>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Wire {
    pub(crate) async fn new(script: impl Fn(&Heard) -> Vec<Piece> + Send + Sync + 'static) -> Self {
        Self::at("127.0.0.1:0", script).await
    }

    pub(crate) async fn at(
        address: &str,
        script: impl Fn(&Heard) -> Vec<Piece> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (heard, ended, script) = (Arc::default(), Arc::default(), Arc::new(script));
        let shared: (Arc<Mutex<Vec<Heard>>>, Arc<AtomicUsize>) =
            (Arc::clone(&heard), Arc::clone(&ended));
        let listening = tokio::spawn(async move {
            let (heard, ended) = shared;
            for connection in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (heard, ended, script) = (heard.clone(), ended.clone(), script.clone());
                tokio::spawn(async move {
                    serve(stream, connection, &heard, &*script).await;
                    ended.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Self { url, heard, ended, listening }
    }

    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    /// Waits until so many connections have ended.
    pub(crate) async fn ended(&self, count: usize) {
        let came = async {
            while self.ended.load(Ordering::SeqCst) < count {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let what = "a connection was not given up";
        tokio::time::timeout(Duration::from_secs(5), came).await.expect(what);
    }
}

/// An answer with its length.
pub(crate) fn answer(status: u16, headers: &str, body: &[u8]) -> Vec<Piece> {
    let head = format!("HTTP/1.1 {status} Said\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
    vec![Piece::Say([head.as_bytes(), body].concat())]
}

async fn serve(stream: TcpStream, connection: usize, heard: &Mutex<Vec<Heard>>, script: &Script) {
    let (reading, mut writing) = stream.into_split();
    let mut reader = BufReader::new(reading);
    while let Some(asked) = read(&mut reader, connection).await {
        heard.lock().unwrap().push(asked.clone());
        for piece in script(&asked) {
            match piece {
                Piece::Say(bytes) => {
                    if writing.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
                Piece::Repeat(bytes, pause) => {
                    while writing.write_all(bytes).await.is_ok() {
                        tokio::time::sleep(pause).await;
                    }
                    return;
                }
                Piece::Await(seen) => seen.notified().await,
                Piece::Hang => {
                    let _ = reader.read(&mut [0]).await;
                    return;
                }
                Piece::End => return,
            }
        }
    }
}

async fn read(reader: &mut BufReader<tcp::OwnedReadHalf>, connection: usize) -> Option<Heard> {
    let line = read_line(reader).await.filter(|line| !line.is_empty())?;
    let mut headers = Vec::new();
    while let Some((name, value)) = read_line(reader).await?.split_once(':') {
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let mut heard = Heard { line, headers, body: Vec::new(), connection };
    if heard.header("transfer-encoding") == Some("chunked") {
        loop {
            let size = usize::from_str_radix(&read_line(reader).await?, 16).ok()?;
            heard.body.extend(read_exactly(reader, size).await?);
            read_line(reader).await?;
            if size == 0 {
                return Some(heard);
            }
        }
    }
    let length = heard.header("content-length").and_then(|length| length.parse().ok());
    heard.body = read_exactly(reader, length.unwrap_or(0)).await?;
    Some(heard)
}

async fn read_line(reader: &mut BufReader<tcp::OwnedReadHalf>) -> Option<String> {
    let mut line = String::new();
    let read = reader.read_line(&mut line).await.ok()?;
    (read > 0).then(|| line.trim_end().to_owned())
}

async fn read_exactly(reader: &mut BufReader<tcp::OwnedReadHalf>, size: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; size];
    reader.read_exact(&mut bytes).await.ok()?;
    Some(bytes)
}
