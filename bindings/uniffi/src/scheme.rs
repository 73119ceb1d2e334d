//! How credentials go onto requests, and what responses say of them.

use std::cell::Cell;

use keyswap::{Classifier, ResponseFilter, ResponseView, Scheme, Verdict, host};

/// How a credential goes onto a request.
#[derive(Clone, Debug, uniffi::Enum)]
pub enum NativeScheme {
    /// A header of this name that holds the key.
    Header {
        /// The name.
        name: String,
    },
    /// `Authorization: Bearer`.
    Bearer,
    /// `Authorization: Basic`, of the key and the secret.
    Basic,
    /// A parameter of the query.
    Query {
        /// The name.
        name: String,
    },
}

impl NativeScheme {
    pub(crate) fn make(&self) -> Scheme {
        match self {
            Self::Header { name } => Scheme::header(name),
            Self::Bearer => Scheme::bearer(),
            Self::Basic => Scheme::basic(),
            Self::Query { name } => Scheme::query(name),
        }
    }
}

/// What a response says of the credential that its request carried.
#[derive(Clone, Copy, Debug, uniffi::Enum)]
pub enum NativeVerdict {
    /// The API knows it.
    Accepted,
    /// The API does not know it, or not any more.
    Rejected,
    /// Too many requests.
    Throttled,
    /// Nothing.
    Other,
    /// The beginning of the body would say.
    NeedBody,
}

impl From<NativeVerdict> for Verdict {
    fn from(verdict: NativeVerdict) -> Self {
        match verdict {
            NativeVerdict::Accepted => Self::Accepted,
            NativeVerdict::Rejected => Self::Rejected,
            NativeVerdict::Throttled => Self::Throttled,
            NativeVerdict::Other => Self::Other,
            NativeVerdict::NeedBody => Self::NeedBody,
        }
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

/// A function of the program that judges responses; what it says is passed beside each of them.
#[derive(Debug)]
pub(crate) struct Judge(ResponseFilter);

impl Judge {
    pub(crate) fn new(statuses: Vec<u16>, body_limit: u32) -> Self {
        let body_limit = body_limit as usize;
        Self(ResponseFilter::new(statuses).with_body_limit(body_limit))
    }
}

impl Classifier for Judge {
    fn classify(&self, response: &ResponseView<'_>) -> Verdict {
        if self.0.statuses.contains(&response.status().as_u16()) {
            return SAID.take().unwrap_or(Verdict::Other);
        }
        host::unasked(response)
    }

    fn response_filter(&self) -> ResponseFilter {
        self.0.clone()
    }
}
