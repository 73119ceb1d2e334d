//! Where sets come from, as a recipe: each handle, and each forked child, makes its own source from it.

#[cfg(feature = "command")]
mod command;
#[cfg(feature = "stores")]
mod json;

use std::{fmt, sync::Arc, time::Duration};

use keyswap::{Error, Source as CoreSource, host, source};

#[cfg(feature = "command")]
use crate::options::CommandOptions;
use crate::{
    error::invalid,
    function::Function,
    options::{EndpointOptions, EnvOptions, FileOptions},
    secret::SecretText,
};

#[cfg(feature = "stores")]
pub use self::json::Json;

/// How to make a source.
#[derive(Clone)]
pub struct Source(Kind);

#[derive(Clone)]
enum Kind {
    /// Regions, in the order in which they are asked.
    Endpoints(Vec<Endpoint>),
    /// The same.
    #[cfg(feature = "stores")]
    Jsons(Vec<Json>),
    #[cfg(feature = "command")]
    Command(CommandOptions),
    File(FileOptions),
    Env(EnvOptions, Option<SecretText>),
    Function(Function),
    /// Each with whether it mints.
    #[cfg(feature = "stores")]
    FirstOf(Vec<(Source, bool)>),
    Own(Arc<dyn CoreSource>),
}

/// A rotation endpoint, with what its options cannot hold.
#[derive(Clone, Debug)]
pub struct Endpoint {
    options: EndpointOptions,
    bootstrap: Option<Function>,
    seen: Option<SecretText>,
}

impl Source {
    /// A rotation endpoint.
    ///
    /// # Errors
    /// `invalid_config` for what is not valid, such as a URL that is none: it is told here, and not in the background.
    pub fn endpoint(endpoint: Endpoint) -> Result<Self, Error> {
        let _ = endpoint.build()?;
        Ok(Self(Kind::Endpoints(vec![endpoint])))
    }

    /// This endpoint, and another one that is asked when all before it fail.
    ///
    /// # Errors
    /// `invalid_config` unless both are endpoints of one kind.
    pub fn or(&self, other: &Self) -> Result<Self, Error> {
        match (&self.0, &other.0) {
            (Kind::Endpoints(all), Kind::Endpoints(other)) if other.len() == 1 => {
                Ok(Self(Kind::Endpoints(all.iter().chain(other).cloned().collect())))
            }
            #[cfg(feature = "stores")]
            (Kind::Jsons(all), Kind::Jsons(other)) if other.len() == 1 => {
                Ok(Self(Kind::Jsons(all.iter().chain(other).cloned().collect())))
            }
            (Kind::Endpoints(_), Kind::Endpoints(_)) => Err(nested()),
            #[cfg(feature = "stores")]
            (Kind::Jsons(_), Kind::Jsons(_)) => Err(nested()),
            #[cfg(feature = "stores")]
            (Kind::Endpoints(_), Kind::Jsons(_)) | (Kind::Jsons(_), Kind::Endpoints(_)) => {
                Err(invalid("a region must be an endpoint of the same kind as the first"))
            }
            _ => Err(invalid("only endpoints have regions")),
        }
    }

    /// Any JSON endpoint.
    ///
    /// # Errors
    /// `invalid_config`, as for an endpoint.
    #[cfg(feature = "stores")]
    pub fn json(json: Json) -> Result<Self, Error> {
        let _ = json.build()?;
        Ok(Self(Kind::Jsons(vec![json])))
    }

    /// A command that prints a key.
    ///
    /// # Errors
    /// `invalid_config`. That there is no such program shows at the first fetch.
    #[cfg(feature = "command")]
    pub fn command(options: CommandOptions) -> Result<Self, Error> {
        let _ = options.build()?;
        Ok(Self(Kind::Command(options)))
    }

    /// A file or a folder that something else keeps fresh.
    pub fn file(options: FileOptions) -> Self {
        Self(Kind::File(options))
    }

    /// A variable of the environment.
    pub fn env(options: EnvOptions) -> Self {
        Self(Kind::Env(options, None))
    }

    /// The same, which holds this where the program looks: it may have an environment of its own.
    pub fn env_seen(options: EnvOptions, value: SecretText) -> Self {
        Self(Kind::Env(options, Some(value)))
    }

    /// The program's own function.
    pub fn function(function: Function) -> Self {
        Self(Kind::Function(function))
    }

    /// The first of these that works. Of each it is said whether it mints.
    ///
    /// # Errors
    /// `invalid_config` if there are none, or too many.
    #[cfg(feature = "stores")]
    pub fn first_of(sources: Vec<(Source, bool)>) -> Result<Self, Error> {
        let made = Self(Kind::FirstOf(sources));
        let _ = made.build(false)?;
        Ok(made)
    }

    /// A source that the binding itself implements. All handles that follow it share it.
    pub fn own(source: Arc<dyn CoreSource>) -> Self {
        Self(Kind::Own(source))
    }

    /// The same for a forked child.
    pub fn in_child(&self) -> Self {
        Self(match &self.0 {
            Kind::Function(function) => Kind::Function(function.in_child()),
            Kind::Endpoints(all) => Kind::Endpoints(all.iter().map(Endpoint::in_child).collect()),
            #[cfg(feature = "stores")]
            Kind::Jsons(all) => Kind::Jsons(all.iter().map(Json::in_child).collect()),
            #[cfg(feature = "stores")]
            Kind::FirstOf(all) => Kind::FirstOf(
                all.iter().map(|(source, mints)| (source.in_child(), *mints)).collect(),
            ),
            other => other.clone(),
        })
    }

    /// A source made from it.
    ///
    /// # Errors
    /// `invalid_config`.
    pub fn build(&self, mints: bool) -> Result<Arc<dyn CoreSource>, Error> {
        if mints && !matches!(self.0, Kind::Function(_)) {
            let what = "mints is for a function: the other sources read what stands somewhere";
            return Err(invalid(what));
        }
        Ok(match &self.0 {
            Kind::Endpoints(all) => match all.as_slice() {
                [one] => Arc::new(one.build()?),
                all => regions(all)?,
            },
            #[cfg(feature = "stores")]
            Kind::Jsons(all) => match all.as_slice() {
                [one] => Arc::new(one.build()?),
                [first, second, more @ ..] => {
                    let mut regions = first.build()?.or(second.build()?);
                    for region in more {
                        regions = regions.or(region.build()?);
                    }
                    Arc::new(regions)
                }
                [] => return Err(invalid("no endpoint is given")),
            },
            #[cfg(feature = "command")]
            Kind::Command(options) => Arc::new(options.build()?),
            Kind::File(options) => Arc::new(options.build()),
            Kind::Env(options, None) => Arc::new(options.build()),
            Kind::Env(options, Some(seen)) => {
                Arc::new(host::variable_seen(options.build(), seen.to_core()))
            }
            Kind::Function(function) => Arc::new(function.clone().minting(mints)),
            #[cfg(feature = "stores")]
            Kind::FirstOf(all) => {
                let sources = all.iter().map(|(source, mints)| source.build(*mints));
                Arc::new(host::first_of(sources.collect::<Result<_, _>>()?)?)
            }
            Kind::Own(source) => source.clone(),
        })
    }
}

fn nested() -> Error {
    invalid("a region has no regions of its own: list them all in one place")
}

fn regions(all: &[Endpoint]) -> Result<Arc<dyn CoreSource>, Error> {
    let [first, second, more @ ..] = all else { return Err(invalid("no endpoint is given")) };
    let mut regions = first.build()?.or(second.build()?);
    for region in more {
        regions = regions.or(region.build()?);
    }
    Ok(Arc::new(regions))
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.build(false) {
            Ok(source) => source.fmt(f),
            Err(_) => f.write_str("Source(..)"),
        }
    }
}

impl Endpoint {
    /// An endpoint; `bootstrap` is a function that returns its credential, called at first use and again once it is
    /// rejected.
    pub fn new(options: EndpointOptions, bootstrap: Option<Function>) -> Self {
        Self { options, bootstrap, seen: None }
    }

    /// The environment variable of the bootstrap credential holds this where the program looks: it may have an
    /// environment of its own.
    pub fn seeing(self, value: SecretText) -> Self {
        Self { seen: Some(value), ..self }
    }

    fn in_child(&self) -> Self {
        let bootstrap = self.bootstrap.as_ref().map(Function::in_child);
        Self { options: self.options.clone(), bootstrap, seen: self.seen.clone() }
    }

    fn build(&self) -> Result<source::Endpoint, Error> {
        let mut endpoint = self.options.build()?;
        if let Some(function) = self.bootstrap.clone() {
            self.options.check_bootstrap(true)?;
            endpoint = endpoint.bootstrap_fn(move || {
                let function = function.clone();
                async move { function.call().await.map(|text| text.to_core()) }
            });
        } else if let Some(seen) = self.seen.as_ref().filter(|_| self.options.asks_environment()) {
            endpoint = host::bootstrap_seen(endpoint, seen.to_core());
        }
        Ok(endpoint)
    }
}

impl EndpointOptions {
    /// The endpoint.
    ///
    /// # Errors
    /// `invalid_config`.
    pub fn build(&self) -> Result<source::Endpoint, Error> {
        self.check_bootstrap(false)?;
        one_of("root_certificates", &self.root_certificates, &self.root_certificates_file)?;
        one_of("client_certificate", &self.client_certificate, &self.client_certificate_file)?;
        let mut endpoint = source::Endpoint::new(&self.url)?;
        if self.plain_http_allowed {
            endpoint = endpoint.plain_http_allowed();
        }
        if let Some(timeout) = seconds(self.timeout, "timeout")? {
            endpoint = endpoint.timeout(timeout);
        }
        match (self.push, seconds(self.heartbeat, "heartbeat")?) {
            (Some(false), _) => endpoint = endpoint.no_push(),
            (_, Some(heartbeat)) => endpoint = endpoint.heartbeat(heartbeat),
            _ => {}
        }
        if let Some(key) = &self.signed_by {
            endpoint = endpoint.signed_by(key)?;
        }
        if let Some(name) = &self.set_name {
            endpoint = endpoint.set_name(name);
        }
        if let Some(pem) = &self.root_certificates {
            endpoint = endpoint.root_certificates(pem.as_bytes())?;
        }
        if let Some(path) = &self.root_certificates_file {
            endpoint = endpoint.root_certificates_file(path);
        }
        if let Some(pem) = &self.client_certificate {
            endpoint = endpoint.client_certificate(pem.reveal().as_bytes())?;
        }
        if let Some(path) = &self.client_certificate_file {
            endpoint = endpoint.client_certificate_file(path);
        }
        if let Some(app) = &self.app {
            endpoint = endpoint.app(app);
        }
        if let Some(secret) = &self.bootstrap {
            endpoint = endpoint.bootstrap(secret.to_core());
        }
        if let Some(path) = &self.bootstrap_file {
            endpoint = endpoint.bootstrap_file(path);
        }
        if self.no_bootstrap {
            endpoint = endpoint.no_bootstrap();
        }
        Ok(endpoint)
    }

    fn asks_environment(&self) -> bool {
        self.bootstrap.is_none() && self.bootstrap_file.is_none() && !self.no_bootstrap
    }

    fn check_bootstrap(&self, function: bool) -> Result<(), Error> {
        let said =
            [self.bootstrap.is_some(), self.bootstrap_file.is_some(), self.no_bootstrap, function];
        match said.into_iter().filter(|said| *said).count() {
            0 | 1 => Ok(()),
            _ => Err(invalid("pass bootstrap or bootstrap_file, not both")),
        }
    }
}

impl FileOptions {
    /// The source.
    pub fn build(&self) -> source::File {
        source::File::new(&self.path)
    }
}

impl EnvOptions {
    /// The source.
    pub fn build(&self) -> source::Env {
        let env = source::Env::new(&self.variable);
        match &self.id {
            Some(id) => env.id(id),
            None => env,
        }
    }
}

fn one_of<A, B>(what: &str, given: &Option<A>, file: &Option<B>) -> Result<(), Error> {
    match (given, file) {
        (Some(_), Some(_)) => Err(invalid(format!("pass {what} or {what}_file, not both"))),
        _ => Ok(()),
    }
}

/// Seconds as options have them.
///
/// # Errors
/// `invalid_config` if that is no duration.
pub fn seconds(seconds: Option<f64>, what: &str) -> Result<Option<Duration>, Error> {
    let read = |seconds| {
        Duration::try_from_secs_f64(seconds)
            .map_err(|_| invalid(format!("{what} must be a number of seconds, zero or more")))
    };
    seconds.map(read).transpose()
}

#[cfg(test)]
mod tests {
    use keyswap::ErrorKind;

    use super::*;

    fn at(url: &str) -> EndpointOptions {
        EndpointOptions { url: url.into(), ..EndpointOptions::default() }
    }

    fn endpoint(options: EndpointOptions) -> Result<Source, Error> {
        Source::endpoint(Endpoint::new(options, None))
    }

    #[test]
    fn what_is_not_valid_is_told_at_once() {
        let odd = [
            at("keys.example.com"),
            EndpointOptions { timeout: Some(-1.0), ..at("https://keys.example.com/x") },
            EndpointOptions { heartbeat: Some(f64::NAN), ..at("https://keys.example.com/x") },
            EndpointOptions { signed_by: Some("x".into()), ..at("https://keys.example.com/x") },
            EndpointOptions {
                bootstrap: Some("a".into()),
                bootstrap_file: Some("b".into()),
                ..at("https://keys.example.com/x")
            },
            EndpointOptions {
                client_certificate: Some("a".into()),
                client_certificate_file: Some("b".into()),
                ..at("https://keys.example.com/x")
            },
        ];
        for options in odd {
            let error = endpoint(options).expect_err("odd");
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        }
    }

    #[test]
    fn regions_are_endpoints_in_one_list() {
        let one = endpoint(at("https://a.example.com/x")).expect("a source");
        let two = endpoint(at("https://b.example.com/x")).expect("a source");
        let both = one.or(&two).expect("regions");
        let three = both.or(&one).expect("regions");
        assert!(three.build(false).is_ok() && three.in_child().build(false).is_ok());
        assert!(one.or(&both).is_err(), "a region has none of its own");
        let env = Source::env(EnvOptions { variable: "X".into(), id: None });
        assert!(env.or(&one).is_err() && one.or(&env).is_err());
        assert!(env.build(true).is_err(), "only a function mints");
    }

    #[cfg(feature = "stores")]
    #[test]
    fn regions_may_be_json_endpoints() {
        let one = endpoint(at("https://a.example.com/x")).expect("a source");
        let json = |options: &str| {
            Source::json(Json::new(crate::options::from_json(options).expect("options"), None))
        };
        let here = json(r#"{"url": "https://a.example.com", "headers": {"x": "s3cr3t"}}"#);
        let here = here.expect("a source");
        let there = here.or(&here).expect("regions").or(&here).expect("regions");
        assert!(there.in_child().build(false).is_ok() && here.or(&one).is_err());
        assert!(!format!("{here:?} {there:?}").contains("s3cr3t"));
        for odd in [
            r#"{"url": "https://a.example.com", "key": "x"}"#,
            r#"{"url": "https://a.example.com", "method": "a b"}"#,
            r#"{"url": "https://a.example.com", "headers": {"a b": "x"}}"#,
            r#"{"url": "https://a.example.com", "bootstrap": "x", "bootstrap_file": "y"}"#,
            r#"{"url": "https://a.example.com", "bootstrap_header": "x", "bootstrap_basic": true}"#,
            r#"{"url": "x"}"#,
        ] {
            assert_eq!(json(odd).expect_err(odd).kind(), ErrorKind::InvalidConfig);
        }
    }

    #[test]
    fn a_source_may_stand_in_for_another() {
        let one = endpoint(at("https://a.example.com/x")).expect("a source");
        let file = Source::file(FileOptions { path: "/run/x".into() });
        let both = Source::first_of(vec![(one, false), (file.clone(), false)]).expect("both");
        assert!(both.in_child().build(false).is_ok());
        assert!(Source::first_of(Vec::new()).is_err(), "none");
        assert!(Source::first_of(vec![(file.clone(), false); 17]).is_err(), "too many");
        assert!(Source::first_of(vec![(file, true)]).is_err(), "a file mints nothing");
    }

    #[test]
    fn a_source_is_made_as_often_as_it_is_followed() {
        let options =
            EndpointOptions { bootstrap: Some("s3cr3t".into()), ..at("https://a.example.com/x") };
        let source = endpoint(options).expect("a source");
        assert!(source.build(false).is_ok() && source.build(false).is_ok());
        assert!(!format!("{source:?}").contains("s3cr3t"));
    }
}
