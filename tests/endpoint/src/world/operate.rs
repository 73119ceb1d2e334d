//! Operations, for operators: rotate, revoke, list, and who uses what.

use std::fmt;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::problem::{PROBLEM_JSON, Problem};
use super::{Level, Next, Rotate, Step, World};

/// What an operator asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `POST {base}/sets/{id}/rotations`, with its body.
    Rotate(Bytes),
    /// `POST {base}/sets/{id}/credentials/{cid}/revoke`, with the credential's id.
    Revoke(String),
    /// `GET {base}/sets`.
    List,
    /// `GET {base}/sets/{id}/adoption`.
    Adoption,
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
            Operation::Adoption if self.serves(Level::Acks) => reply(200, &self.adopted(now)),
            Operation::Adoption => {
                problem(Problem::UnknownSet, "this endpoint takes no reports of use")
            }
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

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::tests::world;
    use super::super::{ApiRequest, FetchRequest};
    use super::*;

    fn operate(
        world: &mut World,
        now: u64,
        key: Option<&str>,
        operation: Operation,
    ) -> (u16, Value) {
        let request =
            OperateRequest { bearer: Some("operator"), idempotency_key: key, set: None, operation };
        let reply = world.operate(now, &request);
        (reply.status, serde_json::from_slice(&reply.body).expect("JSON"))
    }

    fn rotate(world: &mut World, now: u64, key: &str, body: &'static str) -> (u16, Value) {
        operate(world, now, Some(key), Operation::Rotate(Bytes::from_static(body.as_bytes())))
    }

    #[test]
    fn only_an_operator_may() {
        let mut world = world("{}");
        for bearer in [None, Some("bootstrap")] {
            let operation = Operation::Revoke("k1".to_owned());
            let request = OperateRequest { bearer, idempotency_key: None, set: None, operation };
            assert_eq!(world.operate(0, &request).status, 403);
            assert!(!format!("{request:?}").contains("bootstrap"));
        }
        let operation = Operation::List;
        let bearer = Some("operator");
        let wrong = OperateRequest { bearer, idempotency_key: None, set: Some("x"), operation };
        assert_eq!(world.operate(0, &wrong).status, 404);
        assert_eq!(world.commits().len(), 1);
    }

    #[test]
    fn a_rotation_happens_once_for_each_key() {
        let mut world = world("{}");
        let (status, body) = rotate(&mut world, 10, "a", r#"{"grace_seconds": 1}"#);
        assert_eq!((status, &body["generation"], &body["current"]), (201, &2.into(), &"k2".into()));
        let again = rotate(&mut world, 20, "a", r#"{"grace_seconds": 1}"#);
        assert_eq!(again, (201, body), "the very same answer");
        assert_eq!(rotate(&mut world, 20, "a", r#"{"grace_seconds": 2}"#).0, 400);
        assert_eq!(world.commits().len(), 2);
        assert_eq!(rotate(&mut world, 20, "b", r#"{"reason": "compromise"}"#).0, 201);
        assert!(!world.accepts(20, "k2", 0) && world.accepts(20, "k1", 0));
        assert!(!world.accepts(1_010, "k1", 0));
        let without = Operation::Rotate(Bytes::from_static(b"{}"));
        assert_eq!(operate(&mut world, 30, None, without).0, 400);
        assert_eq!(rotate(&mut world, 30, "c", r#"{"activate": "never"}"#).0, 400);
    }

    #[test]
    fn a_timed_rotation_excludes_others() {
        let mut world = world("{}");
        let body = r#"{"activate": "at", "activate_at": "2026-11-23T18:00:01Z"}"#;
        let (status, body) = rotate(&mut world, 0, "a", body);
        assert_eq!((status, &body["current"], &body["next"]), (201, &"k1".into(), &"k2".into()));
        assert_eq!(rotate(&mut world, 500, "b", "{}").0, 409);
        assert_eq!(rotate(&mut world, 1_000, "b", "{}").0, 201);
        assert_eq!(world.commits().last().map(|commit| commit.credential.as_str()), Some("k3"));
        assert_eq!(rotate(&mut world, 1_000, "c", r#"{"activate": "at"}"#).0, 400);
    }

    #[test]
    fn the_grace_may_start_with_the_first_use() {
        let mut world = world("{}");
        let body = r#"{"activate": "on_first_use", "grace_seconds": 1}"#;
        assert_eq!(rotate(&mut world, 0, "a", body).0, 201);
        let ask = FetchRequest { bearer: Some("bootstrap"), ..Default::default() };
        let set = world.fetch(0, &ask).reply().expect("an answer").body.clone();
        assert!(String::from_utf8_lossy(&set).contains("on_first_use"));
        assert!(world.accepts(50_000, "k1", 0));
        let material = world.material("k2").expect("k2").reveal().to_owned();
        let call = ApiRequest { credential: Some(&material), ..Default::default() };
        world.call(50_000, &call);
        world.call(50_500, &call);
        assert!(world.accepts(50_999, "k1", 0) && !world.accepts(51_000, "k1", 0));
    }

    #[test]
    fn revoking_and_listing() {
        let mut world = world("{}");
        let (status, body) = operate(&mut world, 0, None, Operation::Revoke("k1".to_owned()));
        assert_eq!(
            (status, &body["current"], &body["revoked"][0]),
            (200, &"k2".into(), &"k1".into())
        );
        assert_eq!(operate(&mut world, 0, None, Operation::Revoke("k9".to_owned())).0, 404);
        let (status, body) = operate(&mut world, 0, None, Operation::List);
        assert_eq!((status, &body["sets"][0]["generation"]), (200, &2.into()));
    }
}
