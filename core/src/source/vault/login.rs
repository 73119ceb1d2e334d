//! How a program shows who it is, and what it is given for that.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use http::StatusCode;
use zeroize::Zeroizing;

use super::{
    Vault,
    answer::{seconds, text},
    session::lock,
};
use crate::{
    error::{Error, ErrorKind},
    secret::Secret,
    source::{reading::Reader, store_client::Answer, wire::Value},
};

/// The ways to log in.
#[derive(Clone)]
pub(super) enum Login {
    None,
    Token(Given),
    AppRole { role_id: Secret, secret_id: SecretId },
    Jwt { role: Box<str>, token: Given },
    Kubernetes { role: Box<str>, token: Given },
}

/// What a program was given, or finds in a file.
#[derive(Clone)]
pub(super) enum Given {
    Secret(Secret),
    File(PathBuf, Reader),
}

#[derive(Clone)]
pub(super) enum SecretId {
    Given(Secret),
    File(PathBuf, Reader),
    /// The token that holds it, and, once that was unwrapped, the last such token with what it held.
    Wrapped(Given, Arc<Mutex<Option<(Secret, Secret)>>>),
}

/// What a log-in gives.
pub(super) struct Grant {
    pub(super) token: Secret,
    pub(super) policies: Vec<Box<str>>,
    /// None if it has no end, or none that is known.
    pub(super) life: Option<Duration>,
}

impl Grant {
    /// What stands in the answer to a log-in or a renewal.
    pub(super) fn of(value: &Value) -> Option<Self> {
        let token = Secret::from(text(value, "/auth/client_token")?);
        let life = seconds(value, "/auth/lease_duration");
        Some(Self { token, policies: policies(value.at("/auth/policies")), life })
    }
}

fn policies(value: Option<&Value>) -> Vec<Box<str>> {
    let Some(Value::List(names)) = value else { return Vec::new() };
    let name = |value: &Value| match value {
        Value::Text(name) => Some(name.as_str().into()),
        _ => None,
    };
    let mut names: Vec<_> = names.iter().filter_map(name).collect();
    names.sort_unstable();
    names
}

impl Given {
    async fn read(&self) -> Result<Secret, Error> {
        let secret = match self {
            Self::Secret(secret) => Secret::from(secret.reveal().trim()),
            Self::File(path, reader) => read(path, reader).await?,
        };
        if !secret.reveal().is_empty() {
            return Ok(secret);
        }
        let kind = match self {
            Self::Secret(_) => ErrorKind::InvalidConfig,
            // Whoever writes it may be about to.
            Self::File(..) => ErrorKind::Unavailable,
        };
        let what = format!("what this program logs in to Vault with is empty: it is {self}");
        Err(Error::new(kind, what))
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::Secret(secret) if secret.reveal().trim().is_empty())
    }
}

async fn read(path: &Path, reader: &Reader) -> Result<Secret, Error> {
    let bytes = reader.small(path.to_path_buf()).await?;
    let text = Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned());
    Ok(Secret::from(text.trim()))
}

/// Where it stands, and never what it is.
impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(_) => f.write_str("what the program gave"),
            Self::File(path, _) => write!(f, "what is in {}", path.display()),
        }
    }
}

impl SecretId {
    pub(super) fn wrapped(token: Given) -> Self {
        Self::Wrapped(token, Arc::default())
    }

    async fn get(&self, vault: &Vault) -> Result<Secret, Error> {
        match self {
            Self::Given(secret) => Ok(Secret::from(secret.reveal().trim())),
            Self::File(path, reader) => Given::File(path.clone(), reader.clone()).read().await,
            Self::Wrapped(given, unwrapped) => {
                let before = lock(unwrapped).clone();
                // The file may be removed once it was read.
                let (token, before) = match (given.read().await, before) {
                    (Ok(token), Some((known, secret))) if token == known => return Ok(secret),
                    (Err(_), Some((_, secret))) => return Ok(secret),
                    (token, before) => (token?, before),
                };
                match unwrap(vault, &token).await {
                    Ok(secret) => {
                        *lock(unwrapped) = Some((token, secret.clone()));
                        Ok(secret)
                    }
                    Err(error) => before.map(|(_, secret)| secret).ok_or(error),
                }
            }
        }
    }
}

/// Takes the secret_id out of a wrapping token, which works once. What made it is looked at first: somebody who took the
/// right one could have put another one in its place.
async fn unwrap(vault: &Vault, token: &Secret) -> Result<Secret, Error> {
    let body = json(&[("token", token.reveal())]);
    let looked = vault.send(&vault.post("sys/wrapping/lookup", &body), None).await?;
    check_wrapping(vault, &looked)?;
    let made_by = vault.value(&looked)?;
    let made_by = text(&made_by, "/data/creation_path").unwrap_or_default();
    if !made_by.starts_with("auth/") || !made_by.ends_with("/secret-id") {
        return Err(vault.client.error(
            ErrorKind::BootstrapRejected,
            &looked,
            "says that the wrapping token holds something else than a secret_id: have a new one made, and find out who replaced it",
        ));
    }
    let answer = vault.send(&vault.post("sys/wrapping/unwrap", b"{}"), Some(token)).await?;
    check_wrapping(vault, &answer)?;
    let value = vault.value(&answer)?;
    text(&value, "/data/secret_id")
        .map(Secret::from)
        .ok_or_else(|| vault.malformed("unwrapped something without a secret_id"))
}

fn check_wrapping(vault: &Vault, answer: &Answer) -> Result<(), Error> {
    match answer.status.as_u16() {
        200 => Ok(()),
        400 | 403 | 404 => Err(vault.client.error(
            ErrorKind::BootstrapRejected,
            answer,
            "does not know the wrapping token any more: it has ended, or somebody else unwrapped it and has the secret_id, so have that revoked and a new one made",
        )),
        _ => Err(vault.refusal(answer, "sys/wrapping")),
    }
}

impl Login {
    /// Whether it makes a token of the program's own, which may be made anew and given back.
    pub(super) fn makes_tokens(&self) -> bool {
        !matches!(self, Self::None | Self::Token(_))
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        let what = match self {
            Self::None => {
                "there is no log-in to Vault: say which with app_role, kubernetes, jwt, token or token_file"
            }
            Self::Token(token)
            | Self::Jwt { token, .. }
            | Self::Kubernetes { token, .. }
            | Self::AppRole { secret_id: SecretId::Wrapped(token, _), .. }
                if token.is_empty() =>
            {
                "what this program logs in to Vault with is empty"
            }
            Self::AppRole { role_id, .. } if role_id.reveal().trim().is_empty() => {
                "the role_id of the log-in to Vault is empty"
            }
            Self::Kubernetes { role, .. } if role.trim().is_empty() => {
                "the role of the log-in to Vault is empty"
            }
            _ => return Ok(()),
        };
        Err(Error::new(ErrorKind::InvalidConfig, what))
    }

    pub(super) async fn log_in(&self, vault: &Vault, mount: Option<&str>) -> Result<Grant, Error> {
        let (usual, body) = match self {
            Self::None => return Err(self.check().err().unwrap_or_else(|| no_grant(vault))),
            Self::Token(given) => return self.look(vault, given.read().await?).await,
            Self::AppRole { role_id, secret_id } => {
                let secret_id = secret_id.get(vault).await?;
                let role_id = ("role_id", role_id.reveal().trim());
                match secret_id.reveal() {
                    "" => ("approle", json(&[role_id])),
                    secret_id => ("approle", json(&[role_id, ("secret_id", secret_id)])),
                }
            }
            Self::Jwt { role, token } => ("jwt", signed(role, &token.read().await?)),
            Self::Kubernetes { role, token } => ("kubernetes", signed(role, &token.read().await?)),
        };
        let mount = mount.unwrap_or(usual);
        let path = format!("auth/{mount}/login");
        let answer = vault.send(&vault.post(&path, &body), None).await?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(self.rejected(vault, &answer));
            }
            StatusCode::NOT_FOUND => {
                let what = format!(
                    "has no log-in at {path}: say where it is mounted with login_mount, and check the namespace"
                );
                return Err(vault.client.error(ErrorKind::BootstrapRejected, &answer, &what));
            }
            _ => return Err(vault.refusal(&answer, &path)),
        }
        Grant::of(&vault.value(&answer)?).ok_or_else(|| no_grant(vault))
    }

    /// What is known of a token that was given.
    async fn look(&self, vault: &Vault, token: Secret) -> Result<Grant, Error> {
        let answer = vault.send(&vault.get("auth/token/lookup-self"), Some(&token)).await?;
        match answer.status.as_u16() {
            200 => {
                let value = vault.value(&answer)?;
                let policies = policies(value.at("/data/policies"));
                Ok(Grant { token, policies, life: seconds(&value, "/data/ttl") })
            }
            // It may be one that may not look at itself: what it is needed for will tell.
            403 => Ok(Grant { token, policies: Vec::new(), life: None }),
            _ => Err(vault.refusal(&answer, "auth/token/lookup-self")),
        }
    }

    /// The server does not accept who this is.
    pub(super) fn rejected(&self, vault: &Vault, answer: &Answer) -> Error {
        let what = match self {
            Self::None => "accepts nobody who does not log in".into(),
            Self::Token(given) => {
                format!(
                    "does not accept the token, {given}: it has ended or was revoked, so give another"
                )
            }
            Self::AppRole { secret_id, .. } => format!(
                "does not accept the role_id with {}: check both, or have a new secret_id made",
                match secret_id {
                    SecretId::Given(_) => "the secret_id that the program gave".into(),
                    SecretId::File(path, _) => format!("the secret_id in {}", path.display()),
                    SecretId::Wrapped(..) => "the secret_id that was unwrapped".into(),
                }
            ),
            Self::Jwt { role, token } | Self::Kubernetes { role, token } => format!(
                "does not accept the role {role} with the token, {token}: check its claims and its end against the role"
            ),
        };
        // So it answers where no log-in is mounted, too.
        let what = match answer.status {
            StatusCode::FORBIDDEN if self.makes_tokens() => {
                format!("{what}, and where the log-in is mounted (login_mount, namespace)")
            }
            _ => what,
        };
        vault.client.error(ErrorKind::BootstrapRejected, answer, &what)
    }
}

/// How it logs in, and never with what.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Token(given) => write!(f, "token, {given}"),
            Self::AppRole { .. } => f.write_str("AppRole"),
            Self::Jwt { role, .. } => write!(f, "JWT as {role}"),
            Self::Kubernetes { role, .. } => write!(f, "Kubernetes as {role}"),
        }
    }
}

fn no_grant(vault: &Vault) -> Error {
    vault.malformed("answered a log-in without a token: check the URL")
}

/// Who shows a signed token. Without a role the server takes its usual one.
fn signed(role: &str, token: &Secret) -> Zeroizing<Vec<u8>> {
    match role.trim() {
        "" => json(&[("jwt", token.reveal())]),
        role => json(&[("role", role), ("jwt", token.reveal())]),
    }
}

/// A flat object.
pub(super) fn json(fields: &[(&str, &str)]) -> Zeroizing<Vec<u8>> {
    let fields: std::collections::BTreeMap<_, _> = fields.iter().copied().collect();
    // Text is always JSON.
    Zeroizing::new(serde_json::to_vec(&fields).unwrap_or_default())
}
