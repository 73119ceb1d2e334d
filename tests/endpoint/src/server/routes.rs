//! The paths of the endpoint's listeners: fetches, events, reports, operations, and `/control`.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CACHE_CONTROL, IF_NONE_MATCH};
use http::{HeaderMap, Method, Request, Response};
use hyper::body::Incoming;
use jiff::Timestamp;

use super::shared::Shared;
use super::shell::{Answer, Body, Dropped, collect, drain, perform, response};
use super::{BASE, control, push};
use crate::world::{
    AckRequest, EventsRequest, FetchReply, FetchRequest, OperateRequest, Operation,
};

/// Answers for a region, which is counted from 0.
pub(super) async fn answer(
    shared: Arc<Shared>,
    request: Request<Incoming>,
    region: usize,
) -> Answer {
    // Every region that a story may have listens from the start, and those it has not are not there.
    if region >= shared.with(|world, _| world.config().regions) {
        return Err(Dropped);
    }
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    if let Some(action) = path.strip_prefix("/control/") {
        let body = collect(body).await?;
        return Ok(control::answer(&shared, &head.method, action, &body).map(Body::whole));
    }
    let segments: Vec<&str> = match path.strip_prefix(BASE) {
        Some(rest) => rest.split('/').skip(1).collect(),
        None => Vec::new(),
    };
    let operation = match (&head.method, segments.as_slice()) {
        (&Method::GET, ["sets", set]) => {
            drain(body).await?;
            let request = FetchRequest {
                bearer: bearer(&head.headers),
                if_none_match: text(&head.headers, IF_NONE_MATCH.as_str()),
                no_cache: text(&head.headers, CACHE_CONTROL.as_str()) == Some("no-cache"),
                set: Some(*set),
                region,
                wait: head.uri.query().and_then(wait),
            };
            let planned = push::hold(&shared, &request).await?;
            return perform(shared, planned, write).await;
        }
        (&Method::GET, ["sets", set, "events"]) => {
            drain(body).await?;
            let bearer = bearer(&head.headers);
            let request = EventsRequest { bearer, set: Some(*set), region };
            return push::listen(shared, &request).await;
        }
        (&Method::POST, ["sets", set, "acks"]) => {
            let body = collect(body).await?;
            let bearer = bearer(&head.headers);
            let request = AckRequest { bearer, set: Some(*set), region, body: &body };
            let planned = shared.with(|world, now| world.ack(now, &request));
            return perform(shared, planned, write).await;
        }
        (&Method::GET, ["sets", set, "adoption"]) => {
            drain(body).await?;
            (Some(*set), Operation::Adoption)
        }
        (&Method::GET, ["sets"]) => (None, Operation::List),
        (&Method::POST, ["sets", set, "rotations"]) => {
            (Some(*set), Operation::Rotate(collect(body).await?))
        }
        (&Method::POST, ["sets", set, "credentials", id, "revoke"]) => {
            drain(body).await?;
            (Some(*set), Operation::Revoke((*id).to_owned()))
        }
        _ => return Ok(response(404, &[], Bytes::new()).map(Body::whole)),
    };
    let (set, operation) = operation;
    let request = OperateRequest {
        bearer: bearer(&head.headers),
        idempotency_key: text(&head.headers, "idempotency-key"),
        set,
        operation,
    };
    let reply = shared.change(|world, now| world.operate(now, &request));
    let headers = [("content-type", reply.content_type), ("cache-control", "no-store")];
    Ok(response(reply.status, &headers, reply.body).map(Body::whole))
}

pub(super) fn write(reply: FetchReply) -> Response<Bytes> {
    let date = Timestamp::from_millisecond(reply.date_ms).unwrap_or(Timestamp::MAX);
    let date = date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let retry_after = reply.retry_after.map(|seconds| seconds.to_string());
    let signed = reply.signed.as_ref();
    let headers = [
        ("date", Some(date.as_str())),
        ("cache-control", Some("no-store")),
        ("content-type", Some(reply.content_type).filter(|kind| !kind.is_empty())),
        ("etag", reply.etag.as_deref()),
        ("retry-after", retry_after.as_deref()),
        ("location", reply.location.as_deref()),
        ("content-digest", signed.and_then(|signed| signed.content_digest.as_deref())),
        ("signature-input", signed.map(|signed| signed.input.as_str())),
        ("signature", signed.map(|signed| signed.signature.as_str())),
    ];
    let headers: Vec<_> =
        headers.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    response(reply.status, &headers, reply.body)
}

fn wait(query: &str) -> Option<&str> {
    query.split('&').find_map(|pair| pair.strip_prefix("wait="))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = text(headers, AUTHORIZATION.as_str())?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
