//! The handle of somebody who acts with a key.

use std::sync::Arc;

use super::keys::{Keys, Managing, private};
use crate::authority::{Actor, Authority, Role};
use crate::grant::Grant;
use crate::invalid::Invalid;
use crate::store::answer::Issued;
use crate::store::error::Error;
use crate::store::key_store::KeyStore;
use crate::store::request::CreateKey;

/// The role of [`DelegatedKeys`].
#[derive(Debug)]
pub enum Delegating {}

impl private::Sealed for Delegating {}
impl Managing for Delegating {}

/// Acts on behalf of a grant: each call looks again whether the acting key and generation would
/// verify now, and nothing is created, updated, rotated, activated, prolonged or opened that goes
/// beyond what the acting key and its owner's ceiling allow, or that lacks a limit on networks, rate
/// or number of uses which the acting key has, or has a looser one. Each key counts its uses for
/// itself; the owner's limits bound them together. A trial key's grant can't.
///
/// Which permission a caller needs to manage keys at all is the service's to check on the grant.
///
/// ```
/// # fn f(keys: keyhasp::DelegatedKeys, id: keyhasp::KeyId) { let _ = keys.revoke(id); }
/// ```
/// ```compile_fail,E0599
/// # fn f(keys: keyhasp::DelegatedKeys, id: keyhasp::KeyId) { let _ = keys.purge(id); }
/// ```
pub type DelegatedKeys = Keys<Delegating>;

impl DelegatedKeys {
    /// A handle on behalf of a grant, used by `actor` (1 to 255 bytes, in the service's own
    /// words).
    ///
    /// # Errors
    /// [`Invalid`] for a bad actor.
    pub fn new(
        store: Arc<dyn KeyStore>,
        grant: &Grant,
        actor: impl Into<String>,
    ) -> Result<Self, Invalid> {
        let role = Role::Delegate {
            owner: *grant.owner(),
            key: grant.key(),
            generation: grant.generation(),
        };
        Ok(Self::with(store, Authority::new(role, Actor::new(actor)?)))
    }

    /// Creates a key of the same owner, within what the acting key may do.
    ///
    /// # Errors
    /// As [`KeyStore::create_key`].
    pub fn create(&self, request: CreateKey) -> Result<Issued, Error> {
        self.store.create_key(&self.by, &self.own_id()?, &request)
    }
}
