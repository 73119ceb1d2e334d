//! What a program shows to Microsoft Entra, or to the machine that it runs in.

use std::{fmt, future::Future, path::PathBuf, sync::Arc, time::Duration};

use http::{HeaderName, Method};
use zeroize::Zeroizing;

use super::challenge::{Challenge, is_tenant};
use crate::{
    error::{Error, ErrorKind},
    secret::Secret,
    source::{
        access_token::{AccessToken, GivenToken, Tokens, form, refused},
        reading::Reader,
        store_client::{Question, StoreClient},
    },
};

const AUTHORITY: &str = "https://login.microsoftonline.com";
const METADATA: &str = "http://169.254.169.254";

/// Who a program is to Azure. Clones share the access token, so that one log-in serves any number of handles.
///
/// ```
/// use keyswap::source::azure::{Credentials, KeyVault};
/// let machine = Credentials::managed_identity();
/// let vault = "https://my-vault.vault.azure.net";
/// let trading = KeyVault::new(vault, "trading")?.credentials(machine.clone());
/// let billing = KeyVault::new(vault, "billing")?.credentials(machine);
/// # Ok::<(), keyswap::Error>(())
/// ```
///
/// An access token is asked for when it is needed, kept until four minutes before its end, and asked for anew when it
/// is not accepted. A file is read again each time.
#[derive(Clone)]
pub struct Credentials {
    from: From,
    authority: Option<Arc<str>>,
    metadata: Option<Arc<str>>,
    tokens: Tokens,
    reader: Reader,
    fault: Option<Error>,
}

#[derive(Clone)]
enum From {
    Default,
    Identity(Identity),
    Given(GivenToken),
}

/// One way to log in.
#[derive(Clone)]
enum Identity {
    /// A secret of the application.
    Secret { tenant: Option<Arc<str>>, client: Arc<str>, secret: Secret },
    /// The same, in a file.
    SecretFile { tenant: Option<Arc<str>>, client: Arc<str>, path: PathBuf },
    /// A token of the platform's, in a file.
    Workload { tenant: Option<Arc<str>>, client: Arc<str>, path: PathBuf },
    /// What an App Service, a function or a container app has.
    Service { client: Option<Arc<str>>, url: Arc<str>, header: Secret },
    /// What a virtual machine has.
    Machine { client: Option<Arc<str>> },
}

impl Credentials {
    /// As Azure's own libraries find them where no person is logged in (the first half of `DefaultAzureCredential`): a
    /// client secret in `AZURE_CLIENT_ID`, `AZURE_TENANT_ID` and `AZURE_CLIENT_SECRET`; else a workload identity in
    /// `AZURE_CLIENT_ID`, `AZURE_TENANT_ID` and `AZURE_FEDERATED_TOKEN_FILE`; else the managed identity of the machine
    /// or the App Service, which `AZURE_CLIENT_ID` may name.
    pub fn from_environment() -> Self {
        Self::from(From::Default)
    }

    /// A secret of this application in this tenant.
    pub fn client_secret(tenant: &str, client_id: &str, secret: impl Into<Secret>) -> Self {
        let (tenant, client, secret) = (Some(tenant.into()), client_id.into(), secret.into());
        Self::from(From::Identity(Identity::Secret { tenant, client, secret }))
    }

    /// The same, in a file that something else may change.
    pub fn client_secret_file(tenant: &str, client_id: &str, path: impl Into<PathBuf>) -> Self {
        let (tenant, client, path) = (Some(tenant.into()), client_id.into(), path.into());
        Self::from(From::Identity(Identity::SecretFile { tenant, client, path }))
    }

    /// The token in this file, which the platform renews: the service account's of a pod, say.
    pub fn workload_identity(tenant: &str, client_id: &str, path: impl Into<PathBuf>) -> Self {
        let (tenant, client, path) = (Some(tenant.into()), client_id.into(), path.into());
        Self::from(From::Identity(Identity::Workload { tenant, client, path }))
    }

    /// The managed identity of the virtual machine, or of the App Service, that this program runs in.
    pub fn managed_identity() -> Self {
        Self::from(From::Identity(managed(None, |name| std::env::var(name).ok())))
    }

    /// The same, where there are several: the one of this client id.
    pub fn managed_identity_of(client_id: &str) -> Self {
        let client = Some(client_id.into());
        Self::from(From::Identity(managed(client, |name| std::env::var(name).ok())))
    }

    /// This access token, which a program has from elsewhere and renews itself.
    pub fn token(token: impl Into<Secret>) -> Self {
        Self::from(From::Given(GivenToken::Fixed(token.into())))
    }

    /// The access token that this function returns. It is called at first use, and again when its token is not accepted
    /// or a day old.
    pub fn token_fn<F, Fut, S>(callback: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<S, Error>> + Send + 'static,
        S: Into<Secret>,
    {
        Self::from(From::Given(GivenToken::callback(callback)))
    }

    /// Where Microsoft Entra is: `https://login.microsoftonline.com`, or what `AZURE_AUTHORITY_HOST` says, unless this
    /// says otherwise. Other clouds have their own.
    pub fn authority_host(mut self, url: &str) -> Self {
        match entra(url) {
            Ok(_) => self.authority = Some(url.trim().into()),
            Err(error) => _ = self.fault.get_or_insert(error),
        }
        self
    }

    /// Where the metadata service of a virtual machine is: `http://169.254.169.254` unless this says otherwise.
    pub fn metadata_url(mut self, url: &str) -> Self {
        match metadata(url) {
            Ok(_) => self.metadata = Some(url.trim().into()),
            Err(error) => _ = self.fault.get_or_insert(error),
        }
        self
    }

    fn from(from: From) -> Self {
        let fault = match &from {
            From::Identity(
                Identity::Secret { tenant: Some(tenant), .. }
                | Identity::SecretFile { tenant: Some(tenant), .. }
                | Identity::Workload { tenant: Some(tenant), .. },
            ) if !is_tenant(tenant) => Some(no_tenant()),
            _ => None,
        };
        let (tokens, reader) = (Tokens::default(), Reader::new());
        Self { from, authority: None, metadata: None, tokens, reader, fault }
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        self.fault.clone().map_or(Ok(()), Err)
    }

    /// A token for what the vault asks for, and not the one that was rejected, if there is another. Each question may
    /// take so long.
    pub(super) async fn access_token(
        &self,
        challenge: &Challenge,
        limit: Duration,
        rejected: Option<&Secret>,
    ) -> Result<Arc<AccessToken>, Error> {
        let log_in = self.log_in(challenge, limit);
        self.tokens.get(&challenge.resource, rejected, log_in).await
    }

    async fn log_in(&self, challenge: &Challenge, limit: Duration) -> Result<AccessToken, Error> {
        match &self.from {
            From::Given(given) => given.token().await,
            From::Identity(identity) => self.log_in_as(identity, challenge, limit).await,
            From::Default => {
                let identity = found(|name| std::env::var(name).ok().filter(|it| !it.is_empty()));
                self.log_in_as(&identity, challenge, limit).await
            }
        }
    }

    async fn log_in_as(
        &self,
        identity: &Identity,
        challenge: &Challenge,
        limit: Duration,
    ) -> Result<AccessToken, Error> {
        match identity {
            Identity::Secret { tenant, client, secret } => {
                let shown = [("client_secret", secret.reveal().trim())];
                self.entra(tenant, client, &shown, challenge, limit).await
            }
            Identity::SecretFile { tenant, client, path } => {
                let secret = self.word_in(path).await?;
                let shown = [("client_secret", secret.as_str())];
                self.entra(tenant, client, &shown, challenge, limit).await
            }
            Identity::Workload { tenant, client, path } => {
                let token = self.word_in(path).await?;
                let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
                let shown = [("client_assertion_type", kind), ("client_assertion", token.as_str())];
                self.entra(tenant, client, &shown, challenge, limit).await
            }
            Identity::Service { client, url, header } => {
                let name = HeaderName::from_static("x-identity-header");
                let service = metadata_at("the identity endpoint", url)?;
                let mut question = managed_question(&service, &[], "2019-08-01", client, challenge);
                question = question.sensitive(name, header.reveal());
                ask_managed(service, question, limit).await
            }
            Identity::Machine { client } => {
                let service = metadata(self.metadata.as_deref().unwrap_or(METADATA))?;
                let path = ["metadata", "identity", "oauth2", "token"];
                let question = managed_question(&service, &path, "2018-02-01", client, challenge)
                    .header(HeaderName::from_static("metadata"), "true");
                ask_managed(service, question, limit).await.map_err(|error| match error.status() {
                    Some(_) => error,
                    None => error.with_remark(
                        "; outside of Azure, set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET",
                    ),
                })
            }
        }
    }

    async fn entra(
        &self,
        tenant: &Option<Arc<str>>,
        client_id: &str,
        shown: &[(&str, &str)],
        challenge: &Challenge,
        limit: Duration,
    ) -> Result<AccessToken, Error> {
        let host = std::env::var("AZURE_AUTHORITY_HOST").ok().filter(|host| !host.is_empty());
        let url = match (&self.authority, host) {
            (Some(url), _) => url.to_string(),
            (None, Some(host)) if host.contains("://") => host,
            (None, Some(host)) => format!("https://{host}"),
            (None, None) => AUTHORITY.into(),
        };
        let mut client = entra(&url)?;
        client.set_timeout(limit);
        // The vault may say whose identities it knows, but never where a secret is sent.
        let tenant = tenant.as_deref().or(challenge.tenant.as_deref());
        let tenant = tenant.filter(|tenant| is_tenant(tenant)).ok_or_else(no_tenant)?;
        let scope = format!("{}/.default", challenge.resource);
        let mut fields =
            vec![("grant_type", "client_credentials"), ("client_id", client_id), ("scope", &scope)];
        fields.extend_from_slice(shown);
        let body = form(&fields);
        let url = client.url([tenant, "oauth2", "v2.0", "token"]);
        let answer = client.ask(Question::new(Method::POST, url).form(body.as_bytes())).await?;
        if answer.status == 200 {
            return AccessToken::read(&client, &answer);
        }
        let advice = "does not accept this application's secret or token: check that it has not ended, and the ids of tenant and client";
        let error = refused(&client, &answer, advice);
        Err(match challenge.tenant.as_deref() {
            Some(of_vault) if !of_vault.eq_ignore_ascii_case(tenant) => {
                error.with_remark(&format!("; the vault belongs to tenant {of_vault}"))
            }
            _ => error,
        })
    }

    async fn word_in(&self, path: &PathBuf) -> Result<Zeroizing<String>, Error> {
        let content = self.reader.small(path.clone()).await?;
        let word = str::from_utf8(&content).map(str::trim).unwrap_or_default();
        match word {
            "" => {
                let what = format!("there is nothing in {} to log in with", path.display());
                Err(Error::new(ErrorKind::BootstrapRejected, what))
            }
            word => Ok(Zeroizing::new(word.to_owned())),
        }
    }
}

/// The identity that the environment names.
fn found(variable: impl Fn(&str) -> Option<String>) -> Identity {
    let shared = |name: &str| variable(name).map(Arc::<str>::from);
    let (tenant, client) = (shared("AZURE_TENANT_ID"), shared("AZURE_CLIENT_ID"));
    if let (Some(client), Some(secret)) = (&client, variable("AZURE_CLIENT_SECRET")) {
        return Identity::Secret { tenant, client: client.clone(), secret: secret.into() };
    }
    if let (Some(client), Some(path)) = (&client, variable("AZURE_FEDERATED_TOKEN_FILE")) {
        return Identity::Workload { tenant, client: client.clone(), path: path.into() };
    }
    managed(client, variable)
}

/// The managed identity: that of a service has an endpoint of its own.
fn managed(client: Option<Arc<str>>, variable: impl Fn(&str) -> Option<String>) -> Identity {
    match (variable("IDENTITY_ENDPOINT"), variable("IDENTITY_HEADER")) {
        (Some(url), Some(header)) => {
            Identity::Service { client, url: url.into(), header: header.into() }
        }
        _ => Identity::Machine { client },
    }
}

fn managed_question<'a>(
    service: &StoreClient,
    path: &[&str],
    version: &str,
    client: &Option<Arc<str>>,
    challenge: &Challenge,
) -> Question<'a> {
    let mut url = match path.is_empty() {
        true => service.base().clone(),
        false => service.url(path.iter().copied()),
    };
    url.query_pairs_mut()
        .append_pair("api-version", version)
        .append_pair("resource", &challenge.resource)
        .extend_pairs(client.iter().map(|id| ("client_id", &**id)));
    Question::new(Method::GET, url)
}

async fn ask_managed(
    mut service: StoreClient,
    question: Question<'_>,
    limit: Duration,
) -> Result<AccessToken, Error> {
    service.set_timeout(limit);
    let answer = service.ask(question).await?;
    match answer.status.as_u16() {
        200 => AccessToken::read(&service, &answer),
        // What is being updated says so by a 410.
        404 | 410 => {
            let what = "has no token at the moment: it is asked again";
            Err(service.error(ErrorKind::Unavailable, &answer, what))
        }
        _ => {
            let advice = "has no such identity for this machine: assign one, or name the one to use by AZURE_CLIENT_ID";
            Err(refused(&service, &answer, advice))
        }
    }
}

fn entra(url: &str) -> Result<StoreClient, Error> {
    StoreClient::at("Microsoft Entra", url, AUTHORITY)
}

fn metadata(url: &str) -> Result<StoreClient, Error> {
    metadata_at("the metadata service", url)
}

fn metadata_at(what: &'static str, url: &str) -> Result<StoreClient, Error> {
    StoreClient::metadata(what, url)
}

fn no_tenant() -> Error {
    let what = "the tenant must be the id or the domain of one: set AZURE_TENANT_ID";
    Error::new(ErrorKind::InvalidConfig, what)
}

impl Default for Credentials {
    fn default() -> Self {
        Self::from_environment()
    }
}

/// Who it is, and never what it shows.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.from {
            From::Default => f.write_str("from the environment"),
            From::Given(given) => given.fmt(f),
            From::Identity(identity) => identity.fmt(f),
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret { client, .. } => write!(f, "client secret of {client}"),
            Self::SecretFile { client, path, .. } => {
                write!(f, "client secret of {client} in {}", path.display())
            }
            Self::Workload { client, path, .. } => {
                write!(f, "workload identity {client} in {}", path.display())
            }
            Self::Service { .. } => f.write_str("managed identity of the service"),
            Self::Machine { .. } => f.write_str("managed identity of the machine"),
        }
    }
}

#[cfg(test)]
mod tests;
