//! An embedded rotation endpoint, a protected API with switchable faults, and the driver of a story.
//!
//! - [`world`] is the model of both, pure: time is an argument, and answers are values. A simulation
//!   in virtual time and the sockets below are driven by the same rules.
//! - [`story`] is one story file: what happens, and which counts must come out.
//! - [`server`] puts a world behind loopback sockets, with a control API for other languages.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! use keyswap_endpoint::server::Endpoint;
//! use keyswap_endpoint::world::WorldConfig;
//!
//! let running = Endpoint::start(WorldConfig::default()).await?;
//! running.apply(&serde_json::from_str(r#"{"do": "rotate", "grace_ms": 5000}"#)?)?;
//! assert_eq!(running.commits().last().map(|commit| commit.generation), Some(2));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod presented;
pub mod server;
pub mod story;
pub mod world;

pub use presented::presented;
