//! The response header `Credential-Status`: what an API says of the credential that it was just shown.
//!
//! `retiring; id="k_42"; until=@1795545600; successor="k_43"`, or `revoked; id="k_42"`: an item with
//! parameters of RFC 9651. It is read strictly: a header that is malformed anywhere, that stands twice,
//! or that says something else, says nothing. Reading it decides nothing; the engine takes what it says as
//! a hint.

use http::{HeaderMap, HeaderName};

use crate::{
    credential::{CredentialId, is_valid_id},
    engine::rotation::CredentialStatus,
    structured_fields::{Bare, Params, item},
};

/// The header's name.
pub(super) static NAME: HeaderName = HeaderName::from_static("credential-status");

/// What the headers say, and of which credential.
pub(crate) fn read(headers: &HeaderMap) -> Option<(CredentialId, CredentialStatus)> {
    let mut lines = headers.get_all(&NAME).iter();
    let only = lines.next().filter(|_| lines.next().is_none())?;
    parse(only.to_str().ok()?)
}

fn parse(text: &str) -> Option<(CredentialId, CredentialStatus)> {
    let said = item(text)?;
    let id = named(&said.params, "id")??;
    // What is there and is not what it must be makes the whole header malformed.
    let successor = named(&said.params, "successor")?;
    if !matches!(param(&said.params, "until"), None | Some(Bare::Date(_))) {
        return None;
    }
    match said.value {
        Bare::Token("retiring") => Some((id, CredentialStatus::Retiring { successor })),
        Bare::Token("revoked") => Some((id, CredentialStatus::Revoked)),
        _ => None,
    }
}

/// The id that stands under this name, if any does; None if it is no id.
fn named(params: &Params<'_>, name: &str) -> Option<Option<CredentialId>> {
    match param(params, name) {
        None => Some(None),
        Some(Bare::String(id)) if is_valid_id(id) => Some(Some(id.as_str().into())),
        Some(_) => None,
    }
}

fn param<'a>(params: &'a Params<'_>, name: &str) -> Option<&'a Bare<'a>> {
    params.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn retiring(id: &str, successor: Option<&str>) -> Option<(CredentialId, CredentialStatus)> {
        let successor = successor.map(Into::into);
        Some((id.into(), CredentialStatus::Retiring { successor }))
    }

    #[test]
    fn what_the_protocol_shows_is_understood() {
        let whole = r#"retiring; id="k_42"; until=@1795545600; successor="k_43""#;
        assert_eq!(parse(whole), retiring("k_42", Some("k_43")));
        assert_eq!(parse(r#" retiring;id="k_42" "#), retiring("k_42", None));
        assert_eq!(
            parse(r#"revoked; id="k_42""#),
            Some(("k_42".into(), CredentialStatus::Revoked))
        );
        let last_wins = r#"retiring; id="k_1"; id="k_42""#;
        assert_eq!(parse(last_wins), retiring("k_42", None));
    }

    #[test]
    fn unknown_parameters_are_passed_over() {
        for value in ["", "=7", "=-1.5", "=?0", "=:aGk=:", "=@-5", r#"="a;\"b""#, "=*a/b:c"] {
            let text = format!(r#"retiring; x-1.*{value}; id="k_42""#);
            assert_eq!(parse(&text), retiring("k_42", None), "{text}");
        }
    }

    #[test]
    fn what_is_malformed_says_nothing() {
        for text in [
            "",
            "retiring",
            "revoked;",
            "revoked; id",
            "revoked; id=k_42",
            "revoked; id=42",
            r#"revoked; id="k 42""#,
            r#"revoked; id="""#,
            r#"revoked; id="k_42"#,
            r#"revoked; id="k_42" ;x"#,
            r#"revoked; id="k_42"; "#,
            r#"revoked; id="k_42", revoked; id="k_42""#,
            r#"revoked; ID="k_42""#,
            r#"revoked; id ="k_42""#,
            r#"revoked id="k_42""#,
            r#""revoked"; id="k_42""#,
            r#"(revoked); id="k_42""#,
            r#"Revoked; id="k_42""#,
            r#"expired; id="k_42""#,
            r#"retiring; id="k_42"; until=1795545600"#,
            r#"retiring; id="k_42"; until=@1.5"#,
            r#"retiring; id="k_42"; until=@"#,
            r#"retiring; id="k_42"; until=@1234567890123456"#,
            r#"retiring; id="k_42"; successor=k_43"#,
            r#"retiring; id="k_42"; successor="k 43""#,
            r#"retiring; id="k_42"; x=?2"#,
            r#"retiring; id="k_42"; x=:a"#,
            r#"retiring; id="k_42"; x=1."#,
            "retiring; id=\"k_42\"; x=\"\t\"",
            r#"retiring; id="k_42"; x="\n""#,
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_header_that_stands_twice_says_nothing() {
        let mut headers = HeaderMap::new();
        assert_eq!(read(&headers), None);
        let value = HeaderValue::from_static(r#"revoked; id="k_42""#);
        headers.append(&NAME, value.clone());
        assert!(read(&headers).is_some());
        headers.append(&NAME, value);
        assert_eq!(read(&headers), None);
    }
}
