//! A function of the program that judges responses.
//!
//! Where a language drives an attempt itself, it asks the function and passes the verdict with the response. Where
//! the core sends, on threads of its own, it asks here.

use std::{fmt, sync::Arc};

use keyswap::{Classifier, ResponseFilter, ResponseView, Verdict, host};

use crate::{options::ClassifierOptions, text::pairs_of};

/// What a language calls for a classifier of the program.
pub trait ForeignClassifier: Send + Sync + 'static {
    /// Judges one response; it may block. None if the function failed, or said nothing that it may: the response
    /// then counts as `other`.
    fn judge(&self, response: Judged) -> Option<Verdict>;
}

/// A response as a classifier sees it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Judged {
    /// The method of the request.
    pub method: String,
    /// The URL that it was sent to, without the credential.
    pub url: String,
    /// The status.
    pub status: u16,
    /// The headers, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The beginning of the body, once it was asked for.
    pub body: Option<Vec<u8>>,
}

/// The classifier that the core asks.
pub(crate) struct Judge {
    filter: ResponseFilter,
    foreign: Option<Arc<dyn ForeignClassifier>>,
}

impl Judge {
    pub(crate) fn new(
        options: &ClassifierOptions,
        foreign: Option<Arc<dyn ForeignClassifier>>,
    ) -> Self {
        let (statuses, body_limit) = (options.statuses.clone(), options.body_limit as usize);
        Self { filter: ResponseFilter::new(statuses).with_body_limit(body_limit), foreign }
    }
}

impl Classifier for Judge {
    fn classify(&self, response: &ResponseView<'_>) -> Verdict {
        let status = response.status().as_u16();
        if !self.filter.statuses.contains(&status) {
            return host::unasked(response);
        }
        let Some(foreign) = &self.foreign else { return Verdict::Other };
        let shown = || Judged {
            method: response.method().to_string(),
            url: response.url().to_string(),
            status,
            headers: pairs_of(response.headers()),
            body: response.body().map(<[u8]>::to_vec),
        };
        aside(|| foreign.judge(shown())).unwrap_or(Verdict::Other)
    }

    fn response_filter(&self) -> ResponseFilter {
        self.filter.clone()
    }
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Classifier(..)")
    }
}

/// Runs what may block. A thread that others wait for must not be held up by a program's function.
pub(crate) fn aside<T>(work: impl FnOnce() -> T) -> T {
    #[cfg(feature = "threads")]
    {
        use tokio::runtime::{Handle, RuntimeFlavor::MultiThread};
        if Handle::try_current().is_ok_and(|here| here.runtime_flavor() == MultiThread) {
            return tokio::task::block_in_place(work);
        }
    }
    work()
}
