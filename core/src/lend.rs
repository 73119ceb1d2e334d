//! A handle whose keys another source logs in with.
//!
//! It decides nothing: a log-in is an [`Attempt`], which is what any request is.

use std::{
    fmt::{self, Write as _},
    sync::Arc,
};

use http::{HeaderMap, Method, StatusCode};
use url::Url;

use crate::{
    client::{Attempt, Authorizer, Step},
    credential::Credential,
    engine::verdict::Verdict,
    error::{Error, ErrorKind},
    keyswap::KeySwap,
    scheme::{Patch, Scheme, Sign, Unsigned},
    source::{BoxFuture, Lender, LentKeys, Loan, LogIn, Reply},
};

/// What part of the time of a log-in may pass with waiting for a key: the last answer needs some, too.
const WAIT: f64 = 0.75;

impl From<&KeySwap> for LentKeys {
    fn from(keys: &KeySwap) -> Self {
        Self::new(Keys(keys.clone()))
    }
}

/// A handle that lends.
struct Keys(KeySwap);

impl Lender for Keys {
    fn lend(&self, log_in: &LogIn<'_>) -> Result<Box<dyn Loan>, Error> {
        let mut builder =
            Authorizer::builder(&self.0).scheme(Scheme::signing(Pieces(log_in.pieces)));
        if log_in.plain_http {
            builder = builder.plain_http_allowed();
        }
        let authorizer = builder.allow_origin(log_in.url.as_str())?.build()?;
        let deadline = Some(log_in.time.mul_f64(WAIT));
        let attempt = authorizer.begin(log_in.url, true, deadline)?;
        Ok(Box::new(Trial { attempt, url: log_in.url.clone() }))
    }

    fn changed(&self, from: Option<Arc<str>>) -> BoxFuture<'static, ()> {
        let keys = self.0.clone();
        Box::pin(async move {
            loop {
                let seen = keys.epoch();
                if newest(&keys) != from {
                    return;
                }
                if keys.rest(seen, false).await.is_none() {
                    // It was closed, and holds nothing new any more.
                    std::future::pending::<()>().await;
                }
            }
        })
    }

    fn newest(&self) -> Option<Arc<str>> {
        newest(&self.0)
    }
}

fn newest(keys: &KeySwap) -> Option<Arc<str>> {
    keys.set()?.primary.as_ref().map(|primary| primary.shared_id())
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One log-in.
struct Trial {
    attempt: Attempt,
    url: Url,
}

impl Loan for Trial {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Arc<Credential>>, Error>> {
        Box::pin(async move {
            loop {
                match self.attempt.wait().await {
                    Step::Send => {}
                    Step::Fail(error) => return Err(error.clone()),
                    _ => return Ok(None),
                }
                // What it adds is not used: it finds out which keys can be shown at all, and here.
                let applied = self.attempt.apply(&Method::POST, &self.url, &HeaderMap::new(), None);
                match (applied, self.attempt.step()) {
                    (Ok(patch), Step::Send) if patch.is_empty() => {
                        // A set came this moment whose keys are not for this origin.
                        let what = "the keys to log in with are not for this origin";
                        return Err(Error::new(ErrorKind::OriginNotAllowed, what));
                    }
                    (Ok(_), Step::Send) => return Ok(self.attempt.credential().cloned()),
                    (Err(error), Step::Return | Step::Send) => return Err(error),
                    _ => {}
                }
            }
        })
    }

    fn answered(&mut self, status: StatusCode, headers: &HeaderMap, reply: Option<Reply>) {
        let _ = match reply {
            None => self.attempt.response(status, headers, None),
            Some(reply) => {
                let verdict = match reply {
                    Reply::Accepted => Verdict::Accepted,
                    Reply::Rejected => Verdict::Rejected,
                    Reply::Other => Verdict::Other,
                };
                self.attempt.response_judged(status, headers, None, verdict)
            }
        };
    }

    fn unfit(&mut self, why: Error) {
        let _ = self.attempt.signing_failed(why);
    }
}

/// Whether a key has what is to be shown: one of these pieces of material.
#[derive(Debug)]
struct Pieces(&'static [&'static str]);

impl Sign for Pieces {
    fn sign(&self, key: &Credential, _: &Unsigned<'_>, patch: &mut Patch) -> Result<(), Error> {
        if let Some(name) = self.0.iter().find(|name| key.reveal(name).is_some()) {
            patch.add_query(name, "");
            return Ok(());
        }
        let mut what = format!("{} has no material to log in with, which is named", key.id());
        for (index, name) in self.0.iter().enumerate() {
            let _ = write!(what, "{} {name:?}", if index > 0 { " or" } else { "" });
        }
        Err(Error::new(ErrorKind::SchemeFailed, what))
    }
}
