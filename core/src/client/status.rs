//! The response header `Credential-Status`: what an API says of the credential that it was just shown.
//!
//! `retiring; id="k_42"; until=@1795545600; successor="k_43"`, or `revoked; id="k_42"`: an item with
//! parameters of RFC 9651. It is read strictly: a header that is malformed anywhere, that stands twice,
//! or that says something else, says nothing. Reading it decides nothing; the engine takes what it says as
//! a hint.

use std::iter::Peekable;

use http::HeaderMap;

use crate::{
    credential::{CredentialId, is_valid_id},
    engine::rotation::Announcement,
};

/// The header's name.
pub(super) const NAME: &str = "credential-status";

/// What the headers say, and of which credential.
pub(super) fn read(headers: &HeaderMap) -> Option<(CredentialId, Announcement)> {
    let mut lines = headers.get_all(NAME).iter();
    let only = lines.next().filter(|_| lines.next().is_none())?;
    parse(only.to_str().ok()?)
}

fn parse(text: &str) -> Option<(CredentialId, Announcement)> {
    let mut rest = Rest(text.trim_matches(' ').bytes().peekable());
    let status = rest.token()?;
    let (mut id, mut until, mut successor) = (None, None, None);
    while let Some((key, value)) = rest.parameter()? {
        match &*key {
            "id" => id = Some(value),
            "until" => until = Some(value),
            "successor" => successor = Some(value),
            _ => {}
        }
    }
    let named = |value: Value| match value {
        Value::Text(name) if is_valid_id(&name) => Some(CredentialId::from(name)),
        _ => None,
    };
    let id = named(id?)?;
    if until.is_some_and(|until| !matches!(until, Value::Date)) {
        return None;
    }
    // A successor that is not one makes the header malformed, and is not taken for none.
    let successor = match successor.map(named) {
        None => None,
        Some(successor) => Some(successor?),
    };
    match &*status {
        "retiring" => Some((id, Announcement::Retiring { successor })),
        "revoked" => Some((id, Announcement::Revoked)),
        _ => None,
    }
}

/// The value of a parameter. Of kinds that mean nothing here, only that they are well-formed is known.
enum Value {
    Text(String),
    Date,
    Other,
}

/// What is left to read.
struct Rest<I: Iterator<Item = u8>>(Peekable<I>);

impl<I: Iterator<Item = u8>> Rest<I> {
    /// The next parameter; inside, none at the end of the text.
    fn parameter(&mut self) -> Option<Option<(String, Value)>> {
        match self.0.next() {
            None => return Some(None),
            Some(b';') => while self.0.next_if_eq(&b' ').is_some() {},
            Some(_) => return None,
        }
        self.0.peek().filter(|byte| byte.is_ascii_lowercase() || **byte == b'*')?;
        let key = self.run(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.*".contains(&byte)
        });
        let value = match self.0.next_if_eq(&b'=') {
            Some(_) => self.value()?,
            None => Value::Other,
        };
        Some(Some((key, value)))
    }

    fn value(&mut self) -> Option<Value> {
        match *self.0.peek()? {
            b'"' => self.string().map(Value::Text),
            b'@' => {
                self.0.next();
                self.number().filter(|is_whole| *is_whole).map(|_| Value::Date)
            }
            b'-' | b'0'..=b'9' => self.number().map(|_| Value::Other),
            b'?' => {
                self.0.next();
                self.0.next_if(|byte| matches!(byte, b'0' | b'1')).map(|_| Value::Other)
            }
            b':' => {
                self.0.next();
                self.run(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
                self.0.next_if_eq(&b':').map(|_| Value::Other)
            }
            b'%' => {
                self.0.next();
                self.display_string().map(|()| Value::Other)
            }
            _ => self.token().map(|_| Value::Other),
        }
    }

    fn token(&mut self) -> Option<String> {
        self.0.peek().filter(|byte| byte.is_ascii_alphabetic() || **byte == b'*')?;
        Some(self.run(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte)))
    }

    fn string(&mut self) -> Option<String> {
        self.0.next_if_eq(&b'"')?;
        let mut text = String::new();
        loop {
            match self.0.next()? {
                b'"' => return Some(text),
                b'\\' => {
                    let escaped = self.0.next_if(|byte| matches!(byte, b'"' | b'\\'))?;
                    text.push(char::from(escaped));
                }
                byte @ b' '..=b'~' => text.push(char::from(byte)),
                _ => return None,
            }
        }
    }

    /// Text beyond ASCII, whose bytes are escaped. That they are UTF-8 does not matter here.
    fn display_string(&mut self) -> Option<()> {
        self.0.next_if_eq(&b'"')?;
        loop {
            match self.0.next()? {
                b'"' => return Some(()),
                b'%' => {
                    for _ in 0..2 {
                        self.0.next_if(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))?;
                    }
                }
                b' '..=b'~' => {}
                _ => return None,
            }
        }
    }

    /// An integer of at most 15 digits, or a decimal of at most 12 and 3. Says whether it is whole.
    fn number(&mut self) -> Option<bool> {
        self.0.next_if_eq(&b'-');
        let whole = self.run(|byte| byte.is_ascii_digit()).len();
        if self.0.next_if_eq(&b'.').is_none() {
            return (1..=15).contains(&whole).then_some(true);
        }
        let fraction = self.run(|byte| byte.is_ascii_digit()).len();
        ((1..=12).contains(&whole) && (1..=3).contains(&fraction)).then_some(false)
    }

    fn run(&mut self, belongs: impl Fn(u8) -> bool) -> String {
        let mut text = String::new();
        while let Some(byte) = self.0.next_if(|byte| belongs(*byte)) {
            text.push(char::from(byte));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn retiring(id: &str, successor: Option<&str>) -> Option<(CredentialId, Announcement)> {
        let successor = successor.map(Into::into);
        Some((id.into(), Announcement::Retiring { successor }))
    }

    #[test]
    fn what_the_protocol_shows_is_understood() {
        let whole = r#"retiring; id="k_42"; until=@1795545600; successor="k_43""#;
        assert_eq!(parse(whole), retiring("k_42", Some("k_43")));
        assert_eq!(parse(r#" retiring;id="k_42" "#), retiring("k_42", None));
        assert_eq!(parse(r#"revoked; id="k_42""#), Some(("k_42".into(), Announcement::Revoked)));
        let last_wins = r#"retiring; id="k_1"; id="k_42""#;
        assert_eq!(parse(last_wins), retiring("k_42", None));
    }

    #[test]
    fn unknown_parameters_of_every_kind_are_passed_over() {
        for value in [
            "",
            "=7",
            "=-1.5",
            "=?0",
            "=:aGk=:",
            r#"=%"f%c3%bc""#,
            "=@-5",
            r#"="a;\"b""#,
            "=*a/b:c",
        ] {
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
            r#"retiring; id="k_42"; x=%"%C3""#,
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
        headers.append(NAME, value.clone());
        assert!(read(&headers).is_some());
        headers.append(NAME, value);
        assert_eq!(read(&headers), None);
    }
}
