//! Functions that are written by hand and take options: each parameter is as the description has it, and their comments
//! are generated.

use crate::{
    Files, Result,
    model::Field,
    names::{Name, Names},
    text::lower,
};

/// What a function is about, and no option of it.
const SUBJECTS: &[&str] = &["*", "cls", "configure", "keys", "self", "source", "url"];

/// A function that takes options.
pub(crate) struct Signature<'a> {
    pub(crate) path: &'a str,
    /// Texts that stand one after another before its parameters.
    pub(crate) at: &'a [&'a str],
    /// What it makes; nothing for an adapter, which must take each of the options.
    pub(crate) of: &'a str,
    pub(crate) fields: Vec<&'a Field>,
    /// A parameter, as it is expected.
    pub(crate) declared: &'a dyn Fn(&Field) -> String,
}

impl Signature<'_> {
    /// Compares it with the description, and returns the names of its parameters in order. Those of its options are
    /// added.
    pub(crate) fn check(&self, files: &Files<'_>, names: &mut Names) -> Result<Vec<String>> {
        let text = files.read(self.path)?;
        let at = place(&text, self.at).map_err(|why| format!("{}: {why}", self.path))?;
        let parameters = parameters(&text[at..]);
        let (mut known, mut taken) = (Vec::new(), Vec::new());
        for parameter in &parameters {
            let name = parameter.split(':').next().unwrap_or_default();
            let name = name.split_whitespace().last().unwrap_or_default();
            taken.push(name.to_owned());
            if SUBJECTS.contains(&name) {
                continue;
            }
            if !self.of.is_empty() {
                names.insert(Name::option(self.of, name));
            }
            let Some(field) = self.fields.iter().find(|field| field.name == lower(name)) else {
                continue;
            };
            known.push(&field.name);
            let wanted = (self.declared)(field);
            if *parameter != wanted {
                return Err(format!("{}: `{parameter}` should be `{wanted}`", self.path));
            }
        }
        let missing = self.fields.iter().find(|field| !known.contains(&&field.name));
        if self.of.is_empty()
            && let Some(field) = missing
        {
            return Err(format!("{}: `{}` is missing", self.path, (self.declared)(field)));
        }
        Ok(taken)
    }
}

/// Behind these texts, of which each stands after the one before.
fn place(text: &str, anchors: &[&str]) -> Result<usize> {
    anchors.iter().try_fold(0, |at, anchor| {
        let found = text[at..].find(anchor).ok_or_else(|| format!("`{anchor}` is expected"))?;
        Ok(at + found + anchor.len())
    })
}

/// Those of a list of parameters whose `(` was read, each in one line.
fn parameters(text: &str) -> Vec<String> {
    let (mut found, mut now, mut depth, mut before) = (Vec::new(), String::new(), 0, ' ');
    for letter in text.chars() {
        match letter {
            '(' | '[' | '{' | '<' => depth += 1,
            ')' if depth == 0 => break,
            '>' if before == '-' => {}
            ')' | ']' | '}' | '>' => depth -= 1,
            _ => {}
        }
        before = letter;
        if letter == ',' && depth == 0 {
            found.push(std::mem::take(&mut now));
        } else {
            now.push(letter);
        }
    }
    found.push(now);
    let shown = found.iter().map(|parameter| {
        let words: Vec<_> = parameter.split_whitespace().collect();
        let shown = words.join(" ");
        let shown = shown.strip_prefix("private val ").unwrap_or(&shown);
        shown.strip_prefix("_ ").unwrap_or(shown).to_owned()
    });
    shown.filter(|parameter| !parameter.is_empty()).collect()
}

/// How a language lists parameters in a comment.
pub(crate) struct Listing {
    /// What its lines begin with, behind the indent.
    pub(crate) margin: &'static str,
    /// What the list begins with.
    pub(crate) first: &'static str,
    /// Whether the comment stands before what it is about.
    pub(crate) is_before: bool,
}

impl Listing {
    /// Replaces the list in the comment of what stands behind these texts.
    pub(crate) fn write(
        &self,
        files: &Files<'_>,
        path: &str,
        at: &[&str],
        list: &[String],
    ) -> Result<()> {
        let text = files.read(path)?;
        let behind = place(&text, at).map_err(|why| format!("{path}: {why}"))?;
        let here = text[..behind].matches('\n').count();
        let lines: Vec<&str> = text.lines().collect();
        let is_first =
            |line: &str| line.trim_start().starts_with(&*format!("{}{}", self.margin, self.first));
        let from = if self.is_before {
            (0..here).rev().take_while(|nth| is_comment(lines[*nth])).last()
        } else {
            Some(here)
        };
        let (start, end) = (from.unwrap_or(here), if self.is_before { here } else { lines.len() });
        let first = (start..end).find(|nth| is_first(lines[*nth]));
        let first = first.ok_or_else(|| {
            format!(
                "{path}: the comment of `{}` must have a line `{}{}`",
                at.last().unwrap_or(&""),
                self.margin,
                self.first
            )
        })?;
        let indent = &lines[first][..lines[first].len() - lines[first].trim_start().len()];
        let more = format!("{indent}{}  ", self.margin);
        let last =
            (first + 1..end).find(|nth| !is_first(lines[*nth]) && !lines[*nth].starts_with(&more));
        let list = list.iter().map(|line| format!("{indent}{}{line}", self.margin));
        let before = lines[..first].iter().map(|line| (*line).to_owned());
        let after = lines[last.unwrap_or(end)..].iter().map(|line| (*line).to_owned());
        let all: Vec<_> = before.chain(list).chain(after).collect();
        files.whole(path, all.join("\n") + "\n");
        Ok(())
    }
}

/// Whether this line is one of a comment in Kotlin or in Swift.
fn is_comment(line: &str) -> bool {
    let rest = line.trim_start();
    ["///", "/**", "*", "@"].iter().any(|start| rest.starts_with(start))
}

/// Replaces the comment above the line that begins so, behind these texts.
pub(crate) fn comment(
    files: &Files<'_>,
    path: &str,
    at: &[&str],
    line: &str,
    comment: &str,
) -> Result<()> {
    let text = files.read(path)?;
    let behind = place(&text, at).map_err(|why| format!("{path}: {why}"))?;
    let here = text[..behind].matches('\n').count();
    let lines: Vec<&str> = text.lines().collect();
    let found = (here..lines.len()).find(|nth| lines[*nth].trim_start().starts_with(line));
    let found = found.ok_or_else(|| format!("{path}: `{line}` is expected"))?;
    let first = (0..found).rev().take_while(|nth| is_comment(lines[*nth])).last().unwrap_or(found);
    let indent = &lines[found][..lines[found].len() - lines[found].trim_start().len()];
    let made = comment.lines().map(|line| format!("{indent}{line}"));
    let before = lines[..first].iter().map(|line| (*line).to_owned());
    let after = lines[found..].iter().map(|line| (*line).to_owned());
    let all: Vec<_> = before.chain(made).chain(after).collect();
    files.whole(path, all.join("\n") + "\n");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_told_apart() {
        let text = "_ keys: KeySwap, a: (Int, Int) -> String = { _, _ in \"\" },\n  b: Map<String, Int>,\n) {";
        assert_eq!(
            parameters(text),
            ["keys: KeySwap", "a: (Int, Int) -> String = { _, _ in \"\" }", "b: Map<String, Int>"]
        );
    }
}
