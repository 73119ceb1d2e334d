//! Keys rotate under load, and nobody notices: `cargo demo`.
//!
//! It starts an embedded rotation endpoint and API, follows the endpoint, sends requests from many
//! workers, and plays a script of rotations and faults. At the end stand a table and a picture.

mod args;
mod load;
mod plot;
mod report;
mod script;
mod view;

use std::{
    io::Write,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use keyswap::{Client, Endpoint, KeySwap, Policy, Scheme};
use keyswap_endpoint::server::{Endpoint as Embedded, Running};
use tokio::{sync::watch, task::JoinSet};

use crate::{
    args::{Args, HELP},
    load::{BUCKET_MS, Load},
    plot::Mark,
    report::Report,
    script::{Act, pushes, script},
    view::{Now, View},
};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Requests a second of all workers together, about.
const RATE: u64 = 2_000;

/// The defaults, at the pace of a demo: keys here live for a second or two, not for weeks.
const PACE: &str = r#"{"poll": 0.25, "fetch_floor": 0.1, "fetch_floor_min": 0.1, "forced_every": 0.25,
    "probe_delays": [0.1, 0.2, 0.4, 0.8], "probe_timeout": 1, "probe_again": 0.1, "keep_in_use": 0.5,
    "give_up": 0.2, "episode": 1, "episode_max": 4, "rotation_pause": 0.05, "backoff_min": 0.1,
    "backoff_max": 0.4, "retry_after_min": 0.1, "fetch_timeout": 2}"#;

fn main() -> ExitCode {
    let args = match Args::parse(std::env::args().skip(1)) {
        Ok(args) if args.help => {
            print(HELP);
            return ExitCode::SUCCESS;
        }
        Ok(args) => args,
        Err(error) => return fail(&error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.to_string()),
    };
    match runtime.block_on(run(&args)) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => fail(&error.to_string()),
    }
}

/// Runs it all, and says how many requests failed.
async fn run(args: &Args) -> Result<u64, Failure> {
    let (running, keys) = start(args).await?;
    let load = Arc::new(Load::default());
    if let Some(running) = &running {
        let load = load.clone();
        running.on_send(move |sent| load.answered(sent.at_ms, sent.credential, sent.status));
    }
    let began = Instant::now();
    let total = Duration::from_secs(args.seconds);
    let offset = running.as_ref().map_or(0, Running::now_ms);
    let (tick, ticks) = watch::channel(());
    let mut workers = JoinSet::new();
    if let Some(client) = client(args, running.as_ref(), &keys)? {
        let pause = Duration::from_micros(args.workers as u64 * 1_000_000 / RATE);
        for _ in 0..args.workers {
            let worker = Worker {
                client: client.clone(),
                keys: keys.clone(),
                load: load.clone(),
                began,
                offset,
            };
            workers.spawn(
                match args.scenario.as_str() {
                    "storm" => Pace::AtOnce(ticks.clone()),
                    _ => Pace::Steady(pause),
                }
                .drive(worker),
            );
        }
    }
    let acts = match &running {
        Some(_) => script(&args.scenario, args.seconds),
        None => Vec::new(),
    };
    let mut view = View::new(false);
    watch_and_act(&keys, running.as_ref(), &load, &acts, began, total, &tick, &mut view).await?;
    workers.abort_all();
    while workers.join_next().await.is_some() {}

    let seconds = began.elapsed().as_secs_f64();
    let counted = load.counted();
    let report = Report::new(&keys, running.as_ref(), &counted);
    let picture = picture(args, seconds, offset, &counted.accepted, &acts);
    std::fs::create_dir_all(args.plot.parent().unwrap_or(".".as_ref()))?;
    std::fs::write(&args.plot, picture)
        .map_err(|error| format!("{} could not be written: {error}", args.plot.display()))?;
    print(&format!("\n{}  the timeline is in {}\n", report.table(), args.plot.display()));
    if args.json {
        print(&format!("{}\n", report.json(args, seconds)));
    }
    Ok(report.failed)
}

/// The embedded endpoint, unless another is to be followed; and a handle that follows it.
async fn start(args: &Args) -> Result<(Option<Running>, KeySwap), Failure> {
    if let Some(source) = &args.source {
        return Ok((None, KeySwap::follow(Endpoint::new(source)?).await?));
    }
    let levels = if pushes(&args.scenario) { r#"["events"]"# } else { "[]" };
    let world =
        format!(r#"{{"replicas": 2, "grace_ms": 60000, "api_latency_ms": 2, "levels": {levels}}}"#);
    let world = serde_json::from_str(&world)?;
    let running = Embedded::start(world).await?;
    let endpoint = Endpoint::new(running.set_url())?.bootstrap(running.bootstrap().as_str());
    let policy: Policy = serde_json::from_str(PACE)?;
    let keys = KeySwap::follow(endpoint).policy(policy).await?;
    let what = format!(
        "{} workers, {} s, scenario {}; the policy is at the pace of a demo, the defaults are for lives of hours\n",
        args.workers, args.seconds, args.scenario
    );
    let _ = std::io::stderr().write_all(what.as_bytes());
    Ok((Some(running), keys))
}

fn client(
    args: &Args,
    running: Option<&Running>,
    keys: &KeySwap,
) -> Result<Option<Client>, Failure> {
    let api = match (running, &args.api) {
        (Some(running), _) => running.api_url().to_owned(),
        (None, Some(api)) => api.clone(),
        (None, None) => return Ok(None),
    };
    let scheme = Scheme::header(&args.header);
    Ok(Some(Client::builder(keys).base_url(&api)?.scheme(scheme).build()?))
}

struct Worker {
    client: Client,
    keys: KeySwap,
    load: Arc<Load>,
    began: Instant,
    /// What the endpoint's clock showed when it all began.
    offset: u64,
}

impl Worker {
    async fn send(&self) {
        let at_ms = self.offset + self.began.elapsed().as_millis() as u64;
        if let Ok(current) = self.keys.current() {
            self.load.begins(at_ms, current.id());
        }
        let failure = match self.client.get("/v1/price").send().await {
            Ok(response) if response.status().is_success() => {
                response.bytes().await.err().map(|error| error.to_string())
            }
            Ok(response) => Some(format!("status {}", response.status())),
            Err(error) => Some(error.to_string()),
        };
        self.load.ended(failure);
    }
}

/// When a worker sends.
enum Pace {
    /// Again and again, with a pause.
    Steady(Duration),
    /// All at once, at each tick.
    AtOnce(watch::Receiver<()>),
}

impl Pace {
    async fn drive(self, worker: Worker) {
        match self {
            Self::Steady(pause) => loop {
                tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
                worker.send().await;
            },
            Self::AtOnce(mut ticks) => {
                worker.send().await;
                while ticks.changed().await.is_ok() {
                    worker.send().await;
                }
            }
        }
    }
}

#[expect(clippy::too_many_arguments, reason = "the parts of one run, used once")]
async fn watch_and_act(
    keys: &KeySwap,
    running: Option<&Running>,
    load: &Load,
    acts: &[Act],
    began: Instant,
    total: Duration,
    tick: &watch::Sender<()>,
    view: &mut View,
) -> Result<(), Failure> {
    let mut events = keys.events();
    let mut pending = acts.iter().peekable();
    let mut drawing = tokio::time::interval(Duration::from_millis(200));
    let stop = tokio::signal::ctrl_c();
    tokio::pin!(stop);
    loop {
        let elapsed = began.elapsed();
        if elapsed >= total {
            return Ok(());
        }
        let next = pending.peek().map_or(total, |act| Duration::from_millis(act.at_ms).min(total));
        tokio::select! {
            _ = &mut stop => return Ok(()),
            Some(event) = events.next() => {
                if event.name() != "not_modified" {
                    view.event(began.elapsed().as_secs_f64(), &event.to_string());
                }
            }
            _ = drawing.tick() => draw(keys, load, began, total, view),
            () = tokio::time::sleep(next.saturating_sub(elapsed)) => {
                let due = |act: &&Act| Duration::from_millis(act.at_ms) <= began.elapsed();
                while let (Some(running), Some(act)) = (running, pending.next_if(due)) {
                    view.event(began.elapsed().as_secs_f64(), &format!("--- {} ---", act.label));
                    running.apply(&serde_json::from_value(act.step.clone())?)?;
                    if act.storm {
                        tick.send_replace(());
                    }
                }
            }
        }
    }
}

fn draw(keys: &KeySwap, load: &Load, began: Instant, total: Duration, view: &mut View) {
    let counted = load.counted();
    let rates = counted.accepted.iter().filter_map(|(key, buckets)| {
        // Of the last second, and only if it was used in it.
        let last = began.elapsed().as_millis() as u64 / BUCKET_MS;
        let from = last.saturating_sub(1000 / BUCKET_MS) as usize;
        let rate: u32 = buckets.get(from..).unwrap_or_default().iter().sum();
        (rate > 0).then(|| (key.clone(), rate))
    });
    let in_use = keys.current().map_or("none".to_owned(), |current| current.id().to_owned());
    view.draw(&Now {
        seconds: began.elapsed().as_secs_f64(),
        total: total.as_secs_f64(),
        in_use: &in_use,
        requests: counted.requests,
        failed: counted.failed,
        rates: rates.collect(),
    });
}

fn picture(
    args: &Args,
    seconds: f64,
    offset: u64,
    accepted: &std::collections::BTreeMap<String, Vec<u32>>,
    acts: &[Act],
) -> String {
    let mut keys: Vec<_> =
        accepted.iter().map(|(key, counts)| (key.clone(), counts.clone())).collect();
    // k2 before k10.
    keys.sort_by_key(|(key, _)| (key.len(), key.clone()));
    let total_ms = offset + (seconds * 1000.0) as u64;
    let marks: Vec<_> = acts
        .iter()
        .filter(|act| act.at_ms <= total_ms)
        .map(|act| Mark {
            at_ms: offset + act.at_ms,
            label: act.label.into(),
            fault_ms: act.fault_ms,
        })
        .collect();
    let title = format!(
        "{} workers through {}: which key carried the requests",
        args.workers, args.scenario
    );
    plot::svg(&title, total_ms, &keys, &marks)
}

fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn fail(error: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{error}");
    ExitCode::FAILURE
}
