//! What a vault says of who may ask it: the `WWW-Authenticate` of its 401. Pure.

use url::{Host, Url};

/// The longest challenge that is read. Usual ones have some 150 characters.
const MAX_CHALLENGE: usize = 4 * 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Challenge {
    /// What a token must be for, such as `https://vault.azure.net`.
    pub(super) resource: Box<str>,
    /// The tenant whose identities the vault knows.
    pub(super) tenant: Option<Box<str>>,
}

impl Challenge {
    /// The challenge in this header. None if there is none.
    pub(super) fn parse(header: &str) -> Option<Self> {
        let (scheme, fields) = header.trim().split_once(' ')?;
        if header.len() > MAX_CHALLENGE || !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let field = |name: &str| {
            fields.split(',').find_map(|field| {
                let (known, value) = field.split_once('=')?;
                let value = value.trim().trim_matches('"');
                (known.trim().eq_ignore_ascii_case(name) && !value.is_empty()).then_some(value)
            })
        };
        let scope = field("scope").and_then(|scope| scope.strip_suffix("/.default"));
        let resource = scope.or_else(|| field("resource"))?.trim_end_matches('/');
        let tenant = field("authorization").or_else(|| field("authorization_uri"));
        let tenant = tenant.and_then(|url| Url::parse(url).ok()).and_then(|url| {
            let first = url.path_segments()?.next()?;
            is_tenant(first).then(|| first.into())
        });
        Some(Self { resource: resource.into(), tenant })
    }
}

/// Whether a token for this resource is meant for this vault: its host is beneath the resource's. A token that is
/// sent to whoever asks for it can be used by him.
pub(super) fn belongs(vault: &Url, resource: &str) -> bool {
    let Ok(resource) = Url::parse(resource) else { return false };
    match (vault.host(), resource.host()) {
        (Some(Host::Domain(vault)), Some(Host::Domain(resource))) => {
            resource.contains('.')
                && vault.strip_suffix(resource).is_some_and(|before| before.ends_with('.'))
        }
        _ => false,
    }
}

/// Whether this may be a tenant, by its number or by its domain.
pub(super) fn is_tenant(tenant: &str) -> bool {
    (1..=255).contains(&tenant.len())
        && !tenant.starts_with('.')
        && tenant.bytes().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_says_what_for_and_whose() {
        let parse = |text: &str| Challenge::parse(text).map(|it| (it.resource, it.tenant));
        let expected = Some(("https://vault.azure.net".into(), Some("7f1a-2".into())));
        for text in [
            r#"Bearer authorization="https://login.microsoftonline.com/7f1a-2", resource="https://vault.azure.net""#,
            r#"bearer authorization_uri="https://login.windows.net/7f1a-2/",scope="https://vault.azure.net/.default""#,
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
        let adfs = r#"Bearer authorization="x", resource="https://vault.local""#;
        assert_eq!(parse(adfs), Some(("https://vault.local".into(), None)));
        let long = format!(r#"Bearer resource="https://{}""#, "x".repeat(MAX_CHALLENGE));
        for odd in ["", "Bearer", "Basic realm=x", r#"Bearer authorization="https://x/y""#, &*long]
        {
            assert_eq!(parse(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_token_is_for_the_vaults_own_domain() {
        let belongs =
            |vault: &str, resource: &str| belongs(&Url::parse(vault).expect("a URL"), resource);
        assert!(belongs("https://v.vault.azure.net/", "https://vault.azure.net"));
        assert!(belongs("https://v.vault.azure.cn", "https://vault.azure.cn/"));
        for (vault, resource) in [
            ("https://v.vault.azure.net", "https://management.azure.com"),
            ("https://v.evil.example.com", "https://vault.azure.net"),
            ("https://evilvault.azure.net", "https://vault.azure.net"),
            ("https://vault.azure.net", "https://vault.azure.net"),
            ("https://v.vault.azure.net", "https://net"),
            ("https://127.0.0.1", "https://127.0.0.1"),
            ("https://v.vault.azure.net", "vault.azure.net"),
        ] {
            assert!(!belongs(vault, resource), "{vault} {resource}");
        }
    }
}
