//! Which credential a request carries next: what it may, and has not tried, or may try once more.

use std::sync::Arc;

use super::{
    super::snapshot::{Snapshot, Usable},
    AttemptMachine, MAX_SENDS,
};
use crate::{
    credential::{Credential, CredentialSet},
    error::{Error, ErrorKind},
};

impl AttemptMachine {
    /// The key in use, for a request that tried the candidate and may be sent again.
    pub(super) fn ask_again(&self, now: u64, snapshot: &Snapshot) -> Option<Arc<Credential>> {
        let may_be = self.replayable && self.sends < MAX_SENDS && now < self.deadline;
        let carried = self.assigned.as_ref();
        snapshot.in_use.clone().filter(|in_use| {
            may_be
                && self.is_untried(in_use)
                && self.may_carry(snapshot, in_use)
                && !carried.is_some_and(|carried| carried.is_same_key(in_use))
        })
    }

    /// The key that a request was signed with by a wrong clock, once, if it may be sent again.
    pub(super) fn sign_again(&mut self, now: u64) -> Option<Arc<Credential>> {
        let may_be = self.replayable && self.sends < MAX_SENDS && now < self.deadline;
        let is_first = !std::mem::replace(&mut self.has_skewed, true);
        self.assigned.clone().filter(|_| may_be && is_first)
    }

    /// A credential that the API took after it had rejected it for this request.
    pub(super) fn proven_since(&self, snapshot: &Snapshot) -> Option<Arc<Credential>> {
        let is_news = |credential: &Credential, proof: u64| {
            let rejections = self.tried.iter().filter(|it| it.credential.is_same_key(credential));
            rejections.map(|it| it.sent).all(|sent| sent.is_some_and(|sent| sent < proof))
        };
        let usable = snapshot.usable.iter().find(|usable| {
            usable.proof.is_some_and(|proof| is_news(&usable.credential, proof))
                && (usable.is_steady || !snapshot.disagree)
                && !self.news.as_ref().is_some_and(|news| news.is_same_key(&usable.credential))
                && self.may_carry(snapshot, &usable.credential)
        });
        usable.map(|usable| usable.credential.clone())
    }

    /// What it tries once more when all was tried: what was rejected last, because replicas that disagree
    /// meet each other key in turn. A key in use that the API never accepted comes first: the API may be
    /// about to learn it.
    pub(super) fn rejected_last(&self, snapshot: &Snapshot) -> Option<Arc<Credential>> {
        let is_new = snapshot.usable.first().is_some_and(|in_use| !in_use.is_known);
        let rejected = self.tried.iter().rev().filter(|it| it.sent.is_some());
        let mut rejected = rejected.map(|it| &it.credential).filter(|credential| {
            let is_same = |usable: &Usable| usable.credential.is_same_key(credential);
            snapshot.usable.iter().any(is_same) && self.may_carry(snapshot, credential)
        });
        let last = rejected.next().filter(|_| !is_new).cloned();
        last.or_else(|| self.last(snapshot))
    }

    /// What the last send is spent on: the key in use, unless it cannot be put on the request.
    pub(super) fn last(&self, snapshot: &Snapshot) -> Option<Arc<Credential>> {
        let is_unfit = |credential: &Credential| {
            self.tried.iter().any(|it| it.sent.is_none() && it.credential.is_same_key(credential))
        };
        let usable = snapshot.usable.iter().map(|usable| &usable.credential);
        let mut usable = usable.filter(|it| !is_unfit(it) && self.may_carry(snapshot, it));
        usable.next().cloned()
    }

    pub(super) fn untried<'a>(&self, snapshot: &'a Snapshot) -> Option<&'a Usable> {
        snapshot.usable.iter().find(|usable| {
            self.is_untried(&usable.credential) && self.may_carry(snapshot, &usable.credential)
        })
    }

    pub(super) fn is_untried(&self, credential: &Credential) -> bool {
        !self.tried.iter().any(|tried| tried.credential.is_same_key(credential))
    }

    /// Whether a credential has the scopes that the request needs.
    pub(super) fn may_carry(&self, snapshot: &Snapshot, credential: &Credential) -> bool {
        let granted = granted(snapshot, credential);
        self.scopes.iter().all(|scope| granted.contains(scope))
    }

    /// The error of a request for which nothing that is usable has the scopes.
    pub(super) fn out_of_scope(&self, snapshot: &Snapshot) -> Option<Error> {
        let in_use = snapshot.in_use.as_ref()?;
        if snapshot.usable.iter().any(|usable| self.may_carry(snapshot, &usable.credential)) {
            return None;
        }
        let granted = granted(snapshot, in_use);
        let missing = self.scopes.iter().find(|scope| !granted.contains(scope))?;
        let what = format!(
            "the set does not have the scope {missing:?} that the request requires: nothing was sent \
             without it; use keys that have it"
        );
        Some(Error::new(ErrorKind::MissingScope, what))
    }
}

/// The scopes of a credential: its own, if it names any, narrow those of the set.
fn granted<'a>(snapshot: &'a Snapshot, credential: &'a Credential) -> &'a [Box<str>] {
    match credential.scopes() {
        [] => snapshot.set.as_deref().map_or(&[][..], CredentialSet::scopes),
        own => own,
    }
}
