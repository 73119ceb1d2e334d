//! The control API: how a runner in any language plays a story.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Method, Response};
use serde_json::{Value, json};

use super::shared::Shared;
use super::shell::response;
use crate::story::Story;
use crate::world::Step;

/// `POST story`, `start`, `step`, `finish`, `reset`; `GET counters`.
pub(super) fn answer(
    shared: &Shared,
    method: &Method,
    action: &str,
    body: &[u8],
) -> Response<Bytes> {
    let outcome = match (method, action) {
        (&Method::POST, "story") => story(shared, body),
        (&Method::POST, "start") => {
            shared.begin();
            Ok(json!({"ok": true}))
        }
        (&Method::POST, "step") => step(shared, body),
        (&Method::POST, "finish") => finish(shared, body),
        (&Method::POST, "reset") => {
            shared.reset();
            Ok(json!({"ok": true}))
        }
        (&Method::GET, "counters") => Ok(json!(shared.with(|world, _| world.counters()))),
        _ => Err((404, format!("there is no {method} /control/{action}"))),
    };
    let (status, body) = match outcome {
        Ok(body) => (200, body),
        Err((status, error)) => (status, json!({"error": error})),
    };
    let headers = [("content-type", "application/json")];
    response(status, &headers, Bytes::from(body.to_string()))
}

type Outcome = Result<Value, (u16, String)>;

fn story(shared: &Shared, body: &[u8]) -> Outcome {
    let story = Story::parse(&String::from_utf8_lossy(body)).map_err(bad)?;
    let told = json!({
        "name": story.name,
        "api_url": shared.urls.api,
        "other_url": shared.urls.other,
        "bootstrap": story.world.bootstrap.reveal(),
        "policy": story.policy,
        "client": story.client,
        "callers": story.callers,
        "run_ms": story.run_ms,
        "virtual_only": story.virtual_only,
    });
    shared.load(Some(story));
    let mut told = told;
    let set_urls = shared.set_urls();
    told["set_url"] = Value::from(set_urls[0].as_str());
    told["public_key"] = Value::from(shared.with(|world, _| world.public_key()));
    told["set_urls"] = Value::from(set_urls);
    Ok(told)
}

fn step(shared: &Shared, body: &[u8]) -> Outcome {
    let step: Step = serde_json::from_slice(body).map_err(bad)?;
    shared
        .change(|world, now| world.apply(now, &step))
        .map_err(|error| (409, error.to_string()))?;
    Ok(json!({"ok": true}))
}

fn finish(shared: &Shared, body: &[u8]) -> Outcome {
    let counted: BTreeMap<String, Value> = if body.is_empty() {
        BTreeMap::new()
    } else {
        serde_json::from_slice(body).map_err(bad)?
    };
    Ok(json!(shared.finish(counted)))
}

fn bad(error: impl std::fmt::Display) -> (u16, String) {
    (400, error.to_string())
}
