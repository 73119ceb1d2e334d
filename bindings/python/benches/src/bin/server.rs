//! Answers every request at once with 200 bytes, on a free port of this machine, until stdin is closed.
//! It prints its port.

#![allow(clippy::print_stdout, reason = "this is how a program tells its parent")]

use std::io;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 200\r\n\r\n";

fn main() -> io::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?.port());
        let mut stdin = tokio::io::stdin();
        let mut nothing = [0; 16];
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let (stream, _) = accepted?;
                    stream.set_nodelay(true)?;
                    tokio::spawn(serve(stream));
                }
                read = stdin.read(&mut nothing) => if read? == 0 { return Ok(()) },
            }
        }
    })
}

/// Only requests without a body come here, one after another.
async fn serve(mut stream: TcpStream) -> io::Result<()> {
    let answer = [HEAD, &[b'x'; 200]].concat();
    let mut seen = Vec::with_capacity(4096);
    while stream.read_buf(&mut seen).await? > 0 {
        if seen.ends_with(b"\r\n\r\n") {
            seen.clear();
            stream.write_all(&answer).await?;
        }
    }
    Ok(())
}
