//! Forks and interpreters: what belongs to this process, and what died with another.
//!
//! The one file with `unsafe`, for two calls into C that have no safe face. A fork is noticed with
//! `pthread_atfork` and not with `os.register_at_fork`, because servers written in C (uWSGI) fork without
//! asking Python; its handler bumps one atomic number and does nothing else, which is all that is allowed
//! in the child of a program with threads. The interpreter's number is asked for once, at import.
//!
//! A value of another process is never used and never dropped: dropping a channel would wake a task of a
//! runtime whose threads are gone, and take a lock that one of them may have held. It is leaked. Nothing
//! here waits for a lock.

#![allow(unsafe_code, reason = "see above")]

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::{ArcSwapOption, Guard};
use pyo3::{exceptions::PyImportError, ffi, prelude::*};

/// Rises by one in each child. It begins at one, so that zero is never.
static GENERATION: AtomicU64 = AtomicU64::new(1);

/// The number of this process in its line of forks.
#[inline]
pub(crate) fn generation() -> u64 {
    GENERATION.load(Ordering::Relaxed)
}

/// From now on forks are noticed, whoever makes them.
pub(crate) fn watch_forks() {
    #[cfg(unix)]
    {
        extern "C" fn in_child() {
            GENERATION.fetch_add(1, Ordering::Relaxed);
        }
        static WATCHING: std::sync::Once = std::sync::Once::new();
        // SAFETY: the handler is a static function that only touches an atomic, and the module that holds
        // it is never unloaded.
        WATCHING.call_once(|| unsafe {
            libc::pthread_atfork(None, None, Some(in_child));
        });
    }
}

/// One runtime and its threads cannot serve several interpreters.
pub(crate) fn refuse_subinterpreters() -> PyResult<()> {
    // SAFETY: a module is initialised by a thread that is attached to an interpreter.
    let number = unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) };
    if number == 0 {
        return Ok(());
    }
    Err(PyImportError::new_err(
        "keyswap cannot be imported in a subinterpreter: import it in the main one, or use processes",
    ))
}

/// A value that is of use only in the process that made it. Elsewhere it is leaked.
pub(crate) struct Local<T> {
    born: u64,
    value: Option<T>,
}

impl<T> Local<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { born: generation(), value: Some(value) }
    }

    /// The value, in the process that made it.
    #[inline]
    pub(crate) fn get(&self) -> Option<&T> {
        if self.born == generation() { self.value.as_ref() } else { None }
    }

    /// The value, whichever process made it: to be read, and not used.
    pub(crate) fn look(&self) -> &T {
        self.value.as_ref().expect("it is taken only when this is dropped")
    }
}

impl<T> Drop for Local<T> {
    fn drop(&mut self) {
        if self.born != generation() {
            std::mem::forget(self.value.take());
        }
    }
}

/// A value that each process makes for itself, at first use.
pub(crate) struct PerProcess<T> {
    made: ArcSwapOption<Local<T>>,
    /// The generation for which somebody makes, or has made, the value. A claim by a thread that did not
    /// survive a fork is one of another generation, and holds up nobody.
    claimed: AtomicU64,
}

impl<T> PerProcess<T> {
    pub(crate) const fn new() -> Self {
        Self { made: ArcSwapOption::const_empty(), claimed: AtomicU64::new(0) }
    }

    /// A value that this process has made.
    pub(crate) fn of(value: T) -> Self {
        let made = ArcSwapOption::from_pointee(Local::new(value));
        Self { made, claimed: AtomicU64::new(generation()) }
    }

    /// This process's value; it is made if there is none. `make` is shown the value of the process that
    /// this one was forked from, which it may read but not use.
    #[inline]
    pub(crate) fn get(
        &self,
        py: Python<'_>,
        make: impl FnOnce(Option<&T>) -> PyResult<T>,
    ) -> PyResult<Here<T>> {
        self.get_if_made().map_or_else(|| self.make(py, make), Ok)
    }

    /// This process's value, if there is one.
    #[inline]
    pub(crate) fn get_if_made(&self) -> Option<Here<T>> {
        let made = self.made.load();
        match &*made {
            Some(local) if local.born == generation() => Some(Here(made)),
            _ => None,
        }
    }

    #[cold]
    fn make(
        &self,
        py: Python<'_>,
        make: impl FnOnce(Option<&T>) -> PyResult<T>,
    ) -> PyResult<Here<T>> {
        let (generation, old) = (generation(), self.made.load());
        loop {
            if let Some(made) = self.get_if_made() {
                return Ok(made);
            }
            let seen = self.claimed.load(Ordering::Acquire);
            if seen != generation
                && self
                    .claimed
                    .compare_exchange(seen, generation, Ordering::AcqRel, Ordering::Acquire)
                    .is_ok()
            {
                break;
            }
            py.detach(std::thread::yield_now);
        }
        match make((*old).as_ref().map(|local| local.look())) {
            Ok(value) => {
                self.made.store(Some(Arc::new(Local::new(value))));
                Ok(Here(self.made.load()))
            }
            Err(error) => {
                self.claimed.store(0, Ordering::Release);
                Err(error)
            }
        }
    }
}

/// A look at a value of this process.
pub(crate) struct Here<T>(Guard<Option<Arc<Local<T>>>>);

impl<T> Deref for Here<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        (*self.0).as_ref().expect("made only of a value that is there").look()
    }
}
