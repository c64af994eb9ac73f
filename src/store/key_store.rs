//! The port of a store: its verification and management calls.

use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::types::{
    ChangeRules, ChangedKey, CreateKey, CreateOwner, CreatedOwner, Error, Events, Explanation,
    FoundToken, Health, IfInUse, Issued, IssuedOnce, Key, KeyAction, KeyDetails, ListEvents,
    ListKeys, ListOwners, Owner, OwnerAction, Page, ReservedUses, RetiredPepper, RevealedToken,
    RevokedAll, RevokedTree, Rotate, Rules, VerifyError, VerifyRequest,
};
use super::verify::LeaseWait;
use crate::authority::Authority;
use crate::clock::Timestamp;
use crate::id::{KeyId, NumericId, OwnerId, Version};
use crate::key::{IdempotencyKey, Prefix};
use crate::permission::Catalogue;
use crate::token::Token;
use crate::verified_key::VerifiedKey;

/// The port of a store, object-safe: verification, and the whole life of keys and owners.
///
/// Management methods take an [`Authority`] and decide by it. A service doesn't pass a store to its
/// parts. It passes the handles [`AdminKeys`](super::AdminKeys), [`OwnerKeys`](super::OwnerKeys),
/// [`DelegatedKeys`](super::DelegatedKeys) and [`Verifier`](super::Verifier). Each of them has only
/// the methods that its holder may call.
///
/// # Errors
/// Every management method fails with [`Error`]:
///
/// - `Invalid` if an argument is malformed or outside its limits;
/// - `NotFound` if the record doesn't exist, or the authority doesn't reach it;
/// - `Forbidden` if the authority may not do this;
/// - `Conflict` if `expected` is given and the record has another version;
/// - `OutcomeUnknown` if it is indeterminate whether the change took effect;
/// - `Backend` if the backend fails, and `Unavailable` if the store can't answer now.
///
/// After any error but `OutcomeUnknown`, nothing was changed. A change that was acknowledged is
/// durable as far as the backend is. The next verification in this process sees it.
pub trait KeyStore: Debug + Send + Sync + 'static {
    /// Verifies a token: one use, from an unknown address.
    ///
    /// # Errors
    /// As [`verify_request`](Self::verify_request).
    fn verify(&self, token: &[u8]) -> Result<VerifiedKey, VerifyError> {
        self.verify_request(&VerifyRequest::new(token))
    }

    /// Verifies a token, by the peer's address and the cost of this use as well. It never calls the
    /// backend, and allocates nothing and waits for no other thread, with one exception: the use of
    /// a quota.
    ///
    /// This process leases part of each quota. A thread of its own fetches the next lease before the
    /// last one ends, and the verification that asks for it takes a lock for a moment. One that finds
    /// no lease parks this thread until the lease is there, or for
    /// [`StoreBuilder::quota_wait`](super::StoreBuilder::quota_wait) at most. That may happen at the
    /// first use in a period, and at each use while fewer than 32 are left.
    ///
    /// After the secret it checks, in this order: the key's state, `not_before`, the address, the
    /// rate, the quota. The last four are checked for the key and for its owner. A rejected
    /// verification uses nothing up. One of cost 0 takes nothing either: if this process doesn't know
    /// what is left of a quota, it waits, as for a lease, until that is read.
    ///
    /// # Errors
    /// [`VerifyError`], which is the same for every caller without the right secret.
    fn verify_request(&self, request: &VerifyRequest<'_>) -> Result<VerifiedKey, VerifyError>;

    /// Verifies a token as [`verify_request`](Self::verify_request) does, and never parks the thread:
    /// one that has to wait for a lease is pending. It has taken nothing then; `wait` has its place
    /// among those who wait, and the task is woken when it is worth to poll again. `wait` is `None`
    /// before the first poll and after the answer. Dropping it ends the wait.
    ///
    /// [`Verifier::verify_async`](super::Verifier::verify_async) makes a future of this. The provided
    /// method parks the thread, which is right for a store that never waits.
    ///
    /// # Errors
    /// As [`verify_request`](Self::verify_request).
    fn poll_verify(
        &self,
        request: &VerifyRequest<'_>,
        wait: &mut Option<LeaseWait>,
        context: &mut Context<'_>,
    ) -> Poll<Result<VerifiedKey, VerifyError>> {
        let _ = (wait, context);
        Poll::Ready(self.verify_request(request))
    }

    /// Judges again the token of an answer that was given before, from the peer's address if that is
    /// known: for a WebSocket or a stream that is still open. The answer is that which
    /// [`verify_request`](Self::verify_request) would give for the same token now, with these differences:
    ///
    /// - It counts no use, and is no use: a rate or quota that is used up doesn't fail it. What is left
    ///   of the rate is shown.
    /// - It computes no hash, and never waits.
    /// - A key whose record is damaged is said to be damaged, for each of its tokens.
    ///
    /// A token that was rotated away, forced or after its grace, fails as it would if it were presented.
    ///
    /// # Errors
    /// [`VerifyError`]: `Unrecognized` also for a key that was purged, for one of another store (unless that is
    /// a copy with the same ids), and for a token that the key no longer has.
    fn recheck_from(
        &self,
        verified: &VerifiedKey,
        address: Option<IpAddr>,
    ) -> Result<VerifiedKey, VerifyError>;

    /// Returns the data of a key that the store keeps in memory: name, numeric id, tags and the settings
    /// that [`StoreBuilder::key_details`](super::StoreBuilder::key_details) names, as current as a
    /// verification is. Takes two locks for a moment, and reads no backend. Returns `None` if the store keeps
    /// none, and for a key that is gone. The provided method returns `None`.
    fn details(&self, verified: &VerifiedKey) -> Option<Arc<KeyDetails>> {
        let _ = verified;
        None
    }

    /// Counts `actual` uses in place of reserved ones, as
    /// [`Reservation::settle`](super::Reservation::settle) says.
    ///
    /// # Errors
    /// `Unavailable` if the store is closed or recovers, and `Backend`: the reservation stands.
    /// `OutcomeUnknown` if it is indeterminate whether the charge was written.
    fn settle(&self, reserved: ReservedUses, actual: u32) -> Result<(), Error>;

    /// Returns the permissions that the service declared.
    fn catalogue(&self) -> &Catalogue;

    /// Returns the prefixes of the tokens that the store accepts now.
    fn prefixes(&self) -> Vec<Prefix>;

    /// Creates a key of an owner, and the owner too if the request says so
    /// ([`CreateKey::or_create_owner`]) and it doesn't exist.
    ///
    /// # Errors
    /// As [`KeyStore`] says; also `NameTaken`, `TooManyKeys`, `NumericIdTaken`,
    /// `NumericIdsExhausted`,
    /// `Random`, and `State` where the store doesn't keep tokens recoverable.
    fn create_key(
        &self,
        by: &Authority,
        owner: &OwnerId,
        request: &CreateKey,
    ) -> Result<Issued, Error>;

    /// Creates a key of an owner under an idempotency key: the same request again, within 24 hours,
    /// answers with the same key and changes nothing.
    ///
    /// # Errors
    /// As [`create_key`](Self::create_key), and `IdempotencyKeyReused` for another request.
    fn create_key_once(
        &self,
        by: &Authority,
        owner: &OwnerId,
        request: &CreateKey,
        key: &IdempotencyKey,
    ) -> Result<IssuedOnce, Error>;

    /// Creates many keys, each for itself, with an outcome for each in their order. The store commits
    /// them in pieces of 64, and other callers in between. The provided method makes one call of
    /// [`create_key`](Self::create_key) for each; a store that changes that call changes this one too.
    ///
    /// # Errors
    /// Those of `create_key` stand in the outcomes. `OutcomeUnknown` does for each creation of a piece
    /// of which it is indeterminate whether it was written.
    fn create_keys(
        &self,
        by: &Authority,
        requests: &[(OwnerId, CreateKey)],
    ) -> Result<Vec<Result<Issued, Error>>, Error> {
        let create = |(owner, request): &(OwnerId, CreateKey)| self.create_key(by, owner, request);
        Ok(requests.iter().map(create).collect())
    }

    /// Revokes many keys, each for itself, as [`create_keys`](Self::create_keys) creates them.
    ///
    /// # Errors
    /// Those of [`change_key`](Self::change_key) stand in the outcomes.
    fn revoke_keys(
        &self,
        by: &Authority,
        ids: &[KeyId],
        expected: Option<Version>,
    ) -> Result<Vec<Result<ChangedKey, Error>>, Error> {
        let revoke = |id: &KeyId| self.change_key(by, *id, &KeyAction::Revoke, expected);
        Ok(ids.iter().map(revoke).collect())
    }

    /// Removes many revoked keys, each for itself, as [`create_keys`](Self::create_keys) creates them.
    ///
    /// # Errors
    /// Those of [`purge_key`](Self::purge_key) stand in the outcomes.
    fn purge_keys(
        &self,
        by: &Authority,
        ids: &[KeyId],
        expected: Option<Version>,
    ) -> Result<Vec<Result<(), Error>>, Error> {
        Ok(ids.iter().map(|id| self.purge_key(by, *id, expected)).collect())
    }

    /// Returns a key by its id.
    ///
    /// # Errors
    /// As [`KeyStore`] says.
    fn key(&self, by: &Authority, id: KeyId) -> Result<Key, Error>;

    /// Returns a key by the service's own number for it.
    ///
    /// # Errors
    /// As [`KeyStore`] says.
    fn key_by_numeric_id(&self, by: &Authority, id: NumericId) -> Result<Key, Error>;

    /// Returns a page of keys, newest first.
    ///
    /// # Errors
    /// As [`KeyStore`] says; `Invalid` for a cursor that is malformed or of another query.
    fn list_keys(&self, by: &Authority, query: &ListKeys) -> Result<Page<Key>, Error>;

    /// Returns a page of those keys of a query whose access has a pattern that matches no permission of
    /// the catalogue, nor an earlier name of one. Most pages are shorter than their limit, and may be
    /// empty without being the last.
    ///
    /// # Errors
    /// As [`list_keys`](Self::list_keys); `Forbidden` unless an administrator calls.
    fn list_unmatched(&self, by: &Authority, query: &ListKeys) -> Result<Page<Key>, Error>;

    /// Counts the keys that match. Ignores the cursor, the limit and the positions of the query.
    /// May scan the whole table.
    ///
    /// # Errors
    /// As [`KeyStore`] says.
    fn count_keys(&self, by: &Authority, query: &ListKeys) -> Result<u64, Error>;

    /// Applies an action to a key. An action that changes nothing leaves no event and never
    /// conflicts. A block and a revocation take effect on a key whose record is damaged too, whatever
    /// version is expected: they write a quarantine entry over it.
    ///
    /// # Errors
    /// As [`KeyStore`] says; also `State`, `NameTaken`, `TooManyKeys` and `LastStandardKey`.
    fn change_key(
        &self,
        by: &Authority,
        id: KeyId,
        action: &KeyAction,
        expected: Option<Version>,
    ) -> Result<ChangedKey, Error>;

    /// Revokes a key and its descendants: all keys that were created with it, directly or through
    /// others. All in the authority's reach are revoked in one change, with an event for each; a key
    /// that a descendant creates at the same time is among them. A key that is revoked already
    /// takes its unrevoked descendants along. For an administrator, so do damaged descendants.
    ///
    /// # Errors
    /// As [`KeyStore`] says; also `LastStandardKey`, and `Forbidden` for a delegate with a previous
    /// token. `Backend` if the key's own record is damaged: then revoke the key alone, and each key
    /// with its descendants that a list with [`ListKeys::created_by_key`] shows.
    fn revoke_with_descendants(
        &self,
        by: &Authority,
        id: KeyId,
        expected: Option<Version>,
    ) -> Result<RevokedTree, Error>;

    /// Gives a key a new token. The id and every field of the key stay.
    ///
    /// # Errors
    /// As [`KeyStore`] says; also `State` and `Random`.
    fn rotate_key(
        &self,
        by: &Authority,
        id: KeyId,
        request: &Rotate,
        expected: Option<Version>,
    ) -> Result<Issued, Error>;

    /// Rotates a key under an idempotency key: the same request again, within 24 hours, answers with
    /// the same generation and changes nothing.
    ///
    /// # Errors
    /// As [`rotate_key`](Self::rotate_key), and `IdempotencyKeyReused` for another request.
    fn rotate_key_once(
        &self,
        by: &Authority,
        id: KeyId,
        request: &Rotate,
        expected: Option<Version>,
        key: &IdempotencyKey,
    ) -> Result<IssuedOnce, Error>;

    /// Replaces, once, the token that a request under this idempotency key issued, while it is the
    /// key's current one. Previous tokens keep the rest of their grace.
    ///
    /// # Errors
    /// As [`rotate_key`](Self::rotate_key); `NotFound` without such a request, `State` if its token
    /// can't be replaced, and `Forbidden` for a delegate or a previous token.
    fn replace_lost_token(
        &self,
        by: &Authority,
        id: KeyId,
        key: &IdempotencyKey,
    ) -> Result<Issued, Error>;

    /// Removes a revoked key. Its events stay.
    ///
    /// # Errors
    /// As [`KeyStore`] says; `State` unless it is revoked.
    fn purge_key(&self, by: &Authority, id: KeyId, expected: Option<Version>) -> Result<(), Error>;

    /// Returns the current token of a key that keeps it recoverable. Leaves an event.
    ///
    /// # Errors
    /// As [`KeyStore`] says; `Seal` if the store can't decrypt it, `State` if the store doesn't
    /// keep tokens recoverable.
    fn reveal_token(&self, by: &Authority, id: KeyId) -> Result<Token, Error>;

    /// Returns a page of keys with their recoverable tokens. Leaves an event for each token. A token
    /// that the store can't decrypt has its error beside the key.
    ///
    /// # Errors
    /// As [`list_keys`](Self::list_keys); `State` if the store doesn't keep tokens recoverable.
    fn reveal_tokens(&self, by: &Authority, query: &ListKeys)
    -> Result<Page<RevealedToken>, Error>;

    /// Finds the key and generation of a leaked token, also of a dead one. Returns `None` for a
    /// token that no key has, or that its key no longer has. It reads the database and counts as no
    /// use of the key, so it is no replacement for [`verify`](Self::verify).
    ///
    /// # Errors
    /// As [`KeyStore`] says; `Forbidden` unless an administrator calls, `Pepper` if the token may
    /// be one whose pepper isn't open.
    fn identify(&self, by: &Authority, token: &[u8]) -> Result<Option<FoundToken>, Error>;

    /// Says why a token is accepted or not: every reason that stands against it, with the moment since
    /// which it holds, and its key and owner. It reads the database and counts as no use of the key. In
    /// a shared database a verification may know of the last changes a moment later.
    ///
    /// # Errors
    /// As [`identify`](Self::identify). A damaged record is no error here.
    fn explain(&self, by: &Authority, token: &[u8]) -> Result<Explanation, Error>;

    /// Finds a leaked token as [`identify`](Self::identify) does, and blocks its key. It doesn't
    /// block a key that is revoked or blocked already, nor one whose leaked token was superseded
    /// and can do no harm. The event contains the generation and the reason. If the authority gives
    /// no reason, the store gives one.
    ///
    /// # Errors
    /// As [`identify`](Self::identify).
    fn block_leaked(&self, by: &Authority, token: &[u8]) -> Result<Option<FoundToken>, Error>;

    /// Creates an owner, with its first key if the request has one.
    ///
    /// # Errors
    /// As [`create_key`](Self::create_key); also `OwnerExists`, and `LastStandardKey` if every
    /// owner must have a standard key.
    fn create_owner(
        &self,
        by: &Authority,
        id: &OwnerId,
        request: &CreateOwner,
    ) -> Result<CreatedOwner, Error>;

    /// Returns an owner by its id.
    ///
    /// # Errors
    /// As [`KeyStore`] says.
    fn owner(&self, by: &Authority, id: &OwnerId) -> Result<Owner, Error>;

    /// Returns a page of owners, ascending by id. The next page starts after `Page::next`.
    ///
    /// # Errors
    /// As [`KeyStore`] says.
    fn list_owners(&self, by: &Authority, query: &ListOwners) -> Result<Page<Owner>, Error>;

    /// Applies an action to an owner. An action that changes nothing leaves no event and never
    /// conflicts.
    ///
    /// # Errors
    /// As [`KeyStore`] says.
    fn change_owner(
        &self,
        by: &Authority,
        id: &OwnerId,
        action: &OwnerAction,
        expected: Option<Version>,
    ) -> Result<Owner, Error>;

    /// Revokes all keys of an owner at once. Creates a replacement if one is given.
    ///
    /// # Errors
    /// As [`create_key`](Self::create_key); `LastStandardKey` if every owner must have a standard
    /// key, and no standard key is given as replacement.
    fn revoke_all(
        &self,
        by: &Authority,
        owner: &OwnerId,
        replacement: Option<&CreateKey>,
        expected: Option<Version>,
    ) -> Result<RevokedAll, Error>;

    /// Removes a suspended owner with all its keys. Events stay.
    ///
    /// # Errors
    /// As [`KeyStore`] says; `State` unless it is suspended.
    fn purge_owner(
        &self,
        by: &Authority,
        id: &OwnerId,
        expected: Option<Version>,
    ) -> Result<(), Error>;

    /// Returns the rules of the store.
    ///
    /// # Errors
    /// As [`KeyStore`] says.
    fn rules(&self, by: &Authority) -> Result<Rules, Error>;

    /// Changes the rules of the store as far as its data allow. Other processes with the store open
    /// answer `Unavailable` until they open it again.
    ///
    /// # Errors
    /// As [`KeyStore`] says; `DataForbid` with the rule that the data don't satisfy.
    fn change_rules(
        &self,
        by: &Authority,
        request: &ChangeRules,
        expected: Option<Version>,
    ) -> Result<Rules, Error>;

    /// Supersedes every token of the store that was issued before `to`, which is at most now.
    ///
    /// # Errors
    /// As [`KeyStore`] says.
    fn invalidate_tokens_issued_before(
        &self,
        by: &Authority,
        to: Timestamp,
        expected: Option<Version>,
    ) -> Result<Rules, Error>;

    /// Retires a pepper for ever: no token under it is accepted, and its number isn't used again. If
    /// live tokens are under it, `if_in_use` says what happens. Looks at all keys in one commit,
    /// which other commits wait for. Changes nothing if the pepper is retired already.
    ///
    /// # Errors
    /// As [`KeyStore`] says; `PepperInUse` with the live tokens, and `Pepper` for the pepper of new
    /// tokens or an unknown number.
    fn retire_pepper(
        &self,
        by: &Authority,
        number: u16,
        if_in_use: IfInUse,
        expected: Option<Version>,
    ) -> Result<RetiredPepper, Error>;

    /// Returns a page of events: after a number in their order, or before one, newest first.
    ///
    /// # Errors
    /// As [`KeyStore`] says.
    fn events(&self, by: &Authority, query: &ListEvents) -> Result<Events, Error>;

    /// Deletes events older than `before`, from the oldest up to the first that isn't. Always keeps
    /// the newest event. Returns the count. It deletes some hundreds at a time, so that other calls
    /// can commit in between. If it fails after it deleted some, it returns their count, and the
    /// next call reports the error.
    ///
    /// # Errors
    /// As [`KeyStore`] says.
    fn prune_events(&self, by: &Authority, before: Timestamp) -> Result<u64, Error>;

    /// Waits until an event after `after` exists, at most for `timeout`. Returns the number of the
    /// newest event.
    ///
    /// # Errors
    /// As [`KeyStore`] says.
    fn wait_for_event(&self, after: u64, timeout: Duration) -> Result<u64, Error>;

    /// Returns the health of the store.
    fn health(&self) -> Health;

    /// Finds out the outcome of indeterminate changes, which the store also tries by itself. Does
    /// nothing if there are none.
    ///
    /// # Errors
    /// `Unavailable` if it can't yet.
    fn recover(&self) -> Result<(), Error>;

    /// Flushes and closes the store. Verification answers `Unavailable` from then on. Closing it
    /// again does nothing.
    ///
    /// # Errors
    /// `Backend` when flushing failed. The store is closed nevertheless.
    fn close(&self) -> Result<(), Error>;
}
