//! Doors for fuzz targets to the readers of sources. See [`crate::fuzzing`].

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::{Command, File, Json, push::events::Events, signature, wire};
use crate::{moment::Moment, structured_fields};

/// The answer of an endpoint that was asked for this set.
pub fn answer(body: &[u8], asked: Option<&str>, signed: bool) -> bool {
    wire::parse_answer(body, asked, signed).is_ok()
}

/// What an endpoint says with an error.
pub fn problem(body: &[u8], asked: Option<&str>) -> bool {
    wire::is_problem(body, "urn:keyswap:error:set-revoked", asked)
}

/// A stream of events, in the pieces in which it comes. How many events were read; None if it was given up.
pub fn events(pieces: &[&[u8]]) -> Option<usize> {
    let mut events = Events::default();
    let mut count = 0;
    for piece in pieces {
        for heard in events.read(piece).ok()? {
            count += usize::from(heard.is_hint());
        }
    }
    Some(count)
}

/// A structured field, as a dictionary and as an item. What is read must be read again from its canonical
/// text, or this panics.
pub fn structured_field(text: &str) -> bool {
    let members = structured_fields::dictionary(text);
    for (_, member) in members.iter().flatten() {
        if let structured_fields::Member::List(list) = member {
            let again = format!("x={}", list.text());
            let read = structured_fields::dictionary(&again);
            let same = matches!(read.as_deref(), Some([(_, structured_fields::Member::List(it))]) if it == list);
            assert!(
                same || again.len() > structured_fields::MAX_FIELD,
                "the canonical text is another value"
            );
        }
    }
    members.is_some() | structured_fields::item(text).is_some()
}

/// The fields that sign an answer, by no key that this crate knows: it must never hold.
pub fn signature(input: &[u8], signature: &[u8], body: &[u8]) -> bool {
    let Ok(pin) = signature::Pin::new("JrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=") else {
        return false;
    };
    let mut headers = signature::digest_header(body);
    for (name, value) in [("signature-input", input), ("signature", signature)] {
        let Ok(value) = HeaderValue::from_bytes(value) else { return false };
        headers.insert(HeaderName::from_static(name), value);
    }
    check(&pin, &headers, body)
}

fn check(pin: &signature::Pin, headers: &HeaderMap, body: &[u8]) -> bool {
    let now = Moment { wall: 1_795_456_800_000, boot: 1 };
    let about = signature::About::Body(body);
    pin.check(now, std::time::Duration::MAX, StatusCode::OK, headers, about).is_ok()
}

/// The answer of any JSON endpoint, read by pointers to all that there can be.
pub fn json(body: &[u8]) -> bool {
    let Ok(json) = Json::new("https://keys.example.com") else { return false };
    let plain = json.reads(body);
    let Ok(json) = Json::new("https://keys.example.com") else { return false };
    let json = json
        .within("/data/0")
        .key("/a~1b")
        .secret("/secret")
        .id("/id")
        .version("/version")
        .expires_at("/until")
        .generation("/generation")
        .previous("/previous");
    plain | json.reads(body)
}

/// What a command printed.
pub fn command(printed: &[u8]) -> bool {
    Command::new(["fuzz"]).reads(printed)
}

/// A file that is followed, or the files of a folder.
pub fn file(whole: &[u8]) -> bool {
    File::new("fuzz").reads_whole(whole)
}

/// The files of a folder, by name.
pub fn folder(pieces: &[(&str, &[u8])]) -> bool {
    File::new("fuzz").reads_pieces(pieces)
}
