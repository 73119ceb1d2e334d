//! What stands before a server, and fails as networks and servers do.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

/// What becomes of a request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The server gets it.
    None,
    /// The connection is closed.
    Down,
    /// Nothing is ever answered.
    Slow,
    /// This is answered in its place: a status line, and headers if any; and a body.
    Answer(&'static str, &'static str),
}

/// One that passes requests on to a server, or does not.
pub struct Front {
    url: String,
    state: Arc<State>,
}

struct State {
    server: String,
    fault: Mutex<Fault>,
    asked: Mutex<Vec<String>>,
}

impl Front {
    /// Starts one before the server at this URL.
    pub async fn of(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let server = server.trim_start_matches("http://").to_owned();
        let (fault, asked) = (Mutex::new(Fault::None), Mutex::default());
        let state = Arc::new(State { server, fault, asked });
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, shared.clone()));
            }
        });
        Self { url, state }
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on this becomes of requests.
    pub fn fail(&self, fault: Fault) {
        *self.state.fault.lock().unwrap() = fault;
    }

    /// How many requests began so, such as `POST /v1/auth/`.
    pub fn asked(&self, line: &str) -> usize {
        self.state.asked.lock().unwrap().iter().filter(|asked| asked.starts_with(line)).count()
    }
}

/// One connection, on which one request is expected.
async fn serve(mut client: TcpStream, state: Arc<State>) {
    let mut head = vec![0; 16 * 1024];
    let Ok(length) = client.read(&mut head).await else { return };
    let line = head[..length].split(|byte| *byte == b'\r').next().unwrap_or_default();
    state.asked.lock().unwrap().push(String::from_utf8_lossy(line).into_owned());
    let fault = state.fault.lock().unwrap().clone();
    match fault {
        Fault::Down => {}
        Fault::Slow => tokio::time::sleep(Duration::from_secs(60)).await,
        Fault::Answer(status, body) => {
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
            _ = client.write_all(answer.as_bytes()).await;
            _ = client.shutdown().await;
        }
        Fault::None => {
            let Ok(mut server) = TcpStream::connect(&state.server).await else { return };
            if server.write_all(&head[..length]).await.is_ok() {
                _ = copy_bidirectional(&mut client, &mut server).await;
            }
        }
    }
}
