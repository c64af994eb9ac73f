//! What every managing handle can do to the keys that it reaches.

use std::marker::PhantomData;
use std::sync::Arc;

use crate::authority::{Authority, CorrelationId, Reason};
use crate::id::{KeyId, NumericId, OwnerId, Version};
use crate::invalid::Invalid;
use crate::key::Expiry;
use crate::store::key_store::KeyStore;
use crate::store::types::error::{Error, Resource};
use crate::store::types::request::{KeyAction, ListEvents, ListKeys, Rotate, UpdateKey};
use crate::store::types::views::{Events, Issued, Key, Page, RevealedToken};
use crate::token::Token;

/// A handle of somebody who manages keys: [`AdminKeys`](super::AdminKeys),
/// [`OwnerKeys`](super::OwnerKeys) or [`DelegatedKeys`](super::DelegatedKeys).
///
/// Every method fails as [`KeyStore`] says. `expecting` makes the next changes fail with
/// `Conflict` unless the record has that version.
#[derive(Debug)]
pub struct Keys<R> {
    pub(super) store: Arc<dyn KeyStore>,
    pub(super) by: Authority,
    pub(super) expected: Option<Version>,
    role: PhantomData<fn() -> R>,
}

/// A role in which keys are managed.
pub trait Managing: private::Sealed {}

pub(super) mod private {
    /// Roles are this crate's to define.
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

    /// The same handle, giving a reason of 1 to 1,024 bytes for what it does.
    ///
    /// # Errors
    /// [`Invalid`] for a bad text.
    pub fn with_reason(&self, reason: impl Into<String>) -> Result<Self, Invalid> {
        let mut handle = self.clone();
        handle.by.reason = Some(Reason::new(reason)?);
        Ok(handle)
    }

    /// The same handle, tying what it does to the service's own logs by 1 to 128 bytes.
    ///
    /// # Errors
    /// [`Invalid`] for a bad text.
    pub fn with_correlation_id(&self, id: impl Into<String>) -> Result<Self, Invalid> {
        let mut handle = self.clone();
        handle.by.correlation_id = Some(CorrelationId::new(id)?);
        Ok(handle)
    }

    /// The same handle, whose changes expect a record of this version.
    #[must_use]
    pub fn if_version(&self, version: Version) -> Self {
        Self { expected: Some(version), ..self.clone() }
    }

    /// On whose authority it acts.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.by
    }

    /// A key by its id.
    ///
    /// # Errors
    /// `NotFound`, and as [`KeyStore`] says.
    pub fn get(&self, id: KeyId) -> Result<Key, Error> {
        self.store.key(&self.by, id)
    }

    /// A key by the service's own number for it.
    ///
    /// # Errors
    /// `NotFound`, and as [`KeyStore`] says.
    pub fn find(&self, id: NumericId) -> Result<Key, Error> {
        self.store.key_by_numeric_id(&self.by, id)
    }

    /// A page of keys, newest first.
    ///
    /// # Errors
    /// `Invalid` for a bad cursor, and as [`KeyStore`] says.
    pub fn list(&self, query: &ListKeys) -> Result<Page<Key>, Error> {
        self.store.list_keys(&self.by, query)
    }

    /// How many keys match. It costs what it costs.
    ///
    /// # Errors
    /// As [`KeyStore`] says.
    pub fn count(&self, query: &ListKeys) -> Result<u64, Error> {
        self.store.count_keys(&self.by, query)
    }

    /// Changes name, access, expiry, settings or limits.
    ///
    /// # Errors
    /// `Invalid`, `ForbiddenReason`, `NameTaken`, `State` if it is revoked, and as [`KeyStore`] says.
    pub fn update(&self, id: KeyId, update: UpdateKey) -> Result<Key, Error> {
        self.act(id, &KeyAction::Update(update))
    }

    /// Moves the expiry to later; revives an expired key.
    ///
    /// # Errors
    /// `Invalid` unless it is later, `ForbiddenReason` for a trial key or an expiry of an administrator's,
    /// and as [`KeyStore`] says.
    pub fn extend_expiry(&self, id: KeyId, expiry: Expiry) -> Result<Key, Error> {
        self.act(id, &KeyAction::ExtendExpiry(expiry))
    }

    /// Switches the key off.
    ///
    /// # Errors
    /// `State` if it is revoked, and as [`KeyStore`] says.
    pub fn deactivate(&self, id: KeyId) -> Result<Key, Error> {
        self.act(id, &KeyAction::Deactivate)
    }

    /// Switches the key on again; a block by an administrator stays.
    ///
    /// # Errors
    /// `State` if it is revoked, and as [`KeyStore`] says.
    pub fn activate(&self, id: KeyId) -> Result<Key, Error> {
        self.act(id, &KeyAction::Activate)
    }

    /// Ends the key for ever.
    ///
    /// # Errors
    /// `LastStandardKey`, and as [`KeyStore`] says.
    pub fn revoke(&self, id: KeyId) -> Result<Key, Error> {
        self.act(id, &KeyAction::Revoke)
    }

    /// Gives the key a new token; the one before stays valid for its grace, unless five earlier ones
    /// do already: then the oldest ends, and the answer says which.
    ///
    /// # Errors
    /// `State` if it is revoked, expired or blocked, and as [`KeyStore`] says.
    pub fn rotate(&self, id: KeyId, request: Rotate) -> Result<Issued, Error> {
        self.store.rotate_key(&self.by, id, &request, self.expected)
    }

    /// Ends every token before the current one.
    ///
    /// # Errors
    /// `State` if it is revoked, and as [`KeyStore`] says.
    pub fn invalidate_previous_tokens(&self, id: KeyId) -> Result<Key, Error> {
        self.act(id, &KeyAction::InvalidatePreviousTokens)
    }

    /// Shows the current token of a key that keeps it sealed; leaves an event.
    ///
    /// # Errors
    /// `NotFound` if it isn't sealed, `Seal`, and as [`KeyStore`] says.
    pub fn reveal_token(&self, id: KeyId) -> Result<Token, Error> {
        self.store.reveal_token(&self.by, id)
    }

    /// The same for a page of keys.
    ///
    /// # Errors
    /// As [`list`](Self::list) and [`reveal_token`](Self::reveal_token).
    pub fn reveal_tokens(&self, query: &ListKeys) -> Result<Page<RevealedToken>, Error> {
        self.store.reveal_tokens(&self.by, query)
    }

    /// Events in reach after a number, in their order.
    ///
    /// # Errors
    /// As [`KeyStore`] says.
    pub fn events(&self, query: &ListEvents) -> Result<Events, Error> {
        self.store.events(&self.by, query)
    }

    pub(super) fn act(&self, id: KeyId, action: &KeyAction) -> Result<Key, Error> {
        self.store.change_key(&self.by, id, action, self.expected)
    }
}

impl<R> Keys<R> {
    /// The one owner in whose name an owner or a delegate acts.
    pub(super) fn own_id(&self) -> Result<OwnerId, Error> {
        self.by.role.owner().copied().ok_or(Error::NotFound(Resource::Owner))
    }
}
