//! Putting owners and keys into the index, as the backend has them.

use super::affected::AffectedRecords;
use super::loading::{Loading, damaged_epoch, orphan};
use super::records::Records;
use crate::backend::{
    BackendError, BackendErrorKind, Damage, DamagedRecord, DamagedRow, KeyFilter, KeyPageQuery,
    Scanned, ScannedKey, ScannedOwner, Sharing, StateSet,
};
use crate::id::{KeyId, OwnerId};
use crate::key::{KeyRecord, OwnerRecord};
use crate::store::index::{DetachedOwner, IndexError, Made, Reach};
use crate::store::types::error::{Error, PepperProblem};

/// Number of keys that are put again while commits wait.
const KEYS_AT_ONCE: usize = 256;

/// What became of an owner that was read alone.
#[derive(Debug, Default)]
pub(super) struct Reloaded<'a> {
    pub(super) exists: bool,
    /// An earlier owner of its id, and its keys.
    pub(super) replaced: Option<DetachedOwner<'a>>,
    /// Its record, if it is no longer suspended. The index still has it suspended.
    pub(super) resumed: Option<OwnerRecord>,
}

impl Records {
    /// Puts an owner that changed into the index. The keys of a small one are put again with it. Those
    /// of a large one are judged by rules until they were put again in pieces.
    pub(in crate::store) fn put_owner(&self, owner: &OwnerRecord, made: Made) -> Result<(), Error> {
        self.put_owner_as(owner, owner.suspended.is_some(), made)
    }

    /// The same, suspended or not whatever its record says.
    fn put_owner_as(&self, owner: &OwnerRecord, suspended: bool, made: Made) -> Result<(), Error> {
        if let Some(details) = &self.details {
            details.put_owner(owner);
        }
        let shown = ScannedOwner { suspended, ..owner.into() };
        let reach = self.index.change_owner(&shown, made);
        match reach.map_err(|error| self.index_error(error))? {
            Reach::Few => self.reload_owner_as(&owner.id, suspended, false).map(|_exists| ()),
            Reach::Nothing => Ok(()),
            Reach::Rules | Reach::Records => {
                if reach == Ok(Reach::Rules) || made == Made::Elsewhere {
                    self.refills.wake();
                }
                Ok(())
            }
        }
    }

    /// Puts a page of an owner's keys again, those before one. Returns where the next page begins;
    /// `None` after the last.
    pub(super) fn put_keys_again(
        &self,
        owner: &OwnerId,
        before: Option<KeyId>,
    ) -> Result<Option<KeyId>, Error> {
        let filter = KeyFilter::new(StateSet::ALL, self.now());
        let filter = KeyFilter { owner: Some(*owner), ..filter };
        let (limit, examine) = (KEYS_AT_ONCE, KEYS_AT_ONCE);
        let query = KeyPageQuery { filter, before, after: None, limit, examine };
        let page = match self.backend.page_keys(&query) {
            Err(error) if error.kind() == BackendErrorKind::Corrupt => {
                return self.reload_owner(owner).map(|_exists| None);
            }
            page => page?,
        };
        // A row under quarantine is out already. One that is damaged apart from what the index needs is
        // whole to a scan.
        if page.damaged.iter().any(|row| row.quarantine.is_none()) {
            return self.reload_owner(owner).map(|_exists| None);
        }
        for key in &page.keys {
            if self.put_or_read_key(key)? {
                // The others of the page are older than the owner is now.
                return self.put_keys_again(owner, before);
            }
        }
        Ok(page.next)
    }

    /// Notes a key whose record the backend can't read. A row that the scan of its owner shows
    /// whole was damaged apart from what the index needs; a key that it doesn't show is out.
    pub(super) fn note_damage(
        &self,
        id: KeyId,
        owner: &OwnerId,
        error: BackendError,
    ) -> Result<(), Error> {
        let Some(damage) = error.damage().cloned() else { return Err(error.into()) };
        self.add_damaged(DamagedRow::new(Damage { record: DamagedRecord::Key(id), ..damage }));
        self.reload_owner(owner).map(drop)
    }

    /// Takes a damaged key out of the index, and notes it.
    fn add_damaged(&self, row: DamagedRow) {
        self.remove_damaged(&row);
        self.damages.add(row);
    }

    /// Takes a damaged key out of the index.
    pub(super) fn remove_damaged(&self, row: &DamagedRow) {
        if let Some(id) = row.key() {
            self.index.remove_everywhere(id);
        }
    }

    /// Reads an owner and its keys from the backend into the index. Returns whether the owner
    /// exists. The keys of an owner whose record is damaged or lost are damaged too: what they may
    /// do isn't known. An owner that is suspended in the index stays so: an event that isn't applied
    /// yet tells of its resumption, and a key that it doesn't have any more may still be there.
    pub(super) fn reload_owner(&self, owner: &OwnerId) -> Result<bool, Error> {
        self.reload_owner_as(owner, self.index.is_suspended(owner), false)
    }

    /// Reads an owner and its keys. With `suspended` it is suspended whatever its record says. With
    /// `may_be_replaced`, an earlier owner of the id may have keys in the index: the owner gets another
    /// number, and those keys are removed.
    pub(super) fn reload_owner_as(
        &self,
        owner: &OwnerId,
        suspended: bool,
        may_be_replaced: bool,
    ) -> Result<bool, Error> {
        let mut records = Vec::new();
        self.backend.scan_owner(owner, &mut |mut scanned| {
            self.note_scanned(&scanned);
            if let Scanned::Owner(owner) = &mut scanned {
                owner.suspended |= suspended;
            }
            records.push(scanned);
        })?;
        let exists = records.iter().any(|record| matches!(record, Scanned::Owner(_)));
        if exists {
            self.damages.forget_owner(DamagedRecord::Owner(*owner));
        } else if !records.is_empty() {
            // What is left of a purged owner are damaged keys. It isn't lost.
            if !self.is_purged(owner)? {
                orphan(&mut records, owner);
            }
            self.remove_owner(owner);
        }
        for record in &records {
            if let Scanned::Key(key) = record {
                self.damages.forget(key.id);
            }
        }
        let keys = records.iter().filter_map(|record| match record {
            Scanned::Key(key) => Some(key.id),
            _ => None,
        });
        self.read_details(Some(owner), keys)?;
        // Dropped, and its keys with it, once the others were put: a key of the new owner that was
        // under the number of the purged one is there throughout.
        let _replaced = may_be_replaced.then(|| self.index.detach_owner(owner));
        // If putting them fails midway, they are read again.
        self.index.begin_unread(owner);
        let mut unsettled = UnsettledOwner { records: self, owner, is_settled: false };
        let mut loading = Loading::default();
        loading.put(&self.index, records);
        let outdated = std::mem::take(&mut loading.outdated);
        let damaged = loading.finish(&self.index).map_err(|error| self.index_error(error))?;
        let outdated = outdated.iter().map(damaged_epoch);
        damaged.into_iter().chain(outdated).for_each(|row| self.add_damaged(row));
        if let Some(ticket) = self.index.unread(owner) {
            self.index.end_unread(owner, ticket);
        }
        unsettled.is_settled = true;
        self.refills.wake();
        Ok(exists)
    }

    /// Reads an owner from the backend into the index, and its keys only as far as the change reaches
    /// them, or if the owner was purged and has a successor of its id.
    pub(super) fn reload_owner_alone(
        &self,
        owner: &OwnerId,
        affected: &AffectedRecords,
        made: Made,
    ) -> Result<Reloaded<'_>, Error> {
        let may_be_replaced = affected.replaced.contains(owner);
        let is_known = self.index.owner_named(owner).is_some();
        // A scan would look at each key of the owner before that is yet to go, and the keys of this one
        // have events of their own.
        let is_new = |record: &OwnerRecord| {
            let is_first = may_be_replaced || !is_known && affected.created.contains(owner);
            record.sweeps.is_some() && is_first
        };
        match self.stored.owner(owner) {
            Ok(None) if may_be_replaced => {}
            // As above.
            Ok(Some(record)) if record.is_purged() => {}
            Ok(Some(record)) if is_known && !may_be_replaced || is_new(&record) => {
                self.damages.forget_owner(DamagedRecord::Owner(*owner));
                let replaced = may_be_replaced.then(|| self.index.detach_owner(owner)).flatten();
                let is_suspended = record.suspended.is_some();
                let is_resumed = !is_suspended && self.index.is_suspended(owner);
                self.put_owner_as(&record, is_suspended || is_resumed, made)?;
                let resumed = is_resumed.then_some(record);
                return Ok(Reloaded { exists: true, replaced, resumed });
            }
            Err(error) if error.damage().is_none() => return Err(error.into()),
            _ => {
                let exists = self.reload_owner_as(owner, false, may_be_replaced)?;
                return Ok(Reloaded { exists, ..Reloaded::default() });
            }
        }
        self.damages.forget_owner(DamagedRecord::Owner(*owner));
        Ok(Reloaded::default())
    }

    pub(in crate::store) fn put_key(&self, key: &KeyRecord) -> Result<(), Error> {
        self.put_or_read_key(key).map(|_is_read| ())
    }

    /// Puts a key, or reads its owner and then the key again, if the owner's record was newer than the
    /// index knows. Returns whether it did: what was read of other keys before may be older than that.
    fn put_or_read_key(&self, record: &KeyRecord) -> Result<bool, Error> {
        if let Some(details) = &self.details {
            details.put_key(record);
        }
        let key = &ScannedKey::from(record);
        self.graces.note(key, &self.clock_watch);
        self.observer.note_key(key);
        self.damages.forget(key.id);
        let (id, owner) = (key.id, &key.owner);
        match self.index.put_key(key) {
            // Another process has just created both the key and its owner, or the owner's record
            // is damaged.
            Err(IndexError::OwnerMissing) => return self.reload_owner(owner),
            // Another process has just changed the owner.
            Err(IndexError::OwnerOutdated) => {}
            put => return put.map(|()| false).map_err(|error| self.index_error(error)),
        }
        let epoch = key.current.epochs.owner;
        if matches!(self.stored.owner(owner), Ok(Some(now)) if now.epoch() < epoch) {
            // Not by another process: the owner was read after the key.
            self.add_damaged(damaged_epoch(key));
            return Ok(false);
        }
        self.reload_owner_alone(owner, &AffectedRecords::default(), Made::Elsewhere)?;
        // All keys may have been revoked since it was read, of which no event of it would tell.
        match self.backend.key(id) {
            Ok(Some(again)) => self.put_key(&again)?,
            Ok(None) => self.remove_key(id, owner)?,
            Err(error) => self.note_damage(id, owner, error)?,
        }
        Ok(true)
    }

    /// Removes an owner. Slots of its keys that are left are filled again by others.
    pub(super) fn remove_owner(&self, owner: &OwnerId) {
        self.index.remove_owner(owner);
        if let Some(details) = &self.details {
            details.forget_owner(owner);
        }
        self.refills.wake();
    }

    pub(super) fn note_scanned(&self, scanned: &Scanned) {
        if let Scanned::Key(key) = scanned {
            self.graces.note(key, &self.clock_watch);
            self.observer.note_key(key);
        }
    }

    pub(in crate::store) fn remove_key(&self, id: KeyId, owner: &OwnerId) -> Result<(), Error> {
        self.forget_key(id);
        self.index.remove_key(id, owner).map_err(|error| self.index_error(error))
    }

    /// Maps the error of a record that can't be put into the index.
    pub(super) fn index_error(&self, error: IndexError) -> Error {
        match error {
            IndexError::PepperMissing(number) => {
                if matches!(self.backend.sharing(), Sharing::Shared { .. }) {
                    // Another process uses a pepper that this process doesn't have.
                    self.availability.set_rules_changed();
                }
                Error::Pepper { number, problem: PepperProblem::Missing }
            }
            IndexError::Full | IndexError::OwnerMissing | IndexError::OwnerOutdated => {
                let kind = match error {
                    IndexError::Full => BackendErrorKind::Full,
                    _ => BackendErrorKind::Corrupt,
                };
                let operation = "load the index";
                BackendError::new(kind, self.backend.name(), operation).with_source(error).into()
            }
        }
    }
}

/// An owner whose keys' slots aren't as its record says.
///
/// The backend may fail or panic, or the service's clock. Then the store can't answer for the owner
/// until a thread of the store has read its keys.
pub(super) struct UnsettledOwner<'a> {
    pub(super) records: &'a Records,
    pub(super) owner: &'a OwnerId,
    pub(super) is_settled: bool,
}

impl Drop for UnsettledOwner<'_> {
    fn drop(&mut self) {
        if !self.is_settled {
            self.records.index.doubt_owner(self.owner);
            self.records.refills.wake();
        }
    }
}
