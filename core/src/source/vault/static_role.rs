//! The account of a static role.

use std::{fmt, time::Duration};

use super::{
    Vault,
    answer::{data_of, instant, seconds, text},
    parts,
};
use crate::{
    credential::{Credential, CredentialSet},
    error::Error,
    source::{
        BoxFuture, Fetched, Source, Terms,
        material::{MaterialPointers, material_options},
        wire::Value,
    },
};

/// What stands beside the account and is no part of it.
const NOT_MATERIAL: [&str; 6] = [
    "last_vault_rotation",
    "last_password",
    "rotation_period",
    "rotation_schedule",
    "rotation_window",
    "ttl",
];
/// The server rotates at the end of the life that it tells, and then takes a moment.
const MOMENT: Duration = Duration::from_secs(1);

/// An account whose password the server rotates, of [`Vault::static_role`]: a `username` and a `password`, or whatever
/// the engine calls them.
///
/// The password changes at once and the one before is dead: there is no overlap. So it is read again when its time ends,
/// and whenever a log-in with it fails; the page [`vault`](crate::guide::vault) of the guide has the lines for that. A
/// connection that is open stays open.
///
/// | | |
/// | --- | --- |
/// | policy | `read` on `database/static-creds/app` |
/// | calls | one a poll, and one when the server rotates |
/// | rotation | by the role's period, or `rotate-role` at once; seen by `last_vault_rotation` |
/// | errors | those of a [`Vault`] |
#[must_use = "a source does nothing until it is followed"]
pub struct StaticRole {
    vault: Vault,
    path: String,
    pointers: MaterialPointers,
}

impl StaticRole {
    pub(super) fn new(mut vault: Vault, mount: &str, role: &str) -> Self {
        if parts(mount).is_none() || parts(role).is_none() {
            vault.faulty(
                "what static_role was given is no mount and role, such as database and app",
            );
        }
        let (mount, role) = (parts(mount).unwrap_or_default(), parts(role).unwrap_or_default());
        Self {
            vault,
            path: format!("{mount}/static-creds/{role}"),
            pointers: MaterialPointers::default(),
        }
    }

    material_options!();

    // ---- inside ----

    async fn fetch_once(&self, known: Option<&CredentialSet>) -> Result<Fetched, Error> {
        let (answer, _) = self.vault.ask(&self.vault.get(&self.path)).await?;
        if answer.status != 200 {
            return Err(self.vault.refusal(&answer, &self.path));
        }
        let value = self.vault.value(&answer)?;
        let rotated = "/data/last_vault_rotation";
        let (Some(at), Some(written)) = (instant(&value, rotated), text(&value, rotated)) else {
            return Err(self.fault("does not say when it was rotated: is it a static role?"));
        };
        let (id, version) = (written.replace(':', "").replace('+', "_"), written.to_owned());
        // Without a time left it is being rotated right now.
        let wait = seconds(&value, "/data/ttl").unwrap_or_default() + MOMENT;
        let credential = self.credential(&id, value)?.with_version(&version).with_created_at(at);
        let set = CredentialSet::new(credential);
        set.check().map_err(|error| self.fault(&error.to_string()))?;
        let set = self.vault.timed(set.with_validator(&id), Some(wait), &answer);
        let is_held = known.is_some_and(|known| known.validator() == Some(&id));
        match is_held && set.refresh_after.is_none() {
            true => Ok(Fetched::NotModified),
            false => Ok(Fetched::Set(set)),
        }
    }

    fn credential(&self, id: &str, value: Value) -> Result<Credential, Error> {
        let data = data_of(value, &NOT_MATERIAL).ok_or_else(|| self.fault("is empty"))?;
        let fault = |error: Error| self.fault(&format!("holds what is no account: {error}"));
        self.pointers.in_value(id, &data).map_err(fault)
    }

    fn fault(&self, what: &str) -> Error {
        self.vault.malformed(&format!("has {}, which {what}", self.path))
    }
}

impl Source for StaticRole {
    fn fetch<'a>(
        &'a self,
        known: Option<&'a CredentialSet>,
    ) -> BoxFuture<'a, Result<Fetched, Error>> {
        Box::pin(self.fetch_once(known))
    }

    fn begin(&self, terms: &Terms) -> Result<(), Error> {
        self.vault.begin(terms)?;
        self.pointers.check()
    }
}

impl fmt::Debug for StaticRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticRole")
            .field("vault", &self.vault)
            .field("role", &self.path)
            .finish_non_exhaustive()
    }
}
