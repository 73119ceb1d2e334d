//! The AWS Secrets Manager Agent, which runs beside the program.

use std::{fmt, path::PathBuf};

use http::{HeaderName, Method};

use super::{
    refusal::{Refusal, code},
    versions::{Shelf, Stage, Version, by_stage},
};
use crate::{
    credential::CredentialSet,
    error::{Error, ErrorKind},
    secret::Secret,
    source::{
        BoxFuture, Fetched, Source, Terms,
        material::{MaterialPointers, material_options},
        reading::Reader,
        store_client::{Answer, Question, StoreClient, connection_options},
    },
};

/// What people call it.
const NAME: &str = "the AWS Secrets Manager Agent";
const URL: &str = "http://localhost:2773";
/// Where the agent's installation puts the token.
const TOKEN_FILE: &str = "/var/run/awssmatoken";
const TOKEN_HEADER: HeaderName = HeaderName::from_static("x-aws-parameters-secrets-token");

/// A secret behind the AWS Secrets Manager Agent, which runs beside the program and has the log-in: what stands at
/// `AWSCURRENT`, with `AWSPREVIOUS` as the fallback.
///
/// The agent keeps each stage apart, for 300 s as a rule. So when the API rejects what is held, and when something
/// changed, both stages are asked for anew (`refreshNow`), and what they show is one state.
///
/// The agent wants to see a token. It is what `AWS_TOKEN` says, as the agent reads it (`file:///path`, or the token), or
/// else what stands in `/var/run/awssmatoken`. A file is read each time, and once more when the agent rejects it.
///
/// ```
/// use keyswap::source::aws::SecretsAgent;
/// let keys = SecretsAgent::new("prod/trading").key("/api_key");
/// let keys = SecretsAgent::new("prod/trading").endpoint_url("http://localhost:2774").token_file("/run/token");
/// ```
///
/// | | |
/// | --- | --- |
/// | permissions | those of the agent: `secretsmanager:GetSecretValue` and `secretsmanager:DescribeSecret`; to read the token's file |
/// | calls | one to the agent each 300 s, which costs none to AWS while its copy is young; a rotation costs two or three that go to AWS |
/// | fallback | `AWSPREVIOUS` |
/// | rotation | as of a [`SecretsManager`](super::SecretsManager), seen when the agent's copy is too old: up to ten minutes later, or as soon as the API rejects a key |
/// | ids | VersionIds |
///
/// # Errors of a fetch
/// As those of a [`SecretsManager`](super::SecretsManager);
/// [`BootstrapRejected`](ErrorKind::BootstrapRejected) also says that the agent does not accept the token, and
/// [`Unavailable`](ErrorKind::Unavailable) that it does not run.
#[derive(Clone)]
#[must_use = "a source does nothing until it is followed"]
pub struct SecretsAgent {
    name: String,
    client: StoreClient,
    token: Token,
    path_prefix: Option<String>,
    pointers: MaterialPointers,
    /// The first thing that was said of it and is not valid.
    fault: Option<Error>,
}

/// Where the token comes from.
#[derive(Clone)]
enum Token {
    Environment(Reader),
    Given(Secret),
    File(PathBuf, Reader),
}

impl SecretsAgent {
    /// The secret of this name, or of this ARN.
    pub fn new(secret: impl Into<String>) -> Self {
        Self {
            name: secret.into(),
            client: StoreClient::at(NAME, URL, URL).expect("a URL"),
            token: Token::Environment(Reader::new()),
            path_prefix: None,
            pointers: MaterialPointers::default(),
            fault: None,
        }
    }

    /// Where the agent is: `http://localhost:2773` unless this says otherwise.
    pub fn endpoint_url(mut self, url: &str) -> Self {
        match self.client.elsewhere(NAME, url, URL) {
            Ok(client) => self.client = client,
            Err(error) => _ = self.fault.get_or_insert(error),
        }
        self
    }

    /// Shows this token.
    pub fn token(mut self, token: impl Into<Secret>) -> Self {
        self.token = Token::Given(token.into());
        self
    }

    /// Shows the token in this file, which is read each time.
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.token = Token::File(path.into(), Reader::new());
        self
    }

    /// Asks by the path, beneath the `path_prefix` that the agent was configured with, such as `/v1/`, and not at
    /// `/secretsmanager/get`.
    pub fn path_prefix(mut self, prefix: &str) -> Self {
        self.path_prefix = Some(prefix.trim_matches('/').into());
        self
    }

    connection_options!();
    material_options!();

    fn check(&self) -> Result<(), Error> {
        if !(1..=2048).contains(&self.name.trim().len()) {
            let what = "the secret has no name: pass its name or its ARN";
            return Err(Error::new(ErrorKind::InvalidConfig, what));
        }
        self.fault.clone().map_or(Ok(()), Err)?;
        self.pointers.check()
    }

    async fn ask(&self, known: Option<&CredentialSet>) -> Result<Fetched, Error> {
        self.check()?;
        by_stage(self, known, &self.pointers).await.map_err(|error| match error.status() {
            Some(_) => error,
            None => self.named(&error),
        })
    }

    /// What the agent answered about a stage. A token that it rejects is read once more.
    async fn stage(&self, stage: Stage, is_fresh: bool) -> Result<Answer, Error> {
        let token = self.token.read().await?;
        let answer = self.send(stage, is_fresh, &token).await?;
        if is_about_token(&answer) {
            let again = self.token.read().await?;
            if again != token {
                return self.send(stage, is_fresh, &again).await;
            }
        }
        Ok(answer)
    }

    async fn send(&self, stage: Stage, is_fresh: bool, token: &Secret) -> Result<Answer, Error> {
        let mut url = match &self.path_prefix {
            Some(prefix) => {
                // A name may have slashes of its own, which stand in the path as they are.
                let parts = prefix.split('/').chain(self.name.split('/'));
                self.client.url(parts.filter(|part| !part.is_empty()))
            }
            None => self.client.url(["secretsmanager", "get"]),
        };
        // The agent refuses what it does not know, so nothing else may stand here.
        if self.path_prefix.is_none() {
            url.query_pairs_mut().append_pair("secretId", &self.name);
        }
        url.query_pairs_mut().append_pair("versionStage", stage.name());
        if is_fresh {
            url.query_pairs_mut().append_pair("refreshNow", "true");
        }
        let question = Question::new(Method::GET, url).sensitive(TOKEN_HEADER, token.reveal());
        self.client.ask(question).await
    }

    fn error(&self, answer: &Answer, refusal: Refusal) -> Error {
        let secret = &self.name;
        let (kind, what) = match refusal {
            Refusal::Other if is_about_token(answer) => (
                ErrorKind::BootstrapRejected,
                format!(
                    "does not accept the token from {}: check that it is the agent's",
                    self.token
                ),
            ),
            Refusal::Other => return self.client.refusal(answer),
            Refusal::UnknownKey | Refusal::Signature | Refusal::Ended | Refusal::Clock => (
                ErrorKind::BootstrapRejected,
                "is itself not accepted by AWS: check its credentials and its clock".into(),
            ),
            Refusal::Denied | Refusal::Decryption => (
                ErrorKind::Forbidden,
                format!(
                    "may not read the secret {secret}: its role needs secretsmanager:GetSecretValue, secretsmanager:DescribeSecret, and kms:Decrypt where the secret has a key of its own"
                ),
            ),
            Refusal::Missing => (
                ErrorKind::UnknownSet,
                format!("does not know the secret {secret}: check its name and the agent's region"),
            ),
            Refusal::NotReadable => (
                ErrorKind::UnknownSet,
                format!(
                    "has the secret {secret} marked for deletion: restore it, or use another one"
                ),
            ),
            Refusal::Invalid => (
                ErrorKind::InvalidConfig,
                format!("takes {secret} for no name of a secret: check it"),
            ),
            Refusal::Throttled => {
                (ErrorKind::Throttled, "wants fewer requests: it is asked again later".into())
            }
            Refusal::Down => {
                (ErrorKind::Unavailable, "cannot answer now: it is asked again".into())
            }
        };
        self.client.error(kind, answer, &what)
    }

    /// The same error, which says of which secret it is.
    fn named(&self, error: &Error) -> Error {
        let what = format!("the secret {}: {error}", self.name);
        Error::new(error.kind(), what)
    }
}

impl Shelf for SecretsAgent {
    async fn at(&self, stage: Stage, is_fresh: bool) -> Result<Option<Version>, Error> {
        let answer = self.stage(stage, is_fresh).await?;
        if answer.status.is_success() {
            return Version::read(&self.client.value(&answer)?).map(Some);
        }
        match Refusal::of(&answer) {
            Refusal::Missing | Refusal::Denied | Refusal::Decryption
                if stage == Stage::Previous =>
            {
                Ok(None)
            }
            refusal => Err(self.error(&answer, refusal)),
        }
    }
}

/// Whether the agent itself refuses, and not AWS behind it: that one says why, in a code.
fn is_about_token(answer: &Answer) -> bool {
    matches!(answer.status.as_u16(), 401 | 403)
        && code(&answer.headers, &answer.body, |_| Some(())).is_none()
}

impl Token {
    async fn read(&self) -> Result<Secret, Error> {
        let read = match self {
            Self::Given(token) => return Ok(token.clone()),
            Self::File(path, reader) => reader.small(path.clone()).await?,
            Self::Environment(reader) => {
                let set = |name: &str| std::env::var(name).ok().filter(|it| !it.trim().is_empty());
                // The agent takes the last one in containers and functions.
                let token = set("AWS_TOKEN").or_else(|| set("AWS_SESSION_TOKEN"));
                match token.as_deref().map(|token| (token, token.strip_prefix("file://"))) {
                    Some((_, Some(path))) => reader.small(path.into()).await?,
                    Some((token, None)) => return Ok(token.trim().into()),
                    None => reader.small(TOKEN_FILE.into()).await?,
                }
            }
        };
        match std::str::from_utf8(&read).map(str::trim) {
            Ok(token) if !token.is_empty() => Ok(token.into()),
            _ => {
                let what = format!("the token of {NAME} from {self} is empty, or no text");
                Err(Error::new(ErrorKind::InvalidConfig, what))
            }
        }
    }
}

/// Where it comes from, and never what it is.
impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(_) => write!(f, "AWS_TOKEN or {TOKEN_FILE}"),
            Self::Given(_) => f.write_str("the program"),
            Self::File(path, _) => path.display().fmt(f),
        }
    }
}

impl Source for SecretsAgent {
    fn fetch<'a>(
        &'a self,
        known: Option<&'a CredentialSet>,
    ) -> BoxFuture<'a, Result<Fetched, Error>> {
        Box::pin(self.ask(known))
    }

    fn begin(&self, terms: &Terms) -> Result<(), Error> {
        self.client.begin(terms);
        self.check()
    }
}

impl fmt::Debug for SecretsAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretsAgent")
            .field("secret", &self.name)
            .field("at", &self.client.origin())
            .finish_non_exhaustive()
    }
}
