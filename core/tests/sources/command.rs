//! Keys that a command prints.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use keyswap::{
    CredentialSet, ErrorKind, KeySwap, Policy,
    source::{Command, Fetched, Source},
};

use crate::{BOOTSTRAP, MATERIAL, failed, fetched, sources::folder::Folder};

fn shell(script: &str) -> Command {
    Command::new(["sh", "-c", script])
}

async fn printed(text: &str) -> CredentialSet {
    fetched(Command::new(["printf", "%s", text]).fetch(None).await)
}

fn reveal<'a>(set: &'a CredentialSet, name: &str) -> Option<&'a str> {
    set.primary().unwrap().reveal(name)
}

#[tokio::test]
async fn each_form_is_known_by_its_look() {
    let set = printed(&format!("{MATERIAL}\n")).await;
    assert_eq!(reveal(&set, "key"), Some(MATERIAL));
    assert!(set.primary().unwrap().id().starts_with("command-"), "{set:?}");

    let set = printed(
        r#"{"current": {"id": "k2", "key": "new", "secret": "s"}, "previous": [{"id": "k1", "key": "old"}]}"#,
    )
    .await;
    assert_eq!((reveal(&set, "key"), reveal(&set, "secret")), (Some("new"), Some("s")));
    assert_eq!(set.previous().next().unwrap().id(), "k1");

    let set = printed(
        r#"{"Version": 1, "AccessKeyId": "AK", "SecretAccessKey": "s", "SessionToken": "t",
            "Expiration": "2099-11-23T18:00:00Z"}"#,
    )
    .await;
    let pieces = ["key", "secret", "session_token"].map(|name| reveal(&set, name).unwrap());
    assert_eq!(pieces, ["AK", "s", "t"]);
    assert_eq!(set.primary().unwrap().expires_at(), "2099-11-23T18:00:00Z".parse().ok());
    let set = printed(r#"{"Version": 1, "AccessKeyId": "AK", "SecretAccessKey": "s"}"#).await;
    assert_eq!((reveal(&set, "session_token"), set.primary().unwrap().expires_at()), (None, None));

    let set = printed(
        r#"{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
            "status": {"token": "t", "expirationTimestamp": "2099-11-23T18:00:00Z"}}"#,
    )
    .await;
    assert_eq!(reveal(&set, "key"), Some("t"));
    assert_eq!(set.primary().unwrap().expires_at(), "2099-11-23T18:00:00Z".parse().ok());
    let set = printed(
        r#"{"apiVersion": "client.authentication.k8s.io/v1beta1", "kind": "ExecCredential",
            "status": {"clientCertificateData": "c", "clientKeyData": "k"}}"#,
    )
    .await;
    assert_eq!(
        (reveal(&set, "client_certificate"), reveal(&set, "client_key")),
        (Some("c"), Some("k"))
    );
}

#[tokio::test]
async fn what_has_none_of_these_forms_is_malformed_and_not_repeated() {
    let s = MATERIAL;
    for (text, words) in [
        (String::new(), "it is empty"),
        (" \n".into(), "it is empty"),
        (format!("{s}\n{s}"), "it has more than one line"),
        (format!("{{{s}"), "it is not JSON"),
        (format!(r#"{{"key": "{s}"}}"#), "current is missing"),
        (format!(r#"{{"Version": 2, "AccessKeyId": "{s}"}}"#), "its Version must be 1"),
        (format!(r#"{{"Version": 1, "AccessKeyId": "{s}"}}"#), "no text at /SecretAccessKey"),
        (
            format!(
                r#"{{"Version": 1, "AccessKeyId": "a", "SecretAccessKey": "b", "Expiration": "{s}"}}"#
            ),
            "/Expiration must be an RFC 3339 time",
        ),
        (format!(r#"{{"kind": "ExecCredential", "apiVersion": "{s}"}}"#), "its apiVersion must be"),
        (
            r#"{"kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1"}"#.into(),
            "neither a token nor a client certificate",
        ),
    ] {
        let error = failed(&Command::new(["printf", "%s", &text]), None).await;
        assert_eq!(error.kind(), ErrorKind::Malformed, "{error}");
        let said = error.to_string();
        assert!(said.starts_with("the command printf printed") && said.contains(words), "{said}");
    }
    let error = failed(&shell(r"printf '\377'"), None).await;
    assert!(error.to_string().contains("not UTF-8"), "{error}");
}

#[tokio::test]
async fn each_fault_says_what_to_do_and_shows_nothing() {
    let folder = Folder::new();
    let file = folder.write("not-executable", "#!/bin/sh\necho x\n");
    let secret = format!("echo {MATERIAL} >&2; echo {MATERIAL};");
    use ErrorKind::*;
    for (command, kind, words) in [
        (Command::new(["keyswap-no-such-program", MATERIAL]), InvalidConfig, "was not found"),
        (Command::new([file.as_os_str()]), InvalidConfig, "may not be executed"),
        (Command::new([folder.0.as_os_str()]), InvalidConfig, "may not be executed"),
        (shell(&format!("{secret} exit 7")), SourceFailed, "sh ended with code 7: run it by hand"),
        (shell(&format!("{secret} kill -9 $$")), SourceFailed, "was ended by signal 9"),
        (shell("yes"), Malformed, "printed more than 64 KiB, and was killed"),
        (Command::new::<&str>([]), InvalidConfig, "no command is given"),
        (Command::new([""]), InvalidConfig, "has no name"),
        (Command::new(["a\0b"]), InvalidConfig, "NUL"),
        (shell("echo x").env("A=B", MATERIAL), InvalidConfig, "without a name, or with a ="),
    ] {
        let error = failed(&command, None).await;
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(words), "{words}: {error}");
    }
    assert!(KeySwap::follow(Command::new::<&str>([])).await.is_err(), "the handle does not start");
}

#[tokio::test]
async fn it_sees_what_it_was_given_of_the_environment_and_no_more() {
    let names = "env | cut -d= -f1 | grep -v '^_$' | grep -v '^PWD$' | grep -v '^SHLVL$' | sort | tr '\\n' ,";
    let seen = fetched(shell(names).env("TOKEN", BOOTSTRAP).fetch(None).await);
    let seen = reveal(&seen, "key").unwrap().to_owned();
    // Cargo sets many variables for every test.
    assert!(std::env::var_os("CARGO_PKG_NAME").is_some());
    assert!(seen.contains("PATH,") && seen.contains("TOKEN,") && !seen.contains("CARGO"), "{seen}");
    let command = shell("echo $CARGO_PKG_NAME-$TOKEN");
    let set = fetched(command.inherit_env("CARGO_PKG_NAME").env("TOKEN", "t").fetch(None).await);
    assert_eq!(reveal(&set, "key"), Some("keyswap-t"));
    // No shell looks at the arguments, and there is no input.
    let set = fetched(Command::new(["echo", "$HOME; `id`"]).fetch(None).await);
    assert_eq!(reveal(&set, "key"), Some("$HOME; `id`"));
    let error = failed(&Command::new(["cat"]), None).await;
    assert!(error.to_string().contains("it is empty"), "{error}");
}

#[tokio::test]
async fn the_same_output_is_no_change_and_another_one_is_another_key() {
    let folder = Folder::new();
    let file = folder.write("key", "one");
    let command = Command::new(["cat".as_ref(), file.as_os_str()]);
    let one = fetched(command.fetch(None).await);
    assert!(matches!(command.fetch(Some(&one)).await.unwrap(), Fetched::NotModified));
    folder.write("key", "two");
    let two = fetched(command.fetch(Some(&one)).await);
    assert_ne!(one.primary().unwrap().id(), two.primary().unwrap().id());
    assert!(!command.mints() && command.minting().mints());
}

/// Until nothing of this number is left, zombies neither.
fn gone(pid: &Path) -> bool {
    let number = fs::read_to_string(pid).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        let stat = fs::read_to_string(format!("/proc/{}/stat", number.trim()));
        let is_alive = stat.is_ok();
        if !is_alive {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

fn is_there(file: &Path) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while fs::read_to_string(file).map_or(true, |text| !text.ends_with('\n')) {
        assert!(Instant::now() < deadline, "it has begun");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn whatever_ends_the_wait_kills_the_group() {
    let folder = Folder::new();
    let (own, child) = (folder.path("own"), folder.path("child"));
    let script =
        format!("sleep 600 & echo $! > {}; echo $$ > {}; wait", child.display(), own.display());
    let command = shell(&script).timeout(Duration::from_millis(300));
    let began = Instant::now();
    let error = failed(&command, None).await;
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("sh had not ended after 300ms, and was killed"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(5) && gone(&own) && gone(&child));

    // Dropped in the middle; and with a runtime that ends.
    fs::remove_file(&own).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.spawn(async move { shell(&script).fetch(None).await.map(drop) });
    let seen = own.clone();
    tokio::task::spawn_blocking(move || is_there(&seen)).await.unwrap();
    runtime.shutdown_background();
    assert!(gone(&own) && gone(&child));
}

#[tokio::test]
async fn what_left_the_group_and_keeps_the_pipe_holds_up_nobody() {
    let command = shell("setsid sleep 5 & echo key").timeout(Duration::from_millis(200));
    for _ in 0..3 {
        let began = Instant::now();
        assert_eq!(failed(&command, None).await.kind(), ErrorKind::Timeout);
        assert!(began.elapsed() < Duration::from_secs(2));
    }
}

#[tokio::test]
async fn the_policys_time_holds() {
    let keys = KeySwap::follow(shell("sleep 60"))
        .policy(Policy::default().fetch_timeout(Duration::from_millis(100)));
    let began = Instant::now();
    let outcome = tokio::time::timeout(Duration::from_secs(5), keys).await;
    assert!(matches!(outcome, Ok(Err(_))), "{outcome:?}");
    assert!(began.elapsed() < Duration::from_secs(5));
}
