//! Which set an endpoint is asked for, as its URL or the program says.

use url::Url;

/// Which set an endpoint is asked for.
pub(super) struct Name {
    pub(super) told: Option<Box<str>>,
    /// The last part of the URL's path, decoded.
    last: Option<String>,
    /// Whether that stands behind `sets/`. Elsewhere it may be anything, such as the name of a file.
    is_set: bool,
}

impl Name {
    pub(super) fn of(url: &Url) -> Self {
        let parts = url.path_segments().into_iter().flatten().rev();
        let mut parts = parts.skip_while(|part| part.is_empty());
        let last = parts.next().and_then(decoded);
        Self { told: None, last, is_set: parts.next() == Some("sets") }
    }

    /// The name. Where it must be known, the last part of any URL counts.
    pub(super) fn get(&self, must_be_known: bool) -> Option<&str> {
        let last = self.last.as_deref().filter(|_| self.is_set || must_be_known);
        self.told.as_deref().or(last)
    }
}

/// A part of a path without its percent signs. None if that is no text.
fn decoded(part: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let digits = match byte {
            b'%' => after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok()),
            _ => None,
        };
        let escaped = digits
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(escaped.unwrap_or(byte));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    String::from_utf8(bytes).ok()
}
