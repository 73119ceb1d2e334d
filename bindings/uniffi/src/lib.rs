//! keyswap for Kotlin and Swift: the native half.
//!
//! It guarantees that key material crosses only inside opaque objects that reveal it when asked, that no
//! panic crosses, and that nothing here waits on a caller's thread but what says so. It holds no rule of
//! rotation. Programs use the packages in `kotlin` and `swift`, which are made for their readers; what is
//! here is what those are built on, and its names begin with `Native`.
//!
//! Everything that takes long runs on this library's own threads. Dropping its future ends it, and so does
//! [`NativeJob::cancel`], for languages whose cancellation does not reach a future.

mod attempt;
mod authorizer;
mod credential;
mod errors;
mod events;
mod foreign;
mod job;
mod journal;
mod keys;
mod reachable;
mod scheme;
mod source;

pub use self::{
    attempt::{NativeAttempt, NativeFailure, NativeStep},
    authorizer::{NativeAuthorizer, NativeAuthorizerSpec, NativeNext, NativePatch, NativeSnapshot},
    credential::{NativeCredential, NativeFacts, NativeSecret},
    errors::{NativeError, error_codes},
    events::{NativeEvent, NativeEvents, event_names},
    foreign::{
        NativeForeignError, NativeFunction, NativeLogger, NativeReachability, NativeStorage,
        NativeWatcher,
    },
    job::NativeJob,
    journal::{NativeLevel, set_logger},
    keys::{NativeKeySwap, NativeSet, NativeStats},
    scheme::{NativeScheme, NativeVerdict},
    source::{NativeEndpointSpec, NativeSource},
};

uniffi::setup_scaffolding!();
