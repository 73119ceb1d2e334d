//! Where AWS's own tools look for credentials, in their order.

use std::sync::Arc;

use jiff::Timestamp;
use reqsign_aws_v4::{
    AssumeRoleCredentialProvider, AssumeRoleWithWebIdentityCredentialProvider, Credential,
    ECSCredentialProvider, EnvCredentialProvider, IMDSv2CredentialProvider,
    ProfileCredentialProvider, RequestSigner, SSOCredentialProvider,
};
use reqsign_core::{ProvideCredential, ProvideCredentialDyn, Signer};
use zeroize::Zeroize;

use super::{super::outside::Outside, super::profile::Section, Login};
use crate::{
    error::{Error, ErrorKind},
    secret::Secret,
};

/// What a place gave: credentials, nothing, or an error.
type Found = Result<Option<Login>, Error>;

/// The first log-in that is found. In this profile alone, if the program names one.
pub(super) async fn search(named: Option<&str>, outside: &Outside) -> Result<Login, Error> {
    let profile = match named {
        Some(profile) => profile.to_owned(),
        None => outside.variable("AWS_PROFILE").unwrap_or_else(|| "default".into()),
    };
    let config = outside.config().await;
    let section = config.as_deref().and_then(|config| Section::of_profile(config, &profile));
    let in_profile = format!("the AWS profile {profile}");
    let mut failures = Vec::new();
    let mut next = |found: Found| match found {
        Ok(found) => found,
        Err(error) => {
            failures.push(error);
            None
        }
    };
    if named.is_none() {
        let variables = EnvCredentialProvider::new();
        if let Some(login) = next(ask(variables, "AWS_ACCESS_KEY_ID", outside).await) {
            return Ok(login);
        }
    }
    if let Some(section) = &section
        && let Some(login) = next(role(section, &in_profile, outside).await)
    {
        return Ok(login);
    }
    let keys = ProfileCredentialProvider::new().with_profile(&profile);
    if let Some(login) = next(ask(keys, &in_profile, outside).await) {
        return Ok(login);
    }
    if let Some(section) = &section
        && section.get("sso_session").is_some()
        && section.get("sso_start_url").is_none()
    {
        let what = format!(
            "{in_profile} has an sso_session, which only the AWS CLI reads: set credential_process = aws configure export-credentials --profile {profile} --format process in another profile, and use that one"
        );
        _ = next(Err(Error::new(ErrorKind::InvalidConfig, what)));
    }
    let sso = SSOCredentialProvider::new().with_profile(&profile);
    let advised = format!("{in_profile} (run `aws sso login` if its session has ended)");
    if let Some(login) = next(ask(sso, &advised, outside).await) {
        return Ok(login);
    }
    if named.is_none() {
        let mut web = AssumeRoleWithWebIdentityCredentialProvider::new()
            .with_role_session_name(session_name(outside));
        // The one of the region answers where there is no way to the one of the world.
        let region =
            outside.variable("AWS_REGION").or_else(|| outside.variable("AWS_DEFAULT_REGION"));
        if let Some(region) = region {
            web = web.with_region(region).with_regional_sts_endpoint();
        }
        if let Some(login) = next(ask(web, "AWS_WEB_IDENTITY_TOKEN_FILE", outside).await) {
            return Ok(login);
        }
    }
    if let Some(line) = section.as_ref().and_then(|it| it.get("credential_process"))
        && let Some(login) = next(process(line, &in_profile, outside).await)
    {
        return Ok(login);
    }
    if named.is_none() {
        let container = ECSCredentialProvider::new();
        if let Some(login) = next(ask(container, "the container's service", outside).await) {
            return Ok(login);
        }
        let is_off = outside
            .variable("AWS_EC2_METADATA_DISABLED")
            .is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let instance = IMDSv2CredentialProvider::new();
        if !is_off {
            let found = ask(instance, "the instance's role (IMDS)", outside).await;
            let elsewhere = "; and nothing is set up elsewhere: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile";
            if let Some(login) = next(found.map_err(|error| error.with_remark(elsewhere))) {
                return Ok(login);
            }
        }
    }
    // What was set up and failed says more than that nothing else is there.
    if let Some(failure) = failures.into_iter().next() {
        return Err(failure);
    }
    let what = match named {
        Some(_) => format!(
            "{in_profile} has no credentials: look at ~/.aws/credentials and ~/.aws/config, or pass another profile"
        ),
        None => "no AWS credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, set up a profile, give this machine a role, or pass them as `credentials`".into(),
    };
    Err(Error::new(ErrorKind::InvalidConfig, what))
}

async fn ask(
    provider: impl ProvideCredential<Credential = Credential>,
    from: &str,
    outside: &Outside,
) -> Found {
    match provider.provide_credential(&outside.context()).await {
        Ok(found) => Ok(found.map(|it| login(it, from))),
        Err(error) => Err(failed(&error, from)),
    }
}

/// A role that a profile takes on, with the credentials of another profile or of the machine.
async fn role(section: &Section<'_>, from: &str, outside: &Outside) -> Found {
    let Some(arn) = section.get("role_arn") else { return Ok(None) };
    let invalid = |what: &str| Err(Error::new(ErrorKind::InvalidConfig, format!("{from} {what}")));
    let first: Arc<dyn ProvideCredentialDyn<Credential = Credential>> =
        match (section.get("source_profile"), section.get("credential_source")) {
            (Some(source), _) => Arc::new(ProfileCredentialProvider::new().with_profile(source)),
            (None, Some("Environment")) => Arc::new(EnvCredentialProvider::new()),
            (None, Some("EcsContainer")) => Arc::new(ECSCredentialProvider::new()),
            (None, Some("Ec2InstanceMetadata")) => Arc::new(IMDSv2CredentialProvider::new()),
            _ if section.get("web_identity_token_file").is_some() => {
                let file = section.get("web_identity_token_file").unwrap_or_default();
                let web = AssumeRoleWithWebIdentityCredentialProvider::new()
                    .with_role_arn(arn)
                    .with_web_identity_token_file(file)
                    .with_role_session_name(session_name(outside));
                return ask(web, from, outside).await;
            }
            _ => return invalid("takes on a role without a source_profile or credential_source"),
        };
    if section.get("mfa_serial").is_some() {
        return invalid("wants a code of a device, which nobody types here: use another profile");
    }
    let region =
        section.get("region").map(str::to_owned).or_else(|| outside.variable("AWS_REGION"));
    let region = region.unwrap_or_else(|| "us-east-1".into());
    let signer = Signer::new(outside.context(), first, RequestSigner::new("sts", &region));
    let name = section.get("role_session_name").map_or_else(|| session_name(outside), Into::into);
    let mut role = AssumeRoleCredentialProvider::new(arn.into(), signer)
        .with_role_session_name(name)
        .with_region(region)
        .with_regional_sts_endpoint();
    if let Some(id) = section.get("external_id") {
        role = role.with_external_id(id.into());
    }
    ask(role, from, outside).await
}

fn session_name(outside: &Outside) -> String {
    outside.variable("AWS_ROLE_SESSION_NAME").unwrap_or_else(|| "keyswap".into())
}

/// What the program that a profile names prints.
#[cfg(feature = "command")]
async fn process(line: &str, from: &str, _: &Outside) -> Found {
    use crate::source::{Command, Fetched, Source};
    let mut command = Command::new(super::super::profile::argv(line)).minting();
    for (name, _) in std::env::vars_os() {
        command = command.inherit_env(name);
    }
    match command.fetch(None).await? {
        Fetched::Set(set) => match set.primary() {
            Some(credential) => Login::of(credential, from).map(Some),
            None => Ok(None),
        },
        Fetched::NotModified => Ok(None),
    }
}

#[cfg(not(feature = "command"))]
async fn process(_: &str, from: &str, _: &Outside) -> Found {
    let what = format!("{from} has a credential_process, which needs the feature `command`");
    Err(Error::new(ErrorKind::InvalidConfig, what))
}

/// A log-in of theirs as one of ours, whose pieces are wiped.
fn login(mut theirs: Credential, from: &str) -> Login {
    let piece = |text: &mut String| {
        let secret = Secret::from(text.trim());
        text.zeroize();
        secret
    };
    let (key_id, secret) = (piece(&mut theirs.access_key_id), piece(&mut theirs.secret_access_key));
    let token = theirs.session_token.as_mut().filter(|token| !token.is_empty()).map(piece);
    let ends_at = theirs.expires_in.and_then(|end| Timestamp::from_second(end.as_second()).ok());
    Login { key_id, secret, token, ends_at, from: from.into() }
}

/// What one place failed with. Their words are not passed on: they quote what a service said.
fn failed(error: &reqsign_core::Error, from: &str) -> Error {
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        if let Some(own) = cause.downcast_ref::<Error>() {
            return Error::new(own.kind(), format!("no AWS credentials from {from}: {own}"));
        }
        next = cause.source();
    }
    let (kind, what) = match error.kind() {
        reqsign_core::ErrorKind::RateLimited => (ErrorKind::Throttled, "it wants fewer requests"),
        reqsign_core::ErrorKind::Unexpected if error.is_retryable() => {
            (ErrorKind::Unavailable, "it cannot answer now")
        }
        reqsign_core::ErrorKind::PermissionDenied => {
            (ErrorKind::BootstrapRejected, "it refuses them to this program")
        }
        _ => (ErrorKind::BootstrapRejected, "what is set up there is not valid, or has ended"),
    };
    Error::new(kind, format!("no AWS credentials from {from}: {what}"))
}
