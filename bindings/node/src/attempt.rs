//! One request of another HTTP library, on its way through a rotation. The steps are those of the core, as
//! small numbers.

use keyswap_host::{Attempt, Signing, Step, failure_named, header_map, header_pairs};
use napi::{Env, bindgen_prelude::*};
use napi_derive::napi;

use crate::{
    authorizer::NativePatch,
    credential::NativeCredential,
    errors::{Thrown, thrown, told},
    foreign::signature,
    runtime::{Job, promise},
};

/// One request on its way.
#[napi]
pub struct NativeAttempt(pub(crate) Attempt);

#[napi]
impl NativeAttempt {
    /// What to do next.
    #[napi(getter)]
    pub fn step(&self) -> Either<u32, Thrown> {
        told(self.0.step().map(number))
    }

    /// The error of FAIL.
    #[napi(getter)]
    pub fn error(&self) -> Option<Thrown> {
        self.0.error().unwrap_or_else(Some).as_ref().map(thrown)
    }

    /// How many bytes NEED_BODY asks for.
    #[napi(getter)]
    pub fn body_limit(&self) -> u32 {
        self.0.body_limit().map_or(0, |limit| limit as u32)
    }

    /// Whether the last response was a rejection.
    #[napi(getter)]
    pub fn is_rejected(&self) -> bool {
        self.0.is_rejected().unwrap_or(false)
    }

    /// Why a wait for a fresh credential brought nothing.
    #[napi(getter)]
    pub fn cause(&self) -> Option<Thrown> {
        self.0.cause().ok().flatten().as_ref().map(thrown)
    }

    /// The id of the credential of the send under way.
    #[napi(getter)]
    pub fn credential_id(&self) -> Option<String> {
        self.0.credential_id().ok().flatten()
    }

    /// How often the request was sent so far, with the send under way.
    #[napi(getter)]
    pub fn sends(&self) -> u32 {
        self.0.sends().unwrap_or(0)
    }

    /// What to add to the request for this hop. For an origin that is not allowed, nothing.
    #[napi]
    pub fn apply(&self, method: String, url: String) -> Either<NativePatch, Thrown> {
        told(self.0.apply(&method, &url, &header_map([("", ""); 0]), None).map(NativePatch))
    }

    /// In place of `apply`, the credential that this hop is to be signed with; none for an origin that is not
    /// allowed.
    #[napi]
    pub fn begin_signing(
        &self,
        method: String,
        url: String,
    ) -> Either<Option<NativeCredential>, Thrown> {
        let signing = self.0.begin_signing(&method, &url);
        told(signing.map(|signing| signing.map(|it| NativeCredential(it.credential))))
    }

    /// What the program's signature adds, or what it did if it failed. None if another credential is to be
    /// signed with.
    #[napi]
    pub fn signed(
        &self,
        credential: &NativeCredential,
        headers: Vec<String>,
        query: Vec<String>,
        failed: Option<String>,
    ) -> Either<Option<NativePatch>, Thrown> {
        let signing = Signing { credential: credential.0.clone() };
        let outcome = signature(&headers, &query, failed);
        told(self.0.signed(&signing, outcome).map(|patch| patch.map(NativePatch)))
    }

    /// The response of this hop has come: its status, its raw headers, the body that NEED_BODY asked for, and
    /// what the program's function said. Returns the next step.
    #[napi]
    pub fn response(
        &self,
        status: u32,
        headers: Vec<String>,
        body: Option<Uint8Array>,
        said: Option<String>,
    ) -> Either<u32, Thrown> {
        let headers = header_map(header_pairs(&headers));
        let body = body.as_ref().map(|body| body.as_ref());
        let said = said.as_deref().and_then(keyswap::host::verdict);
        told(self.0.response(status, &headers, body, said).map(number))
    }

    /// No response came: `connect`, `timeout`, or anything else.
    #[napi]
    pub fn failed(&self, failure: String) -> Either<u32, Thrown> {
        told(self.0.failed(failure_named(&failure)).map(number))
    }

    /// Begins again for a reason that is not the credential. False if it was sent as often as it may be.
    #[napi]
    pub fn repeat(&self) -> Either<bool, Thrown> {
        told(self.0.repeat())
    }

    /// Waits as WAIT says; at once, if the step is another. Settles with the next step.
    #[napi(ts_return_type = "Promise<unknown>")]
    pub fn wait<'env>(&self, env: &'env Env, job: &Job) -> Result<Object<'env>> {
        promise(env, Some(job), self.0.wait(), number)
    }

    /// Gives back what it holds. It may be called at any time, and again.
    #[napi]
    pub fn close(&self) {
        self.0.close();
    }
}

fn number(step: Step) -> u32 {
    step as u32
}
