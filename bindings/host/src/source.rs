//! Where sets come from, as a recipe: each handle, and each forked child, makes its own source from it.

use std::{any::Any, fmt, sync::Arc, time::Duration};

use keyswap::{Error, Secret, Source as CoreSource, host, source};

use crate::{
    error::invalid,
    function::Function,
    options::{EndpointOptions, EnvOptions, FileOptions},
    secret::SecretText,
};

pub use self::inputs::{Input, Inputs};

mod inputs;

/// How to make a source.
#[derive(Clone)]
pub struct Source(Kind);

#[derive(Clone)]
enum Kind {
    Made(Arc<dyn Recipe>, Inputs),
    Function(Function),
    Own(Arc<dyn CoreSource>),
}

/// What a program says of a source.
pub trait Recipe: Any + Send + Sync {
    /// A source made of it, and of those of the inputs that it knows.
    ///
    /// # Errors
    /// `invalid_config`.
    fn build(&self, inputs: &mut Inputs) -> Result<Arc<dyn CoreSource>, Error>;
}

impl Source {
    /// What is made from this recipe.
    ///
    /// # Errors
    /// `invalid_config` for what is not valid, such as a URL that is none: it is told here, and not in the background.
    pub fn new(recipe: impl Recipe, inputs: Inputs) -> Result<Self, Error> {
        let made = Self(Kind::Made(Arc::new(recipe), inputs));
        made.build(false).map(|_| made)
    }

    /// This one, and another one that is asked when all before it fail.
    ///
    /// # Errors
    /// `invalid_config` unless both are endpoints of one kind.
    pub fn or(&self, other: &Self) -> Result<Self, Error> {
        let mut all = self.clone();
        if let Kind::Made(_, inputs) = &mut all.0 {
            inputs.push("regions", other.clone());
        }
        all.build(false).map(|_| all)
    }

    /// A file or a folder that something else keeps fresh.
    pub fn file(options: FileOptions) -> Self {
        Self(Kind::Made(Arc::new(options), Inputs::default()))
    }

    /// A variable of the environment.
    pub fn env(options: EnvOptions) -> Self {
        Self(Kind::Made(Arc::new(options), Inputs::default()))
    }

    /// The program's own function.
    pub fn function(function: Function) -> Self {
        Self(Kind::Function(function))
    }

    /// A source that the binding itself implements. All handles that follow it share it.
    pub fn own(source: Arc<dyn CoreSource>) -> Self {
        Self(Kind::Own(source))
    }

    /// The same for a forked child.
    pub fn in_child(&self) -> Self {
        Self(match &self.0 {
            Kind::Made(recipe, inputs) => Kind::Made(recipe.clone(), inputs.in_child()),
            Kind::Function(function) => Kind::Function(function.in_child()),
            Kind::Own(source) => Kind::Own(source.clone()),
        })
    }

    /// A source made from it.
    ///
    /// # Errors
    /// `invalid_config`.
    pub fn build(&self, mints: bool) -> Result<Arc<dyn CoreSource>, Error> {
        match &self.0 {
            Kind::Function(function) => Ok(Arc::new(function.clone().minting(mints))),
            _ if mints => {
                let what = "mints is for a function: every other source knows it of itself";
                Err(invalid(what))
            }
            Kind::Made(recipe, inputs) => {
                let mut inputs = inputs.clone();
                let made = recipe.build(&mut inputs)?;
                inputs.check()?;
                Ok(made)
            }
            Kind::Own(source) => Ok(source.clone()),
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.build(false) {
            Ok(source) => source.fmt(f),
            Err(_) => f.write_str("Source(..)"),
        }
    }
}

/// The first of these and its regions, as one source.
macro_rules! regions {
    ($first:expr, $others:expr) => {{
        let (first, mut others) = ($first, $others.into_iter());
        let source: std::sync::Arc<dyn keyswap::Source> = match others.next() {
            None => std::sync::Arc::new(first),
            Some(second) => {
                let mut regions = first.or(second);
                for other in others {
                    regions = regions.or(other);
                }
                std::sync::Arc::new(regions)
            }
        };
        Ok(source)
    }};
}

/// Tells a builder each of these options that was given, by the function of that name.
macro_rules! told {
    ($source:expr, $options:ident: $($option:ident),+ $(,)?) => {{
        let mut source = $source;
        $(if let Some(value) = &$options.$option {
            source = source.$option($crate::source::Told::told(value));
        })+
        source
    }};
}

/// Tells a builder how what it asks is reached.
macro_rules! connected {
    ($source:expr, $options:expr) => {{
        let (mut source, options) = ($source, $options);
        let (pem, file) = (&options.root_certificates, &options.root_certificates_file);
        $crate::source::one_of("root_certificates", pem.is_some(), file.is_some())?;
        if options.plain_http_allowed {
            source = source.plain_http_allowed();
        }
        if let Some(timeout) = $crate::source::seconds(options.timeout, "timeout")? {
            source = source.timeout(timeout);
        }
        if let Some(pem) = pem {
            source = source.root_certificates(pem.as_bytes())?;
        }
        if let Some(path) = file {
            source = source.root_certificates_file(path);
        }
        source
    }};
}

/// Tells a builder the certificate that shows who asks.
macro_rules! certified {
    ($source:expr, $options:expr) => {{
        let (mut source, options) = ($source, $options);
        let (pem, file) = (&options.client_certificate, &options.client_certificate_file);
        $crate::source::one_of("client_certificate", pem.is_some(), file.is_some())?;
        if let Some(pem) = pem {
            source = source.client_certificate(pem.reveal().as_bytes())?;
        }
        if let Some(path) = file {
            source = source.client_certificate_file(path);
        }
        source
    }};
}
#[cfg(feature = "stores")]
pub(crate) use {certified, connected, regions, told};

/// What an option is to a builder.
pub(crate) trait Told {
    type As<'a>
    where
        Self: 'a;
    fn told(&self) -> Self::As<'_>;
}

impl Told for String {
    type As<'a> = &'a str;
    fn told(&self) -> &str {
        self
    }
}

impl Told for SecretText {
    type As<'a> = Secret;
    fn told(&self) -> Secret {
        self.to_core()
    }
}

impl Recipe for EndpointOptions {
    fn build(&self, inputs: &mut Inputs) -> Result<Arc<dyn CoreSource>, Error> {
        let regions = inputs.regions(Self::one)?;
        regions!(self.one(inputs)?, regions)
    }
}

impl EndpointOptions {
    // Once: it is long, and called directly and for regions.
    #[inline(never)]
    fn one(&self, inputs: &mut Inputs) -> Result<source::Endpoint, Error> {
        let (seen, function) = (inputs.seen(), inputs.function("bootstrap"));
        #[cfg(feature = "stores")]
        let keys = inputs.keys("bootstrap")?;
        #[cfg(not(feature = "stores"))]
        let keys = None::<()>;
        let (text, file) = (self.bootstrap.is_some(), self.bootstrap_file.is_some());
        let given = [text, file, function.is_some(), keys.is_some(), self.no_bootstrap];
        let given = given.into_iter().filter(|given| *given).count();
        one_of("bootstrap", given > 0, given > 1)?;
        let endpoint = certified!(connected!(source::Endpoint::new(&self.url)?, self), self);
        let mut endpoint = told!(endpoint, self: set_name, app, bootstrap, bootstrap_file);
        match (self.push, seconds(self.heartbeat, "heartbeat")?) {
            (Some(false), _) => endpoint = endpoint.no_push(),
            (_, Some(heartbeat)) => endpoint = endpoint.heartbeat(heartbeat),
            _ => {}
        }
        if let Some(key) = &self.signed_by {
            endpoint = endpoint.signed_by(key)?;
        }
        if self.no_bootstrap {
            endpoint = endpoint.no_bootstrap();
        }
        if let Some(function) = function {
            endpoint = endpoint.bootstrap_fn(move || function.clone().ask());
        } else if let (Some(seen), 0) = (seen, given) {
            endpoint = host::bootstrap_seen(endpoint, seen.to_core());
        }
        #[cfg(feature = "stores")]
        if let Some(keys) = keys {
            endpoint = endpoint.bootstrap_keys(keys);
        }
        Ok(endpoint)
    }
}

impl Recipe for FileOptions {
    fn build(&self, _: &mut Inputs) -> Result<Arc<dyn CoreSource>, Error> {
        Ok(Arc::new(source::File::new(&self.path)))
    }
}

impl Recipe for EnvOptions {
    fn build(&self, inputs: &mut Inputs) -> Result<Arc<dyn CoreSource>, Error> {
        let env = told!(source::Env::new(&self.variable), self: id);
        Ok(Arc::new(match inputs.seen() {
            Some(seen) => host::variable_seen(env, seen.to_core()),
            None => env,
        }))
    }
}

pub(crate) fn one_of(what: &str, given: bool, file: bool) -> Result<(), Error> {
    match given && file {
        true => Err(invalid(format!("pass {what} or {what}_file, not both"))),
        false => Ok(()),
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
        Source::new(options, Inputs::default())
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
    fn each_is_made_by_its_name() {
        let of = |kind, json: &str| Source::of(kind, json, Inputs::default());
        let region =
            |url: &str| of("json", &format!(r#"{{"url": "{url}", "headers": {{"x": "s3cr3t"}}}}"#));
        let regions = |all| Inputs::default().with("regions", Input::Sources(all));
        let (here, json) =
            (region("https://a.example.com").expect("one"), r#"{"url": "https://b.example.com"}"#);
        let there =
            Source::of("json", json, regions(vec![here.clone(), here.clone()])).expect("regions");
        assert!(there.in_child().build(false).is_ok());
        assert!(!format!("{here:?} {there:?}").contains("s3cr3t"));
        let endpoint = of("endpoint", json).expect("an endpoint");
        for other in [there, endpoint.clone(), Source::file(FileOptions { path: "x".into() })] {
            let error = Source::of("json", json, regions(vec![other])).expect_err("a region");
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        }
        assert!(Source::of("file", r#"{"path": "x"}"#, regions(vec![endpoint])).is_err());
        for (kind, odd) in [
            ("json", r#"{"url": "https://a.example.com", "key": "x"}"#),
            ("json", r#"{"url": "https://a.example.com", "method": "a b"}"#),
            ("json", r#"{"url": "https://a.example.com", "headers": {"a b": "x"}}"#),
            (
                "json",
                r#"{"url": "https://a.example.com", "bootstrap": "x", "bootstrap_file": "y"}"#,
            ),
            (
                "json",
                r#"{"url": "https://a.example.com", "bootstrap_header": "x", "bootstrap_basic": true}"#,
            ),
            ("json", r#"{"url": "https://a.example.com", "uri": "s3cr3t"}"#),
            ("json", r#"{"url": "https://a.example.com", "timeout": "s3cr3t"}"#),
            ("json", r#"{"url": "x"}"#),
            ("first_of", "{}"),
            ("function", "{}"),
            ("nothing", "{}"),
        ] {
            let error = of(kind, odd).expect_err(odd);
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
            assert!(!error.to_string().contains("s3cr3t"), "{error}");
        }
    }

    #[cfg(feature = "stores")]
    #[test]
    fn a_source_may_stand_in_for_another() {
        let one = endpoint(at("https://a.example.com/x")).expect("a source");
        let file = Source::file(FileOptions { path: "/run/x".into() });
        let of = |all| {
            Source::of("first_of", "{}", Inputs::default().with("sources", Input::Sources(all)))
        };
        let both = of(vec![one, file.clone()]).expect("both");
        assert!(both.in_child().build(false).is_ok());
        assert!(of(vec![file; 17]).is_err(), "too many");
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
