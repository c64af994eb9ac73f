//! Handles whose calls are futures.

use std::time::Duration;

use zeroize::Zeroizing;

use super::blocking::blocking;
use super::bulk::AsyncBulk;
use super::feed::AsyncEventFeed;
use crate::authority::Authority;
use crate::clock::Timestamp;
use crate::id::{KeyId, NumericId, OwnerId, Version};
use crate::invalid::Invalid;
use crate::key::{Expiry, IdempotencyKey};
use crate::store::{
    AsAdmin, AsOwner, ChangeRules, ChangedKey, CreateKey, CreateOwner, CreatedOwner, Error, Events,
    Explanation, FoundToken, IfInUse, Issued, IssuedOnce, Key, Keys, ListEvents, ListKeys,
    ListOwners, Managing, OfOneOwner, Owner, Page, RetiredPepper, RevealedToken, RevokedAll,
    RevokedTree, Rotate, Rules, UpdateKey, UpdateOwner,
};
use crate::token::{Found, Token};

/// A handle whose calls run on the pool of blocking threads.
///
/// It is made from [`Keys`] by `From`. It has the same calls; each fails as its namesake and as
/// [`blocking`] do.
///
/// ```
/// # use keyhasp::{Access, CreateKey, OwnerKeys};
/// # use keyhasp::integrations::tokio::AsyncKeys;
/// # async fn f(keys: OwnerKeys) -> Result<(), keyhasp::Error> {
/// let keys = AsyncKeys::from(keys);
/// let issued = keys.create(CreateKey::new(Access::ReadOnly)).await?;
/// // Several calls, one trip.
/// let id = issued.key.id;
/// keys.call(move |keys| keys.revoke(id).and_then(|_| keys.get(id))).await?;
/// # Ok(())
/// # }
/// ```
/// ```compile_fail,E0599
/// # use keyhasp::{KeyId, OwnerKeys};
/// # use keyhasp::integrations::tokio::AsyncKeys;
/// # fn f(keys: AsyncKeys<keyhasp::store::AsOwner>, id: KeyId) { let _ = keys.block(id); }
/// ```
#[derive(Debug)]
pub struct AsyncKeys<R> {
    keys: Keys<R>,
}

impl<R> Clone for AsyncKeys<R> {
    fn clone(&self) -> Self {
        Self { keys: self.keys.clone() }
    }
}

impl<R> From<Keys<R>> for AsyncKeys<R> {
    fn from(keys: Keys<R>) -> Self {
        Self { keys }
    }
}

impl<R: Managing + 'static> AsyncKeys<R> {
    /// Returns the handle itself, whose calls block.
    #[must_use]
    pub fn keys(&self) -> &Keys<R> {
        &self.keys
    }

    /// Runs several calls of the handle in one turn on the pool.
    ///
    /// # Errors
    /// Those of the calls and of [`blocking`].
    pub async fn call<T, F>(&self, call: F) -> Result<T, Error>
    where
        F: FnOnce(&Keys<R>) -> Result<T, Error> + Send + 'static,
        T: Send + 'static,
    {
        let keys = self.keys.clone();
        blocking(move || call(&keys)).await
    }

    /// Returns the same handle with a reason, as [`Keys::with_reason`] does.
    ///
    /// # Errors
    /// [`Invalid`] for a bad text.
    pub fn with_reason(&self, reason: impl Into<String>) -> Result<Self, Invalid> {
        self.keys.with_reason(reason).map(Self::from)
    }

    /// Returns the same handle with a correlation id, as [`Keys::with_correlation_id`] does.
    ///
    /// # Errors
    /// [`Invalid`] for a bad text.
    pub fn with_correlation_id(&self, id: impl Into<String>) -> Result<Self, Invalid> {
        self.keys.with_correlation_id(id).map(Self::from)
    }

    /// Returns the same handle, whose changes expect a record of this version.
    #[must_use]
    pub fn if_version(&self, version: Version) -> Self {
        self.keys.if_version(version).into()
    }

    /// Returns the authority with which it acts.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        self.keys.authority()
    }
}

/// Declares calls as futures, each of which runs its namesake with the same arguments. The pool
/// gets its own copy of one that is `(lent)`, and a copy that is wiped of one that is `(secret)`.
macro_rules! calls {
    ($($name:ident($($(($by:tt))? $argument:ident: $kind:ty),*) -> $answer:ty;)*) => {
        $(
            #[doc = concat!("Runs [`Keys::", stringify!($name), "`] on the pool.")]
            ///
            /// # Errors
            /// Those of its namesake and of [`blocking`].
            pub async fn $name(
                &self,
                $($argument: taken!($kind $(, $by)?)),*
            ) -> Result<$answer, Error> {
                $(let $argument = owned!($argument $(, $by)?);)*
                self.call(move |keys| keys.$name($(passed!($argument $(, $by)?)),*)).await
            }
        )*
    };
}

/// The type of an argument.
macro_rules! taken {
    ($kind:ty, lent) => { &$kind };
    ($kind:ty, secret) => { impl AsRef<$kind> };
    ($kind:ty) => { $kind };
}

/// The argument as the pool gets it.
macro_rules! owned {
    ($argument:ident, lent) => {
        $argument.clone()
    };
    ($argument:ident, secret) => {
        Zeroizing::new($argument.as_ref().to_vec())
    };
    ($argument:ident) => {
        $argument
    };
}

/// The argument as the namesake takes it.
macro_rules! passed {
    ($argument:ident, lent) => {
        &$argument
    };
    ($argument:ident, secret) => {
        &$argument[..]
    };
    ($argument:ident) => {
        $argument
    };
}

impl<R: Managing + 'static> AsyncKeys<R> {
    calls! {
        get(id: KeyId) -> Key;
        find(id: NumericId) -> Key;
        list((lent) query: ListKeys) -> Page<Key>;
        count((lent) query: ListKeys) -> u64;
        update(id: KeyId, update: UpdateKey) -> Key;
        extend_expiry(id: KeyId, expiry: Expiry) -> Key;
        deactivate(id: KeyId) -> Key;
        activate(id: KeyId) -> Key;
        revoke(id: KeyId) -> ChangedKey;
        revoke_with_descendants(id: KeyId) -> RevokedTree;
        rotate(id: KeyId, request: Rotate) -> Issued;
        rotate_once(id: KeyId, request: Rotate, (lent) key: IdempotencyKey) -> IssuedOnce;
        invalidate_previous_tokens(id: KeyId) -> Key;
        reveal_token(id: KeyId) -> Token;
        reveal_tokens((lent) query: ListKeys) -> Page<RevealedToken>;
        events((lent) query: ListEvents) -> Events;
    }
}

impl AsyncKeys<AsAdmin> {
    /// Returns the same handle with a reason for the owner's eyes too, as
    /// [`AdminKeys::with_reason_for_owner`](crate::store::AdminKeys::with_reason_for_owner) does.
    ///
    /// # Errors
    /// Those of its namesake.
    pub fn with_reason_for_owner(&self, reason: impl Into<String>) -> Result<Self, Invalid> {
        self.keys.with_reason_for_owner(reason).map(Self::from)
    }

    calls! {
        create((lent) owner: OwnerId, request: CreateKey) -> Issued;
        create_once(
            (lent) owner: OwnerId,
            request: CreateKey,
            (lent) key: IdempotencyKey
        ) -> IssuedOnce;
        replace_lost_token(id: KeyId, (lent) key: IdempotencyKey) -> Issued;
        block(id: KeyId) -> ChangedKey;
        unblock(id: KeyId) -> Key;
        refill_quota(id: KeyId) -> Key;
        add_to_quota(id: KeyId, uses: u64) -> Key;
        identify((secret) token: [u8]) -> Option<FoundToken>;
        list_unmatched((lent) query: ListKeys) -> Page<Key>;
        explain((secret) token: [u8]) -> Explanation;
        block_leaked((secret) token: [u8]) -> Option<FoundToken>;
        scan((secret) text: [u8]) -> Vec<Found>;
        convert_trial(id: KeyId, expiry: Expiry) -> Key;
        purge(id: KeyId) -> ();
        create_owner((lent) id: OwnerId, request: CreateOwner) -> CreatedOwner;
        owner((lent) id: OwnerId) -> Owner;
        list_owners((lent) query: ListOwners) -> Page<Owner>;
        update_owner((lent) id: OwnerId, update: UpdateOwner) -> Owner;
        refill_owner_quota((lent) id: OwnerId) -> Owner;
        add_to_owner_quota((lent) id: OwnerId, uses: u64) -> Owner;
        suspend_owner((lent) id: OwnerId) -> Owner;
        resume_owner((lent) id: OwnerId) -> Owner;
        invalidate_owner_tokens_issued_before((lent) id: OwnerId, to: Timestamp) -> Owner;
        revoke_all((lent) owner: OwnerId, replacement: Option<CreateKey>) -> RevokedAll;
        purge_owner((lent) id: OwnerId) -> ();
        rules() -> Rules;
        change_rules(request: ChangeRules) -> Rules;
        invalidate_tokens_issued_before(to: Timestamp) -> Rules;
        retire_pepper(number: u16, if_in_use: IfInUse) -> RetiredPepper;
        prune_events(before: Timestamp) -> u64;
        wait_for_event(after: u64, timeout: Duration) -> u64;
    }
}

impl<R: Managing + 'static> AsyncKeys<R> {
    /// Revokes many keys as [`Keys::revoke_many`] does.
    pub fn revoke_many(
        &self,
        ids: impl IntoIterator<Item = KeyId, IntoIter: Send + 'static>,
    ) -> AsyncBulk<ChangedKey> {
        self.keys.revoke_many(ids).into()
    }
}

impl AsyncKeys<AsAdmin> {
    /// Creates many keys as [`Keys::create_many`](crate::AdminKeys::create_many) does.
    pub fn create_many(
        &self,
        requests: impl IntoIterator<Item = (OwnerId, CreateKey), IntoIter: Send + 'static>,
    ) -> AsyncBulk<Issued> {
        self.keys.create_many(requests).into()
    }

    /// Removes many revoked keys as [`Keys::purge_many`](crate::AdminKeys::purge_many) does.
    pub fn purge_many(
        &self,
        ids: impl IntoIterator<Item = KeyId, IntoIter: Send + 'static>,
    ) -> AsyncBulk<()> {
        self.keys.purge_many(ids).into()
    }

    /// Subscribes to the events after this number; 0 is before the first.
    #[must_use]
    pub fn subscribe(&self, after: u64) -> AsyncEventFeed {
        self.keys.subscribe(after).into()
    }
}

impl<R: OfOneOwner + 'static> AsyncKeys<R> {
    /// Creates many keys of the owner as [`Keys::create_many`](crate::OwnerKeys::create_many) does.
    pub fn create_many(
        &self,
        requests: impl IntoIterator<Item = CreateKey, IntoIter: Send + 'static>,
    ) -> AsyncBulk<Issued> {
        self.keys.create_many(requests).into()
    }

    calls! {
        create(request: CreateKey) -> Issued;
        create_once(request: CreateKey, (lent) key: IdempotencyKey) -> IssuedOnce;
    }
}

impl AsyncKeys<AsOwner> {
    calls! {
        refill_quota(id: KeyId) -> Key;
        add_to_quota(id: KeyId, uses: u64) -> Key;
        replace_lost_token(id: KeyId, (lent) key: IdempotencyKey) -> Issued;
        owner() -> Owner;
        revoke_all(replacement: Option<CreateKey>) -> RevokedAll;
    }
}
