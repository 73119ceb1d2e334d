//! Files of credentials, and how each kind is exchanged for an access token.

use std::{path::PathBuf, time::Duration};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use http::{HeaderName, Method, header::AUTHORIZATION};
use ring::{
    rand::SystemRandom,
    signature::{RSA_PKCS1_SHA256, RsaKeyPair},
};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use url::{Host, Url};
use zeroize::Zeroizing;

use super::{credentials::parsed, versions::text};
use crate::{
    clock::Clock,
    error::{Error, ErrorKind},
    source::{
        BoxFuture,
        access_token::{AccessToken, form, refused},
        reading::Reader,
        store_client::{Question, StoreClient},
        wire::Value,
    },
};

const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const IMPERSONATION: &[u8] =
    br#"{"scope":["https://www.googleapis.com/auth/cloud-platform"],"lifetime":"3600s"}"#;
const TOKEN_URL: &str = "https://oauth2.googleapis.com/token";
const EXCHANGE_URL: &str = "https://sts.googleapis.com/v1/token";

/// A file of credentials. `place` is where it stands, in words.
struct KeyFile<'a> {
    place: &'a str,
    value: &'a Value,
    limit: Duration,
    reader: &'a Reader,
}

/// Logs in with the credentials in this content.
pub(super) async fn log_in(
    place: &str,
    content: &[u8],
    limit: Duration,
    reader: &Reader,
) -> Result<AccessToken, Error> {
    let value = parsed(place, content)?;
    KeyFile { place, value: &value, limit, reader }.token().await
}

impl KeyFile<'_> {
    /// In a box, since credentials may be those of somebody who acts as somebody else.
    fn token(&self) -> BoxFuture<'_, Result<AccessToken, Error>> {
        Box::pin(async move {
            let mut token = match text(self.value, "/type") {
                Some("service_account") => self.service_account().await,
                Some("authorized_user") => self.user().await,
                Some("external_account") => self.workload().await,
                Some("impersonated_service_account") => self.impersonated().await,
                _ => Err(self.fault(
                    "type",
                    "service_account, authorized_user, external_account or impersonated_service_account",
                )),
            }?;
            if let Some(project) = text(self.value, "/quota_project_id") {
                token.quota_project = Some(project.into());
            }
            Ok(token)
        })
    }

    /// The key of a service account signs for it (RFC 7523).
    async fn service_account(&self) -> Result<AccessToken, Error> {
        let url = text(self.value, "/token_uri").unwrap_or(TOKEN_URL);
        let signed = assertion(
            self.needed("/private_key")?,
            text(self.value, "/private_key_id"),
            self.needed("/client_email")?,
            url,
            Clock::system().now().wall.div_euclid(1000),
        )
        .ok_or_else(|| self.fault("private_key", "an RSA key in PEM, as it was downloaded"))?;
        let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
        let advice = "does not accept the key of the service account: check that neither was deleted or disabled, and this machine's clock";
        self.post(url, &[("grant_type", grant), ("assertion", &signed)], advice).await
    }

    /// A person's, as gcloud stored it.
    async fn user(&self) -> Result<AccessToken, Error> {
        let fields = [
            ("grant_type", "refresh_token"),
            ("client_id", self.needed("/client_id")?),
            ("client_secret", self.needed("/client_secret")?),
            ("refresh_token", self.needed("/refresh_token")?),
        ];
        let advice =
            "does not know this user any more: run `gcloud auth application-default login`";
        self.post(text(self.value, "/token_uri").unwrap_or(TOKEN_URL), &fields, advice).await
    }

    /// A workload shows the token that its own platform gives it (RFC 8693).
    async fn workload(&self) -> Result<AccessToken, Error> {
        let subject = self.subject_token().await?;
        let fields = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("audience", self.needed("/audience")?),
            ("scope", SCOPE),
            ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("subject_token", &subject),
            ("subject_token_type", self.needed("/subject_token_type")?),
        ];
        let advice = "does not accept the token of this workload: check the provider and the audience of its workload identity pool";
        let url = text(self.value, "/token_url").unwrap_or(EXCHANGE_URL);
        let token = self.post(url, &fields, advice).await?;
        match text(self.value, "/service_account_impersonation_url") {
            Some(url) => self.impersonate(url, &token).await,
            None => Ok(token),
        }
    }

    /// Somebody else's credentials, who may act as a service account.
    async fn impersonated(&self) -> Result<AccessToken, Error> {
        let source = self.value.at("/source_credentials");
        let source = source.ok_or_else(|| self.fault("source_credentials", "credentials"))?;
        if text(source, "/type") == Some("impersonated_service_account") {
            return Err(self.fault("source_credentials", "no impersonation themselves"));
        }
        let source = KeyFile { value: source, ..*self };
        let token = source.token().await?;
        self.impersonate(self.needed("/service_account_impersonation_url")?, &token).await
    }

    async fn impersonate(&self, url: &str, token: &AccessToken) -> Result<AccessToken, Error> {
        let client = self.client("Google's service account credentials", url)?;
        let question = Question::new(Method::POST, client.base().clone())
            .sensitive(AUTHORIZATION, &token.bearer())
            .json(IMPERSONATION);
        let answer = client.ask(question).await?;
        let advice = "does not let this identity act as the service account: grant it roles/iam.serviceAccountTokenCreator";
        match answer.status.as_u16() {
            200 => AccessToken::read(&client, &answer),
            403 => Err(client.error(ErrorKind::Forbidden, &answer, advice)),
            _ => Err(refused(&client, &answer, advice)),
        }
    }

    /// What the workload's own platform gives it: in a file, or behind a URL.
    async fn subject_token(&self) -> Result<Zeroizing<String>, Error> {
        let content = if let Some(path) = text(self.value, "/credential_source/file") {
            self.reader.small(PathBuf::from(path)).await?
        } else if let Some(url) = text(self.value, "/credential_source/url") {
            self.at_url(url).await?
        } else {
            // An environment_id is AWS's, and an executable would be started.
            return Err(
                self.fault("credential_source", "a file or a url: no other kind is known here")
            );
        };
        let content = match text(self.value, "/credential_source/format/type") {
            Some("json") => {
                let value = parsed("what its credential_source leads to", &content)?;
                let field = self.needed("/credential_source/format/subject_token_field_name")?;
                let pointer = format!("/{}", field.replace('~', "~0").replace('/', "~1"));
                text(&value, &pointer).map(|token| Zeroizing::new(token.to_owned()))
            }
            _ => str::from_utf8(&content).ok().map(|token| Zeroizing::new(token.to_owned())),
        };
        let token = content.map(|token| Zeroizing::new(token.trim().to_owned()));
        token.filter(|token| !token.is_empty()).ok_or_else(|| {
            let what =
                format!("there is no token where the credential_source of {} leads", self.place);
            Error::new(ErrorKind::BootstrapRejected, what)
        })
    }

    async fn at_url(&self, url: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
        let client = self.client("the workload's token server", url)?;
        let mut question = Question::new(Method::GET, client.base().clone());
        if let Some(Value::Object(headers)) = self.value.at("/credential_source/headers") {
            for (name, value) in headers {
                let (Ok(name), Value::Text(value)) = (name.parse::<HeaderName>(), value) else {
                    return Err(self.fault("credential_source.headers", "headers"));
                };
                question = question.sensitive(name, value);
            }
        }
        let answer = client.ask(question).await?;
        match answer.status.as_u16() {
            200 => Ok(answer.body),
            _ => Err(refused(&client, &answer, "gives this workload no token: check its identity")),
        }
    }

    async fn post(
        &self,
        url: &str,
        fields: &[(&str, &str)],
        advice: &str,
    ) -> Result<AccessToken, Error> {
        let client = self.client("Google's token server", url)?;
        let body = form(fields);
        let question = Question::new(Method::POST, client.base().clone()).form(body.as_bytes());
        let answer = client.ask(question).await?;
        match answer.status.as_u16() {
            200 => AccessToken::read(&client, &answer),
            _ => Err(refused(&client, &answer, advice)),
        }
    }

    fn client(&self, what: &'static str, url: &str) -> Result<StoreClient, Error> {
        let mut client = match is_link_local(url) {
            true => StoreClient::metadata(what, url),
            false => StoreClient::at(what, url, TOKEN_URL),
        }?;
        client.set_timeout(self.limit);
        Ok(client)
    }

    fn needed(&self, pointer: &str) -> Result<&str, Error> {
        let found = text(self.value, pointer).filter(|text| !text.is_empty());
        found.ok_or_else(|| self.fault(&pointer[1..].replace('/', "."), "a string"))
    }

    fn fault(&self, field: &str, must: &str) -> Error {
        let what = format!("{} holds no credentials: its {field} must be {must}", self.place);
        Error::new(ErrorKind::InvalidConfig, what)
    }
}

/// Whether this is the metadata service of some cloud, of which a machine's identity is asked over plain HTTP.
fn is_link_local(url: &str) -> bool {
    let host = Url::parse(url).ok();
    matches!(host.as_ref().and_then(Url::host), Some(Host::Ipv4(host)) if host.is_link_local())
}

/// What says, signed by the key of a service account, that it wants a token. None if the key is none.
fn assertion(
    key: &str,
    key_id: Option<&str>,
    email: &str,
    audience: &str,
    now: i64,
) -> Option<Zeroizing<String>> {
    let key = match PrivateKeyDer::from_pem_slice(key.as_bytes()).ok()? {
        PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
        PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
        _ => return None,
    }
    .ok()?;
    let mut head = serde_json::json!({"alg": "RS256", "typ": "JWT"});
    if let Some(id) = key_id {
        head["kid"] = id.into();
    }
    let claims = serde_json::json!({
        "iss": email, "scope": SCOPE, "aud": audience, "iat": now, "exp": now + 3600,
    });
    let signed =
        format!("{}.{}", BASE64.encode(head.to_string()), BASE64.encode(claims.to_string()));
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).ok()?;
    Some(format!("{signed}.{}", BASE64.encode(signature)).into())
}

#[cfg(test)]
mod tests;
