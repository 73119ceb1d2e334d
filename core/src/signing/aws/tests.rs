//! The test suite of AWS: `tests/signing/aws-sig-v4.json` says where it is from.

use std::{fs, path::Path};

use http::{HeaderValue, Method};
use serde_json::Value;
use url::Url;

use super::*;

struct Request {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: String,
}

/// A request as the suite writes it; a line that begins with a space goes on with the header before it.
fn read(text: &str) -> Request {
    let (head, body) = text.split_once("\n\n").unwrap_or((text.trim_end(), ""));
    let unfolded = head.replace("\n ", " ");
    let (first, rest) = unfolded.split_once('\n').expect("a head");
    let (method, rest_of_first) = first.split_once(' ').expect("a method");
    let target = rest_of_first.strip_suffix(" HTTP/1.1").expect("a version");
    let mut headers = HeaderMap::new();
    for line in rest.lines() {
        let (name, value) = line.split_once(':').expect("a header");
        let name: HeaderName = name.parse().expect("a name");
        headers.append(name, HeaderValue::from_str(value.trim()).expect("a value"));
    }
    let host = headers["host"].to_str().expect("a host");
    Request {
        method: method.parse().expect("a method"),
        url: format!("https://{host}{target}").parse().expect("a URL"),
        headers,
        body: body.to_owned(),
    }
}

#[test]
fn the_suite_of_aws_is_signed_as_it_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/signing/aws-sig-v4.json");
    let suite: Value = serde_json::from_slice(&fs::read(path).expect("read")).expect("JSON");
    let (mut signed, mut paths, mut left_out) = (0, 0, 0);
    for case in suite["cases"].as_array().expect("cases") {
        let name = case["name"].as_str().expect("a name");
        if case["no_url"] == true {
            left_out += 1;
            continue;
        }
        let Request { method, url, headers, body } = read(case["request"].as_str().expect("one"));
        let mut key = Credential::new("k1", "AKIDEXAMPLE")
            .with_material("secret", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
        if let Some(token) = case["session_token"].as_str() {
            key = key.with_material("session_token", token);
        }
        let now = "2015-08-30T12:36:00Z".parse().expect("a time");
        let request = Unsigned::new(&method, &url, &headers, Some(body.as_bytes()), now);
        let signer = SigV4 {
            service: "service".into(),
            region: "us-east-1".into(),
            plain_path: case["plain_path"] == true,
            sends_digest: case["sends_digest"] == true,
        };
        let canonical = case["canonical"].as_str().expect("one");
        let path = signer.path(&request);
        assert_eq!(Some(&*path), canonical.lines().nth(1), "{name}");
        let Some(signature) = case["signature"].as_str() else {
            paths += 1;
            continue;
        };
        let mut patch = Patch::default();
        signer.sign(&key, &request, &mut patch).expect(name);
        let mut sent = HeaderMap::new();
        patch.apply_headers(&mut sent);
        let value = sent["authorization"].to_str().expect("text");
        let names = canonical.lines().rev().nth(1).expect("names");
        assert!(value.contains(&format!("SignedHeaders={names}, ")), "{name}: {value}");
        assert!(value.ends_with(&format!("Signature={}", signature.trim())), "{name}: {value}");
        assert_eq!(sent["x-amz-date"], "20150830T123600Z");
        signed += 1;
    }
    assert_eq!((signed, paths, left_out), (34, 2, 4));
}

#[test]
fn s3_sends_the_digest_and_the_path_as_it_is() {
    let key = Credential::new("k1", "AK").with_material("secret", "s");
    let (url, headers) =
        ("https://b.s3.amazonaws.com/a%20b//c".parse().expect("a URL"), HeaderMap::new());
    let request =
        Unsigned::new(&Method::PUT, &url, &headers, Some(b""), jiff::Timestamp::UNIX_EPOCH);
    let patch = Scheme::aws_sigv4("s3", "eu-west-1").apply(&key, &request).expect("signed");
    let mut sent = HeaderMap::new();
    patch.apply_headers(&mut sent);
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(sent["x-amz-content-sha256"], empty);
    let value = sent["authorization"].to_str().expect("text");
    assert!(value.contains("SignedHeaders=host;x-amz-content-sha256;x-amz-date,"), "{value}");
}
