//! Keys that a command prints.

mod output;
mod process;

use std::{
    ffi::{OsStr, OsString},
    fmt,
    hash::{BuildHasher, RandomState},
    io,
    path::Path,
    process::ExitStatus,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use self::process::{Outcome, Reins};
use super::{BoxFuture, Fetched, Source, Terms, reading::Reader};
use crate::{
    credential::CredentialSet,
    error::{Error, ErrorKind},
    secret::Secret,
};

/// What a command sees of the environment without being told: what programs need to find their files and each other,
/// and what says nothing of other credentials.
#[cfg(not(windows))]
const INHERITED: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
];
#[cfg(windows)]
const INHERITED: &[&str] = &[
    "PATH",
    "PATHEXT",
    "COMSPEC",
    "SYSTEMROOT",
    "SYSTEMDRIVE",
    "USERPROFILE",
    "USERNAME",
    "HOMEDRIVE",
    "HOMEPATH",
    "APPDATA",
    "LOCALAPPDATA",
    "PROGRAMDATA",
    "PROGRAMFILES",
    "TEMP",
    "TMP",
];

/// A command that prints a key: `op read`, `bao kv get`, `gcloud auth print-access-token`.
///
/// It is run without a shell, with no input, and what it writes to its error output goes nowhere, because it may hold
/// secrets. What it prints, of at most 64 KiB, decides how it is read:
/// - a `keyswap/1` document in short form: `{"current": {"id": "k2", "key": "..."}, "previous": [...]}`;
/// - what AWS calls `credential_process`: `key`, `secret` and `session_token`;
/// - what kubectl calls an `ExecCredential`: `key` is its token, `client_certificate` and `client_key` are the pair;
/// - one line that is the key itself.
///
/// Without an id of its own a credential is named by a digest that says only whether it changed, and the last key that
/// the API accepted stays as its fallback.
///
/// It runs within nine tenths of the fetch timeout of 10 s, counting what it leaves running with its output open. Whatever ends the
/// wait kills it with all that it started and that did not leave its process group; on Windows, it alone.
///
/// Of the environment it sees `PATH`, `HOME`, `USER`, `LOGNAME`, `SHELL`, `LANG`, `LC_ALL`, `LC_CTYPE`, `TZ`, `TMPDIR`
/// and four of `XDG_` (on Windows what programs need there), what [`inherit_env`](Self::inherit_env) names and what
/// [`env`](Self::env) gives.
///
/// ```
/// use keyswap::source::Command;
/// let keys = Command::new(["op", "read", "op://prod/trading/key"]);
/// let keys = Command::new(["bao", "kv", "get", "-field=key", "secret/trading"])
///     .inherit_env("BAO_ADDR")
///     .env("BAO_TOKEN", "s.3cr3t");
/// // Each call of this one makes a new token: it is called by the life of what it made, and not polled.
/// let tokens = Command::new(["aws-vault", "exec", "prod", "--json"]).minting();
/// ```
///
/// # Errors of a fetch
/// | the command | the error |
/// | --- | --- |
/// | is not found, or may not be executed | [`InvalidConfig`](ErrorKind::InvalidConfig) |
/// | ended with another code than 0, or by a signal | [`SourceFailed`](ErrorKind::SourceFailed) |
/// | printed none of those forms, or too much | [`Malformed`](ErrorKind::Malformed) |
/// | took too long | [`Timeout`](ErrorKind::Timeout) |
///
/// They name the program, and neither its arguments nor anything that it printed.
#[must_use = "a source does nothing until it is followed"]
pub struct Command {
    argv: Vec<OsString>,
    inherited: Vec<OsString>,
    given: Vec<(OsString, Secret)>,
    timeout: Option<Duration>,
    mints: bool,
    terms: Mutex<Terms>,
    /// One run at a time.
    reader: Reader,
    // As of files: a digest under a random key says only «changed» or «the same».
    digest: RandomState,
}

impl Command {
    /// The program and its arguments, as they are: no shell looks at them. A program without a `/` is looked for in
    /// the `PATH` that the command sees.
    pub fn new<S: Into<OsString>>(argv: impl IntoIterator<Item = S>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            inherited: INHERITED.iter().map(Into::into).collect(),
            given: Vec::new(),
            timeout: None,
            mints: false,
            terms: Mutex::default(),
            reader: Reader::new(),
            digest: RandomState::new(),
        }
    }

    /// Lets it see this variable of the program's own environment too, as it is at each run.
    pub fn inherit_env(mut self, name: impl Into<OsString>) -> Self {
        self.inherited.push(name.into());
        self
    }

    /// Sets this variable for it.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<Secret>) -> Self {
        self.given.push((name.into(), value.into()));
        self
    }

    /// That each run makes a new credential, such as a token: it is then run by the life of what it made, and not
    /// polled.
    pub fn minting(self) -> Self {
        Self { mints: true, ..self }
    }

    /// How long a run may take: unless this says otherwise, as long as the handle's
    /// [`fetch_timeout`](crate::Policy::fetch_timeout), which holds as well; the shorter one decides.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }

    /// Whether all that was said of it is valid.
    fn check(&self) -> Result<(), Error> {
        let is_name = |name: &OsStr| {
            let name = name.as_encoded_bytes();
            !name.is_empty() && !name.contains(&b'=') && !name.contains(&0)
        };
        let has_zero = self.argv.iter().any(|it| it.as_encoded_bytes().contains(&0))
            || self.given.iter().any(|(_, value)| value.reveal().contains('\0'));
        let mut names = self.inherited.iter().chain(self.given.iter().map(|(name, _)| name));
        let invalid = |what: &str| Err(Error::new(ErrorKind::InvalidConfig, what));
        match self.argv.first() {
            None => invalid("no command is given: pass the program and its arguments as a list"),
            Some(program) if program.is_empty() => invalid("the command's program has no name"),
            Some(_) if has_zero => invalid("the command has an argument or a variable with a NUL"),
            Some(_) if !names.all(|name| is_name(name)) => invalid(
                "the command has a variable of the environment without a name, or with a = in it",
            ),
            Some(_) => Ok(()),
        }
    }

    /// Its name, as errors show it.
    fn program(&self) -> String {
        let program = self.argv.first().map(Path::new).unwrap_or(Path::new(""));
        program.display().to_string()
    }

    fn command(&self) -> Option<std::process::Command> {
        let (program, arguments) = self.argv.split_first()?;
        let mut command = std::process::Command::new(program);
        command.args(arguments).env_clear();
        for name in &self.inherited {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        for (name, value) in &self.given {
            command.env(name, value.reveal());
        }
        Some(command)
    }

    fn limit(&self) -> Duration {
        let terms = self.terms.lock().unwrap_or_else(PoisonError::into_inner);
        // A little is kept, so that it is told here what was killed, before a fetch is given up from outside.
        let most = terms.policy().fetch_timeout.mul_f64(0.9);
        self.timeout.map_or(most, |own| own.min(most))
    }

    async fn run(&self) -> Result<Outcome, Error> {
        let Some(command) = self.command() else { return Ok(Outcome::Lost) };
        let (reins, limit) = (Reins::default(), self.limit());
        let run = reins.run();
        let outcome = self.reader.run(self.program().into(), move |_| Ok(run(command)));
        match tokio::time::timeout(limit, outcome).await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.fault(
                ErrorKind::Timeout,
                &format!("had not ended after {limit:?}, and was killed: see what it waits for"),
            )),
        }
    }

    fn set(&self, outcome: Outcome, known: Option<&CredentialSet>) -> Result<Fetched, Error> {
        let malformed = |what: &str| Err(self.fault(ErrorKind::Malformed, what));
        let printed = match outcome {
            Outcome::Printed(printed, status) if status.success() => printed,
            Outcome::Printed(_, status) => {
                let what = format!(
                    "{}: run it by hand to see why, since its output may hold secrets and is not shown",
                    ended(status)
                );
                return Err(self.fault(ErrorKind::SourceFailed, &what));
            }
            Outcome::TooMuch => return malformed("printed more than 64 KiB, and was killed"),
            Outcome::NotStarted(error) => return Err(self.not_started(&error)),
            Outcome::Lost => {
                return Err(
                    self.fault(ErrorKind::Unavailable, "was lost: its output could not be read")
                );
            }
        };
        let digest = self.digest.hash_one(printed.as_slice());
        let validator = format!("command-{digest:016x}");
        if known.is_some_and(|known| known.validator() == Some(&validator)) && !self.mints {
            return Ok(Fetched::NotModified);
        }
        // Eight digits are read easily, and two keys in a row that share them are one in four billion.
        let named = format!("command-{:08x}", digest as u32);
        match output::set(&printed, &named) {
            Ok(mut set) => {
                // What it says of the time is when it was written.
                set.as_of = None;
                Ok(Fetched::Set(set.with_validator(&validator)))
            }
            Err(error) => malformed(&format!("printed what is no key: {error}")),
        }
    }

    fn not_started(&self, error: &io::Error) -> Error {
        let (kind, what) = match error.kind() {
            io::ErrorKind::NotFound => {
                (ErrorKind::InvalidConfig, "was not found: install it, or pass its whole path")
            }
            io::ErrorKind::PermissionDenied => {
                (ErrorKind::InvalidConfig, "may not be executed: check the permissions of the file")
            }
            kind => {
                let what = format!("could not be started: {kind}");
                return self.fault(ErrorKind::Unavailable, &what);
            }
        };
        self.fault(kind, what)
    }

    fn fault(&self, kind: ErrorKind, what: &str) -> Error {
        Error::new(kind, format!("the command {} {what}", self.program()))
    }

    #[cfg(feature = "fuzzing")]
    pub(super) fn reads(&self, printed: &[u8]) -> bool {
        output::set(printed, "fuzz").is_ok()
    }
}

fn ended(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return format!("was ended by signal {signal}");
    }
    match status.code() {
        Some(code) => format!("ended with code {code}"),
        None => "ended without a code".into(),
    }
}

impl Source for Command {
    fn fetch<'a>(
        &'a self,
        known: Option<&'a CredentialSet>,
    ) -> BoxFuture<'a, Result<Fetched, Error>> {
        Box::pin(async move {
            self.check()?;
            let outcome = self.run().await?;
            self.set(outcome, known)
        })
    }

    fn mints(&self) -> bool {
        self.mints
    }

    fn begin(&self, terms: &Terms) -> Result<(), Error> {
        *self.terms.lock().unwrap_or_else(PoisonError::into_inner) = terms.clone();
        self.check()
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command").field("program", &self.program()).finish_non_exhaustive()
    }
}
