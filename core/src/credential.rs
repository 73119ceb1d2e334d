//! What a source delivers: credentials, and the set of those that are valid together.

mod header_values;
mod tally;

use std::{sync::Arc, time::Duration};

use http::HeaderValue;
use jiff::Timestamp;

use self::header_values::HeaderValues;
pub(crate) use self::{header_values::Form, tally::Tally};
use crate::{
    error::{Error, ErrorKind},
    secret::{Material, Secret},
};

/// The most credentials that one set may hold: current, two previous, next.
pub(crate) const MAX_CREDENTIALS: usize = 4;
/// The most revoked ids that one set may name.
pub(crate) const MAX_REVOKED: usize = 64;

/// The name of a credential. Not a secret; it is what events, errors and reports speak of.
pub type CredentialId = Arc<str>;

/// One usable credential. Printing it never shows the material.
///
/// ```
/// use keyswap::Credential;
/// let credential = Credential::new("k2", "s3cr3t").with_material("passphrase", "open sesame");
/// assert_eq!(credential.id(), "k2");
/// assert_eq!(credential.reveal("passphrase"), Some("open sesame"));
/// assert!(!format!("{credential:?}").contains("s3cr3t"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    id: CredentialId,
    version: Option<Box<str>>,
    material: Material,
    created_at: Option<Timestamp>,
    not_before: Option<Timestamp>,
    activate_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    grace_expires_at: Option<Timestamp>,
    scopes: Vec<Box<str>>,
    scheme: Option<NamedScheme>,
    header_values: HeaderValues,
    accepted: Tally,
}

/// A scheme that the provider names in the set, for programs that name none themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct NamedScheme {
    /// `api_key`, `bearer`, `basic`, or the name of one that the program registered.
    pub name: Box<str>,
    /// The header that `api_key` goes into.
    pub header: Option<Box<str>>,
}

impl NamedScheme {
    /// The scheme of this name.
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), header: None }
    }

    /// Says which header `api_key` goes into.
    pub fn with_header(mut self, header: &str) -> Self {
        self.header = Some(header.into());
        self
    }
}

impl Credential {
    /// A credential of this id, whose material named `key` is `key`.
    pub fn new(id: impl AsRef<str>, key: impl Into<Secret>) -> Self {
        Self::bare(id).with_material("key", key)
    }

    /// A credential without material yet; add it with [`with_material`](Self::with_material).
    pub fn bare(id: impl AsRef<str>) -> Self {
        Self {
            id: id.as_ref().into(),
            version: None,
            material: Material::default(),
            created_at: None,
            not_before: None,
            activate_at: None,
            expires_at: None,
            grace_expires_at: None,
            scopes: Vec::new(),
            scheme: None,
            header_values: HeaderValues::default(),
            accepted: Tally::default(),
        }
    }

    /// Its name.
    #[inline]
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn shared_id(&self) -> CredentialId {
        self.id.clone()
    }

    pub(crate) fn id_ref(&self) -> &CredentialId {
        &self.id
    }

    /// The provider's version of it, where it has one.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// All of its material.
    pub fn material(&self) -> &Material {
        &self.material
    }

    /// The piece of material of this name, in the clear.
    pub fn reveal(&self, name: &str) -> Option<&str> {
        self.material.get(name).map(Secret::reveal)
    }

    /// When it was made.
    pub fn created_at(&self) -> Option<Timestamp> {
        self.created_at
    }

    /// When it begins to be valid.
    pub fn not_before(&self) -> Option<Timestamp> {
        self.not_before
    }

    /// When a staged credential is to be taken into use.
    pub fn activate_at(&self) -> Option<Timestamp> {
        self.activate_at
    }

    /// When it ends.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }

    /// When it ends as a previous credential.
    pub fn grace_expires_at(&self) -> Option<Timestamp> {
        self.grace_expires_at
    }

    /// What it may be used for.
    pub fn scopes(&self) -> &[Box<str>] {
        &self.scopes
    }

    /// The scheme that the provider names for it.
    pub fn scheme(&self) -> Option<&NamedScheme> {
        self.scheme.as_ref()
    }

    /// Adds a piece of material, or replaces the one of that name.
    pub fn with_material(mut self, name: &str, secret: impl Into<Secret>) -> Self {
        self.material.insert(name, secret.into());
        self.header_values = HeaderValues::default();
        self
    }

    /// Says which version it is.
    pub fn with_version(mut self, version: &str) -> Self {
        self.version = Some(version.into());
        self
    }

    /// Says when it was made.
    pub fn with_created_at(mut self, at: Timestamp) -> Self {
        self.created_at = Some(at);
        self
    }

    /// Says when it begins to be valid.
    pub fn with_not_before(mut self, at: Timestamp) -> Self {
        self.not_before = Some(at);
        self
    }

    /// Says when it is to be taken into use, if it is staged.
    pub fn with_activate_at(mut self, at: Timestamp) -> Self {
        self.activate_at = Some(at);
        self
    }

    /// Says when it ends.
    pub fn with_expires_at(mut self, at: Timestamp) -> Self {
        self.expires_at = Some(at);
        self
    }

    /// Says when it ends as a previous credential.
    pub fn with_grace_expires_at(mut self, at: Timestamp) -> Self {
        self.grace_expires_at = Some(at);
        self
    }

    /// Says what it may be used for.
    pub fn with_scopes<S: AsRef<str>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.scopes = scopes.into_iter().map(|scope| scope.as_ref().into()).collect();
        self
    }

    /// Names the scheme that the provider wants.
    pub fn with_scheme(mut self, scheme: NamedScheme) -> Self {
        self.scheme = Some(scheme);
        self
    }

    /// Whether it is the same credential: its id and its material.
    pub(crate) fn is_same_key(&self, other: &Credential) -> bool {
        self.id == other.id && self.material == other.material
    }

    /// The value of a header that carries it in this form, made only once.
    pub(crate) fn header_value(
        &self,
        form: Form,
        make: impl FnOnce() -> Result<HeaderValue, Error>,
    ) -> Result<HeaderValue, Error> {
        self.header_values.get_or_make(form, make)
    }

    /// What requests count of it: those that the API accepted, before all.
    pub(crate) fn accepted(&self) -> &Tally {
        &self.accepted
    }

    /// A number that rises with each call, in all threads and whatever was fetched meanwhile: at least this
    /// one. For APIs that want a nonce that only rises for each key.
    pub fn nonce(&self, at_least: u64) -> u64 {
        self.accepted.nonce(at_least)
    }

    /// Begins a count of its own: that of another process is another's.
    pub(crate) fn restart_count(&mut self) {
        self.accepted = Tally::default();
    }

    /// Goes on with the count of another object of the same key.
    pub(crate) fn continue_count(&mut self, of: &Credential) {
        self.accepted = of.accepted.clone();
    }
}

/// One immutable snapshot of what a source holds. Every answer is the full state: what is absent is gone.
///
/// ```
/// use keyswap::{Credential, CredentialSet};
/// let set = CredentialSet::new(Credential::new("k2", "new"))
///     .with_previous(Credential::new("k1", "old"));
/// assert!(set.check().is_ok());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CredentialSet {
    pub(crate) generation: Option<u64>,
    pub(crate) lineage: Option<Box<str>>,
    pub(crate) primary: Option<Arc<Credential>>,
    pub(crate) previous: Vec<Arc<Credential>>,
    pub(crate) next: Option<Arc<Credential>>,
    pub(crate) revoked: Vec<CredentialId>,
    pub(crate) as_of: Option<Timestamp>,
    pub(crate) refresh_after: Option<Timestamp>,
    pub(crate) stale_ok_until: Option<Timestamp>,
    pub(crate) splay: Duration,
    pub(crate) audience: Vec<Box<str>>,
    pub(crate) scopes: Vec<Box<str>>,
    pub(crate) validator: Option<Box<str>>,
    /// The optional levels of the protocol that the source serves.
    pub(crate) levels: Vec<Box<str>>,
    /// Whether the answer was signed by the key that the program pinned.
    pub(crate) signed: bool,
    /// Whether the previous one is not named by the source, but was the last that the API accepted.
    pub(crate) implied: bool,
    /// Which of several sources it is from, where there are several: each has generations of its own.
    pub(crate) place: Option<u8>,
    /// Why those before that one did not bring it.
    pub(crate) passed_over: PassedOver,
}

/// A failure that a set tells of. It is no part of what the set is.
#[derive(Clone, Debug, Default)]
pub(crate) struct PassedOver(pub(crate) Option<Error>);

impl PartialEq for PassedOver {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for PassedOver {}

impl CredentialSet {
    /// A set with this primary credential and nothing else.
    pub fn new(primary: Credential) -> Self {
        Self { primary: Some(Arc::new(primary)), ..Self::default() }
    }

    /// The provider's number of this state; it only rises. A source without one gets a local one.
    pub fn generation(&self) -> u64 {
        self.generation.unwrap_or(0)
    }

    /// The newest credential (on the wire: `current`). None in a revoked set.
    pub fn primary(&self) -> Option<&Credential> {
        self.primary.as_deref()
    }

    /// The older ones that are still valid, newest first.
    pub fn previous(&self) -> impl ExactSizeIterator<Item = &Credential> {
        self.previous.iter().map(|credential| &**credential)
    }

    /// The staged one.
    pub fn next(&self) -> Option<&Credential> {
        self.next.as_deref()
    }

    /// Ids that must never be used again.
    pub fn revoked(&self) -> &[CredentialId] {
        &self.revoked
    }

    /// What the whole set may be used for.
    pub fn scopes(&self) -> &[Box<str>] {
        &self.scopes
    }

    /// The origins that the provider narrows its use to; empty means no narrowing.
    pub fn audience(&self) -> &[Box<str>] {
        &self.audience
    }

    /// The optional levels of `keyswap/1` that the source serves: `wait`, `events`, `acks`.
    pub fn levels(&self) -> &[Box<str>] {
        &self.levels
    }

    /// What a conditional request sends to learn whether anything changed.
    pub fn validator(&self) -> Option<&str> {
        self.validator.as_deref()
    }

    /// Says which generation this is. Sources without one leave it out.
    pub fn with_generation(mut self, generation: u64) -> Self {
        self.generation = Some(generation);
        self
    }

    /// Adds a previous credential, older than those added before.
    pub fn with_previous(mut self, credential: Credential) -> Self {
        self.previous.push(Arc::new(credential));
        self
    }

    /// Adds the staged credential.
    pub fn with_next(mut self, credential: Credential) -> Self {
        self.next = Some(Arc::new(credential));
        self
    }

    /// Adds an id that must never be used again.
    pub fn with_revoked(mut self, id: &str) -> Self {
        self.revoked.push(id.into());
        self
    }

    /// Says what the source's clock showed when it answered; ends are judged by it.
    pub fn with_as_of(mut self, at: Timestamp) -> Self {
        self.as_of = Some(at);
        self
    }

    /// Says when to ask again.
    pub fn with_refresh_after(mut self, at: Timestamp) -> Self {
        self.refresh_after = Some(at);
        self
    }

    /// Says until when the set may be used past its end while the source cannot be reached.
    pub fn with_stale_ok_until(mut self, at: Timestamp) -> Self {
        self.stale_ok_until = Some(at);
        self
    }

    /// Says over how long a fleet is to spread its refreshes: at most a day.
    pub fn with_splay(mut self, splay: Duration) -> Self {
        self.splay = splay.min(Duration::from_secs(24 * 60 * 60));
        self
    }

    /// Says what the whole set may be used for.
    pub fn with_scopes<S: AsRef<str>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.scopes = scopes.into_iter().map(|scope| scope.as_ref().into()).collect();
        self
    }

    /// Says which optional levels of `keyswap/1` the source serves.
    pub fn with_levels<S: AsRef<str>>(mut self, levels: impl IntoIterator<Item = S>) -> Self {
        self.levels = levels.into_iter().map(|level| level.as_ref().into()).collect();
        self
    }

    /// Remembers what a conditional request is to send.
    pub fn with_validator(mut self, validator: &str) -> Self {
        self.validator = Some(validator.into());
        self
    }

    /// Whether this is a well-formed set.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`], saying what is wrong.
    pub fn check(&self) -> Result<(), Error> {
        let malformed = |what: String| Err(Error::new(ErrorKind::Malformed, what));
        if self.primary.is_none() {
            return malformed("the set has no current credential".into());
        }
        if self.members().count() > MAX_CREDENTIALS {
            return malformed(format!("the set has more than {MAX_CREDENTIALS} credentials"));
        }
        if self.revoked.len() > MAX_REVOKED {
            return malformed(format!("the set names more than {MAX_REVOKED} revoked ids"));
        }
        for (index, credential) in self.members().enumerate() {
            let id = credential.id();
            if !is_valid_id(id) {
                return malformed("a credential id must match [A-Za-z0-9._-]{1,128}".into());
            }
            if credential.material.is_empty() {
                return malformed(format!("credential {id} has no material"));
            }
            if self.members().take(index).any(|earlier| earlier.id == credential.id) {
                return malformed(format!("credential {id} stands in the set twice"));
            }
            if self.revoked.contains(&credential.id) {
                return malformed(format!("credential {id} is in the set and revoked by it"));
            }
        }
        if !self.revoked.iter().all(|id| is_valid_id(id)) {
            return malformed("a revoked id must match [A-Za-z0-9._-]{1,128}".into());
        }
        Ok(())
    }

    /// Primary, previous, next.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Arc<Credential>> {
        self.primary.iter().chain(&self.previous).chain(&self.next)
    }

    /// The same, to be changed.
    pub(crate) fn members_mut(&mut self) -> impl Iterator<Item = &mut Arc<Credential>> {
        self.primary.iter_mut().chain(&mut self.previous).chain(&mut self.next)
    }

    /// Whether the same keys stand in the same places.
    pub(crate) fn holds_same_keys(&self, other: &CredentialSet) -> bool {
        self.revoked == other.revoked
            && self.primary.is_some() == other.primary.is_some()
            && self.next.is_some() == other.next.is_some()
            && self.previous.len() == other.previous.len()
            && self.members().zip(other.members()).all(|(a, b)| a.is_same_key(b))
    }
}

pub(crate) fn is_valid_id(id: &str) -> bool {
    (1..=128).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests;
