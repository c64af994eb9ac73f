//! The store around a store.

use std::time::Duration;

use super::observer::{Call, Observer};
use crate::authority::Authority;
use crate::clock::Timestamp;
use crate::id::{KeyId, NumericId, OwnerId, Version};
use crate::permission::Catalogue;
use crate::store::{
    ChangeRules, CreateKey, CreateOwner, CreatedOwner, Error, Events, FoundToken, Health, Issued,
    Key, KeyAction, KeyStore, ListEvents, ListKeys, ListOwners, Owner, OwnerAction, Page,
    RevealedToken, RevokedAll, Rotate, Rules, VerifyError, VerifyRequest,
};
use crate::token::Token;
use crate::verified_key::VerifiedKey;

/// A store that tells an observer of each call, and is otherwise the one that it wraps.
#[derive(Debug)]
pub struct Observed<S, O> {
    pub(in crate::integrations) store: S,
    pub(in crate::integrations) observer: O,
}

impl<S: KeyStore, O: Observer> Observed<S, O> {
    /// Tells this observer of what this store is asked.
    #[must_use]
    pub fn by(observer: O, store: S) -> Self {
        Self { store, observer }
    }
}

impl<S: KeyStore, O: Observer> KeyStore for Observed<S, O> {
    #[inline]
    fn verify_request(&self, request: &VerifyRequest<'_>) -> Result<VerifiedKey, VerifyError> {
        let answer = self.store.verify_request(request);
        self.observer.verified(&answer);
        answer
    }

    fn catalogue(&self) -> &Catalogue {
        self.store.catalogue()
    }

    fn health(&self) -> Health {
        self.store.health()
    }

    fn create_key(
        &self,
        by: &Authority,
        owner: &OwnerId,
        request: &CreateKey,
    ) -> Result<Issued, Error> {
        let call = Call { name: "create_key", by: Some(by), owner: Some(owner), ..Call::default() };
        self.observer.around(&call, || self.store.create_key(by, owner, request))
    }

    fn key(&self, by: &Authority, id: KeyId) -> Result<Key, Error> {
        let call = Call { name: "key", by: Some(by), key: Some(id), ..Call::default() };
        self.observer.around(&call, || self.store.key(by, id))
    }

    fn key_by_numeric_id(&self, by: &Authority, id: NumericId) -> Result<Key, Error> {
        let call = Call { name: "key_by_numeric_id", by: Some(by), ..Call::default() };
        self.observer.around(&call, || self.store.key_by_numeric_id(by, id))
    }

    fn list_keys(&self, by: &Authority, query: &ListKeys) -> Result<Page<Key>, Error> {
        let call = Call { name: "list_keys", by: Some(by), ..Call::default() };
        self.observer.around(&call, || self.store.list_keys(by, query))
    }

    fn count_keys(&self, by: &Authority, query: &ListKeys) -> Result<u64, Error> {
        let call = Call { name: "count_keys", by: Some(by), ..Call::default() };
        self.observer.around(&call, || self.store.count_keys(by, query))
    }

    fn change_key(
        &self,
        by: &Authority,
        id: KeyId,
        action: &KeyAction,
        expected: Option<Version>,
    ) -> Result<Key, Error> {
        let call = Call { name: "change_key", by: Some(by), key: Some(id), ..Call::default() };
        self.observer.around(&call, || self.store.change_key(by, id, action, expected))
    }

    fn rotate_key(
        &self,
        by: &Authority,
        id: KeyId,
        request: &Rotate,
        expected: Option<Version>,
    ) -> Result<Issued, Error> {
        let call = Call { name: "rotate_key", by: Some(by), key: Some(id), ..Call::default() };
        self.observer.around(&call, || self.store.rotate_key(by, id, request, expected))
    }

    fn purge_key(&self, by: &Authority, id: KeyId, expected: Option<Version>) -> Result<(), Error> {
        let call = Call { name: "purge_key", by: Some(by), key: Some(id), ..Call::default() };
        self.observer.around(&call, || self.store.purge_key(by, id, expected))
    }

    fn reveal_token(&self, by: &Authority, id: KeyId) -> Result<Token, Error> {
        let call = Call { name: "reveal_token", by: Some(by), key: Some(id), ..Call::default() };
        self.observer.around(&call, || self.store.reveal_token(by, id))
    }

    fn reveal_tokens(
        &self,
        by: &Authority,
        query: &ListKeys,
    ) -> Result<Page<RevealedToken>, Error> {
        let call = Call { name: "reveal_tokens", by: Some(by), ..Call::default() };
        self.observer.around(&call, || self.store.reveal_tokens(by, query))
    }

    fn identify(&self, by: &Authority, token: &[u8]) -> Result<Option<FoundToken>, Error> {
        let call = Call { name: "identify", by: Some(by), ..Call::default() };
        self.observer.around(&call, || self.store.identify(by, token))
    }

    fn block_leaked(&self, by: &Authority, token: &[u8]) -> Result<Option<FoundToken>, Error> {
        let call = Call { name: "block_leaked", by: Some(by), ..Call::default() };
        self.observer.around(&call, || self.store.block_leaked(by, token))
    }

    fn create_owner(
        &self,
        by: &Authority,
        id: &OwnerId,
        request: &CreateOwner,
    ) -> Result<CreatedOwner, Error> {
        let call = Call { name: "create_owner", by: Some(by), owner: Some(id), ..Call::default() };
        self.observer.around(&call, || self.store.create_owner(by, id, request))
    }

    fn owner(&self, by: &Authority, id: &OwnerId) -> Result<Owner, Error> {
        let call = Call { name: "owner", by: Some(by), owner: Some(id), ..Call::default() };
        self.observer.around(&call, || self.store.owner(by, id))
    }

    fn list_owners(&self, by: &Authority, query: &ListOwners) -> Result<Page<Owner>, Error> {
        let call = Call { name: "list_owners", by: Some(by), ..Call::default() };
        self.observer.around(&call, || self.store.list_owners(by, query))
    }

    fn change_owner(
        &self,
        by: &Authority,
        id: &OwnerId,
        action: &OwnerAction,
        expected: Option<Version>,
    ) -> Result<Owner, Error> {
        let call = Call { name: "change_owner", by: Some(by), owner: Some(id), ..Call::default() };
        self.observer.around(&call, || self.store.change_owner(by, id, action, expected))
    }

    fn revoke_all(
        &self,
        by: &Authority,
        owner: &OwnerId,
        replacement: Option<&CreateKey>,
        expected: Option<Version>,
    ) -> Result<RevokedAll, Error> {
        let call = Call { name: "revoke_all", by: Some(by), owner: Some(owner), ..Call::default() };
        self.observer.around(&call, || self.store.revoke_all(by, owner, replacement, expected))
    }

    fn purge_owner(
        &self,
        by: &Authority,
        id: &OwnerId,
        expected: Option<Version>,
    ) -> Result<(), Error> {
        let call = Call { name: "purge_owner", by: Some(by), owner: Some(id), ..Call::default() };
        self.observer.around(&call, || self.store.purge_owner(by, id, expected))
    }

    fn rules(&self, by: &Authority) -> Result<Rules, Error> {
        let call = Call { name: "rules", by: Some(by), ..Call::default() };
        self.observer.around(&call, || self.store.rules(by))
    }

    fn change_rules(
        &self,
        by: &Authority,
        request: &ChangeRules,
        expected: Option<Version>,
    ) -> Result<Rules, Error> {
        let call = Call { name: "change_rules", by: Some(by), ..Call::default() };
        self.observer.around(&call, || self.store.change_rules(by, request, expected))
    }

    fn invalidate_tokens_issued_before(
        &self,
        by: &Authority,
        to: Timestamp,
        expected: Option<Version>,
    ) -> Result<Rules, Error> {
        let call =
            Call { name: "invalidate_tokens_issued_before", by: Some(by), ..Call::default() };
        self.observer.around(&call, || self.store.invalidate_tokens_issued_before(by, to, expected))
    }

    fn events(&self, by: &Authority, query: &ListEvents) -> Result<Events, Error> {
        let call = Call { name: "events", by: Some(by), ..Call::default() };
        self.observer.around(&call, || self.store.events(by, query))
    }

    fn prune_events(&self, by: &Authority, before: Timestamp) -> Result<u64, Error> {
        let call = Call { name: "prune_events", by: Some(by), ..Call::default() };
        self.observer.around(&call, || self.store.prune_events(by, before))
    }

    fn wait_for_event(&self, after: u64, timeout: Duration) -> Result<u64, Error> {
        let call = Call { name: "wait_for_event", ..Call::default() };
        self.observer.around(&call, || self.store.wait_for_event(after, timeout))
    }

    fn recover(&self) -> Result<(), Error> {
        let call = Call { name: "recover", ..Call::default() };
        self.observer.around(&call, || self.store.recover())
    }

    fn close(&self) -> Result<(), Error> {
        let call = Call { name: "close", ..Call::default() };
        self.observer.around(&call, || self.store.close())
    }
}
