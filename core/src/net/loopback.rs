//! This machine: which URLs mean it, and clients that reach no other.

use std::net::{Ipv4Addr, Ipv6Addr};

use reqwest::ClientBuilder;
use url::{Host, Url};

/// Whether the host is this machine by its very name or address.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// What is for this machine reaches no other: a proxy's loopback is another machine, and a resolver may
/// call another one `localhost`.
pub(crate) fn on_this_machine(builder: ClientBuilder) -> ClientBuilder {
    pin_localhost(builder).no_proxy()
}

/// The name of this machine means its loopback addresses, whatever a resolver says.
pub(crate) fn pin_localhost(builder: ClientBuilder) -> ClientBuilder {
    let local = [(Ipv4Addr::LOCALHOST, 0).into(), (Ipv6Addr::LOCALHOST, 0).into()];
    builder.resolve_to_addrs("localhost", &local)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_a_name_or_an_address_and_nothing_alike() {
        let is = |url: &str| is_loopback(&Url::parse(url).expect("a URL"));
        for url in
            ["http://127.0.0.1:1/", "http://127.9.9.9", "http://[::1]:1", "http://LOCALHOST/"]
        {
            assert!(is(url), "{url}");
        }
        for url in ["http://localhost.example.com", "http://128.0.0.1", "http://[::2]", "data:x"] {
            assert!(!is(url), "{url}");
        }
    }
}
