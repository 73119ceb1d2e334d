//! What the languages have in common.

use std::collections::BTreeSet;

use crate::text::Text;

/// Everything that is described.
pub(crate) struct Model {
    /// That of the workspace, and so of every package.
    pub(crate) version: String,
    pub(crate) policy: Record,
    pub(crate) errors: Vec<Error>,
    pub(crate) events: Vec<Event>,
    /// Every field that some event has.
    pub(crate) event_fields: Vec<Field>,
    pub(crate) stats: Record,
    pub(crate) sources: Vec<Source>,
    pub(crate) authorizer: Record,
    pub(crate) client: Record,
    pub(crate) keyswap: Record,
    /// Names of two words or more that comments may mention, and that some languages write in camel case.
    pub(crate) names: BTreeSet<String>,
}

impl Model {
    /// What may be said of this kind of source.
    pub(crate) fn source(&self, kind: &str) -> &Record {
        let found = self.sources.iter().find(|source| source.kind == kind);
        &found.expect("the host has it").record
    }

    /// The names of the events that have this field.
    pub(crate) fn events_with(&self, field: &str) -> Vec<&str> {
        let has = |event: &&Event| event.fields.iter().any(|one| one.name == field);
        self.events.iter().filter(has).map(|event| &*event.name).collect()
    }
}

/// A source, with what may be said of it.
pub(crate) struct Source {
    /// What the host calls it: `aws_secrets_manager`.
    pub(crate) kind: String,
    /// What classes of it are called: `AwsSecretsManager`.
    pub(crate) class: String,
    pub(crate) record: Record,
}

impl Source {
    /// Whether further ones of its kind may be given that are asked when it fails.
    pub(crate) fn has_regions(&self) -> bool {
        ["endpoint", "json"].contains(&&*self.kind)
    }

    /// Whether it is one that only the generator knows by name. The others are compared, name by name.
    pub(crate) fn is_store(&self) -> bool {
        !["endpoint", "json", "command", "file", "env"].contains(&&*self.kind)
    }

    /// What has to be given.
    pub(crate) fn subjects(&self) -> impl Iterator<Item = &Field> {
        self.record.fields.iter().filter(|field| !field.optional)
    }
}

/// A struct with its fields.
pub(crate) struct Record {
    pub(crate) doc: Text,
    pub(crate) fields: Vec<Field>,
}

/// A field, or an option.
#[derive(Clone)]
pub(crate) struct Field {
    /// As Rust and data write it: with underscores, and with the unit at the end where it is no type.
    pub(crate) name: String,
    pub(crate) doc: Text,
    pub(crate) kind: Kind,
    /// Whether it may be absent.
    pub(crate) optional: bool,
}

impl Field {
    /// The name without its unit.
    pub(crate) fn bare(&self) -> &str {
        self.name.strip_suffix("_ms").unwrap_or(&self.name)
    }

    /// The number that it is if nothing is said, by its comment: `30 s by default`.
    pub(crate) fn default(&self) -> Option<String> {
        let text = self.doc.before(" by default")?;
        let text = text.strip_suffix(" s").unwrap_or(text);
        let number = text.rsplit(' ').next()?;
        number.parse::<u32>().is_ok().then(|| number.to_owned())
    }
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Secret,
    /// A secret, or another handle that follows it.
    SecretOrKeys,
    /// A secret, or a function that returns it.
    SecretOrFunction,
    Texts,
    /// Pairs of a name and a value.
    Pairs,
    /// Names with their values, which may be secrets.
    Map,
    Truth,
    Whole,
    Share,
    /// A duration that options give in seconds.
    Seconds,
    /// Several of these.
    ManySeconds,
    /// A duration that records give in whole milliseconds.
    Millis,
    /// The same, which may be negative.
    SignedMillis,
    /// A duration that records give in whole seconds.
    WholeSeconds,
    /// A point in time, in milliseconds since 1970.
    Instant,
    /// The code of an error.
    Code,
    Policy,
    Scheme,
    Classifier,
}

/// A kind of error.
pub(crate) struct Error {
    /// As Rust writes it: `SetRevoked`.
    pub(crate) name: String,
    pub(crate) code: String,
    pub(crate) doc: Text,
}

/// A kind of event.
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) doc: Text,
    pub(crate) fields: Vec<Field>,
}
