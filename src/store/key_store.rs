//! The port: all that can be asked of a store.

use std::fmt::Debug;
use std::time::Duration;

use super::types::error::{Error, VerifyError};
use super::types::request::{
    ChangeRules, CreateKey, CreateOwner, KeyAction, ListEvents, ListKeys, ListOwners, OwnerAction,
    Rotate, VerifyRequest,
};
use super::types::views::{
    CreatedOwner, Events, FoundToken, Health, Issued, Key, Owner, Page, RevealedToken, RevokedAll,
    Rules,
};
use crate::authority::Authority;
use crate::clock::Timestamp;
use crate::id::{KeyId, NumericId, OwnerId, Version};
use crate::permission::Catalogue;
use crate::token::Token;
use crate::verified_key::VerifiedKey;

/// The whole life of keys, object-safe.
///
/// Management methods take an [`Authority`] and judge by it; services don't pass a store around
/// but hand out the handles [`AdminKeys`](super::AdminKeys), [`OwnerKeys`](super::OwnerKeys),
/// [`DelegatedKeys`](super::DelegatedKeys) and [`Verifier`](super::Verifier), on which only that
/// is which their holder may do.
///
/// # Errors
/// Every management method fails with [`Error`]: `Invalid` for what its arguments' types and
/// limits refuse, `NotFound` for what isn't there or belongs to somebody else, `Forbidden` for what
/// the authority doesn't reach, `Conflict` where `expected` is given and another version is
/// found, `OutcomeUnknown` when it can't be told yet whether the change took effect, and
/// `Backend` or `Unavailable` when the store can't. Unless it is `OutcomeUnknown`, nothing was
/// changed. A change that was acknowledged is durable as far as the backend is, and in force for
/// the very next verification in this process.
pub trait KeyStore: Debug + Send + Sync + 'static {
    /// Judges a token: one use, from an address that isn't known.
    ///
    /// # Errors
    /// As [`verify_request`](Self::verify_request).
    fn verify(&self, token: &[u8]) -> Result<VerifiedKey, VerifyError> {
        self.verify_request(&VerifyRequest::new(token))
    }

    /// Judges a token. Does no I/O, allocates nothing and waits for nobody, with two exceptions. Of a
    /// quota this process holds a lease, and where that has run out, the verification that needs
    /// more waits for one durable write (with others that need more at that moment, for the same
    /// one). And where a use must be given back, since another came between, that waits for its
    /// turn to change the index in memory.
    ///
    /// After the secret, in this order: the key's state, its first moment, the address, the rate,
    /// the quota; of each the key's and its owner's. What is refused has used nothing up.
    ///
    /// # Errors
    /// [`VerifyError`]: one and the same for everybody without the right secret.
    fn verify_request(&self, request: &VerifyRequest<'_>) -> Result<VerifiedKey, VerifyError>;

    /// The permissions that the service declared.
    fn catalogue(&self) -> &Catalogue;

    /// Creates a key of an owner.
    ///
    /// # Errors
    /// As above; also `NameTaken`, `TooManyKeys`, `NumericIdTaken`, `NumericIdsExhausted`,
    /// `Random`, and `State` where sealing is off.
    fn create_key(
        &self,
        by: &Authority,
        owner: &OwnerId,
        request: &CreateKey,
    ) -> Result<Issued, Error>;

    /// A key by its id.
    ///
    /// # Errors
    /// As above.
    fn key(&self, by: &Authority, id: KeyId) -> Result<Key, Error>;

    /// A key by the service's own number for it.
    ///
    /// # Errors
    /// As above.
    fn key_by_numeric_id(&self, by: &Authority, id: NumericId) -> Result<Key, Error>;

    /// A page of keys, newest first.
    ///
    /// # Errors
    /// As above; `Invalid` for a cursor that is made up or of another query.
    fn list_keys(&self, by: &Authority, query: &ListKeys) -> Result<Page<Key>, Error>;

    /// How many keys match; cursor, limit and places in the list don't count.
    ///
    /// # Errors
    /// As above.
    fn count_keys(&self, by: &Authority, query: &ListKeys) -> Result<u64, Error>;

    /// Does something to a key. What changes nothing leaves no event and never conflicts.
    ///
    /// # Errors
    /// As above; also `State`, `NameTaken`, `TooManyKeys` and `LastStandardKey`.
    fn change_key(
        &self,
        by: &Authority,
        id: KeyId,
        action: &KeyAction,
        expected: Option<Version>,
    ) -> Result<Key, Error>;

    /// Gives a key a new token; id and every field stay.
    ///
    /// # Errors
    /// As above; also `State` and `Random`.
    fn rotate_key(
        &self,
        by: &Authority,
        id: KeyId,
        request: &Rotate,
        expected: Option<Version>,
    ) -> Result<Issued, Error>;

    /// Removes a revoked key; its events stay.
    ///
    /// # Errors
    /// As above; `State` unless it is revoked.
    fn purge_key(&self, by: &Authority, id: KeyId, expected: Option<Version>) -> Result<(), Error>;

    /// Shows the current token of a key that keeps it sealed; leaves an event.
    ///
    /// # Errors
    /// As above; `Seal` if it doesn't open, `State` where sealing is off.
    fn reveal_token(&self, by: &Authority, id: KeyId) -> Result<Token, Error>;

    /// The same for a page of keys; leaves an event for each token shown.
    ///
    /// # Errors
    /// As [`list_keys`](Self::list_keys) and [`reveal_token`](Self::reveal_token).
    fn reveal_tokens(&self, by: &Authority, query: &ListKeys)
    -> Result<Page<RevealedToken>, Error>;

    /// Which key and generation a token is that was found in public; `None` for one that no key
    /// has, or none has any more. Not for requests: it tells of dead tokens too, reads what is
    /// stored, and counts as no use of the key.
    ///
    /// # Errors
    /// As above; `Forbidden` unless an administrator asks, `Pepper` if it may be one whose pepper
    /// isn't open.
    fn identify(&self, by: &Authority, token: &[u8]) -> Result<Option<FoundToken>, Error>;

    /// The same, and blocks the key, unless it is revoked or blocked already, or the token was
    /// superseded and can do no harm. The event says which generation it was, and why; an authority
    /// that gives no reason gets one.
    ///
    /// # Errors
    /// As [`identify`](Self::identify).
    fn block_leaked(&self, by: &Authority, token: &[u8]) -> Result<Option<FoundToken>, Error>;

    /// Creates an owner, with its first key if it asks for one.
    ///
    /// # Errors
    /// As [`create_key`](Self::create_key); also `OwnerExists`, and `LastStandardKey` where every
    /// owner must have one.
    fn create_owner(
        &self,
        by: &Authority,
        id: &OwnerId,
        request: &CreateOwner,
    ) -> Result<CreatedOwner, Error>;

    /// An owner by its id.
    ///
    /// # Errors
    /// As above.
    fn owner(&self, by: &Authority, id: &OwnerId) -> Result<Owner, Error>;

    /// A page of owners, ascending by id; the next page is asked for after `Page::next`.
    ///
    /// # Errors
    /// As above.
    fn list_owners(&self, by: &Authority, query: &ListOwners) -> Result<Page<Owner>, Error>;

    /// Does something to an owner. What changes nothing leaves no event and never conflicts.
    ///
    /// # Errors
    /// As above.
    fn change_owner(
        &self,
        by: &Authority,
        id: &OwnerId,
        action: &OwnerAction,
        expected: Option<Version>,
    ) -> Result<Owner, Error>;

    /// Revokes all keys of an owner at once, and creates one in their place if asked.
    ///
    /// # Errors
    /// As [`create_key`](Self::create_key); `LastStandardKey` where every owner must have one and
    /// no standard replacement is asked for.
    fn revoke_all(
        &self,
        by: &Authority,
        owner: &OwnerId,
        replacement: Option<&CreateKey>,
        expected: Option<Version>,
    ) -> Result<RevokedAll, Error>;

    /// Removes a suspended owner with all its keys; events stay.
    ///
    /// # Errors
    /// As above; `State` unless it is suspended.
    fn purge_owner(
        &self,
        by: &Authority,
        id: &OwnerId,
        expected: Option<Version>,
    ) -> Result<(), Error>;

    /// The rules of the store.
    ///
    /// # Errors
    /// As above.
    fn rules(&self, by: &Authority) -> Result<Rules, Error>;

    /// Changes the rules of the store as far as its data allow. Other processes that have it open
    /// answer `Unavailable` until they have opened it anew.
    ///
    /// # Errors
    /// As above; `DataForbid` with the rule that the data don't satisfy.
    fn change_rules(
        &self,
        by: &Authority,
        request: &ChangeRules,
        expected: Option<Version>,
    ) -> Result<Rules, Error>;

    /// Supersedes every token of the store that was issued before `to`, which is at most now.
    ///
    /// # Errors
    /// As above.
    fn invalidate_tokens_issued_before(
        &self,
        by: &Authority,
        to: Timestamp,
        expected: Option<Version>,
    ) -> Result<Rules, Error>;

    /// Events after a number, in their order.
    ///
    /// # Errors
    /// As above.
    fn events(&self, by: &Authority, query: &ListEvents) -> Result<Events, Error>;

    /// Removes the oldest events up to the first that isn't before a moment, but for the newest; how
    /// many. They go some hundreds at a time, and others' calls have their turn in between. If that
    /// fails after some were removed, these are told of, and the next call meets the trouble first.
    ///
    /// # Errors
    /// As above.
    fn prune_events(&self, by: &Authority, before: Timestamp) -> Result<u64, Error>;

    /// Waits until there is an event after `after`, or for `timeout`; the last number then.
    ///
    /// # Errors
    /// As above.
    fn wait_for_event(&self, after: u64, timeout: Duration) -> Result<u64, Error>;

    /// How the store is.
    fn health(&self) -> Health;

    /// Finds out what became of changes of unknown outcome, which the store also tries by itself.
    /// Does nothing if there are none.
    ///
    /// # Errors
    /// `Unavailable` while it can't.
    fn recover(&self) -> Result<(), Error>;

    /// Flushes and closes. Verification answers `Unavailable` from then on; closing again does
    /// nothing.
    ///
    /// # Errors
    /// `Backend` when flushing failed; the store is closed all the same.
    fn close(&self) -> Result<(), Error>;
}
