//! Request signatures that are built in, each with what its API answers. Feature `signing`.
//!
//! # Theory of operation
//!
//! A signature is made of the request as it is sent: the path and query are those of the URL as it is encoded, the
//! body is the caller's bytes or the one that the signature puts there. It is made anew for each send, with the
//! time by the API's clock and all material from one credential. The names of the material are `key`, `secret`
//! and `passphrase`.
//!
//! [`api`] gives each API's [`Scheme`](crate::Scheme) together with its [`Classifier`](crate::Classifier), which
//! belong together: APIs that sign say "bad key", "bad clock", "wrong IP" and "locked" with one status, and only
//! their codes tell them apart. What is about the IP, a permission or a lock never rotates.
//!
//! ```
//! # fn example(keys: &keyswap::KeySwap) -> Result<(), keyswap::Error> {
//! use keyswap::{Client, api};
//! let binance = Client::builder(keys).base_url("https://api.binance.com")?.api(api::binance()).build()?;
//! # Ok(()) }
//! ```
//!
//! What these signatures need of cryptography is in ring, which speaks TLS here as well.

pub mod api;
mod aws;
mod binance;
mod bitget;
mod bybit;
mod codes;
mod coinbase;
mod crypto;
mod hmac;
mod http_signature;
mod kraken;
mod kucoin;
mod okx;
mod text;

pub use self::{
    api::Api,
    aws::AwsErrors,
    codes::{Codes, Meaning},
    hmac::{Digest, Encoding, Hmac, Part, SecretForm, TimeForm},
    http_signature::{Algorithm, Component, HttpSignature},
};
