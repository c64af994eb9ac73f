//! The handle of a caller that acts with a key.

use super::into_key_store::IntoKeyStore;
use super::keys::{Keys, Managing, private};
use crate::authority::{Actor, Authority, Role};
use crate::invalid::Invalid;
use crate::verified_key::VerifiedKey;

/// The role of [`DelegatedKeys`].
#[derive(Debug)]
pub enum AsDelegate {}

impl private::Sealed for AsDelegate {}
impl Managing for AsDelegate {}

/// The handle of a caller that acts with a verified key, on keys of the same owner.
///
/// Each call checks again that the acting key and generation would verify now. No call creates,
/// updates, rotates, activates, extends or reveals a key beyond the acting key. That means: a key
/// whose access isn't within that of the acting key and the owner's `max_access`, or that lacks a
/// limit on networks, rate or number of uses of the acting key, or has a looser one; that expires
/// later than the acting key; or whose token has another prefix than the acting one. Each key
/// counts its uses for itself, and the owner's limits bound them together. A trial key can't act.
///
/// A previous token, in its grace, may only read, and deactivate or revoke its own key.
///
/// The service checks on the verified key whether it has the permission to manage keys at all.
///
/// ```
/// # fn f(keys: keyhasp::DelegatedKeys, id: keyhasp::KeyId) { let _ = keys.revoke(id); }
/// ```
/// ```compile_fail,E0599
/// # fn f(keys: keyhasp::DelegatedKeys, id: keyhasp::KeyId) { let _ = keys.purge(id); }
/// ```
pub type DelegatedKeys = Keys<AsDelegate>;

impl DelegatedKeys {
    /// Creates a handle that acts with a verified key, used by `actor` (1 to 255 bytes, in the
    /// service's own words).
    ///
    /// # Errors
    /// [`Invalid`] for an actor that is empty, too long, has a character that names may not have, or
    /// is named `keyhasp` as the store itself.
    pub fn new(
        store: impl IntoKeyStore,
        verified: &VerifiedKey,
        actor: impl Into<String>,
    ) -> Result<Self, Invalid> {
        let role = Role::Delegate {
            owner: *verified.owner_id(),
            key: verified.key_id(),
            generation: verified.generation(),
        };
        Ok(Self::with(store.into_key_store(), Authority::new(role, Actor::of_caller(actor)?)))
    }
}
