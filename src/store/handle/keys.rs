//! The handles that manage keys: their common calls.

use std::marker::PhantomData;
use std::sync::Arc;

use super::bulk::Bulk;
use crate::authority::{Authority, CorrelationId, Reason};
use crate::id::{KeyId, NumericId, OwnerId, Version};
use crate::invalid::Invalid;
use crate::key::{Expiry, IdempotencyKey};
use crate::store::key_store::KeyStore;
use crate::store::types::{
    ChangedKey, Error, Events, Issued, IssuedOnce, Key, KeyAction, ListEvents, ListKeys, Page,
    Resource, RevealedToken, RevokedTree, Rotate, UpdateKey,
};
use crate::token::Token;

/// A handle that manages keys: [`AdminKeys`](super::AdminKeys), [`OwnerKeys`](super::OwnerKeys),
/// [`DelegatedKeys`](super::DelegatedKeys) or [`ManagerKeys`](super::ManagerKeys).
///
/// Every method fails as [`KeyStore`] says. After [`if_version`](Self::if_version), changes fail
/// with `Conflict` unless the record has that version.
#[derive(Debug)]
pub struct Keys<R> {
    pub(super) store: Arc<dyn KeyStore>,
    pub(super) by: Authority,
    pub(super) expected: Option<Version>,
    role: PhantomData<fn() -> R>,
}

/// A role of a handle that manages keys.
pub trait Managing: private::Sealed {}

pub(super) mod private {
    /// Seals [`Managing`](super::Managing): only this crate defines roles.
    pub trait Sealed {}
}

impl<R> Clone for Keys<R> {
    fn clone(&self) -> Self {
        let Self { store, by, expected, role } = self;
        Self { store: Arc::clone(store), by: by.clone(), expected: *expected, role: *role }
    }
}

impl<R: Managing> Keys<R> {
    pub(super) fn with(store: Arc<dyn KeyStore>, by: Authority) -> Self {
        Self { store, by, expected: None, role: PhantomData }
    }

    /// Returns this handle with a reason for its calls, 1 to 1,024 bytes. Events contain the
    /// reason. An administrator's isn't shown to owners.
    ///
    /// # Errors
    /// [`Invalid`] for a text that is empty, too long, or has a character that names may not have.
    pub fn with_reason(&self, reason: impl Into<String>) -> Result<Self, Invalid> {
        let mut handle = self.clone();
        handle.by.reason = Some(Reason::new(reason)?);
        handle.by.reason_for_owner = false;
        Ok(handle)
    }

    /// Returns this handle with an id that ties its calls to the service's own logs, 1 to 128
    /// bytes. Events contain the id. An administrator's isn't shown to owners.
    ///
    /// # Errors
    /// [`Invalid`] for a text that is empty, too long, or has a character that names may not have.
    pub fn with_correlation_id(&self, id: impl Into<String>) -> Result<Self, Invalid> {
        let mut handle = self.clone();
        handle.by.correlation_id = Some(CorrelationId::new(id)?);
        Ok(handle)
    }

    /// Returns this handle with an expected version: its changes fail with `Conflict` unless the
    /// record has it.
    #[must_use]
    pub fn if_version(&self, version: Version) -> Self {
        Self { expected: Some(version), ..self.clone() }
    }

    /// Returns the authority of the calls.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.by
    }

    /// Returns a key by its id.
    ///
    /// # Errors
    /// `NotFound`, and as [`KeyStore`] says.
    pub fn get(&self, id: KeyId) -> Result<Key, Error> {
        self.store.key(&self.by, id)
    }

    /// Returns a key by the service's own number for it.
    ///
    /// # Errors
    /// `NotFound`, and as [`KeyStore`] says.
    pub fn find(&self, id: NumericId) -> Result<Key, Error> {
        self.store.key_by_numeric_id(&self.by, id)
    }

    /// Returns a page of keys, newest first.
    ///
    /// # Errors
    /// `Invalid` if the cursor is malformed or belongs to another query; also the errors that
    /// [`KeyStore`] names.
    pub fn list(&self, query: &ListKeys) -> Result<Page<Key>, Error> {
        self.store.list_keys(&self.by, query)
    }

    /// Counts the keys that match. May scan the whole table.
    ///
    /// # Errors
    /// As [`KeyStore`] says.
    pub fn count(&self, query: &ListKeys) -> Result<u64, Error> {
        self.store.count_keys(&self.by, query)
    }

    /// Changes name, access, expiry, settings or limits.
    ///
    /// # Errors
    /// `Invalid`, `Forbidden`, `NameTaken`, `State` if it is revoked, and as [`KeyStore`] says.
    pub fn update(&self, id: KeyId, update: UpdateKey) -> Result<Key, Error> {
        self.act(id, &KeyAction::Update(update))
    }

    /// Moves the expiry to later, which revives an expired key. A lapsed key needs a place and its
    /// name again.
    ///
    /// # Errors
    /// `Invalid` unless it is later; `Forbidden` for an owner, if the key is a trial key or an
    /// administrator set the expiry; and as [`KeyStore`] says.
    pub fn extend_expiry(&self, id: KeyId, expiry: Expiry) -> Result<Key, Error> {
        self.act(id, &KeyAction::ExtendExpiry(expiry))
    }

    /// Deactivates the key: sets the owner's switch to off.
    ///
    /// # Errors
    /// `State` if it is revoked, and as [`KeyStore`] says.
    pub fn deactivate(&self, id: KeyId) -> Result<Key, Error> {
        self.act(id, &KeyAction::Deactivate)
    }

    /// Activates the key: sets the owner's switch to on. A block by an administrator stays.
    ///
    /// # Errors
    /// `State` if it is revoked, and as [`KeyStore`] says.
    pub fn activate(&self, id: KeyId) -> Result<Key, Error> {
        self.act(id, &KeyAction::Activate)
    }

    /// Revokes the key. This is final. It is revoked also if its record is damaged.
    ///
    /// # Errors
    /// `LastStandardKey`, and as [`KeyStore`] says. An owner gets `Backend` for a key of which the
    /// damaged record doesn't show that it is the owner's.
    pub fn revoke(&self, id: KeyId) -> Result<ChangedKey, Error> {
        self.change(id, &KeyAction::Revoke)
    }

    /// Revokes many keys, each for itself, in pieces. This is final.
    ///
    /// The outcomes are those of [`revoke`](Self::revoke).
    pub fn revoke_many(
        &self,
        ids: impl IntoIterator<Item = KeyId, IntoIter: Send + 'static>,
    ) -> Bulk<ChangedKey> {
        let (store, by, expected) = (Arc::clone(&self.store), self.by.clone(), self.expected);
        Bulk::new(ids, move |piece| store.revoke_keys(&by, piece, expected))
    }

    /// Revokes the key and its descendants: all keys that were created with it, directly or through
    /// others, in one change. This is final. The expected version is the key's.
    ///
    /// # Errors
    /// As [`KeyStore::revoke_with_descendants`].
    pub fn revoke_with_descendants(&self, id: KeyId) -> Result<RevokedTree, Error> {
        self.store.revoke_with_descendants(&self.by, id, self.expected)
    }

    /// Gives the key a new token. The previous token stays valid for its grace. If five older
    /// previous tokens are still valid, the oldest of them ends, and [`Issued::dropped`] is its
    /// generation.
    ///
    /// # Errors
    /// `State` if it is revoked or expired, and as [`KeyStore`] says. A blocked key gets a new token
    /// from an administrator alone, with [`Rotate::forced`]: without it the administrator gets
    /// `State`, and an owner or a delegate gets `Forbidden` in any case.
    pub fn rotate(&self, id: KeyId, request: Rotate) -> Result<Issued, Error> {
        self.store.rotate_key(&self.by, id, &request, self.expected)
    }

    /// Rotates the key under an idempotency key. A caller that lost the answer sends the same request
    /// again, within 24 hours: the answer has the same generation, and no further one is made. It
    /// has the token if that is recoverable, current, and the caller may reveal it. The key stands
    /// for one request of an owner, of the administrators, or of an acting key.
    ///
    /// # Errors
    /// As [`rotate`](Self::rotate), and `IdempotencyKeyReused` for another request.
    pub fn rotate_once(
        &self,
        id: KeyId,
        request: Rotate,
        key: &IdempotencyKey,
    ) -> Result<IssuedOnce, Error> {
        self.store.rotate_key_once(&self.by, id, &request, self.expected, key)
    }

    /// Ends every previous token at once.
    ///
    /// # Errors
    /// `State` if it is revoked, and as [`KeyStore`] says.
    pub fn invalidate_previous_tokens(&self, id: KeyId) -> Result<Key, Error> {
        self.act(id, &KeyAction::InvalidatePreviousTokens)
    }

    /// Returns the current token of a key that keeps it recoverable. Leaves an event.
    ///
    /// # Errors
    /// `NotFound` if it isn't recoverable, `Seal` if the store can't decrypt it, and as
    /// [`KeyStore`] says.
    pub fn reveal_token(&self, id: KeyId) -> Result<Token, Error> {
        self.store.reveal_token(&self.by, id)
    }

    /// Returns a page of keys with their recoverable tokens. Leaves an event for each token. A token
    /// that the store can't decrypt has its error beside the key.
    ///
    /// # Errors
    /// As [`list`](Self::list); `State` if the store doesn't keep tokens recoverable.
    pub fn reveal_tokens(&self, query: &ListKeys) -> Result<Page<RevealedToken>, Error> {
        self.store.reveal_tokens(&self.by, query)
    }

    /// Returns a page of the events in reach: after a number in their order, or before one, newest
    /// first.
    ///
    /// # Errors
    /// As [`KeyStore`] says.
    pub fn events(&self, query: &ListEvents) -> Result<Events, Error> {
        self.store.events(&self.by, query)
    }

    pub(super) fn act(&self, id: KeyId, action: &KeyAction) -> Result<Key, Error> {
        match self.change(id, action)? {
            ChangedKey::Whole(key) => Ok(*key),
            ChangedKey::Damaged(entry) => Err((*entry).into()),
        }
    }

    pub(super) fn change(&self, id: KeyId, action: &KeyAction) -> Result<ChangedKey, Error> {
        self.store.change_key(&self.by, id, action, self.expected)
    }
}

impl<R> Keys<R> {
    /// Returns the handle under another role, which offers fewer calls.
    pub(super) fn in_role<S>(self) -> Keys<S> {
        let Self { store, by, expected, role: _ } = self;
        Keys { store, by, expected, role: PhantomData }
    }

    /// Returns the owner that an owner or a delegate acts for.
    pub(super) fn own_id(&self) -> Result<OwnerId, Error> {
        self.by.role.owner().copied().ok_or(Error::NotFound(Resource::Owner))
    }
}
