//! Any JSON endpoint.

use std::{collections::HashMap, sync::Arc};

use keyswap::{
    Error,
    source::{self, Source},
};
use serde::Deserialize;

use super::{Certificate, Connection};
use crate::{
    SecretText,
    error::invalid,
    source::{Inputs, Recipe, certified, connected, one_of, regions, told},
};

/// Any endpoint that answers with JSON, such as `{"api_key": "...", "expires_in": 3600}`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JsonOptions {
    /// The URL that is asked.
    pub url: String,
    /// A JSON pointer (RFC 6901) to the key in the answer, such as `/data/api_key`. By default `/key`.
    pub key: Option<String>,
    /// A JSON pointer to the second piece of material, named `secret`.
    pub secret: Option<String>,
    /// A JSON pointer to the third piece of material, named `passphrase`.
    pub passphrase: Option<String>,
    /// A JSON pointer to the credential's name: a text or a number that changes whenever the key does. By default it
    /// is named by a digest that says only whether it changed.
    pub id: Option<String>,
    /// A JSON pointer to the provider's version of the credential.
    pub version: Option<String>,
    /// A JSON pointer to the time at which the credential ends: RFC 3339 text, or seconds since 1970.
    pub expires_at: Option<String>,
    /// A JSON pointer to the seconds that the credential lives from the answer on. By default `/expires_in`, if that
    /// is there.
    pub expires_in: Option<String>,
    /// A JSON pointer to the object that all others begin at, but for `previous` and `generation`. By default the
    /// whole answer.
    pub within: Option<String>,
    /// A JSON pointer to the credential before, as long as it works: an object that looks like the current one, a list
    /// of at most two of them, or the key itself. It may be absent; then the last key that the API accepted stays as
    /// the fallback.
    pub previous: Option<String>,
    /// A JSON pointer to a number that rises with each change. Without it, changes are numbered here.
    pub generation: Option<String>,
    /// That each answer is a new key, made for this question: it is then asked by the life of what it made, and not
    /// polled.
    pub mints: bool,
    /// The method of the question. By default GET, or POST if there is a body.
    pub method: Option<String>,
    /// Headers of the question, which are never printed.
    pub headers: HashMap<String, SecretText>,
    /// What is sent with the question: JSON if it begins with a brace or a bracket, and a form if not, unless a header
    /// says otherwise.
    pub body: Option<SecretText>,
    /// The credential that the endpoint is asked with, as a bearer token unless `bootstrap_header` or
    /// `bootstrap_basic` says otherwise. By default there is none.
    pub bootstrap: Option<SecretText>,
    /// A file that holds the bootstrap credential. It is read at first use, and again once the endpoint rejects it.
    pub bootstrap_file: Option<String>,
    /// The header whose value the bootstrap credential is.
    pub bootstrap_header: Option<String>,
    /// That the bootstrap credential is a user and a password, with a colon between them: `Authorization: Basic`.
    pub bootstrap_basic: bool,
    /// How it is reached.
    #[serde(flatten)]
    pub connection: Connection,
    /// How it is shown who asks.
    #[serde(flatten)]
    pub certificate: Certificate,
}

impl Recipe for JsonOptions {
    fn build(&self, inputs: &mut Inputs) -> Result<Arc<dyn Source>, Error> {
        let regions = inputs.regions(Self::one)?;
        regions!(self.one(inputs)?, regions)
    }
}

impl JsonOptions {
    fn one(&self, inputs: &mut Inputs) -> Result<source::Json, Error> {
        let (function, keys) = (inputs.function("bootstrap"), inputs.keys("bootstrap")?);
        let given = self.bootstrap.is_some() || function.is_some() || keys.is_some();
        one_of("bootstrap", given, self.bootstrap_file.is_some())?;
        let json = connected!(source::Json::new(&self.url)?, &self.connection);
        let mut json = told!(certified!(json, &self.certificate), self: key, secret, passphrase, id, version, expires_at,
            expires_in, within, previous, generation, body, bootstrap, bootstrap_file);
        if self.mints {
            json = json.minting();
        }
        if let Some(method) = &self.method {
            let method = method.to_ascii_uppercase().parse();
            json = json.method(method.map_err(|_| invalid("method is not one of HTTP's"))?);
        }
        for (name, value) in &self.headers {
            json = json.header(name, value.to_core());
        }
        match (&self.bootstrap_header, self.bootstrap_basic) {
            (Some(_), true) => {
                return Err(invalid("pass bootstrap_header or bootstrap_basic, not both"));
            }
            (Some(name), false) => json = json.bootstrap_header(name),
            (None, true) => json = json.bootstrap_basic(),
            (None, false) => {}
        }
        if let Some(function) = function {
            json = json.bootstrap_fn(move || function.clone().ask());
        }
        if let Some(keys) = keys {
            json = json.bootstrap_keys(keys);
        }
        json.begin(&source::Terms::default())?;
        Ok(json)
    }
}
