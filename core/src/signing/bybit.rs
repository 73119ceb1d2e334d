//! Bybit.

use super::{
    codes::{Codes, Meaning},
    hmac::{Encoding, Hmac, Part, TimeForm},
};
use crate::scheme::Scheme;

/// For how many milliseconds a request is good: Bybit's own default.
const WINDOW: &str = "5000";

impl Scheme {
    /// Bybit, version 5: time, key, window, and the query of a GET or else the body, in headers `X-BAPI-*`. The
    /// secret is that of an HMAC key, or an RSA key in PEM.
    pub fn bybit() -> Self {
        Self::hmac(
            Hmac::sha256("X-BAPI-SIGN", Encoding::Hex)
                .covers([Part::Time, Part::Key, Part::Text(WINDOW.into()), Part::Arguments])
                .key_in("X-BAPI-API-KEY")
                .time_in("X-BAPI-TIMESTAMP", TimeForm::Millis)
                .with_header("X-BAPI-RECV-WINDOW", WINDOW)
                .or_private_key(),
        )
    }
}

/// They come with 200. 10005, 10010 and 10027 to 10029 are permissions and the IP; 10007 is a request without a key.
pub(super) fn codes() -> Codes {
    Codes::in_field("retCode")
        .means(Meaning::Accepted, ["0"])
        .means(Meaning::Rejected, ["10003", "10004", "33004"])
        .means(Meaning::Skewed, ["10002"])
        .means(Meaning::Throttled, ["10006", "10018"])
        .time_in_field("time")
}
