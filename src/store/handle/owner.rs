//! The handle of one owner.

use std::sync::Arc;

use super::keys::{Keys, Managing, private};
use crate::authority::{Actor, Authority, Role};
use crate::id::OwnerId;
use crate::invalid::Invalid;
use crate::store::key_store::KeyStore;
use crate::store::types::{CreateKey, Error, Issued, Owner, RevokedAll};

/// The role of [`OwnerKeys`].
#[derive(Debug)]
pub enum AsOwner {}

impl private::Sealed for AsOwner {}
impl Managing for AsOwner {}

/// The handle of an owner, which reaches the owner's keys alone. A key of another owner is
/// `NotFound`, like one that doesn't exist.
///
/// Calls that only an administrator may make aren't on it:
///
/// ```
/// # fn f(keys: keyhasp::OwnerKeys, id: keyhasp::KeyId) { let _ = keys.deactivate(id); }
/// ```
/// ```compile_fail,E0599
/// # fn f(keys: keyhasp::OwnerKeys, id: keyhasp::KeyId) { let _ = keys.block(id); }
/// ```
pub type OwnerKeys = Keys<AsOwner>;

impl OwnerKeys {
    /// Creates a handle of this owner, used by `actor` (1 to 255 bytes, in the service's own
    /// words).
    ///
    /// # Errors
    /// [`Invalid`] for an actor that is empty, too long, has a character that names may not have, or
    /// is named `keyhasp` as the store itself.
    pub fn new(
        store: Arc<dyn KeyStore>,
        owner: OwnerId,
        actor: impl Into<String>,
    ) -> Result<Self, Invalid> {
        Ok(Self::with(store, Authority::new(Role::Owner { owner }, Actor::of_caller(actor)?)))
    }

    /// Creates a key of the owner.
    ///
    /// # Errors
    /// As [`KeyStore::create_key`].
    pub fn create(&self, request: CreateKey) -> Result<Issued, Error> {
        self.store.create_key(&self.by, &self.own_id()?, &request)
    }

    /// Returns the owner.
    ///
    /// # Errors
    /// `NotFound`, and as [`KeyStore`] says.
    pub fn owner(&self) -> Result<Owner, Error> {
        self.store.owner(&self.by, &self.own_id()?)
    }

    /// Revokes all keys at once. Creates a replacement if one is given.
    ///
    /// # Errors
    /// As [`KeyStore::revoke_all`].
    pub fn revoke_all(&self, replacement: Option<CreateKey>) -> Result<RevokedAll, Error> {
        let owner = self.own_id()?;
        self.store.revoke_all(&self.by, &owner, replacement.as_ref(), self.expected)
    }
}
