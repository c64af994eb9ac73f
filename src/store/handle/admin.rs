//! The handle of an administrator.

use std::sync::Arc;
use std::time::Duration;

use super::bulk::Bulk;
use super::feed::EventFeed;
use super::into_key_store::IntoKeyStore;
use super::keys::{Keys, Managing, private};
use crate::authority::{Actor, Authority, Role};
use crate::clock::Timestamp;
use crate::id::{KeyId, OwnerId};
use crate::invalid::Invalid;
use crate::key::{Expiry, IdempotencyKey};
use crate::store::types::{
    ChangeRules, ChangedKey, CreateKey, CreateOwner, CreatedOwner, Error, Explanation, FoundToken,
    IfInUse, Issued, IssuedOnce, Key, KeyAction, ListKeys, ListOwners, Owner, OwnerAction, Page,
    RetiredPepper, RevokedAll, Rules, UpdateOwner,
};
use crate::token::{Found, scan};

/// The role of [`AdminKeys`].
#[derive(Debug)]
pub enum AsAdmin {}

impl private::Sealed for AsAdmin {}
impl Managing for AsAdmin {}

/// The handle of an administrator, which reaches every owner and key.
pub type AdminKeys = Keys<AsAdmin>;

impl AdminKeys {
    /// Creates an administrator's handle, used by `actor` (1 to 255 bytes, in the service's own
    /// words).
    ///
    /// # Errors
    /// [`Invalid`] for an actor that is empty, too long, has a character that names may not have, or
    /// is named `keyhasp` as the store itself.
    pub fn new(store: impl IntoKeyStore, actor: impl Into<String>) -> Result<Self, Invalid> {
        Ok(Self::with(
            store.into_key_store(),
            Authority::new(Role::Administrator, Actor::of_caller(actor)?),
        ))
    }

    /// Returns this handle with a reason that the owner concerned may read too, 1 to 1,024 bytes.
    ///
    /// # Errors
    /// As [`with_reason`](Self::with_reason).
    pub fn with_reason_for_owner(&self, reason: impl Into<String>) -> Result<Self, Invalid> {
        let mut handle = self.with_reason(reason)?;
        handle.by.reason_for_owner = true;
        Ok(handle)
    }

    /// Creates a key of an owner, and the owner too if the request says so
    /// ([`CreateKey::or_create_owner`]) and it doesn't exist.
    ///
    /// # Errors
    /// As [`KeyStore::create_key`](crate::KeyStore::create_key).
    pub fn create(&self, owner: &OwnerId, request: CreateKey) -> Result<Issued, Error> {
        self.store.create_key(&self.by, owner, &request)
    }

    /// Creates a key under an idempotency key. A caller that lost the answer sends the same request
    /// again, within 24 hours: the answer has the same key, and no second one is made. It has the
    /// token if that is recoverable, current, and the caller may reveal it.
    ///
    /// # Errors
    /// As [`create`](Self::create), and `IdempotencyKeyReused` for another request.
    pub fn create_once(
        &self,
        owner: &OwnerId,
        request: CreateKey,
        key: &IdempotencyKey,
    ) -> Result<IssuedOnce, Error> {
        self.store.create_key_once(&self.by, owner, &request, key)
    }

    /// Creates many keys, each for itself, in pieces. Keys of owners that don't exist yet may create
    /// them ([`CreateKey::or_create_owner`]).
    ///
    /// The outcomes are those of [`create`](Self::create).
    pub fn create_many(
        &self,
        requests: impl IntoIterator<Item = (OwnerId, CreateKey), IntoIter: Send + 'static>,
    ) -> Bulk<Issued> {
        let handle = self.clone();
        Bulk::new(requests, move |piece| handle.store.create_keys(&handle.by, piece))
    }

    /// Replaces, once, the token that a request under this idempotency key issued and that was lost
    /// on the way: its generation ends, and previous tokens keep the rest of their grace. It finds
    /// requests of administrators, those of the key's owner, and those that the key made for itself.
    ///
    /// # Errors
    /// `NotFound` without such a request in the last 24 hours, `State` if its token was replaced
    /// before or is no longer the key's current one, `Forbidden` for a previous token, and as
    /// [`rotate`](Self::rotate).
    pub fn replace_lost_token(&self, id: KeyId, key: &IdempotencyKey) -> Result<Issued, Error> {
        self.store.replace_lost_token(&self.by, id, key)
    }

    /// Blocks the key. Its owner can't lift the block. It is blocked also if its record is damaged;
    /// then nothing lifts the block.
    ///
    /// # Errors
    /// `State` if it is revoked, and as [`KeyStore`](crate::KeyStore) says.
    pub fn block(&self, id: KeyId) -> Result<ChangedKey, Error> {
        self.change(id, &KeyAction::Block)
    }

    /// Lifts a block. The owner's own switch holds again.
    ///
    /// # Errors
    /// `State` if it is revoked, and as [`KeyStore`](crate::KeyStore) says.
    pub fn unblock(&self, id: KeyId) -> Result<Key, Error> {
        self.act(id, &KeyAction::Unblock)
    }

    /// Lets the count of the key's quota begin whole again.
    ///
    /// # Errors
    /// `State` if it is revoked or has no quota, and as [`KeyStore`](crate::KeyStore) says.
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

    /// Finds the key and generation of a leaked token. Returns `None` for a token that no key has,
    /// or that its key no longer has. Counts as no use of the key.
    ///
    /// # Errors
    /// As [`KeyStore::identify`](crate::KeyStore::identify).
    pub fn identify(&self, token: impl AsRef<[u8]>) -> Result<Option<FoundToken>, Error> {
        self.store.identify(&self.by, token.as_ref())
    }

    /// Returns a page of those keys of a query whose access names permissions that the catalogue lacks, also
    /// as earlier names. Keys whose access can't be read are in [`Page::damaged`]. Follow [`Page::next`] to
    /// the end: a page may be empty.
    ///
    /// # Errors
    /// As [`KeyStore::list_unmatched`](crate::KeyStore::list_unmatched).
    pub fn list_unmatched(&self, query: &ListKeys) -> Result<Page<Key>, Error> {
        self.store.list_unmatched(&self.by, query)
    }

    /// Says why a token is accepted or not: every reason that stands against it, with the moment since
    /// which it holds. Counts as no use of the key. The answer is for administrators: a caller who
    /// presents the token learns at most one reason, from a verification.
    ///
    /// ```
    /// # use keyhasp::store::Explanation;
    /// # fn f(admin: keyhasp::AdminKeys, token: &str) -> Result<(), keyhasp::Error> {
    /// match admin.explain(token)? {
    ///     Explanation::Known(token) if token.obstacles.is_empty() => println!("it is good"),
    ///     Explanation::Known(token) => println!("{}: {:?}", token.key.id, token.obstacles),
    ///     other => println!("{other:?}"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`KeyStore::explain`](crate::KeyStore::explain).
    pub fn explain(&self, token: impl AsRef<[u8]>) -> Result<Explanation, Error> {
        self.store.explain(&self.by, token.as_ref())
    }

    /// Finds a leaked token as [`identify`](Self::identify) does, and blocks its key. It doesn't
    /// block a key that is revoked or blocked already, nor one whose leaked token was superseded
    /// and can do no harm.
    ///
    /// # Errors
    /// As [`KeyStore::block_leaked`](crate::KeyStore::block_leaked).
    pub fn block_leaked(&self, token: impl AsRef<[u8]>) -> Result<Option<FoundToken>, Error> {
        self.store.block_leaked(&self.by, token.as_ref())
    }

    /// Finds the tokens in any text that have the shape and a prefix of this store's tokens, and a
    /// right checksum. [`identify`](Self::identify) finds out whether they were ever issued.
    ///
    /// # Errors
    /// As [`KeyStore::rules`](crate::KeyStore::rules).
    pub fn scan(&self, text: impl AsRef<[u8]>) -> Result<Vec<Found>, Error> {
        Ok(scan(text.as_ref(), &self.rules()?.prefixes))
    }

    /// Makes a trial key a standard key. Its owner's `max_access` cuts it from then on.
    ///
    /// # Errors
    /// `State` unless it is a trial key, and as [`KeyStore`](crate::KeyStore) says.
    pub fn convert_trial(&self, id: KeyId, expiry: Expiry) -> Result<Key, Error> {
        self.act(id, &KeyAction::ConvertTrial { expiry })
    }

    /// Removes a revoked key. Its events stay.
    ///
    /// # Errors
    /// `State` unless it is revoked, and as [`KeyStore`](crate::KeyStore) says.
    pub fn purge(&self, id: KeyId) -> Result<(), Error> {
        self.store.purge_key(&self.by, id, self.expected)
    }

    /// Removes many revoked keys, each for itself, in pieces. Their events stay.
    ///
    /// The outcomes are those of [`purge`](Self::purge).
    pub fn purge_many(
        &self,
        ids: impl IntoIterator<Item = KeyId, IntoIter: Send + 'static>,
    ) -> Bulk<()> {
        let handle = self.clone();
        Bulk::new(ids, move |piece| handle.store.purge_keys(&handle.by, piece, handle.expected))
    }

    /// Creates an owner, with its first key if the request has one.
    ///
    /// # Errors
    /// As [`KeyStore::create_owner`](crate::KeyStore::create_owner).
    pub fn create_owner(&self, id: &OwnerId, request: CreateOwner) -> Result<CreatedOwner, Error> {
        self.store.create_owner(&self.by, id, &request)
    }

    /// Returns an owner by its id.
    ///
    /// # Errors
    /// `NotFound`, and as [`KeyStore`](crate::KeyStore) says.
    pub fn owner(&self, id: &OwnerId) -> Result<Owner, Error> {
        self.store.owner(&self.by, id)
    }

    /// Returns a page of owners, ascending by id.
    ///
    /// # Errors
    /// As [`KeyStore`](crate::KeyStore) says.
    pub fn list_owners(&self, query: &ListOwners) -> Result<Page<Owner>, Error> {
        self.store.list_owners(&self.by, query)
    }

    /// Changes default settings, `max_access`, `max_keys` or limits.
    ///
    /// # Errors
    /// `Invalid`, and as [`KeyStore`](crate::KeyStore) says.
    pub fn update_owner(&self, id: &OwnerId, update: UpdateOwner) -> Result<Owner, Error> {
        self.act_on_owner(id, &OwnerAction::Update(update))
    }

    /// Lets the count of an owner's quota begin whole again.
    ///
    /// # Errors
    /// `State` if it has no quota, and as [`KeyStore`](crate::KeyStore) says.
    pub fn refill_owner_quota(&self, id: &OwnerId) -> Result<Owner, Error> {
        self.act_on_owner(id, &OwnerAction::RefillQuota)
    }

    /// Adds uses (1 to 2^40 - 1) to what is left of an owner's quota, which never holds more than
    /// 2^40 - 1. A refill takes none of them away.
    ///
    /// # Errors
    /// `Invalid`, and as [`refill_owner_quota`](Self::refill_owner_quota).
    pub fn add_to_owner_quota(&self, id: &OwnerId, uses: u64) -> Result<Owner, Error> {
        self.act_on_owner(id, &OwnerAction::AddToQuota(uses))
    }

    /// Suspends the owner: none of its keys is accepted from now on.
    ///
    /// # Errors
    /// As [`KeyStore`](crate::KeyStore) says.
    pub fn suspend_owner(&self, id: &OwnerId) -> Result<Owner, Error> {
        self.act_on_owner(id, &OwnerAction::Suspend)
    }

    /// Lifts a suspension. Every key is as it was before.
    ///
    /// # Errors
    /// As [`KeyStore`](crate::KeyStore) says.
    pub fn resume_owner(&self, id: &OwnerId) -> Result<Owner, Error> {
        self.act_on_owner(id, &OwnerAction::Resume)
    }

    /// Supersedes every token of the owner that was issued before `to`, which is at most now.
    ///
    /// # Errors
    /// `Invalid` for a moment in the future, and as [`KeyStore`](crate::KeyStore) says.
    pub fn invalidate_owner_tokens_issued_before(
        &self,
        id: &OwnerId,
        to: Timestamp,
    ) -> Result<Owner, Error> {
        self.act_on_owner(id, &OwnerAction::InvalidateTokens(to))
    }

    /// Revokes all keys of an owner at once. Creates a replacement if one is given.
    ///
    /// # Errors
    /// As [`KeyStore::revoke_all`](crate::KeyStore::revoke_all).
    pub fn revoke_all(
        &self,
        owner: &OwnerId,
        replacement: Option<CreateKey>,
    ) -> Result<RevokedAll, Error> {
        self.store.revoke_all(&self.by, owner, replacement.as_ref(), self.expected)
    }

    /// Removes a suspended owner with all its keys. Events stay.
    ///
    /// # Errors
    /// `State` unless it is suspended, and as [`KeyStore`](crate::KeyStore) says.
    pub fn purge_owner(&self, id: &OwnerId) -> Result<(), Error> {
        self.store.purge_owner(&self.by, id, self.expected)
    }

    /// Returns the rules of the store.
    ///
    /// # Errors
    /// As [`KeyStore`](crate::KeyStore) says.
    pub fn rules(&self) -> Result<Rules, Error> {
        self.store.rules(&self.by)
    }

    /// Changes the rules of the store as far as its data allow. Other processes with the store open
    /// answer `Unavailable` until they open it again. What a damaged key holds against new rules can't
    /// be seen, so it forbids none; it isn't the live standard key that its owner must keep.
    ///
    /// # Errors
    /// `DataForbid`, and as [`KeyStore`](crate::KeyStore) says.
    pub fn change_rules(&self, request: ChangeRules) -> Result<Rules, Error> {
        self.store.change_rules(&self.by, &request, self.expected)
    }

    /// Supersedes every token of the store that was issued before `to`, which is at most now.
    ///
    /// # Errors
    /// `Invalid` for a moment in the future, and as [`KeyStore`](crate::KeyStore) says.
    pub fn invalidate_tokens_issued_before(&self, to: Timestamp) -> Result<Rules, Error> {
        self.store.invalidate_tokens_issued_before(&self.by, to, self.expected)
    }

    /// Retires a pepper for ever, if it is lost or known to others: no token under it is accepted,
    /// and its number isn't used again. Keys whose current token ends get another by a rotation. If
    /// live tokens are under the pepper, `if_in_use` says what happens; a damaged key that isn't
    /// revoked counts as one that may have some. Looks at all keys in one
    /// commit, which other commits wait for. Changes nothing if the pepper is retired already. Other
    /// processes whose new tokens are hashed under it answer `Unavailable` until they open the store
    /// with another.
    ///
    /// # Errors
    /// `PepperInUse` with the live tokens and some of their keys; `Pepper` for the pepper of new
    /// tokens, and for a number that the database doesn't know; and as [`KeyStore`](crate::KeyStore) says.
    pub fn retire_pepper(&self, number: u16, if_in_use: IfInUse) -> Result<RetiredPepper, Error> {
        self.store.retire_pepper(&self.by, number, if_in_use, self.expected)
    }

    /// Deletes events older than `before`, from the oldest up to the first that isn't. Always keeps
    /// the newest event. Returns the count. It deletes some hundreds at a time, so that other calls
    /// can commit in between. If it fails after it deleted some, it returns their count, and the
    /// next call reports the error.
    ///
    /// # Errors
    /// As [`KeyStore`](crate::KeyStore) says.
    pub fn prune_events(&self, before: Timestamp) -> Result<u64, Error> {
        self.store.prune_events(&self.by, before)
    }

    /// Waits until an event after `after` exists, at most for `timeout`. Returns the number of the
    /// newest event.
    ///
    /// # Errors
    /// As [`KeyStore`](crate::KeyStore) says.
    pub fn wait_for_event(&self, after: u64, timeout: Duration) -> Result<u64, Error> {
        self.store.wait_for_event(after, timeout)
    }

    /// Subscribes to the events after this number. 0 is before the first.
    #[must_use]
    pub fn subscribe(&self, after: u64) -> EventFeed {
        EventFeed::new(Arc::clone(&self.store), self.by.clone(), after)
    }

    fn act_on_owner(&self, id: &OwnerId, action: &OwnerAction) -> Result<Owner, Error> {
        self.store.change_owner(&self.by, id, action, self.expected)
    }
}
