//! How AWS is asked: one signed question, and what its answer means.

use std::sync::Arc;

use http::{Method, Request, header};
use jiff::SignedDuration;
use reqsign_aws_v4::{Credential, RequestSigner};
use reqsign_core::{Context, SignRequest, hash::hex_sha256};
use zeroize::Zeroize;

use super::{
    identity::{Identity, Login},
    outside::{Outside, Variables},
    profile::Section,
    refusal::{Refusal, skew},
};
use crate::{
    clock::Clock,
    error::{Error, ErrorKind},
    source::{
        reading::Reader,
        store_client::{Answer, Question, StoreClient},
        wire::Value,
    },
};

/// One of AWS's services.
#[derive(Debug)]
pub(super) struct Service {
    /// What people call it.
    pub(super) name: &'static str,
    /// In its host and in signatures.
    pub(super) host: &'static str,
    /// In front of each action.
    pub(super) target: &'static str,
    /// Where a program's environment may say where it is.
    pub(super) variable: &'static str,
    /// What it keeps, and what it takes to read that.
    pub(super) noun: &'static str,
    pub(super) permission: &'static str,
}

/// One service in one region. Cheap to clone: the log-in is shared.
#[derive(Clone)]
pub(super) struct Access {
    pub(super) service: &'static Service,
    pub(super) client: StoreClient,
    pub(super) identity: Arc<Identity>,
    pub(super) region: Option<String>,
    pub(super) endpoint_url: Option<String>,
    variables: Variables,
    reader: Reader,
}

/// Where it is found to be.
struct Site {
    client: StoreClient,
    region: String,
}

/// Why there is no answer.
pub(super) struct Refused {
    /// What AWS said. None if nobody was asked, or what came is no answer.
    pub(super) refusal: Option<Refusal>,
    pub(super) error: Error,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self { refusal: None, error }
    }
}

/// How the URL of a service looks.
const LIKE: &str = "https://secretsmanager.eu-west-1.amazonaws.com";

impl Access {
    pub(super) fn new(service: &'static Service) -> Self {
        Self {
            service,
            client: StoreClient::at(service.name, LIKE, LIKE).expect("a URL"),
            identity: Arc::new(Identity::chain(None)),
            region: None,
            endpoint_url: None,
            variables: Variables::default(),
            reader: Reader::new(),
        }
    }

    /// Whether all that the program says is valid.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.identity.check()?;
        if let Some(region) = &self.region {
            check_region(region)?;
        }
        if let Some(url) = &self.endpoint_url {
            self.client.elsewhere(self.service.name, url, LIKE)?;
        }
        Ok(())
    }

    /// Where it is, as far as the program says it.
    pub(super) fn place(&self) -> String {
        match (&self.endpoint_url, &self.region) {
            (_, Some(region)) => format!("{} in {region}", self.service.name),
            _ => self.service.name.into(),
        }
    }

    fn outside(&self) -> Outside {
        Outside::new(self.variables.clone(), self.reader.clone(), self.client.clone())
    }

    async fn site(&self, outside: &Outside, id: &str) -> Result<Site, Error> {
        let url = self.endpoint_url.clone().or_else(|| {
            let is_off = outside.variable("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS");
            if is_off.is_some_and(|it| it.eq_ignore_ascii_case("true")) {
                return None;
            }
            let own = outside.variable(self.service.variable);
            own.or_else(|| outside.variable("AWS_ENDPOINT_URL"))
        });
        let region = match &self.region {
            Some(region) => Some(region.clone()),
            None => self.region_outside(outside, id).await,
        };
        let region = match (region, &url) {
            (Some(region), _) => region,
            // Whoever stands in for AWS takes any.
            (None, Some(_)) => "us-east-1".into(),
            (None, None) => {
                let what = "no AWS region is set: pass it as `region`, or set AWS_REGION";
                return Err(Error::new(ErrorKind::InvalidConfig, what));
            }
        };
        check_region(&region)?;
        let url = url.unwrap_or_else(|| {
            format!("https://{}.{region}.{}", self.service.host, domain(&region))
        });
        let client = self.client.elsewhere(self.service.name, &url, LIKE)?;
        Ok(Site { client, region })
    }

    async fn region_outside(&self, outside: &Outside, id: &str) -> Option<String> {
        if let Some(region) = region_of_arn(id) {
            return Some(region.into());
        }
        let set =
            ["AWS_REGION", "AWS_DEFAULT_REGION"].into_iter().find_map(|it| outside.variable(it));
        if set.is_some() {
            return set;
        }
        let config = outside.config().await?;
        let section = Section::of_profile(&config, &self.identity.profile(outside))?;
        section.get("region").map(str::to_owned)
    }

    /// Asks about what has this name. A log-in that AWS rejects is looked for anew, once.
    pub(super) async fn ask(&self, action: &str, id: &str, body: &str) -> Result<Value, Refused> {
        let outside = self.outside();
        let site = self.site(&outside, id).await?;
        let mut login = self.identity.get(&outside).await?;
        let mut is_again = false;
        loop {
            let answer = self.send(&site, &login, action, body).await?;
            if answer.status.is_success() {
                return Ok(site.client.value(&answer)?);
            }
            let skew = skew(answer.head.date, Clock::system().now().wall);
            let refusal = Refusal::of(&answer).with_clocks(skew);
            if refusal.is_about_login() && !is_again {
                is_again = true;
                if let Some(other) = self.identity.instead_of(&login, &outside).await? {
                    login = other;
                    continue;
                }
            }
            let error = self.error(&site, refusal, &answer, id, &login, skew);
            return Err(Refused { refusal: Some(refusal), error });
        }
    }

    async fn send(
        &self,
        site: &Site,
        login: &Login,
        action: &str,
        body: &str,
    ) -> Result<Answer, Error> {
        let url = site.client.base().clone();
        let target = format!("{}.{action}", self.service.target);
        let request = Request::post(url.as_str())
            .header(header::CONTENT_TYPE, "application/x-amz-json-1.1")
            .header("x-amz-target", target)
            // Signers of other services leave the body out unless this says what it is.
            .header("x-amz-content-sha256", hex_sha256(body.as_bytes()))
            .body(());
        let unsigned = |_| {
            let what = format!(
                "the AWS credentials from {} cannot sign a request: check that they are whole",
                login.from
            );
            Error::new(ErrorKind::InvalidConfig, what)
        };
        let (mut parts, ()) = request.map_err(|_| unsigned(()))?.into_parts();
        let mut credential = Credential {
            access_key_id: login.key_id.reveal().into(),
            secret_access_key: login.secret.reveal().into(),
            session_token: login.token.as_ref().map(|token| token.reveal().into()),
            // Its end was looked at when it was taken.
            expires_in: None,
        };
        let signer = RequestSigner::new(self.service.host, &site.region);
        let signed =
            signer.sign_request(&Context::new(), &mut parts, Some(&credential), None).await;
        credential.secret_access_key.zeroize();
        credential.session_token.zeroize();
        signed.map_err(|_| unsigned(()))?;
        let mut question = Question::new(Method::POST, url).body(body.as_bytes());
        for (name, value) in &parts.headers {
            // The host is that of the URL.
            if name != header::HOST {
                question = question.sensitive(name.clone(), value.to_str().unwrap_or_default());
            }
        }
        site.client.ask(question).await
    }

    fn error(
        &self,
        site: &Site,
        refusal: Refusal,
        answer: &Answer,
        id: &str,
        login: &Login,
        skew: Option<SignedDuration>,
    ) -> Error {
        let (service, from, region) = (self.service, &login.from, &site.region);
        let (noun, permission) = (service.noun, service.permission);
        let what = match refusal {
            Refusal::Other => return site.client.refusal(answer),
            Refusal::UnknownKey => format!(
                "does not know the access key from {from}: it was deleted or deactivated, or its session token is missing; give this program another one"
            ),
            Refusal::Signature => format!(
                "does not accept what the access key from {from} signs: check that its secret is whole, and this machine's clock"
            ),
            Refusal::Ended => format!(
                "says that the session of the credentials from {from} has ended: log in again, or look at what renews them"
            ),
            Refusal::Clock => match skew.map(|it| it.as_mins()) {
                Some(ahead) if ahead != 0 => format!(
                    "refuses requests because the clock of this machine is {} min {}: set it",
                    ahead.unsigned_abs(),
                    if ahead > 0 { "ahead" } else { "behind" },
                ),
                _ => "refuses requests by their time: set the clock of this machine".into(),
            },
            Refusal::Denied => format!(
                "does not allow the credentials from {from} to read the {noun} {id}: they need {permission}, and kms:Decrypt where it has a key of its own"
            ),
            Refusal::Decryption => format!(
                "cannot decrypt the {noun} {id}: check that its KMS key is enabled, and that the credentials from {from} may use it (kms:Decrypt)"
            ),
            Refusal::Throttled => "wants fewer requests: it is asked again later".into(),
            Refusal::Missing => format!(
                "does not know the {noun} {id} in {region}: check its name, its region, and that it has a value"
            ),
            Refusal::NotReadable => format!(
                "has the {noun} {id} in {region} marked for deletion: restore it, or use another one"
            ),
            Refusal::Invalid => format!("takes {id} for no name of a {noun}: check it"),
            Refusal::Down => "cannot answer now: it is asked again".into(),
        };
        site.client.error(refusal.kind(), answer, &what)
    }
}

/// The part of a URL behind the region.
fn domain(region: &str) -> &'static str {
    const OTHERS: [(&str, &str); 6] = [
        ("cn-", "amazonaws.com.cn"),
        ("eusc-", "amazonaws.eu"),
        ("us-iso-", "c2s.ic.gov"),
        ("us-isob-", "sc2s.sgov.gov"),
        ("eu-isoe-", "cloud.adc-e.uk"),
        ("us-isof-", "csp.hci.ic.gov"),
    ];
    let other = OTHERS.iter().find(|(prefix, _)| region.starts_with(prefix));
    other.map_or("amazonaws.com", |(_, domain)| domain)
}

/// A region becomes a part of a host, so that it must be one.
fn check_region(region: &str) -> Result<(), Error> {
    let is_region = (1..=32).contains(&region.len())
        && region.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-');
    match is_region {
        true => Ok(()),
        false => Err(Error::new(
            ErrorKind::InvalidConfig,
            "the AWS region is none: it must look like eu-west-1",
        )),
    }
}

/// The region that a full name says: `arn:aws:secretsmanager:eu-west-1:...`.
pub(super) fn region_of_arn(id: &str) -> Option<&str> {
    let mut parts = id.strip_prefix("arn:")?.splitn(5, ':');
    parts.nth(2).filter(|region| !region.is_empty())
}

/// The functions of a source's builder that say how AWS is reached and who asks. It must be able to `change` its access.
macro_rules! access_options {
    () => {
        /// The region. Without it, that of the name, if that is an ARN, or of `AWS_REGION`, `AWS_DEFAULT_REGION`, or of
        /// the profile in `~/.aws/config`.
        pub fn region(self, region: &str) -> Self {
            self.change(|access| access.region = Some(region.trim().into()))
        }

        /// Where it is, if not at its usual place: a VPC endpoint, a FIPS endpoint, or a server of your own that stands in
        /// for AWS. Without it, what `AWS_ENDPOINT_URL` says, or its variable for this service.
        pub fn endpoint_url(self, url: &str) -> Self {
            self.change(|access| access.endpoint_url = Some(url.trim().into()))
        }

        /// Logs in as this profile of `~/.aws/config` and `~/.aws/credentials` says, and in no other way.
        pub fn profile(self, name: &str) -> Self {
            let identity = super::identity::Identity::chain(Some(name.trim().into()));
            self.change(|access| access.identity = identity.into())
        }

        /// Logs in with this access key, and with this session token if it belongs to a session. They never change: where
        /// they are rotated or end, use a [`profile`](Self::profile) or [`credentials_fn`](Self::credentials_fn).
        pub fn credentials(
            self,
            access_key_id: impl Into<crate::secret::Secret>,
            secret_access_key: impl Into<crate::secret::Secret>,
            session_token: Option<crate::secret::Secret>,
        ) -> Self {
            let identity = super::identity::Identity::given(
                access_key_id.into(),
                secret_access_key.into(),
                session_token,
            );
            self.change(|access| access.identity = identity.into())
        }

        /// Logs in with what this function returns, such as the current credential of another
        /// [`KeySwap`](crate::KeySwap): `key` is the access key's id, and beside it there are `secret` and, for a session,
        /// `session_token`. It is called at first use, five minutes before the end that the credential names, and once
        /// when AWS rejects it.
        pub fn credentials_fn<F, Fut>(self, function: F) -> Self
        where
            F: Fn() -> Fut + Send + Sync + 'static,
            Fut: Future<Output = Result<crate::credential::Credential, crate::error::Error>>
                + Send
                + 'static,
        {
            let identity = super::identity::Identity::function(function);
            self.change(|access| access.identity = identity.into())
        }

        /// How long one answer may take: unless this says otherwise, as long as the handle's
        /// [`fetch_timeout`](crate::Policy::fetch_timeout), which holds for the whole fetch as well.
        pub fn timeout(self, timeout: std::time::Duration) -> Self {
            self.change(|access| access.client.set_timeout(timeout))
        }

        /// Trusts the certificates in this PEM, and no others.
        ///
        /// # Errors
        /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) if there is none in it, or one cannot be read.
        pub fn root_certificates(self, pem: &[u8]) -> Result<Self, crate::error::Error> {
            let mut outcome = Ok(());
            let changed = self.change(|access| outcome = access.client.trust(pem));
            outcome.map(|()| changed)
        }

        /// Trusts the certificates in this file, which is read again when it changes.
        pub fn root_certificates_file(self, path: impl Into<std::path::PathBuf>) -> Self {
            let path = path.into();
            self.change(|access| access.client.trust_file(path))
        }

        /// Allows plain HTTP to hosts other than this machine: everybody on the way can read the keys.
        pub fn plain_http_allowed(self) -> Self {
            self.change(|access| access.client.allow_plain_http())
        }
    };
}
pub(super) use access_options;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_part_of_a_host_and_of_a_full_name() {
        for region in ["eu-west-1", "us-gov-east-1", "mars"] {
            assert!(check_region(region).is_ok(), "{region}");
        }
        for region in ["", "evil.example.com/", "EU-WEST-1", "a b", "eu-west-1@x"] {
            assert!(check_region(region).is_err(), "{region}");
        }
        assert_eq!(domain("cn-north-1"), "amazonaws.com.cn");
        assert_eq!(domain("us-isob-east-1"), "sc2s.sgov.gov");
        assert_eq!(domain("us-gov-west-1"), "amazonaws.com");
        let arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/trading-AbCdEf";
        assert_eq!(region_of_arn(arn), Some("eu-west-1"));
        assert_eq!(
            (region_of_arn("prod/trading"), region_of_arn("arn:aws:ssm::1:x")),
            (None, None)
        );
    }
}
