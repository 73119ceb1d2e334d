//! Each library with keyswap, and alone, behind the same few methods.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Method};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use hyper_util::{
    client::legacy::{Client as Hyper, connect::HttpConnector},
    rt::TokioExecutor,
};
use keyswap::{
    Authorizer, Classifier, KeySwap, ResponseFilter, ResponseView, Scheme, Verdict,
    integrations::{
        reqwest_middleware as keyed,
        tower::{Authorize, AuthorizeLayer},
    },
};
use reqwest_middleware::ClientWithMiddleware;
use tower_layer::Layer;
use tower_service::Service;

/// As an API spells it.
pub(crate) const NAME: &str = "X-MEXC-APIKEY";

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Adapter {
    /// This crate's own client, which sends with reqwest.
    Reqwest,
    Middleware,
    /// The layer, around hyper's client.
    Tower,
}

pub(crate) const EVERY: [Adapter; 3] = [Adapter::Reqwest, Adapter::Middleware, Adapter::Tower];

/// What a program sets beside the keys.
#[derive(Clone, Copy, Default)]
pub(crate) struct Settings {
    pub(crate) classifies: bool,
    pub(crate) title_case: bool,
    pub(crate) plain_http: bool,
}

type HyperClient = Hyper<HttpConnector, reqwest::Body>;

#[derive(Clone)]
pub(crate) enum Http {
    Own(keyswap::Client),
    Reqwest(reqwest::Client),
    Middleware(ClientWithMiddleware),
    Keyed(Authorize<HyperClient, reqwest::Body>),
    Hyper(HyperClient),
}

impl Adapter {
    /// As the page of behaviours calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Reqwest => "reqwest",
            Self::Middleware => "reqwest-middleware",
            Self::Tower => "tower",
        }
    }

    pub(crate) fn keyed(self, keys: &KeySwap, origin: &str, settings: Settings) -> Http {
        let scheme = Scheme::header(NAME);
        if self == Self::Reqwest {
            let mut builder = keyswap::Client::builder(keys).scheme(scheme).no_retries();
            if settings.plain_http {
                builder = builder.plain_http_allowed();
            }
            if settings.classifies {
                builder = builder.classifier(CodeInBody);
            }
            let builder = builder.http(move |http| set(http, settings));
            return Http::Own(builder.base_url(origin).unwrap().build().unwrap());
        }
        let mut builder = Authorizer::builder(keys).scheme(scheme);
        if settings.plain_http {
            builder = builder.plain_http_allowed();
        }
        if settings.classifies {
            builder = builder.classifier(CodeInBody);
        }
        let authorizer = builder.allow_origin(origin).unwrap().build().unwrap();
        if self == Self::Middleware {
            let http = set(keyed::http().unwrap(), settings);
            return Http::Middleware(keyed::client(&authorizer, http).unwrap().build());
        }
        let replay = |body: &reqwest::Body| Some(body.as_bytes()?.to_vec().into());
        Http::Keyed(AuthorizeLayer::replaying(&authorizer, replay).layer(hyper(settings)))
    }

    pub(crate) fn alone(self, settings: Settings) -> Http {
        let http = || set(keyed::http().unwrap(), settings).build().unwrap();
        match self {
            Self::Reqwest => Http::Reqwest(http()),
            Self::Middleware => {
                Http::Middleware(reqwest_middleware::ClientBuilder::new(http()).build())
            }
            Self::Tower => Http::Hyper(hyper(settings)),
        }
    }
}

fn set(http: reqwest::ClientBuilder, settings: Settings) -> reqwest::ClientBuilder {
    if settings.title_case { http.http1_title_case_headers() } else { http }
}

fn hyper(settings: Settings) -> HyperClient {
    let mut builder = Hyper::builder(TokioExecutor::new());
    builder.http1_title_case_headers(settings.title_case).build_http()
}

/// The body of a request.
#[derive(Clone, Copy, Default)]
pub(crate) enum Body {
    #[default]
    None,
    Bytes,
    Text,
    /// What a program made of a value, or this crate's own client makes.
    Json,
    /// In parts, which are not to be had again.
    Stream,
}

const TEXT: &str = "text";

impl Body {
    fn of_reqwest(self) -> Option<reqwest::Body> {
        match self {
            Self::None => None,
            Self::Bytes => Some(TEXT.as_bytes().to_vec().into()),
            Self::Text => Some(TEXT.into()),
            Self::Json => Some(r#""text""#.into()),
            Self::Stream => Some(reqwest::Body::wrap_stream(parts())),
        }
    }
}

fn parts() -> impl futures_util::Stream<Item = Result<Bytes, std::io::Error>> {
    stream::iter(["one ", "part after another"].map(|part| Ok(Bytes::from_static(part.as_bytes()))))
}

/// A request.
#[derive(Clone, Default)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) headers: Vec<(&'static str, &'static str)>,
    pub(crate) body: Body,
    /// The library's own, where it has one.
    pub(crate) timeout: Option<Duration>,
}

impl Ask {
    pub(crate) fn post(body: Body) -> Self {
        Self { method: Method::POST, body, ..Self::default() }
    }

    /// As one that has no keyswap puts it on.
    pub(crate) fn with_key(mut self, key: &'static str) -> Self {
        self.headers.insert(0, (NAME, key));
        self
    }

    fn whole_headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.append(*name, value.parse().unwrap());
        }
        if matches!(self.body, Body::Json) {
            headers.insert("content-type", "application/json".parse().unwrap());
        }
        headers
    }
}

pub(crate) enum Reply {
    Own(keyswap::Response),
    Reqwest(reqwest::Response),
    Tower(http::Response<UnsyncBoxBody<Bytes, String>>),
}

impl Http {
    /// The answer, or what an error says with its causes.
    pub(crate) async fn send(&self, url: &str, ask: &Ask) -> Result<Reply, String> {
        match self {
            Self::Own(http) => {
                let mut request = http.request(ask.method.clone(), url);
                for (name, value) in &ask.headers {
                    request = request.header(name, value);
                }
                request = match ask.body {
                    Body::None => request,
                    Body::Bytes => request.body(TEXT.as_bytes()),
                    Body::Text => request.body(TEXT),
                    Body::Json => request.json(TEXT),
                    Body::Stream => request.body_stream(parts()),
                };
                if let Some(timeout) = ask.timeout {
                    request = request.timeout(timeout);
                }
                request.send().await.map(Reply::Own).map_err(|error| told(&error))
            }
            Self::Reqwest(http) => {
                let sent = http.execute(for_reqwest(url, ask)).await;
                sent.map(Reply::Reqwest).map_err(|error| told(&error))
            }
            Self::Middleware(http) => {
                let sent = http.execute(for_reqwest(url, ask)).await;
                sent.map(Reply::Reqwest).map_err(|error| told(&error))
            }
            Self::Keyed(http) => {
                let sent = http.clone().call(for_tower(url, ask)).await;
                sent.map(Reply::of_tower).map_err(|error| told(&*error))
            }
            Self::Hyper(http) => {
                let sent = http.clone().call(for_tower(url, ask)).await;
                sent.map(Reply::of_tower).map_err(|error| told(&error))
            }
        }
    }
}

fn for_reqwest(url: &str, ask: &Ask) -> reqwest::Request {
    let mut request = reqwest::Request::new(ask.method.clone(), url.parse().unwrap());
    *request.headers_mut() = ask.whole_headers();
    *request.body_mut() = ask.body.of_reqwest();
    *request.timeout_mut() = ask.timeout;
    request
}

fn for_tower(url: &str, ask: &Ask) -> http::Request<reqwest::Body> {
    let mut request = http::Request::new(ask.body.of_reqwest().unwrap_or_default());
    *request.method_mut() = ask.method.clone();
    *request.uri_mut() = url.parse().unwrap();
    *request.headers_mut() = ask.whole_headers();
    request
}

fn told(error: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

impl Reply {
    fn of_tower<B>(reply: http::Response<B>) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: std::fmt::Display,
    {
        Self::Tower(reply.map(|body| body.map_err(|error| error.to_string()).boxed_unsync()))
    }

    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Own(reply) => reply.status(),
            Self::Reqwest(reply) => reply.status(),
            Self::Tower(reply) => reply.status(),
        }
        .as_u16()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        match self {
            Self::Own(reply) => reply.headers(),
            Self::Reqwest(reply) => reply.headers(),
            Self::Tower(reply) => reply.headers(),
        }
    }

    /// The next part of the body.
    pub(crate) async fn part(&mut self) -> Result<Option<Bytes>, String> {
        match self {
            Self::Own(reply) => reply.chunk().await.map_err(|error| told(&error)),
            Self::Reqwest(reply) => reply.chunk().await.map_err(|error| told(&error)),
            Self::Tower(reply) => {
                let frame = reply.body_mut().frame().await.transpose()?;
                Ok(frame.map(|frame| frame.into_data().unwrap_or_default()))
            }
        }
    }

    pub(crate) async fn whole(mut self) -> Result<Vec<u8>, String> {
        let mut whole = Vec::new();
        while let Some(part) = self.part().await? {
            whole.extend_from_slice(&part);
        }
        Ok(whole)
    }
}

/// 401 is a rejection, and so is a 200 with `bad_key` in the first 64 bytes of its body.
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
