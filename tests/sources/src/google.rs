//! Google Secret Manager, its metadata server and its token server, as far as programs that read secrets see them.
//! Google's own client is the judge of it: `tests/google.rs`.

use std::sync::{Arc, Mutex};

use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};
use serde_json::{Value, json};

use crate::fake::{Fake, Request, Response};

/// The name of the one secret that is there.
pub const SECRET: &str = "projects/p/secrets/trading";

/// The three in one server.
pub struct Google {
    /// The server.
    pub fake: Fake,
    state: Arc<Mutex<State>>,
}

/// What it holds, and what was seen of those who asked.
pub struct State {
    /// The first is number 1.
    pub versions: Vec<Version>,
    /// An alias and its number.
    pub alias: Option<(String, usize)>,
    /// Whether those who ask may list versions.
    pub may_list: bool,
    /// Whether they may read them.
    pub may_access: bool,
    /// Whether checksums are wrong.
    pub is_torn: bool,
    /// The most that one page of a list has.
    pub page_size: usize,
    /// How long an access token lives that is made now, in seconds.
    pub life: u64,
    /// How many were made; the last one alone is accepted.
    pub tokens: u64,
    /// How often versions were listed.
    pub lists: u64,
    /// How often one was read.
    pub accesses: u64,
    /// What was posted to the token server last: the kind of grant, and what was shown.
    pub shown: (String, String),
    /// What disables a version as soon as the list was read.
    pub disable_after_list: Option<usize>,
}

/// One version.
pub struct Version {
    /// What it holds.
    pub text: String,
    /// `ENABLED`, `DISABLED` or `DESTROYED`.
    pub state: &'static str,
}

impl Google {
    /// One with these versions, all of which are enabled.
    pub async fn start(versions: &[&str]) -> Self {
        let state = Arc::new(Mutex::new(State {
            versions: Vec::new(),
            alias: None,
            may_list: true,
            may_access: true,
            is_torn: false,
            page_size: 100,
            life: 3600,
            tokens: 0,
            lists: 0,
            accesses: 0,
            shown: Default::default(),
            disable_after_list: None,
        }));
        let shared = state.clone();
        let google = Self { fake: Fake::plain(move |it| answer(it, &shared)).await, state };
        versions.iter().for_each(|text| google.add(text));
        google
    }

    /// To be looked at, and to be changed.
    pub fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Adds a version, which is then the newest.
    pub fn add(&self, text: &str) {
        self.state().versions.push(Version { text: text.into(), state: "ENABLED" });
    }

    /// Puts the version of this number into this state.
    pub fn set(&self, number: usize, state: &'static str) {
        self.state().versions[number - 1].state = state;
    }

    /// No token that was made until now is accepted any more.
    pub fn revoke_tokens(&self) {
        self.state().tokens += 1000;
    }
}

fn answer(request: &Request, state: &Mutex<State>) -> Response {
    let mut state = state.lock().unwrap();
    let path = request.url.path();
    if path == "/computeMetadata/v1/instance/service-accounts/default/token" {
        return match request.header("metadata-flavor") {
            Some("Google") => state.token(),
            _ => Response::new(403, "Missing Metadata-Flavor:Google header."),
        };
    }
    if path == "/token" {
        let grant = request.form("grant_type").unwrap_or_default();
        let shown = ["assertion", "refresh_token", "subject_token"];
        let shown = shown.into_iter().find_map(|name| request.form(name)).unwrap_or_default();
        if shown == "revoked" {
            return Response::new(
                400,
                json!({"error": "invalid_grant", "error_description": "s3cr3t"}),
            );
        }
        state.shown = (grant, shown);
        return state.token();
    }
    if request.header("authorization") != Some(&format!("Bearer ya29.{}", state.tokens)) {
        return error(401, "UNAUTHENTICATED");
    }
    if path.ends_with(":generateAccessToken") {
        state.shown.0 += " impersonated";
        state.tokens += 1;
        let token = format!("ya29.{}", state.tokens);
        return Response::new(
            200,
            json!({"accessToken": token, "expireTime": "2999-01-01T00:00:00Z"}),
        );
    }
    let Some(rest) = path.strip_prefix(&format!("/v1/{SECRET}/versions")) else {
        return error(404, "NOT_FOUND");
    };
    match rest.strip_prefix('/').and_then(|it| it.strip_suffix(":access")) {
        Some(version) => state.access(version),
        None => state.list(request),
    }
}

impl State {
    fn token(&mut self) -> Response {
        self.tokens += 1;
        let token = format!("ya29.{}", self.tokens);
        let token = json!({"access_token": token, "expires_in": self.life, "token_type": "Bearer"});
        Response::new(200, token)
    }

    fn name(number: usize) -> String {
        format!("projects/1234/secrets/trading/versions/{number}")
    }

    /// The newest first, and of the filters only the one by state.
    fn list(&mut self, request: &Request) -> Response {
        self.lists += 1;
        if !self.may_list {
            return error(403, "PERMISSION_DENIED");
        }
        let only =
            request.query("filter").and_then(|it| Some(it.strip_prefix("state:")?.to_owned()));
        let number = |name: &str| request.query(name).and_then(|it| it.parse::<usize>().ok());
        let most = number("pageSize").filter(|it| *it > 0).unwrap_or(100).min(self.page_size);
        let from = number("pageToken").unwrap_or(0);
        let all: Vec<_> = self.versions.iter().enumerate().rev().collect();
        let is_asked = |version: &Version| only.as_deref().is_none_or(|it| it == version.state);
        let page = all.iter().skip(from).take(most).filter(|(_, version)| is_asked(version));
        let page: Vec<Value> = page
            .map(|(at, version)| {
                let created = format!("2026-11-27T10:{:02}:{:02}.5Z", at / 60, at % 60);
                json!({
                    "name": Self::name(at + 1), "state": version.state, "createTime": created,
                    "etag": format!("\"{at}{}\"", version.state),
                })
            })
            .collect();
        let next = if from + most < all.len() { (from + most).to_string() } else { String::new() };
        let answer =
            json!({"versions": page, "nextPageToken": next, "totalSize": self.versions.len()});
        if let Some(number) = self.disable_after_list.take() {
            self.versions[number - 1].state = "DISABLED";
        }
        Response::new(200, answer)
    }

    fn access(&mut self, version: &str) -> Response {
        self.accesses += 1;
        if !self.may_access {
            return error(403, "PERMISSION_DENIED");
        }
        let alias = self.alias.as_ref().filter(|(alias, _)| alias == version).map(|(_, it)| *it);
        let number = match version {
            "latest" => Some(self.versions.len()),
            other => alias.or_else(|| other.parse().ok()),
        };
        let number = number.filter(|number| (1..=self.versions.len()).contains(number));
        let Some(number) = number else { return error(404, "NOT_FOUND") };
        let version = &self.versions[number - 1];
        if version.state != "ENABLED" {
            return error(400, "FAILED_PRECONDITION");
        }
        let sum = u64::from(crc32c(version.text.as_bytes())) + u64::from(self.is_torn);
        let payload = json!({"data": BASE64.encode(&version.text), "dataCrc32c": sum.to_string()});
        Response::new(200, json!({"name": Self::name(number), "payload": payload}))
    }
}

fn error(code: u16, status: &str) -> Response {
    let error = json!({"code": code, "message": "s3cr3t", "status": status});
    Response::new(code, json!({"error": error}))
}

/// Bit by bit, as the standard defines it.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}
