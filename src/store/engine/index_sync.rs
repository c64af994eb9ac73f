//! From the backend into the index.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

use super::affected::AffectedRecords;
use super::pipeline::pipeline;
use super::state::Core;
use crate::backend::{BackendError, BackendErrorKind, Scanned, ScannedKey, ScannedOwner, Sharing};
use crate::id::{KeyId, OwnerId};
use crate::key::StoreMetadata;
use crate::store::index::{Index, IndexError, Memo};
use crate::store::types::error::{Error, PepperProblem, Unavailable};

/// How many keys before one is put, what that will look at is fetched from memory.
const AHEAD: usize = 8;

impl Core {
    /// Loads everything into an empty index, before anybody else has it; returns the number of the
    /// last event that is surely reflected.
    pub(in crate::store) fn load(&mut self) -> Result<u64, Error> {
        let through = self.scan(|_| {})?;
        self.index.relocate_limits();
        Ok(through)
    }

    /// Loads everything anew, and forgets what is no more.
    pub(in crate::store) fn load_anew(&self) -> Result<u64, Error> {
        let (mut keys, mut owners) = (BTreeSet::new(), BTreeSet::new());
        let through = self.scan(|scanned| match scanned {
            Scanned::Owner(owner) => _ = owners.insert(owner.id),
            Scanned::Key(key) => _ = keys.insert(key.id),
        })?;
        self.index.retain(&keys, &owners);
        Ok(through)
    }

    fn scan(&self, mut seen: impl FnMut(&Scanned)) -> Result<u64, Error> {
        let expected = self.backend.expected_keys();
        let (through, mut loading) = pipeline(
            |hand| {
                self.backend.scan(&mut |scanned| {
                    seen(&scanned);
                    self.note_scanned(&scanned);
                    hand(scanned);
                })
            },
            |loading: &mut Loading, records| {
                if !std::mem::replace(&mut loading.has_room, true) {
                    self.index.make_room(expected);
                }
                loading.put(&self.index, records);
            },
        );
        let through = through?;
        let orphans = std::mem::take(&mut loading.orphans);
        loading.finish(&self.index).map_err(|error| self.index_error(error))?;
        for owner in orphans {
            // Created after the owners were shown and before the keys were; or gone since.
            let is_there = self.reload_owner(&owner)?;
            if !is_there && matches!(self.backend.sharing(), Sharing::Exclusive) {
                return Err(self.index_error(IndexError::OwnerMissing));
            }
        }
        Ok(through)
    }

    /// Loads some records afresh, and puts what is there now into the index.
    pub(in crate::store) fn reload(&self, affected: &AffectedRecords) -> Result<(), Error> {
        if affected.metadata {
            self.put_metadata(&self.backend.metadata()?)?;
        }
        let mut gone = Vec::new();
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
        // After their keys, which are found by their owner's number.
        gone.into_iter().for_each(|owner| self.index.remove_owner(owner));
        Ok(())
    }

    /// Puts an owner, and, where that cuts its keys anew, its keys.
    pub(in crate::store) fn put_owner(&self, owner: &ScannedOwner) -> Result<(), Error> {
        let put = self.index.put_owner(owner).map_err(|error| self.index_error(error))?;
        if put.narrows {
            return self.reload_owner(&owner.id).map(|_is_there| ());
        }
        self.index.clear_owner_flags(owner);
        Ok(())
    }

    /// Puts an owner and its keys as they are now; whether it is there.
    fn reload_owner(&self, owner: &OwnerId) -> Result<bool, Error> {
        let mut records = Vec::new();
        self.backend.scan_owner(owner, &mut |scanned| {
            self.note_scanned(&scanned);
            records.push(scanned);
        })?;
        let is_there = !records.is_empty();
        let mut loading = Loading::default();
        loading.put(&self.index, records);
        loading.finish(&self.index).map_err(|error| self.index_error(error))?;
        Ok(is_there)
    }

    pub(in crate::store) fn put_key(&self, key: &ScannedKey) -> Result<(), Error> {
        self.alerts.note_key(key);
        match self.index.put_key(key) {
            // Created elsewhere a moment ago, its owner too.
            Err(IndexError::OwnerMissing) => self.reload_owner(&key.owner).map(|_is_there| ()),
            put => put.map_err(|error| self.index_error(error)),
        }
    }

    fn note_scanned(&self, scanned: &Scanned) {
        if let Scanned::Key(key) = scanned {
            self.alerts.note_key(key);
        }
    }

    pub(in crate::store) fn remove_key(&self, id: KeyId, owner: &OwnerId) -> Result<(), Error> {
        self.index.remove_key(id, owner).map_err(|error| self.index_error(error))
    }

    /// Takes over the store's own record. A moved issue mark cuts every key anew, and counts as
    /// taken over only when that is done.
    pub(in crate::store) fn put_metadata(&self, metadata: &StoreMetadata) -> Result<(), Error> {
        if self.metadata().metadata.tokens_valid_from != metadata.tokens_valid_from {
            self.index.set_tokens_valid_from(metadata.tokens_valid_from);
            self.load_anew()?;
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

    /// What a token that can't be indexed means.
    fn index_error(&self, error: IndexError) -> Error {
        match error {
            IndexError::PepperMissing(number) => {
                if matches!(self.backend.sharing(), Sharing::Shared { .. }) {
                    // Another process uses one that this process doesn't have.
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

    /// Whether another process has changed the rules that this one was opened with. A pepper that
    /// was added is none of them: who needs one that it doesn't have finds out by a token.
    pub(in crate::store) fn check_metadata(
        self: &Arc<Self>,
        stored: &StoreMetadata,
    ) -> Result<(), Error> {
        let known = self.metadata().metadata;
        if known.rules == stored.rules && known.prefixes == stored.prefixes {
            return Ok(());
        }
        self.availability.set_rules_changed();
        Err(Unavailable::RulesChanged.into())
    }
}

/// Records on their way into the index.
#[derive(Debug, Default)]
struct Loading {
    /// Room was made for all that is expected.
    has_room: bool,
    memo: Memo,
    failed: Option<IndexError>,
    /// Owners from which a flag is to be taken: when their keys have been put.
    relieved: Vec<ScannedOwner>,
    /// Owners of keys that were shown, which weren't shown themselves.
    orphans: BTreeSet<OwnerId>,
}

impl Loading {
    fn put(&mut self, index: &Index, records: Vec<Scanned>) {
        let mut load = index.load(&mut self.memo);
        let ahead = records.iter().skip(AHEAD).map(Some).chain(std::iter::repeat(None));
        let (relieved, orphans) = (&mut self.relieved, &mut self.orphans);
        for (record, ahead) in records.iter().zip(ahead) {
            if let Some(Scanned::Key(key)) = ahead {
                load.prepare(key.id);
            }
            let put = match record {
                Scanned::Owner(owner) => load.put_owner(owner).map(|put| {
                    if put.unblocks {
                        relieved.push(owner.clone());
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
        self.relieved.iter().for_each(|owner| index.clear_owner_flags(owner));
        Ok(())
    }
}
