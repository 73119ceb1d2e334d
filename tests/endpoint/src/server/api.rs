//! The protected API, and the other origin.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;

use super::Sent;
use super::shared::Shared;
use super::shell::{Answer, Body, drain, perform, response};
use crate::presented::presented;
use crate::world::{ApiReply, ApiRequest, Planned, SchemeConfig};

pub(super) async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    // A request has arrived when all of it has.
    drain(body).await?;
    let (planned, at_ms) = shared.with(|world, now| {
        let header = world.config().scheme.as_ref().and_then(SchemeConfig::header);
        let credential = presented(&head.headers, head.uri.query(), header);
        let request = ApiRequest {
            method: head.method.as_str(),
            path: head.uri.path(),
            credential: credential.as_deref(),
        };
        (world.call(now, &request), now)
    });
    shared.tell(&sent(at_ms, &planned));
    perform(shared, planned, write).await
}

fn sent(at_ms: u64, planned: &Planned<ApiReply>) -> Sent<'_> {
    let reply = planned.reply();
    Sent {
        at_ms,
        credential: reply.and_then(|reply| reply.credential.as_deref()),
        status: reply.map(|reply| reply.status),
        replica: reply.map(|reply| reply.replica),
    }
}

fn write(reply: ApiReply) -> Response<Bytes> {
    let retry_after = reply.retry_after.map(|seconds| seconds.to_string());
    let headers = [
        ("content-type", (!reply.body.is_empty()).then_some("application/json")),
        ("retry-after", retry_after.as_deref()),
        ("www-authenticate", reply.challenge),
        ("location", reply.location.as_deref()),
    ];
    let mut response = response(reply.status, &[], reply.body);
    for (name, value) in headers {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// The other origin answers everything, and looks at everything.
pub(super) async fn answer_elsewhere(shared: Arc<Shared>, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let credential = presented(&head.headers, head.uri.query(), None);
    let target = head.uri.to_string();
    let values = head.headers.values().filter_map(|value| value.to_str().ok());
    let texts = values.chain([target.as_str()]);
    shared.with(|world, _| world.elsewhere(credential.as_deref(), texts));
    drain(body).await?;
    let headers = [("content-type", "application/json")];
    Ok(response(200, &headers, Bytes::from_static(b"{\"other\":true}")).map(Body::whole))
}
