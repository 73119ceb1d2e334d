//! The endpoint answers as the document of the protocol says.

mod http;

use std::collections::BTreeSet;

use http::{Answer, Stream, ask};
use keyswap_endpoint::server::{Endpoint, Running};
use keyswap_endpoint::world::WorldConfig;
use serde_json::Value;

/// The document, and which of its answers were seen.
struct Document {
    root: Value,
    seen: BTreeSet<String>,
}

impl Document {
    fn read() -> Self {
        let root = serde_saphyr::from_str(include_str!("../openapi.yaml")).expect("YAML");
        Self { root, seen: BTreeSet::new() }
    }

    fn resolve<'a>(&'a self, mut node: &'a Value) -> &'a Value {
        while let Some(reference) = node.get("$ref").and_then(Value::as_str) {
            let pointer = reference.strip_prefix('#').expect("a reference into the document");
            node = self.root.pointer(pointer).unwrap_or_else(|| panic!("no {reference}"));
        }
        node
    }

    /// Checks status, headers, media type and body of an answer.
    fn check(&mut self, method: &str, path: &str, answer: &Answer) {
        let about = format!("{method} {path} {}", answer.status);
        let response = self.response(method, path, &answer.status.to_string());
        if let Some(headers) = response.get("headers").and_then(Value::as_object) {
            for (name, header) in headers {
                let header = self.resolve(header);
                match answer.header(&name.to_ascii_lowercase()) {
                    Some(value) => {
                        self.valid(&format!("{about} {name}"), &header["schema"], &value.into());
                    }
                    None => assert_ne!(header["required"], true, "{about}: {name} is missing"),
                }
            }
        }
        match response.get("content").and_then(Value::as_object) {
            Some(content) => {
                let kind = answer.header("content-type").unwrap_or_default();
                let media = content.get(kind).unwrap_or_else(|| panic!("{about}: `{kind}`"));
                self.valid(&about, &media["schema"], &answer.json());
            }
            None => assert!(answer.body.is_empty(), "{about} has a body"),
        }
        self.seen.insert(about);
    }

    fn response(&self, method: &str, path: &str, status: &str) -> &Value {
        let responses = &self.root["paths"][path][method.to_ascii_lowercase()]["responses"];
        let response = responses.get(status);
        self.resolve(response.unwrap_or_else(|| panic!("no {method} {path} {status}")))
    }

    fn valid(&self, about: &str, schema: &Value, value: &Value) {
        let mut errors = Vec::new();
        self.validate(schema, value, "", &mut errors);
        assert!(errors.is_empty(), "{about}: {errors:?}");
    }

    /// The part of JSON Schema that the document uses; any other keyword is an error, so that
    /// nothing is passed over in silence.
    fn validate(&self, schema: &Value, value: &Value, at: &str, errors: &mut Vec<String>) {
        let schema = self.resolve(schema);
        let mut fail = |why: String| errors.push(format!("{at}: {why}"));
        let number = |rule: &Value| rule.as_f64().expect("a number");
        let length = || value.as_array().map(|list| list.len() as f64);
        for (keyword, rule) in schema.as_object().expect("a schema") {
            let holds = match keyword.as_str() {
                "description"
                | "default"
                | "properties"
                | "additionalProperties"
                | "items"
                | "required" => true,
                "type" => match rule {
                    Value::Array(kinds) => kinds.iter().any(|kind| is(kind, value)),
                    kind => is(kind, value),
                },
                "const" => value == rule,
                "enum" => rule.as_array().expect("a list").contains(value),
                "minimum" => value.as_f64().is_none_or(|value| value >= number(rule)),
                "maximum" => value.as_f64().is_none_or(|value| value <= number(rule)),
                "maxItems" => length().is_none_or(|length| length <= number(rule)),
                "pattern" => value.as_str().is_none_or(|text| matches(rule, text)),
                "format" => {
                    assert_eq!(rule, "date-time");
                    value.as_str().is_some_and(|time| {
                        time.ends_with('Z') && time.parse::<jiff::Timestamp>().is_ok()
                    })
                }
                other => panic!("the check does not know `{other}`"),
            };
            if !holds {
                fail(format!("{keyword} {rule}, but it is a {}", kind(value)));
            }
        }
        for name in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
            if value.get(name.as_str().expect("a name")).is_none() {
                fail(format!("{name} is missing"));
            }
        }
        let others = schema.get("additionalProperties");
        for (name, value) in value.as_object().into_iter().flatten() {
            let Some(property) =
                schema.get("properties").map(|all| all.get(name)).or(others.map(Some))
            else {
                continue;
            };
            match property {
                Some(property) => self.validate(property, value, &format!("{at}/{name}"), errors),
                // A client ignores what it does not know, but the document has to know it.
                None => errors.push(format!("{at}/{name} is not in the document")),
            }
        }
        if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
            for (n, value) in values.iter().enumerate() {
                self.validate(items, value, &format!("{at}/{n}"), errors);
            }
        }
    }
}

fn is(name: &Value, value: &Value) -> bool {
    match name.as_str().expect("a type") {
        "integer" => value.is_u64() || value.is_i64(),
        other => other == kind(value),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=128).contains(&text.len()) && text.bytes().all(allowed)
}

fn base64(text: &str, before: &str, length: usize, after: &str) -> bool {
    let digits = text.strip_prefix(before).and_then(|text| text.strip_suffix(after));
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+/".contains(&byte);
    digits.is_some_and(|digits| digits.len() == length && digits.bytes().all(allowed))
}

/// The patterns of the document, written out: an engine for a handful would be too much.
fn matches(pattern: &Value, text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match pattern.as_str().expect("a pattern") {
        r#"^"g[0-9]+(\.[A-Za-z0-9._-]{1,128})?"$"# => {
            let tag = text.strip_prefix("\"g").and_then(|text| text.strip_suffix('"'));
            tag.is_some_and(|tag| match tag.split_once('.') {
                Some((generation, lineage)) => digits(generation) && id(lineage),
                None => digits(tag),
            })
        }
        "^[A-Za-z0-9._-]{1,128}$" => id(text),
        "^sha-256=:[A-Za-z0-9+/]{43}=:$" => base64(text, "sha-256=:", 43, "=:"),
        "^keyswap=:[A-Za-z0-9+/]{86}==:$" => base64(text, "keyswap=:", 86, "==:"),
        r#"^keyswap=\("@status" "(content-digest|etag)"\);created=[0-9]+;keyid="[^"]+";alg="ed25519";tag="[^"]+"$"# =>
        {
            let rest = ["content-digest", "etag"].into_iter().find_map(|covered| {
                text.strip_prefix(&format!("keyswap=(\"@status\" \"{covered}\");created="))
            });
            let rest = rest.and_then(|rest| rest.strip_suffix('"'));
            let rest = rest.and_then(|rest| rest.split_once("\";alg=\"ed25519\";tag=\""));
            let rest = rest.filter(|(_, tag)| id(tag)).map(|(rest, _)| rest);
            rest.and_then(|rest| rest.split_once(";keyid=\"")).is_some_and(|(created, key)| {
                digits(created) && !key.is_empty() && !key.contains('"')
            })
        }
        "^[0-9]+$" => digits(text),
        other => panic!("the check does not know the pattern {other}"),
    }
}

const SET: &str = "/sets/{id}";
const EVENTS: &str = "/sets/{id}/events";
const ACKS: &str = "/sets/{id}/acks";
const ADOPTION: &str = "/sets/{id}/adoption";
const ROTATIONS: &str = "/sets/{id}/rotations";
const REVOKE: &str = "/sets/{id}/credentials/{cid}/revoke";

fn apply(running: &Running, step: &str) {
    running.apply(&serde_json::from_str(step).expect(step)).expect(step);
}

#[tokio::test]
async fn answers_are_as_the_document_says() {
    let config = r#"{"levels": ["wait", "events", "acks"], "signed": true, "ttl_ms": 60000, "refresh_after_ms": 500, "splay_seconds": 3, "scopes": ["a"],
        "scheme": {"scheme": "api_key", "params": {"header": "x-api-key"}}}"#;
    let config: WorldConfig = serde_json::from_str(config).expect("a world");
    let running = Endpoint::start(config).await.expect("loopback sockets");
    let mut document = Document::read();
    let url = running.set_url();
    let token = ("Authorization", "Bearer bootstrap");
    let operator = ("Authorization", "Bearer operator");

    let fetched = ask("GET", &url, &[token], "").await.expect("an answer");
    document.check("GET", SET, &fetched);
    let same = [token, ("If-None-Match", "\"g1\"")];
    document.check("GET", SET, &ask("GET", &url, &same, "").await.expect("an answer"));
    document.check("GET", SET, &ask("GET", &url, &[], "").await.expect("an answer"));
    let unknown = ask("GET", &format!("{url}x"), &[token], "").await.expect("an answer");
    document.check("GET", SET, &unknown);
    push_and_adoption(&running, &mut document).await;

    let lists = url.trim_end_matches("/trading");
    for who in [operator, token] {
        document.check("GET", "/sets", &ask("GET", lists, &[who], "").await.expect("an answer"));
    }
    let rotations = format!("{url}/rotations");
    let orders = [
        (operator, "a", r#"{"grace_seconds": 60}"#),
        (operator, "b", r#"{"activate": "on_first_use"}"#),
        (operator, "c", r#"{"activate": "at", "activate_at": "2999-01-01T00:00:00Z"}"#),
        (operator, "d", "{}"),
        (operator, "e", "no JSON"),
        (token, "f", "{}"),
    ];
    for (who, key, order) in orders {
        let headers = [who, ("Idempotency-Key", key)];
        let answer = ask("POST", &rotations, &headers, order).await.expect("an answer");
        document.check("POST", ROTATIONS, &answer);
        // With previous, next and staged credentials, as it goes.
        document.check("GET", SET, &ask("GET", &url, &[token], "").await.expect("an answer"));
    }
    let lost = format!("{url}x/rotations");
    let headers = [operator, ("Idempotency-Key", "g")];
    let answer = ask("POST", &lost, &headers, "{}").await.expect("an answer");
    document.check("POST", ROTATIONS, &answer);
    for (who, id) in [(operator, "k3"), (operator, "k99"), (token, "k1")] {
        let revoke = format!("{url}/credentials/{id}/revoke");
        let answer = ask("POST", &revoke, &[who], "").await.expect("an answer");
        document.check("POST", REVOKE, &answer);
    }
    document.check("GET", SET, &ask("GET", &url, &[token], "").await.expect("an answer"));

    let faults = [
        r#"{"do":"endpoint","fault":"rate_limited","retry_after":1}"#,
        r#"{"do":"endpoint","fault":"server_error"}"#,
        r#"{"do":"endpoint","fault":"server_error","status":400}"#,
        r#"{"do":"endpoint","fault":"server_error","status":403}"#,
        r#"{"do":"endpoint","fault":"server_error","status":409}"#,
        r#"{"do":"endpoint","fault":"none"}"#,
    ];
    for fault in faults {
        apply(&running, fault);
        document.check("GET", SET, &ask("GET", &url, &[token], "").await.expect("an answer"));
    }
    apply(&running, r#"{"do": "lose_history"}"#);
    let again = ask("GET", &url, &[token], "").await.expect("an answer");
    document.check("GET", SET, &again);
    assert_eq!(again.header("etag"), Some("\"g1.a2\""));
    apply(&running, r#"{"do": "revoke_set"}"#);
    document.check("GET", SET, &ask("GET", &url, &[token], "").await.expect("an answer"));
    let revoke = format!("{url}/credentials/k1/revoke");
    let answer = ask("POST", &revoke, &[operator], "").await.expect("an answer");
    document.check("POST", REVOKE, &answer);

    let mut documented = BTreeSet::new();
    for (path, item) in document.root["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("a path") {
            for status in
                operation.get("responses").and_then(Value::as_object).into_iter().flatten()
            {
                documented.insert(format!("{} {path} {}", method.to_uppercase(), status.0));
            }
        }
    }
    assert_eq!(document.seen, documented, "everything that is documented was seen, and no more");
}

/// Levels 1 and 2, in a world that has not changed yet.
async fn push_and_adoption(running: &Running, document: &mut Document) {
    let token = ("Authorization", "Bearer bootstrap");
    let operator = ("Authorization", "Bearer operator");
    let url = running.set_url();
    let waits = format!("{url}?wait=99");
    document.check("GET", SET, &ask("GET", &waits, &[token], "").await.expect("an answer"));

    let events = format!("{url}/events");
    let (mut head, mut stream) = Stream::open(&events, &[token]).await.expect("an answer");
    let event = stream.event().await.expect("an event");
    // To the document, an event is its data.
    let data = event.lines().find_map(|line| line.strip_prefix("data: "));
    head.body = data.expect("data").into();
    document.check("GET", EVENTS, &head);
    document.check("GET", EVENTS, &ask("GET", &events, &[], "").await.expect("an answer"));
    let unknown = format!("{url}x/events");
    document.check("GET", EVENTS, &ask("GET", &unknown, &[token], "").await.expect("an answer"));

    let acks = format!("{url}/acks");
    let report = serde_json::json!({
        "instance": "bot-1", "app": "bot/2.1", "sdk": "keyswap/0.1", "lease_seconds": 0.5,
        "generation": 1, "observations": [
            {"credential": "k1", "status": "active", "last_used_at": "2026-11-23T18:00:00Z", "ok": 3,
             "rejected": 0},
        ],
    });
    document.valid("a report", &document.root["components"]["schemas"]["Ack"], &report);
    let report = report.to_string();
    for (who, body) in [(token, report.as_str()), (token, "no JSON"), (operator, &report)] {
        document.check("POST", ACKS, &ask("POST", &acks, &[who], body).await.expect("an answer"));
    }
    let unknown = format!("{url}x/acks");
    document.check("POST", ACKS, &ask("POST", &unknown, &[token], "").await.expect("an answer"));

    // It shows a credential to retire, too.
    apply(running, r#"{"do": "rotate", "publish_after_ms": 60000}"#);
    let adoption = format!("{url}/adoption");
    for (who, url) in
        [(operator, &adoption), (token, &adoption), (operator, &format!("{url}x/adoption"))]
    {
        let answer = ask("GET", url, &[who], "").await.expect("an answer");
        document.check("GET", ADOPTION, &answer);
    }
    apply(running, r#"{"do": "rollback"}"#);
    for fault in [
        r#"{"do":"endpoint","fault":"rate_limited","retry_after":1}"#,
        r#"{"do":"endpoint","fault":"server_error"}"#,
    ] {
        apply(running, fault);
        document.check("GET", EVENTS, &ask("GET", &events, &[token], "").await.expect("an answer"));
        let answer = ask("POST", &acks, &[token], &report).await.expect("an answer");
        document.check("POST", ACKS, &answer);
    }
    apply(running, r#"{"do":"endpoint","fault":"none"}"#);
}

#[test]
fn a_wrong_answer_is_found() {
    let document = Document::read();
    let schema = document.root["components"]["schemas"]["CredentialSet"].clone();
    let sound = serde_json::json!({
        "generation": 1, "current": {"id": "k1", "material": {"key": "x"}}, "previous": [],
    });
    let errors = |change: &dyn Fn(&mut Value)| {
        let mut value = sound.clone();
        change(&mut value);
        let mut errors = Vec::new();
        document.validate(&schema, &value, "", &mut errors);
        errors
    };
    assert!(errors(&|_| {}).is_empty());
    let changes: [&dyn Fn(&mut Value); 7] = [
        &|set| set["generation"] = "1".into(),
        &|set| set["generation"] = (-1).into(),
        &|set| set["current"]["id"] = "k 1".into(),
        &|set| set["current"]["expires_at"] = "tomorrow".into(),
        &|set| set["protocol"] = "keyswap/2".into(),
        &|set| set["previous"] = vec![set["current"].clone(); 3].into(),
        &|set| set["surprise"] = true.into(),
    ];
    for (n, change) in changes.into_iter().enumerate() {
        assert_eq!(errors(change).len(), 1, "change {n}");
    }
    let missing = errors(&|set| set["current"] = serde_json::json!({"id": "k1"}));
    assert_eq!(missing, ["/current: \"material\" is missing"]);
}
