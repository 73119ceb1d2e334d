//! Operations: rotate, revoke and list, for operators.

use std::fmt;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::problem::{PROBLEM_JSON, Problem};
use super::{Next, Rotate, Step, World};

/// What an operator asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `POST {base}/sets/{id}/rotations`, with its body.
    Rotate(Bytes),
    /// `POST {base}/sets/{id}/credentials/{cid}/revoke`, with the credential's id.
    Revoke(String),
    /// `GET {base}/sets`.
    List,
}

/// An operator's request.
#[derive(Clone)]
pub struct OperateRequest<'a> {
    /// The token of `Authorization: Bearer`.
    pub bearer: Option<&'a str>,
    /// The header `Idempotency-Key`. A rotation needs one.
    pub idempotency_key: Option<&'a str>,
    /// The set; the world's own if not said.
    pub set: Option<&'a str>,
    /// What to do.
    pub operation: Operation,
}

impl fmt::Debug for OperateRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperateRequest")
            .field("set", &self.set)
            .field("operation", &self.operation)
            .finish_non_exhaustive()
    }
}

/// The answer to an operator. It never carries material.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperateReply {
    /// The HTTP status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// The body.
    pub body: Bytes,
}

#[derive(Deserialize)]
struct RotationOrder {
    #[serde(default)]
    grace_seconds: Option<u64>,
    #[serde(default)]
    activate: Activate,
    #[serde(default)]
    activate_at: Option<Timestamp>,
    #[serde(default)]
    reason: Reason,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Activate {
    #[default]
    Immediate,
    OnFirstUse,
    At,
}

#[derive(Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reason {
    #[default]
    Scheduled,
    Compromise,
}

impl World {
    /// Does what an operator asks. Neither latency nor faults apply to operations.
    pub fn operate(&mut self, now: u64, request: &OperateRequest<'_>) -> OperateReply {
        self.advance(now);
        // The bootstrap token must not work here, so a wrong token is always a 403.
        if request.bearer != Some(self.setting.operator.reveal()) {
            return problem(Problem::Forbidden, "an operator's token is needed");
        }
        if request.set.is_some_and(|set| set != self.setting.set) {
            return problem(Problem::UnknownSet, "there is no such set");
        }
        match &request.operation {
            Operation::List => self.listed(now),
            Operation::Revoke(id) => self.revoked(now, id),
            Operation::Rotate(body) => {
                let Some(key) = request.idempotency_key else {
                    return problem(Problem::BadRequest, "a rotation needs an `Idempotency-Key`");
                };
                if let Some((operation, reply)) = self.operations.get(key) {
                    if *operation == request.operation {
                        return reply.clone();
                    }
                    let detail = "this `Idempotency-Key` was used for another rotation";
                    return problem(Problem::BadRequest, detail);
                }
                let reply = self.rotated(now, body);
                if reply.status < 300 {
                    let done = (request.operation.clone(), reply.clone());
                    self.operations.insert(key.to_owned(), done);
                }
                reply
            }
        }
    }

    fn rotated(&mut self, now: u64, body: &[u8]) -> OperateReply {
        let order: RotationOrder = match serde_json::from_slice(body) {
            Ok(order) => order,
            Err(error) => return problem(Problem::BadRequest, &error.to_string()),
        };
        if self.activation.is_some() {
            return problem(Problem::RotationInProgress, "a credential is waiting for its time");
        }
        let grace = order.grace_seconds.map(|seconds| seconds.saturating_mul(1000));
        let at_first_use = matches!(order.activate, Activate::OnFirstUse);
        let next = match (&order.activate, order.activate_at) {
            (Activate::At, None) => {
                return problem(Problem::BadRequest, "`activate: at` needs `activate_at`");
            }
            (Activate::At, Some(at)) => {
                let present = self.setting.wall_ms.saturating_add_unsigned(now);
                let ahead = at.as_millisecond().saturating_sub(present);
                Some(Next::ActivateInMs(u64::try_from(ahead).unwrap_or(0)))
            }
            _ => None,
        };
        let rotate = Rotate {
            // The grace starts with the first use, so until then there is none to end.
            grace_ms: grace.filter(|_| !at_first_use),
            overlap: order.reason != Reason::Compromise,
            next,
            ..Rotate::default()
        };
        if let Err(error) = self.change(now, &Step::Rotate(rotate)) {
            return problem(Problem::RotationInProgress, &error.to_string());
        }
        if at_first_use {
            let grace = grace.or(self.config.grace_ms);
            self.credentials[self.committed.current].grace_at_first_use = grace;
        }
        self.stated(201)
    }

    fn revoked(&mut self, now: u64, id: &str) -> OperateReply {
        if self.find(id).is_none() {
            return problem(Problem::UnknownCredential, "there is no such credential");
        }
        match self.change(now, &Step::Revoke { credential: Some(id.to_owned()) }) {
            Ok(()) => self.stated(200),
            Err(error) => problem(Problem::SetRevoked, &error.to_string()),
        }
    }

    fn listed(&mut self, now: u64) -> OperateReply {
        let (_, shown) = self.visible(now);
        let body = json!({"sets": [{
            "set": self.setting.set,
            "generation": shown.state.generation,
            "revoked": shown.state.closed,
        }]});
        reply(200, &body)
    }

    /// The committed state, by ids alone.
    fn stated(&self, status: u16) -> OperateReply {
        let id = |at: &usize| self.credentials[*at].id.as_str();
        let state = &self.committed;
        let body = json!({
            "set": self.setting.set,
            "generation": state.generation,
            "current": id(&state.current),
            "previous": state.previous.iter().map(id).collect::<Vec<_>>(),
            "next": state.next.as_ref().map(id),
            "revoked": state.revoked.iter().map(id).collect::<Vec<_>>(),
        });
        reply(status, &body)
    }
}

fn reply(status: u16, body: &serde_json::Value) -> OperateReply {
    let body = Bytes::from(body.to_string());
    OperateReply { status, content_type: "application/json", body }
}

fn problem(problem: Problem, detail: &str) -> OperateReply {
    let status = problem.status();
    OperateReply { status, content_type: PROBLEM_JSON, body: problem.body(status, detail) }
}
