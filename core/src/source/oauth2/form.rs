//! `application/x-www-form-urlencoded`, in buffers that are wiped.

use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};
use url::form_urlencoded::byte_serialize;
use zeroize::Zeroizing;

/// A form of these pairs.
pub(super) fn form(pairs: &[(&str, &str)]) -> Zeroizing<String> {
    // One buffer of the full size: one that grows leaves copies behind.
    let most = pairs.iter().map(|(name, value)| 3 * (name.len() + value.len()) + 2).sum();
    let mut form = Zeroizing::new(String::with_capacity(most));
    for (name, value) in pairs {
        if !form.is_empty() {
            form.push('&');
        }
        form.extend(byte_serialize(name.as_bytes()));
        form.push('=');
        form.extend(byte_serialize(value.as_bytes()));
    }
    form
}

/// The value of `Authorization: Basic` for a client: its id and secret are encoded as in a form before they are put
/// together (RFC 6749, section 2.3.1), since either may hold a colon.
pub(super) fn basic(id: &str, secret: &str) -> Zeroizing<String> {
    let mut pair = Zeroizing::new(String::with_capacity(3 * (id.len() + secret.len()) + 1));
    pair.extend(byte_serialize(id.as_bytes()));
    pair.push(':');
    pair.extend(byte_serialize(secret.as_bytes()));
    let mut header = Zeroizing::new(String::with_capacity(6 + pair.len() * 4 / 3 + 4));
    header.push_str("Basic ");
    BASE64.encode_string(pair.as_bytes(), &mut header);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_special_in_a_form_is_encoded() {
        let pairs = [("scope", "read write"), ("resource", "https://api.example.com/?a=1&b=ä")];
        let encoded =
            "scope=read+write&resource=https%3A%2F%2Fapi.example.com%2F%3Fa%3D1%26b%3D%C3%A4";
        assert_eq!(form(&pairs).as_str(), encoded);
        assert_eq!(form(&[]).as_str(), "");
    }

    #[test]
    fn a_client_is_encoded_before_it_is_put_into_basic() {
        let header = basic("bot:1", "p%ss:w+rd é");
        let pair = BASE64.decode(&header["Basic ".len()..]).expect("base64");
        assert_eq!(pair, b"bot%3A1:p%25ss%3Aw%2Brd+%C3%A9");
        // The example of RFC 6749, section 4.4.2.
        assert_eq!(
            basic("s6BhdRkqt3", "gX1fBat3bV").as_str(),
            "Basic czZCaGRSa3F0MzpnWDFmQmF0M2JW"
        );
    }
}
