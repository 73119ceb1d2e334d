//! One request of another HTTP library, on its way through a rotation.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use keyswap_host::{
    Attempt, Signature, Signing, Step, failure_named, header_map, header_pairs, invalid,
    signature_failed,
};
use tokio::runtime::Handle;

use crate::{
    job::{NativeJob, Task, runtime},
    opaque::{NativeCredential, NativePatch},
    records::{NativeError, NativeStep, NativeVerdict},
};

#[derive(Debug, uniffi::Object)]
pub struct NativeAttempt {
    attempt: Attempt,
    /// The wait of a thread that looks after it by and by.
    waiting: Mutex<Option<Task<Step>>>,
}

/// What a program's signature adds to a request: names and values by turns.
#[derive(uniffi::Record)]
pub struct NativeSignature {
    /// Headers.
    pub headers: Vec<String>,
    /// Parameters of the query.
    pub query: Vec<String>,
}

impl NativeAttempt {
    pub(crate) fn new(attempt: Attempt) -> Arc<Self> {
        Arc::new(Self { attempt, waiting: Mutex::default() })
    }

    fn waiting(&self) -> MutexGuard<'_, Option<Task<Step>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[uniffi::export]
impl NativeAttempt {
    /// What to do next. It throws `closed` once it is closed, or while it is waited for; so do all others.
    pub fn step(&self) -> Result<NativeStep, NativeError> {
        Ok(self.attempt.step()?)
    }

    /// Throws the error of `Fail`.
    pub fn check(&self) -> Result<(), NativeError> {
        self.attempt.error()?.map_or(Ok(()), |error| Err(error.into()))
    }

    pub fn check_cause(&self) -> Result<(), NativeError> {
        self.attempt.cause()?.map_or(Ok(()), |error| Err(error.into()))
    }

    pub fn body_limit(&self) -> Result<u32, NativeError> {
        Ok(u32::try_from(self.attempt.body_limit()?).unwrap_or(u32::MAX))
    }

    pub fn credential_id(&self) -> Result<Option<String>, NativeError> {
        Ok(self.attempt.credential_id()?)
    }

    pub fn sends(&self) -> Result<u32, NativeError> {
        Ok(self.attempt.sends()?)
    }

    /// What to add to the request for this hop, unless it is to be signed. For an origin that is not allowed, nothing.
    pub fn apply(&self, method: String, url: String) -> Result<Arc<NativePatch>, NativeError> {
        let patch = self.attempt.apply(&method, &url, &header_map::<&str, &str>([]), None)?;
        Ok(Arc::new(NativePatch(patch)))
    }

    /// What the send under way is to be signed with; none for an origin that is not allowed.
    pub fn begin_signing(
        &self,
        method: String,
        url: String,
    ) -> Result<Option<Arc<NativeCredential>>, NativeError> {
        let signing = self.attempt.begin_signing(&method, &url)?;
        Ok(signing.map(|signing| Arc::new(NativeCredential(signing.credential))))
    }

    /// What the program's signature adds to the request. None if there is none, for the reason that is given, and
    /// another credential is to be signed with: begin again.
    pub fn signed(
        &self,
        credential: &NativeCredential,
        signature: Option<NativeSignature>,
        failure: Option<String>,
    ) -> Result<Option<Arc<NativePatch>>, NativeError> {
        let made = signature
            .map(|made| Signature::from_raw(&made.headers, &made.query))
            .ok_or_else(|| signature_failed(failure.as_deref().unwrap_or("it gave none")));
        let signing = Signing { credential: credential.0.clone() };
        Ok(self.attempt.signed(&signing, made)?.map(|patch| Arc::new(NativePatch(patch))))
    }

    /// The response of this hop has come: its status, its headers by turns, the body that `NeedBody` asked for, and
    /// what the program's classifier said.
    pub fn response(
        &self,
        status: u32,
        headers: Vec<String>,
        body: Option<Vec<u8>>,
        verdict: Option<NativeVerdict>,
    ) -> Result<NativeStep, NativeError> {
        let headers = header_map(header_pairs(&headers));
        Ok(self.attempt.response(status, &headers, body.as_deref(), verdict)?)
    }

    pub fn failed(&self, failure: String) -> Result<NativeStep, NativeError> {
        Ok(self.attempt.failed(failure_named(&failure))?)
    }

    pub fn is_rejected(&self) -> Result<bool, NativeError> {
        Ok(self.attempt.is_rejected()?)
    }

    pub fn repeat(&self) -> Result<bool, NativeError> {
        Ok(self.attempt.repeat()?)
    }

    /// Waits as `Wait` says; at once, if the step is another. Cancelled, it closes the attempt.
    pub async fn wait(self: Arc<Self>, job: Arc<NativeJob>) -> Result<NativeStep, NativeError> {
        Ok(job.run(self.attempt.wait()).await?)
    }

    /// The same on a thread that may block, for at most so long: `Wait` if it is not over then, and it goes on.
    pub fn wait_blocking(&self, most_ms: u64) -> Result<NativeStep, NativeError> {
        if Handle::try_current().is_ok() {
            let what = "a thread that calls a program's own code must not be blocked";
            return Err(invalid(what).into());
        }
        let runtime = runtime()?;
        let begun = self.waiting().take();
        let mut task = begun.unwrap_or_else(|| Task(runtime.spawn(self.attempt.wait())));
        let most = Duration::from_millis(most_ms);
        match runtime.block_on(async { tokio::time::timeout(most, &mut task).await }) {
            Ok(outcome) => Ok(outcome?),
            Err(_) => {
                *self.waiting() = Some(task);
                Ok(Step::Wait)
            }
        }
    }

    pub fn end(&self) {
        self.attempt.close();
        self.waiting().take();
    }
}
