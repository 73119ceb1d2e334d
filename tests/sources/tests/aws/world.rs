//! Servers of ours that answer as AWS and its agent do, with the faults that moto does not have.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use keyswap_source_tests::{
    aws::{Asked, Stub, error},
    fake::Response,
};
use serde_json::json;

/// What else AWS may say, beside what a server has that is down, slow or broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Well,
    Throttles,
    Denies,
}

/// What AWS has: keys in the order in which they were made, the newest of which is current.
#[derive(Clone)]
pub(crate) struct World(Arc<Mutex<State>>);

struct State {
    mode: Mode,
    keys: Vec<String>,
    /// What the agent has of each stage.
    copies: BTreeMap<String, usize>,
    token: String,
}

pub(crate) const TOKEN: &str = "t0ken-of-the-agent";

impl World {
    pub(crate) fn new(keys: &[&str]) -> Self {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        let state =
            State { mode: Mode::Well, keys, copies: BTreeMap::new(), token: TOKEN.to_owned() };
        Self(Arc::new(Mutex::new(state)))
    }

    pub(crate) fn rotate(&self, key: &str) {
        self.0.lock().unwrap().keys.push(key.into());
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.0.lock().unwrap().mode = mode;
    }

    /// The agent was restarted, with another token.
    pub(crate) fn restart(&self, token: &str) {
        self.0.lock().unwrap().token = token.into();
    }

    /// What it answers.
    pub(crate) fn answer(&self, asked: &Asked) -> Response {
        self.0.lock().unwrap().answer(asked)
    }

    pub(crate) async fn serve(&self) -> Stub {
        let world = self.clone();
        Stub::start(move |asked| world.answer(asked)).await
    }
}

impl State {
    fn answer(&mut self, asked: &Asked) -> Response {
        match self.mode {
            Mode::Throttles => {
                return error(400, "ThrottlingException").with("retry-after", "1");
            }
            Mode::Denies => return error(400, "AccessDeniedException"),
            Mode::Well => {}
        }
        match &*asked.action {
            "DescribeSecret" => self.describe(),
            "GetSecretValue" => self.value(asked),
            "GetParameter" => self.parameter(asked),
            _ => self.agent(asked),
        }
    }

    fn describe(&self) -> Response {
        let newest = self.keys.len();
        let stages: serde_json::Map<_, _> = (1..=newest)
            .rev()
            .zip(["AWSCURRENT", "AWSPREVIOUS"])
            .map(|(number, stage)| (id(number), json!([stage])))
            .collect();
        Response::new(200, json!({ "Name": "prod/trading", "VersionIdsToStages": stages }))
    }

    fn at(&self, stage: &str) -> Option<usize> {
        let newest = self.keys.len();
        match stage {
            "AWSCURRENT" => Some(newest),
            "AWSPREVIOUS" => Some(newest - 1).filter(|number| *number > 0),
            _ => None,
        }
    }

    fn value(&self, asked: &Asked) -> Response {
        match self.at(asked.stage()) {
            Some(number) if ["", &id(number)].contains(&asked.json("VersionId")) => {
                self.secret(number, json!(1_764_000_000 + number))
            }
            _ => error(400, "ResourceNotFoundException"),
        }
    }

    fn secret(&self, number: usize, made: serde_json::Value) -> Response {
        let body = json!({
            "ARN": "arn:aws:secretsmanager:eu-west-1:1:secret:prod/trading-AbCdEf",
            "Name": "prod/trading",
            "VersionId": id(number),
            "SecretString": self.keys[number - 1],
            "VersionStages": ["AWSCURRENT"],
            "CreatedDate": made,
        });
        Response::new(200, body)
    }

    fn parameter(&self, asked: &Asked) -> Response {
        let name = asked.json("Name");
        let number = match name.split_once(':') {
            Some((_, number)) => number.parse().unwrap_or(0),
            None => self.keys.len(),
        };
        match self.keys.get(number.wrapping_sub(1)) {
            Some(key) => Response::new(
                200,
                json!({ "Parameter": {
                    "Name": "/prod/key", "Type": "SecureString", "Value": key, "Version": number,
                    "LastModifiedDate": 1_764_000_000.5 + number as f64,
                } }),
            ),
            None => error(400, "ParameterVersionNotFound"),
        }
    }

    /// As the agent 2.0.0 does.
    fn agent(&mut self, asked: &Asked) -> Response {
        if asked.token != self.token {
            return Response::new(403, "Bad Token");
        }
        let is_by_path = asked.path == "/v1/prod/trading";
        let known = ["secretId", "versionStage", "versionId", "refreshNow"];
        let all_known = asked
            .query
            .keys()
            .all(|name| known.contains(&&**name) && !(is_by_path && name == "secretId"));
        if !all_known || !(is_by_path || asked.path == "/secretsmanager/get") {
            return Response::new(400, "Bad Request");
        }
        let named = asked.query.get("secretId").map(String::as_str);
        let secret = if is_by_path { Some("prod/trading") } else { named };
        if secret != Some("prod/trading") {
            return error(400, "ResourceNotFoundException");
        }
        let stage = asked.stage().to_owned();
        if asked.query.get("refreshNow").is_some_and(|it| it == "true") {
            self.copies.remove(&stage);
        }
        let copy = self.copies.get(&stage).copied().or_else(|| self.at(&stage));
        let Some(number) = copy else { return error(400, "ResourceNotFoundException") };
        self.copies.insert(stage, number);
        self.secret(number, json!((1_764_000_000 + number).to_string()))
    }
}

fn id(number: usize) -> String {
    format!("00000000-0000-0000-0000-{number:012}")
}
