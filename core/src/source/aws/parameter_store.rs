//! The Parameter Store of AWS Systems Manager.

use std::{fmt, future::Future};

use serde_json::json;
use zeroize::Zeroizing;

use super::{
    access::{Access, Refused, Service, access_options},
    refusal::Refusal,
    versions::{instant, named},
};
use crate::{
    credential::{Credential, CredentialSet},
    error::{Error, ErrorKind},
    source::{
        BoxFuture, Fetched, Source, Terms,
        material::{MaterialPointers, material_options, set_of},
        wire::Value,
    },
};

const SERVICE: Service = Service {
    name: "the AWS Parameter Store",
    host: "ssm",
    target: "AmazonSSM",
    variable: "AWS_ENDPOINT_URL_SSM",
    noun: "parameter",
    permission: "ssm:GetParameter",
};

/// A parameter in the Parameter Store of AWS Systems Manager, a `SecureString` as a rule: its newest version, with the
/// one before as the fallback.
///
/// A program logs in as for a [`SecretsManager`](super::SecretsManager).
///
/// ```
/// use keyswap::source::aws::ParameterStore;
/// let keys = ParameterStore::new("/prod/trading/key").region("eu-west-1");
///
/// // Versions are put there first, and taken into use by their labels.
/// let keys = ParameterStore::new("/prod/trading/key").label("live").previous_label("before");
/// ```
///
/// | | |
/// | --- | --- |
/// | permissions | `ssm:GetParameter`, and `kms:Decrypt` where it is encrypted with a KMS key of your own |
/// | calls | one `GetParameter` each 300 s; a rotation costs one more |
/// | fallback | the version before the newest; with a [`label`](Self::label), what has the [`previous_label`](Self::previous_label). Where there is none, the last key that the API accepted |
/// | rotation | `put-parameter --overwrite`; or, with a label, `label-parameter-version` |
/// | ids | the number of the version and the time at which it was made: a parameter that was deleted and made again counts from 1 |
///
/// # Errors of a fetch
/// As those of a [`SecretsManager`](super::SecretsManager).
#[derive(Clone)]
#[must_use = "a source does nothing until it is followed"]
pub struct ParameterStore {
    name: String,
    label: Option<String>,
    previous_label: Option<String>,
    access: Access,
    pointers: MaterialPointers,
}

impl ParameterStore {
    /// The parameter of this name, or of this ARN if another account shares it.
    pub fn new(parameter: impl Into<String>) -> Self {
        Self {
            name: parameter.into(),
            label: None,
            previous_label: None,
            access: Access::new(&SERVICE),
            pointers: MaterialPointers::default(),
        }
    }

    /// Reads the version that has this label, and not the newest.
    pub fn label(mut self, label: &str) -> Self {
        self.label = Some(label.trim().into());
        self
    }

    /// Falls back on the version that has this label.
    pub fn previous_label(mut self, label: &str) -> Self {
        self.previous_label = Some(label.trim().into());
        self
    }

    access_options!();
    material_options!();

    fn change(mut self, change: impl FnOnce(&mut Access)) -> Self {
        change(&mut self.access);
        self
    }

    fn check(&self) -> Result<(), Error> {
        let invalid = |what: &str| Err(Error::new(ErrorKind::InvalidConfig, what));
        if !(1..=2048).contains(&self.name.trim().len()) {
            return invalid("the parameter has no name: pass its name or its ARN");
        }
        if self.name.contains(':') && !self.name.starts_with("arn:") {
            return invalid("the parameter's name says a version: leave it out, or use `label`");
        }
        let is_label = |label: &String| {
            let is_part = |it: u8| it.is_ascii_alphanumeric() || b"._-".contains(&it);
            !label.starts_with(|it: char| it.is_ascii_digit())
                && (1..=100).contains(&label.len())
                && label.bytes().all(is_part)
        };
        if !self.label.iter().chain(&self.previous_label).all(is_label) {
            return invalid(
                "the label of a parameter has letters, digits, ., - and _, and no digit first",
            );
        }
        self.access.check()?;
        self.pointers.check()
    }

    async fn ask(&self, known: Option<&CredentialSet>) -> Result<Fetched, Error> {
        self.check()?;
        let newest = self.read(self.label.as_deref()).await.map_err(|refused| refused.error)?;
        let older = match (&self.label, &self.previous_label) {
            // Which one has a label may change alone.
            (_, Some(label)) => self.older(label).await?,
            // Versions never change, so the one before the newest is the same as long as that is.
            (None, None) if !is_held(known, &newest) && newest.number > 1 => {
                self.older(&(newest.number - 1).to_string()).await?
            }
            _ => None,
        };
        let says = match (&self.previous_label, &older) {
            (Some(_), Some(older)) => format!("{}/{}", newest.id(), older.id()),
            (Some(_), None) => format!("{}/", newest.id()),
            (None, _) => newest.id(),
        };
        if known.is_some_and(|known| known.validator() == Some(&says)) {
            return Ok(Fetched::NotModified);
        }
        let first = newest.credential(&self.pointers).map_err(|error| self.named(&error))?;
        // An older one that is no key is none to fall back on.
        let second = older.and_then(|older| older.credential(&self.pointers).ok());
        let set = set_of([first].into_iter().chain(second)).map_err(|error| self.named(&error))?;
        Ok(Fetched::Set(set.with_validator(&says)))
    }

    async fn older(&self, selector: &str) -> Result<Option<Parameter>, Error> {
        match self.read(Some(selector)).await {
            Ok(older) => Ok(Some(older)),
            // It was deleted, was never labelled, or this is not allowed.
            Err(Refused {
                refusal: Some(Refusal::Missing | Refusal::Denied | Refusal::Decryption),
                ..
            }) => Ok(None),
            Err(refused) => Err(refused.error),
        }
    }

    /// The newest version, or the one that has this number or label.
    async fn read(&self, selector: Option<&str>) -> Result<Parameter, Refused> {
        let name = match selector {
            Some(selector) => format!("{}:{selector}", self.name),
            None => self.name.clone(),
        };
        let body = json!({ "Name": name, "WithDecryption": true }).to_string();
        let answer = self.access.ask("GetParameter", &name, &body).await?;
        Ok(Parameter::read(&answer).map_err(|error| self.named(&error))?)
    }

    /// The same error, which says of which parameter it is.
    fn named(&self, error: &Error) -> Error {
        let what = format!("{}: the parameter {}: {error}", self.access.place(), self.name);
        Error::new(error.kind(), what)
    }
}

/// One version of a parameter.
struct Parameter {
    number: u64,
    made: Option<jiff::Timestamp>,
    value: Zeroizing<String>,
}

impl Parameter {
    fn read(answer: &Value) -> Result<Self, Error> {
        match (answer.at("/Parameter/Value"), answer.at("/Parameter/Version")) {
            (Some(Value::Text(value)), Some(Value::Whole(number))) => Ok(Self {
                number: *number,
                made: answer.at("/Parameter/LastModifiedDate").and_then(instant),
                value: value.clone(),
            }),
            _ => Err(Error::new(ErrorKind::Malformed, "it has no Value and Version")),
        }
    }

    fn id(&self) -> String {
        match self.made {
            Some(made) => format!("{}-{}", self.number, made.as_second()),
            None => self.number.to_string(),
        }
    }

    fn credential(&self, pointers: &MaterialPointers) -> Result<Credential, Error> {
        let credential = pointers.in_text(&self.id(), &self.value)?;
        let credential = named(credential, &self.number.to_string());
        Ok(match self.made {
            Some(made) => credential.with_created_at(made),
            None => credential,
        })
    }
}

/// Whether what is held is of this version, and no rejection asks for more.
fn is_held(known: Option<&CredentialSet>, newest: &Parameter) -> bool {
    known.is_some_and(|known| known.validator() == Some(&newest.id()))
}

impl Source for ParameterStore {
    fn fetch<'a>(
        &'a self,
        known: Option<&'a CredentialSet>,
    ) -> BoxFuture<'a, Result<Fetched, Error>> {
        Box::pin(self.ask(known))
    }

    fn begin(&self, terms: &Terms) -> Result<(), Error> {
        self.access.client.begin(terms);
        self.check()
    }
}

impl fmt::Debug for ParameterStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParameterStore")
            .field("parameter", &self.name)
            .field("region", &self.access.region)
            .field("identity", &self.access.identity)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::wire::read;

    #[test]
    fn a_version_is_named_by_its_number_and_its_time() {
        let of = |text: &str| Parameter::read(&read(text.as_bytes()).expect("JSON"));
        let one = of(
            r#"{"Parameter": {"Value": "s3cr3t", "Version": 3, "LastModifiedDate": 1764000000.25}}"#,
        );
        assert_eq!(one.expect("a version").id(), "3-1764000000");
        let bare = of(r#"{"Parameter": {"Value": "s3cr3t", "Version": 3}}"#).expect("a version");
        assert_eq!(bare.id(), "3");
        for odd in ["{}", r#"{"Parameter": {"Value": "s3cr3t"}}"#] {
            assert!(!of(odd).err().expect("no version").to_string().contains("s3cr3t"));
        }
    }

    #[test]
    fn what_is_not_valid_is_said_when_it_begins() {
        let begin = |source: ParameterStore| source.begin(&Terms::default());
        begin(ParameterStore::new("/a/b").label("live").previous_label("old.1")).expect("valid");
        begin(ParameterStore::new("arn:aws:ssm:eu-west-1:1:parameter/a")).expect("valid");
        for source in [
            ParameterStore::new(""),
            ParameterStore::new("/a/b:3"),
            ParameterStore::new("/a/b").label("3rd"),
            ParameterStore::new("/a/b").previous_label("a b"),
        ] {
            let error = begin(source).expect_err("it is not valid");
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        }
    }
}
