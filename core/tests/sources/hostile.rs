//! An endpoint that sends what nobody asked for, or without an end.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use flate2::{Compression, write::GzEncoder};
use keyswap::{
    Event, KeySwap, Policy,
    source::{Endpoint, Source},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    BOOTSTRAP, DOCUMENT, MATERIAL, failed, fetched,
    sources::server::{answer, serve},
};

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::best());
    out.write_all(plain).unwrap();
    out.finish().unwrap()
}

fn said(head: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 200 OK\r\n{head}content-length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

#[tokio::test]
async fn a_byte_order_mark_and_an_unasked_gzip_are_read() {
    let marked = format!("\u{feff}{DOCUMENT}");
    let encoded = "content-encoding: gzip\r\n";
    for body in [
        said("", marked.as_bytes()),
        said(encoded, &gzip(DOCUMENT.as_bytes())),
        said("", &gzip(marked.as_bytes())),
        // A proxy that unpacked it and forgot to say so.
        said(encoded, DOCUMENT.as_bytes()),
    ] {
        let server = serve([body]).await;
        let set = fetched(server.endpoint().bootstrap(BOOTSTRAP).fetch(None).await);
        assert_eq!(set.primary().unwrap().reveal("key"), Some(MATERIAL));
        assert!(!server.requests()[0].to_ascii_lowercase().contains("accept-encoding"));
    }
}

#[tokio::test]
async fn what_is_compressed_is_bounded_by_what_it_unpacks_to() {
    let bomb = gzip(&vec![b' '; 48 << 20]);
    assert!(bomb.len() < 64 * 1024, "{}", bomb.len());
    let server = serve([said("content-encoding: gzip\r\n", &bomb)]).await;
    let error = failed(&server.endpoint().bootstrap(BOOTSTRAP), None).await;
    assert!(error.to_string().contains("larger than 64 KiB"), "{error}");
}

/// A validator that no server would take back is none, and so no fetch fails for it.
#[tokio::test]
async fn a_validator_without_end_is_not_sent_back() {
    let etag = format!("etag: \"{}\"\r\n", "x".repeat(100_000));
    let server = serve([answer(200, &etag, DOCUMENT)]).await;
    let endpoint = server.endpoint().bootstrap(BOOTSTRAP);
    let set = fetched(endpoint.fetch(None).await);
    fetched(endpoint.fetch(Some(&set)).await);
    assert!(!server.requests()[1].to_ascii_lowercase().contains("if-none-match"));
}

// ---- a flood of hints ----

/// An endpoint whose streams send events as fast as they are read.
async fn flooding() -> (Endpoint, Arc<AtomicU32>, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/sets/eu", listener.local_addr().unwrap());
    let (streams, sent) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicUsize::new(0)));
    let counts = (streams.clone(), sent.clone());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(flood(stream, counts.0.clone(), counts.1.clone()));
        }
    });
    (Endpoint::new(url).unwrap().bootstrap(BOOTSTRAP), streams, sent)
}

async fn flood(mut stream: TcpStream, streams: Arc<AtomicU32>, sent: Arc<AtomicUsize>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    if !String::from_utf8(head).unwrap().contains("/events") {
        let document = DOCUMENT.replacen('{', r#"{"levels": ["events"], "#, 1);
        let _ = stream.write_all(answer(200, "", &document).as_bytes()).await;
        return;
    }
    streams.fetch_add(1, Ordering::Relaxed);
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    let _ = stream.write_all(head).await;
    let events = "event: changed\ndata:{}\n\n".repeat(100);
    while stream.write_all(events.as_bytes()).await.is_ok() {
        sent.fetch_add(events.len(), Ordering::Relaxed);
    }
}

/// What once took gigabytes and stopped the rotation.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_never_stops_talking_is_closed_and_told_and_rotation_goes_on() {
    let (endpoint, streams, sent) = flooding().await;
    let policy = Policy::default()
        .fetch_floor(Duration::from_millis(100))
        .fetch_floor_min(Duration::from_millis(100));
    // The program's own delays reach push: the stream is connected anew once a second and no sooner.
    let steady = || std::iter::repeat(Duration::from_secs(1));
    let keys = KeySwap::follow(endpoint).policy(policy).backoff(steady).start().unwrap();
    let mut events = keys.events();
    keys.ready().await.unwrap();
    let lost = async {
        loop {
            if let Some(Event::PushLost { silent, .. }) = events.next().await {
                break silent;
            }
        }
    };
    let silent = tokio::time::timeout(Duration::from_secs(60), lost).await.expect("it is told");
    assert_eq!(silent, Duration::ZERO);
    let began = std::time::Instant::now();
    keys.refresh().await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    tokio::time::timeout(Duration::from_secs(60), async {
        while streams.load(Ordering::Relaxed) < 3 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("it is connected anew");
    // Buffers of sockets, and no more.
    let (streams, sent) = (streams.load(Ordering::Relaxed), sent.load(Ordering::Relaxed));
    assert!(sent < streams as usize * (16 << 20), "{sent} bytes in {streams} streams");
    let told = std::iter::from_fn(|| events.try_next());
    let told = told.filter(|event| matches!(event, Event::PushLost { .. })).count();
    assert_eq!(told, 0, "told once until a stream works");
}

/// The program's own numbers are those of the endpoint too.
#[tokio::test]
async fn the_policys_time_for_a_fetch_is_the_endpoints_own() {
    let server = serve([crate::sources::server::Answer::Silent]).await;
    let policy = Policy::default().fetch_timeout(Duration::from_millis(200));
    let endpoint = Arc::new(server.endpoint().bootstrap(BOOTSTRAP)) as Arc<dyn Source>;
    let keys = KeySwap::follow(endpoint.clone()).policy(policy).start().unwrap();
    let error = endpoint.fetch(None).await.unwrap_err();
    assert!(error.to_string().contains("did not answer within 200ms"), "{error}");
    drop(keys);
}
