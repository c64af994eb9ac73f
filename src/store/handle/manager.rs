//! The handle of whoever manages the keys of one owner, and what all handles of one owner share.

use super::bulk::Bulk;
use super::delegated::{AsDelegate, DelegatedKeys};
use super::keys::{Keys, Managing, private};
use super::owner::{AsOwner, OwnerKeys};
use crate::key::IdempotencyKey;
use crate::store::types::{CreateKey, Error, Issued, IssuedOnce};

/// The role of [`ManagerKeys`].
#[derive(Debug)]
pub enum AsManager {}

impl private::Sealed for AsManager {}
impl Managing for AsManager {}

/// A role of a handle that reaches the keys of one owner.
pub trait OfOneOwner: Managing {}

impl OfOneOwner for AsOwner {}
impl OfOneOwner for AsDelegate {}
impl OfOneOwner for AsManager {}

/// The handle of whoever manages the keys of one owner: the owner, or a caller that acts with a key.
/// So a handler is written once for both.
///
/// It is made from [`OwnerKeys`] or [`DelegatedKeys`] by `From`, and has their common calls. What the
/// calls may do stays as it was before.
///
/// ```
/// use keyhasp::{Access, CreateKey, DelegatedKeys, Error, ManagerKeys, OwnerKeys, store::Issued};
///
/// fn create(keys: &ManagerKeys) -> Result<Issued, Error> {
///     keys.create(CreateKey::new(Access::ReadOnly).name("laptop"))
/// }
/// # fn f(person: OwnerKeys, script: DelegatedKeys) -> Result<(), Error> {
/// create(&person.into())?;
/// create(&script.into())?;
/// # Ok(())
/// # }
/// ```
/// ```compile_fail,E0599
/// # fn f(keys: keyhasp::ManagerKeys) { let _ = keys.revoke_all(None); }
/// ```
pub type ManagerKeys = Keys<AsManager>;

impl From<OwnerKeys> for ManagerKeys {
    fn from(keys: OwnerKeys) -> Self {
        keys.in_role()
    }
}

impl From<DelegatedKeys> for ManagerKeys {
    fn from(keys: DelegatedKeys) -> Self {
        keys.in_role()
    }
}

impl<R: OfOneOwner> Keys<R> {
    /// Creates a key of the owner. For a caller that acts with a key: within the access and limits of
    /// the acting key; the prefix defaults to that of the acting token, and the expiry to that of the
    /// acting key.
    ///
    /// # Errors
    /// As [`KeyStore::create_key`](crate::KeyStore::create_key).
    pub fn create(&self, request: CreateKey) -> Result<Issued, Error> {
        self.store.create_key(&self.by, &self.own_id()?, &request)
    }

    /// Creates many keys of the owner, each for itself, in pieces.
    ///
    /// The outcomes are those of [`create`](Self::create).
    pub fn create_many(
        &self,
        requests: impl IntoIterator<Item = CreateKey, IntoIter: Send + 'static>,
    ) -> Bulk<Issued> {
        let (store, by, owner) = (self.store.clone(), self.by.clone(), self.own_id());
        Bulk::new(requests, move |piece: &[CreateKey]| {
            let owner = owner.clone()?;
            let piece: Vec<_> = piece.iter().map(|request| (owner, request.clone())).collect();
            store.create_keys(&by, &piece)
        })
    }

    /// Creates a key under an idempotency key. A caller that lost the answer sends the same request
    /// again, within 24 hours: the answer has the same key, and no second one is made. It has the
    /// token if that is recoverable, current, and the caller may reveal it.
    ///
    /// # Errors
    /// As [`create`](Self::create), and `IdempotencyKeyReused` for another request.
    pub fn create_once(
        &self,
        request: CreateKey,
        key: &IdempotencyKey,
    ) -> Result<IssuedOnce, Error> {
        self.store.create_key_once(&self.by, &self.own_id()?, &request, key)
    }
}
