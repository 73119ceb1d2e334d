//! The middleware and the layer on real sockets: what is theirs alone. That they get requests through
//! rotations as the client does, the stories show.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::{
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client as Hyper, rt::TokioExecutor};
use keyswap::{
    Authorizer, Classifier, Endpoint, ErrorKind, KeySwap, Patch, ResponseFilter, ResponseView,
    Scheme, Sign, Unsigned, Verdict,
    integrations::{Once, RequireScopes, reqwest_middleware as keyed, tower::AuthorizeLayer},
};
use keyswap_endpoint::server::{Endpoint as Embedded, Running};
use reqwest_middleware::ClientWithMiddleware;
use tower_layer::Layer;
use tower_service::Service;

struct Rig {
    running: Running,
    keys: KeySwap,
}

impl Rig {
    async fn new() -> Self {
        let running = Embedded::start(serde_json::from_str("{}").unwrap()).await.unwrap();
        let endpoint =
            Endpoint::new(running.set_url()).unwrap().bootstrap(running.bootstrap().as_str());
        let policy = r#"{"fetch_floor": 0.02, "fetch_floor_min": 0.02, "rotation_pause": 0.02}"#;
        let policy = serde_json::from_str(policy).unwrap();
        let keys = KeySwap::follow(endpoint).policy(policy).await.unwrap();
        Self { running, keys }
    }

    fn authorizer(&self, scheme: Scheme) -> Authorizer {
        let builder = Authorizer::builder(&self.keys).scheme(scheme).classifier(CodeInBody);
        builder.allow_origin(self.running.api_url()).unwrap().build().unwrap()
    }

    fn middleware(&self, scheme: Scheme) -> ClientWithMiddleware {
        keyed::client(&self.authorizer(scheme), keyed::http().unwrap()).unwrap().build()
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.running.api_url())
    }

    fn step(&self, step: &str) {
        self.running.apply(&serde_json::from_str(step).unwrap()).unwrap();
    }

    fn count(&self, name: &str) -> u64 {
        self.running.counters().get(name).copied().unwrap_or(0)
    }

    fn key(&self) -> String {
        self.keys.current().unwrap().reveal("key").unwrap().to_owned()
    }
}

/// 401 is a rejection, and so is a 200 with `bad_key` in its body.
#[derive(Debug)]
struct CodeInBody;

impl Classifier for CodeInBody {
    fn classify(&self, response: &ResponseView<'_>) -> Verdict {
        match (response.status().as_u16(), response.body()) {
            (200, None) => Verdict::NeedBody,
            (200, Some(body)) if String::from_utf8_lossy(body).contains("bad_key") => {
                Verdict::Rejected
            }
            (200, Some(_)) => Verdict::Accepted,
            (401, _) => Verdict::Rejected,
            _ => Verdict::Other,
        }
    }

    fn response_filter(&self) -> ResponseFilter {
        ResponseFilter::new([200, 401]).with_body_limit(64)
    }
}

fn schemes() -> [Scheme; 3] {
    [Scheme::header("x-api-key"), Scheme::bearer(), Scheme::query("api_key")]
}

// ---- the middleware ----

#[tokio::test]
async fn middleware_a_redirect_to_another_origin_carries_nothing() {
    for scheme in schemes() {
        let rig = Rig::new().await;
        let api = rig.middleware(scheme);
        let away = api.get(rig.url("/redirect")).send().await.unwrap();
        assert!(away.url().as_str().starts_with(rig.running.other_url()), "it was followed");
        assert_eq!(rig.count("leaks"), 0);
        let here = api.get(rig.url("/redirect-here?a=1")).send().await.unwrap();
        assert_eq!(here.status(), 200, "the key goes along here");
        assert_eq!((here.url().path(), here.url().query()), ("/v1/landed", None));
        let unread = api.get(rig.url("/always-403")).send().await.unwrap();
        assert_eq!((unread.status().as_u16(), unread.url().query()), (403, None));
        let elsewhere = api.get(rig.running.other_url()).send().await.unwrap();
        assert_eq!((elsewhere.status().is_success(), rig.count("leaks")), (true, 0));
    }
}

#[tokio::test]
async fn middleware_a_body_that_was_looked_into_is_whole() {
    let rig = Rig::new().await;
    let api = rig.middleware(Scheme::query("api_key"));
    rig.step(r#"{"do": "api", "fault": "bad_key_in_body"}"#);
    rig.step(r#"{"do": "cut"}"#);
    let response = api.post(rig.url("/v1/orders")).body("order").send().await.unwrap();
    assert_eq!(response.url().query(), None);
    assert!(response.remote_addr().is_some(), "what reqwest noted is still there");
    let body = response.text().await.unwrap();
    assert!(body.starts_with('{') && body.contains("k2") && body.ends_with('}'), "{body}");
    assert_eq!(rig.keys.current().unwrap().id(), "k2");
}

#[tokio::test]
async fn middleware_a_stream_is_sent_once() {
    let rig = Rig::new().await;
    let api = rig.middleware(Scheme::bearer());
    rig.step(r#"{"do": "cut"}"#);
    let body = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"order"))]);
    let order = api.post(rig.url("/v1/orders")).body(reqwest::Body::wrap_stream(body));
    assert_eq!(order.send().await.unwrap().status(), 401);
    assert_eq!(rig.count("api.sends"), 1);
}

#[tokio::test]
async fn middleware_an_error_does_not_name_the_key() {
    let rig = Rig::new().await;
    let api = rig.middleware(Scheme::query("api_key"));
    rig.step(r#"{"do": "api", "fault": "outage"}"#);
    let error = api.get(rig.url("/v1/price?a=1")).send().await.unwrap_err();
    assert_eq!(error.url().unwrap().query(), Some("a=1"));
    assert!(!format!("{error} {error:?}").contains(&rig.key()), "{error:?}");
    let scopes = RequireScopes::new(["trade"]);
    let refused = api.get(rig.url("/v1/price")).with_extension(scopes).send().await.unwrap_err();
    let reqwest_middleware::Error::Middleware(refused) = refused else { panic!("{refused}") };
    let refused: &keyswap::Error = refused.downcast_ref().unwrap();
    assert_eq!(refused.kind(), ErrorKind::MissingScope);
}

#[tokio::test]
async fn middleware_a_timeout_holds_for_all_sends_together() {
    let rig = Rig::new().await;
    let api = rig.middleware(Scheme::bearer());
    rig.step(r#"{"do": "cut"}"#);
    rig.step(r#"{"do": "api", "fault": "slow", "ms": 150}"#);
    // Enough for the send that is rejected, and not for the next one, too.
    let patience = std::time::Duration::from_millis(250);
    let error = api.get(rig.url("/v1/price")).timeout(patience).send().await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert_eq!(rig.count("api.sends"), 2);
}

#[tokio::test]
async fn middleware_what_was_answered_is_never_sent_again() {
    let rig = Rig::new().await;
    let api = rig.middleware(Scheme::bearer());
    for to in ["always-401/x", "closed"] {
        let paths = [301, 302, 303, 307, 308].map(|status| format!("/redirect/{status}/{to}"));
        let orders = paths.iter().map(|path| api.post(rig.url(path)).body("buy").send());
        for (path, outcome) in paths.iter().zip(futures_util::future::join_all(orders).await) {
            assert_eq!(outcome.is_err(), to == "closed", "{path}");
            assert_eq!(rig.count(&format!("api.path.{path}")), 1, "{path}");
            let shown = outcome.map_err(|error| format!("{error} {error:?}"));
            assert!(shown.err().is_none_or(|shown| !shown.contains("landed")), "only the origin");
        }
    }
}

#[tokio::test]
async fn middleware_a_key_that_comes_back_in_a_redirect_is_neither_sent_nor_shown() {
    let rig = Rig::new().await;
    let api = rig.middleware(Scheme::query("api_key"));
    let answer = api.get(rig.url("/redirect/302/login")).send().await.unwrap();
    let location = answer.headers()["location"].to_str().unwrap();
    assert_eq!((answer.status().as_u16(), rig.count("leaks")), (302, 0));
    assert_eq!(location, format!("{}/***", rig.running.other_url()));
}

#[tokio::test]
async fn middleware_a_header_of_the_callers_own_is_an_error_or_wins() {
    let rig = Rig::new().await;
    let api = rig.middleware(Scheme::header("x-api-key"));
    let mixed = api.get(rig.url("/v1/price")).header("x-api-key", "mine").send().await;
    let reqwest_middleware::Error::Middleware(error) = mixed.unwrap_err() else { panic!() };
    assert_eq!(error.downcast_ref::<keyswap::Error>().unwrap().kind(), ErrorKind::InvalidConfig);
    let authorizer = Authorizer::builder(&rig.keys)
        .scheme(Scheme::header("x-api-key"))
        .own_header_wins()
        .allow_origin(rig.running.api_url())
        .unwrap()
        .build()
        .unwrap();
    let api = keyed::client(&authorizer, keyed::http().unwrap()).unwrap().build();
    let own = |path: &str| api.get(rig.url(path)).header("x-api-key", rig.key());
    assert_eq!(own("/redirect").send().await.unwrap().status(), 200);
    // One to an origin that is not allowed takes the caller's header there, and no further.
    let elsewhere = api.get(rig.running.other_url()).header("x-api-key", "mine").send().await;
    assert!(elsewhere.unwrap().status().is_success());
    assert_eq!(rig.count("leaks"), 1);
    let wrong = api.get(rig.url("/v1/price")).header("x-api-key", "mine").send().await.unwrap();
    assert_eq!((wrong.status().as_u16(), rig.keys.stats().counts.rejections), (401, 0));
}

#[tokio::test]
async fn middleware_a_request_can_be_sent_once() {
    let rig = Rig::new().await;
    let api = rig.middleware(Scheme::bearer());
    rig.step(r#"{"do": "cut"}"#);
    let once = api.get(rig.url("/v1/price")).with_extension(Once).send().await.unwrap();
    assert_eq!((once.status().as_u16(), rig.count("api.sends")), (401, 1));
}

#[tokio::test]
async fn middleware_what_is_for_this_machine_reaches_no_other_and_no_proxy() {
    let rig = Rig::new().await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let by_name = rig.running.api_url().replace("127.0.0.1", "localhost");
    let authorizer = Authorizer::builder(&rig.keys).scheme(Scheme::bearer());
    let authorizer = authorizer.allow_origin(&by_name).unwrap().build().unwrap();
    let proxy = reqwest::Proxy::all(format!("http://{nobody}")).unwrap();
    let http = keyed::http().unwrap().proxy(proxy).resolve("localhost", nobody);
    let api = keyed::client(&authorizer, http).unwrap().build();
    assert_eq!(api.get(format!("{by_name}/v1/price")).send().await.unwrap().status(), 200);
}

// ---- the layer ----

type Sent = Arc<Mutex<Vec<Request<Full<Bytes>>>>>;

/// Keeps what it is sent, and answers with a status and a Location.
#[derive(Clone)]
struct Recorder {
    sent: Sent,
    status: u16,
    location: &'static str,
}

impl Recorder {
    fn new(status: u16, location: &'static str) -> Self {
        Self { sent: Sent::default(), status, location }
    }
}

impl Service<Request<Full<Bytes>>> for Recorder {
    type Response = Response<Full<Bytes>>;
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        self.sent.lock().unwrap().push(request);
        let response = Response::builder().status(self.status).header("location", self.location);
        std::future::ready(Ok(response.body(Full::default()).unwrap()))
    }
}

fn get(uri: &str) -> Request<Full<Bytes>> {
    Request::get(uri).body(Full::default()).unwrap()
}

#[tokio::test]
async fn layer_over_hyper_a_cut_is_not_noticed_and_a_peeked_body_is_whole() {
    for scheme in schemes() {
        let rig = Rig::new().await;
        let http = Hyper::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
        let mut api = AuthorizeLayer::new(&rig.authorizer(scheme)).layer(http);
        rig.step(r#"{"do": "api", "fault": "bad_key_in_body"}"#);
        rig.step(r#"{"do": "cut"}"#);
        let response = api.call(get(&rig.url("/v1/price?a=1"))).await.unwrap();
        assert_eq!(response.status(), 200);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert!(body.starts_with(b"{") && body.ends_with(b"}"), "{body:?}");
        assert_eq!(rig.keys.current().unwrap().id(), "k2");
    }
}

#[tokio::test]
async fn layer_other_origins_get_nothing() {
    for scheme in schemes() {
        let rig = Rig::new().await;
        let recorder = Recorder::new(200, "");
        let mut api = AuthorizeLayer::new(&rig.authorizer(scheme)).layer(recorder.clone());
        for uri in ["https://elsewhere.example.com/?a=1", &rig.url("/v1/price?a=1")] {
            api.call(get(uri)).await.unwrap();
        }
        let sent = recorder.sent.lock().unwrap();
        assert!(!format!("{:?}", *sent).contains("Bearer"), "headers are marked as sensitive");
        let key = rig.key();
        let carries = |request: &Request<_>| {
            let headers = request.headers().values();
            let mut texts = headers.map(|value| value.to_str().unwrap().to_owned());
            texts.any(|text| text.contains(&key)) || request.uri().to_string().contains(&key)
        };
        assert_eq!(sent.iter().map(carries).collect::<Vec<_>>(), [false, true]);
    }
}

#[tokio::test]
async fn layer_a_key_that_a_server_copied_into_a_redirect_is_taken_out() {
    let rig = Rig::new().await;
    let recorder = Recorder::new(302, "https://elsewhere.example.com/?a=1&api_key=copied");
    let layer = AuthorizeLayer::new(&rig.authorizer(Scheme::query("api_key")));
    let response = layer.layer(recorder).call(get(&rig.url("/v1/price"))).await.unwrap();
    assert_eq!(response.headers()["location"], "https://elsewhere.example.com/?a=1");
}

#[tokio::test]
async fn layer_a_location_that_quotes_the_key_is_masked() {
    let rig = Rig::new().await;
    let quoting = format!("https://elsewhere.example.com/?next=%2F%3Fk%3D{}", rig.key());
    let recorder = Recorder::new(302, Box::leak(quoting.into_boxed_str()));
    let layer = AuthorizeLayer::new(&rig.authorizer(Scheme::query("api_key")));
    let response = layer.layer(recorder).call(get(&rig.url("/v1/price"))).await.unwrap();
    assert_eq!(response.headers()["location"], "https://elsewhere.example.com/***");
}

#[tokio::test]
async fn layer_a_header_of_the_callers_own_is_an_error_and_once_is_once() {
    let rig = Rig::new().await;
    let recorder = Recorder::new(401, "");
    let mut api = AuthorizeLayer::new(&rig.authorizer(Scheme::bearer())).layer(recorder.clone());
    let mut mixed = get(&rig.url("/v1/price"));
    mixed.headers_mut().insert("authorization", "Bearer mine".parse().unwrap());
    let error = api.call(mixed).await.unwrap_err();
    let error: &keyswap::Error = error.downcast_ref().unwrap();
    assert_eq!((error.kind(), recorder.sent.lock().unwrap().len()), (ErrorKind::InvalidConfig, 0));
    let mut once = get(&rig.url("/v1/price"));
    once.extensions_mut().insert(Once);
    let response = api.call(once).await.unwrap();
    assert_eq!((response.status().as_u16(), recorder.sent.lock().unwrap().len()), (401, 1));
}

#[tokio::test]
async fn layer_a_path_alone_needs_a_base_and_is_sent_as_a_path() {
    let rig = Rig::new().await;
    let recorder = Recorder::new(200, "");
    let layer = AuthorizeLayer::new(&rig.authorizer(Scheme::query("api_key")));
    let error = layer.layer(recorder.clone()).call(get("/v1/price")).await.unwrap_err();
    let error: &keyswap::Error = error.downcast_ref().unwrap();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    let layer = layer.base_url(rig.running.api_url()).unwrap();
    layer.layer(recorder.clone()).call(get("/v1/price?a=1")).await.unwrap();
    let sent = recorder.sent.lock().unwrap()[0].uri().to_string();
    assert_eq!(sent, format!("/v1/price?a=1&api_key={}", rig.key()));
}

#[tokio::test]
async fn layer_what_cannot_be_replayed_is_sent_once() {
    let rig = Rig::new().await;
    let recorder = Recorder::new(401, "");
    let authorizer = rig.authorizer(Scheme::bearer());
    let layer = AuthorizeLayer::replaying(&authorizer, |_: &Full<Bytes>| None);
    let response = layer.layer(recorder.clone()).call(get(&rig.url("/v1/orders"))).await.unwrap();
    assert_eq!((response.status().as_u16(), recorder.sent.lock().unwrap().len()), (401, 1));
}

#[tokio::test]
async fn layer_a_signature_covers_the_path_and_the_bytes_that_are_sent() {
    #[derive(Debug)]
    struct Naming;
    impl Sign for Naming {
        fn sign(
            &self,
            credential: &keyswap::Credential,
            request: &Unsigned<'_>,
            patch: &mut Patch,
        ) -> Result<(), keyswap::Error> {
            let body = request.body.map(String::from_utf8_lossy);
            let signed = format!("{} {body:?}", request.url.path());
            patch.add_header(http::HeaderName::from_static("x-signature"), &signed, credential)
        }
    }
    let rig = Rig::new().await;
    let recorder = Recorder::new(200, "");
    let layer = AuthorizeLayer::new(&rig.authorizer(Scheme::signing(Naming)))
        .signed_bytes(|_: &Full<Bytes>| Some(Bytes::from_static(b"order")));
    layer.layer(recorder.clone()).call(get(&rig.url("/v1/../v2/orders"))).await.unwrap();
    let sent = recorder.sent.lock().unwrap();
    assert_eq!(sent[0].uri().path(), "/v2/orders");
    assert_eq!(sent[0].headers()["x-signature"], "/v2/orders Some(\"order\")");
}

#[tokio::test]
async fn no_type_of_theirs_prints_material() {
    let rig = Rig::new().await;
    let layer = AuthorizeLayer::new(&rig.authorizer(Scheme::query("api_key")));
    let mut service = layer.layer(Recorder::new(200, ""));
    let shown = format!("{layer:?} {service:?} {:?}", RequireScopes::new(["read"]));
    let response = service.call(get(&rig.url("/v1/price"))).await.unwrap();
    let shown = format!("{shown} {response:?}");
    assert!(shown.contains("AuthorizeLayer") && !shown.contains(&rig.key()), "{shown}");
}
