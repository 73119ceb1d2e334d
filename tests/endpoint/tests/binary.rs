//! The program: what it says, and when it ends.

mod http;

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use keyswap_endpoint::server::Endpoint;
use keyswap_endpoint::world::WorldConfig;
use serde_json::Value;

fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_keyswap-endpoint"));
    program.env_remove("KEYSWAP_OPERATOR");
    program
}

#[tokio::test]
async fn it_tells_where_it_is_and_ends_with_stdin() {
    let mut child = program()
        .args(["serve", "--exit-with-stdin", "--set=orders", "--api", "127.0.0.1:0"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program");
    let mut stdout = BufReader::new(child.stdout.take().expect("its stdout"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a line");
    let told: Value = serde_json::from_str(&line).expect("a line of JSON");
    let url = |key: &str| told[key].as_str().expect(key).to_owned();
    assert!(url("set_url").ends_with("/keyswap/v1/sets/orders"), "{told}");
    let counters = http::ask("GET", &format!("{}/counters", url("control_url")), &[], "").await;
    assert_eq!(counters.expect("an answer").json()["api.sends"], 0);
    let token = format!("Bearer {}", url("bootstrap"));
    let set = http::ask("GET", &url("set_url"), &[("Authorization", &token)], "").await;
    assert_eq!(set.expect("an answer").json()["set"], "orders");
    drop(child.stdin.take());
    assert!(child.wait().expect("an end").success());
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).expect("the rest");
    assert_eq!(rest, "", "one line, and nothing more");
}

#[tokio::test]
async fn it_tells_an_operator_who_uses_what() {
    let config = r#"{"levels": ["acks"], "quiet_ms": 0}"#;
    let config: WorldConfig = serde_json::from_str(config).expect("a world");
    let running = Endpoint::start(config).await.expect("loopback sockets");
    let url = running.set_url();
    let acks = format!("{url}/acks");
    let report = |lease: u32| {
        format!(
            r#"{{"instance":"bot-1","lease_seconds":{lease},"generation":1,
                "observations":[{{"credential":"k1","status":"active"}}]}}"#
        )
    };
    let token = [("Authorization", "Bearer bootstrap")];
    let taken = http::ask("POST", &acks, &token, &report(60)).await.expect("an answer");
    assert_eq!((taken.status, taken.body.len()), (202, 0));
    running.apply(&serde_json::from_str(r#"{"do": "rotate"}"#).expect("a step")).expect("a step");
    let adoption = async |operator: &str| {
        let (url, operator) = (url.clone(), operator.to_owned());
        let mut program = program();
        program.args(["adoption", &url]).env("KEYSWAP_OPERATOR", operator);
        let run = tokio::task::spawn_blocking(move || program.output());
        let output = run.await.expect("a thread").expect("the program");
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), told, String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, told, _) = adoption("operator").await;
    assert!(code == Some(3) && told.contains("no              in_use: bot-1"), "{told}");
    http::ask("POST", &acks, &token, &report(0)).await.expect("an answer");
    let (code, told, _) = adoption("operator").await;
    assert!(code == Some(0) && told.contains("k1          0 "), "{told}");
    let (code, told, why) = adoption("bootstrap").await;
    assert!(code == Some(1) && told.is_empty() && why.contains("403"), "{why}");
    assert!(!why.contains("bootstrap"), "{why}");
}

#[test]
fn it_explains_itself() {
    let help = program().arg("--help").output().expect("the program");
    assert!(help.status.success() && help.stdout.starts_with(b"keyswap-endpoint: "));
    for (arguments, why) in [
        (&["serve", "--listen", "0.0.0.0:0"][..], "only on loopback addresses"),
        (&["serve", "--listen", "here"], "is not an address"),
        (&["serve", "--listen"], "needs a value"),
        (&["serve", "--nothing"], "no option `--nothing`"),
        (&["serve", "--story", "/nowhere.json"], "/nowhere.json"),
        (&["adoption"], "URL of a set is missing"),
        (&["adoption", "http://127.0.0.1:1/x"], "token is missing"),
        (&["adoption", "http://127.0.0.1:1/x", "--operator"], "needs a value"),
        (&["adoption", "https://127.0.0.1:1/x", "--operator=t"], "only loopback"),
        (&["dance"], "no command `dance`"),
        (&[], "a command is missing"),
    ] {
        let output = program().args(arguments).output().expect("the program");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && told.contains(why), "{arguments:?}: {told}");
    }
}
