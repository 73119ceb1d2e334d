//! What endpoints and APIs have in common on the wire: TLS, this machine, and times in headers.

mod calendar;
mod http;
mod loopback;
mod tls;
mod trust;

#[cfg(feature = "reqwest-middleware")]
pub(crate) use self::loopback::pin_localhost;
pub(crate) use self::{
    calendar::{Written, http_date},
    http::{date, retry_after},
    loopback::{is_loopback, on_this_machine},
    tls::{tls_config, tls_config_trusting, unbuildable},
};
