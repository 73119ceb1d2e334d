//! How credentials go onto requests, and what responses say of them.

use std::{cell::Cell, fmt, time::Duration};

use http::HeaderMap;
use keyswap::{Classifier, ResponseFilter, ResponseView, Verdict, host};
use napi_derive::napi;

use crate::{errors::invalid, function::Function};

/// How long a function of the program may take to judge a response, before that counts as "other".
const PATIENCE: Duration = Duration::from_secs(5);

/// A scheme by its name; the header or the parameter that it needs.
#[napi(object)]
pub struct SchemeSpec {
    /// `header`, `bearer`, `basic` or `query`.
    pub kind: String,
    /// The header or the parameter.
    pub name: Option<String>,
}

impl SchemeSpec {
    pub(crate) fn make(&self) -> napi::Result<keyswap::Scheme> {
        Ok(match (self.kind.as_str(), &self.name) {
            ("header", Some(name)) => keyswap::Scheme::header(name),
            ("bearer", None) => keyswap::Scheme::bearer(),
            ("basic", None) => keyswap::Scheme::basic(),
            ("query", Some(name)) => keyswap::Scheme::query(name),
            _ => return Err(invalid("a scheme is made by header, bearer, basic or query")),
        })
    }
}

thread_local! {
    /// What the program's function said of the response that is shown right now.
    static SAID: Cell<Option<Verdict>> = const { Cell::new(None) };
}

/// Runs it while the verdict of the program's function is at hand.
pub(crate) fn having_said<T>(verdict: Option<Verdict>, run: impl FnOnce() -> T) -> T {
    SAID.set(verdict);
    let outcome = run();
    SAID.set(None);
    outcome
}

/// A function of the program that judges responses.
pub(crate) struct Judge {
    attention: ResponseFilter,
    /// Asked where the verdict is not at hand: on a thread of the runtime.
    function: Option<Function>,
}

impl Judge {
    pub(crate) fn new(statuses: Vec<u16>, body_limit: u32, function: Option<Function>) -> Self {
        let body_limit = body_limit as usize;
        Self { attention: ResponseFilter::new(statuses).with_body_limit(body_limit), function }
    }
}

impl Classifier for Judge {
    fn classify(&self, response: &ResponseView<'_>) -> Verdict {
        let status = response.status().as_u16();
        if !self.attention.statuses.contains(&status) {
            return host::unasked(response);
        }
        if let Some(said) = SAID.take() {
            return said;
        }
        let Some(function) = &self.function else { return Verdict::Other };
        let shown = serde_json::json!({
            "status": status, "headers": pairs(response.headers()), "body": response.body(),
        });
        // A thread of the runtime must not be held up by a program's function.
        let said = tokio::task::block_in_place(|| function.ask(shown.to_string(), PATIENCE));
        said.as_deref().and_then(host::verdict).unwrap_or(Verdict::Other)
    }

    fn response_filter(&self) -> ResponseFilter {
        self.attention.clone()
    }
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Judge(..)")
    }
}

/// Headers by turns: a name, its value.
pub(crate) fn pairs(headers: &HeaderMap) -> Vec<String> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().flat_map(|(name, value)| [name.as_str().to_owned(), text(value)]).collect()
}
