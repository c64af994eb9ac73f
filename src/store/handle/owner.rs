//! The handle of one owner.

use super::into_key_store::IntoKeyStore;
use super::keys::{Keys, Managing, private};
use crate::authority::{Actor, Authority, Role};
use crate::id::{KeyId, OwnerId};
use crate::invalid::Invalid;
use crate::key::IdempotencyKey;
use crate::store::types::{CreateKey, Error, Issued, Key, KeyAction, Owner, RevokedAll};
use crate::verified_key::VerifiedKey;

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
        store: impl IntoKeyStore,
        owner: OwnerId,
        actor: impl Into<String>,
    ) -> Result<Self, Invalid> {
        Ok(Self::with(
            store.into_key_store(),
            Authority::new(Role::Owner { owner }, Actor::of_caller(actor)?),
        ))
    }

    /// Returns this handle with the condition that a verified key still holds. Each call judges the
    /// acting key again, and a change takes effect only if the key is accepted when the change
    /// commits. A service that acts as the owner on a caller's request uses this handle: otherwise a
    /// revocation of the caller's key comes too late for a call that has begun.
    ///
    /// The calls reach all that the owner does, whatever the acting key's access is, also for a
    /// trial key and for a key of another owner. The token must be the key's current one; see
    /// [`allowing_previous_tokens`](Self::allowing_previous_tokens). Events name the acting key.
    ///
    /// ```
    /// use keyhasp::{Error, ForbiddenReason, OwnerKeys, VerifiedKey};
    ///
    /// # fn f(keys: OwnerKeys, verified: VerifiedKey) -> Result<(), Error> {
    /// let keys = keys.provided(&verified);
    /// keys.revoke(verified.key_id())?;
    /// let again = keys.revoke_all(None);
    /// assert!(matches!(again, Err(Error::Forbidden(ForbiddenReason::ActingKeyRejected(_)))));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn provided(&self, verified: &VerifiedKey) -> Self {
        let mut handle = self.clone();
        if let Role::Owner { owner } | Role::OwnerByKey { owner, .. } = handle.by.role {
            let (key, generation) = (verified.key_id(), verified.generation());
            handle.by.role = Role::OwnerByKey { owner, key, generation, previous_tokens: false };
        }
        handle
    }

    /// Returns this handle so that a previous token of the acting key will do, within its grace. A
    /// holder of a leaked previous token can then do all that the owner can until the grace ends.
    /// Changes nothing on a handle without an acting key.
    #[must_use]
    pub fn allowing_previous_tokens(&self) -> Self {
        let mut handle = self.clone();
        if let Role::OwnerByKey { previous_tokens, .. } = &mut handle.by.role {
            *previous_tokens = true;
        }
        handle
    }

    /// Lets the count of the key's quota begin whole again. Only of a quota that
    /// the owner set itself.
    ///
    /// # Errors
    /// `State` if it is revoked or has no quota; `Forbidden` if an administrator set the
    /// quota, and as [`KeyStore`](crate::KeyStore) says.
    pub fn refill_quota(&self, id: KeyId) -> Result<Key, Error> {
        self.act(id, &KeyAction::RefillQuota)
    }

    /// Adds uses (1 to 2^40 - 1) to what is left of the key's quota, which never holds more than
    /// 2^40 - 1. A refill takes none of them away.
    ///
    /// # Errors
    /// `Invalid`, and as [`refill_quota`](Self::refill_quota).
    pub fn add_to_quota(&self, id: KeyId, uses: u64) -> Result<Key, Error> {
        self.act(id, &KeyAction::AddToQuota(uses))
    }

    /// Replaces, once, the token that a request under this idempotency key issued and that was lost
    /// on the way: its generation ends, and previous tokens keep the rest of their grace. It finds
    /// requests of the owner, and those that the key made for itself.
    ///
    /// # Errors
    /// `NotFound` without such a request in the last 24 hours, `State` if its token was replaced
    /// before or is no longer the key's current one, `Forbidden` for a previous token, and as
    /// [`rotate`](Self::rotate).
    pub fn replace_lost_token(&self, id: KeyId, key: &IdempotencyKey) -> Result<Issued, Error> {
        self.store.replace_lost_token(&self.by, id, key)
    }

    /// Returns the owner.
    ///
    /// # Errors
    /// `NotFound`, and as [`KeyStore`](crate::KeyStore) says.
    pub fn owner(&self) -> Result<Owner, Error> {
        self.store.owner(&self.by, &self.own_id()?)
    }

    /// Revokes all keys at once. Creates a replacement if one is given.
    ///
    /// # Errors
    /// As [`KeyStore::revoke_all`](crate::KeyStore::revoke_all).
    pub fn revoke_all(&self, replacement: Option<CreateKey>) -> Result<RevokedAll, Error> {
        let owner = self.own_id()?;
        self.store.revoke_all(&self.by, &owner, replacement.as_ref(), self.expected)
    }
}
