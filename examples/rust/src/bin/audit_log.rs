//! Every change of a credential as a line of JSON, for an audit log. `cargo run --bin audit_log`
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use jiff::Timestamp;
use keyswap::{Endpoint, Event, KeySwap, Policy};
use keyswap_endpoint::{server::Endpoint as Embedded, world::WorldConfig};
use serde_json::{Value, json};

/// `{"time": "...", "set": "trading", "event": "swapped", ...}`. An event holds ids and never material.
fn line(set: &str, event: &Event) -> Result<String, serde_json::Error> {
    let mut line = json!({ "time": Timestamp::now(), "set": set });
    if let (Value::Object(line), Value::Object(fields)) = (&mut line, serde_json::to_value(event)?)
    {
        line.extend(fields);
    }
    serde_json::to_string(&line)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let running = Embedded::start(WorldConfig::default()).await?;
    let endpoint = Endpoint::new(running.set_url())?.bootstrap(running.bootstrap());
    // By default five seconds lie between two fetches: too long for an example.
    let soon = Duration::from_millis(10);
    let policy = Policy::default().fetch_floor(soon).fetch_floor_min(soon);
    let keys = KeySwap::follow(endpoint).policy(policy).start()?;
    let mut events = keys.events();

    // In a program, this is a task that writes to a file. It ends with the handle, and a writer that is
    // too slow is told how many events it `lagged`.
    let log = tokio::spawn(async move {
        let mut lines = Vec::new();
        while let Some(event) = events.next().await {
            let line = line("trading", &event)?;
            println!("{line}");
            lines.push(line);
        }
        Ok::<_, serde_json::Error>(lines)
    });
    keys.ready().await?;
    let first = keys.current()?.reveal("key").unwrap_or_default().to_owned();
    running.apply(&serde_json::from_str(r#"{"do": "revoke"}"#)?)?;
    keys.refresh().await?;
    let second = keys.current()?.reveal("key").unwrap_or_default().to_owned();
    drop(keys);

    let lines = log.await??;
    for line in &lines {
        let value: Value = serde_json::from_str(line)?;
        assert!(value["time"].as_str().is_some_and(|time| time.ends_with('Z')));
        assert!(value["event"].is_string());
        assert!(!line.contains(&first) && !line.contains(&second));
    }
    assert!(lines.iter().any(|line| line.contains(r#""event":"revoked""#)));
    Ok(())
}
