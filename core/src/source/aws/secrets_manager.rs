//! AWS Secrets Manager.

use std::{
    fmt,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use tokio::time::timeout;

use super::{
    access::{Access, Refused, Service, access_options, region_of_arn},
    refusal::Refusal,
    replicas::Replicas,
    versions::{Shelf, Stage, TRIES, Version, by_stage, moving, set, validator},
};
use crate::{
    clock::Clock,
    credential::CredentialSet,
    error::{Error, ErrorKind},
    moment::millis,
    source::{
        BoxFuture, Fetched, Source, Terms,
        material::{MaterialPointers, material_options},
        wire::Value,
    },
};

const SERVICE: Service = Service {
    name: "AWS Secrets Manager",
    host: "secretsmanager",
    target: "secretsmanager",
    variable: "AWS_ENDPOINT_URL_SECRETS_MANAGER",
    noun: "secret",
    permission: "secretsmanager:GetSecretValue",
};

/// The most regions that one secret is looked for in.
const MOST: usize = 8;

/// A secret in AWS Secrets Manager: what stands at `AWSCURRENT`, with `AWSPREVIOUS` as the fallback.
///
/// A program logs in as AWS's own tools do: with the environment's access key, a profile, a role by web identity (EKS), a
/// `credential_process`, or what a container (ECS, EKS Pod Identity) or an instance (EC2) is given. A log-in that AWS
/// rejects is looked for anew once, so the program's own access key may rotate too.
///
/// ```
/// use keyswap::source::aws::SecretsManager;
/// // A secret that is the key, or {"api_key": "..."}.
/// let keys = SecretsManager::new("prod/trading");
///
/// // {"key": "...", "secret": "...", "note": "..."}
/// let keys = SecretsManager::new("prod/trading")
///     .region("eu-west-1")
///     .or_region("eu-central-1")
///     .key("/key")
///     .secret("/secret");
/// ```
///
/// | | |
/// | --- | --- |
/// | permissions | `secretsmanager:GetSecretValue`, and `kms:Decrypt` where the secret has a KMS key of its own; `secretsmanager:DescribeSecret` makes a poll read no values |
/// | calls | each 300 s one `DescribeSecret`; a rotation costs two `GetSecretValue` more. Without that permission: one refused call and one `GetSecretValue` a poll, three a rotation |
/// | fallback | `AWSPREVIOUS`. Where the permission is for `AWSCURRENT` alone, the last key that the API accepted |
/// | rotation | any that moves `AWSCURRENT`: a rotation function, `put-secret-value`, `update-secret-version-stage`, and the way back. `AWSPENDING` is never used: it may not work yet |
/// | ids | VersionIds |
///
/// # Errors of a fetch
/// The set that is held stays, and each says what to do. The text names the secret and the store.
///
/// | kind | when |
/// | --- | --- |
/// | [`BootstrapRejected`](ErrorKind::BootstrapRejected) | the access key is unknown or inactive, its signature does not fit, its session has ended, or this machine's clock is wrong |
/// | [`Forbidden`](ErrorKind::Forbidden) | a permission is missing, of the secret or of its KMS key |
/// | [`UnknownSet`](ErrorKind::UnknownSet) | there is no such secret in this region, it has no value, or it is marked for deletion |
/// | [`Throttled`](ErrorKind::Throttled), [`Unavailable`](ErrorKind::Unavailable), [`Timeout`](ErrorKind::Timeout) | AWS, or what gives the credentials, cannot answer now |
/// | [`Malformed`](ErrorKind::Malformed) | what is stored is no key, or nothing stands where a pointer leads |
/// | [`InvalidConfig`](ErrorKind::InvalidConfig) | there is no region, there are no credentials, or an option is not valid |
#[derive(Clone)]
#[must_use = "a source does nothing until it is followed"]
pub struct SecretsManager {
    name: String,
    access: Access,
    /// Where else it is.
    others: Vec<Other>,
    pointers: MaterialPointers,
    state: Arc<State>,
}

/// Another place that has the same secret.
#[derive(Clone)]
struct Other {
    name: String,
    access: Access,
}

#[derive(Default)]
struct State {
    terms: Mutex<Terms>,
    replicas: Mutex<Replicas>,
    /// Whether the permission to describe the secret was missing when it was needed last.
    is_undescribed: AtomicBool,
}

impl SecretsManager {
    /// The secret of this name, or of this ARN.
    pub fn new(secret: impl Into<String>) -> Self {
        Self {
            name: secret.into(),
            access: Access::new(&SERVICE),
            others: Vec::new(),
            pointers: MaterialPointers::default(),
            state: Arc::default(),
        }
    }

    /// One more region that the secret is replicated to: it is asked when all before it fail, with the same log-in and
    /// the options that were set before this. A region that failed is asked last for 30 s, doubling to 5 min. One that
    /// shows an older version than what is held has not caught up, and counts as one that fails.
    pub fn or_region(mut self, region: &str) -> Self {
        let region = region.trim();
        let mut access = self.access.clone();
        access.region = Some(region.into());
        // A full name says its region.
        let name = match region_of_arn(&self.name) {
            Some(own) => self.name.replacen(&format!(":{own}:"), &format!(":{region}:"), 1),
            None => self.name.clone(),
        };
        self.others.push(Other { name, access });
        self
    }

    /// One more place that has the same secret, with a name, a log-in and an endpoint of its own: it is asked when all
    /// before it fail. As [`or_region`](Self::or_region); how the secret is read is said here alone.
    pub fn or(mut self, other: Self) -> Self {
        self.others.push(Other { name: other.name, access: other.access });
        self.others.extend(other.others);
        self
    }

    access_options!();
    material_options!();

    fn change(mut self, change: impl FnOnce(&mut Access)) -> Self {
        change(&mut self.access);
        self
    }

    fn places(&self) -> impl ExactSizeIterator<Item = (&str, &Access)> {
        let places: Vec<_> = std::iter::once((&*self.name, &self.access))
            .chain(self.others.iter().map(|other| (&*other.name, &other.access)))
            .collect();
        places.into_iter()
    }

    fn check(&self) -> Result<(), Error> {
        let invalid = |what: &str| Err(Error::new(ErrorKind::InvalidConfig, what));
        if self.places().len() > MOST {
            return invalid("a secret is looked for in at most 8 regions");
        }
        for (name, access) in self.places() {
            if !(1..=2048).contains(&name.trim().len()) {
                return invalid("the secret has no name: pass its name or its ARN");
            }
            access.check()?;
        }
        self.pointers.check()
    }

    /// Asks one region after the other. The time that a fetch has is shared out, so that one that hangs leaves time for
    /// the others.
    async fn ask(&self, known: Option<&CredentialSet>) -> Result<Fetched, Error> {
        self.check()?;
        if self.others.is_empty() {
            return self.ask_at(&self.name, &self.access, known).await;
        }
        let clock = Clock::system();
        let now = || clock.now().boot;
        let limit = lock(&self.state.terms).policy().fetch_timeout.mul_f64(0.9);
        let end = now().saturating_add(millis(limit));
        let order = {
            let mut replicas = lock(&self.state.replicas);
            if replicas.len() != self.places().len() {
                *replicas = Replicas::new(self.places().len());
            }
            replicas.order(now())
        };
        let places: Vec<_> = self.places().collect();
        let mut errors = Vec::new();
        for (asked, region) in order.iter().copied().enumerate() {
            let (name, access) = places[region];
            let share =
                Duration::from_millis(end.saturating_sub(now()) / (order.len() - asked) as u64);
            lock(&self.state.replicas).asked(region, now());
            let outcome = match timeout(share, self.ask_at(name, access, known)).await {
                Ok(Ok(Fetched::Set(set))) if region > 0 && is_behind(&set, known) => {
                    let what =
                        format!("{} shows an older version than what is held", access.place());
                    Err(Error::new(ErrorKind::Unavailable, what))
                }
                Ok(outcome) => outcome,
                Err(_) => {
                    let what =
                        format!("{} did not answer within {share:?}, its share", access.place());
                    Err(Error::new(ErrorKind::Timeout, what))
                }
            };
            match outcome {
                Ok(fetched) => {
                    lock(&self.state.replicas).answered(region);
                    return Ok(fetched);
                }
                Err(error) => {
                    tracing::warn!(target: "keyswap", region, code = error.code(), "{error}");
                    errors.push((region, error));
                }
            }
        }
        errors.sort_by_key(|(region, _)| *region);
        let soon = errors.iter().position(|(_, error)| error.is_transient()).unwrap_or(0);
        let remark = format!("; none of {} regions answers well", errors.len());
        Err(errors.swap_remove(soon).1.with_remark(&remark))
    }

    async fn ask_at(
        &self,
        name: &str,
        access: &Access,
        known: Option<&CredentialSet>,
    ) -> Result<Fetched, Error> {
        let secret = Entry { name, access };
        if !self.state.is_undescribed.load(Ordering::Relaxed) {
            match self.by_description(&secret, known).await {
                Err(Refused { refusal: Some(Refusal::Denied), .. }) => {}
                outcome => return outcome.map_err(|refused| refused.error),
            }
        }
        // What is not allowed is asked again once something else fails: permissions come back together.
        self.state.is_undescribed.store(true, Ordering::Relaxed);
        let outcome = by_stage(&secret, known, &self.pointers).await;
        if outcome.is_err() {
            self.state.is_undescribed.store(false, Ordering::Relaxed);
        }
        outcome.map_err(|error| secret.named(error))
    }

    /// Looks at what stands where, and reads values only if that is something else.
    async fn by_description(
        &self,
        secret: &Entry<'_>,
        known: Option<&CredentialSet>,
    ) -> Result<Fetched, Refused> {
        for _ in 0..TRIES {
            let description = secret.describe().await?;
            let Some(current) = description.at(Stage::Current) else {
                let what = match description.is_deleted {
                    true => "it is marked for deletion: restore it, or use another one",
                    false => "it has no value yet, or two versions at AWSCURRENT: give it one",
                };
                return Err(secret.named(Error::new(ErrorKind::UnknownSet, what)).into());
            };
            let previous = description.at(Stage::Previous);
            let says = validator(current, previous);
            if known.is_some_and(|known| known.validator() == Some(&says)) {
                return Ok(Fetched::NotModified);
            }
            let Some(current) = secret.read(Stage::Current, Some(current)).await? else { continue };
            let previous = match previous {
                None => None,
                Some(id) => match secret.read(Stage::Previous, Some(id)).await {
                    Ok(Some(previous)) => Some(previous),
                    Ok(None) => continue,
                    // A permission may be for what is current alone.
                    Err(Refused {
                        refusal: Some(Refusal::Denied | Refusal::Decryption), ..
                    }) => None,
                    Err(refused) => return Err(refused),
                },
            };
            let set = set(&current, previous.as_ref(), &self.pointers);
            let set = set.map_err(|error| secret.named(error))?;
            return Ok(Fetched::Set(set.with_validator(&says)));
        }
        Err(secret.named(moving()).into())
    }
}

/// A secret where it is asked for.
struct Entry<'a> {
    name: &'a str,
    access: &'a Access,
}

/// What stands where.
struct Description {
    stages: Vec<(Box<str>, Vec<Box<str>>)>,
    is_deleted: bool,
}

impl Description {
    fn read(value: &Value) -> Self {
        let mut stages = Vec::new();
        if let Some(Value::Object(versions)) = value.at("/VersionIdsToStages") {
            for (id, names) in versions {
                let Value::List(names) = names else { continue };
                let names = names.iter().filter_map(|name| match name {
                    Value::Text(name) => Some(name.as_str().into()),
                    _ => None,
                });
                stages.push((id.clone(), names.collect()));
            }
        }
        Self { stages, is_deleted: value.at("/DeletedDate").is_some() }
    }

    /// The one version at this stage.
    fn at(&self, stage: Stage) -> Option<&str> {
        if self.is_deleted {
            return None;
        }
        let is_there = |names: &[Box<str>]| names.iter().any(|name| **name == *stage.name());
        let mut there = self.stages.iter().filter(|(_, names)| is_there(names));
        match (there.next(), there.next()) {
            (Some((id, _)), None) => Some(id),
            _ => None,
        }
    }
}

impl Entry<'_> {
    /// The same error, which says of which secret it is.
    fn named(&self, error: Error) -> Error {
        // What AWS itself refused says it already.
        if error.status().is_some() || error.to_string().contains(self.name) {
            return error;
        }
        let what = format!("{}: the secret {}: {error}", self.access.place(), self.name);
        match error.retry_after() {
            Some(wait) => Error::new(error.kind(), what).with_retry_after(wait),
            None => Error::new(error.kind(), what),
        }
    }

    async fn describe(&self) -> Result<Description, Refused> {
        let body = json!({ "SecretId": self.name }).to_string();
        let answer = self.access.ask("DescribeSecret", self.name, &body).await?;
        Ok(Description::read(&answer))
    }

    /// The version at this stage, if it is this one. None if it is not any more, or nothing is there.
    async fn read(&self, stage: Stage, id: Option<&str>) -> Result<Option<Version>, Refused> {
        let mut body = json!({ "SecretId": self.name, "VersionStage": stage.name() });
        if let Some(id) = id {
            body["VersionId"] = id.into();
        }
        let answer = self.access.ask("GetSecretValue", self.name, &body.to_string()).await;
        let answer = match answer {
            // AWS says so in one of several ways if a version does not stand at the stage any more.
            Err(Refused {
                refusal: Some(Refusal::Missing | Refusal::NotReadable | Refusal::Invalid),
                ..
            }) if id.is_some() => return Ok(None),
            Err(Refused { refusal: Some(Refusal::Missing), .. }) if stage == Stage::Previous => {
                return Ok(None);
            }
            answer => answer?,
        };
        let version = Version::read(&answer).map_err(|error| self.named(error))?;
        Ok(Some(version).filter(|version| id.is_none_or(|id| *version.id == *id)))
    }
}

impl Shelf for Entry<'_> {
    async fn at(&self, stage: Stage, _: bool) -> Result<Option<Version>, Error> {
        match self.read(stage, None).await {
            Ok(version) => Ok(version),
            Err(Refused { refusal: Some(Refusal::Denied | Refusal::Decryption), .. })
                if stage == Stage::Previous =>
            {
                Ok(None)
            }
            Err(refused) => Err(refused.error),
        }
    }
}

/// Whether a region other than the first has not caught up with what is held.
fn is_behind(set: &CredentialSet, known: Option<&CredentialSet>) -> bool {
    let made = |set: Option<&CredentialSet>| set?.primary()?.created_at();
    matches!((made(Some(set)), made(known)), (Some(shown), Some(held)) if shown < held)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Source for SecretsManager {
    fn fetch<'a>(
        &'a self,
        known: Option<&'a CredentialSet>,
    ) -> BoxFuture<'a, Result<Fetched, Error>> {
        Box::pin(self.ask(known))
    }

    fn begin(&self, terms: &Terms) -> Result<(), Error> {
        *lock(&self.state.terms) = terms.clone();
        for (_, access) in self.places() {
            access.client.begin(terms);
        }
        self.check()
    }
}

impl fmt::Debug for SecretsManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretsManager")
            .field("secret", &self.name)
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
    fn a_description_says_which_version_stands_where() {
        let of = |text: &str| Description::read(&read(text.as_bytes()).expect("JSON"));
        let two = of(
            r#"{"VersionIdsToStages": {"v3": ["AWSPENDING"], "v2": ["AWSCURRENT", "x"], "v1": ["AWSPREVIOUS"]}}"#,
        );
        assert_eq!((two.at(Stage::Current), two.at(Stage::Previous)), (Some("v2"), Some("v1")));
        let both = of(r#"{"VersionIdsToStages": {"v2": ["AWSCURRENT"], "v1": ["AWSCURRENT"]}}"#);
        assert_eq!(both.at(Stage::Current), None, "which one is not known");
        for none in ["{}", r#"{"VersionIdsToStages": [1]}"#, r#"{"VersionIdsToStages": {"v": 1}}"#]
        {
            assert_eq!(of(none).at(Stage::Current), None, "{none}");
        }
        let gone =
            of(r#"{"VersionIdsToStages": {"v2": ["AWSCURRENT"]}, "DeletedDate": 1764000000}"#);
        assert!(gone.is_deleted && gone.at(Stage::Current).is_none());
    }

    #[test]
    fn another_region_has_the_full_name_of_its_own() {
        let arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/trading-AbCdEf";
        let both = SecretsManager::new(arn).or_region("us-east-1");
        assert!(both.others[0].name.starts_with("arn:aws:secretsmanager:us-east-1:123456789012:"));
        assert_eq!(both.places().len(), 2);
        assert!(Arc::ptr_eq(&both.access.identity, &both.others[0].access.identity));
    }

    #[test]
    fn what_is_not_valid_is_said_when_it_begins() {
        let begin = |source: SecretsManager| source.begin(&Terms::default());
        begin(SecretsManager::new("x").region("eu-west-1")).expect("valid");
        for source in [
            SecretsManager::new(" "),
            SecretsManager::new("x").region("evil.example.com/"),
            SecretsManager::new("x").endpoint_url("ftp://x"),
            SecretsManager::new("x").key("no pointer"),
            SecretsManager::new("x").credentials("", "s3cr3t", None),
            SecretsManager::new("x").credentials("AKID", "s3cr3t\nx", None),
            SecretsManager::new("x").profile(""),
            SecretsManager::new("x").or_region("EU"),
        ] {
            let shown = format!("{source:?}");
            let error = begin(source).expect_err("it is not valid");
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            assert!(!format!("{shown} {error:?}").contains("s3cr3t"), "{error}");
        }
    }
}
