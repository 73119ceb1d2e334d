//! Structured field values (RFC 9651), as far as signed answers and `Credential-Status` need them: items, and
//! dictionaries of items and inner lists, read strictly, and written in the one canonical way.
//!
//! Strict means that a value which breaks a rule anywhere is no value at all: two readers of a signed
//! field must not understand two things. Display strings, which no such field has, are not read.
//!
//! Whoever answers writes these fields, so reading one costs time that is linear in its length: a field is
//! at most 8 KiB, and nothing in it has more than 32 members. What is larger is no value.

use std::fmt::Write;

use base64::{Engine, engine::general_purpose::STANDARD};

/// The longest field that is read, in bytes: what servers accept of a whole header line. A signature with
/// everything that it covers is some 400.
pub(crate) const MAX_FIELD: usize = 8 * 1024;
/// The most members of a dictionary, items of a list, and parameters of an item. The fields that are read
/// here have fewer than ten.
const MAX_MEMBERS: usize = 32;

/// A dictionary: its members in the order in which they first stood, the last one of a name winning.
pub(crate) type Dictionary<'a> = Vec<(&'a str, Member<'a>)>;

/// Parameters, in their order.
pub(crate) type Params<'a> = Vec<(&'a str, Bare<'a>)>;

/// What a name in a dictionary stands for.
#[derive(Debug, PartialEq)]
pub(crate) enum Member<'a> {
    Item(Item<'a>),
    List(InnerList<'a>),
}

/// A value with its parameters.
#[derive(Debug, PartialEq)]
pub(crate) struct Item<'a> {
    pub(crate) value: Bare<'a>,
    pub(crate) params: Params<'a>,
}

/// A list in parentheses, with the parameters of the whole.
#[derive(Debug, PartialEq)]
pub(crate) struct InnerList<'a> {
    pub(crate) items: Vec<Item<'a>>,
    pub(crate) params: Params<'a>,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Bare<'a> {
    Integer(i64),
    /// In thousandths, which is all the precision that there is.
    Decimal(i64),
    String(String),
    Token(&'a str),
    Bytes(Vec<u8>),
    Boolean(bool),
    Date(i64),
}

/// Reads a dictionary. None if it is not one.
pub(crate) fn dictionary(text: &str) -> Option<Dictionary<'_>> {
    let mut input = Input::new(text)?;
    let mut members = Dictionary::new();
    while !input.0.is_empty() {
        let name = input.key()?;
        let member = match input.take('=') {
            true => input.member()?,
            false => Member::Item(Item { value: Bare::Boolean(true), params: input.params()? }),
        };
        put(&mut members, name, member)?;
        input.skip(&[' ', '\t']);
        if input.0.is_empty() {
            break;
        }
        // A comma at the end promises a member that is not there.
        if !input.take(',') {
            return None;
        }
        input.skip(&[' ', '\t']);
        if input.0.is_empty() {
            return None;
        }
    }
    Some(members)
}

/// Reads an item. None if it is not one.
pub(crate) fn item(text: &str) -> Option<Item<'_>> {
    let mut input = Input::new(text)?;
    let item = input.item()?;
    input.0.is_empty().then_some(item)
}

impl InnerList<'_> {
    /// The canonical text (RFC 9651, section 4.1.1.1): what a signature is over.
    pub(crate) fn text(&self) -> String {
        let mut out = String::from("(");
        for (index, item) in self.items.iter().enumerate() {
            if index > 0 {
                out.push(' ');
            }
            item.value.write(&mut out);
            write_params(&item.params, &mut out);
        }
        out.push(')');
        write_params(&self.params, &mut out);
        out
    }

    pub(crate) fn param(&self, name: &str) -> Option<&Bare<'_>> {
        self.params.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }
}

impl Bare<'_> {
    fn write(&self, out: &mut String) {
        // Writing to a string cannot fail.
        let _ = match self {
            Self::Integer(number) => write!(out, "{number}"),
            Self::Decimal(thousandths) => {
                let sign = if *thousandths < 0 { "-" } else { "" };
                let all = thousandths.unsigned_abs();
                let fraction = format!("{:03}", all % 1000);
                let fraction = fraction.trim_end_matches('0');
                let fraction = if fraction.is_empty() { "0" } else { fraction };
                write!(out, "{sign}{}.{fraction}", all / 1000)
            }
            Self::String(text) => {
                write!(out, "\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
            }
            Self::Token(token) => write!(out, "{token}"),
            Self::Bytes(bytes) => write!(out, ":{}:", STANDARD.encode(bytes)),
            Self::Boolean(value) => write!(out, "?{}", u8::from(*value)),
            Self::Date(seconds) => write!(out, "@{seconds}"),
        };
    }
}

fn write_params(params: &Params<'_>, out: &mut String) {
    for (name, value) in params {
        out.push(';');
        out.push_str(name);
        if *value != Bare::Boolean(true) {
            out.push('=');
            value.write(out);
        }
    }
}

/// A name that comes twice keeps its first place and its last value. None if there are too many.
fn put<'a, T>(members: &mut Vec<(&'a str, T)>, name: &'a str, value: T) -> Option<()> {
    let is_full = members.len() == MAX_MEMBERS;
    match members.iter_mut().find(|(known, _)| *known == name) {
        Some((_, held)) => *held = value,
        None if is_full => return None,
        None => members.push((name, value)),
    }
    Some(())
}

/// What is still to be read.
struct Input<'a>(&'a str);

impl<'a> Input<'a> {
    fn new(text: &'a str) -> Option<Self> {
        (text.len() <= MAX_FIELD).then(|| Self(text.trim_matches(' ')))
    }

    fn member(&mut self) -> Option<Member<'a>> {
        match self.0.starts_with('(') {
            true => self.inner_list().map(Member::List),
            false => self.item().map(Member::Item),
        }
    }

    fn inner_list(&mut self) -> Option<InnerList<'a>> {
        let mut items = Vec::new();
        if !self.take('(') {
            return None;
        }
        loop {
            self.skip(&[' ']);
            if self.take(')') {
                return Some(InnerList { items, params: self.params()? });
            }
            if items.len() == MAX_MEMBERS {
                return None;
            }
            items.push(self.item()?);
            if !self.0.starts_with([' ', ')']) {
                return None;
            }
        }
    }

    fn item(&mut self) -> Option<Item<'a>> {
        Some(Item { value: self.bare()?, params: self.params()? })
    }

    fn params(&mut self) -> Option<Params<'a>> {
        let mut params = Params::new();
        while self.take(';') {
            self.skip(&[' ']);
            let name = self.key()?;
            let value = if self.take('=') { self.bare()? } else { Bare::Boolean(true) };
            put(&mut params, name, value)?;
        }
        Some(params)
    }

    fn bare(&mut self) -> Option<Bare<'a>> {
        match self.0.chars().next()? {
            '-' | '0'..='9' => self.number(),
            '"' => self.string().map(Bare::String),
            ':' => {
                let (text, rest) = self.0[1..].split_once(':')?;
                self.0 = rest;
                STANDARD.decode(text).ok().map(Bare::Bytes)
            }
            '?' => {
                let value = match self.0.get(..2)? {
                    "?1" => true,
                    "?0" => false,
                    _ => return None,
                };
                self.0 = &self.0[2..];
                Some(Bare::Boolean(value))
            }
            '@' => {
                self.0 = &self.0[1..];
                match self.number()? {
                    Bare::Integer(seconds) => Some(Bare::Date(seconds)),
                    _ => None,
                }
            }
            '*' | 'a'..='z' | 'A'..='Z' => {
                let is_part =
                    |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~:/".contains(c);
                Some(Bare::Token(self.cut(|c| !is_part(c))))
            }
            _ => None,
        }
    }

    fn number(&mut self) -> Option<Bare<'a>> {
        let minus = self.take('-');
        let whole = self.cut(|c| !c.is_ascii_digit());
        let sign = if minus { -1 } else { 1 };
        if !self.0.starts_with('.') {
            let is_whole = (1..=15).contains(&whole.len());
            return is_whole.then(|| whole.parse().ok().map(|it: i64| Bare::Integer(sign * it)))?;
        }
        self.take('.');
        let fraction = self.cut(|c| !c.is_ascii_digit());
        if !(1..=12).contains(&whole.len()) || !(1..=3).contains(&fraction.len()) {
            return None;
        }
        let thousandths: i64 = format!("{whole}{fraction:0<3}").parse().ok()?;
        Some(Bare::Decimal(sign * thousandths))
    }

    fn string(&mut self) -> Option<String> {
        let mut text = String::new();
        let mut chars = self.0.char_indices().skip(1);
        loop {
            match chars.next()? {
                (at, '"') => {
                    self.0 = &self.0[at + 1..];
                    return Some(text);
                }
                (_, '\\') => match chars.next()?.1 {
                    escaped @ ('"' | '\\') => text.push(escaped),
                    _ => return None,
                },
                (_, plain @ ' '..='~') => text.push(plain),
                _ => return None,
            }
        }
    }

    fn key(&mut self) -> Option<&'a str> {
        if !self.0.starts_with(|c: char| c.is_ascii_lowercase() || c == '*') {
            return None;
        }
        let is_part = |c: char| {
            c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-' | '.' | '*')
        };
        Some(self.cut(|c| !is_part(c)))
    }

    /// What stands before the first character of this kind.
    fn cut(&mut self, ends: impl Fn(char) -> bool) -> &'a str {
        let (found, rest) = self.0.split_at(self.0.find(ends).unwrap_or(self.0.len()));
        self.0 = rest;
        found
    }

    fn take(&mut self, wanted: char) -> bool {
        match self.0.strip_prefix(wanted) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn skip(&mut self, spaces: &[char]) {
        self.0 = self.0.trim_start_matches(spaces);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(text: &str) -> Option<String> {
        let whole = format!("x={text}");
        let mut members = dictionary(&whole)?;
        match members.pop()? {
            ("x", Member::List(list)) if members.is_empty() => Some(list.text()),
            _ => None,
        }
    }

    #[test]
    fn every_type_is_read_and_written_in_the_one_way() {
        let cases = [
            ("()", "()"),
            ("( \"a\"   \"b\" )", "(\"a\" \"b\")"),
            (
                "(\"a\\\"\\\\\";sf;n=1 tok/en:*;b=?0);c=?1;d=@-5;  e=\"\"",
                "(\"a\\\"\\\\\";sf;n=1 tok/en:*;b=?0);c;d=@-5;e=\"\"",
            ),
            ("(1 -007 1.50 -0.5 12.0);s=:AAE=:", "(1 -7 1.5 -0.5 12.0);s=:AAE=:"),
            ("(999999999999999 ?1 *t)", "(999999999999999 ?1 *t)"),
            ("(\"a\");n=1;m=2;n=3", "(\"a\");n=3;m=2"),
        ];
        for (text, canonical) in cases {
            assert_eq!(rewritten(text).as_deref(), Some(canonical), "{text}");
        }
    }

    #[test]
    fn dictionaries_keep_their_order_and_the_last_value() {
        let text = " a=1, b;q=2 ,\tc=(1 2), a=?0 ";
        let members = dictionary(text).expect("a dictionary");
        let names: Vec<_> = members.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["a", "b", "c"]);
        let item = |value, params| Member::Item(Item { value, params });
        assert_eq!(members[0].1, item(Bare::Boolean(false), vec![]));
        assert_eq!(members[1].1, item(Bare::Boolean(true), vec![("q", Bare::Integer(2))]));
        assert_eq!(dictionary("  "), Some(vec![]));
    }

    #[test]
    fn an_item_stands_alone() {
        let read = item(" tok;n=1 ").expect("an item");
        assert_eq!(read, Item { value: Bare::Token("tok"), params: vec![("n", Bare::Integer(1))] });
        for text in ["", "tok, tok", "tok;", "tok x", "(tok)"] {
            assert_eq!(item(text), None, "{text:?}");
        }
    }

    #[test]
    fn what_breaks_a_rule_is_no_value_at_all() {
        for text in [
            "a=1,",
            "a=1 b=2",
            ",a=1",
            "A=1",
            "=1",
            "a=",
            "a= 1",
            "a=1;",
            "a=1;B",
            "a=1;b=",
            "1",
            "a=(1",
            "a=(1\"b\")",
            "a=(1,2)",
            "a=((1))",
            "a=\"x",
            "a=\"\\x\"",
            "a=\"é\"",
            "a=\"\t\"",
            "a=:AA",
            "a=:A:",
            "a=:AAE:",
            "a=:A A=:",
            "a=?2",
            "a=?",
            "a=@1.5",
            "a=@",
            "a=-",
            "a=1.",
            "a=.5",
            "a=1.2345",
            "a=1234567890123456",
            "a=1234567890123.1",
            "a=%\"x\"",
            "a=é",
            "é=1",
            "a=1\n",
            "\ta=1",
        ] {
            assert_eq!(dictionary(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_field_without_a_reasonable_end_is_no_value_and_costs_nothing() {
        let list = |count: usize, of: &dyn Fn(usize) -> String, between: &str| {
            (0..count).map(of).collect::<Vec<_>>().join(between)
        };
        let params = |count| format!("tok{}", list(count, &|n| format!(";p{n}"), ""));
        assert_eq!(item(&params(MAX_MEMBERS)).map(|it| it.params.len()), Some(MAX_MEMBERS));
        assert_eq!(item(&params(MAX_MEMBERS + 1)), None);
        let again = format!("tok{}", ";p=1".repeat(1000));
        assert_eq!(item(&again).map(|it| it.params.len()), Some(1), "one name is one member");
        let members = |count| list(count, &|n| format!("m{n}=1"), ", ");
        assert!(dictionary(&members(MAX_MEMBERS)).is_some());
        assert_eq!(dictionary(&members(MAX_MEMBERS + 1)), None);
        let items = |count| format!("x=({})", list(count, &|n| format!("\"i{n}\""), " "));
        assert!(dictionary(&items(MAX_MEMBERS)).is_some());
        assert_eq!(dictionary(&items(MAX_MEMBERS + 1)), None);
        let long = |length: usize| format!("a=\"{}\"", "x".repeat(length - 4));
        assert!(dictionary(&long(MAX_FIELD)).is_some());
        assert_eq!(dictionary(&long(MAX_FIELD + 1)), None);
        // What once took seconds: every one of these is read within a moment.
        for text in [params(80_000), members(80_000), items(80_000), long(355 * 1024)] {
            assert!(dictionary(&text).is_none() && item(&text).is_none());
        }
    }
}
