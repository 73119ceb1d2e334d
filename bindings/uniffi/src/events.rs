//! What observers are told.

use std::sync::Arc;

use keyswap::Event;
use serde_json::{Map, Value};
use tokio::sync::Mutex;

use crate::{errors::NativeError, job::NativeJob};

/// Something that happened to the credentials: a name, and fields that are ids and numbers. A field that
/// this kind of event does not have is none.
#[derive(Debug, uniffi::Record)]
pub struct NativeEvent {
    /// Its stable name, the same in every language.
    pub name: String,
    /// One line for people.
    pub text: String,
    /// The number of the generation.
    pub generation: Option<u64>,
    /// The id of the newest credential.
    pub primary: Option<String>,
    /// The code of what went wrong.
    pub error: Option<String>,
    /// When the next fetch is due, in milliseconds.
    pub retry_in_ms: Option<u64>,
    /// The id that was in use before.
    pub from: Option<String>,
    /// The id that is in use now.
    pub to: Option<String>,
    /// The id of the credential that this is about.
    pub credential: Option<String>,
    /// The ids of the credentials that this is about.
    pub credentials: Option<Vec<String>>,
    /// The id that stays in use.
    pub in_use: Option<String>,
    /// Whether the API was seen to accept it.
    pub proven: Option<bool>,
    /// Whether it is the candidate, which nobody depends on yet.
    pub candidate: Option<bool>,
    /// When the candidate is tried again, in milliseconds.
    pub probe_in_ms: Option<u64>,
    /// Why it could not be put on a request; none if the API rejected it.
    pub reason: Option<String>,
    /// Whether the API never accepted anything of this handle.
    pub never_accepted: Option<bool>,
    /// The generation before a way back to an older one.
    pub from_generation: Option<u64>,
    /// The generation that it led to.
    pub to_generation: Option<u64>,
    /// Whether the whole set was revoked.
    pub set: Option<bool>,
    /// How long requests fail fast, in milliseconds.
    pub for_ms: Option<u64>,
    /// For how long this is so, in seconds.
    pub seconds: Option<f64>,
    /// How far the wall clock moved, in milliseconds.
    pub by_ms: Option<i64>,
    /// How many events this observer missed.
    pub missed: Option<u64>,
}

impl From<&Event> for NativeEvent {
    fn from(event: &Event) -> Self {
        let fields = match serde_json::to_value(event) {
            Ok(Value::Object(fields)) => Fields(fields),
            _ => Fields(Map::new()),
        };
        Self {
            name: event.name().to_owned(),
            text: event.to_string(),
            generation: fields.number("generation"),
            primary: fields.text("primary"),
            error: fields.text("error"),
            retry_in_ms: fields.number("retry_in_ms"),
            from: fields.text("from"),
            to: fields.text("to"),
            credential: fields.text("credential"),
            credentials: fields
                .0
                .get("credentials")
                .and_then(Value::as_array)
                .map(|all| all.iter().filter_map(|id| id.as_str().map(str::to_owned)).collect()),
            in_use: fields.text("in_use"),
            proven: fields.truth("proven"),
            candidate: fields.truth("candidate"),
            probe_in_ms: fields.number("probe_in_ms"),
            reason: fields.text("reason"),
            never_accepted: fields.truth("never_accepted"),
            from_generation: fields.number("from_generation"),
            to_generation: fields.number("to_generation"),
            set: fields.truth("set"),
            for_ms: fields.number("for_ms"),
            seconds: fields.0.get("seconds").and_then(Value::as_f64),
            by_ms: fields.0.get("by_ms").and_then(Value::as_i64),
            missed: fields.number("missed"),
        }
    }
}

/// An event as the core writes it.
struct Fields(Map<String, Value>);

impl Fields {
    fn text(&self, name: &str) -> Option<String> {
        self.0.get(name)?.as_str().map(str::to_owned)
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.0.get(name)?.as_u64()
    }

    fn truth(&self, name: &str) -> Option<bool> {
        self.0.get(name)?.as_bool()
    }
}

/// The events of one handle, from the time that this was made. It does not keep the handle alive.
#[derive(uniffi::Object)]
pub struct NativeEvents(Arc<Mutex<keyswap::Events>>);

impl NativeEvents {
    pub(crate) fn new(events: keyswap::Events) -> Arc<Self> {
        Arc::new(Self(Arc::new(Mutex::new(events))))
    }
}

#[uniffi::export]
impl NativeEvents {
    /// Waits for the next event. None once the handle is closed or gone. A wait that is given up loses no
    /// event.
    ///
    /// # Errors
    /// `closed` if the job is cancelled.
    pub async fn next(
        self: Arc<Self>,
        job: Arc<NativeJob>,
    ) -> Result<Option<NativeEvent>, NativeError> {
        let events = self.0.clone();
        let next = async move { Ok(events.lock().await.next().await) };
        Ok(job.run(next).await?.as_ref().map(NativeEvent::from))
    }
}

/// Every name that an event may have.
#[uniffi::export]
pub fn event_names() -> Vec<String> {
    Event::NAMES.iter().map(|name| (*name).to_owned()).collect()
}
