//! What came of a send.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use jiff::Timestamp;

use super::{Attempt, Step};
use crate::{
    client::status,
    engine::{
        attempt::Outcome,
        rotation::{Evidence, Input},
        verdict::{Failure, Verdict},
    },
    net::{date, retry_after},
    response_view::ResponseView,
    scheme::Scheme,
};

impl Attempt {
    /// The response of this hop has come. `body` is what [`Step::NeedBody`] asked for.
    pub fn response(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
        body: Option<&[u8]>,
    ) -> &Step {
        // What another origin says, says nothing of a credential that it was not sent.
        let verdict = self
            .view(status, headers, body)
            .map_or(Verdict::Other, |response| self.parts.classifier.classify(&response));
        self.response_judged(status, headers, body, verdict)
    }

    /// The same, where the caller has asked the classifier itself, and this is what it said.
    pub(crate) fn response_judged(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
        body: Option<&[u8]>,
        verdict: Verdict,
    ) -> &Step {
        self.on_credential_status(headers);
        let verdict = if self.at_home { self.doubted(verdict, headers) } else { Verdict::Other };
        let classifier = &self.parts.classifier;
        self.is_rejected = verdict == Verdict::Rejected;
        match verdict {
            Verdict::NeedBody if body.is_none() => {
                self.step = Step::NeedBody { max: classifier.response_filter().body_limit };
                return &self.step;
            }
            Verdict::Throttled => {
                let shared = self.parts.keys.shared();
                if let (Some(asked), Some(throttle)) = (retry_after(headers), self.throttle()) {
                    throttle.hold(shared.clock.boot(), asked, &shared.policy);
                }
                let response = self.view(status, headers, body);
                if let Some(how_long) = response.and_then(|it| classifier.lockout(&it)) {
                    self.parts.account.lock(shared.clock.boot(), how_long);
                }
            }
            Verdict::Skewed { server_time } => self.correct(server_time.or_else(|| date(headers))),
            // A redirect concludes nothing, and answers the request: it is not sent again with another
            // credential, and the hop behind it goes on with the trial.
            Verdict::Other if status.is_redirection() => self.machine.hand_on(self.now()),
            _ => {}
        }
        // What was refused was not done. What else came may have been.
        let repeatable = self.at_home && (self.method.is_idempotent() || status.is_client_error());
        self.conclude(verdict, repeatable);
        &self.step
    }

    /// What came of the send, where it was no HTTP response: for databases, RPC, or clients that say it by their
    /// own errors. [`Verdict::NeedBody`] is as [`Verdict::Other`].
    pub fn judged(&mut self, verdict: Verdict) -> &Step {
        self.is_rejected = verdict == Verdict::Rejected;
        if let Verdict::Skewed { server_time } = verdict {
            self.correct(server_time);
        }
        self.conclude(verdict, verdict == Verdict::Throttled);
        &self.step
    }

    /// The account is locked for so long, counted from now. To be told before the verdict, by those who pass
    /// that themselves; elsewhere [`Classifier::lockout`](crate::Classifier::lockout) says it.
    pub fn locked_out(&self, how_long: Duration) {
        self.parts.account.lock(self.now(), how_long);
    }

    /// Signatures go by this time from now on.
    fn correct(&self, server_time: Option<Timestamp>) {
        let wall = self.parts.keys.shared().clock.now().wall;
        server_time.into_iter().for_each(|shown| self.parts.account.correct(wall, shown));
    }

    /// A rejection of what was signed by a clock that is not the API's is about the clock, the first time.
    fn doubted(&self, verdict: Verdict, headers: &HeaderMap) -> Verdict {
        let signs = || self.parts.scheme.as_ref().is_some_and(Scheme::is_signing);
        if verdict != Verdict::Rejected || !signs() {
            return verdict;
        }
        let wall = self.parts.keys.shared().clock.now().wall;
        match date(headers).filter(|shown| self.parts.account.is_off(wall, *shown)) {
            Some(shown) => Verdict::Skewed { server_time: Some(shown) },
            None => verdict,
        }
    }

    /// The response as the classifier sees it, if it answers a request that carried a credential.
    fn view<'a>(
        &'a self,
        status: StatusCode,
        headers: &'a HeaderMap,
        body: Option<&'a [u8]>,
    ) -> Option<ResponseView<'a>> {
        let url = self.elsewhere.as_deref().or(self.url.as_deref()).filter(|_| self.at_home)?;
        let head = ResponseView::new(&self.method, url, status, headers);
        Some(body.map_or(head, |body| head.with_body(body)))
    }

    /// No response came. It says nothing of the credential, so the answer is [`Step::Return`] and with it
    /// the transport's error. If no connection could be made, the next request may go on with a trial at
    /// once.
    pub fn failed(&mut self, failure: Failure) -> &Step {
        self.is_rejected = false;
        if failure == Failure::Connect {
            self.machine.hand_on(self.now());
        }
        self.conclude(Verdict::Other, false);
        &self.step
    }

    /// What the API says of the credential that it was sent on this hop, and of no other.
    fn on_credential_status(&self, headers: &HeaderMap) {
        if self.at_home
            && let Some((id, status)) = status::read(headers)
            && self.credential_id() == Some(&*id)
        {
            self.parts.keys.send_input(Input::CredentialStatus { credential: id, status });
        }
    }

    fn conclude(&mut self, verdict: Verdict, repeatable: bool) {
        let verdict = if verdict == Verdict::NeedBody { Verdict::Other } else { verdict };
        let is_skewed = matches!(verdict, Verdict::Skewed { .. });
        let is_probing = self.machine.is_probing();
        if let Some(credential) = self.machine.assigned() {
            if verdict == Verdict::Accepted {
                credential.accepted().add();
            }
            let keys = &self.parts.keys;
            let evidence = || Evidence { credential: credential.shared_id(), sent: self.sent };
            match verdict {
                Verdict::Rejected => keys.send_input(Input::Rejected(evidence())),
                // What was learnt on a way around is worth telling to those who wait, whoever asks.
                Verdict::Accepted
                    if self.machine.sends() > 1 || keys.store().snapshot().evidence =>
                {
                    keys.send_input(Input::Accepted(evidence()));
                    let trial = self.trial.take();
                    trial.into_iter().for_each(|trial| keys.send_input(Input::Doubted(trial)));
                }
                Verdict::Accepted => {}
                _ if is_probing && !is_skewed => self.trial = Some(evidence()),
                _ => {}
            }
        }
        let is_about_key = verdict == Verdict::Rejected || is_probing || self.machine.is_trying();
        if !is_about_key && !is_skewed {
            // The common case, for which no clock is read.
            self.wait = None;
            self.step = Step::Return;
            return;
        }
        let outcome = Outcome { verdict, sent: self.sent, repeatable };
        let now = self.now();
        let next =
            self.decide(|machine, snapshot, policy| machine.judged(now, snapshot, outcome, policy));
        self.take(next);
    }
}
