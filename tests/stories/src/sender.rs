//! What sends the requests of a story's callers.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::{Method, Request};
use http_body_util::{BodyExt, Either, Full, StreamBody};
use hyper_util::{
    client::legacy::{Client as Hyper, connect::HttpConnector},
    rt::TokioExecutor,
};
use keyswap::{
    Authorizer, Client, Error, ErrorKind, KeySwap,
    integrations::{
        RequireScopes, reqwest_middleware as keyed,
        tower::{AuthorizeLayer, BoxError},
    },
};
use keyswap_endpoint::story::{Body, Caller, Story};
use reqwest_middleware::ClientWithMiddleware;
use tower_layer::Layer;
use tower_service::Service;

use crate::setup::ClientSetup;

/// What the callers of a story send with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Through {
    /// The client of the core.
    Client,
    /// A client of the crate `reqwest-middleware`.
    Middleware,
    /// The tower layer, around hyper's client.
    Tower,
}

impl Through {
    /// Whether it can do all that this story asks for. The client alone repeats requests for the API's
    /// own failures, and a tower service is one hop: redirects belong to a layer of their own.
    pub fn can_tell(self, story: &Story) -> bool {
        let retries = story.client.get("retries").is_some_and(|retries| *retries != 0);
        let redirects = story.callers.iter().any(|caller| caller.path.starts_with("/redirect"));
        match self {
            Self::Client => true,
            Self::Middleware => !retries,
            Self::Tower => !retries && !redirects,
        }
    }
}

#[derive(Clone)]
#[expect(clippy::large_enum_variant, reason = "one a caller")]
pub(crate) enum Sender {
    Client(Client),
    Middleware { http: ClientWithMiddleware, base: String },
    Tower { layer: AuthorizeLayer<Order>, http: Hyper<HttpConnector, Order>, base: String },
}

/// A body that can be sent again, or one that cannot.
type Order = Either<Full<Bytes>, StreamBody<stream::Iter<std::array::IntoIter<Part, 1>>>>;
type Part = Result<http_body::Frame<Bytes>, Infallible>;

const ORDER: Bytes = Bytes::from_static(br#"{"order": 1}"#);

impl Sender {
    pub(crate) fn new(
        through: Through,
        keys: &KeySwap,
        base: &str,
        setup: &ClientSetup,
    ) -> Result<Self, Error> {
        if through == Through::Client {
            let mut client = Client::builder(keys)
                .base_url(base)?
                .retries(setup.retries)
                .classifier(setup.classifier());
            if let Some(scheme) = setup.scheme() {
                client = client.scheme(scheme);
            }
            return client.build().map(Self::Client);
        }
        let mut authorizer =
            Authorizer::builder(keys).allow_origin(base)?.classifier(setup.classifier());
        if let Some(scheme) = setup.scheme() {
            authorizer = authorizer.scheme(scheme);
        }
        let (authorizer, base) = (authorizer.build()?, base.to_owned());
        if through == Through::Middleware {
            let http = keyed::client(&authorizer, keyed::http()?)?.build();
            return Ok(Self::Middleware { http, base });
        }
        let layer = AuthorizeLayer::replaying(&authorizer, |body: &Order| match body {
            Either::Left(whole) => Some(Either::Left(whole.clone())),
            Either::Right(_) => None,
        });
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let http = Hyper::builder(TokioExecutor::new()).build(connector);
        Ok(Self::Tower { layer, http, base })
    }

    /// The status, or the code of the error. The body is read to its end, so that the connection is kept
    /// as a program's would be.
    pub(crate) async fn send(&self, caller: &Caller) -> Result<u16, &'static str> {
        let timeout = Duration::from_millis(caller.timeout_ms);
        match self {
            Self::Client(client) => {
                through_client(client, caller, timeout).await.map_err(|error| error.code())
            }
            Self::Middleware { http, base } => {
                let sent = through_middleware(http, base, caller, timeout).await;
                sent.map_err(|error| match &error {
                    reqwest_middleware::Error::Middleware(inner) => code(inner.as_ref()),
                    error if error.is_timeout() => ErrorKind::Timeout.code(),
                    _ => ErrorKind::Transport.code(),
                })
            }
            Self::Tower { layer, http, base } => {
                let api = layer.clone().deadline(timeout).layer(http.clone());
                // A tower service knows no timeout of its own.
                match tokio::time::timeout(timeout, through_tower(api, base, caller)).await {
                    Ok(sent) => sent.map_err(|error| code(error.as_ref())),
                    Err(_) => Err(ErrorKind::Timeout.code()),
                }
            }
        }
    }
}

async fn through_client(client: &Client, caller: &Caller, timeout: Duration) -> Result<u16, Error> {
    let request = client
        .request(method(caller), &caller.path)
        .timeout(timeout)
        .scopes(caller.scopes.iter().flatten());
    let request = match caller.body {
        Body::None => request,
        Body::Replayable => request.body(ORDER),
        Body::OneShot => request.body_stream(stream::iter([Ok::<_, Infallible>(ORDER)])),
    };
    let response = request.send().await?;
    let status = response.status().as_u16();
    response.bytes().await?;
    Ok(status)
}

async fn through_middleware(
    http: &ClientWithMiddleware,
    base: &str,
    caller: &Caller,
    timeout: Duration,
) -> reqwest_middleware::Result<u16> {
    let request = http
        .request(method(caller), format!("{base}{}", caller.path))
        .timeout(timeout)
        .with_extension(RequireScopes::new(caller.scopes.iter().flatten()));
    let request = match caller.body {
        Body::None => request,
        Body::Replayable => request.body(ORDER),
        Body::OneShot => {
            let parts = stream::iter([Ok::<_, Infallible>(ORDER)]);
            request.body(reqwest::Body::wrap_stream(parts))
        }
    };
    let response = request.send().await?;
    let status = response.status().as_u16();
    response.bytes().await?;
    Ok(status)
}

async fn through_tower<S, R>(mut api: S, base: &str, caller: &Caller) -> Result<u16, BoxError>
where
    S: Service<Request<Order>, Response = http::Response<R>, Error = BoxError>,
    R: http_body::Body,
    R::Error: Into<BoxError>,
{
    let body = match caller.body {
        Body::None => Either::Left(Full::default()),
        Body::Replayable => Either::Left(Full::new(ORDER)),
        Body::OneShot => {
            Either::Right(StreamBody::new(stream::iter([Ok(http_body::Frame::data(ORDER))])))
        }
    };
    let request = Request::builder()
        .method(method(caller))
        .uri(format!("{base}{}", caller.path))
        .extension(RequireScopes::new(caller.scopes.iter().flatten()))
        .body(body)?;
    std::future::poll_fn(|context| api.poll_ready(context)).await?;
    let response = api.call(request).await?;
    let status = response.status().as_u16();
    response.into_body().collect().await.map_err(Into::into)?;
    Ok(status)
}

fn method(caller: &Caller) -> Method {
    caller.method.parse().unwrap_or(Method::GET)
}

/// The code of this crate's own error; any other is a transport's.
fn code(error: &(dyn std::error::Error + Send + Sync + 'static)) -> &'static str {
    error.downcast_ref::<Error>().map_or(ErrorKind::Transport.code(), Error::code)
}
