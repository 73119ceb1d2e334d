//! Serves a world until it is told to stop, and says on stdout where; or asks an endpoint who uses what.

mod adoption;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use keyswap_endpoint::server::{Builder, Endpoint, Running};
use keyswap_endpoint::story::Story;
use tokio::io::AsyncReadExt;

const HELP: &str = "\
keyswap-endpoint: a rotation endpoint and a protected API with switchable faults, for tests.

usage: keyswap-endpoint serve [options]
       keyswap-endpoint adoption URL [--operator TOKEN]

serve:

  --listen ADDRESS     the rotation endpoint and /control   (default 127.0.0.1:0: a free port)
  --api ADDRESS        the protected API                    (default 127.0.0.1:0)
  --other ADDRESS      the other origin                     (default 127.0.0.1:0)
  --set ID             the id of the set                    (default trading)
  --operator TOKEN     the token for operations             (default operator)
  --seed NUMBER        what the keys are derived from       (default 0)
  --story FILE         begin with this story, started at once
  --exit-with-stdin    stop when stdin is closed
  --help               this text

When it is ready it prints one line of JSON: set_url, set_urls (one a region), endpoint_url, api_url,
other_url, control_url, bootstrap, operator, public_key. It runs until Ctrl-C or SIGTERM. It listens on loopback addresses only.

adoption: asks the endpoint of the set at URL (its set_url; http:// on loopback only) which credentials
are in use, and prints a table. The operator's token comes from --operator or from KEYSWAP_OPERATOR.
It ends with 0 if every credential that is neither current nor gone is safe to retire, with 3 if one is
not, and with 1 when it cannot tell.
";

/// What was asked for.
struct Options {
    builder: Builder,
    story: Option<String>,
    exit_with_stdin: bool,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        return written(io::stdout().write_all(HELP.as_bytes()));
    }
    let outcome = match arguments.split_first() {
        Some((command, rest)) if command == "adoption" => {
            inquiry(rest).and_then(|(url, operator)| block_on(inquire(&url, &operator)))
        }
        _ => parse(&arguments).and_then(|options| block_on(run(options))),
    };
    match outcome {
        Ok(code) => code,
        Err(why) => {
            let _ = writeln!(io::stderr(), "keyswap-endpoint: {why}");
            ExitCode::FAILURE
        }
    }
}

fn block_on(future: impl Future<Output = Result<ExitCode, String>>) -> Result<ExitCode, String> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?
        .block_on(future)
}

/// The URL and the token.
fn inquiry(arguments: &[String]) -> Result<(String, String), String> {
    let (mut url, mut operator) = (None, None);
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.split_once('=') {
            _ if argument == "--operator" => {
                let next = arguments.next().ok_or("`--operator` needs a value")?;
                operator = Some(next.clone());
            }
            Some(("--operator", token)) => operator = Some(token.to_owned()),
            _ if argument.starts_with('-') => {
                return Err(format!("there is no option `{argument}`; see --help"));
            }
            _ if url.is_none() => url = Some(argument.clone()),
            _ => return Err("one URL is enough; see --help".to_owned()),
        }
    }
    let url = url.ok_or("the URL of a set is missing; see --help")?;
    let operator = operator.or_else(|| std::env::var("KEYSWAP_OPERATOR").ok());
    let operator =
        operator.ok_or("an operator's token is missing: --operator or KEYSWAP_OPERATOR")?;
    Ok((url, operator))
}

async fn inquire(url: &str, operator: &str) -> Result<ExitCode, String> {
    let table = adoption::ask(url, operator).await?;
    io::stdout().write_all(table.text.as_bytes()).map_err(|error| error.to_string())?;
    Ok(if table.all_safe { ExitCode::SUCCESS } else { ExitCode::from(3) })
}

fn written(outcome: io::Result<()>) -> ExitCode {
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn parse(arguments: &[String]) -> Result<Options, String> {
    let mut arguments = arguments.iter();
    match arguments.next().map(String::as_str) {
        Some("serve") => {}
        Some(other) => return Err(format!("there is no command `{other}`; see --help")),
        None => return Err("a command is missing; see --help".to_owned()),
    }
    let mut builder = Endpoint::builder();
    let (mut story, mut exit_with_stdin) = (None, false);
    while let Some(option) = arguments.next() {
        let (option, inline) = match option.split_once('=') {
            Some((option, value)) => (option, Some(value.to_owned())),
            None => (option.as_str(), None),
        };
        if option == "--exit-with-stdin" && inline.is_none() {
            exit_with_stdin = true;
            continue;
        }
        let value = || {
            let next = inline.or_else(|| arguments.next().cloned());
            next.ok_or_else(|| format!("`{option}` needs a value"))
        };
        builder = match option {
            "--listen" => builder.listen(address(&value()?)?),
            "--api" => builder.api_listen(address(&value()?)?),
            "--other" => builder.other_listen(address(&value()?)?),
            "--set" => builder.set(value()?),
            "--operator" => builder.operator(value()?),
            "--seed" => builder.seed(value()?.parse().map_err(|_| "`--seed` is a number")?),
            "--story" => {
                story = Some(value()?);
                builder
            }
            _ => return Err(format!("there is no option `{option}`; see --help")),
        };
    }
    Ok(Options { builder, story, exit_with_stdin })
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("`{text}` is not an address like 127.0.0.1:0"))
}

async fn run(options: Options) -> Result<ExitCode, String> {
    let running = options.builder.start().await.map_err(|error| error.to_string())?;
    if let Some(path) = options.story {
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let story = Story::parse(&text).map_err(|error| format!("{path}: {error}"))?;
        running.load(story).map_err(|error| error.to_string())?;
        running.begin();
    }
    announce(&running).map_err(|error| error.to_string())?;
    tokio::select! {
        stopped = signalled() => stopped.map_err(|error| error.to_string()),
        () = closed(), if options.exit_with_stdin => Ok(()),
    }?;
    // A thread that still reads stdin cannot be interrupted, and must not keep the process.
    std::process::exit(0)
}

fn announce(running: &Running) -> io::Result<()> {
    let line = serde_json::json!({
        "set_url": running.set_url(),
        "set_urls": running.set_urls(),
        "endpoint_url": running.endpoint_url(),
        "api_url": running.api_url(),
        "other_url": running.other_url(),
        "control_url": format!("{}/control", running.endpoint_url()),
        "bootstrap": running.bootstrap(),
        "operator": running.operator(),
        "public_key": running.public_key(),
    });
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

#[cfg(unix)]
async fn signalled() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminated.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
async fn signalled() -> io::Result<()> {
    tokio::signal::ctrl_c().await
}

/// Ends when stdin does. An error there is an end, too.
async fn closed() {
    let mut stdin = tokio::io::stdin();
    let mut thrown_away = [0; 1024];
    while matches!(stdin.read(&mut thrown_away).await, Ok(read) if read > 0) {}
}
