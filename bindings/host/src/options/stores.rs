//! Sources that are no rotation endpoint: what a program says of each, and how it is made of that.
//!
//! One more is a struct here, whose comments are its documentation in every language, and a line in [`SOURCES`]. Python and
//! Node have it then, under the name of the struct and of the line.

#[cfg(feature = "command")]
mod command;
mod json;

use std::sync::Arc;

use keyswap::{
    Error, host,
    source::{self, Source as CoreSource},
};
use serde::{Deserialize, de::DeserializeOwned};

#[cfg(feature = "command")]
pub use self::command::CommandOptions;
pub use self::json::JsonOptions;

use crate::{
    error::invalid,
    options::{EndpointOptions, EnvOptions, FileOptions, from_json},
    source::{Inputs, Recipe, Source},
};

/// How the options of a source are read.
type Read = fn(&str, Inputs) -> Result<Source, Error>;

/// The sources, by the names that bindings pass.
const SOURCES: &[(&str, Read)] = &[
    ("endpoint", read::<EndpointOptions>),
    ("file", read::<FileOptions>),
    ("env", read::<EnvOptions>),
    ("json", read::<JsonOptions>),
    #[cfg(feature = "command")]
    ("command", read::<CommandOptions>),
    ("first_of", read::<FirstOf>),
];

impl Source {
    /// A source of this kind, from options as JSON, and from what JSON cannot hold. A "function" is that input.
    ///
    /// # Errors
    /// `invalid_config` for what is not valid: it is told here, and not in the background.
    pub fn of(kind: &str, options: &str, mut inputs: Inputs) -> Result<Self, Error> {
        if let ("function", Some(function)) = (kind, inputs.function("function")) {
            return Ok(Self::function(function));
        }
        let known = SOURCES.iter().find(|(name, _)| *name == kind);
        let (_, read) = known.ok_or_else(|| invalid(format!("there is no source {kind}")))?;
        read(options, inputs)
    }
}

fn read<R: Recipe + DeserializeOwned>(options: &str, inputs: Inputs) -> Result<Source, Error> {
    Source::new(from_json::<R>(options)?, inputs)
}

/// The same source, once it has said what is not valid: here, and not when it is followed.
fn begun<S: CoreSource>(source: S) -> Result<S, Error> {
    source.begin(&source::Terms::default())?;
    Ok(source)
}

/// How something is reached over HTTP.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Connection {
    /// How long an answer may take, in seconds. By default the policy's `fetch_timeout`, 10 s, which always holds as
    /// well.
    pub timeout: Option<f64>,
    /// PEM certificates that are trusted instead of the machine's.
    pub root_certificates: Option<String>,
    /// A file that holds the trusted certificates. It is read again when it changes.
    pub root_certificates_file: Option<String>,
    /// Allows plain HTTP to other machines. Everybody on the way can read the keys.
    pub plain_http_allowed: bool,
}

/// One of several sources: which ones is an input.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct FirstOf {}

impl Recipe for FirstOf {
    fn build(&self, inputs: &mut Inputs) -> Result<Arc<dyn CoreSource>, Error> {
        let sources = inputs.sources("sources").into_iter().map(|source| source.build(false));
        Ok(Arc::new(host::first_of(sources.collect::<Result<_, _>>()?)?))
    }
}
