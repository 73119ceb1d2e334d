//! An attempt driven by hand, as another HTTP library would drive it.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use http::{HeaderMap, Method, StatusCode};
#[cfg(feature = "host")]
use keyswap::host;
use keyswap::{
    Attempt, Authorizer, Classifier, Clock, Credential, CredentialSet, ErrorKind, Failure, KeySwap,
    ResponseFilter, ResponseView, Scheme, Sign, Step, Unsigned, Verdict, source,
};
use url::Url;

const HOME: &str = "https://api.example.com/v1";

/// A handle whose source shows the generation that the test sets.
async fn keys(generation: &Arc<AtomicU64>) -> KeySwap {
    let generation = generation.clone();
    let vault = source::from_fn(move || {
        let n = generation.load(Relaxed);
        let key = |n: u64| Credential::new(format!("k{n}"), format!("material-{n}"));
        let set = CredentialSet::new(key(n)).with_generation(n).with_previous(key(n - 1));
        async move { Ok(set) }
    });
    let policy = serde_json::from_str(r#"{"fetch_floor": 0.01, "fetch_floor_min": 0.01}"#).unwrap();
    KeySwap::follow(vault).clock(Clock::tokio()).policy(policy).await.unwrap()
}

fn authorizer(keys: &KeySwap) -> Authorizer {
    let scheme = Scheme::header("x-api-key");
    Authorizer::builder(keys).scheme(scheme).allow_origin(HOME).unwrap().build().unwrap()
}

fn home() -> Url {
    HOME.parse().unwrap()
}

/// The key that a hop to this URL carries.
fn carried(attempt: &mut Attempt, url: &Url) -> Option<String> {
    let mut headers = HeaderMap::new();
    let patch = attempt.apply(&Method::GET, url, &headers, None).unwrap();
    patch.apply_headers(&mut headers);
    headers.get("x-api-key").map(|value| value.to_str().unwrap().to_owned())
}

fn answered(attempt: &mut Attempt, status: u16) -> Step {
    attempt.response(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), None).clone()
}

#[tokio::test]
async fn a_rejected_key_is_followed_by_the_fallback() {
    let keys = keys(&Arc::new(AtomicU64::new(2))).await;
    let mut attempt = authorizer(&keys).begin(&home(), true, None).unwrap();
    assert!(matches!(attempt.step(), Step::Send));
    assert_eq!(carried(&mut attempt, &home()).as_deref(), Some("material-2"));
    assert!(matches!(answered(&mut attempt, 401), Step::Send));
    assert_eq!(carried(&mut attempt, &home()).as_deref(), Some("material-1"));
    assert!(matches!(answered(&mut attempt, 200), Step::Return));
    assert_eq!(attempt.sends(), 2);
}

#[tokio::test]
async fn a_hop_to_another_origin_carries_nothing_and_proves_nothing() {
    let keys = keys(&Arc::new(AtomicU64::new(2))).await;
    let mut attempt = authorizer(&keys).begin(&home(), true, None).unwrap();
    let elsewhere = "https://elsewhere.example.com/".parse().unwrap();
    assert_eq!(carried(&mut attempt, &elsewhere), None);
    assert!(matches!(answered(&mut attempt, 401), Step::Return), "its 401 is not about our key");
    let refused = authorizer(&keys).begin(&elsewhere, true, None).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::OriginNotAllowed);
    assert_eq!(keys.stats().counts.rejections, 0);
}

#[cfg(feature = "host")]
#[tokio::test]
async fn a_send_that_a_host_made_from_its_cache_goes_on_with_what_is_new() {
    let generation = Arc::new(AtomicU64::new(2));
    let keys = keys(&generation).await;
    let authorizer = authorizer(&keys);
    let cached = authorizer.snapshot();
    generation.store(5, Relaxed);
    keys.refresh().await.unwrap();
    assert_eq!(authorizer.response_filter().statuses, [401]);
    let headers = ["credential-status", "retry-after"].map(Into::into);
    assert_eq!(authorizer.response_filter().headers, headers);
    let mut attempt =
        host::begin_after(&authorizer, &cached, &Method::GET, &home(), true, None).unwrap();
    assert_eq!(attempt.credential_id(), Some("k2"));
    assert!(matches!(answered(&mut attempt, 401), Step::Send));
    assert_eq!(carried(&mut attempt, &home()).as_deref(), Some("material-5"));
    assert!(matches!(answered(&mut attempt, 200), Step::Return));
}

/// Writes down what it is shown, and calls a 404 to a POST a rejection.
#[derive(Clone, Debug, Default)]
struct Witness(Arc<std::sync::Mutex<Vec<String>>>);

impl Classifier for Witness {
    fn classify(&self, response: &ResponseView<'_>) -> Verdict {
        let (method, url, status) = (response.method(), response.url(), response.status());
        self.0.lock().unwrap().push(format!("{method} {url} {}", status.as_u16()));
        match (method, status) {
            (&Method::POST, StatusCode::NOT_FOUND) => Verdict::Rejected,
            _ => Verdict::Accepted,
        }
    }

    fn response_filter(&self) -> ResponseFilter {
        ResponseFilter::new([404])
    }
}

fn witnessed(keys: &KeySwap, witness: &Witness) -> Authorizer {
    let builder = Authorizer::builder(keys).scheme(Scheme::query("api_key"));
    builder.classifier(witness.clone()).allow_origin(HOME).unwrap().build().unwrap()
}

#[cfg(feature = "host")]
#[tokio::test]
async fn a_classifier_sees_a_request_that_a_host_sent_from_its_cache() {
    let keys = keys(&Arc::new(AtomicU64::new(2))).await;
    let witness = Witness::default();
    let authorizer = witnessed(&keys, &witness);
    let url = Url::parse(HOME).unwrap().join("/v1/orders/7").unwrap();
    let snapshot = authorizer.snapshot();
    let mut attempt =
        host::begin_after(&authorizer, &snapshot, &Method::DELETE, &url, true, None).unwrap();
    assert!(matches!(answered(&mut attempt, 200), Step::Return));
    let seen = witness.0.lock().unwrap().clone();
    assert_eq!(seen, ["DELETE https://api.example.com/v1/orders/7 200"]);
}

#[tokio::test]
async fn a_classifier_sees_the_request_but_not_its_key() {
    let keys = keys(&Arc::new(AtomicU64::new(2))).await;
    let witness = Witness::default();
    let authorizer = witnessed(&keys, &witness);
    let at = |path: &str| Url::parse(HOME).unwrap().join(path).unwrap();
    let mut attempt = authorizer.begin(&home(), true, None).unwrap();
    attempt.apply(&Method::GET, &at("/v1/orders?page=2"), &HeaderMap::new(), None).unwrap();
    assert!(matches!(answered(&mut attempt, 404), Step::Return), "no such page");
    attempt.apply(&Method::POST, &home(), &HeaderMap::new(), None).unwrap();
    assert!(matches!(answered(&mut attempt, 404), Step::Send), "this API's way to reject a key");
    let api = "https://api.example.com/v1";
    let seen = witness.0.lock().unwrap().clone();
    let expected = [format!("GET {api}/orders?page=2 404"), format!("POST {api} 404")];
    assert_eq!(seen, expected);
}

#[cfg(feature = "host")]
#[tokio::test]
async fn what_the_credential_in_use_adds_can_be_prepared() {
    let keys = keys(&Arc::new(AtomicU64::new(2))).await;
    let authorizer = authorizer(&keys);
    let patch = host::prepare(&authorizer, &authorizer.snapshot()).unwrap();
    let mut headers = HeaderMap::new();
    patch.apply_headers(&mut headers);
    assert_eq!(headers["x-api-key"], "material-2");
    let unnamed = Authorizer::builder(&keys).allow_origin(HOME).unwrap().build().unwrap();
    let prepared = host::prepare(&unnamed, &unnamed.snapshot());
    assert!(prepared.is_none(), "neither the program nor the set names one: an attempt says so");
    let mut attempt = unnamed.begin(&home(), true, None).unwrap();
    attempt.wait().await;
    let Step::Fail(error) = attempt.step() else { panic!("{attempt:?}") };
    assert_eq!(error.kind(), ErrorKind::SchemeFailed);
}

/// A function that names no generation and no fallback, and shows the key that the test sets.
async fn bare_keys(key: &'static str) -> (KeySwap, Arc<std::sync::Mutex<&'static str>>) {
    let shown = Arc::new(std::sync::Mutex::new(key));
    let of = shown.clone();
    let vault = source::from_fn(move || {
        let key = *of.lock().unwrap();
        let id = format!("id-{}", key.len());
        async move { Ok(CredentialSet::new(Credential::new(id, key))) }
    });
    let policy = serde_json::from_str(r#"{"fetch_floor": 0.01, "fetch_floor_min": 0.01}"#).unwrap();
    (KeySwap::follow(vault).clock(Clock::tokio()).policy(policy).await.unwrap(), shown)
}

#[tokio::test(start_paused = true)]
async fn a_key_that_no_request_can_carry_does_not_displace_one_that_works() {
    for unusable in ["good-2\nx", "good-2\r\nx: y", "good-2\0", "gööd-2", " good-2"] {
        let (keys, shown) = bare_keys("good-1").await;
        let mut events = keys.events();
        let authorizer = authorizer(&keys);
        let mut attempt = authorizer.begin(&home(), true, None).unwrap();
        assert_eq!(carried(&mut attempt, &home()).as_deref(), Some("good-1"));
        drop(answered(&mut attempt, 200));
        *shown.lock().unwrap() = unusable;
        keys.refresh().await.unwrap();
        for _ in 0..30 {
            let mut attempt = authorizer.begin(&home(), true, None).unwrap();
            assert_eq!(carried(&mut attempt, &home()).as_deref(), Some("good-1"), "{unusable:?}");
            assert!(matches!(answered(&mut attempt, 200), Step::Return));
            assert_eq!(attempt.sends(), 1);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(keys.current().unwrap().reveal("key"), Some("good-1"));
        let told = std::iter::from_fn(|| events.try_next());
        let reason = told.filter_map(|event| match event {
            keyswap::Event::Rejected { reason, .. } => reason,
            _ => None,
        });
        let reasons: Vec<_> = reason.map(|reason| reason.to_string()).collect();
        assert!(!reasons.is_empty(), "it is told");
        assert!(reasons.iter().all(|reason| !reason.contains("good-2")), "{reasons:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn with_no_other_key_the_error_says_why() {
    let (keys, _) = bare_keys("nö").await;
    let began = tokio::time::Instant::now();
    let mut attempt = authorizer(&keys).begin(&home(), true, None).unwrap();
    assert!(matches!(attempt.step(), Step::Wait), "the source may have another by now");
    attempt.wait().await;
    let Step::Fail(error) = attempt.step() else { panic!("{attempt:?}") };
    assert_eq!(error.kind(), ErrorKind::SchemeFailed);
    assert_eq!(attempt.sends(), 0);
    assert!(began.elapsed() < Duration::from_millis(100), "it is asked once");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_does_not_sign_is_followed_by_the_next() {
    #[derive(Debug)]
    struct Picky;
    impl Sign for Picky {
        fn sign(
            &self,
            credential: &Credential,
            _: &Unsigned<'_>,
            patch: &mut keyswap::Patch,
        ) -> Result<(), keyswap::Error> {
            let key = credential.reveal("key").unwrap_or("");
            match key {
                "material-2" => Err(keyswap::Error::new(ErrorKind::SchemeFailed, key.to_owned())),
                key => {
                    patch.add_header(http::HeaderName::from_static("x-api-key"), key, credential)
                }
            }
        }
    }
    let keys = keys(&Arc::new(AtomicU64::new(2))).await;
    let scheme = Scheme::signing(Picky);
    let authorizer =
        Authorizer::builder(&keys).scheme(scheme).allow_origin(HOME).unwrap().build().unwrap();
    let mut attempt = authorizer.begin(&home(), true, None).unwrap();
    assert_eq!(carried(&mut attempt, &home()).as_deref(), Some("material-1"));
    assert_eq!((attempt.sends(), attempt.credential_id()), (1, Some("k1")));
}

#[tokio::test(start_paused = true)]
async fn an_audience_is_kept_to_from_the_first_set_on() {
    let vault = source::from_fn(|| async {
        let set = serde_json::json!({
            "protocol": "keyswap/1", "set": "s", "generation": 1,
            "audience": ["https://elsewhere.example.com"],
            "current": {"id": "k1", "material": {"key": "m"}},
        });
        source::parse(set.to_string().as_bytes())
    });
    let keys = KeySwap::follow(vault).clock(Clock::tokio()).start().unwrap();
    let authorizer = authorizer(&keys);
    let mut attempt = authorizer.begin(&home(), true, None).unwrap();
    assert!(matches!(attempt.step(), Step::Wait), "nothing is known yet");
    let Step::Fail(cold) = attempt.wait().await.clone() else { panic!("{attempt:?}") };
    let warm = authorizer.begin(&home(), true, None).unwrap_err();
    assert_eq!((cold.kind(), cold.to_string()), (warm.kind(), warm.to_string()));
    assert_eq!(cold.kind(), ErrorKind::OriginNotAllowed);
}

#[tokio::test]
async fn when_all_is_in_vain_it_waits_for_the_fetch_that_it_forced() {
    let generation = Arc::new(AtomicU64::new(2));
    let keys = keys(&generation).await;
    let mut attempt = authorizer(&keys).begin(&home(), true, None).unwrap();
    generation.store(9, Relaxed);
    carried(&mut attempt, &home());
    drop(answered(&mut attempt, 401));
    carried(&mut attempt, &home());
    assert!(matches!(answered(&mut attempt, 401), Step::Wait | Step::Send));
    while matches!(attempt.step(), Step::Wait) {
        attempt.wait().await;
    }
    assert!(matches!(attempt.step(), Step::Send));
    assert_eq!(carried(&mut attempt, &home()).as_deref(), Some("material-9"));
    assert_eq!(keys.stats().counts.forced, 1);
}

/// A response with this `Credential-Status`.
fn says_status(attempt: &mut Attempt, status: &str) {
    let mut headers = HeaderMap::new();
    headers.insert("credential-status", status.parse().unwrap());
    attempt.response(StatusCode::OK, &headers, None);
}

/// How many fetches there were, once everything that was said has been heard.
async fn fetches(keys: &KeySwap) -> u64 {
    tokio::time::sleep(Duration::from_millis(50)).await;
    let counts = keys.stats().counts;
    counts.changed + counts.not_modified
}

#[tokio::test(start_paused = true)]
async fn what_a_thousand_responses_announce_is_one_fetch() {
    for status in [r#"revoked; id="k2""#, r#"retiring; id="k2"; until=@1795545600; successor="k3""#]
    {
        let keys = keys(&Arc::new(AtomicU64::new(2))).await;
        let authorizer = authorizer(&keys);
        for _ in 0..1_000 {
            let mut attempt = authorizer.begin(&home(), true, None).unwrap();
            carried(&mut attempt, &home());
            says_status(&mut attempt, status);
        }
        assert_eq!(fetches(&keys).await, 2, "{status}");
        assert_eq!(keys.stats().counts.forced, u64::from(status.starts_with("revoked")));
        assert_eq!(keys.current().unwrap().id(), "k2", "only a set revokes");
    }
}

#[tokio::test(start_paused = true)]
async fn a_credential_status_is_heard_from_home_and_about_the_key_that_was_sent() {
    let keys = keys(&Arc::new(AtomicU64::new(2))).await;
    let authorizer = authorizer(&keys);
    // The first acceptance is heard, and changes what requests report from then on.
    let mut first = authorizer.begin(&home(), true, None).unwrap();
    carried(&mut first, &home());
    drop(answered(&mut first, 200));
    fetches(&keys).await;
    let before = keys.snapshot();
    let elsewhere = "https://elsewhere.example.com/".parse().unwrap();
    let mut attempt = authorizer.begin(&home(), true, None).unwrap();
    carried(&mut attempt, &elsewhere);
    says_status(&mut attempt, r#"revoked; id="k2""#);
    for status in [
        r#"revoked; id="k1""#,
        r#"retiring; id="k7""#,
        r#"revoked; id="k2", revoked; id="k2""#,
        r#"revoked; id=k2"#,
        r#"revoke; id="k2""#,
        r#"retiring; id="k2"; successor="k1""#,
    ] {
        let mut attempt = authorizer.begin(&home(), true, None).unwrap();
        carried(&mut attempt, &home());
        says_status(&mut attempt, status);
    }
    assert_eq!(fetches(&keys).await, 1);
    assert!(Arc::ptr_eq(&before, &keys.snapshot()));
}

#[tokio::test]
async fn a_transports_error_is_the_answer() {
    let keys = keys(&Arc::new(AtomicU64::new(2))).await;
    let mut attempt = authorizer(&keys).begin(&home(), true, None).unwrap();
    assert!(matches!(attempt.failed(Failure::Timeout), Step::Return));
}

#[tokio::test]
async fn a_signature_covers_what_is_sent_and_is_made_anew() {
    #[derive(Debug)]
    struct Counting(AtomicU64);
    impl Sign for Counting {
        fn sign(
            &self,
            credential: &Credential,
            request: &Unsigned<'_>,
            patch: &mut keyswap::Patch,
        ) -> Result<(), keyswap::Error> {
            let nonce = self.0.fetch_add(1, Relaxed);
            let body = request.body.map_or(0, <[u8]>::len);
            let value =
                format!("{} {} {} {body} {nonce}", credential.id(), request.method, request.url);
            assert!(request.now.as_second() > 1_700_000_000, "a signature gets the time");
            patch.add_header(http::HeaderName::from_static("x-signature"), &value, credential)
        }
    }
    let keys = keys(&Arc::new(AtomicU64::new(2))).await;
    let scheme = Scheme::signing(Counting(AtomicU64::new(0)));
    let authorizer =
        Authorizer::builder(&keys).scheme(scheme).allow_origin(HOME).unwrap().build().unwrap();
    let mut attempt = authorizer.begin(&home(), true, None).unwrap();
    let signed = |attempt: &mut Attempt| {
        let mut headers = HeaderMap::new();
        let patch = attempt.apply(&Method::POST, &home(), &headers, Some(b"order")).unwrap();
        patch.apply_headers(&mut headers);
        headers["x-signature"].to_str().unwrap().to_owned()
    };
    assert_eq!(signed(&mut attempt), format!("k2 POST {HOME} 5 0"));
    drop(answered(&mut attempt, 401));
    assert_eq!(signed(&mut attempt), format!("k1 POST {HOME} 5 1"));
}

// ---- an API that asks for fewer requests ----

fn throttled(attempt: &mut Attempt, seconds: &str) {
    let mut headers = HeaderMap::new();
    headers.insert("retry-after", seconds.parse().unwrap());
    assert!(matches!(
        attempt.response(StatusCode::TOO_MANY_REQUESTS, &headers, None),
        Step::Return
    ));
}

#[tokio::test(start_paused = true)]
async fn retry_after_holds_the_next_sends_of_that_origin_back() {
    let keys = keys(&Arc::new(AtomicU64::new(2))).await;
    let other = "https://other.example.com/".parse().unwrap();
    let authorizer = Authorizer::builder(&keys)
        .scheme(Scheme::header("x-api-key"))
        .allow_origin(HOME)
        .unwrap()
        .allow_origin("https://other.example.com")
        .unwrap()
        .build()
        .unwrap();
    let mut first = authorizer.begin(&home(), true, None).unwrap();
    carried(&mut first, &home());
    throttled(&mut first, "20");
    let began = tokio::time::Instant::now();
    assert!(authorizer.is_throttled());
    let elsewhere = authorizer.begin(&other, true, None).unwrap();
    assert!(matches!(elsewhere.step(), Step::Send), "another origin asked for nothing");
    let hurried = authorizer.begin(&home(), true, Some(Duration::from_secs(20))).unwrap();
    assert!(matches!(hurried.step(), Step::Send), "whose time is over before that is not held");
    let mut next = authorizer.begin(&home(), true, Some(Duration::from_secs(30))).unwrap();
    assert!(matches!(next.step(), Step::Wait));
    assert!(matches!(next.wait().await, Step::Send));
    let waited = began.elapsed();
    assert!((20.0..=22.1).contains(&waited.as_secs_f64()), "{waited:?}");
    assert_eq!(carried(&mut next, &home()).as_deref(), Some("material-2"));
    assert!(!authorizer.is_throttled());
}

#[tokio::test(start_paused = true)]
async fn no_origin_is_held_for_longer_than_the_policy_says() {
    let keys = keys(&Arc::new(AtomicU64::new(2))).await;
    let authorizer = authorizer(&keys);
    let mut first = authorizer.begin(&home(), true, None).unwrap();
    carried(&mut first, &home());
    throttled(&mut first, "999999999");
    let began = tokio::time::Instant::now();
    let mut next = authorizer.begin(&home(), true, None).unwrap();
    next.wait().await;
    assert!(began.elapsed() <= Duration::from_secs(331), "{:?}", began.elapsed());
}

// ---- redirects ----

#[tokio::test]
async fn a_trial_goes_on_behind_a_redirect() {
    let generation = Arc::new(AtomicU64::new(2));
    let keys = keys(&generation).await;
    let authorizer = authorizer(&keys);
    generation.store(3, Relaxed);
    keys.refresh().await.unwrap();
    let mut order = authorizer.begin(&home(), true, None).unwrap();
    assert_eq!(carried(&mut order, &home()).as_deref(), Some("material-3"), "it tries the new key");
    assert!(matches!(answered(&mut order, 303), Step::Return), "it was answered");
    let mut behind = authorizer.begin(&home(), true, None).unwrap();
    assert_eq!(carried(&mut behind, &home()).as_deref(), Some("material-3"));
    drop(answered(&mut behind, 200));
    keys.refresh().await.unwrap();
    assert_eq!(keys.current().unwrap().id(), "k3", "the hop that answered has proven it");
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_before_the_callers_own_timer_strikes() {
    let keys = keys(&Arc::new(AtomicU64::new(2))).await;
    let patience = Duration::from_millis(500);
    // A key that never worked would not be worth the wait.
    let mut before = authorizer(&keys).begin(&home(), true, None).unwrap();
    carried(&mut before, &home());
    drop(answered(&mut before, 200));
    keys.refresh().await.unwrap();
    let mut attempt = authorizer(&keys).begin(&home(), true, Some(patience)).unwrap();
    let began = tokio::time::Instant::now();
    let in_time = tokio::time::timeout(patience, async {
        while !matches!(attempt.step(), Step::Return) {
            match attempt.step() {
                Step::Send => {
                    carried(&mut attempt, &home());
                    drop(answered(&mut attempt, 401));
                }
                _ => drop(attempt.wait().await),
            }
        }
    });
    assert!(in_time.await.is_ok(), "the response in hand is the answer");
    assert!(began.elapsed() >= Duration::from_millis(400), "{:?}", began.elapsed());
    assert!(attempt.is_rejected());
}
