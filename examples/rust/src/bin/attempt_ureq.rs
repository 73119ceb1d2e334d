//! A blocking HTTP library, driven by an `Attempt`: ureq. `cargo run --bin attempt_ureq`
//!
//! The handle's background task lives on a runtime of its own. Only a wait needs it: `Handle::block_on`.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use http::{HeaderMap, Method, Request, Response};
use keyswap::{Authorizer, Endpoint, Failure, KeySwap, Scheme, Step};
use keyswap_endpoint::{server::Endpoint as Embedded, world::WorldConfig};
use tokio::runtime::{Builder, Handle};
use ureq::{Agent, Body};
use url::Url;

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Sends a GET through any rotation, on a thread that is not the runtime's.
fn get(
    agent: &Agent,
    authorizer: &Authorizer,
    runtime: &Handle,
    url: &Url,
) -> Result<Response<Body>, Failed> {
    let mut attempt = authorizer.begin(url, true, None)?;
    let mut answer = None;
    loop {
        match attempt.step().clone() {
            Step::Send => {
                let patch = attempt.apply(&Method::GET, url, &HeaderMap::new(), None)?;
                let mut url = url.clone();
                patch.apply_query(&mut url);
                let mut request = Request::get(url.as_str()).body(())?;
                patch.apply_headers(request.headers_mut());
                answer = Some(agent.run(request));
                match &answer {
                    Some(Ok(response)) => {
                        attempt.response(response.status(), response.headers(), None)
                    }
                    _ => attempt.failed(Failure::Other),
                };
            }
            Step::Wait => drop(runtime.block_on(attempt.wait())),
            Step::Fail(error) => return Err(error.into()),
            // `NeedBody` only comes from a classifier that asks for it.
            _ => return Ok(answer.ok_or("not sent")??),
        }
    }
}

fn main() -> Result<(), Failed> {
    // Of many threads: with a runtime of one, nothing would run between two `block_on`.
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let running = runtime.block_on(Embedded::start(WorldConfig::default()))?;
    let endpoint = Endpoint::new(running.set_url())?.bootstrap(running.bootstrap());
    let keys = runtime.block_on(async { KeySwap::follow(endpoint).await })?;
    let authorizer = Authorizer::builder(&keys)
        .scheme(Scheme::header("x-api-key"))
        .allow_origin(running.api_url())?
        .build()?;
    // ureq would take the header along to where a redirect points, and call a 401 an error.
    let agent = Agent::config_builder().max_redirects(0).http_status_as_error(false).proxy(None);
    let agent = Agent::new_with_config(agent.build());
    let url = Url::parse(running.api_url())?.join("/v1/price")?;

    let before = get(&agent, &authorizer, runtime.handle(), &url)?;
    running.apply(&serde_json::from_str(r#"{"do": "cut"}"#)?)?;
    let after = get(&agent, &authorizer, runtime.handle(), &url)?;

    println!("{} with k1, {} with {}", before.status(), after.status(), keys.current()?.id());
    assert!(before.status().is_success() && after.status().is_success());
    assert_eq!(keys.current()?.id(), "k2");
    Ok(())
}
