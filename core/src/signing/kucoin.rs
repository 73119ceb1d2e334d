//! KuCoin, which signs the URL as it was before it was encoded.

use super::{
    codes::{Codes, Meaning},
    hmac::{Encoding, Hmac, Part, TimeForm},
};
use crate::scheme::Scheme;

impl Scheme {
    /// KuCoin: time, method, target before its encoding, and body, in headers `KC-API-*`, with the passphrase
    /// signed as well. For keys of version 2, as the console shows it.
    pub fn kucoin() -> Self {
        Self::kucoin_of_version("2")
    }

    /// The same for keys of another version, such as `3`.
    pub fn kucoin_of_version(version: &str) -> Self {
        Self::hmac(
            Hmac::sha256("KC-API-SIGN", Encoding::Base64)
                .covers([Part::Time, Part::Method, Part::DecodedTarget, Part::Body])
                .key_in("KC-API-KEY")
                .time_in("KC-API-TIMESTAMP", TimeForm::Millis)
                .signed_passphrase_in("KC-API-PASSPHRASE")
                .with_header("KC-API-KEY-VERSION", version),
        )
    }
}

/// 400001 is a header that is missing, 400006 an IP, 400007 a permission.
pub(super) fn codes() -> Codes {
    Codes::in_field("code")
        .means(Meaning::Accepted, ["200000"])
        .means(Meaning::Rejected, ["400003", "400004", "400005"])
        .means(Meaning::Skewed, ["400002"])
        .means(Meaning::Throttled, ["429000", "200002"])
}
