//! The native half of the Python package `keyswap`.
//!
//! It translates types and nothing else: every rule of rotation is in the core. What it adds is what
//! Python needs to live with a runtime of threads: forks, the end of the interpreter, signals, event
//! loops. Nothing starts at import. No panic and no key material leaves it.

mod attempt;
mod authorizer;
mod bridge;
mod client;
mod credential;
mod document;
mod errors;
mod events;
mod function;
mod keys;
mod log;
mod process;
mod runtime;
mod scheme;
mod sign;
mod source;

use pyo3::prelude::*;

/// The native module. `keyswap` is what programs import.
#[pymodule(gil_used = false)]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    process::refuse_subinterpreters()?;
    process::watch_forks();
    log::install();
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<authorizer::Authorizer>()?;
    module.add_class::<attempt::Attempt>()?;
    module.add_class::<authorizer::Patch>()?;
    module.add_class::<authorizer::Snapshot>()?;
    module.add_class::<bridge::Job>()?;
    module.add_class::<client::Body>()?;
    module.add_class::<client::Client>()?;
    module.add_class::<client::Reply>()?;
    module.add_class::<credential::Credential>()?;
    module.add_class::<credential::CredentialSet>()?;
    module.add_class::<events::Event>()?;
    module.add_class::<events::Events>()?;
    module.add_class::<events::Stats>()?;
    module.add_class::<keys::KeySwap>()?;
    module.add_class::<scheme::Scheme>()?;
    module.add_class::<scheme::Header>()?;
    module.add_class::<scheme::Bearer>()?;
    module.add_class::<scheme::Basic>()?;
    module.add_class::<scheme::Query>()?;
    module.add_class::<sign::Sign>()?;
    module.add_class::<sign::Unsigned>()?;
    module.add_class::<source::Endpoint>()?;
    module.add_class::<source::Env>()?;
    module.add_class::<source::File>()?;
    module.add_class::<function::Answer>()?;
    module.add_function(wrap_pyfunction!(errors::error_codes, module)?)?;
    module.add_function(wrap_pyfunction!(events::event_names, module)?)?;
    module.add_function(wrap_pyfunction!(runtime::exit, module)?)?;
    Ok(())
}
