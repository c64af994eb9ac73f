//! The store over a backend.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::alerts::AlertScanner;
use super::engine::{Engine, HealthWatch, Workers};
use super::key_store::KeyStore;
use super::manage::{
    Manager, Sealer, descendants, explain, leaked_tokens, list, mend_graces, pepper_retirement,
    reveal, store_rules,
};
use super::types::{
    ChangeRules, ChangedKey, CreateKey, CreateOwner, CreatedOwner, Error, Events, Explanation,
    FoundToken, Health, IfInUse, Issued, IssuedOnce, Key, KeyAction, KeyDetails, ListEvents,
    ListKeys, ListOwners, Owner, OwnerAction, Page, ReservedUses, RetiredPepper, RevealedToken,
    RevokedAll, RevokedTree, Rotate, Rules, VerifyError, VerifyRequest,
};
use super::usage::UsageRecorder;
use super::verify::{LeaseWait, TokenVerifier};
use crate::authority::Authority;
use crate::backend::{BackupProgress, Finding, Repaired};
use crate::clock::Timestamp;
use crate::id::{KeyId, NumericId, OwnerId, Version};
use crate::key::{IdempotencyKey, Prefix};
use crate::permission::{Catalogue, Pattern};
use crate::token::Token;
use crate::verified_key::VerifiedKey;

/// A key store over one of the backends.
///
/// Dropping it closes it, and ignores errors. [`KeyStore::close`] returns them.
///
/// A thread looks each second whether the database's files are the ones that were opened, and every
/// commit does. If one is missing or replaced, or another program has changed records, every
/// verification answers [`Unavailable::ForeignWriter`](super::Unavailable::ForeignWriter) from then
/// on, and every commit fails, until the store is opened again.
///
/// A store doesn't cross a fork: open it after forking. In a child, commits and refreshes fail at
/// once with [`Unavailable::Forked`](super::Unavailable::Forked), and verifications within 3 seconds:
/// until then the child accepts what the parent has revoked since. Dropping it there does nothing.
#[derive(Debug)]
pub struct Store {
    pub(super) engine: Arc<Engine>,
    pub(super) verifier: TokenVerifier,
    pub(super) manager: Manager,
    pub(super) sealer: Arc<Sealer>,
    pub(super) retired: Vec<RetiredPepper>,
    pub(super) usage: Arc<UsageRecorder>,
    pub(super) alerts: Arc<AlertScanner>,
    pub(super) workers: Workers,
    pub(super) health: Arc<HealthWatch>,
}

impl Store {
    /// Returns the peppers that the opening retired, with the tokens that ended by that, in the order
    /// of [`StoreBuilder::retire_pepper`](super::StoreBuilder::retire_pepper).
    pub fn retired_at_opening(&self) -> &[RetiredPepper] {
        &self.retired
    }

    /// Returns the patterns in the access of unrevoked keys that matched no permission of the catalogue at
    /// the opening, nor an earlier name of one: a permission was taken out or renamed without an
    /// [`alias`](crate::permission::CatalogueBuilder::alias). At most 64, ascending.
    /// [`AdminKeys::list_unmatched`](crate::AdminKeys::list_unmatched) lists the keys.
    pub fn unmatched_at_opening(&self) -> &[Pattern] {
        &self.engine.records.unmatched
    }

    /// Mends graces that a clock reckoned that was ahead, before a call that may change something.
    /// If that fails, the next call tries again.
    fn mended(&self) -> &Manager {
        let _ = mend_graces(&self.engine);
        &self.manager
    }

    /// Copies the database of one moment into a new file, while the store goes on. The file is
    /// durable, has been read once in whole, and can be opened as a database, when this returns.
    /// `progress` hears how far it is, about once a MiB.
    ///
    /// The copy lies on the store's own host, readable by the user of the process alone. Commits
    /// don't wait for it; the write-ahead log grows meanwhile by what is committed. Usage that waits
    /// in memory isn't in it: call [`flush_usage`](Self::flush_usage) before. Of the backends of this
    /// crate, SQLite can do this.
    ///
    /// # Errors
    /// [`Error::Backend`], and no file is left, with the kinds of [`Backend::backup`].
    ///
    /// [`Backend::backup`]: crate::backend::Backend::backup
    pub fn backup(
        &self,
        to: impl AsRef<Path>,
        mut progress: impl FnMut(BackupProgress),
    ) -> Result<(), Error> {
        self.engine.records.check_open()?;
        Ok(self.engine.records.backend.backup(to.as_ref(), &mut progress)?)
    }

    /// Reads the whole database, and lists every fault with its place: damaged records and usage,
    /// indexes and counts that disagree with the records, and what the engine finds about its files. An
    /// undamaged database has none.
    ///
    /// It takes as long as reading all of it, and seldom tells more than
    /// [`health`](KeyStore::health) does: run it after a fault of a disk, and on a restored backup.
    /// Verifications and commits go on meanwhile; SQLite's write-ahead log grows by what is committed.
    ///
    /// # Errors
    /// [`Error::Backend`] if it can't read for another reason than damage.
    pub fn check(&self) -> Result<Vec<Finding>, Error> {
        self.engine.records.check_open()?;
        Ok(self.engine.records.backend.check()?)
    }

    /// Mends what can be mended without a guess ([`Finding::is_mendable`]), and tells what it did:
    ///
    /// - indexes and counts are made again from the records;
    /// - usage of keys and owners that aren't there is removed;
    /// - damaged usage is replaced: nothing used, and the quota used up until its next refill or until
    ///   an administrator refills it.
    ///
    /// It leaves damaged records as they are, and the structure of the file: no key is accepted after
    /// it that wasn't before. It changes nothing in an undamaged database. Commits wait meanwhile.
    ///
    /// # Errors
    /// [`Error`] if the backend fails. What was mended before that stays.
    pub fn repair(&self) -> Result<Repaired, Error> {
        self.engine.repair()
    }

    /// Writes now the usage that waits in memory, without waiting for the next interval. It also
    /// looks at 2,048 keys for addresses that were kept long enough. Does nothing if the store
    /// doesn't keep usage.
    ///
    /// # Errors
    /// [`Error`] if the backend fails. Usage that wasn't written stays in memory, and addresses
    /// that weren't removed are looked at the next time.
    pub fn flush_usage(&self) -> Result<(), Error> {
        self.usage.flush()?;
        self.usage.sweep_addresses()
    }
}

impl KeyStore for Store {
    fn verify_request(&self, request: &VerifyRequest<'_>) -> Result<VerifiedKey, VerifyError> {
        self.verifier.verify(request)
    }

    fn poll_verify(
        &self,
        request: &VerifyRequest<'_>,
        wait: &mut Option<LeaseWait>,
        context: &mut Context<'_>,
    ) -> Poll<Result<VerifiedKey, VerifyError>> {
        self.verifier.poll(request, wait, context)
    }

    fn recheck_from(
        &self,
        verified: &VerifiedKey,
        address: Option<IpAddr>,
    ) -> Result<VerifiedKey, VerifyError> {
        self.verifier.recheck(verified, address)
    }

    fn details(&self, verified: &VerifiedKey) -> Option<Arc<KeyDetails>> {
        self.engine.records.details(verified.key_id(), verified.owner_id())
    }

    fn settle(&self, reserved: ReservedUses, actual: u32) -> Result<(), Error> {
        self.verifier.settle(&reserved, actual)
    }

    fn catalogue(&self) -> &Catalogue {
        self.engine.records.catalogue()
    }

    fn prefixes(&self) -> Vec<Prefix> {
        self.engine.records.metadata().prefixes
    }

    fn create_key(
        &self,
        by: &Authority,
        owner: &OwnerId,
        request: &CreateKey,
    ) -> Result<Issued, Error> {
        self.mended().create_key(by, owner, request)
    }

    fn create_keys(
        &self,
        by: &Authority,
        requests: &[(OwnerId, CreateKey)],
    ) -> Result<Vec<Result<Issued, Error>>, Error> {
        Ok(self.mended().create_keys(by, requests))
    }

    fn revoke_keys(
        &self,
        by: &Authority,
        ids: &[KeyId],
        expected: Option<Version>,
    ) -> Result<Vec<Result<ChangedKey, Error>>, Error> {
        Ok(self.mended().revoke_keys(by, ids, expected))
    }

    fn purge_keys(
        &self,
        by: &Authority,
        ids: &[KeyId],
        expected: Option<Version>,
    ) -> Result<Vec<Result<(), Error>>, Error> {
        Ok(self.mended().purge_keys(by, ids, expected))
    }

    fn key(&self, by: &Authority, id: KeyId) -> Result<Key, Error> {
        self.manager.key(by, id)
    }

    fn create_key_once(
        &self,
        by: &Authority,
        owner: &OwnerId,
        request: &CreateKey,
        key: &IdempotencyKey,
    ) -> Result<IssuedOnce, Error> {
        self.mended().create_key_once(by, owner, request, key)
    }

    fn rotate_key_once(
        &self,
        by: &Authority,
        id: KeyId,
        request: &Rotate,
        expected: Option<Version>,
        key: &IdempotencyKey,
    ) -> Result<IssuedOnce, Error> {
        self.mended().rotate_key_once(by, id, request, expected, key)
    }

    fn replace_lost_token(
        &self,
        by: &Authority,
        id: KeyId,
        key: &IdempotencyKey,
    ) -> Result<Issued, Error> {
        self.mended().replace_lost_token(by, id, key)
    }

    fn key_by_numeric_id(&self, by: &Authority, id: NumericId) -> Result<Key, Error> {
        self.manager.key_by_numeric_id(by, id)
    }

    fn list_keys(&self, by: &Authority, query: &ListKeys) -> Result<Page<Key>, Error> {
        list::list_keys(&self.engine, &self.usage, by, query)
    }

    fn list_unmatched(&self, by: &Authority, query: &ListKeys) -> Result<Page<Key>, Error> {
        list::list_unmatched(&self.engine, &self.usage, by, query)
    }

    fn count_keys(&self, by: &Authority, query: &ListKeys) -> Result<u64, Error> {
        list::count_keys(&self.engine, &self.usage, by, query)
    }

    fn change_key(
        &self,
        by: &Authority,
        id: KeyId,
        action: &KeyAction,
        expected: Option<Version>,
    ) -> Result<ChangedKey, Error> {
        self.mended().change_key(by, id, action, expected)
    }

    fn revoke_with_descendants(
        &self,
        by: &Authority,
        id: KeyId,
        expected: Option<Version>,
    ) -> Result<RevokedTree, Error> {
        self.mended();
        descendants::revoke_with_descendants(&self.engine, &self.usage, by, id, expected)
    }

    fn rotate_key(
        &self,
        by: &Authority,
        id: KeyId,
        request: &Rotate,
        expected: Option<Version>,
    ) -> Result<Issued, Error> {
        self.mended().rotate_key(by, id, request, expected)
    }

    fn purge_key(&self, by: &Authority, id: KeyId, expected: Option<Version>) -> Result<(), Error> {
        self.mended().purge_key(by, id, expected)
    }

    fn reveal_token(&self, by: &Authority, id: KeyId) -> Result<Token, Error> {
        self.mended();
        reveal::reveal_token(&self.engine, &self.sealer, by, id)
    }

    fn reveal_tokens(
        &self,
        by: &Authority,
        query: &ListKeys,
    ) -> Result<Page<RevealedToken>, Error> {
        self.mended();
        reveal::reveal_tokens(&self.engine, &self.usage, &self.sealer, by, query)
    }

    fn identify(&self, by: &Authority, token: &[u8]) -> Result<Option<FoundToken>, Error> {
        leaked_tokens::identify(&self.engine, &self.usage, by, token)
    }

    fn explain(&self, by: &Authority, token: &[u8]) -> Result<Explanation, Error> {
        let explained = explain::explain(&self.engine, &self.usage, by, token)?;
        Ok(self.verifier.add_unavailable(explained))
    }

    fn block_leaked(&self, by: &Authority, token: &[u8]) -> Result<Option<FoundToken>, Error> {
        self.mended();
        leaked_tokens::block_leaked(&self.engine, &self.usage, by, token)
    }

    fn create_owner(
        &self,
        by: &Authority,
        id: &OwnerId,
        request: &CreateOwner,
    ) -> Result<CreatedOwner, Error> {
        self.mended().create_owner(by, id, request)
    }

    fn owner(&self, by: &Authority, id: &OwnerId) -> Result<Owner, Error> {
        self.manager.owner(by, id)
    }

    fn list_owners(&self, by: &Authority, query: &ListOwners) -> Result<Page<Owner>, Error> {
        list::list_owners(&self.engine, by, query)
    }

    fn change_owner(
        &self,
        by: &Authority,
        id: &OwnerId,
        action: &OwnerAction,
        expected: Option<Version>,
    ) -> Result<Owner, Error> {
        self.mended().change_owner(by, id, action, expected)
    }

    fn revoke_all(
        &self,
        by: &Authority,
        owner: &OwnerId,
        replacement: Option<&CreateKey>,
        expected: Option<Version>,
    ) -> Result<RevokedAll, Error> {
        self.mended().revoke_all(by, owner, replacement, expected)
    }

    fn purge_owner(
        &self,
        by: &Authority,
        id: &OwnerId,
        expected: Option<Version>,
    ) -> Result<(), Error> {
        self.mended().purge_owner(by, id, expected)
    }

    fn rules(&self, by: &Authority) -> Result<Rules, Error> {
        store_rules::rules(&self.engine, by)
    }

    fn change_rules(
        &self,
        by: &Authority,
        request: &ChangeRules,
        expected: Option<Version>,
    ) -> Result<Rules, Error> {
        self.mended();
        store_rules::change_rules(&self.engine, by, request, expected)
    }

    fn invalidate_tokens_issued_before(
        &self,
        by: &Authority,
        to: Timestamp,
        expected: Option<Version>,
    ) -> Result<Rules, Error> {
        self.mended();
        store_rules::invalidate_tokens_issued_before(&self.engine, by, to, expected)
    }

    fn retire_pepper(
        &self,
        by: &Authority,
        number: u16,
        if_in_use: IfInUse,
        expected: Option<Version>,
    ) -> Result<RetiredPepper, Error> {
        self.mended();
        pepper_retirement::retire_pepper(&self.engine, by, number, if_in_use, expected)
    }

    fn events(&self, by: &Authority, query: &ListEvents) -> Result<Events, Error> {
        list::events(&self.engine, by, query)
    }

    fn prune_events(&self, by: &Authority, before: Timestamp) -> Result<u64, Error> {
        store_rules::prune_events(&self.engine, by, before)
    }

    fn wait_for_event(&self, after: u64, timeout: Duration) -> Result<u64, Error> {
        store_rules::wait_for_event(&self.engine, after, timeout)
    }

    fn health(&self) -> Health {
        self.health.now()
    }

    fn recover(&self) -> Result<(), Error> {
        self.engine.recover()
    }

    fn close(&self) -> Result<(), Error> {
        self.engine.check_process()?;
        // Lets a commit that has begun end before the backend closes. The backend is also closed if
        // a step before that fails.
        let _guard = self.engine.acquire();
        if !self.engine.records.availability.close() {
            return Ok(());
        }
        self.workers.stop();
        let put_back = self.verifier.close_leases();
        let flushed = self.usage.flush_last();
        self.engine.records.backend.close()?;
        put_back.and(flushed)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // Background threads may hold the engine for a moment longer; the database is released now.
        let _ = self.close();
    }
}

#[cfg(test)]
mod tests;
