//! One request: a chain of hops, most often of one.
//!
//! # Theory of operation
//!
//! Each hop asks an [`Attempt`] of its own what to do, and does it: send, wait, return. Then a redirect
//! may ask for one more hop. What a hop was answered is final: whatever happens behind it, it is not sent
//! again. The API's own passing failures are retried within a hop, too.
//!
//! Once a chain has come to an origin that is not allowed, no later hop carries a credential: such an
//! origin has no say in what these keys are used for.
//!
//! The caller's time is watched here, around each send. Waits end by themselves before it is over, so that
//! a response that is in hand is what the caller gets.

use std::time::Duration;

use url::Url;

use super::{
    Attempt, Authorizer, Inner, Response, Step, hop::Hop, origin::shown, request::Request,
    response::describe,
};
use crate::{
    engine::{attempt::MAX_SENDS, retry::Tried, verdict::Failure},
    error::{Error, ErrorKind},
    net::{is_loopback, retry_after},
    scheme::Patch,
};

pub(super) struct Chain<'a> {
    client: &'a Inner,
    authorizer: &'a Authorizer,
    request: &'a mut Request,
    /// When the caller's time is over, on the boot clock.
    until: Option<u64>,
}

/// What a send brought, and what it carried.
struct Sent {
    outcome: Result<Response, (Failure, Error)>,
    patch: Patch,
    /// Whether the caller's own header took the credential's place.
    yields: bool,
    rejected: bool,
}

/// What a hop was answered, and what it carried.
struct Answer {
    response: Response,
    patch: Patch,
    rejected: bool,
}

impl<'a> Chain<'a> {
    /// Sends it, and follows where it leads.
    pub(super) async fn run(
        client: &'a Inner,
        authorizer: &'a Authorizer,
        request: &'a mut Request,
    ) -> Result<Response, Error> {
        let mut hop = first_hop(client, request);
        let resend = request.resend && request.body.is_replayable();
        let (scopes, timeout) = (&request.scopes, request.timeout);
        // The futures of a chain hold it once, by reference: moving them costs what they hold.
        let mut attempt = Some(authorizer.begin_shared(scopes, &hop.url, resend, timeout)?);
        let until = attempt.as_ref().and_then(Attempt::deadline);
        let mut chain = Self { client, authorizer, request, until };
        for hops in 0.. {
            let is_keyed = attempt.is_some();
            let Answer { mut response, patch, rejected } = chain.hop(&hop, &mut attempt).await?;
            // A redirect that the classifier calls a rejection, to a login page, is the answer.
            let next = match hops < chain.client.redirects && !rejected {
                true => chain.follow(&hop, &response, &patch),
                false => None,
            };
            let Some(next) = next else {
                response.mask(&hop, &patch);
                return Ok(response);
            };
            hop = next;
            // It is refused for one reason only, the origin.
            attempt = is_keyed.then(|| chain.begin(&hop).ok()).flatten();
        }
        unreachable!("the loop ends at the first response that is not followed")
    }

    fn begin(&self, hop: &Hop) -> Result<Attempt, Error> {
        let (scopes, resend) = (&self.request.scopes, self.may_resend(hop));
        self.authorizer.begin_shared(scopes, &hop.url, resend, self.left())
    }

    /// All sends of one hop.
    async fn hop(&mut self, hop: &Hop, attempt: &mut Option<Attempt>) -> Result<Answer, Error> {
        let mut first = None;
        let mut last: Option<Box<Sent>> = None;
        let mut retried = 0;
        loop {
            let step = match attempt {
                Some(attempt) => attempt.step().clone(),
                None if last.is_none() => Step::Send,
                None => Step::Return,
            };
            match step {
                Step::Send => {
                    let sent = self.send(hop, attempt.as_mut(), last.as_deref()).await?;
                    if sent.yields {
                        *attempt = None;
                    }
                    // The first rejection is about the credential that was in use.
                    let before = last.replace(sent).filter(|before| before.rejected);
                    first = first.or(before);
                }
                Step::Wait => {
                    if let Some(attempt) = attempt {
                        attempt.wait().await;
                    }
                }
                Step::Fail(error) => return Err(error),
                Step::NeedBody { .. } | Step::Return => {
                    if let Some(wait) = self.retry(hop, last.as_deref(), retried) {
                        retried += 1;
                        tokio::time::sleep(wait).await;
                        let again = match attempt {
                            Some(attempt) => attempt.repeat(),
                            None => retried < MAX_SENDS,
                        };
                        if again && attempt.is_none() {
                            last = None;
                        }
                        if again {
                            continue;
                        }
                    }
                    let Some(last) = last else { return Err(unsent()) };
                    let last = if last.rejected { first.unwrap_or(last) } else { last };
                    let Sent { outcome, patch, rejected, .. } = *last;
                    let mut response = outcome.map_err(|(_, error)| error)?;
                    let judged = attempt.as_ref().filter(|_| rejected);
                    response.set_cause(judged.and_then(Attempt::cause));
                    return Ok(Answer { response, patch, rejected });
                }
            }
        }
    }

    /// One send, and its verdict. The outer error is final; the inner one is a transport's, which may be
    /// retried.
    async fn send(
        &mut self,
        hop: &Hop,
        mut attempt: Option<&mut Attempt>,
        before: Option<&Sent>,
    ) -> Result<Box<Sent>, Error> {
        let body = if hop.bare { None } else { self.request.body.bytes() };
        if attempt.is_some() {
            self.authorizer.check_body(!hop.bare && !self.request.body.is_replayable())?;
        }
        let patch = match &mut attempt {
            Some(attempt) => attempt.apply(&hop.method, &hop.url, &hop.headers, body)?,
            None => Patch::default(),
        };
        let yields = self.authorizer.yields(&patch, &hop.headers)?;
        let request = self.build(hop, if yields { None } else { Some(&patch) });
        let http = if is_loopback(&hop.url) { &self.client.direct } else { &self.client.outer };
        // The time of a first send has just begun.
        let is_first = hop.written && before.is_none();
        let left = if is_first { self.request.timeout } else { self.left() };
        let outcome = match left {
            None => http.execute(request).await,
            Some(Duration::ZERO) => return Err(self.too_late(before)),
            Some(left) => match tokio::time::timeout(left, http.execute(request)).await {
                Ok(outcome) => outcome,
                Err(_) => return Err(self.too_late(before)),
            },
        };
        let outcome = match outcome {
            Ok(response) => Ok(Response::new(response, hop)),
            Err(error) => Err(failed(hop, error)),
        };
        let mut sent = Box::new(Sent { outcome, patch, yields, rejected: false });
        if let Some(attempt) = attempt {
            self.judge(attempt, &mut sent).await;
        }
        Ok(sent)
    }

    fn build(&mut self, hop: &Hop, patch: Option<&Patch>) -> reqwest::Request {
        let mut url = Url::clone(&hop.url);
        if let Some(patch) = patch {
            patch.apply_query(&mut url);
        }
        let mut request = reqwest::Request::new(hop.method.clone(), url);
        *request.headers_mut() = hop.headers.clone();
        if let Some(patch) = patch {
            patch.apply_headers(request.headers_mut());
        }
        let own = if hop.bare { None } else { self.request.body.take() };
        let signed = patch.and_then(Patch::body).map(|body| body.clone().into());
        *request.body_mut() = signed.or(own);
        request
    }

    /// Shows to the attempt what came.
    async fn judge(&self, attempt: &mut Attempt, sent: &mut Sent) {
        let response = match &mut sent.outcome {
            Ok(_) if sent.yields => return,
            Ok(response) => response,
            Err((failure, _)) => {
                attempt.failed(*failure);
                return;
            }
        };
        if let Step::NeedBody { max } =
            *attempt.response(response.status(), response.headers(), None)
        {
            // Boxed: it is large, and few APIs are judged by a body.
            Box::pin(self.show_body(attempt, response, max)).await;
        }
        sent.rejected = attempt.is_rejected();
    }

    /// Shows the response again, with as much of its body as is asked for and as comes in time.
    async fn show_body(&self, attempt: &mut Attempt, response: &mut Response, max: usize) {
        let (status, headers) = (response.status(), response.headers().clone());
        let seen = match self.left() {
            None => response.peek(max).await,
            Some(left) => match tokio::time::timeout(left, response.peek(max)).await {
                Ok(seen) => seen,
                Err(_) => &[],
            },
        };
        attempt.response(status, &headers, Some(seen));
    }

    fn follow(&self, hop: &Hop, response: &Response, patch: &Patch) -> Option<Hop> {
        if !response.status().is_redirection() {
            return None;
        }
        let private = self.authorizer.header_name();
        let replayable = self.request.body.is_replayable();
        hop.follow(response.status(), response.headers(), patch, private.as_ref(), replayable)
    }

    /// How long to wait before this hop is sent again for a reason that is not its credential.
    fn retry(&self, hop: &Hop, last: Option<&Sent>, retried: u32) -> Option<Duration> {
        let rule = &self.client.retry;
        let outcome = &last?.outcome;
        if let Ok(response) = outcome
            && response.status().is_success()
        {
            rule.succeeded();
            return None;
        }
        if !self.may_resend(hop) {
            return None;
        }
        let left = self.left();
        let tried = Tried { method: &hop.method, retried, left, jitter: fastrand::f64() };
        match outcome {
            Ok(response) => {
                rule.answered(tried, response.status(), || retry_after(response.headers()))
            }
            Err((failure, _)) => rule.failed(tried, *failure),
        }
    }

    fn may_resend(&self, hop: &Hop) -> bool {
        self.request.resend && (hop.bare || self.request.body.is_replayable())
    }

    /// How much of the caller's time is left, if that is limited.
    fn left(&self) -> Option<Duration> {
        let now = self.until.map(|_| self.authorizer.now());
        let left = self.until.zip(now).map(|(until, now)| until.saturating_sub(now));
        left.map(Duration::from_millis)
    }

    /// The caller's time was over while a send was under way, so what came of that one is not known.
    fn too_late(&self, before: Option<&Sent>) -> Error {
        let (method, url) = (&self.request.method, shown(&self.request.url));
        let seconds = self.request.timeout.unwrap_or_default().as_secs_f64();
        let what = format!("{method} {url} got no response within {seconds} s");
        let answered = before.and_then(|before| before.outcome.as_ref().ok()).map(Response::status);
        match answered {
            None => Error::new(ErrorKind::Timeout, what),
            Some(status) => {
                let what = format!("{what}; before it was sent again, the answer was {status}");
                Error::new(ErrorKind::Timeout, what).with_status(status.as_u16())
            }
        }
    }
}

/// The request as its caller made it, with the headers that all requests of the client carry.
fn first_hop(client: &Inner, request: &mut Request) -> Hop {
    let mut headers = std::mem::take(&mut request.headers);
    for (name, value) in &client.headers {
        headers.entry(name).or_insert_with(|| value.clone());
    }
    Hop::first(request.method.clone(), request.url.clone(), headers)
}

fn failed(hop: &Hop, error: reqwest::Error) -> (Failure, Error) {
    let failure = match () {
        () if error.is_connect() => Failure::Connect,
        () if error.is_timeout() => Failure::Timeout,
        () => Failure::Other,
    };
    let kind = match failure {
        Failure::Timeout => ErrorKind::Timeout,
        _ => ErrorKind::Transport,
    };
    let what = format!("{} {} failed: {}", hop.method, hop.shown(), describe(error));
    (failure, Error::new(kind, what))
}

fn unsent() -> Error {
    Error::new(ErrorKind::Transport, "the request was not sent")
}
