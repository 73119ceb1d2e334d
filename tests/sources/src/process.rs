//! Servers of others, as processes of their own.

use std::{
    ffi::OsStr,
    fs::File,
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// A server. It is killed with all that it started when this is dropped.
pub struct Process(Child);

impl Process {
    /// Starts a program. What it prints goes into `target/tests/servers/NAME.log`.
    pub fn start(name: &str, command: &mut Command) -> Self {
        std::fs::create_dir_all(folder()).expect("a folder for logs");
        let log = folder().join(format!("{name}.log"));
        let log = File::create(&log).unwrap_or_else(|error| panic!("{}: {error}", log.display()));
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .process_group(0)
            .spawn();
        Self(child.unwrap_or_else(|error| panic!("{name} cannot be started: {error}")))
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: libc::c_int) {
        let status =
            Command::new("kill").arg(format!("-{signal}")).arg(self.id().to_string()).status();
        assert!(status.expect("kill").success(), "the server is gone");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let group = format!("-{}", self.id());
        let _ = Command::new("kill").args(["-9", "--", &group]).stderr(Stdio::null()).status();
        let _ = self.0.wait();
    }
}

/// Where `tests/run sources` installs servers.
pub fn folder() -> PathBuf {
    let given = std::env::var_os("KEYSWAP_SERVERS").map(PathBuf::from);
    given
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tests/servers"))
}

/// A program that is installed there, or on this machine.
pub fn program(name: &str) -> PathBuf {
    let own = folder();
    let folders = ["python/bin", "node_modules/.bin", "keycloak/bin"].map(|it| own.join(it));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    let found = folders.into_iter().chain(system).map(|it| it.join(name)).find(|it| it.is_file());
    found.unwrap_or_else(|| panic!("{name} is not installed: ./tests/run sources installs it"))
}

/// A command of such a program.
pub fn command<S: AsRef<OsStr>>(name: &str, arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(program(name));
    command.args(arguments);
    command
}

/// A port that is free now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// What servers are asked with. It takes any certificate, and no proxy.
pub fn client() -> reqwest::Client {
    // Who was first has installed the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().danger_accept_invalid_certs(true);
    client.build().expect("a client")
}

/// Waits until this URL is answered, with whatever status.
pub async fn until_answers(url: &str, within: Duration) {
    let client = client();
    let end = tokio::time::Instant::now() + within;
    loop {
        match client.get(url).timeout(Duration::from_secs(2)).send().await {
            Ok(_) => return,
            Err(error) if tokio::time::Instant::now() > end => {
                panic!("{url} is not answered within {within:?}: {error}")
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(25)).await,
        }
    }
}
