//! How signatures write times, and what stands in URLs.

use std::borrow::Cow;

use jiff::Timestamp;
use url::form_urlencoded;

/// The path, and the query with its question mark, as they were before they were encoded for the URL. That need not
/// be text.
pub(super) fn decoded<'a>(path: &'a str, query: &'a str) -> (Cow<'a, [u8]>, Vec<u8>) {
    let path = decode(path.as_bytes(), false);
    let mut whole = Vec::new();
    if !query.is_empty() {
        whole.push(b'?');
        whole.extend_from_slice(&decode(query.as_bytes(), true));
    }
    (path, whole)
}

/// The same, the pairs of the query in the order of their names.
pub(super) fn decoded_and_sorted<'a>(path: &'a str, query: &'a str) -> (Cow<'a, [u8]>, Vec<u8>) {
    let mut pairs: Vec<_> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name.as_bytes(), true), decode(value.as_bytes(), true)))
        .collect();
    // Stable: where a name comes twice, the order is the caller's.
    pairs.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut whole = Vec::new();
    for (at, (name, value)) in pairs.iter().enumerate() {
        whole.push(if at == 0 { b'?' } else { b'&' });
        whole.extend_from_slice(name);
        whole.push(b'=');
        whole.extend_from_slice(value);
    }
    (decode(path.as_bytes(), false), whole)
}

/// What was percent-encoded; in a query a plus is a space.
pub(super) fn decode(text: &[u8], is_query: bool) -> Cow<'_, [u8]> {
    if !text.iter().any(|byte| *byte == b'%' || (is_query && *byte == b'+')) {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let hex = |at: usize| tail.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).unwrap_or(0));
                rest = &tail[2..];
            }
            (b'+', ..) if is_query => {
                out.push(b' ');
                rest = tail;
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    Cow::Owned(out)
}

/// Percent-encoded as RFC 3986 has it: all but letters, digits and `-._~`, and slashes if they are kept.
pub(super) fn encode(text: &[u8], keeps_slashes: bool, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text {
        let is_kept = byte.is_ascii_alphanumeric()
            || b"-._~".contains(byte)
            || (keeps_slashes && *byte == b'/');
        if is_kept {
            out.push(char::from(*byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

/// A form without the fields of this name.
pub(super) fn without_field(form: &[u8], name: &str) -> Vec<u8> {
    let is_mine =
        |pair: &&[u8]| form_urlencoded::parse(pair).next().is_some_and(|(known, _)| known == name);
    let kept = form.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty() && !is_mine(pair));
    kept.collect::<Vec<_>>().join(&b'&')
}

/// `2023-11-14T22:13:20.123Z`
pub(super) fn iso_millis(at: Timestamp) -> String {
    let (date, time) = civil(at);
    let millis = at.as_millisecond().rem_euclid(1_000);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{millis:03}Z",
        date.0, date.1, date.2, time.0, time.1, time.2
    )
}

/// `20231114T221320Z`
pub(super) fn compact(at: Timestamp) -> String {
    let (date, time) = civil(at);
    format!("{:04}{:02}{:02}T{:02}{:02}{:02}Z", date.0, date.1, date.2, time.0, time.1, time.2)
}

/// The date and the time of day in UTC. jiff's own writers would add a thirtieth to the library for phones.
fn civil(at: Timestamp) -> ((i64, i64, i64), (i64, i64, i64)) {
    let seconds = at.as_millisecond().div_euclid(1_000);
    let (day, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Howard Hinnant's civil_from_days: years that begin in March, in eras of 400.
    let shifted = day + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    ((year, month, date), (rest / 3_600, rest / 60 % 60, rest % 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for text in [
            "1970-01-01T00:00:00.000Z",
            "2000-02-29T23:59:59.999Z",
            "2023-11-14T22:13:20.123Z",
            "2024-03-01T00:00:00.007Z",
            "1969-12-31T23:59:59.500Z",
            "9999-12-30T21:00:00.000Z",
        ] {
            let at: Timestamp = text.parse().expect(text);
            assert_eq!(iso_millis(at), text);
            let digits = text.replace(['-', ':'], "");
            assert_eq!(compact(at), format!("{}Z", &digits[..15]));
        }
    }

    #[test]
    fn what_was_encoded_is_decoded_once_and_sorted() {
        let plain = |(path, query): (Cow<'_, [u8]>, Vec<u8>)| {
            String::from_utf8([&path[..], &query].concat()).expect("text")
        };
        assert_eq!(plain(decoded("/a%2Fb+c", "q=a+b%2B%25&x=%E4%B8%AD")), "/a/b+c?q=a b+%&x=中");
        assert_eq!(plain(decoded("/%zz%4", "")), "/%zz%4", "what is no code stays");
        assert_eq!(plain(decoded_and_sorted("/a", "b=2&a=%24&b=1&c")), "/a?a=$&b=2&b=1&c=");
        assert_eq!(plain(decoded_and_sorted("/a", "")), "/a");
    }

    #[test]
    fn a_field_is_taken_out_of_a_form() {
        let out =
            |form: &str| String::from_utf8(without_field(form.as_bytes(), "nonce")).expect("text");
        assert_eq!(out("nonce=1&a=%20+&no%6Ece=2&b"), "a=%20+&b");
        assert_eq!((out(""), out("nonce=7")), (String::new(), String::new()));
    }
}
