//! The records, and the rules' view of them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::keys::Keys;
use crate::backend::{
    BackendError, Damage, DamagedRow, KeyCounts, Scanned, ScannedKey, Transaction, UsageSubject,
    quarantined,
};
use crate::clock::Timestamp;
use crate::event::Event;
use crate::id::{KeyId, NumericId, OwnerId};
use crate::key::{
    KeyName, KeyRecord, OwnerRecord, Quarantine, RequestId, RequestRecord, StoreMetadata, Usage,
};

/// The backend's name in errors.
pub(super) const NAME: &str = "memory";

#[derive(Default)]
pub(super) struct Data {
    pub(super) metadata: Option<StoreMetadata>,
    pub(super) owners: BTreeMap<OwnerId, OwnerRecord>,
    pub(super) keys: Keys,
    /// Kept for ever, also after the key is purged.
    pub(super) numeric_ids: BTreeMap<NumericId, KeyId>,
    pub(super) events: BTreeMap<u64, Event>,
    pub(super) usage: BTreeMap<UsageSubject, Usage>,
    /// Entries over keys. Nothing damages this memory, so that none arises by itself.
    pub(super) quarantines: BTreeMap<KeyId, Quarantine>,
    pub(super) requests: BTreeMap<RequestId, RequestRecord>,
    pub(super) by_time: BTreeSet<(Timestamp, RequestId)>,
}

impl Data {
    /// Shows a key, or the entry that lies over it.
    pub(super) fn scanned(&self, key: &KeyRecord) -> Scanned {
        let scanned = ScannedKey::from(key);
        match self.quarantines.get(&key.id) {
            Some(entry) => Scanned::Damaged(DamagedRow {
                quarantine: Some(Box::new(entry.clone())),
                ..scanned.damaged(quarantined(key.id))
            }),
            None => Scanned::Key(scanned),
        }
    }
}

impl Transaction for Data {
    fn metadata(&mut self) -> Result<Option<StoreMetadata>, BackendError> {
        Ok(self.metadata.clone())
    }

    fn owner(&mut self, id: &OwnerId) -> Result<Option<OwnerRecord>, BackendError> {
        Ok(self.owners.get(id).cloned())
    }

    fn key(&mut self, id: KeyId) -> Result<Option<KeyRecord>, BackendError> {
        if self.quarantines.contains_key(&id) {
            return Err(BackendError::damaged(NAME, "read key", quarantined(id)));
        }
        Ok(self.keys.get(id).cloned())
    }

    fn key_counts(&mut self, owner: &OwnerId) -> Result<KeyCounts, BackendError> {
        Ok(self.keys.counts(owner))
    }

    fn last_key(&mut self, owner: &OwnerId) -> Result<Option<KeyId>, BackendError> {
        Ok(self.keys.ids_between(Some(owner), (Bound::Unbounded, Bound::Unbounded)).next())
    }

    fn live_keys_named(
        &mut self,
        owner: &OwnerId,
        name: &KeyName,
    ) -> Result<Vec<KeyId>, BackendError> {
        Ok(self.keys.live_named(owner, name))
    }

    fn expired_keys(
        &mut self,
        owner: &OwnerId,
        by: Timestamp,
        limit: usize,
    ) -> Result<Vec<KeyId>, BackendError> {
        Ok(self.keys.expired(owner, by, limit))
    }

    fn keys_created_by(&mut self, creator: KeyId) -> Result<Vec<KeyId>, BackendError> {
        Ok(self.keys.created_by(creator))
    }

    fn numeric_id_used(&mut self, id: NumericId) -> Result<bool, BackendError> {
        Ok(self.numeric_ids.contains_key(&id))
    }

    fn greatest_numeric_id(&mut self) -> Result<u64, BackendError> {
        Ok(self.numeric_ids.last_key_value().map_or(0, |(id, _)| id.get()))
    }

    fn last_event(&mut self) -> Result<u64, BackendError> {
        Ok(self.events.last_key_value().map_or(0, |(sequence, _)| *sequence))
    }

    fn each_key(
        &mut self,
        visit: &mut dyn FnMut(Result<KeyRecord, Damage>),
    ) -> Result<(), BackendError> {
        for key in self.keys.all() {
            let is_covered = self.quarantines.contains_key(&key.id);
            visit(if is_covered { Err(quarantined(key.id)) } else { Ok(key.clone()) });
        }
        Ok(())
    }

    fn each_owner(
        &mut self,
        visit: &mut dyn FnMut(Result<OwnerRecord, Damage>),
    ) -> Result<(), BackendError> {
        self.owners.values().cloned().map(Ok).for_each(visit);
        Ok(())
    }

    fn put_metadata(&mut self, metadata: &StoreMetadata) -> Result<(), BackendError> {
        self.metadata = Some(metadata.clone());
        Ok(())
    }

    fn put_owner(
        &mut self,
        before: Option<&OwnerRecord>,
        after: Option<&OwnerRecord>,
    ) -> Result<(), BackendError> {
        if let Some(before) = before {
            self.owners.remove(&before.id);
        }
        if let Some(after) = after {
            self.owners.insert(after.id, after.clone());
        }
        Ok(())
    }

    fn put_key(
        &mut self,
        before: Option<&KeyRecord>,
        after: Option<&KeyRecord>,
    ) -> Result<(), BackendError> {
        if let Some(before) = before {
            self.keys.remove(before.id);
        }
        if let Some(after) = after {
            if let Some(numeric_id) = after.numeric_id {
                self.numeric_ids.insert(numeric_id, after.id);
            }
            self.keys.put(after);
        }
        Ok(())
    }

    fn quarantine(&mut self, id: KeyId) -> Result<Option<Quarantine>, BackendError> {
        Ok(self.quarantines.get(&id).cloned())
    }

    fn put_quarantine(&mut self, entry: &Quarantine) -> Result<(), BackendError> {
        self.quarantines.insert(entry.id, entry.clone());
        Ok(())
    }

    fn remove_damaged_keys(&mut self, ids: &[KeyId]) -> Result<(), BackendError> {
        for id in ids {
            self.quarantines.remove(id);
            self.keys.remove(*id);
        }
        Ok(())
    }

    fn append_event(&mut self, event: &Event) -> Result<(), BackendError> {
        self.events.insert(event.sequence, event.clone());
        Ok(())
    }

    fn usage(&mut self, of: &UsageSubject) -> Result<Option<Usage>, BackendError> {
        Ok(self.usage.get(of).copied())
    }

    fn put_usage(&mut self, of: &UsageSubject, usage: Option<&Usage>) -> Result<(), BackendError> {
        match usage {
            Some(usage) => self.usage.insert(*of, *usage),
            None => self.usage.remove(of),
        };
        Ok(())
    }

    fn request(&mut self, id: &RequestId) -> Result<Option<RequestRecord>, BackendError> {
        Ok(self.requests.get(id).cloned())
    }

    fn requests_before(
        &mut self,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<RequestRecord>, BackendError> {
        let over = self.by_time.iter().take_while(|(at, _)| *at < before).take(limit);
        Ok(over.filter_map(|(_, id)| self.requests.get(id).cloned()).collect())
    }

    fn put_request(
        &mut self,
        before: Option<&RequestRecord>,
        after: Option<&RequestRecord>,
    ) -> Result<(), BackendError> {
        if let Some(before) = before {
            self.requests.remove(&before.id);
            self.by_time.remove(&(before.at, before.id.clone()));
        }
        if let Some(after) = after {
            self.by_time.insert((after.at, after.id.clone()));
            self.requests.insert(after.id.clone(), after.clone());
        }
        Ok(())
    }
}
