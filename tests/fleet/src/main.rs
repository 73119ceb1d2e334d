//! One process of a fleet: `keyswap-member SET_URL API_URL POLICY_JSON`.
//!
//! It sends a request each tenth of a second until its standard input ends, then says goodbye. Its exit
//! code says whether any request failed.
// A program reports to its standard error.
#![allow(clippy::print_stderr)]

use std::{process::ExitCode, time::Duration};

use keyswap::{Client, Endpoint, KeySwap, Scheme};
use tokio::io::AsyncReadExt;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(0) => ExitCode::SUCCESS,
        Ok(failed) => {
            eprintln!("{failed} requests failed");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<u64, Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [set_url, api_url, policy] = words.as_slice() else {
        return Err("usage: keyswap-member SET_URL API_URL POLICY_JSON".into());
    };
    let policy = serde_json::from_str(policy)?;
    let keys = KeySwap::follow(Endpoint::new(set_url)?).policy(policy).await?;
    let scheme = Scheme::header("x-api-key");
    let api = Client::builder(&keys).base_url(api_url)?.scheme(scheme).build()?;
    let mut stdin = tokio::io::stdin();
    let mut byte = [0];
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    let mut failed = 0;
    loop {
        tokio::select! {
            _ = stdin.read(&mut byte) => break,
            _ = ticks.tick() => {
                let outcome = api.get("/v1/price").send().await;
                failed += u64::from(!outcome.is_ok_and(|answer| answer.status().is_success()));
            }
        }
    }
    keys.shutdown().await;
    Ok(failed)
}
