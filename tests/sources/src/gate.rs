//! What can go wrong between a program and a store: a gate that passes everything on, until it is told otherwise.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// What a gate does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    /// It passes on.
    Passes,
    /// It ends each connection at once, as a server that is down.
    Ends,
    /// It takes each request and says nothing.
    IsSilent,
    /// It answers 200 with JSON that ends too early.
    AnswersGarbage,
    /// It answers 429 with this `Retry-After`, in seconds.
    Throttles(u32),
    /// It answers with this status and no body.
    Answers(u16),
}

/// A gate in front of a server that speaks HTTP/1.1. Connections that are open end when it is told something else.
pub struct Gate {
    url: String,
    does: watch::Sender<Does>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Gate {
    /// One in front of the server at this port of this machine.
    pub async fn before(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let does = watch::Sender::new(Does::Passes);
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let (told, lines) = (does.clone(), asked.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (mut changed, lines) = (told.subscribe(), lines.clone());
                let does = *changed.borrow_and_update();
                tokio::spawn(async move {
                    tokio::select! {
                        _ = changed.changed() => {}
                        _ = serve(stream, does, port, lines) => {}
                    }
                });
            }
        });
        Self { url, does, asked }
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it does from now on.
    pub fn now(&self, does: Does) {
        self.does.send_replace(does);
    }

    /// The first line of each connection's first request, since the last time.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

async fn serve(
    mut stream: TcpStream,
    does: Does,
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
) -> std::io::Result<()> {
    if does == Does::Ends {
        return Ok(());
    }
    let mut begin = vec![0; 16 * 1024];
    let mut length = 0;
    while !begin[..length].windows(4).any(|it| it == b"\r\n\r\n") {
        match stream.read(&mut begin[length..]).await? {
            0 => return Ok(()),
            read => length += read,
        }
    }
    begin.truncate(length);
    let line = String::from_utf8_lossy(&begin).lines().next().unwrap_or_default().to_owned();
    asked.lock().unwrap().push(line);
    let answer = match does {
        Does::Passes | Does::Ends => {
            let mut server = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).await?;
            server.set_nodelay(true)?;
            stream.set_nodelay(true)?;
            server.write_all(&begin).await?;
            copy_bidirectional(&mut stream, &mut server).await?;
            return Ok(());
        }
        Does::IsSilent => return std::future::pending().await,
        Does::AnswersGarbage => answer("200 OK", "", "{\"a\": [1"),
        Does::Throttles(seconds) => {
            answer("429 Too Many Requests", &format!("retry-after: {seconds}\r\n"), "{}")
        }
        Does::Answers(status) => answer(&format!("{status} As told"), "", ""),
    };
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    // Until the other side has read it: what is left unread when a socket is closed takes the answer along.
    while stream.read(&mut [0; 1024]).await? > 0 {}
    Ok(())
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}
