//! All sources in one process, one of which rotates each second, under callers: nobody notices, and nothing grows.
//!
//! It takes KEYSWAP_SOAK seconds: 60 unless that says otherwise, and 600 for a release.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests")]

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use keyswap::{
    Credential, CredentialSet, KeySwap, Policy,
    source::{
        self, BoxFuture, Command, File, Json, Source,
        aws::{ParameterStore, SecretsManager},
        azure, etcd, gcp,
        oauth2::ClientCredentials,
        vault::Vault,
    },
};
use keyswap_source_tests::{
    api::Api,
    aws::Moto,
    azure::Azure,
    bao::{Bao, ROOT},
    etcd::Etcd,
    fake::{Fake, Response},
    google::{Google, SECRET},
    load::Load,
    node::NodeServer,
    process,
};
use serde_json::json;
use tokio::time::{Instant, sleep};

const REGION: &str = "eu-west-1";
const CALLERS: usize = 2;
const REST: Duration = Duration::from_millis(25);

/// Puts the key of this number into a store, beside the one before.
type Put = Box<dyn FnMut(u64) -> BoxFuture<'static, ()> + Send>;

/// A store, who follows it, and who must not notice.
struct Subject {
    name: &'static str,
    keys: KeySwap,
    load: Load,
    /// None where the API's keys are no text of ours.
    api: Option<Api>,
    put: Put,
    rotations: u64,
}

impl Subject {
    /// One whose API takes the key and the one before.
    async fn new(name: &'static str, source: impl Source, put: Put) -> Self {
        let api = Api::start().await;
        api.accept([key(1)]);
        let url = api.url().to_owned();
        Self { api: Some(api), ..Self::at(name, source, &url, put).await }
    }

    async fn at(name: &'static str, source: impl Source, url: &str, put: Put) -> Self {
        let keys = KeySwap::follow(source).policy(policy()).name(name).await;
        let keys = keys.unwrap_or_else(|error| panic!("{name}: {error}"));
        let load = Load::paced(&keys, url, CALLERS, REST);
        Self { name, keys, load, api: None, put, rotations: 1 }
    }

    async fn rotate(&mut self) {
        self.rotations += 1;
        let number = self.rotations;
        if let Some(api) = &self.api {
            api.accept([key(number), key(number - 1)]);
        }
        (self.put)(number).await;
    }
}

fn key(number: u64) -> String {
    format!("key-{number}")
}

/// What is polled is polled each second.
fn policy() -> Policy {
    let (second, little) = (Duration::from_secs(1), Duration::from_millis(100));
    Policy::default().poll(second).fetch_floor(little).fetch_floor_min(little)
}

/// Those that one after the other rotate.
async fn subjects(folder: &PathBuf) -> Vec<Subject> {
    let mut all = in_clouds().await;
    all.extend(in_stores().await);
    all.extend(at_home(folder).await);
    all
}

async fn in_clouds() -> Vec<Subject> {
    let moto = Moto::shared().await;
    let may = ["secretsmanager:*", "ssm:*"];
    let user = moto.user_who_may("soak", &may).await;
    moto.act(
        REGION,
        "secretsmanager.CreateSecret",
        json!({ "Name": "soak", "SecretString": key(1), "ClientRequestToken": token(1) }),
    )
    .await;
    let secret = SecretsManager::new("soak").region(REGION).endpoint_url(moto.url());
    let secret = secret.credentials(&*user.id, &*user.secret, None);
    let shared = moto.clone();
    let put_secret: Put = Box::new(move |number| {
        let moto = shared.clone();
        let body = json!({
            "SecretId": "soak", "SecretString": key(number), "ClientRequestToken": token(number),
        });
        Box::pin(async move {
            moto.act(REGION, "secretsmanager.PutSecretValue", body).await;
        })
    });

    let parameter_of = |number| json!({ "Name": "/soak", "Type": "SecureString", "Overwrite": true, "Value": key(number) });
    moto.act(REGION, "AmazonSSM.PutParameter", parameter_of(1)).await;
    let parameter = ParameterStore::new("/soak").region(REGION).endpoint_url(moto.url());
    let parameter = parameter.credentials(&*user.id, &*user.secret, None);
    let put_parameter: Put = Box::new(move |number| {
        let (moto, body) = (moto.clone(), parameter_of(number));
        Box::pin(async move {
            moto.act(REGION, "AmazonSSM.PutParameter", body).await;
        })
    });

    let google = Arc::new(Google::start(&[&key(1)]).await);
    let machine = gcp::Credentials::metadata_server().metadata_url(google.fake.url());
    let of_google =
        gcp::SecretManager::new(SECRET).endpoint_url(google.fake.url()).credentials(machine);
    let put_google: Put = Box::new(move |number| {
        google.add(&key(number));
        Box::pin(async {})
    });

    let vault = Arc::new(Azure::start(&[&key(1)]).await);
    let of_azure = azure::KeyVault::new(vault.vault.url(), "trading").expect("a vault");
    let of_azure = of_azure
        .resource("https://vault.azure.net")
        .credentials(azure::Credentials::managed_identity().metadata_url(vault.login.url()))
        .root_certificates(vault.vault.ca().as_bytes())
        .expect("a certificate");
    let put_azure: Put = Box::new(move |number| {
        vault.add(&key(number));
        Box::pin(async {})
    });

    vec![
        Subject::new("AWS Secrets Manager", secret, put_secret).await,
        Subject::new("AWS Parameter Store", parameter, put_parameter).await,
        Subject::new("Google Secret Manager", of_google, put_google).await,
        Subject::new("Azure Key Vault", of_azure, put_azure).await,
    ]
}

/// What AWS knows a request by that is sent twice.
fn token(number: u64) -> String {
    format!("{number:032}")
}

async fn in_stores() -> Vec<Subject> {
    let bao = Arc::new(Bao::start().await);
    bao.store(&key(1)).await;
    let vault = Vault::new(bao.url()).expect("a URL").token(ROOT).kv("secret", "trading");
    let put_vault: Put = Box::new(move |number| {
        let bao = bao.clone();
        Box::pin(async move { bao.store(&key(number)).await })
    });

    let etcd = Arc::new(Etcd::start().await);
    etcd.put("/soak", &key(1)).await;
    let of_etcd = etcd::Key::new([etcd.url()], "/soak").expect("a source");
    let put_etcd: Put = Box::new(move |number| {
        let etcd = etcd.clone();
        Box::pin(async move {
            etcd.put("/soak", &key(number)).await;
        })
    });

    // Here it is the client's secret that rotates, and all tokens with it.
    let server = Arc::new(NodeServer::start("oauth2_mock", &[]).await);
    let secrets = Arc::new(Mutex::new(1));
    let shared = secrets.clone();
    let of_secret = source::from_fn(move || {
        let number: u64 = *shared.lock().unwrap();
        let set = CredentialSet::new(Credential::new(key(number), key(number)));
        std::future::ready(Ok(set))
    });
    server.control(&json!({ "secrets": [key(1)] })).await;
    let secret = KeySwap::follow(of_secret).policy(policy()).await.expect("a secret");
    let token = ClientCredentials::new(server.url("/token")).expect("a URL");
    let token = token.client_id("soak").client_secret_from(&secret);
    let api = server.url("/api/");
    let put_secret: Put = Box::new(move |number| {
        let (server, secrets) = (server.clone(), secrets.clone());
        Box::pin(async move {
            *secrets.lock().unwrap() = number;
            server.control(&json!({ "secrets": [key(number)], "revoke": true })).await;
        })
    });

    vec![
        Subject::new("OpenBao", vault, put_vault).await,
        Subject::new("etcd", of_etcd, put_etcd).await,
        Subject::at("OAuth2", token, &api, put_secret).await,
    ]
}

async fn at_home(folder: &PathBuf) -> Vec<Subject> {
    let answer = Arc::new(Mutex::new(key(1)));
    let shared = answer.clone();
    let fake =
        Fake::plain(move |_| Response::new(200, json!({ "api_key": *shared.lock().unwrap() })))
            .await;
    let json = Json::new(fake.url()).expect("a URL").key("/api_key");
    let put_json: Put = Box::new(move |number| {
        // It answers as long as it is held here.
        let _ = fake.url();
        *answer.lock().unwrap() = key(number);
        Box::pin(async {})
    });

    let write = |name: &str| {
        let path = folder.join(name);
        fs::write(&path, key(1)).expect("a file");
        let target = path.clone();
        let put: Put = Box::new(move |number| {
            let beside = target.with_extension("new");
            fs::write(&beside, key(number)).expect("a file");
            fs::rename(&beside, &target).expect("renamed");
            Box::pin(async {})
        });
        (path, put)
    };
    let (path, put_file) = write("key");
    let file = File::new(path);
    let (path, put_printed) = write("printed");
    let command = Command::new(["cat".into(), path.into_os_string()]);
    let (path, put_last) = write("last");
    let nothing = Json::new("http://127.0.0.1:9/").expect("a URL");
    let last = source::first_of([Arc::new(nothing), Arc::new(File::new(path))]);

    vec![
        Subject::new("JSON", json, put_json).await,
        Subject::new("file", file, put_file).await,
        Subject::new("command", command, put_printed).await,
        Subject::new("what stands in", last, put_last).await,
    ]
}

/// What this process has: threads, open files, and bytes of memory.
#[derive(Clone, Copy, Debug)]
struct Held {
    threads: usize,
    files: usize,
    memory: usize,
}

/// The least of some seconds: a fetch that is under way has a connection, and may have a thread.
async fn held() -> Held {
    let count = |folder| fs::read_dir(folder).expect("of Linux").count();
    let mut least = Held { threads: usize::MAX, files: usize::MAX, memory: usize::MAX };
    for _ in 0..60 {
        let status = fs::read_to_string("/proc/self/status").expect("of Linux");
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let memory = memory.and_then(|it| it.split_whitespace().next()?.parse().ok());
        least.threads = least.threads.min(count("/proc/self/task"));
        least.files = least.files.min(count("/proc/self/fd"));
        least.memory = least.memory.min(memory.unwrap_or(usize::MAX));
        sleep(Duration::from_millis(50)).await;
    }
    least
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_each_second_fails_nobody_and_nothing_grows() {
    let seconds = std::env::var("KEYSWAP_SOAK").ok().and_then(|it| it.parse().ok()).unwrap_or(60);
    let folder = process::folder().join(format!("soak-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let mut subjects = subjects(&folder).await;
    let began = Instant::now();
    // What is made once is made by then: each source has rotated a few times.
    let warm = Duration::from_secs(60).min(Duration::from_secs(seconds) / 2);
    let mut before = None;
    let mut turn = 0;
    while began.elapsed() < Duration::from_secs(seconds) {
        let next = Instant::now() + Duration::from_secs(1);
        let count = subjects.len();
        let subject = &mut subjects[turn % count];
        subject.rotate().await;
        let failed = subject.load.failed();
        assert!(failed.is_empty(), "{}: {:?}", subject.name, failed.first());
        turn += 1;
        tokio::time::sleep_until(next).await;
        if before.is_none() && began.elapsed() >= warm {
            before = Some(held().await);
        }
    }
    let (before, after) = (before.expect("it was long enough"), held().await);
    println!("after the first minute {before:?}, at the end {after:?}");
    for subject in subjects {
        let number = subject.rotations;
        let now = subject.keys.current().expect("a key");
        println!(
            "{}: {number} keys, {} requests, {} in use",
            subject.name,
            subject.load.sent(),
            now.id()
        );
        assert!(number > 2, "{} did not rotate", subject.name);
        if subject.api.is_some() {
            let in_use = [number, number - 1].map(key);
            let held = now.reveal("key").expect("a key");
            assert!(in_use.iter().any(|it| it == held), "{}: {held} is old", subject.name);
        }
        subject.load.end().await;
        subject.keys.shutdown().await;
    }
    fs::remove_dir_all(&folder).expect("removed");
    assert!(after.threads <= before.threads, "a thread more");
    // Callers keep one connection or two, whose both ends are here; one file a rotation would be far more.
    assert!(after.files <= before.files + CALLERS * 4, "more open files");
    // An allocator keeps what it was given once: a share of it is no growth.
    assert!(after.memory * 100 <= before.memory * 105, "more memory");
}
