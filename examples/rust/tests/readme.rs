//! The first example of the README, as a program that its reader makes: a package of its own, which lives through a
//! rotation.

use std::{
    error::Error,
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use keyswap_endpoint::{server::Endpoint, world::WorldConfig};

const PACKAGE: &str = r#"
[package]
name = "prices"
edition = "2024"
[dependencies]
keyswap = { path = "CORE" }
tokio = { version = "1.54", features = ["macros", "rt-multi-thread", "time"] }
[workspace]
[profile.dev]
debug = "line-tables-only"
"#;

/// A program that ends with its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_lives_through_a_rotation() -> Result<(), Box<dyn Error + Send + Sync>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let example = fs::read_to_string(root.join("examples/rust/prices.rs"))?;
    let readme = fs::read_to_string(root.join("README.md"))?;
    let (_, first) = readme.split_once("```rust,no_run\n").ok_or("the README has no example")?;
    assert!(first.starts_with(&format!("{example}```\n")), "the README's first is another one");

    let endpoint = Endpoint::start(WorldConfig::default()).await?;
    // Nothing else than its two URLs is replaced.
    let program = example
        .replace("https://keys.example.com/keyswap/v1/sets/trading", &endpoint.set_url())
        .replace("https://api.example.com", endpoint.api_url());
    assert!(!program.contains("example.com"), "{program}");

    // In the workspace's target folder, so that what both depend on is built once.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = target.join("prices");
    fs::create_dir_all(folder.join("src"))?;
    let core = root.join("core").canonicalize()?;
    fs::write(folder.join("Cargo.toml"), PACKAGE.replace("CORE", &core.to_string_lossy()))?;
    fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock"))?;
    fs::write(folder.join("src/main.rs"), program)?;
    let cargo = |command: &str| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args([command, "--quiet", "--offline"]).current_dir(&folder);
        cargo.env("CARGO_TARGET_DIR", target.with_file_name(""));
        cargo.env("KEYSWAP_BOOTSTRAP", endpoint.bootstrap());
        cargo
    };
    assert!(cargo("build").status()?.success(), "it does not compile");

    let mut running = Running(cargo("run").stdout(Stdio::piped()).spawn()?);
    let said = running.0.stdout.take().ok_or("its output is not there")?;
    let (line, lines) = channel();
    thread::spawn(move || {
        for said in BufReader::new(said).lines().map_while(Result::ok) {
            if line.send(said).is_err() {
                return;
            }
        }
    });
    until(&lines, r#""credential":"k1""#)?;
    endpoint.apply(&serde_json::from_str(r#"{"do": "cut"}"#)?)?;
    until(&lines, r#""credential":"k2""#)?;
    assert_eq!(endpoint.counters()["leaks"], 0);
    Ok(())
}

/// Waits until it says this.
fn until(lines: &Receiver<String>, words: &str) -> Result<(), Box<dyn Error + Send + Sync>> {
    loop {
        let line = lines
            .recv_timeout(Duration::from_secs(60))
            .map_err(|_| format!("it never said {words}"))?;
        assert!(!line.contains("ks_"), "it prints a key");
        if line.contains(words) {
            return Ok(());
        }
    }
}
