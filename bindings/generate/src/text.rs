//! Sentences: from the comments of Rust to those of a language.

use std::collections::BTreeSet;

/// A comment, in paragraphs, without anything of Rust's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Text(Vec<String>);

/// How a language writes names and times.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// `fetch_floor`, and what a comment says of units as it is.
    Snake,
    /// `fetchFloor`, and what a comment says of units as it is.
    Camel,
    /// The same, and times are milliseconds.
    CamelMillis,
    /// The same, and times have a type that knows its unit.
    CamelTyped,
}

impl Text {
    /// From the lines of a doc comment. Code, and what follows a heading, is for readers of Rust.
    pub(crate) fn new(comment: &str) -> Self {
        let (mut paragraphs, mut is_code) = (vec![String::new()], false);
        for line in comment.lines().map(str::trim).take_while(|line| !line.starts_with("# ")) {
            match line {
                _ if line.starts_with("```") => is_code = !is_code,
                _ if is_code => {}
                "" => paragraphs.push(String::new()),
                line => {
                    let paragraph = paragraphs.last_mut().expect("there is always one");
                    if !paragraph.is_empty() {
                        paragraph.push(' ');
                    }
                    paragraph.push_str(line);
                }
            }
        }
        paragraphs.retain(|paragraph| !paragraph.is_empty());
        Self(paragraphs.iter().map(|paragraph| unlinked(paragraph)).collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first paragraph alone.
    pub(crate) fn first(&self) -> Self {
        Self(self.0.first().cloned().into_iter().collect())
    }

    /// The same with this at its end.
    pub(crate) fn and(mut self, sentence: &str) -> Self {
        match self.0.last_mut() {
            Some(last) => *last = format!("{last} {sentence}"),
            None => self.0.push(sentence.to_owned()),
        }
        self
    }

    /// Whether it says this.
    pub(crate) fn says(&self, words: &str) -> bool {
        self.0.iter().any(|paragraph| paragraph.contains(words))
    }

    /// The same with a unit, at the end of the first clause.
    pub(crate) fn measured(&self, unit: &str) -> Self {
        let mut text = self.clone();
        if let Some(first) = text.0.first_mut() {
            let at = first.find(['.', ':', ';']).unwrap_or(first.len());
            first.insert_str(at, &format!(", in {unit}"));
        }
        text
    }

    /// How long it is.
    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(String::len).sum()
    }

    /// What stands before these words.
    pub(crate) fn before(&self, words: &str) -> Option<&str> {
        self.0.iter().find_map(|paragraph| paragraph.split_once(words)).map(|(before, _)| before)
    }

    /// The same with other words in the place of these.
    pub(crate) fn instead(&self, of: &str, with: &str) -> Self {
        Self(self.0.iter().map(|paragraph| paragraph.replace(of, with)).collect())
    }

    /// In one line.
    pub(crate) fn line(&self, style: Style, names: &BTreeSet<String>) -> String {
        self.paragraphs(style, names).join(" ")
    }

    /// Lines of at most this width, with an empty one between paragraphs.
    pub(crate) fn lines(
        &self,
        width: usize,
        style: Style,
        names: &BTreeSet<String>,
    ) -> Vec<String> {
        let paragraphs = self.paragraphs(style, names);
        let wrapped: Vec<_> = paragraphs.iter().map(|paragraph| wrap(paragraph, width)).collect();
        wrapped.join(&String::new())
    }

    fn paragraphs(&self, style: Style, names: &BTreeSet<String>) -> Vec<String> {
        let shown = |paragraph: &String| {
            let text = match style {
                Style::Snake | Style::Camel => paragraph.clone(),
                Style::CamelMillis => paragraph.replace(", in seconds", ", in milliseconds"),
                Style::CamelTyped => {
                    paragraph.replace(", in seconds", "").replace(", in milliseconds", "")
                }
            };
            in_style(&text, style, names)
        };
        self.0.iter().map(shown).collect()
    }
}

/// The same, with the names in code that are ours in the style of a language.
fn in_style(text: &str, style: Style, names: &BTreeSet<String>) -> String {
    let parts = text.split('`').enumerate().map(|(nth, part)| match nth % 2 {
        1 if style != Style::Snake && names.contains(part) => camel(part),
        _ => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join("`")
}

/// Links to other places of the documentation of Rust become what they show.
fn unlinked(text: &str) -> String {
    let (mut made, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('[') {
        made.push_str(&rest[..at]);
        let inner = &rest[at + 1..];
        let Some(end) = inner.find(']') else { break };
        let (shown, after) = (&inner[..end], &inner[end + 1..]);
        let target = after.strip_prefix('(').and_then(|after| after.split_once(')'));
        if target.is_none() && !shown.starts_with('`') {
            // It is no link.
            made.push_str(&rest[at..at + 1]);
            rest = inner;
            continue;
        }
        made.push_str(&shown.replace("Self::", "").replace("crate::", "").replace("::", "."));
        rest = target.map_or(after, |(_, after)| after);
    }
    made + rest
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in words(text) {
        let line = lines.last_mut().expect("there is always one");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(word);
        } else {
            line.push_str(if line.is_empty() { "" } else { " " });
            line.push_str(&word);
        }
    }
    lines
}

/// What a line may begin with: a number and its unit stay together.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in text.split(' ') {
        let is_unit =
            ["s", "ms", "min", "h"].contains(&word.trim_end_matches(['.', ',', ':', ';', ')']));
        match words.last_mut() {
            Some(last) if is_unit && last.ends_with(|c: char| c.is_ascii_digit()) => {
                last.push(' ');
                last.push_str(word);
            }
            _ => words.push(word.to_owned()),
        }
    }
    words
}

/// `fetch_floor` as `fetchFloor`.
pub(crate) fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |made, word| made + &capital(word))
}

/// `SetRevoked` as `set_revoked`.
pub(crate) fn snake(name: &str) -> String {
    name.char_indices().fold(String::new(), |mut made, (at, letter)| {
        if letter.is_uppercase() && at > 0 {
            made.push('_');
        }
        made.extend(letter.to_lowercase());
        made
    })
}

/// `plainHTTPAllowed`, `NeedBody` and `NEED_BODY` as `plain_http_allowed` and `need_body`.
pub(crate) fn lower(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut made = String::new();
    for (at, letter) in letters.iter().enumerate() {
        let before = at.checked_sub(1).map(|at| letters[at]);
        let begins = before.is_some_and(|before| before.is_lowercase() || before.is_ascii_digit())
            || before.is_some_and(char::is_uppercase)
                && letters.get(at + 1).is_some_and(|next| next.is_lowercase());
        if letter.is_uppercase() && begins {
            made.push('_');
        }
        made.extend(letter.to_lowercase());
    }
    made
}

/// `floor` as `Floor`.
pub(crate) fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().collect::<String>() + letters.as_str()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> BTreeSet<String> {
        ["fetch_floor".to_owned()].into()
    }

    #[test]
    fn nothing_of_rust_is_left() {
        let text = Text::new(
            " Never less than [`fetch_floor`](Self::fetch_floor),\n as [mints](crate::Source::mints) is; [0, 1].\n \
             \n ```\n let x = 1;\n ```\n Wait for [`KeySwap::ready`].\n\n # Errors\n none",
        );
        assert_eq!(
            text.lines(200, Style::Camel, &names()),
            ["Never less than `fetchFloor`, as mints is; [0, 1].", "", "Wait for `KeySwap.ready`."]
        );
        assert!(text.line(Style::Snake, &names()).starts_with("Never less than `fetch_floor`,"));
    }

    #[test]
    fn times_are_in_the_unit_of_the_language() {
        let text = Text::new("How long it takes, in seconds. 30 s.");
        let shown = |style| text.line(style, &names());
        assert_eq!(shown(Style::Camel), "How long it takes, in seconds. 30 s.");
        assert_eq!(shown(Style::CamelMillis), "How long it takes, in milliseconds. 30 s.");
        assert_eq!(shown(Style::CamelTyped), "How long it takes. 30 s.");
    }

    #[test]
    fn lines_are_as_long_as_there_is_room() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("one two three", 6), ["one", "two", "three"]);
        assert_eq!(wrap("after 30 s: so", 8), ["after", "30 s: so"]);
    }

    #[test]
    fn names_are_in_the_style_of_the_language() {
        assert_eq!((&*camel("no_bootstrap"), &*camel("url")), ("noBootstrap", "url"));
        assert_eq!((&*snake("SetRevoked"), &*capital("url")), ("set_revoked", "Url"));
        assert_eq!(
            (&*lower("plainHTTPAllowed"), &*lower("baseURL")),
            ("plain_http_allowed", "base_url")
        );
        assert_eq!((&*lower("NeedBody"), &*lower("NEED_BODY")), ("need_body", "need_body"));
    }
}
