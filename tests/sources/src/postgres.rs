//! PostgreSQL, as Debian installs it.

use std::{
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use crate::process::{Process, free_port};

/// One server, with data of its own that is removed with it.
pub struct Postgres {
    port: u16,
    data: PathBuf,
    process: Option<Process>,
}

/// What root is called there, and its password.
pub const ROOT: (&str, &str) = ("postgres", "of-postgres");

impl Postgres {
    /// Starts one, and waits until it answers.
    pub async fn start() -> Self {
        let port = free_port();
        let data = std::env::temp_dir().join(format!("keyswap-postgres-{port}"));
        let password = data.with_extension("password");
        std::fs::write(&password, ROOT.1).expect("a file");
        let mut init = program("initdb");
        init.args(["--no-sync", "--auth=scram-sha-256", "--username", ROOT.0]);
        init.arg("--pgdata").arg(&data).arg("--pwfile").arg(&password);
        let done = init.stdout(Stdio::null()).status().expect("initdb");
        std::fs::remove_file(&password).expect("the file");
        assert!(done.success(), "the data of PostgreSQL cannot be made");
        let mut server = program("postgres");
        server.arg("-D").arg(&data).arg("-k").arg(&data).args(["-p", &port.to_string()]);
        server.args(["-c", "fsync=off", "-c", "listen_addresses=127.0.0.1"]);
        let process = Some(Process::start(&format!("postgres-{port}"), &mut server));
        let postgres = Self { port, data, process };
        while postgres.query(ROOT.0, ROOT.1, "SELECT 1").await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        postgres
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Logs in and asks one thing: what is answered, or what psql says is wrong.
    pub async fn query(&self, user: &str, password: &str, sql: &str) -> Result<String, String> {
        let mut psql = tokio::process::Command::new("psql");
        psql.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", user, "-d", "postgres"]);
        psql.args(["-w", "-A", "-t", "-c", sql]).env("PGPASSWORD", password).stdin(Stdio::null());
        let done = psql.output().await.expect("psql");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        match done.status.success() {
            true => Ok(text(&done.stdout)),
            false => Err(text(&done.stderr)),
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.process = None;
        _ = std::fs::remove_dir_all(&self.data);
    }
}

/// A program of the newest PostgreSQL here. It does not run as root, so it runs as its own user then.
fn program(name: &str) -> Command {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<_> = versions.map(|it| it.path().join("bin").join(name)).collect();
    found.retain(|path| path.is_file());
    found.sort();
    let path = found.pop().unwrap_or_else(|| Path::new(name).into());
    let mut command = Command::new(path);
    command.current_dir(std::env::temp_dir());
    if number(&["-u"]) == 0 {
        command.gid(number(&["-g", "postgres"])).uid(number(&["-u", "postgres"]));
    }
    command
}

fn number(arguments: &[&str]) -> u32 {
    let output = Command::new("id").args(arguments).output().expect("id");
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().unwrap_or_else(|_| panic!("id {arguments:?} is no number: {text}"))
}
