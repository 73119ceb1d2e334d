//! The program's `adoption` command: asks an endpoint who uses what, and prints it as a table.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderValue, Request, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// How long the endpoint may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most bytes of an answer: a fleet's worth of names.
const MOST: usize = 16 * 1024 * 1024;

/// What was read, ready to be printed.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) text: String,
    /// Every credential that could be retired is safe to.
    pub(crate) all_safe: bool,
}

/// Asks with an operator's token. The URL is the set's own.
pub(crate) async fn ask(set_url: &str, operator: &str) -> Result<Table, String> {
    let answer = tokio::time::timeout(PATIENCE, fetch(set_url, operator));
    let told = answer.await.map_err(|_| format!("no answer within {} s", PATIENCE.as_secs()))??;
    table(&told).ok_or_else(|| "the answer is not by the protocol".to_owned())
}

async fn fetch(set_url: &str, operator: &str) -> Result<Value, String> {
    let url: Uri = format!("{}/adoption", set_url.trim_end_matches('/'))
        .parse()
        .map_err(|_| format!("`{set_url}` is not a URL"))?;
    let authority = match (url.scheme_str(), url.authority()) {
        (Some("http"), Some(authority)) => authority.clone(),
        _ => return Err("the URL must begin with http://: only loopback is spoken to".to_owned()),
    };
    let host = authority.host().trim_matches(['[', ']']);
    let is_loopback = host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    if !is_loopback {
        return Err(format!("will not send an operator's token to {host} without TLS"));
    }
    let mut token = HeaderValue::from_str(&format!("Bearer {operator}"))
        .map_err(|_| "the operator's token cannot stand in a header".to_owned())?;
    token.set_sensitive(true);
    let request = Request::get(url.path())
        .header(HOST, authority.as_str())
        .header(AUTHORIZATION, token)
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;

    let unreachable = |error: &dyn std::fmt::Display| format!("{authority}: {error}");
    let address = (host, authority.port_u16().unwrap_or(80));
    let stream = TcpStream::connect(address).await.map_err(|error| unreachable(&error))?;
    let (mut send, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(&error))?;
    let connection = tokio::spawn(connection);
    let response = send.send_request(request).await.map_err(|error| unreachable(&error))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MOST).collect().await;
    let body = body.map_err(|error| unreachable(&error))?.to_bytes();
    connection.abort();
    let told: Value = serde_json::from_slice(&body).unwrap_or_default();
    if status == 200 {
        return Ok(told);
    }
    let detail = told["detail"].as_str().unwrap_or("no reason is given");
    Err(format!("the endpoint answered {}: {detail}", status.as_u16()))
}

/// One line for each credential; none if the answer is not what it should be.
fn table(told: &Value) -> Option<Table> {
    let retire = told["retire"].as_object()?;
    let head =
        ["credential", "in use", "last client use", "last server use", "safe to retire", "why"];
    let mut rows = vec![head.map(str::to_owned)];
    for one in told["by_credential"].as_array()? {
        let id = one["id"].as_str()?;
        let time = |key: &str| one[key].as_str().unwrap_or("-").to_owned();
        let (safe, why) = match retire.get(id) {
            Some(verdict) => {
                let safe = if verdict["safe"].as_bool()? { "yes" } else { "no" };
                (safe, why(verdict))
            }
            None => ("-", String::new()),
        };
        rows.push([
            id.to_owned(),
            one["in_use"].as_u64()?.to_string(),
            time("last_client_use"),
            time("last_server_use"),
            safe.to_owned(),
            why,
        ]);
    }
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", line.trim_end());
    }
    let all_safe = retire.values().all(|verdict| verdict["safe"] == true);
    Some(Table { text, all_safe })
}

fn why(verdict: &Value) -> String {
    let names = verdict["blocking"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let names: Vec<_> = names.collect();
    match verdict["reason"].as_str() {
        Some(reason) if names.is_empty() => reason.to_owned(),
        Some(reason) => format!("{reason}: {}", names.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_are_aligned() {
        let told = serde_json::json!({
            "generation": 2, "instances_live": 1,
            "by_credential": [
                {"id": "k1", "in_use": 1, "last_client_use": null, "last_server_use": "2026-11-23T18:00:00Z"},
                {"id": "k2", "in_use": 10, "last_client_use": null, "last_server_use": null},
            ],
            "retire": {"k1": {"safe": false, "reason": "in_use", "blocking": ["a", "b"]}},
        });
        let Table { text, all_safe } = table(&told).expect("a table");
        let expected = "\
credential  in use  last client use  last server use       safe to retire  why
k1          1       -                2026-11-23T18:00:00Z  no              in_use: a, b
k2          10      -                -                     -
";
        assert_eq!(text, expected);
        assert!(!all_safe);
        assert!(table(&serde_json::json!({"retire": {}})).is_none());
    }

    #[tokio::test]
    async fn the_token_goes_to_loopback_alone() {
        for url in ["https://a.test/sets/x", "http://192.0.2.1/sets/x", "nowhere"] {
            let why = ask(url, "hidden").await.expect_err(url);
            assert!(!why.contains("hidden"), "{why}");
        }
    }
}
