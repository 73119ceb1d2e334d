//! The native half of the Python package `keyswap`.
//!
//! It translates types and nothing else: every rule of rotation is in the core. What it adds is what
//! Python needs to live with a runtime of threads: forks, the end of the interpreter, signals, event
//! loops. Nothing starts at import. No panic and no key material leaves it.

mod attempt;
mod authorizer;
mod bridge;
mod cache;
mod client;
mod credential;
mod errors;
mod events;
mod function;
mod keys;
mod log;
mod process;
mod runtime;
mod scheme;
mod source;

/// The native module. `keyswap` is what programs import.
#[pyo3::pymodule(gil_used = false)]
mod _native {
    use pyo3::prelude::*;

    use crate::{log, process};

    #[pymodule_export]
    use crate::{
        attempt::Attempt,
        authorizer::{Authorizer, Patch, ResponseFilter, Snapshot},
        bridge::{Job, Work},
        client::{Body, Client, Reply},
        credential::{Credential, CredentialSet},
        errors::error_codes,
        events::{Events, event_names},
        function::Answer,
        keys::KeySwap,
        runtime::exit,
        scheme::Scheme,
        source::Source,
    };

    #[pymodule_init]
    fn begin(module: &Bound<'_, PyModule>) -> PyResult<()> {
        process::refuse_subinterpreters()?;
        process::watch_forks();
        log::install();
        module.add("SMALL", keyswap_host::SMALL)?;
        module.add("BRIEF", keyswap_host::BRIEF.as_secs_f64())?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
