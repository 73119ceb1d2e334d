//! What a token endpoint answered. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::{
    credential::{Credential, CredentialSet, NamedScheme},
    error::ErrorKind,
    secret::Secret,
    source::wire::{Value, is_end},
};

/// The most scopes that are kept of an answer.
const MAX_SCOPES: usize = 256;

/// What it granted (RFC 6749, section 5.1).
pub(super) struct Granted {
    pub(super) token: Secret,
    /// How long it lives, if that is told.
    pub(super) lives: Option<Duration>,
    /// What it is for, if that is told: it may be less than was asked for.
    pub(super) scopes: Option<Vec<Box<str>>>,
    /// What the next token is asked for with, if that is another one from now on.
    pub(super) refresh: Option<Secret>,
}

/// Why it granted nothing (section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Denied {
    pub(super) kind: ErrorKind,
    /// What it means, and what to do.
    pub(super) what: &'static str,
    /// What of that which was shown it does not accept.
    pub(super) rejects: Rejects,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rejects {
    Nothing,
    /// The secret, the key or the certificate of the client.
    Client,
    /// The refresh token.
    Grant,
}

/// What was granted.
pub(super) fn granted(value: &Value) -> Result<Granted, &'static str> {
    let token = match text(value, "/access_token") {
        Some(token) if !token.is_empty() => Secret::from(token),
        _ => return Err("answered without an access_token: check the token URL"),
    };
    match text(value, "/token_type") {
        // Some servers leave out what is the only one they know.
        None => {}
        Some(kind) if kind.eq_ignore_ascii_case("bearer") => {}
        Some(kind) if kind.eq_ignore_ascii_case("dpop") => {
            return Err(
                "gave a token that is bound to a key (DPoP), which each request would have to prove: have it give this client bearer tokens",
            );
        }
        Some(_) => {
            return Err(
                "gave a token that is no bearer token: have it give this client bearer tokens",
            );
        }
    }
    let scopes = text(value, "/scope").map(|scopes| {
        let scopes = scopes.split_ascii_whitespace().take(MAX_SCOPES);
        scopes.map(Box::from).collect::<Vec<_>>()
    });
    let refresh = text(value, "/refresh_token").filter(|token| !token.is_empty());
    Ok(Granted {
        token,
        lives: value.at("/expires_in").and_then(life),
        scopes,
        refresh: refresh.map(Secret::from),
    })
}

/// What an error means, by its code and the status of the answer. None if the status alone tells.
pub(super) fn denied(status: u16, value: Option<&Value>) -> Option<Denied> {
    use ErrorKind as Kind;
    let denied = |kind, what, rejects| Some(Denied { kind, what, rejects });
    // None of what follows says what the server's own words are: the codes are those of RFC 6749 and RFC 8707.
    match value.and_then(|value| text(value, "/error")) {
        Some("invalid_client") => denied(
            Kind::BootstrapRejected,
            "does not accept this client (invalid_client): check its id and its secret, key or certificate",
            Rejects::Client,
        ),
        // So Keycloak says of a secret that is wrong; others, of a grant that a client may not use.
        Some("unauthorized_client") => denied(
            Kind::BootstrapRejected,
            "does not accept this client (unauthorized_client): check its secret, key or certificate, and that it may use this grant",
            Rejects::Client,
        ),
        Some("invalid_grant") => denied(
            Kind::BootstrapRejected,
            "does not accept what the token is asked for with (invalid_grant): it has ended, was used, or was revoked",
            Rejects::Grant,
        ),
        Some("invalid_scope") => denied(
            Kind::Forbidden,
            "does not grant these scopes (invalid_scope): have it allow them to this client, or ask for others",
            Rejects::Nothing,
        ),
        Some("invalid_target") => denied(
            Kind::Forbidden,
            "grants no token for this resource or audience (invalid_target): check its name",
            Rejects::Nothing,
        ),
        Some("access_denied") => denied(
            Kind::Forbidden,
            "denies the token (access_denied): have it allow this client to get it",
            Rejects::Nothing,
        ),
        Some("unsupported_grant_type") => denied(
            Kind::Forbidden,
            "knows no such grant (unsupported_grant_type): have it allow this grant to the client",
            Rejects::Nothing,
        ),
        Some("invalid_request") => denied(
            Kind::Malformed,
            "does not understand the question (invalid_request): check the options of this source",
            Rejects::Nothing,
        ),
        Some("temporarily_unavailable" | "server_error") => {
            denied(Kind::Unavailable, "cannot answer now: it is asked again", Rejects::Nothing)
        }
        Some("slow_down") => denied(
            Kind::Throttled,
            "wants fewer requests: it is asked again later",
            Rejects::Nothing,
        ),
        _ if status == 401 => denied(
            Kind::BootstrapRejected,
            "does not accept this client: check its id and its secret, key or certificate",
            Rejects::Client,
        ),
        _ => None,
    }
}

impl Granted {
    /// The set of this token alone, which was given at this time by the server's clock, or by this machine's. Where its
    /// scopes are not told, they are those that were asked for (section 5.1).
    pub(super) fn set(
        &self,
        id: &str,
        at: Timestamp,
        lives: Option<Duration>,
        asked: &[Box<str>],
    ) -> CredentialSet {
        let scopes = self.scopes.as_deref().unwrap_or(asked);
        let mut token = Credential::new(id, self.token.clone())
            .with_scheme(NamedScheme::new("bearer"))
            .with_created_at(at)
            .with_scopes(scopes);
        // What is beyond the calendar has no end.
        let lives = lives.and_then(|lives| SignedDuration::try_from(lives).ok());
        let end = lives.and_then(|lives| at.checked_add(lives).ok()).filter(|end| !is_end(*end));
        if let Some(end) = end {
            token = token.with_expires_at(end);
        }
        CredentialSet::new(token)
    }
}

/// Seconds, as a number or as text. What is none, or not above zero, says nothing: servers write such things for what
/// does not end.
fn life(value: &Value) -> Option<Duration> {
    let lives = match value {
        Value::Whole(seconds) => Duration::from_secs(*seconds),
        Value::Fraction(seconds) => Duration::try_from_secs_f64(*seconds).ok()?,
        Value::Text(text) => match text.trim().parse() {
            Ok(seconds) => Duration::from_secs(seconds),
            Err(_) => Duration::try_from_secs_f64(text.trim().parse().ok()?).ok()?,
        },
        _ => return None,
    };
    (!lives.is_zero()).then_some(lives)
}

fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    match value.at(pointer) {
        Some(Value::Text(text)) => Some(text.trim()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::wire::read;

    fn answer(text: &str) -> Value {
        read(text.as_bytes()).expect("JSON")
    }

    fn at() -> Timestamp {
        Timestamp::from_second(1_000).expect("a time")
    }

    #[test]
    fn a_life_is_read_however_it_is_written_and_what_is_none_says_nothing() {
        let lives = |written: &str| {
            let text = format!(r#"{{"access_token": "t", "token_type": "Bearer"{written}}}"#);
            granted(&answer(&text)).map(|it| it.lives.map(|it| it.as_millis())).expect(written)
        };
        for (written, expected) in [
            (r#", "expires_in": 3600"#, Some(3_600_000)),
            (r#", "expires_in": "3600""#, Some(3_600_000)),
            (r#", "expires_in": " 1.5 ""#, Some(1_500)),
            (r#", "expires_in": 3599.5"#, Some(3_599_500)),
            (r#", "expires_in": 1e3"#, Some(1_000_000)),
            ("", None),
            (r#", "expires_in": null"#, None),
            (r#", "expires_in": 0"#, None),
            (r#", "expires_in": -1"#, None),
            (r#", "expires_in": "soon""#, None),
            (r#", "expires_in": "NaN""#, None),
            (r#", "expires_in": [1]"#, None),
        ] {
            assert_eq!(lives(written), expected, "{written}");
        }
        let far = answer(r#"{"access_token": "t", "expires_in": 99999999999999999}"#);
        let far = granted(&far).expect("a token");
        let set = far.set("t1", at(), far.lives, &[]);
        assert_eq!(set.primary().and_then(Credential::expires_at), None, "beyond the calendar");
    }

    #[test]
    fn only_bearer_tokens_are_taken() {
        let kind = |kind: &str| {
            granted(&answer(&format!(r#"{{"access_token": "s3cr3t", "token_type": "{kind}"}}"#)))
                .map(drop)
        };
        assert_eq!(kind("bearer"), Ok(()));
        assert_eq!(kind("BEARER"), Ok(()));
        assert!(kind("DPoP").expect_err("DPoP").contains("DPoP"));
        assert!(kind("mac").is_err() && kind("N_A").is_err());
        assert!(granted(&answer(r#"{"access_token": ""}"#)).is_err());
        assert!(granted(&answer(r#"{"token": "s3cr3t"}"#)).is_err());
        assert!(granted(&answer("[]")).is_err());
    }

    #[test]
    fn the_scopes_that_count_are_those_that_were_granted() {
        let asked: Vec<Box<str>> = vec!["read".into(), "write".into()];
        let scopes = |text: &str| {
            let set = granted(&answer(text)).expect("a token").set("t1", at(), None, &asked);
            let token = set.primary().expect("a token");
            (set.check().is_ok(), token.scopes().join(" "))
        };
        assert_eq!(scopes(r#"{"access_token": "t", "scope": "read"}"#), (true, "read".into()));
        assert_eq!(scopes(r#"{"access_token": "t"}"#), (true, "read write".into()));
    }

    #[test]
    fn errors_say_what_is_rejected() {
        let denied = |status, text: &str| denied(status, Some(&answer(text)));
        for (code, kind, rejects) in [
            ("invalid_client", ErrorKind::BootstrapRejected, Rejects::Client),
            ("unauthorized_client", ErrorKind::BootstrapRejected, Rejects::Client),
            ("invalid_grant", ErrorKind::BootstrapRejected, Rejects::Grant),
            ("invalid_scope", ErrorKind::Forbidden, Rejects::Nothing),
            ("invalid_target", ErrorKind::Forbidden, Rejects::Nothing),
            ("temporarily_unavailable", ErrorKind::Unavailable, Rejects::Nothing),
        ] {
            for status in [400, 401] {
                let found = denied(status, &format!(r#"{{"error": "{code}"}}"#)).expect(code);
                assert_eq!((found.kind, found.rejects), (kind, rejects), "{code}");
            }
        }
        let bare = denied(401, r#"{"message": "no"}"#).expect("a 401");
        assert_eq!(bare.rejects, Rejects::Client);
        assert_eq!(denied(400, r#"{"error": "s3cr3t"}"#), None);
        assert_eq!(super::denied(503, None), None);
    }
}
