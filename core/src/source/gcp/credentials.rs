//! What a program shows to Google Cloud.

use std::{
    ffi::OsString,
    fmt,
    future::Future,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http::{HeaderName, Method};

use super::key_file;
use crate::{
    error::{Error, ErrorKind},
    secret::Secret,
    source::{
        access_token::{AccessToken, GivenToken, Tokens, refused},
        reading::Reader,
        store_client::{Question, StoreClient},
        wire::{Value, read},
    },
};

/// Where the token of a machine's service account is.
const TOKEN_PATH: &str = "/computeMetadata/v1/instance/service-accounts/default/token";

/// Who a program is to Google Cloud. Clones share the access token, so that one log-in serves any number of handles.
///
/// ```
/// use keyswap::source::gcp::{Credentials, SecretManager};
/// let machine = Credentials::metadata_server();
/// let trading = SecretManager::new("projects/my-project/secrets/trading").credentials(machine.clone());
/// let billing = SecretManager::new("projects/my-project/secrets/billing").credentials(machine);
/// ```
///
/// An access token is asked for when it is needed, kept until four minutes before its end, and asked for anew when it
/// is not accepted. A file is read again each time.
#[derive(Clone)]
pub struct Credentials {
    from: From,
    /// Where the metadata server is, if the program says so.
    metadata: Option<Arc<str>>,
    tokens: Tokens,
    reader: Reader,
    fault: Option<Error>,
}

#[derive(Clone)]
enum From {
    Default,
    File(PathBuf),
    Json(Secret),
    Metadata,
    Given(GivenToken),
}

impl Credentials {
    /// Application default credentials, as Google's own libraries find them: the file that
    /// `GOOGLE_APPLICATION_CREDENTIALS` names, else the one that `gcloud auth application-default login` wrote, else the
    /// service account of the machine, the pod or the function.
    pub fn application_default() -> Self {
        Self::from(From::Default)
    }

    /// The credentials in this file: a service account's key, a workload identity's configuration (`external_account`
    /// with a file or a URL), what `gcloud auth application-default login` wrote, or an impersonated service account.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::from(From::File(path.into()))
    }

    /// The same, as the content of such a file.
    pub fn json(content: impl Into<Secret>) -> Self {
        Self::from(From::Json(content.into()))
    }

    /// The service account of the machine, the pod or the function that this program runs in.
    pub fn metadata_server() -> Self {
        Self::from(From::Metadata)
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

    /// Where the metadata server is: `http://metadata.google.internal`, or the host in `GCE_METADATA_HOST`, unless this
    /// says otherwise.
    pub fn metadata_url(mut self, url: &str) -> Self {
        match metadata(url) {
            Ok(_) => self.metadata = Some(url.trim().into()),
            Err(error) => _ = self.fault.get_or_insert(error),
        }
        self
    }

    fn from(from: From) -> Self {
        Self { from, metadata: None, tokens: Tokens::default(), reader: Reader::new(), fault: None }
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        self.fault.clone().map_or(Ok(()), Err)
    }

    /// A token that is not the one that was rejected, if there is another. Each question may take so long.
    pub(super) async fn access_token(
        &self,
        limit: Duration,
        rejected: Option<&Secret>,
    ) -> Result<Arc<AccessToken>, Error> {
        self.tokens.get("", rejected, self.log_in(limit)).await
    }

    async fn log_in(&self, limit: Duration) -> Result<AccessToken, Error> {
        match &self.from {
            From::Given(given) => given.token().await,
            From::Metadata => self.machine(limit).await,
            From::File(path) => self.in_file(path, limit).await,
            From::Json(content) => {
                key_file::log_in(
                    "the credentials",
                    content.reveal().as_bytes(),
                    limit,
                    &self.reader,
                )
                .await
            }
            From::Default => match self.found(|name| std::env::var_os(name)).await? {
                Some(path) => self.in_file(&path, limit).await,
                None => self.machine(limit).await,
            },
        }
    }

    async fn in_file(&self, path: &Path, limit: Duration) -> Result<AccessToken, Error> {
        let content = self.reader.small(path.to_path_buf()).await?;
        key_file::log_in(&path.display().to_string(), &content, limit, &self.reader).await
    }

    /// The file that the environment names, or the one of this machine's user, if there is one.
    async fn found(
        &self,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Option<PathBuf>, Error> {
        let folder = |name: &str| variable(name).filter(|it| !it.is_empty()).map(PathBuf::from);
        if let Some(path) = folder("GOOGLE_APPLICATION_CREDENTIALS") {
            return Ok(Some(path));
        }
        let of_user = match cfg!(windows) {
            true => folder("APPDATA").map(|it| it.join("gcloud")),
            false => folder("HOME").map(|it| it.join(".config/gcloud")),
        };
        let Some(folder) = folder("CLOUDSDK_CONFIG").or(of_user) else { return Ok(None) };
        let path = folder.join("application_default_credentials.json");
        let is_there = self.reader.run(path.clone(), |path| Ok(path.is_file())).await?;
        Ok(is_there.then_some(path))
    }

    /// The token of the machine's own service account.
    async fn machine(&self, limit: Duration) -> Result<AccessToken, Error> {
        let host = std::env::var("GCE_METADATA_HOST").ok().filter(|host| !host.is_empty());
        let url = match (&self.metadata, host) {
            (Some(url), _) => url.to_string(),
            (None, Some(host)) => format!("http://{host}"),
            (None, None) => "http://metadata.google.internal".into(),
        };
        let mut client = metadata(&url)?;
        client.set_timeout(limit);
        let url = client.url(TOKEN_PATH.split('/').skip(1));
        let question = Question::new(Method::GET, url)
            .header(HeaderName::from_static("metadata-flavor"), "Google");
        let answer = client.ask(question).await.map_err(|error| {
            error.with_remark(
                "; outside of Google Cloud, set GOOGLE_APPLICATION_CREDENTIALS or run `gcloud auth application-default login`",
            )
        })?;
        match answer.status.as_u16() {
            200 => AccessToken::read(&client, &answer),
            _ => Err(refused(
                &client,
                &answer,
                "has no service account for this machine: attach one",
            )),
        }
    }
}

impl Default for Credentials {
    fn default() -> Self {
        Self::application_default()
    }
}

fn metadata(url: &str) -> Result<StoreClient, Error> {
    StoreClient::metadata("the metadata server", url)
}

/// What the content of a credentials file says. It is full of secrets, so nothing of it is quoted.
pub(super) fn parsed(place: &str, content: &[u8]) -> Result<Value, Error> {
    read(content).map_err(|what| {
        Error::new(ErrorKind::InvalidConfig, format!("{place} holds no credentials: {what}"))
    })
}

/// Where they come from, and never what they are.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.from {
            From::Default => f.write_str("application default credentials"),
            From::File(path) => write!(f, "file {}", path.display()),
            From::Json(_) => f.write_str("given"),
            From::Metadata => f.write_str("metadata server"),
            From::Given(given) => given.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[tokio::test]
    async fn the_file_is_found_as_googles_libraries_find_it() {
        let home = std::env::temp_dir().join(format!("keyswap-adc-{}", std::process::id()));
        let folder = home.join(".config/gcloud");
        std::fs::create_dir_all(&folder).expect("a folder");
        let of_user = folder.join("application_default_credentials.json");
        let found = async |named: Option<&str>, config: Option<&str>| {
            let variable = |name: &str| match name {
                "GOOGLE_APPLICATION_CREDENTIALS" => named.map(Into::into),
                "CLOUDSDK_CONFIG" => config.map(Into::into),
                "HOME" => Some(home.clone().into_os_string()),
                _ => None,
            };
            Credentials::default().found(variable).await.expect("looked for")
        };
        assert_eq!(found(None, None).await, None, "the machine's own is asked for");
        std::fs::write(&of_user, "{}").expect("a file");
        assert_eq!(found(None, None).await, Some(of_user));
        assert_eq!(found(None, Some("/nowhere")).await, None);
        assert_eq!(found(Some("/a.json"), None).await, Some("/a.json".into()), "there or not");
        std::fs::remove_dir_all(home).expect("removed");
    }

    #[test]
    fn nothing_prints_and_what_is_wrong_is_told_at_once() {
        let given = Credentials::json("s3cr3t");
        assert!(!format!("{given:?} {:?}", Credentials::token("s3cr3t")).contains("s3cr3t"));
        assert!(given.check().is_ok());
        let error = given.metadata_url("metadata").check().expect_err("no URL");
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    }
}
