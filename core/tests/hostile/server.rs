//! A server that answers with bytes, and does not care what HTTP says about them.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Bytes at a time, of what is said as fast as can be.
const BATCH: usize = 64 * 1024;
/// The most that one server says: more than a client may hold by far.
const MOST: u64 = 1024 * 1024 * 1024;

/// What is said on one connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    head: Vec<u8>,
    piece: Vec<u8>,
    times: u64,
    pause: Duration,
    is_held: bool,
}

impl Script {
    /// This, and then the connection is closed.
    pub(crate) fn says(head: impl Into<Vec<u8>>) -> Self {
        Self { head: head.into(), ..Self::default() }
    }

    /// Then this so often.
    pub(crate) fn then(self, piece: impl Into<Vec<u8>>, times: u64) -> Self {
        Self { piece: piece.into(), times, ..self }
    }

    /// Then this for as long as the client takes it.
    pub(crate) fn endless(self, piece: impl Into<Vec<u8>>) -> Self {
        self.then(piece, u64::MAX)
    }

    /// As slowly as this.
    pub(crate) fn each(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    /// The connection stays open at the end.
    pub(crate) fn held(self) -> Self {
        Self { is_held: true, ..self }
    }

    pub(crate) async fn play(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        taken: &AtomicU64,
    ) -> io::Result<()> {
        stream.write_all(&self.head).await?;
        taken.fetch_add(self.head.len() as u64, Relaxed);
        // Small pieces go together, some megabytes a second: this must cost the client, not the machine.
        let (batch, pause) = match self.pause.is_zero() {
            true => ((BATCH / self.piece.len().max(1)).max(1) as u64, Duration::from_millis(2)),
            false => (1, self.pause),
        };
        let mut said = 0;
        while said < self.times && taken.load(Relaxed) < MOST {
            let count = batch.min(self.times - said);
            let bytes = self.piece.repeat(count as usize);
            stream.write_all(&bytes).await?;
            taken.fetch_add(bytes.len() as u64, Relaxed);
            said += count;
            tokio::time::sleep(pause).await;
        }
        if self.is_held {
            std::future::pending::<()>().await;
        }
        // Closing before the client has read would reset the connection, which is another attack.
        stream.shutdown().await?;
        stream.read_to_end(&mut Vec::new()).await.map(drop)
    }
}

/// Which script a request gets: by the number of its connection, and the head of the request.
type Choice = Box<dyn Fn(usize, &str) -> Script + Send + Sync>;

/// A running server. It ends with the runtime of its test.
pub(crate) struct Server {
    pub(crate) origin: String,
    taken: Arc<AtomicU64>,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(crate) async fn start(
        choose: impl Fn(usize, &str) -> Script + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let (taken, heads) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (counted, seen) = (taken.clone(), heads.clone());
        let choose: Arc<Choice> = Arc::new(Box::new(choose));
        tokio::spawn(async move {
            let connections = AtomicUsize::new(0);
            while let Ok((mut stream, _)) = listener.accept().await {
                let nth = connections.fetch_add(1, Relaxed);
                let (counted, seen, choose) = (counted.clone(), seen.clone(), choose.clone());
                tokio::spawn(async move {
                    let head = read_head(&mut stream).await;
                    let script = choose(nth, &head);
                    seen.lock().unwrap().push(head);
                    // A client that stops reading is right to.
                    let _ = script.play(&mut stream, &counted).await;
                });
            }
        });
        Self { origin, taken, heads }
    }

    /// How many bytes the client, or the system on its behalf, has taken from it.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Relaxed)
    }

    /// The heads of all requests.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}
