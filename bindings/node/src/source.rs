//! Where sets come from.

use std::sync::Arc;

use keyswap_host::{Endpoint, Function, Json, SecretText, Source, options::from_json};
use napi::bindgen_prelude::{Function as JsFunction, *};
use napi_derive::napi;

use crate::{
    errors::{Thrown, told},
    foreign::{Answer, JsSource, Queue},
};

/// How to make a source. Options are JSON, as `keyswap-host` has them.
#[napi]
pub struct NativeSource(pub(crate) Source);

#[napi]
impl NativeSource {
    /// A rotation endpoint; `bootstrap` is a function that returns its credential, and `seen` what the program sees in
    /// the environment variable of that.
    #[napi]
    pub fn endpoint(
        options: String,
        bootstrap: Option<JsFunction<'_, Answer, ()>>,
        seen: Option<String>,
    ) -> Result<Either<NativeSource, Thrown>> {
        let bootstrap = bootstrap.as_ref().map(function).transpose()?;
        // It holds the bootstrap credential, and is wiped.
        let options = SecretText::from(options);
        let endpoint = from_json(options.reveal()).map(|options| {
            let endpoint = Endpoint::new(options, bootstrap);
            match seen {
                Some(seen) => endpoint.seeing(seen.into()),
                None => endpoint,
            }
        });
        Ok(told(endpoint.and_then(Source::endpoint).map(Self)))
    }

    /// Any JSON endpoint; `bootstrap` is a function that returns its credential.
    #[napi]
    pub fn json(
        options: String,
        bootstrap: Option<JsFunction<'_, Answer, ()>>,
    ) -> Result<Either<NativeSource, Thrown>> {
        let bootstrap = bootstrap.as_ref().map(function).transpose()?;
        // It may hold secrets, and is wiped.
        let options = SecretText::from(options);
        let json = from_json(options.reveal()).map(|options| Json::new(options, bootstrap));
        Ok(told(json.and_then(Source::json).map(Self)))
    }

    /// A command that prints a key.
    #[napi]
    pub fn command(options: String) -> Either<NativeSource, Thrown> {
        let options = SecretText::from(options);
        told(from_json(options.reveal()).and_then(Source::command).map(Self))
    }

    /// The first of these that works.
    #[napi]
    pub fn first_of(sources: Vec<ClassInstance<'_, NativeSource>>) -> Either<NativeSource, Thrown> {
        let all = sources.iter().map(|source| (source.0.clone(), false)).collect();
        told(Source::first_of(all).map(Self))
    }

    /// Regions, asked in order.
    #[napi]
    pub fn or(&self, other: &NativeSource) -> Either<NativeSource, Thrown> {
        told(self.0.or(&other.0).map(Self))
    }

    /// A file or a folder that something else keeps fresh.
    #[napi]
    pub fn file(options: String) -> Either<NativeSource, Thrown> {
        told(from_json(&options).map(Source::file).map(Self))
    }

    /// A variable of the environment, and what the program sees there.
    #[napi]
    pub fn env(options: String, seen: Option<String>) -> Either<NativeSource, Thrown> {
        told(from_json(&options).map(|options| match seen {
            Some(seen) => Self(Source::env_seen(options, seen.into())),
            None => Self(Source::env(options)),
        }))
    }

    /// The program's own function.
    #[napi]
    pub fn function(ask: JsFunction<'_, Answer, ()>) -> Result<NativeSource> {
        Ok(Self(Source::function(function(&ask)?)))
    }
}

fn function(ask: &JsFunction<'_, Answer, ()>) -> Result<Function> {
    Ok(Function::new(Arc::new(JsSource(Queue::new(ask)?))))
}
