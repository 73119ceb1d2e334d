//! What the command line asks for.

use std::path::PathBuf;

use crate::script::SCENARIOS;

pub(crate) const HELP: &str = "\
cargo demo [--seconds N] [--workers N] [--scenario NAME|all] [--plot FILE] [--json]
cargo demo --source URL [--api URL] [--header NAME]

  --seconds N      how long, 4 or more (20)
  --workers N      how many send requests at once (64)
  --scenario NAME  overlap, cut, revoke, propagation, outage, rollback (all: each of these in turn);
                   storm; or with a push channel: emergency, push-lost
  --plot FILE      where the timeline picture goes (target/demo.svg)
  --json           the last line of standard output is one JSON object
  --source URL     follow this rotation endpoint instead of the embedded one (KEYSWAP_BOOTSTRAP)
  --api URL        with --source: send requests to this API
  --header NAME    with --api: the header that carries the key (x-api-key)
Ctrl-C ends it with the report.
";

/// What the command line asks for.
#[derive(Debug, PartialEq)]
pub(crate) struct Args {
    pub(crate) seconds: u64,
    pub(crate) workers: usize,
    pub(crate) scenario: String,
    pub(crate) plot: PathBuf,
    pub(crate) json: bool,
    pub(crate) source: Option<String>,
    pub(crate) api: Option<String>,
    pub(crate) header: String,
    pub(crate) help: bool,
}

impl Args {
    /// Reads the arguments; the error says what is wrong with them.
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut args = Self {
            seconds: 20,
            workers: 64,
            scenario: "all".into(),
            plot: PathBuf::from("target/demo.svg"),
            json: false,
            source: None,
            api: None,
            header: "x-api-key".into(),
            help: false,
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--seconds" => args.seconds = number(&word, &value()?, 4, 3600)?,
                "--workers" => args.workers = number(&word, &value()?, 1, 10_000)? as usize,
                "--scenario" => args.scenario = value()?,
                "--plot" => args.plot = value()?.into(),
                "--source" => args.source = Some(value()?),
                "--api" => args.api = Some(value()?),
                "--header" => args.header = value()?,
                "--json" => args.json = true,
                "--help" | "-h" => args.help = true,
                _ => return Err(format!("unknown argument {word}; --help lists them")),
            }
        }
        if args.scenario != "all" && !SCENARIOS.contains(&args.scenario.as_str()) {
            let known = SCENARIOS.join(", ");
            return Err(format!("unknown scenario {}: there are {known} and all", args.scenario));
        }
        Ok(args)
    }
}

fn number(name: &str, text: &str, least: u64, most: u64) -> Result<u64, String> {
    match text.parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("{name} must be a number from {least} to {most}, not {text}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, String> {
        Args::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(
            parse("--workers 3 --json").map(|args| (args.workers, args.json)),
            Ok((3, true))
        );
        for (line, word) in [
            ("--workers", "needs a value"),
            ("--workers none", "from 1 to"),
            ("--scenario x", "propagation"),
            ("--what", "--help"),
        ] {
            assert!(parse(line).is_err_and(|error| error.contains(word)), "{line}");
        }
    }
}
