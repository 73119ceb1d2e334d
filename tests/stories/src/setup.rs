//! How a story sets the client up: its `policy` and its `client`.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use keyswap::{
    Classifier, DefaultClassifier, Policy, ResponseFilter, ResponseView, Scheme, Verdict,
};
use keyswap_endpoint::story::Story;
use serde::Deserialize;
use serde_json::Value;

use crate::PlayError;

pub(crate) struct Setup {
    pub(crate) policy: Policy,
    pub(crate) client: ClientSetup,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ClientSetup {
    pub(crate) retries: u32,
    pub(crate) start: Start,
    scheme: Placing,
    classifier: Judging,
    pub(crate) hints: Vec<TimedHint>,
    /// Follow the levels that the set says are served.
    pub(crate) push: bool,
    /// The silence after which push is lost.
    pub(crate) heartbeat_ms: Option<u64>,
    /// Pin the endpoint's key.
    pub(crate) signed_by_endpoint: bool,
    /// For how long a report of use holds.
    pub(crate) lease_ms: Option<u64>,
}

impl Default for ClientSetup {
    fn default() -> Self {
        Self {
            retries: 0,
            start: Start::default(),
            scheme: Placing::default(),
            classifier: Judging::default(),
            hints: Vec::new(),
            push: true,
            heartbeat_ms: None,
            signed_by_endpoint: false,
            lease_ms: None,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Start {
    /// The story begins when the first set is there.
    #[default]
    Ready,
    /// The client starts with the story.
    Cold,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Placing {
    #[default]
    Header,
    Bearer,
    Query,
    Set,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Judging {
    #[default]
    Status,
    CodeInBody,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TimedHint {
    pub(crate) at: u64,
    pub(crate) generation: Option<u64>,
}

impl Setup {
    pub(crate) fn of(story: &Story) -> Result<Self, PlayError> {
        let mut policy: Policy = serde_json::from_value(Value::Object(story.policy.clone()))?;
        let client: ClientSetup = serde_json::from_value(Value::Object(story.client.clone()))?;
        if let Some(ms) = client.lease_ms {
            policy.lease = Duration::from_millis(ms);
        }
        policy.validate()?;
        Ok(Self { policy, client })
    }
}

impl ClientSetup {
    /// How credentials go onto requests; none: as the set says.
    pub(crate) fn scheme(&self) -> Option<Scheme> {
        match self.scheme {
            Placing::Header => Some(Scheme::header("x-api-key")),
            Placing::Bearer => Some(Scheme::bearer()),
            Placing::Query => Some(Scheme::query("api_key")),
            Placing::Set => None,
        }
    }

    pub(crate) fn classifier(&self) -> Judge {
        Judge(match self.classifier {
            Judging::Status => Arc::new(DefaultClassifier),
            Judging::CodeInBody => Arc::new(CodeInBody),
        })
    }
}

/// The classifier that a story chooses.
#[derive(Clone, Debug)]
pub(crate) struct Judge(Arc<dyn Classifier>);

impl Classifier for Judge {
    fn classify(&self, response: &ResponseView<'_>) -> Verdict {
        self.0.classify(response)
    }

    fn response_filter(&self) -> ResponseFilter {
        self.0.response_filter()
    }
}

/// A refused key is a 200 whose body says `bad_key`; all else is judged by the status.
#[derive(Debug)]
struct CodeInBody;

impl Classifier for CodeInBody {
    fn classify(&self, response: &ResponseView<'_>) -> Verdict {
        const CODE: &[u8] = b"\"bad_key\"";
        match (response.status(), response.body()) {
            (StatusCode::OK, None) => Verdict::NeedBody,
            (StatusCode::OK, Some(body)) if body.windows(CODE.len()).any(|part| part == CODE) => {
                Verdict::Rejected
            }
            _ => DefaultClassifier.classify(response),
        }
    }

    fn response_filter(&self) -> ResponseFilter {
        ResponseFilter::new([200, 401]).with_body_limit(256)
    }
}
