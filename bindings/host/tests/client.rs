//! The client, with what a program brings in its own language.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use keyswap_host::{
    Answer, Body, Client, Error, ErrorKind, Foreign, ForeignClassifier, ForeignFunction,
    ForeignSign, Function, Judged, Keys, Pending, Place, Reply, Request, RequestBody, Signature,
    Source, UnsignedRequest, Verdict,
    options::{AuthorizerOptions, ClientOptions, KeySwapOptions, from_json},
};
use tokio::runtime::Handle;

const TWO: &str =
    r#"{"current": {"id": "k2", "key": "newer"}, "previous": [{"id": "k1", "key": "older"}]}"#;

struct Fixed;

impl ForeignFunction for Fixed {
    fn begin(&self, answer: Answer) -> Result<Pending, Error> {
        answer.settle(Ok(TWO.into()));
        Ok(Box::new(()))
    }
}

async fn keys() -> Keys {
    let source = Source::function(Function::new(Arc::new(Fixed)));
    let place = Place::on(Handle::current());
    let keys = Keys::follow(&source, &KeySwapOptions::default(), place).expect("a handle");
    keys.ready(Some(5.0)).await.expect("a set");
    keys
}

/// A server that answers each request, read to the end of its head and of a body of so many bytes, with what the function
/// says.
fn serve(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            thread::spawn(move || talk(stream, &*answer));
        }
    });
    url
}

fn talk(mut stream: TcpStream, answer: &dyn Fn(&str) -> String) {
    let mut seen = Vec::new();
    let mut part = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&seen).into_owned();
        if text.contains("\r\n\r\n") && (!text.contains("chunked") || text.ends_with("0\r\n\r\n")) {
            let _ = stream.write_all(answer(&text).as_bytes());
            seen.clear();
        }
        match stream.read(&mut part) {
            Ok(read) if read > 0 => seen.extend_from_slice(&part[..read]),
            _ => return,
        }
    }
}

fn response(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn client(keys: &Keys, url: &str, authorizer: &str, foreign: &Foreign) -> Client {
    let authorizer: AuthorizerOptions = from_json(authorizer).expect("options");
    let mut options: ClientOptions =
        from_json(r#"{"headers": [["x-default", "1"]], "retries": 0}"#).expect("options");
    options.base_url = Some(url.to_owned());
    let named = [("other".to_owned(), keys.clone())];
    Client::new(keys, &authorizer, &options, &named, foreign).expect("a client")
}

fn a(method: &str, url: &str) -> Request {
    Request { method: method.into(), url: url.into(), ..Request::default() }
}

async fn text(client: &Client, request: Request) -> (u16, String) {
    let reply: Reply = client.send(request).expect("a request").await.expect("a reply");
    let rest = reply.rest().await.expect("a body");
    (reply.status(), String::from_utf8_lossy(&rest).into_owned())
}

struct Judges;

impl ForeignClassifier for Judges {
    fn judge(&self, response: Judged) -> Option<Verdict> {
        assert_eq!(response.status, 200);
        assert!(response.headers.iter().any(|(name, _)| name == "content-length"));
        match response.body.as_deref() {
            None => Some(Verdict::NeedBody),
            Some(b"bad") => Some(Verdict::Rejected),
            _ => None,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_classifier_is_asked_beside_the_runtime() {
    let url =
        serve(|seen| response(200, if seen.contains("x-api-key: newer") { "bad" } else { "good" }));
    let keys = keys().await;
    let foreign = Foreign { sign: None, classifier: Some(Arc::new(Judges)) };
    let json = r#"{"scheme": {"kind": "header", "name": "x-api-key"}, "classifier": {"statuses": [200], "body_limit": 9}}"#;
    let client = client(&keys, &url, json, &foreign);
    assert_eq!(text(&client, a("GET", "/")).await, (200, "good".to_owned()));
}

struct Signs(Mutex<Vec<UnsignedRequest>>);

impl ForeignSign for Signs {
    fn sign(
        &self,
        _: Arc<keyswap::Credential>,
        request: UnsignedRequest,
    ) -> Result<Signature, Error> {
        self.0.lock().expect("a lock").push(request);
        Ok(Signature {
            headers: vec![("x-sign".into(), "s".into())],
            query: vec![("q".into(), "s".into())],
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_says_all_that_it_may() {
    let url = serve(|seen| response(200, seen));
    let signs = Arc::new(Signs(Mutex::default()));
    let foreign = Foreign { sign: Some(signs.clone()), classifier: None };
    let client = client(&keys().await, &url, "{}", &foreign);
    let request = Request {
        query: vec![("a".into(), "b c".into())],
        headers: vec![("X-Own".into(), "2".into())],
        body: RequestBody::Whole("body".into()),
        keys: Some("other".into()),
        timeout: Some(5.0),
        ..a("POST", "/path")
    };
    let (_, seen) = text(&client, request).await;
    for part in ["POST /path?a=b+c&q=s HTTP/1.1", "x-own: 2", "x-default: 1", "x-sign: s"] {
        assert!(seen.contains(part), "{part}: {seen}");
    }
    let signed = signs.0.lock().expect("a lock").remove(0);
    assert_eq!(
        (signed.body.as_deref(), &*signed.url),
        (Some(&b"body"[..]), &*format!("{url}/path?a=b+c"))
    );
    let odd = Request { timeout: Some(-1.0), ..a("GET", "/") };
    assert_eq!(client.send(odd).err().map(|error| error.kind()), Some(ErrorKind::InvalidConfig));
    let nobody = Request { keys: Some("nobody".into()), ..a("GET", "/") };
    assert!(client.send(nobody).expect("a request").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_is_no_whole_one() {
    let url = serve(|seen| response(200, seen));
    let client = client(&keys().await, &url, r#"{"scheme": {}}"#, &Foreign::default());
    for is_whole in [true, false] {
        let body = Body::new();
        let request = Request { body: RequestBody::Stream(body.clone()), ..a("PUT", "/") };
        let sending = tokio::spawn(client.send(request).expect("a request"));
        assert!(body.send("part".into()).await, "it is wanted");
        body.close(is_whole);
        body.close(true);
        assert!(!body.send("late".into()).await, "it has ended");
        assert_eq!(sending.await.expect("no panic").is_ok(), is_whole);
        let again = Request { body: RequestBody::Stream(body), ..a("PUT", "/") };
        assert!(client.send(again).is_err(), "a stream is sent once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_is_read_in_parts_that_may_take_so_long() {
    let url = serve(|_| "HTTP/1.1 404 x\r\ncontent-length: 10\r\n\r\nhalf".to_owned());
    let client = client(&keys().await, &url, r#"{"scheme": {}}"#, &Foreign::default());
    let slow = || Request { timeout: Some(0.2), ..a("GET", "/") };
    let reply = client.send(slow()).expect("a request").await.expect("a reply");
    assert_eq!(reply.error().map(Error::status), Some(Some(404)));
    assert!(reply.cause().is_none() && reply.url().starts_with(&url));
    assert_eq!(reply.next().await.expect("a part").as_deref(), Some(&b"half"[..]));
    let error = reply.next().await.expect_err("it hangs");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(error.to_string(), "no more of the response's body came within 0.2 s");
    assert!(reply.next().await.expect("it was given up").is_none());
    let other = client.send(slow()).expect("a request").await.expect("a reply");
    other.close();
    assert!(other.rest().await.expect("nothing is left").is_empty());
}
