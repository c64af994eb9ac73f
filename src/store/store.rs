//! A store over a backend.

use std::sync::Arc;
use std::time::Duration;

use super::builder::StoreBuilder;
use super::engine::state::Core;
use super::key_store::KeyStore;
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
use crate::key::Prefix;
use crate::permission::Catalogue;
use crate::token::Token;
use crate::verified_key::VerifiedKey;

/// A key store over one of the backends.
///
/// Dropping it closes it as well as it can; [`KeyStore::close`] says what failed.
#[derive(Debug)]
pub struct Store {
    pub(super) core: Arc<Core>,
}

impl Store {
    /// A store to be opened: with the permissions that the service declares and the prefixes of
    /// its tokens, of which the first is used unless told.
    pub fn builder(
        catalogue: Catalogue,
        prefixes: impl IntoIterator<Item = Prefix>,
    ) -> StoreBuilder {
        StoreBuilder::new(catalogue, prefixes.into_iter().collect())
    }

    /// Looks out now, instead of half a minute after the last time, for what [`StoreBuilder::watch`]
    /// names; how many events that led to.
    ///
    /// # Errors
    /// [`Error`] if the backend fails; what is due stays due.
    pub fn run_alerts(&self) -> Result<usize, Error> {
        self.core.run_alerts()
    }

    /// Learns now what other processes committed, instead of at the next poll. Does nothing more
    /// than the store does by itself where the database is shared.
    ///
    /// # Errors
    /// [`Error`] if the backend fails, or if the store has to be opened anew.
    pub fn refresh(&self) -> Result<(), Error> {
        self.core.refresh()
    }

    /// Writes now what was used up to now, instead of at the next interval, and looks at 2,048 keys
    /// for addresses that were kept long enough. Does nothing where the store doesn't keep usage.
    ///
    /// # Errors
    /// [`Error`] if the backend fails; what isn't written is kept, and what isn't forgotten is
    /// looked at the next time.
    pub fn flush_usage(&self) -> Result<(), Error> {
        self.core.flush_usage()?;
        self.core.sweep_addresses()
    }
}

impl KeyStore for Store {
    fn verify_request(&self, request: &VerifyRequest<'_>) -> Result<VerifiedKey, VerifyError> {
        self.core.verify_noted(request)
    }

    fn catalogue(&self) -> &Catalogue {
        self.core.catalogue()
    }

    fn create_key(
        &self,
        by: &Authority,
        owner: &OwnerId,
        request: &CreateKey,
    ) -> Result<Issued, Error> {
        self.core.create_key(by, owner, request)
    }

    fn key(&self, by: &Authority, id: KeyId) -> Result<Key, Error> {
        self.core.key(by, id)
    }

    fn key_by_numeric_id(&self, by: &Authority, id: NumericId) -> Result<Key, Error> {
        self.core.key_by_numeric_id(by, id)
    }

    fn list_keys(&self, by: &Authority, query: &ListKeys) -> Result<Page<Key>, Error> {
        self.core.list_keys(by, query)
    }

    fn count_keys(&self, by: &Authority, query: &ListKeys) -> Result<u64, Error> {
        self.core.count_keys(by, query)
    }

    fn change_key(
        &self,
        by: &Authority,
        id: KeyId,
        action: &KeyAction,
        expected: Option<Version>,
    ) -> Result<Key, Error> {
        self.core.change_key(by, id, action, expected)
    }

    fn rotate_key(
        &self,
        by: &Authority,
        id: KeyId,
        request: &Rotate,
        expected: Option<Version>,
    ) -> Result<Issued, Error> {
        self.core.rotate_key(by, id, request, expected)
    }

    fn purge_key(&self, by: &Authority, id: KeyId, expected: Option<Version>) -> Result<(), Error> {
        self.core.purge_key(by, id, expected)
    }

    fn reveal_token(&self, by: &Authority, id: KeyId) -> Result<Token, Error> {
        self.core.reveal_token(by, id)
    }

    fn reveal_tokens(
        &self,
        by: &Authority,
        query: &ListKeys,
    ) -> Result<Page<RevealedToken>, Error> {
        self.core.reveal_tokens(by, query)
    }

    fn identify(&self, by: &Authority, token: &[u8]) -> Result<Option<FoundToken>, Error> {
        self.core.identify(by, token)
    }

    fn block_leaked(&self, by: &Authority, token: &[u8]) -> Result<Option<FoundToken>, Error> {
        self.core.block_leaked(by, token)
    }

    fn create_owner(
        &self,
        by: &Authority,
        id: &OwnerId,
        request: &CreateOwner,
    ) -> Result<CreatedOwner, Error> {
        self.core.create_owner(by, id, request)
    }

    fn owner(&self, by: &Authority, id: &OwnerId) -> Result<Owner, Error> {
        self.core.owner(by, id)
    }

    fn list_owners(&self, by: &Authority, query: &ListOwners) -> Result<Page<Owner>, Error> {
        self.core.list_owners(by, query)
    }

    fn change_owner(
        &self,
        by: &Authority,
        id: &OwnerId,
        action: &OwnerAction,
        expected: Option<Version>,
    ) -> Result<Owner, Error> {
        self.core.change_owner(by, id, action, expected)
    }

    fn revoke_all(
        &self,
        by: &Authority,
        owner: &OwnerId,
        replacement: Option<&CreateKey>,
        expected: Option<Version>,
    ) -> Result<RevokedAll, Error> {
        self.core.revoke_all(by, owner, replacement, expected)
    }

    fn purge_owner(
        &self,
        by: &Authority,
        id: &OwnerId,
        expected: Option<Version>,
    ) -> Result<(), Error> {
        self.core.purge_owner(by, id, expected)
    }

    fn rules(&self, by: &Authority) -> Result<Rules, Error> {
        self.core.rules(by)
    }

    fn change_rules(
        &self,
        by: &Authority,
        request: &ChangeRules,
        expected: Option<Version>,
    ) -> Result<Rules, Error> {
        self.core.change_rules(by, request, expected)
    }

    fn invalidate_tokens_issued_before(
        &self,
        by: &Authority,
        to: Timestamp,
        expected: Option<Version>,
    ) -> Result<Rules, Error> {
        self.core.invalidate_tokens_issued_before(by, to, expected)
    }

    fn events(&self, by: &Authority, query: &ListEvents) -> Result<Events, Error> {
        self.core.events(by, query)
    }

    fn prune_events(&self, by: &Authority, before: Timestamp) -> Result<u64, Error> {
        self.core.prune_events(by, before)
    }

    fn wait_for_event(&self, after: u64, timeout: Duration) -> Result<u64, Error> {
        self.core.wait_for_event(after, timeout)
    }

    fn health(&self) -> Health {
        self.core.health()
    }

    fn recover(&self) -> Result<(), Error> {
        self.core.recover()
    }

    fn close(&self) -> Result<(), Error> {
        self.core.close()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // Background threads may hold the inside for a moment longer; the database is let go now.
        let _ = self.core.close();
    }
}
