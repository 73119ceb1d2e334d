//! What the search for credentials sees of the machine: its environment, files and services.

use std::{collections::HashMap, path::PathBuf, time::Duration};

use bytes::Bytes;
use reqsign_core::{Context, Env, FileRead, HttpSend};
use url::{Host, Url};
use zeroize::Zeroizing;

use crate::{
    error::{Error, ErrorKind},
    source::{
        reading::Reader,
        store_client::{Question, StoreClient},
    },
};

/// How long a metadata service of the machine may take. Where there is none, nothing answers at its address.
const METADATA_TIMEOUT: Duration = Duration::from_secs(2);

/// The variables that a search sees. Tests have others than this process.
#[derive(Clone, Debug, Default)]
pub(super) enum Variables {
    #[default]
    Own,
    #[cfg(test)]
    These(HashMap<String, String>),
}

/// All of it. Cheap to clone.
#[derive(Clone)]
pub(super) struct Outside {
    pub(super) variables: Variables,
    reader: Reader,
    /// Whose certificates and timeouts hold for other services as well.
    client: StoreClient,
}

impl Outside {
    pub(super) fn new(variables: Variables, reader: Reader, client: StoreClient) -> Self {
        Self { variables, reader, client }
    }

    pub(super) fn context(&self) -> Context {
        Context::new()
            .with_env(self.clone())
            .with_file_read(self.clone())
            .with_http_send(self.clone())
    }

    /// A variable that is not empty.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        self.var(name).filter(|value| !value.is_empty())
    }

    /// The configuration file, if it can be read.
    pub(super) async fn config(&self) -> Option<Zeroizing<String>> {
        let path = match self.variable("AWS_CONFIG_FILE") {
            Some(path) => path.into(),
            None => self.home_dir()?.join(".aws").join("config"),
        };
        let text = self.reader.bundle(path).await.ok()?;
        std::str::from_utf8(&text).ok().map(|text| Zeroizing::new(text.to_owned()))
    }

    /// Where the service is that gives out roles, if the environment says so.
    fn sts(&self) -> Option<String> {
        self.variable("AWS_ENDPOINT_URL_STS").or_else(|| self.variable("AWS_ENDPOINT_URL"))
    }

    fn url(&self, text: &str) -> Result<Url, Error> {
        Url::parse(text).map_err(|_| {
            Error::new(ErrorKind::InvalidConfig, "the URL of a service of AWS cannot be read")
        })
    }

    async fn send(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, Error> {
        let (parts, body) = request.into_parts();
        let mut url = self.url(&parts.uri.to_string())?;
        let client = if is_metadata(&url) {
            let mut client = StoreClient::metadata("the metadata service", url.as_str())?;
            client.set_timeout(METADATA_TIMEOUT);
            client
        } else {
            if url.host_str().is_some_and(|host| host.starts_with("sts."))
                && let Some(there) = self.sts()
            {
                // Its path and query stay, and so does the name of the host, which is signed.
                let there = self.url(&there)?;
                url = self.url(&format!(
                    "{}{}",
                    there.as_str().trim_end_matches('/'),
                    &url[url::Position::BeforePath..]
                ))?;
            }
            self.client.elsewhere("the log-in of AWS", url.as_str(), "https://sts.amazonaws.com")?
        };
        let mut question = Question::new(parts.method, url);
        for (name, value) in &parts.headers {
            // The length is counted where it is sent.
            if let (true, Ok(value)) = (name != http::header::CONTENT_LENGTH, value.to_str()) {
                question = question.sensitive(name.clone(), value);
            }
        }
        if !body.is_empty() {
            question = question.body(&body);
        }
        let mut answer = client.ask(question).await?;
        let mut response = http::Response::new(Bytes::from(std::mem::take(&mut *answer.body)));
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        Ok(response)
    }
}

/// Whether the host is one of the services that AWS puts beside a machine, a container or a pod.
fn is_metadata(url: &Url) -> bool {
    const V4: [[u8; 4]; 3] = [[169, 254, 169, 254], [169, 254, 170, 2], [169, 254, 170, 23]];
    const V6: [[u16; 8]; 2] =
        [[0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23]];
    match url.host() {
        Some(Host::Ipv4(address)) => V4.contains(&address.octets()),
        Some(Host::Ipv6(address)) => V6.contains(&address.segments()),
        Some(Host::Domain(_)) | None => false,
    }
}

impl Env for Outside {
    fn var(&self, name: &str) -> Option<String> {
        match &self.variables {
            Variables::Own => std::env::var(name).ok(),
            #[cfg(test)]
            Variables::These(these) => these.get(name).cloned(),
        }
    }

    fn vars(&self) -> HashMap<String, String> {
        match &self.variables {
            // One that is no text is none of AWS's, and must not end the program.
            Variables::Own => std::env::vars_os()
                .filter_map(|(name, value)| {
                    Some((name.into_string().ok()?, value.into_string().ok()?))
                })
                .filter(|(name, _)| name.starts_with("AWS_"))
                .collect(),
            #[cfg(test)]
            Variables::These(these) => these.clone(),
        }
    }

    fn home_dir(&self) -> Option<PathBuf> {
        match &self.variables {
            Variables::Own => std::env::home_dir(),
            #[cfg(test)]
            Variables::These(these) => these.get("HOME").map(PathBuf::from),
        }
    }
}

impl FileRead for Outside {
    async fn file_read(&self, path: &str) -> reqsign_core::Result<Vec<u8>> {
        let read = self.reader.bundle(path.into()).await;
        read.map(|mut text| std::mem::take(&mut *text)).map_err(told)
    }
}

impl HttpSend for Outside {
    async fn http_send(
        &self,
        request: http::Request<Bytes>,
    ) -> reqsign_core::Result<http::Response<Bytes>> {
        self.send(request).await.map_err(told)
    }
}

/// An error of ours on its way through theirs.
fn told(error: Error) -> reqsign_core::Error {
    reqsign_core::Error::unexpected("it was not answered").with_source(error)
}

/// Where it is, and nothing of what it sees.
impl std::fmt::Debug for Outside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Outside(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_addresses_of_aws_are_asked_over_plain_http() {
        let is = |url: &str| is_metadata(&Url::parse(url).expect("a URL"));
        for url in [
            "http://169.254.169.254/latest",
            "http://169.254.170.2/v2",
            "http://169.254.170.23/v1/credentials",
            "http://[fd00:ec2::254]/",
            "http://[fd00:ec2::23]/v1/credentials",
        ] {
            assert!(is(url), "{url}");
        }
        for url in ["http://169.254.169.253/", "http://[fd00:ec3::254]/", "http://metadata/"] {
            assert!(!is(url), "{url}");
        }
    }
}
