//! What a request does next.

use crate::error::Error;

/// What to do next.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[must_use = "a step is to be taken"]
pub enum Step {
    /// Send the request, with what [`apply`](crate::Attempt::apply) adds, and report with
    /// [`response`](crate::Attempt::response) or [`failed`](crate::Attempt::failed).
    Send,
    /// Call [`wait`](crate::Attempt::wait); keep the last response meanwhile.
    Wait,
    /// Call [`response`](crate::Attempt::response) again, with the first bytes of the body, at most so many.
    #[non_exhaustive]
    NeedBody {
        /// How many.
        max: usize,
    },
    /// The last response, or the transport's own error, is the answer.
    Return,
    /// There is no response to return; this is the error.
    Fail(Error),
}
