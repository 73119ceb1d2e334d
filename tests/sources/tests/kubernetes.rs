//! Keys and tokens in the files of a pod, replaced as the kubelet and agents replace them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::{
    fs,
    os::unix::fs::symlink,
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use keyswap::{
    Client, Credential, Error, KeySwap, Patch, Policy, Scheme, Sign, Unsigned, source::File,
};
use keyswap_source_tests::{
    api::Api,
    folder::Folder,
    load::{Load, until},
};
use serde_json::json;

const CALLERS: usize = 16;
const SOON: Duration = Duration::from_secs(10);

fn quick() -> Policy {
    let millis = Duration::from_millis;
    Policy::default().fetch_floor(millis(50)).fetch_floor_min(millis(50)).probe_again(millis(100))
}

/// A volume as the kubelet keeps it: each version is a folder of its own, and `..data` leads to the one that counts.
struct Volume {
    folder: Folder,
    number: u32,
}

impl Volume {
    fn new(files: &[(&str, &str)]) -> Self {
        let mut volume = Self { folder: Folder::new("volume"), number: 0 };
        volume.write(files);
        for (name, _) in files {
            symlink(PathBuf::from("..data").join(name), volume.folder.path().join(name))
                .expect("a link");
        }
        volume
    }

    /// In the order of the kubelet: the new folder, a link to it, that link over the old one, and then the old folder.
    fn write(&mut self, files: &[(&str, &str)]) {
        let at = |name: &str| self.folder.path().join(name);
        let (old, new) = (format!("..v{}", self.number), format!("..v{}", self.number + 1));
        fs::create_dir(at(&new)).expect("a folder");
        for (name, content) in files {
            fs::write(at(&new).join(name), content).expect("a file");
        }
        symlink(&new, at("..data_tmp")).expect("a link");
        fs::rename(at("..data_tmp"), at("..data")).expect("the swap");
        let _ = fs::remove_dir_all(at(&old));
        self.number += 1;
    }
}

/// Shows both pieces, so that the API sees whether they belong together.
#[derive(Debug)]
struct Pair;

impl Sign for Pair {
    fn sign(
        &self,
        credential: &Credential,
        _: &Unsigned<'_>,
        patch: &mut Patch,
    ) -> Result<(), Error> {
        let piece = |name| credential.reveal(name).unwrap_or_default();
        let value = format!("Bearer {}+{}", piece("key"), piece("secret"));
        patch.add_header(reqwest::header::AUTHORIZATION, &value, credential)
    }
}

fn held(keys: &KeySwap, name: &str) -> String {
    let set = keys.set().expect("a set");
    set.primary().and_then(|it| it.reveal(name)).unwrap_or_default().to_owned()
}

/// A key and its secret, of one version each time: no other pair was ever sent.
async fn no_pair_is_torn(keys: &KeySwap, mut write: impl FnMut(u32)) {
    let api = Api::start().await;
    api.accept(["k0+s0"]);
    let client =
        Client::builder(keys).scheme(Scheme::signing(Pair)).base_url(api.url()).expect("a URL");
    let load = Load::with(&client.build().expect("a client"), CALLERS);
    for version in 1..=12 {
        let pair = |version| format!("k{version}+s{version}");
        tokio::time::sleep(Duration::from_millis(100)).await;
        api.accept([pair(version - 1), pair(version)]);
        write(version);
        let wanted = format!("k{version}");
        until(&format!("{wanted} is held"), SOON, || held(keys, "key") == wanted).await;
        assert_eq!(held(keys, "secret"), format!("s{version}"));
        // Every third is cut off at once; callers have to ask again with the new one.
        if version % 3 > 0 {
            until("it is in use", SOON, || keys.current().unwrap().reveal("key") == Some(&*wanted))
                .await;
        }
        api.accept([pair(version)]);
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    load.end().await;
    let sent = api.accepted();
    assert!(
        sent.keys().all(|it| it.split_once('+').is_some_and(|(k, s)| k[1..] == s[1..])),
        "{sent:?}"
    );
    assert!(sent.len() == 13, "{sent:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_swapped_as_a_whole() {
    let mut volume = Volume::new(&[("key", "k0"), ("secret", "s0")]);
    let keys = KeySwap::follow(File::new(volume.folder.path())).policy(quick());
    let keys = keys.await.expect("a pair");
    no_pair_is_torn(&keys, |version| {
        volume.write(&[("key", &format!("k{version}")), ("secret", &format!("s{version}"))]);
    })
    .await;
}

/// As Vault Agent and External Secrets write: one file, renamed over the one before.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_renders_a_set_into_a_file() {
    let folder = Folder::new("agent");
    let render = |version: u32| {
        let material = json!({"key": format!("k{version}"), "secret": format!("s{version}")});
        let set = json!({"current": {"id": format!("v{version}"), "material": material}});
        folder.replace("trading.json", &set.to_string());
    };
    render(0);
    let keys = KeySwap::follow(File::new(folder.path().join("trading.json"))).policy(quick());
    let keys = keys.await.expect("a pair");
    no_pair_is_torn(&keys, render).await;
}

/// A token of a service account: signed by somebody else, so only its form counts here.
fn token(number: u32, life: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("now").as_secs() as i64;
    let part = |value: serde_json::Value| BASE64.encode(value.to_string());
    let claims = json!({"sub": "system:serviceaccount:bots:trading", "n": number, "iat": now, "exp": now + life});
    format!("{}.{}.c2lnbmF0dXJl", part(json!({"alg": "RS256", "kid": "a"})), part(claims))
}

/// Each is replaced before it ends, and the API still takes the one before until it does.
#[tokio::test(flavor = "multi_thread")]
async fn a_projected_token_is_replaced_before_it_ends() {
    let api = Api::start().await;
    let mut old = token(0, 600);
    api.accept([&old]);
    let mut volume = Volume::new(&[("token", &old)]);
    let keys = KeySwap::follow(File::new(volume.folder.path().join("token"))).policy(quick());
    let keys = keys.await.expect("a token");
    let load = Load::start(&keys, api.url(), CALLERS);
    for number in 1..=8 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let new = token(number, 600);
        api.accept([&old, &new]);
        volume.write(&[("token", &new)]);
        until("it is in use", SOON, || keys.current().unwrap().reveal("key") == Some(&*new)).await;
        api.accept([&new]);
        old = new;
    }
    load.end().await;
    assert_eq!(api.accepted().len(), 9);
}

/// `exp` is what the writer says by its own clock. One that has passed stops nobody, as long as the API takes the
/// token; one that is far off keeps nobody from hearing that it does not.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_that_a_token_claims_is_not_believed() {
    let api = Api::start().await;
    let (over, fresh) = (token(1, -3600), token(2, 86_400));
    api.accept([&over]);
    let mut volume = Volume::new(&[("token", &over)]);
    let keys = KeySwap::follow(File::new(volume.folder.path().join("token"))).policy(quick());
    let keys = keys.await.expect("a token");
    assert_eq!(keys.set().expect("a set").primary().expect("a token").expires_at(), None);
    let load = Load::start(&keys, api.url(), CALLERS);
    tokio::time::sleep(Duration::from_millis(300)).await;
    volume.write(&[("token", &fresh)]);
    api.accept([&fresh]);
    until("it is in use", SOON, || keys.current().unwrap().reveal("key") == Some(&*fresh)).await;
    // Revoked long before its end; the file has the next one.
    let next = token(3, 86_400);
    api.accept([&next]);
    volume.write(&[("token", &next)]);
    until("it is in use", SOON, || keys.current().unwrap().reveal("key") == Some(&*next)).await;
    load.end().await;
}

/// What is gone or half there is told, and what is held goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_gone_or_empty_is_told_and_nobody_waits() {
    let (folder, api) = (Folder::new("gone"), Api::start().await);
    api.accept(["k1"]);
    folder.replace("key", "k1");
    let keys = KeySwap::follow(File::new(folder.path().join("key"))).policy(quick());
    let keys = keys.await.expect("a key");
    let load = Load::start(&keys, api.url(), CALLERS);
    for content in [None, Some(""), Some("{\"current\": {")] {
        match content {
            None => fs::remove_file(folder.path().join("key")).expect("the file"),
            Some(content) => folder.replace("key", content),
        }
        until("it is told", SOON, || keys.last_failure().is_some()).await;
        assert_eq!(held(&keys, "key"), "k1");
        folder.replace("key", "k1");
        until("it is read again", SOON, || keys.last_failure().is_none()).await;
    }
    load.end().await;
}
