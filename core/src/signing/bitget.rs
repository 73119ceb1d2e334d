//! Bitget, which signs the query sorted, and as it was before it was encoded.

use super::{
    codes::{Codes, Meaning},
    hmac::{Encoding, Hmac, Part, TimeForm},
};
use crate::scheme::Scheme;

impl Scheme {
    /// Bitget: time, method, path, the query sorted and before its encoding, and body, in headers `ACCESS-*`,
    /// with the passphrase.
    pub fn bitget() -> Self {
        Self::hmac(
            Hmac::sha256("ACCESS-SIGN", Encoding::Base64)
                .covers([Part::Time, Part::Method, Part::SortedTarget, Part::Body])
                .key_in("ACCESS-KEY")
                .time_in("ACCESS-TIMESTAMP", TimeForm::Millis)
                .passphrase_in("ACCESS-PASSPHRASE"),
        )
    }
}

/// 40014 and 40018 are a permission and an IP.
pub(super) fn codes() -> Codes {
    Codes::in_field("code")
        .means(Meaning::Accepted, ["00000"])
        .means(Meaning::Rejected, ["40006", "40009", "40012", "40037"])
        .means(Meaning::Skewed, ["40004", "40005", "40008"])
        .means(Meaning::Throttled, ["429"])
        .time_in_field("requestTime")
}
