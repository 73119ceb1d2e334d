//! A scheme and the classifier that belongs to it, for each API that is built in.
//!
//! Use them for the endpoints that need a key: to a public one they would add what it does not expect, and what it
//! answers says nothing of a key.

use std::sync::Arc;

use crate::{
    engine::verdict::{Classifier, DefaultClassifier},
    scheme::Scheme,
    signing::{aws::AwsErrors, binance, bitget, bybit, coinbase, kraken, kucoin, okx},
};

/// How an API is signed for, and what it answers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Api {
    /// How credentials go onto requests.
    pub scheme: Scheme,
    /// What responses say.
    pub classifier: Arc<dyn Classifier>,
}

impl Api {
    /// A pair of the program's own.
    pub fn new(scheme: Scheme, classifier: impl Classifier) -> Self {
        Self { scheme, classifier: Arc::new(classifier) }
    }
}

/// Binance: [`Scheme::binance`]. Its `-2015` means a wrong key, a wrong IP or a missing permission, and counts as
/// a rejection: the other keys are asked, and if none of them is taken, nothing changes.
pub fn binance() -> Api {
    Api::new(Scheme::binance(), binance::codes())
}

/// Kraken: [`Scheme::kraken`]. After `EGeneral:Temporary lockout` nothing is sent for 15 minutes.
pub fn kraken() -> Api {
    Api::new(Scheme::kraken(), kraken::codes())
}

/// OKX: [`Scheme::okx`]. It says 401 for a bad key, a bad clock and a wrong IP alike; its codes tell.
pub fn okx() -> Api {
    Api::new(Scheme::okx(), okx::codes())
}

/// Bybit, version 5: [`Scheme::bybit`].
pub fn bybit() -> Api {
    Api::new(Scheme::bybit(), bybit::codes())
}

/// Coinbase Advanced: [`Scheme::coinbase`].
pub fn coinbase() -> Api {
    Api::new(Scheme::coinbase(), coinbase::advanced_codes())
}

/// Coinbase Exchange: [`Scheme::coinbase_exchange`].
pub fn coinbase_exchange() -> Api {
    Api::new(Scheme::coinbase_exchange(), coinbase::exchange_codes())
}

/// KuCoin: [`Scheme::kucoin`].
pub fn kucoin() -> Api {
    Api::new(Scheme::kucoin(), kucoin::codes())
}

/// Bitget: [`Scheme::bitget`].
pub fn bitget() -> Api {
    Api::new(Scheme::bitget(), bitget::codes())
}

/// A service of AWS, in this region: [`Scheme::aws_sigv4`].
pub fn aws(service: &str, region: &str) -> Api {
    Api::new(Scheme::aws_sigv4(service, region), AwsErrors)
}

/// Token Metrics, whose key goes into the header `api_key`. nginx drops a header with an underscore unless it is
/// told `underscores_in_headers on`: if a proxy of yours stands between, every key is rejected.
pub fn token_metrics() -> Api {
    Api::new(Scheme::header("api_key"), DefaultClassifier)
}
