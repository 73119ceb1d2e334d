//! Handles, authorizers and attempts, as a language uses them.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use keyswap_host::{
    Answer, Attempt, Authorizer, Error, ErrorKind, Foreign, ForeignFunction, ForeignSign, Function,
    Keys, Patch, Pending, Place, Signature, Source, Step, UnsignedRequest, Verdict,
    function_failed, header_map,
    options::{AuthorizerOptions, KeySwapOptions, from_json},
    signature_failed,
};
use tokio::runtime::Handle;

const URL: &str = "https://api.example.com/v1/price";
const TWO: &str =
    r#"{"current": {"id": "k2", "key": "newer"}, "previous": [{"id": "k1", "key": "older"}]}"#;

/// Answers in turn, and with the last answer ever after.
struct Answers(Mutex<Vec<Result<String, &'static str>>>);

impl ForeignFunction for Answers {
    fn begin(&self, answer: Answer) -> Result<Pending, Error> {
        let mut answers = self.0.lock().expect("a lock");
        let next = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
        answer.settle(next.map(Into::into).map_err(function_failed));
        Ok(Box::new(()))
    }
}

fn source(answers: &[Result<&str, &'static str>]) -> Source {
    let answers = answers.iter().map(|one| one.map(str::to_owned)).collect();
    Source::function(Function::new(Arc::new(Answers(Mutex::new(answers)))))
}

async fn keys(answers: &[Result<&str, &'static str>]) -> Keys {
    let options: KeySwapOptions =
        from_json(r#"{"policy": {"wait": 0.2, "fetch_floor": 0.01, "fetch_floor_min": 0.01}}"#)
            .expect("options");
    let place = Place::on(Handle::current());
    let keys = Keys::follow(&source(answers), &options, place).expect("a handle");
    keys.ready(Some(5.0)).await.expect("a set");
    keys
}

fn authorizer(keys: &Keys, json: &str, foreign: &Foreign) -> Authorizer {
    let mut options: AuthorizerOptions = from_json(json).expect("options");
    options.allowed_origins.push("https://api.example.com".into());
    Authorizer::new(keys, &options, foreign).expect("an authorizer")
}

fn sent(attempt: &Attempt) -> Vec<String> {
    assert_eq!(attempt.step().expect("a step"), Step::Send);
    attempt.apply("GET", URL, &header_map([("x-a", "1")]), None).expect("a patch").reveal()
}

fn answered(attempt: &Attempt, status: u32, verdict: Option<Verdict>) -> Step {
    attempt.response(status, &header_map([("x-b", "2")]), None, verdict).expect("a step")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_request_goes_on_with_the_older_key() {
    let keys = keys(&[Ok(TWO)]).await;
    let header = r#"{"scheme": {"kind": "header", "name": "X-Key"}}"#;
    let authorizer = authorizer(&keys, header, &Foreign::default());
    assert_eq!(keys.current().expect("a key").id(), "k2");
    let prepared = authorizer.prepared();
    assert_eq!(prepared.patch_in_use().expect("a patch").reveal(), ["X-Key", "newer"]);
    assert!(!format!("{:?}", prepared.patch_in_use()).contains("newer"));
    let attempt = authorizer.begin(URL, true, None).expect("an attempt");
    assert_eq!(sent(&attempt), ["X-Key", "newer"]);
    assert_eq!(answered(&attempt, 401, None), Step::Send);
    assert!(attempt.is_rejected().expect("it is here"));
    assert_eq!(sent(&attempt), ["X-Key", "older"]);
    assert_eq!(answered(&attempt, 200, None), Step::Return);
    attempt.close();
    assert_eq!(attempt.step().expect_err("closed").kind(), ErrorKind::Closed);
    assert!(authorizer.begin("https://evil.example.com/", true, None).is_err());
    let patch = prepared.patch_in_use().expect("a patch");
    assert!(authorizer.yields(patch, &header_map([("X-Key", "own")])).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_is_an_argument() {
    let keys = keys(&[Ok(TWO)]).await;
    let json = r#"{"scheme": {}, "classifier": {"statuses": [200, 403], "body_limit": 9}}"#;
    let authorizer = authorizer(&keys, json, &Foreign::default());
    let begin = || authorizer.begin(URL, true, None).expect("an attempt");
    let attempt = begin();
    sent(&attempt);
    assert_eq!(answered(&attempt, 200, Some(Verdict::NeedBody)), Step::NeedBody);
    assert_eq!(attempt.body_limit().expect("it is here"), 9);
    let body = Some(&b"bad key"[..]);
    let step = attempt.response(200, &header_map([("x-b", "2")]), body, Some(Verdict::Rejected));
    assert_eq!(step.expect("a step"), Step::Send);
    // Without a verdict, and of what it was not asked about, nothing is a rejection.
    for (status, verdict) in [(403, None), (401, Some(Verdict::Rejected)), (401, None)] {
        let attempt = begin();
        sent(&attempt);
        assert_eq!(answered(&attempt, status, verdict), Step::Return, "{status}");
        assert!(!attempt.is_rejected().expect("it is here"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_takes_the_attempt_away_and_brings_it_back() {
    let keys =
        keys(&[Ok(r#"{"current": {"id": "k1", "key": "only"}}"#), Err("threw TypeError")]).await;
    let authorizer = authorizer(&keys, r#"{"scheme": {}}"#, &Foreign::default());
    let begin = || {
        let attempt = authorizer.begin(URL, true, None).expect("an attempt");
        sent(&attempt);
        attempt
    };
    let attempt = begin();
    assert_eq!(answered(&attempt, 401, None), Step::Wait);
    let waiting = attempt.wait();
    assert!(attempt.step().is_err(), "it is away");
    // How often it is tried again before it has waited in vain depends on the time.
    let mut step = waiting.await.expect("a step");
    while step != Step::Return {
        step = match step {
            Step::Wait => attempt.wait().await.expect("a step"),
            _ => {
                sent(&attempt);
                answered(&attempt, 401, None)
            }
        };
    }
    let cause = attempt.cause().expect("it is here").expect("a cause").to_string();
    assert!(cause.contains("the function threw TypeError"), "{cause}");
    // One that was closed meanwhile stays closed.
    let closed = begin();
    let waiting = closed.wait();
    closed.close();
    let _ = waiting.await;
    assert!(closed.step().is_err());
    let error = keys.refresh(Some(5.0)).await.expect_err("it threw");
    assert_eq!(error.kind(), ErrorKind::SourceFailed);
}

/// Answers once, and never again.
#[derive(Default)]
struct Once(Mutex<Vec<Answer>>);

impl ForeignFunction for Once {
    fn begin(&self, answer: Answer) -> Result<Pending, Error> {
        let mut all = self.0.lock().expect("a lock");
        if all.is_empty() {
            answer.settle(Ok(r#"{"current": {"id": "k1", "key": "only"}}"#.into()));
        }
        all.push(answer);
        Ok(Box::new(()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_nobody_waits_for_closes_the_attempt() {
    let source = Source::function(Function::new(Arc::new(Once::default())));
    let long = r#"{"policy": {"wait": 60, "wait_unproven": 60, "rotation_pause": 60, "fetch_timeout": 60}}"#;
    let options: KeySwapOptions = from_json(long).expect("options");
    let keys = Keys::follow(&source, &options, Place::on(Handle::current())).expect("a handle");
    keys.ready(Some(5.0)).await.expect("a set");
    let authorizer = authorizer(&keys, r#"{"scheme": {}}"#, &Foreign::default());
    let attempt = authorizer.begin(URL, true, None).expect("an attempt");
    sent(&attempt);
    assert_eq!(answered(&attempt, 401, None), Step::Wait);
    drop(attempt.wait());
    assert_eq!(attempt.step().expect("nothing has begun"), Step::Wait);
    let begun = tokio::time::timeout(Duration::from_millis(1), attempt.wait()).await;
    assert!(begun.is_err() && attempt.step().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_says_the_last_failure() {
    let options: KeySwapOptions = from_json(r#"{"policy": {"backoff_min": 30}}"#).expect("options");
    let place = Place::on(Handle::current());
    let failing = source(&[Err("threw TypeError")]);
    let keys = Keys::follow(&failing, &options, place).expect("a handle");
    keys.ready(Some(5.0)).await.expect_err("the first fetch fails");
    let error = keys.refresh(Some(0.05)).await.expect_err("the floor is not over");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(
        error.to_string(),
        "no fresh credential within 0.05 s; the last failure: the function threw TypeError; the set that is held stays in use"
    );
    assert!(keys.refresh(Some(f64::NAN)).await.is_err(), "no number");
    keys.close();
    tokio::time::timeout(Duration::from_secs(5), keys.shutdown()).await.expect("it ends");
}

struct Signs;

impl ForeignSign for Signs {
    fn sign(
        &self,
        credential: Arc<keyswap::Credential>,
        request: UnsignedRequest,
    ) -> Result<Signature, Error> {
        assert_eq!((&*request.method, &*request.url), ("GET", URL));
        assert_eq!(request.headers, [("x-a".to_owned(), "1".to_owned())]);
        if credential.id() == "k2" {
            return Err(signature_failed("threw TypeError"));
        }
        let headers = vec![("x-sign".into(), format!("of {}", credential.id()))];
        Ok(Signature { headers, query: vec![("sig".into(), "s3cr3t".into())] })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_is_made_for_each_send() {
    let keys = keys(&[Ok(TWO)]).await;
    let foreign = Foreign { sign: Some(Arc::new(Signs)), classifier: None };
    let authorizer = authorizer(&keys, "{}", &foreign);
    assert!(authorizer.is_signing() && authorizer.prepared().patch_in_use().is_none());
    let attempt = authorizer.begin(URL, true, None).expect("an attempt");
    let patch: Patch =
        attempt.apply("GET", URL, &header_map([("x-a", "1")]), None).expect("the other key signs");
    assert_eq!(patch.reveal(), ["x-sign", "of k1"]);
    assert_eq!(patch.reveal_url(URL).expect("a URL"), format!("{URL}?sig=s3cr3t"));
    assert!(
        patch
            .follow("GET", URL, true, 302, "/next?sig=s3cr3t")
            .expect("a hop")
            .expect("one")
            .url
            .ends_with("/next")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_may_be_made_elsewhere() {
    let keys = keys(&[Ok(TWO)]).await;
    let foreign = Foreign::signing_attempts();
    let authorizer = authorizer(&keys, "{}", &foreign);
    let attempt = authorizer.begin(URL, true, None).expect("an attempt");
    let signing = attempt.begin_signing("POST", URL).expect("it is here").expect("a credential");
    assert_eq!(signing.credential.id(), "k2");
    let failed =
        attempt.signed(&signing, Err(signature_failed("rejected"))).expect("another is left");
    assert!(failed.is_none());
    let signing = attempt.begin_signing("POST", URL).expect("it is here").expect("a credential");
    assert_eq!(signing.credential.id(), "k1");
    let made = Signature { headers: vec![("x-sign".into(), "made".into())], query: Vec::new() };
    let patch = attempt.signed(&signing, Ok(made)).expect("it is signed").expect("a patch");
    assert_eq!(patch.reveal(), ["x-sign", "made"]);
    assert_eq!(answered(&attempt, 200, None), Step::Return);
    let elsewhere = attempt.begin_signing("POST", "https://evil.example.com/").expect("it is here");
    assert!(elsewhere.is_none());
    // Where no other credential is left, the request fails, and before it is sent.
    let only = self::keys(&[Ok(r#"{"current": {"id": "k1", "key": "only"}}"#)]).await;
    let attempt = self::authorizer(&only, "{}", &foreign).begin(URL, true, Some(0.1)).expect("one");
    let signing = attempt.begin_signing("GET", URL).expect("it is here").expect("a credential");
    let odd = Signature { headers: vec![("no name".into(), "x".into())], query: Vec::new() };
    let error = attempt.signed(&signing, Ok(odd)).expect_err("nothing is left");
    assert_eq!(error.kind(), ErrorKind::SchemeFailed);
}
