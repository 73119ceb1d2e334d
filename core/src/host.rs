//! What a package for another language needs, and no program does. Feature `host`.
//!
//! It changes with the packages that are released beside this crate, and may change in any version.
//!
//! A host keeps what it made of a [`Snapshot`] as long as the [`epoch`] is the same. It sends with what it
//! [`prepare`]d, and makes an attempt [after](begin_after) the response only if that deserves one.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, Method, StatusCode};
use url::Url;

use crate::{
    client::{Attempt, Authorizer, Step},
    credential::{Credential, CredentialSet},
    engine::{
        snapshot::Snapshot,
        verdict::{Classifier, DefaultClassifier, Verdict},
    },
    error::Error,
    event::{self, Event},
    keyswap::{Follow, KeySwap},
    net,
    response_view::ResponseView,
    scheme::Patch,
    secret::Secret,
    source,
};

/// The [epoch](Snapshot::epoch) of what was published last, for caches: cheaper to read than
/// [`KeySwap::snapshot`], which is then of this epoch or a newer one.
#[inline]
pub fn epoch(keys: &KeySwap) -> u64 {
    keys.epoch()
}

/// A function that is told each new [epoch](epoch()) once it can be read, for languages that keep what they
/// made of the snapshot. It runs on the background task: it must be quick, and must not wait.
pub fn on_publish(follow: Follow, watcher: impl Fn(u64) + Send + Sync + 'static) -> Follow {
    follow.on_publish(watcher)
}

/// Begins with a set that another handle held, and fetches at once all the same: for a process that was
/// forked from one that held it. A set that has ended is passed over.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), keyswap::Error> {
/// # use keyswap::{KeySwap, source, CredentialSet, Credential};
/// # let down = || source::from_fn(|| std::future::pending());
/// let held = CredentialSet::new(Credential::new("k2", "material"));
/// let keys = keyswap::host::inherit(KeySwap::follow(down()), held).start()?;
/// assert_eq!(keys.current()?.id(), "k2", "before anything was fetched");
/// # Ok(()) }
/// ```
pub fn inherit(follow: Follow, set: CredentialSet) -> Follow {
    follow.inherit(set)
}

/// The endpoint, whose bootstrap credential is the environment variable as the host's program sees it.
///
/// Languages have environments of their own: those of a worker, of a test, or what was set at run time.
pub fn bootstrap_seen(endpoint: source::Endpoint, value: impl Into<Secret>) -> source::Endpoint {
    endpoint.bootstrap_seen(value.into())
}

/// The source, whose environment variable holds this where the host's program looks.
pub fn variable_seen(env: source::Env, value: impl Into<Secret>) -> source::Env {
    env.seen(value.into())
}

/// The first of these sources that works.
///
/// # Errors
/// `invalid_config` if there are none, or too many.
pub fn first_of(sources: Vec<Arc<dyn source::Source>>) -> Result<source::FirstOf, Error> {
    source::FirstOf::of(sources)
}

/// What the credential in use of this snapshot adds to any request, to be kept as long as the snapshot.
/// None if each request is to begin an attempt: nothing is in use, the scheme signs and so depends on the
/// request, or the credential cannot be put on one. That is told, and an attempt goes on with the next
/// credential.
pub fn prepare(authorizer: &Authorizer, snapshot: &Snapshot) -> Option<Patch> {
    authorizer.prepare(snapshot)
}

/// A request was sent, once and as one hop, with a credential of a cached snapshot, and the response
/// matches the [response_filter](Authorizer::response_filter). Only if it did carry that credential: what a caller's own
/// header, a `.netrc` or another origin brought about is no evidence. `deadline` is as for
/// [`Authorizer::begin`].
///
/// # Errors
/// [`ErrorKind::OriginNotAllowed`](crate::ErrorKind::OriginNotAllowed) if credentials may not go to this URL.
pub fn begin_after(
    authorizer: &Authorizer,
    snapshot: &Snapshot,
    method: &Method,
    url: &Url,
    replayable: bool,
    deadline: Option<Duration>,
) -> Result<Attempt, Error> {
    authorizer.begin_after(snapshot, method, url, replayable, deadline)
}

/// For a signer that cannot be called in between: the credential that the send under way is to be signed with,
/// in place of [`Attempt::apply`]. None for a hop to an origin that is not allowed: nothing is added.
pub fn begin_signing(attempt: &mut Attempt, method: &Method, url: &Url) -> Option<Arc<Credential>> {
    attempt.begin_signing(method, url)
}

/// That signer could not sign, which counts as a rejection of the credential. If the step is [`Step::Send`],
/// another one is to be signed with.
pub fn signing_failed(attempt: &mut Attempt, error: Error) -> &Step {
    attempt.signing_failed(error)
}

/// As [`Attempt::response`], where the caller has asked the classifier itself, and this is what it said.
pub fn response_judged<'a>(
    attempt: &'a mut Attempt,
    status: StatusCode,
    headers: &HeaderMap,
    body: Option<&[u8]>,
    verdict: Verdict,
) -> &'a Step {
    attempt.response_judged(status, headers, body, verdict)
}

/// How a client of the host's own retries the API's passing failures, as [`Client`](crate::Client) does: at most
/// so many times a request, within a budget that all requests share.
pub use crate::engine::retry::{RetryRule, Tried};

/// That rule, with the longest wait that the policy of these keys allows.
pub fn retry_rule(authorizer: &Authorizer, limit: u32) -> RetryRule {
    RetryRule::new(limit, authorizer.policy())
}

/// How long an API asks to stay away.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    net::retry_after(headers)
}

/// The verdict of this name: `accepted`, `rejected`, `throttled`, `skewed`, `other` or `need_body`, as functions in
/// other languages return it.
pub fn verdict(name: &str) -> Option<Verdict> {
    Some(match name {
        "accepted" => Verdict::Accepted,
        "rejected" => Verdict::Rejected,
        "throttled" => Verdict::Throttled,
        "skewed" => Verdict::Skewed { server_time: None },
        "other" => Verdict::Other,
        "need_body" => Verdict::NeedBody,
        _ => return None,
    })
}

/// The verdict on a response that a program's own classifier did not ask to be shown: what it does not want
/// to see it cannot call rejected.
pub fn unasked(response: &ResponseView<'_>) -> Verdict {
    match DefaultClassifier.classify(response) {
        Verdict::Rejected => Verdict::Other,
        verdict => verdict,
    }
}

/// Reads a document that a program wrote itself, as the function that it passed as its source returned it.
///
/// As [`parse`](crate::source::parse), but shorter forms are allowed: a credential's `key`, `secret` and `passphrase` may stand
/// beside its `id`, and times may be seconds since 1970. This is how bindings read what their languages'
/// functions return.
///
/// ```
/// let set = keyswap::host::parse_short(br#"{
///     "current": { "id": "k2", "key": "abc", "secret": "def", "expires_at": 1795442400 }
/// }"#)?;
/// let current = set.primary().expect("a credential");
/// assert_eq!(current.reveal("secret"), Some("def"));
/// assert_eq!(current.expires_at(), Some("2026-11-23T14:00:00Z".parse().unwrap()));
/// # Ok::<(), keyswap::Error>(())
/// ```
///
/// # Errors
/// [`ErrorKind::Malformed`](crate::ErrorKind::Malformed), naming the field and what it must be. It never quotes the document.
pub fn parse_short(document: &[u8]) -> Result<CredentialSet, Error> {
    source::parse_short(document)
}

/// One of each event, with all of its fields, for tests of what a host makes of them.
pub fn each_event() -> Vec<Event> {
    event::each()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_asked_for_is_no_rejection() {
        let url = "https://api.example.com".parse().expect("a URL");
        for (status, verdict) in [
            (StatusCode::UNAUTHORIZED, Verdict::Other),
            (StatusCode::OK, Verdict::Accepted),
            (StatusCode::TOO_MANY_REQUESTS, Verdict::Throttled),
        ] {
            let headers = HeaderMap::new();
            let response = ResponseView::new(&Method::GET, &url, status, &headers);
            assert_eq!(unasked(&response), verdict);
        }
    }

    #[test]
    fn verdicts_have_names() {
        let names = ["accepted", "rejected", "throttled", "skewed", "other", "need_body"];
        let verdicts = names.map(|name| verdict(name).expect(name));
        assert_eq!(verdicts[5], Verdict::NeedBody);
        assert!(verdicts[..5].iter().all(|verdict| *verdict != Verdict::NeedBody));
        assert_eq!(verdict("Rejected"), None);
    }

    #[test]
    fn no_event_is_missing() {
        let names: Vec<_> = each_event().iter().map(Event::name).collect();
        assert_eq!(names, Event::NAMES);
    }
}
