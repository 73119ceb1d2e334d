//! What the answers of each API do: nothing but a bad key is a rejection.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};
use http::{HeaderMap, Method, StatusCode, header::DATE};
use keyswap::{
    Attempt, Authorizer, Clock, Credential, CredentialSet, ErrorKind, KeySwap, Moment, Step, api,
    signing::Api, source,
};
use url::Url;

/// 14 November 2023, 22:13:20 GMT.
const TRUE: i64 = 1_700_000_000_000;
const DATED: &str = "Tue, 14 Nov 2023 22:13:20 GMT";
/// In base64, and of 32 bytes, so that it is a secret of every kind.
const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

fn url() -> Url {
    "https://api.example.com/v1/orders?symbol=X".parse().unwrap()
}

fn key(id: &str) -> Credential {
    Credential::new(id, format!("key-of-{id}"))
        .with_material("secret", SECRET)
        .with_material("passphrase", "pass")
}

struct Rig {
    keys: KeySwap,
    authorizer: Authorizer,
    boot: Arc<AtomicU64>,
}

impl Rig {
    async fn new(api: Api, wrong: i64) -> Self {
        let vault = source::from_fn(|| async {
            Ok(CredentialSet::new(key("k2")).with_previous(key("k1")))
        });
        let boot = Arc::new(AtomicU64::new(1));
        let read = boot.clone();
        let clock = Clock::from_fn(move || Moment::new(TRUE + wrong, read.load(Relaxed)));
        let keys = KeySwap::follow(vault).clock(clock).await.unwrap();
        let builder = Authorizer::builder(&keys).api(api);
        let authorizer = builder.allow_origin("https://api.example.com").unwrap().build().unwrap();
        Self { keys, authorizer, boot }
    }

    fn begin(&self) -> Attempt {
        self.authorizer.begin(&url(), true, Some(Duration::from_secs(5))).unwrap()
    }

    async fn rejections(&self) -> u64 {
        for _ in 0..5 {
            tokio::task::yield_now().await;
        }
        self.keys.stats().counts.rejections
    }
}

/// The time that a send was signed with, in milliseconds from the true one.
fn sent(attempt: &mut Attempt) -> i64 {
    let patch = attempt.apply(&Method::POST, &url(), &HeaderMap::new(), Some(b"a=1")).unwrap();
    let (mut headers, mut url) = (HeaderMap::new(), url());
    patch.apply_headers(&mut headers);
    patch.apply_query(&mut url);
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let millis = |text: String| text.parse::<i64>().unwrap();
    let at = |text: String| text.parse::<jiff::Timestamp>().unwrap().as_millisecond();
    if let Some(body) = patch.body() {
        let body = std::str::from_utf8(body).unwrap();
        return millis(body["nonce=".len()..].split('&').next().unwrap().into()) - TRUE;
    }
    if let Some((_, time)) = url.query_pairs().find(|(name, _)| name == "timestamp") {
        return millis(time.into()) - TRUE;
    }
    for name in ["x-bapi-timestamp", "access-timestamp", "kc-api-timestamp"] {
        if let Some(time) = header(name) {
            return millis(time) - TRUE;
        }
    }
    if let Some(time) = header("cb-access-timestamp") {
        return millis(time) * 1_000 - TRUE;
    }
    if let Some(time) = header("ok-access-timestamp") {
        return at(time) - TRUE;
    }
    if let Some(time) = header("x-amz-date") {
        let (day, time) = time.split_once('T').unwrap();
        let whole = format!(
            "{}-{}-{}T{}:{}:{}Z",
            &day[..4],
            &day[4..6],
            &day[6..],
            &time[..2],
            &time[2..4],
            &time[4..6]
        );
        return at(whole) - TRUE;
    }
    let token = header("authorization").unwrap();
    let claims = token.split('.').nth(1).unwrap();
    let claims = base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
    claims["nbf"].as_i64().unwrap() * 1_000 - TRUE
}

fn answered(attempt: &mut Attempt, status: u16, body: &str) -> Step {
    let headers = HeaderMap::from_iter([(DATE, DATED.parse().unwrap())]);
    let status = StatusCode::from_u16(status).unwrap();
    match attempt.response(status, &headers, None).clone() {
        Step::NeedBody { max, .. } => {
            let body = &body.as_bytes()[..body.len().min(max)];
            attempt.response(status, &headers, Some(body)).clone()
        }
        step => step,
    }
}

fn error_of_aws(code: &str) -> String {
    format!(r#"{{"__type":"com.amazon.coral.service#{code}","message":"no"}}"#)
}

fn xml_of_aws(code: &str) -> String {
    format!("<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code></Error></ErrorResponse>")
}

#[tokio::test]
async fn a_clock_ten_minutes_wrong_is_healed_by_one_resend_and_no_rotation() {
    let skewed = || -> Vec<(Api, u16, String)> {
        vec![
            (api::binance(), 400, r#"{"code":-1021,"msg":"Timestamp"}"#.into()),
            (api::kraken(), 200, r#"{"error":["EAPI:Invalid nonce"]}"#.into()),
            (api::okx(), 401, r#"{"msg":"expired","code":"50102"}"#.into()),
            (api::okx(), 401, r#"{"msg":"invalid","code":"50112"}"#.into()),
            (api::bybit(), 200, format!(r#"{{"retCode":10002,"retMsg":"","time":{TRUE}}}"#)),
            (api::kucoin(), 401, r#"{"code":"400002","msg":"KC-API-TIMESTAMP Invalid"}"#.into()),
            (api::bitget(), 400, format!(r#"{{"code":"40008","requestTime":{TRUE}}}"#)),
            (api::bitget(), 400, r#"{"code":"40004"}"#.into()),
            (api::coinbase_exchange(), 400, r#"{"message":"request timestamp expired"}"#.into()),
            // These say the same of a bad key: that the clocks differ tells.
            (api::coinbase(), 401, "Unauthorized\n".into()),
            (api::aws("sts", "eu-west-1"), 403, xml_of_aws("SignatureDoesNotMatch")),
            (api::aws("dynamodb", "eu-west-1"), 400, error_of_aws("InvalidSignatureException")),
            (api::aws("s3", "eu-west-1"), 403, xml_of_aws("RequestTimeTooSkewed")),
            (api::aws("ec2", "eu-west-1"), 400, xml_of_aws("RequestExpired")),
        ]
    };
    for wrong in [-600_000, 600_000] {
        for (api, status, body) in skewed() {
            let rig = Rig::new(api, wrong).await;
            let mut attempt = rig.begin();
            assert!((sent(&mut attempt) - wrong).abs() < 1_000, "{body}");
            assert!(matches!(answered(&mut attempt, status, &body), Step::Send), "{body}");
            let now = sent(&mut attempt);
            // A nonce that only rises stays ahead of the clock.
            let is_ahead = now - wrong == 1 && body.contains("nonce");
            assert!(now.abs() < 1_000 || is_ahead, "{body}: {now}");
            let own = if body.contains("EAPI") { r#"{"error":[],"result":{}}"# } else { "{}" };
            assert!(matches!(answered(&mut attempt, 200, own), Step::Return), "{body}");
            assert_eq!((attempt.sends(), attempt.credential_id()), (2, Some("k2")), "{body}");
            assert_eq!(rig.rejections().await, 0, "{body}");
        }
    }
}

#[tokio::test]
async fn a_bad_key_is_followed_by_the_fallback() {
    for (api, status, body) in [
        (
            api::binance(),
            401,
            r#"{"code":-2015,"msg":"Invalid API-key, IP, or permissions"}"#.to_owned(),
        ),
        (api::binance(), 400, r#"{"code":-2014,"msg":"API-key format invalid."}"#.into()),
        (api::binance(), 400, r#"{"code":-1022,"msg":"Signature"}"#.into()),
        (api::kraken(), 200, r#"{"error":["EAPI:Invalid key"]}"#.into()),
        (api::kraken(), 200, r#"{"error":["EAPI:Invalid signature"]}"#.into()),
        (api::okx(), 401, r#"{"msg":"Invalid OK-ACCESS-KEY","code":"50111"}"#.into()),
        (api::okx(), 401, r#"{"code":"50113","msg":""}"#.into()),
        (api::okx(), 401, r#"{"code":"50105","msg":""}"#.into()),
        (api::bybit(), 200, r#"{"retCode":10003,"retMsg":"API key is invalid."}"#.into()),
        (api::bybit(), 200, r#"{"retCode":33004,"retMsg":"expired"}"#.into()),
        (api::kucoin(), 401, r#"{"code":"400003","msg":"KC-API-KEY not exists"}"#.into()),
        (api::kucoin(), 200, r#"{"code":"400005","msg":"Invalid KC-API-SIGN"}"#.into()),
        (api::bitget(), 400, r#"{"code":"40037","msg":"Apikey does not exist"}"#.into()),
        (api::coinbase(), 401, "Unauthorized\n".into()),
        (api::coinbase_exchange(), 401, r#"{"message":"Invalid API Key"}"#.into()),
        (api::coinbase_exchange(), 401, r#"{"message":"Invalid Passphrase"}"#.into()),
        (api::aws("sts", "eu-west-1"), 403, xml_of_aws("InvalidClientTokenId")),
        (api::aws("s3", "eu-west-1"), 403, xml_of_aws("InvalidAccessKeyId")),
        (api::aws("dynamodb", "eu-west-1"), 400, error_of_aws("UnrecognizedClientException")),
        (api::aws("dynamodb", "eu-west-1"), 400, error_of_aws("ExpiredTokenException")),
        (api::token_metrics(), 401, String::new()),
    ] {
        let rig = Rig::new(api, 0).await;
        let mut attempt = rig.begin();
        let _ = attempt.apply(&Method::POST, &url(), &HeaderMap::new(), Some(b"a=1")).unwrap();
        assert!(matches!(answered(&mut attempt, status, &body), Step::Send), "{body}");
        assert_eq!(attempt.credential_id(), Some("k1"), "{body}");
        assert!(rig.rejections().await > 0, "{body}");
    }
}

#[tokio::test]
async fn what_is_about_the_ip_a_permission_or_a_lock_never_rotates() {
    for (api, status, body) in [
        (api::binance(), 403, "<html>WAF</html>".to_owned()),
        (api::binance(), 400, r#"{"code":-1003,"msg":"IP banned"}"#.into()),
        (api::binance(), 418, r#"{"code":-1003}"#.into()),
        (api::binance(), 401, "not JSON".into()),
        (api::binance(), 400, r#"{"code":-1102,"msg":"\"code\":-2015"}"#.into()),
        (api::kraken(), 200, r#"{"error":["EGeneral:Permission denied"]}"#.into()),
        (api::kraken(), 200, r#"{"error":["EGeneral:Temporary lockout"]}"#.into()),
        (api::kraken(), 200, r#"{"error":["EAPI:Rate limit exceeded"]}"#.into()),
        (api::kraken(), 200, r#"{"error":["EOrder:Insufficient funds"]}"#.into()),
        (api::okx(), 401, r#"{"msg":"IP not in whitelist","code":"50110"}"#.into()),
        (api::okx(), 401, "Unauthorized".into()),
        (api::okx(), 403, r#"{"code":"50100"}"#.into()),
        (api::bybit(), 200, r#"{"retCode":10005,"retMsg":"Permission denied"}"#.into()),
        (api::bybit(), 200, r#"{"retCode":10010,"retMsg":"Unmatched IP"}"#.into()),
        (api::bybit(), 200, r#"{"retCode":10028,"retMsg":""}"#.into()),
        (api::bybit(), 200, r#"{"retCode":10007,"retMsg":"no key in the request"}"#.into()),
        (api::bybit(), 403, "access too frequent".into()),
        (api::kucoin(), 401, r#"{"code":"400006","msg":"IP"}"#.into()),
        (api::kucoin(), 403, r#"{"code":"400007","msg":"permission"}"#.into()),
        (api::kucoin(), 401, r#"{"code":"400001","msg":"header missing"}"#.into()),
        (api::bitget(), 400, r#"{"code":"40014","msg":"Incorrect permissions"}"#.into()),
        (api::bitget(), 400, r#"{"code":"40018","msg":"Invalid IP"}"#.into()),
        (api::coinbase(), 403, r#"{"error":"PERMISSION_DENIED"}"#.into()),
        (api::coinbase_exchange(), 403, r#"{"message":"Forbidden"}"#.into()),
        (api::coinbase_exchange(), 401, r#"{"message":"IP does not match"}"#.into()),
        (api::aws("sts", "eu-west-1"), 403, xml_of_aws("AccessDenied")),
        (api::aws("dynamodb", "eu-west-1"), 400, error_of_aws("AccessDeniedException")),
        (api::aws("dynamodb", "eu-west-1"), 400, error_of_aws("IncompleteSignature")),
        (api::aws("dynamodb", "eu-west-1"), 400, error_of_aws("ThrottlingException")),
        (api::aws("s3", "eu-west-1"), 403, String::new()),
    ] {
        let rig = Rig::new(api, 0).await;
        let mut attempt = rig.begin();
        let _ = attempt.apply(&Method::POST, &url(), &HeaderMap::new(), Some(b"a=1")).unwrap();
        assert!(matches!(answered(&mut attempt, status, &body), Step::Return), "{body}");
        assert_eq!((attempt.sends(), rig.rejections().await), (1, 0), "{body}");
        assert_eq!(rig.keys.current().unwrap().id(), "k2");
    }
}

#[tokio::test]
async fn after_kraken_locks_an_account_nothing_is_sent_for_a_quarter_of_an_hour() {
    let rig = Rig::new(api::kraken(), 0).await;
    let mut attempt = rig.begin();
    sent(&mut attempt);
    let locked = r#"{"error":["EGeneral:Temporary lockout"]}"#;
    assert!(matches!(answered(&mut attempt, 200, locked), Step::Return));
    for _ in 0..20 {
        let locked = rig.begin();
        let Step::Fail(error) = locked.step() else { panic!("sent") };
        assert_eq!(error.kind(), ErrorKind::Throttled);
    }
    rig.boot.fetch_add(15 * 60_000, Relaxed);
    assert!(matches!(rig.begin().step(), Step::Send));
}

#[tokio::test]
async fn an_ambiguous_rejection_of_every_key_changes_nothing() {
    let rig = Rig::new(api::binance(), 0).await;
    for _ in 0..3 {
        let mut attempt = rig.begin();
        while let Step::Send = attempt.step() {
            sent(&mut attempt);
            let refused = r#"{"code":-2015,"msg":"Invalid API-key, IP, or permissions"}"#;
            let _ = answered(&mut attempt, 401, refused);
        }
        assert!(attempt.sends() <= 4);
    }
    assert!(rig.rejections().await > 0);
    assert_eq!(rig.keys.current().unwrap().id(), "k2");
    assert_eq!(rig.keys.stats().counts.fallbacks, 0);
}

#[test]
fn a_secret_of_every_kind_is_32_bytes() {
    assert_eq!(BASE64.decode(SECRET).unwrap().len(), 32);
}
