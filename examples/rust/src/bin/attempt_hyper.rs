//! Any HTTP library can be driven by an `Attempt`; here it is hyper. `cargo run --bin attempt_hyper`
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use keyswap::{Authorizer, Endpoint, Failure, KeySwap, Scheme, Step};
use keyswap_endpoint::{server::Endpoint as Embedded, world::WorldConfig};
use url::Url;

type Failed = Box<dyn std::error::Error + Send + Sync>;
type Http = Client<HttpConnector, Full<Bytes>>;

/// Sends a request through any rotation. This is all that an HTTP library needs.
async fn send(
    http: &Http,
    authorizer: &Authorizer,
    method: Method,
    url: &Url,
    body: Bytes,
) -> Result<Response<Incoming>, Failed> {
    let mut attempt = authorizer.begin(url, true, None)?;
    let mut answer = None;
    loop {
        match attempt.step().clone() {
            Step::Send => {
                let mut headers = HeaderMap::new();
                let patch = attempt.apply(&method, url, &headers, Some(&body))?;
                patch.apply_headers(&mut headers);
                let mut url = url.clone();
                patch.apply_query(&mut url);
                let mut request = Request::new(Full::new(body.clone()));
                *request.method_mut() = method.clone();
                *request.uri_mut() = url.as_str().parse()?;
                *request.headers_mut() = headers;
                answer = Some(http.request(request).await);
                match &answer {
                    Some(Ok(response)) => {
                        attempt.response(response.status(), response.headers(), None)
                    }
                    _ => attempt.failed(Failure::Other),
                };
            }
            Step::Wait => drop(attempt.wait().await),
            Step::Fail(error) => return Err(error.into()),
            // `NeedBody` only comes from a classifier that asks for it.
            _ => return Ok(answer.ok_or("not sent")??),
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let running = Embedded::start(WorldConfig::default()).await?;
    let endpoint = Endpoint::new(running.set_url())?.bootstrap(running.bootstrap());
    let keys = KeySwap::follow(endpoint).await?;
    let authorizer = Authorizer::builder(&keys)
        .scheme(Scheme::bearer())
        .allow_origin(running.api_url())?
        .build()?;
    let http = Client::builder(TokioExecutor::new()).build_http();
    let url = Url::parse(running.api_url())?.join("/v1/orders")?;

    let before = send(&http, &authorizer, Method::POST, &url, "order".into()).await?;
    running.apply(&serde_json::from_str(r#"{"do": "cut"}"#)?)?;
    let after = send(&http, &authorizer, Method::POST, &url, "order".into()).await?;

    println!("{} with k1, {} with {}", before.status(), after.status(), keys.current()?.id());
    assert!(before.status().is_success() && after.status().is_success());
    assert_eq!(keys.current()?.id(), "k2");
    Ok(())
}
