//! The handle of somebody who acts with a key.

use std::sync::Arc;

use super::keys::{Keys, Managing, private};
use crate::authority::{Actor, Authority, Role};
use crate::invalid::Invalid;
use crate::store::key_store::KeyStore;
use crate::store::types::error::Error;
use crate::store::types::request::CreateKey;
use crate::store::types::views::Issued;
use crate::verified_key::VerifiedKey;

/// The role of [`DelegatedKeys`].
#[derive(Debug)]
pub enum AsDelegate {}

impl private::Sealed for AsDelegate {}
impl Managing for AsDelegate {}

/// Acts on behalf of a verified key: each call looks again whether the acting key and generation would
/// verify now, and nothing is created, updated, rotated, activated, prolonged or opened that goes
/// beyond what the acting key and its owner's maximum access allow, or that lacks a limit on networks, rate
/// or number of uses which the acting key has, or has a looser one. Each key counts its uses for
/// itself; the owner's limits bound them together. A trial key's verified can't.
///
/// Which permission a caller needs to manage keys at all is the service's to check on the verified key.
///
/// ```
/// # fn f(keys: keyhasp::DelegatedKeys, id: keyhasp::KeyId) { let _ = keys.revoke(id); }
/// ```
/// ```compile_fail,E0599
/// # fn f(keys: keyhasp::DelegatedKeys, id: keyhasp::KeyId) { let _ = keys.purge(id); }
/// ```
pub type DelegatedKeys = Keys<AsDelegate>;

impl DelegatedKeys {
    /// A handle on behalf of a verified key, used by `actor` (1 to 255 bytes, in the service's own
    /// words).
    ///
    /// # Errors
    /// [`Invalid`] for a bad actor.
    pub fn new(
        store: Arc<dyn KeyStore>,
        verified: &VerifiedKey,
        actor: impl Into<String>,
    ) -> Result<Self, Invalid> {
        let role = Role::Delegate {
            owner: *verified.owner_id(),
            key: verified.key_id(),
            generation: verified.generation(),
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
