//! Any JSON endpoint.

use keyswap::{Error, Source as _, source};

use super::{one_of, seconds};
use crate::{error::invalid, function::Function, options::JsonOptions};

/// A JSON endpoint, with what its options cannot hold.
#[derive(Clone, Debug)]
pub struct Json {
    options: JsonOptions,
    bootstrap: Option<Function>,
}

impl Json {
    /// A JSON endpoint; `bootstrap` is a function that returns its credential, called at first use and again once it
    /// is rejected.
    pub fn new(options: JsonOptions, bootstrap: Option<Function>) -> Self {
        Self { options, bootstrap }
    }

    pub(super) fn in_child(&self) -> Self {
        let bootstrap = self.bootstrap.as_ref().map(Function::in_child);
        Self { options: self.options.clone(), bootstrap }
    }

    pub(super) fn build(&self) -> Result<source::Json, Error> {
        let json = self.options.build()?;
        let Some(function) = self.bootstrap.clone() else { return Ok(json) };
        if self.options.bootstrap.is_some() || self.options.bootstrap_file.is_some() {
            return Err(invalid("pass bootstrap or bootstrap_file, not both"));
        }
        Ok(json.bootstrap_fn(move || {
            let function = function.clone();
            async move { function.call().await.map(|text| text.to_core()) }
        }))
    }
}

impl JsonOptions {
    /// The source.
    ///
    /// # Errors
    /// `invalid_config`.
    pub fn build(&self) -> Result<source::Json, Error> {
        one_of("bootstrap", &self.bootstrap, &self.bootstrap_file)?;
        one_of("root_certificates", &self.root_certificates, &self.root_certificates_file)?;
        one_of("client_certificate", &self.client_certificate, &self.client_certificate_file)?;
        type Point = fn(source::Json, &str) -> source::Json;
        let pointers: [(&Option<String>, Point); 10] = [
            (&self.key, source::Json::key),
            (&self.secret, source::Json::secret),
            (&self.passphrase, source::Json::passphrase),
            (&self.id, source::Json::id),
            (&self.version, source::Json::version),
            (&self.expires_at, source::Json::expires_at),
            (&self.expires_in, source::Json::expires_in),
            (&self.within, source::Json::within),
            (&self.previous, source::Json::previous),
            (&self.generation, source::Json::generation),
        ];
        let mut json = source::Json::new(&self.url)?;
        for (pointer, point) in pointers {
            if let Some(pointer) = pointer {
                json = point(json, pointer);
            }
        }
        if self.mints {
            json = json.minting();
        }
        if let Some(body) = &self.body {
            json = json.body(body.to_core());
        }
        if let Some(method) = &self.method {
            let method = method.to_ascii_uppercase().parse();
            json = json.method(method.map_err(|_| invalid("method is not one of HTTP's"))?);
        }
        for (name, value) in &self.headers {
            json = json.header(name, value.to_core());
        }
        if let Some(secret) = &self.bootstrap {
            json = json.bootstrap(secret.to_core());
        }
        if let Some(path) = &self.bootstrap_file {
            json = json.bootstrap_file(path);
        }
        match (&self.bootstrap_header, self.bootstrap_basic) {
            (Some(_), true) => {
                return Err(invalid("pass bootstrap_header or bootstrap_basic, not both"));
            }
            (Some(name), false) => json = json.bootstrap_header(name),
            (None, true) => json = json.bootstrap_basic(),
            (None, false) => {}
        }
        if let Some(timeout) = seconds(self.timeout, "timeout")? {
            json = json.timeout(timeout);
        }
        if let Some(pem) = &self.root_certificates {
            json = json.root_certificates(pem.as_bytes())?;
        }
        if let Some(path) = &self.root_certificates_file {
            json = json.root_certificates_file(path);
        }
        if let Some(pem) = &self.client_certificate {
            json = json.client_certificate(pem.reveal().as_bytes())?;
        }
        if let Some(path) = &self.client_certificate_file {
            json = json.client_certificate_file(path);
        }
        if self.plain_http_allowed {
            json = json.plain_http_allowed();
        }
        // What is not valid is told here, and not when it is followed.
        json.begin(&source::Terms::default())?;
        Ok(json)
    }
}
