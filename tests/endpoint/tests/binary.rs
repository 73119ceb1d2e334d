//! The program: what it says, and when it ends.

mod http;

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use serde_json::Value;

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_keyswap-endpoint"))
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
        (&["dance"], "no command `dance`"),
        (&[], "a command is missing"),
    ] {
        let output = program().args(arguments).output().expect("the program");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && told.contains(why), "{arguments:?}: {told}");
    }
}
