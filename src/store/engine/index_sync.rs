//! Loading records from the backend into the index.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use super::affected::AffectedRecords;
use super::pipeline::pipeline;
use super::records::Records;
use crate::backend::{
    BackendError, BackendErrorKind, EventFilter, EventQuery, Scanned, ScannedKey, ScannedOwner,
    Sharing,
};
use crate::clock::Timestamp;
use crate::id::{KeyId, OwnerId};
use crate::key::StoreMetadata;
use crate::store::index::{Index, IndexError, Memo};
use crate::store::types::error::{Error, PepperProblem, Unavailable};

/// Distance, in records, at which the memory of a key's slot is prefetched before the key is put.
const PREFETCH_DISTANCE: usize = 8;

impl Records {
    /// Loads all records into an empty index that no other thread has yet, and notes the time of the
    /// newest event.
    pub(in crate::store) fn load(&mut self) -> Result<(), Error> {
        let last_event = self.scan(|_| {})?;
        self.index.relocate_limits();
        self.lock_applied_log().applied_seq = last_event;
        if let Some(at) = self.time_of_event(last_event)? {
            self.clock_watch.note_opening_event(at);
            self.note_last_event(last_event, at);
        }
        Ok(())
    }

    /// Returns when an event was, if the log has it.
    pub(super) fn time_of_event(&self, number: u64) -> Result<Option<Timestamp>, Error> {
        let after = number.saturating_sub(1);
        let query = EventQuery { after, filter: EventFilter::default(), limit: 1, examine: 1 };
        let found = self.backend.events(&query)?.events.pop();
        Ok(found.filter(|event| event.sequence == number).map(|event| event.at))
    }

    /// Loads all records again, and removes those from the index that the backend no longer has.
    /// Returns the number of the last event that the index is sure to reflect.
    pub(super) fn reload_all(&self) -> Result<u64, Error> {
        let (mut keys, mut owners) = (BTreeSet::new(), BTreeSet::new());
        let last_event = self.scan(|scanned| match scanned {
            Scanned::Owner(owner) => _ = owners.insert(owner.id),
            Scanned::Key(key) => _ = keys.insert(key.id),
        })?;
        self.index.retain(&keys, &owners);
        Ok(last_event)
    }

    /// Shows all records to `visit`, and puts them into the index on another thread.
    fn scan(&self, mut visit: impl FnMut(&Scanned)) -> Result<u64, Error> {
        let expected = self.backend.expected_keys();
        let (scanned, mut loading) = pipeline(
            |emit| {
                self.backend.scan(&mut |scanned| {
                    visit(&scanned);
                    self.note_scanned(&scanned);
                    emit(scanned);
                })
            },
            |loading: &mut Loading, records| {
                if !std::mem::replace(&mut loading.has_room, true) {
                    self.index.make_room(expected);
                }
                loading.put(&self.index, records);
            },
        );
        let last_event = scanned?;
        let orphans = std::mem::take(&mut loading.orphans);
        loading.finish(&self.index).map_err(|error| self.index_error(error))?;
        for owner in orphans {
            // The owner was created after the backend showed the owners, and before it showed the
            // keys; or the owner is gone since.
            let exists = self.reload_owner(&owner)?;
            if !exists && matches!(self.backend.sharing(), Sharing::Exclusive) {
                return Err(self.index_error(IndexError::OwnerMissing));
            }
        }
        Ok(last_event)
    }

    /// Reads these records from the backend, and puts them into the index or removes them from it.
    pub(in crate::store) fn reload(&self, affected: &AffectedRecords) -> Result<(), Error> {
        if affected.metadata {
            self.put_metadata(&self.stored_metadata()?)?;
        }
        let mut gone = Vec::new();
        for owner in affected.owners_of_lapses.difference(&affected.owners) {
            self.reload_owner(owner)?;
        }
        for owner in &affected.owners {
            if !self.reload_owner(owner)? {
                gone.push(owner);
            }
        }
        for (id, owner) in &affected.keys {
            match self.backend.key(*id)? {
                Some(key) => self.put_key(&(&key).into())?,
                None => self.remove_key(*id, owner)?,
            }
        }
        // After their keys: a key is removed by its owner's number, which is gone with the owner.
        gone.into_iter().for_each(|owner| self.index.remove_owner(owner));
        Ok(())
    }

    /// Puts an owner into the index. The index holds keys as narrowed by the owner's `max_access`
    /// and `tokens_valid_from`, so the keys are reloaded if either differs.
    pub(in crate::store) fn put_owner(&self, owner: &ScannedOwner) -> Result<(), Error> {
        let put = self.index.put_owner(owner).map_err(|error| self.index_error(error))?;
        if put.narrows {
            return self.reload_owner(&owner.id).map(|_exists| ());
        }
        self.index.clear_owner_flags(owner);
        Ok(())
    }

    /// Reads an owner and its keys from the backend into the index. Returns whether the owner
    /// exists.
    fn reload_owner(&self, owner: &OwnerId) -> Result<bool, Error> {
        let mut records = Vec::new();
        self.backend.scan_owner(owner, &mut |scanned| {
            self.note_scanned(&scanned);
            records.push(scanned);
        })?;
        let exists = !records.is_empty();
        let mut loading = Loading::default();
        loading.put(&self.index, records);
        loading.finish(&self.index).map_err(|error| self.index_error(error))?;
        Ok(exists)
    }

    pub(in crate::store) fn put_key(&self, key: &ScannedKey) -> Result<(), Error> {
        self.graces.note(key, &self.clock_watch);
        self.observer.note_key(key);
        match self.index.put_key(key) {
            // Another process has just created both the key and its owner.
            Err(IndexError::OwnerMissing) => self.reload_owner(&key.owner).map(|_exists| ()),
            put => put.map_err(|error| self.index_error(error)),
        }
    }

    fn note_scanned(&self, scanned: &Scanned) {
        if let Scanned::Key(key) = scanned {
            self.graces.note(key, &self.clock_watch);
            self.observer.note_key(key);
        }
    }

    pub(in crate::store) fn remove_key(&self, id: KeyId, owner: &OwnerId) -> Result<(), Error> {
        self.index.remove_key(id, owner).map_err(|error| self.index_error(error))
    }

    /// Replaces the metadata. A later `tokens_valid_from` and a retired pepper end tokens of any key,
    /// so all keys are reloaded first. The metadata counts as replaced only after that: if reloading
    /// fails, the next call reloads again.
    pub(in crate::store) fn put_metadata(&self, metadata: &StoreMetadata) -> Result<(), Error> {
        if !self.metadata().metadata.invalidates_as(metadata) {
            self.index.set_invalidations(metadata);
            self.reload_all()?;
        }
        let mut state = self.metadata.write().unwrap_or_else(PoisonError::into_inner);
        let accepted: Vec<_> = metadata.prefixes.accepted().map(|entry| entry.prefix).collect();
        state.prefixes.retain(|prefix| accepted.contains(prefix));
        for prefix in accepted {
            if !state.prefixes.contains(&prefix) {
                state.prefixes.push(prefix);
            }
        }
        state.metadata = metadata.clone();
        self.prefixes.put(&metadata.prefixes);
        Ok(())
    }

    /// Maps the error of a record that can't be put into the index.
    fn index_error(&self, error: IndexError) -> Error {
        match error {
            IndexError::PepperMissing(number) => {
                if matches!(self.backend.sharing(), Sharing::Shared { .. }) {
                    // Another process uses a pepper that this process doesn't have.
                    self.availability.set_rules_changed();
                }
                Error::Pepper { number, problem: PepperProblem::Missing }
            }
            IndexError::Full | IndexError::OwnerMissing => {
                let kind = match error {
                    IndexError::Full => BackendErrorKind::Full,
                    _ => BackendErrorKind::Corrupt,
                };
                let operation = "load the index";
                BackendError::new(kind, self.backend.name(), operation).with_source(error).into()
            }
        }
    }

    /// Returns an error if another process has changed the rules or prefixes that this process was
    /// opened with, or has retired the pepper of its new tokens; the store is unavailable from then
    /// on. An added pepper is no such change: a process that lacks it learns so from the first token
    /// under it.
    pub(in crate::store) fn check_metadata(&self, stored: &StoreMetadata) -> Result<(), Error> {
        let known = self.metadata().metadata;
        let can_issue = !stored.is_retired(self.peppers.current().0);
        if known.rules == stored.rules && known.prefixes == stored.prefixes && can_issue {
            return Ok(());
        }
        self.availability.set_rules_changed();
        Err(Unavailable::RulesChanged.into())
    }
}

/// Records on their way into the index.
#[derive(Debug, Default)]
struct Loading {
    /// The index has room for all expected keys.
    has_room: bool,
    memo: Memo,
    failed: Option<IndexError>,
    /// Owners whose flags are cleared once their keys have been put.
    unblocked: Vec<ScannedOwner>,
    /// Owners that the backend hasn't shown, of keys that it has.
    orphans: BTreeSet<OwnerId>,
}

impl Loading {
    fn put(&mut self, index: &Index, records: Vec<Scanned>) {
        let mut load = index.load(&mut self.memo);
        let ahead = records.iter().skip(PREFETCH_DISTANCE).map(Some).chain(std::iter::repeat(None));
        let (unblocked, orphans) = (&mut self.unblocked, &mut self.orphans);
        for (record, ahead) in records.iter().zip(ahead) {
            if let Some(Scanned::Key(key)) = ahead {
                load.prepare(key.id);
            }
            let put = match record {
                Scanned::Owner(owner) => load.put_owner(owner).map(|put| {
                    if put.unblocks {
                        unblocked.push(owner.clone());
                    }
                }),
                Scanned::Key(key) => match load.put_key(key) {
                    Err(IndexError::OwnerMissing) => {
                        orphans.insert(key.owner);
                        Ok(())
                    }
                    put => put,
                },
            };
            if let Err(error) = put {
                self.failed.get_or_insert(error);
            }
        }
    }

    fn finish(self, index: &Index) -> Result<(), IndexError> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        self.unblocked.iter().for_each(|owner| index.clear_owner_flags(owner));
        Ok(())
    }
}
