//! Whether a text that a server wrote holds what a request carried.
//!
//! A server may quote the request's own URL, with the key in its query, in the place to which it
//! redirects: within another parameter, as a path, after a `#`, in other letters of encoding, encoded
//! again and again. So the value is looked for and not its place, in the text as it is and as it reads
//! after each decoding.

use crate::scheme::Patch;

/// Encodings within encodings that are undone. A text that has more was made to hide something.
const MOST_DECODINGS: usize = 8;
/// Longer texts are taken to hold it: no honest URL is, and looking through them costs time.
const MOST: usize = 16 * 1024;
/// A value of at least so many letters is found wherever it stands; a shorter one only as a whole piece,
/// since its letters stand in many a URL by chance.
const LONG: usize = 8;

/// Whether any value that this patch adds stands in the text.
pub(super) fn spills(patch: &Patch, text: &str) -> bool {
    if patch.is_empty() {
        return false;
    }
    if text.len() > MOST {
        return true;
    }
    let values: Vec<_> = patch.values().map(with_spaces).collect();
    let mut text = text.as_bytes().to_vec();
    for _ in 0..MOST_DECODINGS {
        let spaced = with_spaces(&text);
        if values.iter().any(|value| holds(&spaced, value)) {
            return true;
        }
        let decoded = decode(&text);
        if decoded == text {
            return false;
        }
        text = decoded;
    }
    true
}

/// A plus is a space where a form was encoded, and a plus elsewhere: here the two are the same.
fn with_spaces(text: &[u8]) -> Vec<u8> {
    text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect()
}

fn holds(text: &[u8], value: &[u8]) -> bool {
    match value.len() {
        0 => false,
        LONG.. => find(text, value),
        _ => text.split(|byte| b"/?#&;=:@,".contains(byte)).any(|piece| piece == value),
    }
}

fn find(text: &[u8], value: &[u8]) -> bool {
    text.windows(value.len()).any(|window| window == value)
}

/// One decoding of `%41`; an unfinished escape stays as it is.
fn decode(text: &[u8]) -> Vec<u8> {
    let digit = |at: usize| text.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut decoded = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                decoded.push(*byte);
                at += 1;
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &str) -> Patch {
        let mut patch = Patch::default();
        patch.add_query("api_key", value);
        patch
    }

    #[test]
    fn a_short_value_is_a_whole_piece_and_a_long_one_any_part() {
        assert!(!spills(&of("s"), "https://other.test/?a=1"));
        assert!(spills(&of("s"), "https://other.test/?a=s"));
        assert!(spills(&of("sk_live_42"), "https://other.test/xsk_live_42x"));
        assert!(!spills(&of(""), "https://other.test/?a="));
        assert!(!spills(&Patch::default(), "anything"));
    }

    #[test]
    fn what_is_encoded_without_end_is_taken_for_a_key() {
        let nested = format!("/?q=%{}41", "25".repeat(50));
        assert!(spills(&of("sk_live_42"), &nested));
        assert!(!spills(&of("sk_live_42"), "/?q=100%&r=%zz%4"));
    }

    #[test]
    fn what_stands_in_a_header_is_found_without_its_scheme() {
        let mut patch = Patch::default();
        let credential = crate::credential::Credential::new("k1", "sk_live_42");
        let name = http::header::AUTHORIZATION;
        patch.add_header(name, "Bearer sk_live_42", &credential).expect("a header");
        assert!(spills(&patch, "https://other.test/?token=sk_live_42"));
        assert!(!spills(&patch, "https://other.test/?Bearer"));
    }
}
