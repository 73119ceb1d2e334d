//! A function of the program that judges responses.
//!
//! Where a language drives an attempt itself, it asks the function and passes the verdict with the response. Where
//! the core sends, on threads of its own, it asks here.

use std::{fmt, sync::Arc};

use http::{HeaderMap, StatusCode};
use keyswap::{Attention, Classifier, DefaultClassifier, Verdict};

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
    /// The status.
    pub status: u16,
    /// The headers, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The beginning of the body, once it was asked for.
    pub body: Option<Vec<u8>>,
}

/// The classifier that the core asks.
pub(crate) struct Judge {
    attention: Attention,
    foreign: Option<Arc<dyn ForeignClassifier>>,
}

impl Judge {
    pub(crate) fn new(
        options: &ClassifierOptions,
        foreign: Option<Arc<dyn ForeignClassifier>>,
    ) -> Self {
        let (statuses, body_limit) = (options.statuses.clone(), options.body_limit as usize);
        Self { attention: Attention { statuses, body_limit, ..Attention::default() }, foreign }
    }
}

impl Classifier for Judge {
    fn classify(&self, status: StatusCode, headers: &HeaderMap, body: Option<&[u8]>) -> Verdict {
        if !self.attention.statuses.contains(&status.as_u16()) {
            return DefaultClassifier::unasked(status, headers);
        }
        let Some(foreign) = &self.foreign else { return Verdict::Other };
        let shown = || Judged {
            status: status.as_u16(),
            headers: pairs_of(headers),
            body: body.map(<[u8]>::to_vec),
        };
        aside(|| foreign.judge(shown())).unwrap_or(Verdict::Other)
    }

    fn attention(&self) -> Attention {
        self.attention.clone()
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
