//! One story: what happens, what callers do, and which counts must come out.

mod expect;

use std::collections::BTreeMap;
use std::vec;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use expect::{Expect, Expected, Mismatch};

use crate::world::{MOST_REGIONS, Setting, Step, StepError, World, WorldConfig};

/// A story, as its file says it. Times are milliseconds from its start.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Story {
    /// Its name.
    pub name: String,
    /// One sentence.
    #[serde(default)]
    pub about: String,
    /// The rules that it tests.
    #[serde(default)]
    pub rules: Vec<String>,
    /// Too long for real time.
    #[serde(default)]
    pub virtual_only: bool,
    /// How long it lasts.
    pub run_ms: u64,
    /// What every language's policy takes. Passed on as it is: the policy knows its own names.
    #[serde(default)]
    pub policy: Map<String, Value>,
    /// How the client is set up. Passed on as it is.
    #[serde(default)]
    pub client: Map<String, Value>,
    /// The endpoint and the API.
    #[serde(default)]
    pub world: WorldConfig,
    /// What happens to them.
    #[serde(default)]
    pub timeline: Vec<TimedStep>,
    /// What callers do.
    #[serde(default)]
    pub callers: Vec<Caller>,
    /// What must come out.
    #[serde(default)]
    pub expect: Expect,
}

/// A step and its time.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub struct TimedStep {
    /// When it happens.
    pub at: u64,
    /// What happens.
    pub step: Step,
}

impl TryFrom<Map<String, Value>> for TimedStep {
    type Error = String;

    fn try_from(mut map: Map<String, Value>) -> Result<Self, String> {
        let at = map.remove("at").ok_or("a step of the timeline needs `at`")?;
        let at = at.as_u64().ok_or_else(|| format!("`at` must be milliseconds, not {at}"))?;
        let step = serde_json::from_value(Value::Object(map))
            .map_err(|error| format!("in the step at {at}: {error}"))?;
        Ok(Self { at, step })
    }
}

/// Callers that do the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Caller {
    /// When the first request of each begins.
    pub at: u64,
    /// How many callers.
    pub count: u64,
    /// Requests of each.
    pub repeat: u64,
    /// From one start to the next; a late one starts at once.
    pub every: u64,
    /// The path.
    pub path: String,
    /// The method.
    pub method: String,
    /// What body a request has.
    pub body: Body,
    /// A request's own deadline.
    pub timeout_ms: u64,
    /// When the caller gives up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancel_after_ms: Option<u64>,
    /// Scopes that a request needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
}

impl Default for Caller {
    fn default() -> Self {
        Self {
            at: 0,
            count: 1,
            repeat: 1,
            every: 0,
            path: "/v1/price".to_owned(),
            method: "GET".to_owned(),
            body: Body::None,
            timeout_ms: 10_000,
            cancel_after_ms: None,
            scopes: None,
        }
    }
}

/// The body of a caller's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// None at all.
    None,
    /// One that can be sent again.
    Replayable,
    /// A stream that cannot.
    OneShot,
}

/// What is wrong with a story.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoryError {
    /// It is not written as a story.
    #[error("not a story: {0}")]
    Format(#[from] serde_json::Error),
    /// A number makes no sense.
    #[error("the story `{name}`: {what}")]
    Invalid {
        /// The story.
        name: String,
        /// What and why.
        what: String,
    },
    /// A step cannot happen when it should.
    #[error("the story `{name}`: the step at {at} cannot happen: {source}")]
    Step {
        /// The story.
        name: String,
        /// Its time.
        at: u64,
        /// Why.
        source: StepError,
    },
}

impl Story {
    /// Reads a story and validates it.
    ///
    /// # Errors
    /// When it is not written by the format, or does not validate.
    ///
    /// ```
    /// # use keyswap_endpoint::story::Story;
    /// let story = Story::parse(r#"{"name": "calm", "run_ms": 100, "expect": {"failed": 0}}"#)?;
    /// assert!(story.check(&Default::default()).is_empty());
    /// # Ok::<(), keyswap_endpoint::story::StoryError>(())
    /// ```
    pub fn parse(json: &str) -> Result<Self, StoryError> {
        let story: Self = serde_json::from_str(json)?;
        story.validate()?;
        Ok(story)
    }

    /// Checks the numbers, and that every step can happen when it should.
    ///
    /// # Errors
    /// Names the first thing that is wrong.
    pub fn validate(&self) -> Result<(), StoryError> {
        let late = self.timeline.iter().map(|timed| timed.at).find(|at| *at > self.run_ms);
        let rules = [
            (self.name.is_empty(), "it needs a name".to_owned()),
            (self.run_ms == 0, "`run_ms` must be more than zero".to_owned()),
            (self.world.replicas == 0, "`replicas` must be at least 1".to_owned()),
            (
                !(1..=MOST_REGIONS).contains(&self.world.regions),
                format!("`regions` must be from 1 to {MOST_REGIONS}"),
            ),
            (late.is_some(), format!("the step at {} is after its end", late.unwrap_or(0))),
            (
                self.callers.iter().any(|caller| caller.count == 0 || caller.repeat == 0),
                "`count` and `repeat` must be at least 1".to_owned(),
            ),
            (
                self.callers.iter().any(|caller| !caller.path.starts_with('/')),
                "a `path` begins with `/`".to_owned(),
            ),
        ];
        if let Some((_, what)) = rules.into_iter().find(|(broken, _)| *broken) {
            return Err(StoryError::Invalid { name: self.name.clone(), what });
        }
        // No step depends on what callers do, so a rehearsal without them is exact.
        let mut world = World::new(self.world.clone(), Setting::default());
        let mut timeline = self.timeline();
        while let Some(timed) = timeline.due(u64::MAX) {
            world.apply(timed.at, &timed.step).map_err(|source| {
                let (name, at) = (self.name.clone(), timed.at);
                StoryError::Step { name, at, source }
            })?;
        }
        Ok(())
    }

    /// The steps in the order of their times.
    pub fn timeline(&self) -> Timeline {
        let mut steps = self.timeline.clone();
        steps.sort_by_key(|timed| timed.at);
        Timeline { steps: steps.into_iter().peekable() }
    }

    /// The steps that happen at or before this time, in order.
    pub fn due(&self, now: u64) -> impl Iterator<Item = TimedStep> {
        let mut timeline = self.timeline();
        std::iter::from_fn(move || timeline.due(now))
    }

    /// Compares what was counted with what must come out. A key that is absent counts as 0, and
    /// `api.extra` is worked out if nobody counted it.
    pub fn check(&self, counted: &BTreeMap<String, Value>) -> Vec<Mismatch> {
        self.expect.check(counted)
    }
}

/// The steps that are still to happen.
#[derive(Clone, Debug)]
pub struct Timeline {
    steps: std::iter::Peekable<vec::IntoIter<TimedStep>>,
}

impl Timeline {
    /// Takes the next step, if its time has come. To be asked until there is none.
    pub fn due(&mut self, now: u64) -> Option<TimedStep> {
        self.steps.next_if(|timed| timed.at <= now)
    }

    /// When the next step happens.
    pub fn next_at(&mut self) -> Option<u64> {
        self.steps.peek().map(|timed| timed.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(json: &str) -> String {
        Story::parse(json).expect_err(json).to_string()
    }

    #[test]
    fn the_example_of_the_format_is_a_story() {
        let readme = include_str!("../../../scenarios/README.md");
        let example = readme.split("```json").nth(1).and_then(|rest| rest.split("```").next());
        let story = Story::parse(example.expect("an example")).expect("a story");
        assert_eq!((story.run_ms, story.timeline.len(), story.callers[0].count), (900, 1, 4));
        assert_eq!(story.due(199).count(), 0);
        assert_eq!(story.due(200).count(), 1);
    }

    #[test]
    fn errors_say_where() {
        let step =
            |step: &str| error(&format!(r#"{{"name": "x", "run_ms": 10, "timeline": [{step}]}}"#));
        assert!(step(r#"{"do": "cut"}"#).contains("needs `at`"));
        assert!(step(r#"{"at": -1, "do": "cut"}"#).contains("must be milliseconds"));
        assert!(
            step(r#"{"at": 7, "do": "cut", "x": 1}"#).contains("in the step at 7: unknown field")
        );
        assert!(step(r#"{"at": 11, "do": "cut"}"#).contains("after its end"));
        assert!(step(r#"{"at": 1, "do": "rollback"}"#).contains("the step at 1 cannot happen"));
        assert!(step(r#"{"at":1,"do":"cut","propagation_ms":[1,2]}"#).contains("2 replicas of 1"));
        assert!(error(r#"{"name": "x"}"#).contains("run_ms"));
        assert!(error(r#"{"name": "x", "run_ms": 0}"#).contains("more than zero"));
        assert!(
            error(r#"{"name": "x", "run_ms": 1, "word": {}}"#).contains("unknown field `word`")
        );
        assert!(error(r#"{"name":"x","run_ms":1,"world":{"replica":2}}"#).contains("`replica`"));
        assert!(error(r#"{"name":"x","run_ms":1,"world":{"regions":9}}"#).contains("from 1 to 4"));
        assert!(error(r#"{"name":"x","run_ms":1,"world":{"levels":["x"]}}"#).contains("`x`"));
        assert!(
            step(r#"{"at":1,"do":"endpoint","fault":"none","region":1}"#).contains("no region 1")
        );
        assert!(error(r#"{"name":"x","run_ms":1,"callers":[{"body":"two"}]}"#).contains("`two`"));
        assert!(error(r#"{"name":"x","run_ms":1,"callers":[{"count":0}]}"#).contains("at least 1"));
        assert!(error(r#"{"name":"x","run_ms":1,"expect":{"fails":0}}"#).contains("`fails`"));
    }

    #[test]
    fn a_timeline_is_taken_in_order() {
        let json = r#"{"name": "x", "run_ms": 10, "timeline": [
            {"at": 5, "do": "rollback"}, {"at": 2, "do": "rotate"}]}"#;
        let mut timeline = Story::parse(json).expect("a story").timeline();
        assert_eq!(timeline.next_at(), Some(2));
        assert!(timeline.due(1).is_none());
        assert_eq!(timeline.due(9).map(|timed| timed.at), Some(2));
        assert_eq!(timeline.due(9).map(|timed| timed.step), Some(Step::Rollback {}));
        assert_eq!((timeline.due(9), timeline.next_at()), (None, None));
    }
}
