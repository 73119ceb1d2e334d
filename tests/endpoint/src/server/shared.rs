//! What all connections share: the world, its clock, and the story that runs in it.

use std::collections::BTreeMap;
use std::fmt;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tokio::sync::watch;

use super::{BASE, Committed, Sent, Verdict};
use crate::story::{Story, Timeline};
use crate::world::{Setting, World, WorldConfig};

type Observer = Arc<dyn Fn(&Sent<'_>) + Send + Sync>;

/// The origins.
#[derive(Clone, Debug)]
pub(super) struct Urls {
    /// One for each region that there may be.
    pub(super) endpoints: Vec<String>,
    pub(super) api: String,
    pub(super) other: String,
}

pub(super) struct Shared {
    pub(super) urls: Urls,
    inner: Mutex<Inner>,
    /// Counts worlds. A request that hangs is let go when its world is gone.
    worlds: watch::Sender<u64>,
    /// Counts changes, so that what waits for one can look again.
    changes: watch::Sender<u64>,
    observer: RwLock<Option<Observer>>,
}

/// How long to wait before the world is asked again.
pub(super) struct Pause {
    ms: Option<u64>,
    changes: watch::Receiver<u64>,
}

impl Pause {
    /// Ends when its time has come, or something changed.
    pub(super) async fn over(mut self) {
        let timer = async {
            match self.ms {
                Some(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = timer => {}
            // An error means that the server is gone, and those who wait with it.
            _ = self.changes.changed() => {}
        }
    }
}

struct Inner {
    config: WorldConfig,
    setting: Setting,
    world: World,
    story: Option<Story>,
    timeline: Option<Timeline>,
    /// The instant of time 0; none while the story waits.
    origin: Option<Instant>,
    errors: Vec<String>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("urls", &self.urls).finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn new(config: WorldConfig, setting: Setting, urls: Urls) -> Self {
        let setting = Setting { wall_ms: wall_ms(), ..setting };
        let world = World::new(config.clone(), setting.clone());
        let (story, timeline) = (None, None);
        let origin = Some(Instant::now());
        let errors = Vec::new();
        let inner = Inner { config, setting, world, story, timeline, origin, errors };
        Self {
            urls,
            inner: Mutex::new(inner),
            worlds: watch::Sender::new(0),
            changes: watch::Sender::new(0),
            observer: RwLock::default(),
        }
    }

    /// Asks the world, as it is after everything that is due has happened.
    pub(super) fn with<T>(&self, ask: impl FnOnce(&mut World, u64) -> T) -> T {
        let mut inner = self.lock();
        let now = inner.catch_up();
        ask(&mut inner.world, now)
    }

    /// The same, for what may change something that others wait for.
    pub(super) fn change<T>(&self, ask: impl FnOnce(&mut World, u64) -> T) -> T {
        let told = self.with(ask);
        self.changes.send_modify(|changes| *changes += 1);
        told
    }

    /// The same, for what will ask again: it says when, and is told how to wait for that. None if the
    /// world is not the one with this number any more.
    pub(super) fn watch<T>(
        &self,
        number: u64,
        ask: impl FnOnce(&mut World, u64) -> (T, u64),
    ) -> Option<(T, Pause)> {
        // From here on no change is missed.
        let changes = self.changes.subscribe();
        let mut inner = self.lock();
        if *self.worlds.borrow() != number {
            return None;
        }
        let now = inner.catch_up();
        let (told, next_at) = ask(&mut inner.world, now);
        let step_at = inner.timeline.as_mut().and_then(Timeline::next_at).unwrap_or(u64::MAX);
        let next_at = Some(next_at.min(step_at)).filter(|at| *at < u64::MAX);
        // While a story waits for its beginning, its time does not pass.
        let ms = next_at.filter(|_| inner.origin.is_some()).map(|at| at.saturating_sub(now));
        Some((told, Pause { ms, changes }))
    }

    /// The number of the world that there is now.
    pub(super) fn number(&self) -> u64 {
        *self.worlds.borrow()
    }

    /// Where the set is fetched, by region.
    pub(super) fn set_urls(&self) -> Vec<String> {
        let (set, regions) =
            self.with(|world, _| (world.setting().set.clone(), world.config().regions));
        let urls = self.urls.endpoints.iter().take(regions);
        urls.map(|url| format!("{url}{BASE}/sets/{set}")).collect()
    }

    pub(super) fn commits(&self) -> Vec<Committed> {
        let mut inner = self.lock();
        inner.catch_up();
        let origin = inner.origin.unwrap_or_else(Instant::now);
        let committed = |commit: &crate::world::Commit| Committed {
            generation: commit.generation,
            credential: commit.credential.clone(),
            replaced: commit.replaced.clone(),
            kind: commit.kind,
            committed_at: origin + Duration::from_millis(commit.at_ms),
            at_ms: commit.at_ms,
            visible_at_ms: commit.visible_at_ms,
        };
        inner.world.commits().iter().map(committed).collect()
    }

    /// Ends when the world that there is now is gone.
    pub(super) fn world_gone(&self) -> impl Future<Output = ()> + use<> {
        let mut worlds = self.worlds.subscribe();
        async move {
            // An error means that the server is gone, and the world with it.
            let _ = worlds.changed().await;
        }
    }

    pub(super) fn observe(&self, observer: Observer) {
        *self.observer.write().unwrap_or_else(PoisonError::into_inner) = Some(observer);
    }

    pub(super) fn tell(&self, sent: &Sent<'_>) {
        let observer = self.observer.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(tell) = observer {
            tell(sent);
        }
    }

    pub(super) fn load(&self, story: Option<Story>) {
        let mut inner = self.lock();
        if story.is_some() {
            inner.story = story;
        }
        inner.renew();
        // Under the lock, so that nobody asks the new world about what was open in the old one.
        self.worlds.send_modify(|worlds| *worlds += 1);
        self.changes.send_modify(|changes| *changes += 1);
    }

    pub(super) fn begin(&self) {
        self.lock().begin();
        self.changes.send_modify(|changes| *changes += 1);
    }

    pub(super) fn reset(&self) {
        self.load(None);
    }

    pub(super) fn finish(&self, counted: BTreeMap<String, Value>) -> Verdict {
        let mut inner = self.lock();
        inner.catch_up();
        let mut counters = counted;
        // What the world counts, nobody else may.
        let own = inner.world.counters();
        counters.extend(own.into_iter().map(|(key, count)| (key, Value::from(count))));
        let mismatches =
            inner.story.as_ref().map(|story| story.check(&counters)).unwrap_or_default();
        let errors = inner.errors.clone();
        Verdict { ok: mismatches.is_empty() && errors.is_empty(), mismatches, errors, counters }
    }

    /// A panic while the lock was held cannot leave the world half changed in a way that matters to
    /// a test, which has failed already.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Does what is due, each at its own time, and says what time it is.
    fn catch_up(&mut self) -> u64 {
        let Some(origin) = self.origin else { return 0 };
        let now = u64::try_from(origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        if let Some(timeline) = &mut self.timeline {
            while let Some(timed) = timeline.due(now) {
                if let Err(error) = self.world.apply(timed.at, &timed.step) {
                    self.errors.push(format!("the step at {}: {error}", timed.at));
                }
            }
        }
        now
    }

    fn renew(&mut self) {
        let config = self.story.as_ref().map_or(&self.config, |story| &story.world).clone();
        self.setting.wall_ms = wall_ms();
        self.world = World::new(config, self.setting.clone());
        self.timeline = None;
        self.errors = Vec::new();
        self.origin = self.story.is_none().then(Instant::now);
    }

    fn begin(&mut self) {
        if self.origin.is_none() {
            self.timeline = self.story.as_ref().map(Story::timeline);
            // The time between loading and the beginning did not exist.
            self.world.set_wall_ms(wall_ms());
            self.origin = Some(Instant::now());
        }
    }
}

fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
