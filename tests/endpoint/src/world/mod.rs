//! The model of a rotation endpoint and of the API that its credentials open.
//!
//! # Theory of operation
//!
//! A [`World`] is pure: no socket, no clock, no randomness. Time is an argument, in milliseconds since
//! the story's start, and must not run backwards. [`World::apply`] makes something happen;
//! [`World::fetch`] and [`World::call`] say what the answer to a request is, and when it comes.
//!
//! - Content is decided when a request **arrives**, never when its answer leaves: a cut during a slow
//!   fetch leaves that fetch with the old state.
//! - Counting happens at arrival, too. A fetch that an outage drops counts as started and failed; a
//!   request to the API that an outage drops never reached it and counts as nothing.
//! - A request that meets `hang` is lost for good, even if the fault ends later.
//! - What the API accepts (*committed*) and what the endpoint shows (*published*) are two things: the
//!   second may lag behind the first, and each replica may lag by itself.
//! - A previous credential with a grace is accepted until the grace ends, whatever its expiry was. One
//!   without is accepted until it expires, or falls off the list of two.

mod adoption;
mod call;
mod config;
mod credential;
mod fetch;
mod operate;
mod problem;
mod push;
mod region;
mod rotation;
mod sign;
mod step;
mod wire;

use std::collections::{BTreeMap, HashMap};

pub use adoption::AckRequest;
pub use call::{ApiReply, ApiRequest};
pub use config::{Level, MOST_REGIONS, SchemeConfig, Secret, Setting, WorldConfig};
pub use fetch::{FetchOutcome, FetchReply, FetchRequest};
pub use operate::{OperateReply, OperateRequest, Operation};
pub use problem::PROBLEM_JSON;
pub use push::{Asked, EventsRequest, Frame, Hold, Opened, Pushed, Said, Stream};
pub use rotation::{Commit, CommitKind, StepError};
pub use sign::Signed;
pub use step::{ApiFault, ApiStep, EndpointFault, EndpointStep, Next, Propagation, Rotate, Step};

use adoption::Adoption;
use call::ApiState;
use credential::Credential;
use push::PushCounts;
use region::Region;
use rotation::{Publication, SetState};
use sign::Signer;

use crate::presented::percent;

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Planned<T> {
    /// It is answered.
    Answer {
        /// After this long.
        after_ms: u64,
        /// With this.
        reply: T,
    },
    /// The head of this answer and the first half of its body arrive, then the connection ends.
    Torn {
        /// After this long.
        after_ms: u64,
        /// The whole answer; its `Content-Length` is that of the whole body.
        reply: T,
    },
    /// The connection ends without an answer.
    Dropped,
    /// Nothing ever comes, until the client gives up.
    Hang,
}

impl<T> Planned<T> {
    /// The answer, if a whole one comes.
    pub fn reply(&self) -> Option<&T> {
        match self {
            Self::Answer { reply, .. } => Some(reply),
            _ => None,
        }
    }
}

/// The model. See the [module](self) for its rules.
#[derive(Clone, Debug)]
pub struct World {
    config: WorldConfig,
    setting: Setting,
    /// `kN` is at N-1.
    credentials: Vec<Credential>,
    by_material: HashMap<Secret, usize>,
    committed: SetState,
    published: Vec<Publication>,
    /// Places of publications that no region has spoken of yet.
    unannounced: Vec<usize>,
    activation: Option<(u64, Rotate)>,
    commits: Vec<Commit>,
    regions: Vec<Region>,
    api: ApiState,
    fetches: Fetches,
    push: PushCounts,
    adoption: Adoption,
    signer: Signer,
    leaks: u64,
    operations: HashMap<String, (Operation, OperateReply)>,
}

#[derive(Clone, Debug, Default)]
struct Fetches {
    started: u64,
    changed: u64,
    not_modified: u64,
    failed: u64,
}

/// A fault that may end by itself.
#[derive(Clone, Debug)]
struct Fault<F> {
    kind: Option<F>,
    until: Option<u64>,
}

impl<F> Default for Fault<F> {
    fn default() -> Self {
        Self { kind: None, until: None }
    }
}

impl<F: Clone> Fault<F> {
    fn set(&mut self, now: u64, kind: Option<F>, for_ms: Option<u64>) {
        *self = Self { kind, until: for_ms.map(|ms| now.saturating_add(ms)) };
    }

    fn at(&self, now: u64) -> Option<F> {
        self.kind.as_ref().filter(|_| self.until.is_none_or(|until| now < until)).cloned()
    }

    /// When it ends by itself, if that is still to come.
    fn ends(&self, now: u64) -> Option<u64> {
        self.until.filter(|until| self.kind.is_some() && now < *until)
    }
}

impl World {
    /// A world at time 0, with `k1` in generation 1.
    pub fn new(config: WorldConfig, setting: Setting) -> Self {
        let config = WorldConfig {
            replicas: config.replicas.max(1),
            regions: config.regions.clamp(1, MOST_REGIONS),
            ping_ms: config.ping_ms.max(1),
            ..config
        };
        let mut world = Self {
            committed: SetState::empty(),
            credentials: Vec::new(),
            by_material: HashMap::new(),
            published: Vec::new(),
            unannounced: Vec::new(),
            activation: None,
            commits: Vec::new(),
            regions: vec![Region::default(); config.regions],
            api: ApiState::new(config.replicas),
            fetches: Fetches::default(),
            push: PushCounts::default(),
            adoption: Adoption::default(),
            signer: Signer::new(setting.seed),
            leaks: 0,
            operations: HashMap::new(),
            config,
            setting,
        };
        world.begin();
        world
    }

    /// Makes a step of a timeline happen.
    ///
    /// # Errors
    /// When the step cannot happen in the present state; nothing has changed then.
    pub fn apply(&mut self, now: u64, step: &Step) -> Result<(), StepError> {
        self.advance(now);
        match step {
            Step::Endpoint(step) => self.befall(now, step)?,
            Step::Api(step) => self.api.set_fault(now, step.fault.clone(), step.for_ms),
            step => self.change(now, step)?,
        }
        self.announce(now);
        Ok(())
    }

    /// Notes a request that came to the other origin. It leaks if it presents any credential, or if
    /// the material of one (or the bootstrap token) stands anywhere in its target or headers.
    pub fn elsewhere<'a>(
        &mut self,
        presented: Option<&str>,
        texts: impl IntoIterator<Item = &'a str>,
    ) -> bool {
        let leaks = presented.is_some() || texts.into_iter().any(|text| self.holds_material(text));
        self.leaks += u64::from(leaks);
        leaks
    }

    /// What was counted, by the keys of a story's `expect`. Zeros are there, too, except for
    /// credentials that were never sent and paths that were never asked for. `api.extra` is left to who knows the callers' requests.
    pub fn counters(&self) -> BTreeMap<String, u64> {
        let fixed = [
            ("fetch.started", self.fetches.started),
            ("fetch.changed", self.fetches.changed),
            ("fetch.not_modified", self.fetches.not_modified),
            ("fetch.failed", self.fetches.failed),
            ("api.sends", self.api.sends),
            ("api.accepted", self.api.accepted),
            ("api.rejected", self.api.rejected),
            ("leaks", self.leaks),
            ("push.connects", self.push.connects),
            ("push.events", self.push.events),
            ("wait.started", self.push.waits),
            ("acks.accepted", self.adoption.accepted),
            ("acks.refused", self.adoption.refused),
        ];
        let regions = self.regions.iter().enumerate();
        let sent = self.credentials.iter().filter(|credential| credential.sends > 0);
        fixed
            .into_iter()
            .map(|(key, count)| (key.to_owned(), count))
            .chain(regions.map(|(n, region)| (format!("fetch.region.{n}"), region.fetches)))
            .chain(sent.map(|one| (format!("api.with.{}", one.id), one.sends)))
            .chain(self.api.paths.iter().map(|(path, sends)| (format!("api.path.{path}"), *sends)))
            .collect()
    }

    /// Every generation there was, the first one too, in order.
    pub fn commits(&self) -> &[Commit] {
        &self.commits
    }

    /// What this world was made of.
    pub fn config(&self) -> &WorldConfig {
        &self.config
    }

    /// What it was told about its surroundings.
    pub fn setting(&self) -> &Setting {
        &self.setting
    }

    /// Moves the wall clock that time 0 stands for. For a world that waits before its start.
    pub fn set_wall_ms(&mut self, wall_ms: i64) {
        self.setting.wall_ms = wall_ms;
    }

    /// The material of a credential.
    pub fn material(&self, id: &str) -> Option<&Secret> {
        self.find(id).map(|at| &self.credentials[at].material)
    }

    /// The credential that has this material.
    pub fn credential_of(&self, material: &str) -> Option<&str> {
        let at = self.by_material.get(material)?;
        Some(&self.credentials[*at].id)
    }

    /// Whether a replica accepts a credential, faults aside.
    pub fn accepts(&mut self, now: u64, id: &str, replica: usize) -> bool {
        self.advance(now);
        replica < self.config.replicas
            && self.find(id).is_some_and(|at| self.credentials[at].accepted(replica, now))
    }

    fn find(&self, id: &str) -> Option<usize> {
        self.credentials.iter().position(|credential| credential.id == id)
    }

    fn holds_material(&self, text: &str) -> bool {
        let tokens = [&self.config.bootstrap, &self.setting.operator];
        // A key within a URL that is quoted in another one's query is as readable.
        let once = percent(text);
        let twice = percent(&once);
        self.credentials
            .iter()
            .map(|credential| &credential.material)
            .chain(tokens)
            .map(Secret::reveal)
            .filter(|secret| !secret.is_empty())
            .any(|secret| [text, &once, &twice].iter().any(|text| text.contains(secret)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn step(json: &str) -> Step {
        serde_json::from_str(json).expect(json)
    }

    pub(super) fn world(json: &str) -> World {
        World::new(serde_json::from_str(json).expect(json), Setting::default())
    }

    #[test]
    fn a_fault_ends_by_itself_or_by_the_next_one() {
        let mut fault = Fault::default();
        fault.set(10, Some(1), Some(5));
        assert_eq!((fault.at(14), fault.at(15)), (Some(1), None));
        fault.set(20, Some(2), None);
        assert_eq!(fault.at(1_000_000), Some(2));
        fault.set(30, None, None);
        assert_eq!(fault.at(30), None);
    }

    #[test]
    fn a_leak_is_any_credential_seen_elsewhere() {
        let mut world = world("{}");
        let material = world.material("k1").expect("k1").reveal().to_owned();
        assert!(!world.elsewhere(None, ["/landed", "accept: */*"]));
        assert!(world.elsewhere(Some("anything"), []));
        assert!(world.elsewhere(None, [format!("/landed?token={material}").as_str()]));
        assert!(world.elsewhere(None, ["token=bootstrap"]));
        assert!(world.elsewhere(None, ["/login?next=%2F%3Ftoken%3D%2562ootstrap"]));
        assert_eq!(world.counters()["leaks"], 4);
    }

    #[test]
    fn nothing_prints_material() {
        let mut world = world("{}");
        let material = world.material("k1").expect("k1").reveal().to_owned();
        let fetch =
            world.fetch(0, &FetchRequest { bearer: Some("bootstrap"), ..Default::default() });
        let body = &fetch.reply().expect("an answer").body;
        assert!(String::from_utf8_lossy(body).contains(&material), "the body does carry it");
        let call = ApiRequest { credential: Some(&material), ..Default::default() };
        let printed = format!("{world:?} {fetch:?} {call:?} {:?}", world.commits());
        assert!(!printed.contains(&material) && !printed.contains("\"bootstrap\""), "{printed}");
    }

    #[test]
    fn the_model_knows_no_socket_and_no_clock() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/world");
        let mut paths = vec![folder];
        while let Some(path) = paths.pop() {
            if path.is_dir() {
                let entries = std::fs::read_dir(path).expect("the folder");
                paths.extend(entries.map(|entry| entry.expect("an entry").path()));
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("a file");
            let banned = ["tokio", "hyper", "std::net", "Instant", "SystemTime", "Timestamp::now"];
            for word in banned {
                let quoted = format!("\"{word}\"");
                assert!(
                    !text.replace(&quoted, "").contains(word),
                    "{} in {}",
                    word,
                    path.display()
                );
            }
        }
    }
}
