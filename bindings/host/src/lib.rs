//! What every language binding needs of the core, once.
//!
//! The types here are owned and `'static`, have no lifetimes, no type parameters and no builders, so that
//! any tool that crosses a language border can carry them. A binding wraps them in its language's own types
//! and adds nothing else: no number, no rule, no sentence for users.
//!
//! - [`options`] describes sources, schemes, authorizers, clients and handles as plain data. Each field has
//!   its documentation there, and nowhere else.
//! - [`Source`], [`Keys`], [`Authorizer`], [`Attempt`], [`Retries`] and [`Client`] are what is made of them. A [`Source`]
//!   is a recipe, so a forked process can make its own from it.
//! - [`ForeignFunction`], [`ForeignSign`], [`ForeignClassifier`] and [`Logger`] are what a program brings in
//!   its own language.
//! - [`EventRecord`], [`StatsRecord`], [`CredentialRecord`] and [`ErrorRecord`] are what it is shown.
//!
//! There is no rule of rotation here: where one seems to be needed, it belongs into the core. What a language
//! keeps to be fast (a prepared patch by its epoch, the origins that were admitted) stays in its own memory.

mod attempt;
mod authorizer;
mod body;
mod classifier;
mod client;
mod error;
mod function;
mod job;
mod keys;
mod log;
pub mod options;
mod patch;
mod records;
mod retry;
mod secret;
mod sign;
mod source;
mod text;

pub use attempt::{Attempt, Signing, Step, failure_named};
pub use authorizer::{Authorizer, Foreign, MOST_ORIGINS, Prepared};
pub use body::{Body, Reply};
pub use classifier::{ForeignClassifier, Judged};
pub use client::{BRIEF, Client, Request, RequestBody, SMALL};
pub use error::{ErrorRecord, codes, function_failed, invalid, signature_failed};
pub use function::{Answer, ForeignFunction, Function, Pending};
pub use job::Job;
pub use keys::{Keys, Place, within};
pub use log::{Courier, LogLevel, LogRecord, Logger, LoggerGuard, add_logger, forward};
pub use patch::{NextHop, Patch};
pub use records::{CredentialRecord, EventRecord, SetRecord, StatsRecord, event_names};
pub use retry::Retries;
pub use secret::SecretText;
pub use sign::{ForeignSign, Signature, UnsignedRequest, signing};
pub use source::{Input, Inputs, Recipe, Source, seconds};
pub use text::{header_map, header_pairs, owned_pairs};

pub use keyswap::{Error, ErrorKind, Failure, Verdict, redirect::MAX_HOPS};
