//! A world behind loopback sockets.
//!
//! # Theory of operation
//!
//! These listen: the rotation endpoint, once for each region that a world may have (with operations, and
//! the control API under `/control`), the protected API, and the *other origin*, at which no credential
//! should ever be seen. Each request asks the [`World`] under a lock that is held for that question only,
//! then waits as planned. A stream of events or a long poll asks again when the world said so, when the
//! next step of the story is due, and after each change.
//!
//! Time runs from [`Running::begin`], or from the start if no story is loaded; before that it stands
//! at 0. The steps of a story need no timer: those that are due happen, at their own times, before
//! anybody asks the world anything. So a late machine changes nothing about what a story means.
//!
//! A dropped connection is dropped after its request was read, whether it is new or kept alive, so
//! that a fetch into an outage is counted the same over sockets as in virtual time.

mod api;
mod control;
mod push;
mod routes;
mod shared;
mod shell;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use serde_json::Value;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;

use crate::story::{Mismatch, Story, StoryError};
use crate::world::{
    CommitKind, MOST_REGIONS, Secret, Setting, Step, StepError, World, WorldConfig,
};
use shared::{Shared, Urls};

/// The path that the endpoint's own paths begin with.
pub const BASE: &str = "/keyswap/v1";

/// An endpoint, an API and another origin that are to be started.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// # use keyswap_endpoint::server::Endpoint;
/// let running = Endpoint::builder().set("orders").seed(7).start().await?;
/// assert!(running.set_url().ends_with("/keyswap/v1/sets/orders"));
/// # Ok::<(), std::io::Error>(())
/// # })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Endpoint {
    config: WorldConfig,
    setting: Setting,
    listen: [SocketAddr; 3],
}

impl Endpoint {
    /// Starts with a world, on ephemeral ports of 127.0.0.1, in the current tokio runtime.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(config: WorldConfig) -> io::Result<Running> {
        Self::builder().world(config).start().await
    }

    /// Begins with the defaults: set `trading`, ephemeral ports of 127.0.0.1.
    pub fn builder() -> Builder {
        let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        let setting = Setting::default();
        Builder(Self { config: WorldConfig::default(), setting, listen: [any; 3] })
    }
}

/// Builds an [`Endpoint`] and starts it.
#[derive(Clone, Debug)]
pub struct Builder(Endpoint);

impl Builder {
    /// The endpoint and the API, as a story would say.
    pub fn world(mut self, config: WorldConfig) -> Self {
        self.0.config = config;
        self
    }

    /// The id of the set.
    pub fn set(mut self, id: impl Into<String>) -> Self {
        self.0.setting.set = id.into();
        self
    }

    /// The token that operations want.
    pub fn operator(mut self, token: impl Into<String>) -> Self {
        self.0.setting.operator = Secret::new(token);
        self
    }

    /// What the material of the credentials is derived from.
    pub fn seed(mut self, seed: u64) -> Self {
        self.0.setting.seed = seed;
        self
    }

    /// Where the endpoint listens.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.0.listen[0] = address;
        self
    }

    /// Where the API listens.
    pub fn api_listen(mut self, address: SocketAddr) -> Self {
        self.0.listen[1] = address;
        self
    }

    /// Where the other origin listens.
    pub fn other_listen(mut self, address: SocketAddr) -> Self {
        self.0.listen[2] = address;
        self
    }

    /// Binds the sockets and serves them, in the current tokio runtime.
    ///
    /// # Errors
    /// When an address is not of the loopback, or cannot be had, or the world has too many regions.
    pub async fn start(self) -> io::Result<Running> {
        let Endpoint { config, mut setting, listen } = self.0;
        if !(1..=MOST_REGIONS).contains(&config.regions) {
            let why = format!("`regions` must be from 1 to {MOST_REGIONS}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let mut endpoints = vec![bind(listen[0]).await?];
        // A story may be loaded later that has more regions.
        for _ in 1..MOST_REGIONS {
            endpoints.push(bind(SocketAddr::new(listen[0].ip(), 0)).await?);
        }
        let [api, other] = [bind(listen[1]).await?, bind(listen[2]).await?];
        let url = |listener: &TcpListener| {
            Ok::<_, io::Error>(format!("http://{}", listener.local_addr()?))
        };
        let urls = Urls {
            endpoints: endpoints.iter().map(url).collect::<Result<_, _>>()?,
            api: url(&api)?,
            other: url(&other)?,
        };
        // Bound and not listened on: nobody else gets the port, and who connects is refused.
        let closed = TcpSocket::new_v4()?;
        closed.bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0))?;
        setting.other_origin.clone_from(&urls.other);
        setting.api_origin.clone_from(&urls.api);
        setting.closed_origin = format!("http://{}", closed.local_addr()?);
        let shared = Arc::new(Shared::new(config, setting, urls));
        let (stop, stopped) = watch::channel(());
        for (region, endpoint) in endpoints.into_iter().enumerate() {
            shell::serve(endpoint, Arc::clone(&shared), stopped.clone(), move |shared, request| {
                routes::answer(shared, request, region)
            });
        }
        shell::serve(api, Arc::clone(&shared), stopped.clone(), api::answer);
        shell::serve(other, Arc::clone(&shared), stopped, api::answer_elsewhere);
        Ok(Running { shared, _closed: closed, _stop: stop })
    }
}

async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    // Its keys are worthless, but its control API would let anybody do anything to it.
    if !address.ip().is_loopback() {
        let why = format!("will not listen on {address}: only on loopback addresses");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    TcpListener::bind(address).await.map_err(|error| {
        io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
    })
}

/// A world that is being served. Dropping it closes every connection.
#[derive(Debug)]
pub struct Running {
    shared: Arc<Shared>,
    _closed: TcpSocket,
    _stop: watch::Sender<()>,
}

/// A generation, as a demo wants to know it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Committed {
    /// The generation.
    pub generation: u64,
    /// Its current credential.
    pub credential: String,
    /// The credential that was current before, if another.
    pub replaced: Option<String>,
    /// What made it.
    pub kind: CommitKind,
    /// When the API changed.
    pub committed_at: Instant,
    /// The same in milliseconds of the story.
    pub at_ms: u64,
    /// When the endpoint shows it, in milliseconds of the story.
    pub visible_at_ms: u64,
}

/// One request to the API, as it was decided on.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Sent<'a> {
    /// When it arrived, in milliseconds of the story.
    pub at_ms: u64,
    /// Which credential it carried, if a known one was answered.
    pub credential: Option<&'a str>,
    /// The status; none if it is not answered.
    pub status: Option<u16>,
    /// The replica, if it is answered.
    pub replica: Option<usize>,
}

/// What came out of a story.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// Whether everything came out.
    pub ok: bool,
    /// What did not.
    pub mismatches: Vec<Mismatch>,
    /// Steps that could not happen.
    pub errors: Vec<String>,
    /// Everything that was counted.
    pub counters: BTreeMap<String, Value>,
}

impl Running {
    /// Where the set is fetched: the first region's.
    pub fn set_url(&self) -> String {
        self.shared.set_urls().swap_remove(0)
    }

    /// Where the set is fetched, by region.
    pub fn set_urls(&self) -> Vec<String> {
        self.shared.set_urls()
    }

    /// The origin of the rotation endpoint, in the first region; `/control` is there, too.
    pub fn endpoint_url(&self) -> &str {
        &self.shared.urls.endpoints[0]
    }

    /// The origin of the protected API.
    pub fn api_url(&self) -> &str {
        &self.shared.urls.api
    }

    /// The origin at which no credential should be seen.
    pub fn other_url(&self) -> &str {
        &self.shared.urls.other
    }

    /// The token that the endpoint wants.
    pub fn bootstrap(&self) -> String {
        self.shared.with(|world, _| world.config().bootstrap.reveal().to_owned())
    }

    /// The key that signs the answers to fetches, where the world says so: the base64 of its 32 bytes.
    pub fn public_key(&self) -> String {
        self.shared.with(|world, _| world.public_key())
    }

    /// The token that operations want.
    pub fn operator(&self) -> String {
        self.shared.with(|world, _| world.setting().operator.reveal().to_owned())
    }

    /// Makes a step happen now.
    ///
    /// # Errors
    /// When it cannot happen in the present state.
    pub fn apply(&self, step: &Step) -> Result<(), StepError> {
        self.shared.change(|world, now| world.apply(now, step))
    }

    /// What the world counted, by the keys of a story's `expect`.
    pub fn counters(&self) -> BTreeMap<String, u64> {
        self.shared.with(|world, _| world.counters())
    }

    /// The time of the story. 0 while it has not begun.
    pub fn now_ms(&self) -> u64 {
        self.shared.with(|_, now| now)
    }

    /// Every generation so far, in order.
    pub fn commits(&self) -> Vec<Committed> {
        self.shared.commits()
    }

    /// Asks the model something, or does something to it.
    pub fn with_world<T>(&self, ask: impl FnOnce(&mut World, u64) -> T) -> T {
        self.shared.change(ask)
    }

    /// Tells about each request to the API, from the task that serves it: be quick.
    pub fn on_send(&self, tell: impl Fn(&Sent<'_>) + Send + Sync + 'static) {
        self.shared.observe(Arc::new(tell));
    }

    /// Puts a story in the place of the world. Its time stands at 0 until [`begin`](Self::begin).
    ///
    /// # Errors
    /// When it does not validate.
    pub fn load(&self, story: Story) -> Result<(), StoryError> {
        story.validate()?;
        self.shared.load(Some(story));
        Ok(())
    }

    /// Starts the time of the story that was loaded.
    pub fn begin(&self) {
        self.shared.begin();
    }

    /// Compares what was counted, here and by who ran the story, with what must come out.
    pub fn finish(&self, counted: BTreeMap<String, Value>) -> Verdict {
        self.shared.finish(counted)
    }

    /// The world as it was in the beginning: the loaded story's, or the one it was started with.
    pub fn reset(&self) {
        self.shared.reset();
    }
}
