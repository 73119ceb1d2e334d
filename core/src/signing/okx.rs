//! OKX.

use super::{
    codes::{Codes, Meaning},
    hmac::{Encoding, Hmac, Part, TimeForm},
};
use crate::scheme::Scheme;

impl Scheme {
    /// OKX, version 5: time, method, target and body, in headers `OK-ACCESS-*`, with the passphrase.
    pub fn okx() -> Self {
        Self::hmac(
            Hmac::sha256("OK-ACCESS-SIGN", Encoding::Base64)
                .covers([Part::Time, Part::Method, Part::Target, Part::Body])
                .key_in("OK-ACCESS-KEY")
                .time_in("OK-ACCESS-TIMESTAMP", TimeForm::IsoMillis)
                .passphrase_in("OK-ACCESS-PASSPHRASE"),
        )
    }
}

/// All of these come with 401, and so does 50110, a wrong IP.
pub(super) fn codes() -> Codes {
    Codes::in_field("code")
        .means(Meaning::Accepted, ["0"])
        .means(Meaning::Rejected, ["50105", "50111", "50113", "50119"])
        .means(Meaning::Skewed, ["50102", "50112"])
        .means(Meaning::Throttled, ["50011", "50013", "50040", "50061"])
}
