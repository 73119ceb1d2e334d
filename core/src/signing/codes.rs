//! What an API says by a code in its body, whatever the status is.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    engine::verdict::{Classifier, DefaultClassifier, ResponseFilter, Verdict},
    net::retry_after,
    response_view::ResponseView,
};

/// How much of a body is looked at: codes stand at its beginning.
const BODY: usize = 2_048;

/// What a code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Meaning {
    /// All is well: the key was taken.
    Accepted,
    /// The key is not taken.
    Rejected,
    /// The clock or the nonce is wrong.
    Skewed,
    /// Fewer requests are wanted.
    Throttled,
    /// The account is locked for a while.
    Locked,
}

/// Judges by the code at the top of a JSON body. A code that it does not know says nothing of the key: not
/// with 401 either, which APIs say of an IP or a permission as well.
///
/// ```
/// use keyswap::signing::{Codes, Meaning};
/// let codes = Codes::in_field("code")
///     .means(Meaning::Accepted, ["0"])
///     .means(Meaning::Rejected, ["1001", "1002"])
///     .means(Meaning::Skewed, ["1003"]);
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Codes {
    field: &'static str,
    known: Vec<(Meaning, &'static str)>,
    time: Option<&'static str>,
    lockout: Duration,
    /// What a 401 without any code is.
    bare: Verdict,
}

impl Codes {
    /// In the member of this name. If that is a list, its first text counts, and an empty one is an acceptance.
    pub fn in_field(field: &'static str) -> Self {
        Self {
            field,
            known: Vec::new(),
            time: None,
            lockout: Duration::from_secs(15 * 60),
            bare: Verdict::Other,
        }
    }

    /// These codes, which are compared without regard to case.
    pub fn means(
        mut self,
        meaning: Meaning,
        codes: impl IntoIterator<Item = &'static str>,
    ) -> Self {
        self.known.extend(codes.into_iter().map(|code| (meaning, code)));
        self
    }

    /// The time of the API, in milliseconds, is the member of this name. Without one its `Date` counts.
    pub fn time_in_field(mut self, field: &'static str) -> Self {
        self.time = Some(field);
        self
    }

    /// How long the account is left alone once it is locked: 15 minutes unless changed.
    pub fn lockout_of(mut self, how_long: Duration) -> Self {
        self.lockout = how_long;
        self
    }

    /// A 401 that has no code is a rejection.
    pub fn bare_401_rejects(mut self) -> Self {
        self.bare = Verdict::Rejected;
        self
    }

    fn meaning(&self, body: &[u8]) -> Option<Result<Meaning, ()>> {
        let code = Member::find(body, self.field)?;
        if code == Member::Empty {
            return Some(Ok(Meaning::Accepted));
        }
        let is_it = |known: &str| code.text().is_some_and(|code| code.eq_ignore_ascii_case(known));
        let known = self.known.iter().find(|(_, known)| is_it(known));
        Some(known.map(|(meaning, _)| *meaning).ok_or(()))
    }
}

impl Classifier for Codes {
    fn classify(&self, response: &ResponseView<'_>) -> Verdict {
        let status = response.status().as_u16();
        if matches!(status, 418 | 429) {
            return Verdict::Throttled;
        }
        if status >= 500 || (300..400).contains(&status) {
            return DefaultClassifier.classify(response);
        }
        let Some(body) = response.body() else { return Verdict::NeedBody };
        match self.meaning(body) {
            Some(Ok(Meaning::Accepted)) if status < 300 => Verdict::Accepted,
            Some(Ok(Meaning::Rejected)) => Verdict::Rejected,
            Some(Ok(Meaning::Throttled | Meaning::Locked)) => Verdict::Throttled,
            Some(Ok(Meaning::Skewed)) => {
                let shown = self.time.and_then(|field| Member::find(body, field)?.text());
                let millis = shown.and_then(|millis| millis.parse().ok());
                let server_time = millis.and_then(|at| Timestamp::from_millisecond(at).ok());
                Verdict::Skewed { server_time }
            }
            Some(_) => Verdict::Other,
            None if status == 401 => self.bare,
            None => DefaultClassifier.classify(response),
        }
    }

    fn response_filter(&self) -> ResponseFilter {
        ResponseFilter::new([200, 400, 401, 403, 418, 429]).with_body_limit(BODY)
    }

    fn lockout(&self, response: &ResponseView<'_>) -> Option<Duration> {
        // 418 is what comes of going on after a 429.
        if response.status().as_u16() == 418 {
            return Some(retry_after(response.headers()).unwrap_or(self.lockout));
        }
        let meaning = self.meaning(response.body()?)?;
        (meaning == Ok(Meaning::Locked)).then_some(self.lockout)
    }
}

/// The value of a member at the top of a JSON object, as far as it says a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Member<'a> {
    /// A text without its quotes, or a number.
    Text(&'a [u8]),
    /// An empty list.
    Empty,
    /// Anything else.
    Other,
}

impl<'a> Member<'a> {
    /// Reads what there is of a body that may have been cut off.
    pub(super) fn find(body: &'a [u8], name: &str) -> Option<Self> {
        let mut at = skip(body, 0);
        if body.get(at) != Some(&b'{') {
            return None;
        }
        let mut depth = 0_usize;
        while let Some(byte) = body.get(at) {
            match byte {
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.checked_sub(1)?,
                b'"' => {
                    let end = close(body, at)?;
                    let is_it = depth == 1 && &body[at + 1..end] == name.as_bytes();
                    let after = skip(body, end + 1);
                    if is_it && body.get(after) == Some(&b':') {
                        return Self::read(body, skip(body, after + 1));
                    }
                    at = end;
                }
                _ => {}
            }
            at += 1;
        }
        None
    }

    pub(super) fn text(self) -> Option<&'a str> {
        match self {
            Self::Text(text) => std::str::from_utf8(text).ok(),
            Self::Empty | Self::Other => None,
        }
    }

    fn read(body: &'a [u8], at: usize) -> Option<Self> {
        match body.get(at)? {
            b'"' => Some(Self::Text(&body[at + 1..close(body, at)?])),
            b'[' => match body.get(skip(body, at + 1))? {
                b']' => Some(Self::Empty),
                _ => Self::read(body, skip(body, at + 1)),
            },
            b'-' | b'0'..=b'9' => {
                let is_number = |byte: &u8| byte.is_ascii_digit() || *byte == b'-';
                let rest = &body[at..];
                let end = rest.iter().position(|byte| !is_number(byte))?;
                Some(Self::Text(&rest[..end]))
            }
            _ => Some(Self::Other),
        }
    }
}

fn skip(body: &[u8], mut at: usize) -> usize {
    while body.get(at).is_some_and(u8::is_ascii_whitespace) {
        at += 1;
    }
    at
}

/// Where the text that begins here ends.
fn close(body: &[u8], begin: usize) -> Option<usize> {
    let mut at = begin + 1;
    loop {
        match body.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_found_at_the_top_and_nowhere_else() {
        let find = |body: &'static str| Member::find(body.as_bytes(), "code");
        let text = |text: &'static str| Some(Member::Text(text.as_bytes()));
        assert_eq!(find(r#"{"code":"50111","msg":""}"#), text("50111"));
        assert_eq!(find(r#" { "a" : [{"code":1}] , "code" : -2015 }"#), text("-2015"));
        assert_eq!(find(r#"{"a":"\"code\":1","code":["E:x","E:y"]}"#), text("E:x"));
        assert_eq!(find(r#"{"a":"code","code":[ ]}"#), Some(Member::Empty));
        assert_eq!(find(r#"{"code":{}}"#), Some(Member::Other));
        for none in [
            "",
            "{",
            "[]",
            r#"[{"code":1}]"#,
            r#"{"a":{"code":1}}"#,
            r#"{"code"#,
            r#"{"code":"5"#,
            r#"{"code":50"#,
            r#"}"code":1}"#,
            "code",
            r#"{"a":"code\"#,
        ] {
            assert_eq!(find(none), None, "{none}");
        }
    }
}
