//! What an API says of an account as a whole: its clock, and that it is locked. And attempts of what is no HTTP.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use http::{HeaderMap, HeaderName, Method, StatusCode, header::DATE};
use jiff::Timestamp;
use keyswap::{
    Attempt, Authorizer, Classifier, Clock, Credential, CredentialSet, Error, ErrorKind, KeySwap,
    Moment, Patch, ResponseFilter, ResponseView, Scheme, Sign, Step, Unsigned, Verdict, source,
};
use url::Url;

const WALL: i64 = 1_700_000_000_000;

async fn keys(boot: &Arc<AtomicU64>, wall: &Arc<AtomicI64>) -> KeySwap {
    let vault = source::from_fn(|| async {
        let set = CredentialSet::new(Credential::new("k2", "new"));
        Ok(set.with_previous(Credential::new("k1", "old")))
    });
    let (boot, wall) = (boot.clone(), wall.clone());
    let clock = Clock::from_fn(move || Moment::new(wall.load(Relaxed), boot.load(Relaxed)));
    KeySwap::follow(vault).clock(clock).await.unwrap()
}

/// Signs with the time alone.
#[derive(Debug)]
struct Stamp;

impl Sign for Stamp {
    fn sign(
        &self,
        key: &Credential,
        request: &Unsigned<'_>,
        patch: &mut Patch,
    ) -> Result<(), Error> {
        if request.target() == "/public" {
            return Ok(());
        }
        let stamp = request.now.as_millisecond().to_string();
        patch.add_header(HeaderName::from_static("x-time"), &stamp, key)
    }
}

/// 400 is the clock, and 423 locks the account for a quarter of an hour.
#[derive(Debug)]
struct Judge;

impl Classifier for Judge {
    fn classify(&self, response: &ResponseView<'_>) -> Verdict {
        let shown = response.body().and_then(|body| std::str::from_utf8(body).ok()?.parse().ok());
        match response.status().as_u16() {
            400 if response.body().is_none() => Verdict::NeedBody,
            400 => Verdict::Skewed {
                server_time: shown.and_then(|shown| Timestamp::from_millisecond(shown).ok()),
            },
            401 => Verdict::Rejected,
            423 | 429 => Verdict::Throttled,
            _ => Verdict::Accepted,
        }
    }

    fn response_filter(&self) -> ResponseFilter {
        ResponseFilter::new([400, 401, 423]).with_body_limit(64)
    }

    fn lockout(&self, response: &ResponseView<'_>) -> Option<Duration> {
        (response.status() == 423).then_some(Duration::from_secs(900))
    }
}

fn authorizer(keys: &KeySwap) -> Authorizer {
    let builder = Authorizer::builder(keys).scheme(Scheme::signing(Stamp)).classifier(Judge);
    builder.allow_origin("https://api.example.com").unwrap().build().unwrap()
}

fn begin(authorizer: &Authorizer) -> Attempt {
    authorizer.begin(&url("/orders"), true, Some(Duration::from_secs(30))).unwrap()
}

fn url(path: &str) -> Url {
    format!("https://api.example.com{path}").parse().unwrap()
}

/// The time that a send carries, by its place from the true one.
fn stamped(attempt: &mut Attempt) -> i64 {
    let headers = HeaderMap::new();
    let patch = attempt.apply(&Method::POST, &url("/orders"), &headers, None).unwrap();
    let time: i64 = patch.headers().next().unwrap().1.to_str().unwrap().parse().unwrap();
    time - WALL
}

fn answered(attempt: &mut Attempt, status: u16, date: Option<&str>, body: &str) -> Step {
    let mut headers = HeaderMap::new();
    headers.extend(date.map(|date| (DATE, date.parse().unwrap())));
    let status = StatusCode::from_u16(status).unwrap();
    match attempt.response(status, &headers, None).clone() {
        Step::NeedBody { .. } => attempt.response(status, &headers, Some(body.as_bytes())).clone(),
        step => step,
    }
}

#[tokio::test]
async fn a_wrong_clock_costs_one_resend_once_and_no_key() {
    for wrong in [-600_000, 600_000] {
        let (boot, wall) = (Arc::default(), Arc::new(AtomicI64::new(WALL + wrong)));
        let keys = keys(&boot, &wall).await;
        let authorizer = authorizer(&keys);
        let mut attempt = begin(&authorizer);
        assert_eq!(stamped(&mut attempt), wrong);
        let step = answered(&mut attempt, 400, None, &WALL.to_string());
        assert!(matches!(step, Step::Send) && !attempt.is_rejected());
        assert_eq!((stamped(&mut attempt), attempt.credential_id()), (0, Some("k2")));
        assert!(matches!(answered(&mut attempt, 200, None, ""), Step::Return));
        assert_eq!(attempt.sends(), 2);
        // All later requests go by the API's clock, until that is wrong.
        let mut next = begin(&authorizer);
        assert_eq!(stamped(&mut next), 0);
        wall.store(WALL, Relaxed);
        assert_eq!(stamped(&mut next), -wrong, "somebody set the clock");
        let date = Some("Tue, 14 Nov 2023 22:13:20 GMT");
        assert!(matches!(answered(&mut next, 400, date, ""), Step::Send), "its Date counts");
        assert_eq!(stamped(&mut next), 0);
        assert!(matches!(answered(&mut next, 400, date, ""), Step::Return), "once");
        tokio::task::yield_now().await;
        let stats = keys.stats();
        assert_eq!((stats.counts.rejections, stats.counts.fallbacks), (0, 0));
        assert_eq!(keys.current().unwrap().id(), "k2");
    }
}

#[tokio::test]
async fn a_locked_account_sends_nothing_until_it_is_open() {
    let (boot, wall) = (Arc::new(AtomicU64::new(5)), Arc::new(AtomicI64::new(WALL)));
    let authorizer = authorizer(&keys(&boot, &wall).await);
    let (mut told, mut under_way) = (begin(&authorizer), begin(&authorizer));
    stamped(&mut told);
    stamped(&mut under_way);
    assert!(matches!(answered(&mut told, 429, None, ""), Step::Return));
    assert!(!authorizer.is_throttled() && matches!(begin(&authorizer).step(), Step::Send));
    assert!(matches!(answered(&mut told, 423, None, ""), Step::Return));
    assert!(authorizer.is_throttled());
    // Who is rejected now would try the other key, and makes the lock longer.
    assert!(matches!(answered(&mut under_way, 401, None, ""), Step::Return));
    let Step::Fail(error) = begin(&authorizer).step().clone() else { panic!("sent") };
    assert_eq!(error.kind(), ErrorKind::Throttled);
    assert_eq!(error.retry_after(), Some(Duration::from_secs(900)));
    boot.fetch_add(900_000, Relaxed);
    assert!(matches!(begin(&authorizer).step(), Step::Send));
    assert!(!authorizer.is_throttled());
}

#[tokio::test]
async fn what_goes_to_no_url_goes_through_a_rotation_all_the_same() {
    let (boot, wall) = (Arc::default(), Arc::new(AtomicI64::new(WALL)));
    let keys = keys(&boot, &wall).await;
    assert!(Authorizer::builder(&keys).build().is_err(), "it has to be said");
    let authorizer = Authorizer::builder(&keys).without_origins().build().unwrap();
    assert!(!authorizer.admits(&url("/")));
    let mut attempt = authorizer.begin_without_url(&[], true, None);
    let credential = attempt.credential().unwrap().clone();
    assert_eq!((credential.id(), credential.reveal("key")), ("k2", Some("new")));
    assert!(matches!(attempt.judged(Verdict::Rejected), Step::Send) && attempt.is_rejected());
    assert_eq!(attempt.credential().unwrap().id(), "k1");
    assert!(matches!(attempt.judged(Verdict::NeedBody), Step::Return), "there is no body to show");
    let mut skewed = authorizer.begin_without_url(&[], true, None);
    let server_time = None;
    assert!(matches!(skewed.judged(Verdict::Skewed { server_time }), Step::Send));
    skewed.locked_out(Duration::from_secs(60));
    assert!(matches!(skewed.judged(Verdict::Throttled), Step::Return));
    let locked = authorizer.begin_without_url(&[], true, None);
    assert!(matches!(locked.step(), Step::Fail(error) if error.kind() == ErrorKind::Throttled));
    let scopes = ["trade".into()];
    boot.store(70_000, Relaxed);
    let narrow = authorizer.begin_without_url(&scopes, true, None);
    assert!(matches!(narrow.step(), Step::Fail(error) if error.kind() == ErrorKind::MissingScope));
}

#[tokio::test]
async fn a_request_that_was_left_unsigned_proves_nothing() {
    let (boot, wall) = (Arc::default(), Arc::new(AtomicI64::new(WALL)));
    let keys = keys(&boot, &wall).await;
    let mut attempt = authorizer(&keys).begin(&url("/public"), true, None).unwrap();
    let patch = attempt.apply(&Method::GET, &url("/public"), &HeaderMap::new(), None).unwrap();
    assert!(patch.is_empty());
    assert!(matches!(answered(&mut attempt, 401, None, ""), Step::Return));
    tokio::task::yield_now().await;
    assert_eq!(keys.stats().counts.rejections, 0);
}
