//! The epoch where JavaScript can read it without a call: a word of shared memory, which the core writes
//! right after a snapshot can be read.
//!
//! The one file with `unsafe`. The memory is that of an `Int32Array` over a `SharedArrayBuffer`, which this
//! holds a reference to, so that it is not collected; its address does not change, because shared memory
//! cannot be detached or moved. It is written as an atomic, on any thread. When the environment that owns
//! it ends (a worker, or the process), its clean-up hook takes the array out, under the lock that writers
//! hold, before the memory is released.

#![allow(unsafe_code, reason = "see above")]

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicI32, Ordering},
};

use napi::{Env, Error, bindgen_prelude::*};

/// A place for the epoch, as long as its environment lives.
#[derive(Clone)]
pub(crate) struct Epochs(Arc<Mutex<Option<Int32Array>>>);

impl Epochs {
    pub(crate) fn new(env: &Env, array: Int32Array) -> Result<Self> {
        if array.len() != 1 {
            return Err(Error::from_reason("the place for the epoch is one word"));
        }
        let epochs = Self(Arc::new(Mutex::new(Some(array))));
        env.add_env_cleanup_hook(epochs.clone(), |epochs| epochs.release())?;
        Ok(epochs)
    }

    /// Writes the lower 32 bits: JavaScript only asks whether they changed.
    pub(crate) fn write(&self, epoch: u64) {
        if let Some(array) = &*self.place() {
            // SAFETY: the array has one element, is aligned for it, and is held by a reference; others
            // access it as an atomic, too (`Atomics.load`).
            let word = unsafe { AtomicI32::from_ptr(array.as_ref().as_ptr().cast_mut()) };
            word.store(epoch as i32, Ordering::Release);
        }
    }

    pub(crate) fn release(&self) {
        self.place().take();
    }

    fn place(&self) -> std::sync::MutexGuard<'_, Option<Int32Array>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
