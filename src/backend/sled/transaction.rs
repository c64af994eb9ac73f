//! The rules' view of a batch: what a commit reads and writes.

use std::collections::BTreeSet;

use super::chunks::{self, Values};
use super::fault::Fault;
use super::leads;
use super::overlay::Overlay;
use super::read::{load_key, load_owner, load_quarantine, load_usage};
use super::record::{decode, encode};
use super::trees::{self, Tree};
use crate::backend::{BackendError, Damage, DamagedRecord, KeyCounts, Transaction, UsageSubject};
use crate::clock::Timestamp;
use crate::event::Event;
use crate::id::{KeyId, NumericId, OwnerId};
use crate::key::{
    KeyName, KeyRecord, OwnerRecord, Quarantine, RequestId, RequestRecord, StoreMetadata, Usage,
};

/// Maps a fault to the error of a commit, the one operation that uses a transaction.
fn told<T>(result: Result<T, Fault>) -> Result<T, BackendError> {
    result.map_err(|fault| fault.during("commit"))
}

impl Overlay<'_> {
    fn store_key(
        &mut self,
        before: Option<&KeyRecord>,
        after: Option<&KeyRecord>,
    ) -> Result<(), Fault> {
        if before.is_some() != after.is_some() {
            let keys = self.number(trees::KEYS)?;
            let keys =
                if after.is_some() { keys.saturating_add(1) } else { keys.saturating_sub(1) };
            self.put_number(trees::KEYS, keys);
        }
        if let Some(key) = before {
            leads::of_key(key).iter().for_each(|(tree, lead)| self.remove(*tree, lead));
            let counts = self.load_counts(&key.owner)?.minus(KeyCounts::of(key));
            self.store_counts(&key.owner, counts);
            if after.is_none() {
                self.remove_record(Tree::Keys, &trees::key(key.id))?;
            }
        }
        if let Some(key) = after {
            leads::of_key(key).iter().for_each(|(tree, lead)| self.put(*tree, lead, &[]));
            let counts = self.load_counts(&key.owner)?.plus(KeyCounts::of(key));
            self.store_counts(&key.owner, counts);
            if let Some(numeric_id) = key.numeric_id {
                self.store_numeric_id(numeric_id, key.id)?;
            }
            self.put_record(Tree::Keys, &trees::key(key.id), &encode(key))?;
        }
        Ok(())
    }

    fn store_owner(
        &mut self,
        before: Option<&OwnerRecord>,
        after: Option<&OwnerRecord>,
    ) -> Result<(), Fault> {
        if let Some(owner) = before {
            leads::of_owner(owner).iter().for_each(|(tree, lead)| self.remove(*tree, lead));
            if after.is_none() {
                self.remove_record(Tree::Owners, trees::owner(&owner.id))?;
            }
        }
        if let Some(owner) = after {
            leads::of_owner(owner).iter().for_each(|(tree, lead)| self.put(*tree, lead, &[]));
            self.put_record(Tree::Owners, trees::owner(&owner.id), &encode(owner))?;
        }
        Ok(())
    }

    /// Removes a key without its record, and all that leads to it.
    fn remove_key(&mut self, id: KeyId) -> Result<(), Fault> {
        let mut owners = BTreeSet::new();
        for tree in [Tree::OwnerKeys, Tree::CreatedKeys, Tree::LiveNames, Tree::LiveExpiries] {
            let key_in = match tree {
                Tree::LiveExpiries => trees::expiring_key_in,
                _ => trees::key_in,
            };
            let mut leads = Vec::new();
            self.each(tree, &[], &mut |key| {
                if key_in(key) == Some(id) {
                    leads.push(key.to_vec());
                }
                Ok(())
            })?;
            for lead in leads {
                self.remove(tree, &lead);
                if tree == Tree::OwnerKeys {
                    owners.extend(trees::owner_of_key(&lead));
                }
            }
        }
        if self.value(Tree::Keys, &trees::key(id))?.is_some() {
            self.remove_record(Tree::Keys, &trees::key(id))?;
            self.put_number(trees::KEYS, self.number(trees::KEYS)?.saturating_sub(1));
        }
        self.remove_record(Tree::Quarantine, &trees::key(id))?;
        owners.iter().try_for_each(|owner| self.count_again(owner))
    }

    fn store_numeric_id(&mut self, numeric_id: NumericId, id: KeyId) -> Result<(), Fault> {
        self.put(Tree::NumericIds, &trees::numeric_id(numeric_id), &trees::key(id));
        if numeric_id.get() > self.number(trees::GREATEST_NUMERIC_ID)? {
            self.put_number(trees::GREATEST_NUMERIC_ID, numeric_id.get());
        }
        Ok(())
    }

    fn store_event(&mut self, event: &Event) -> Result<(), Fault> {
        let sequence = event.sequence;
        self.put_record(Tree::Events, &trees::event(sequence), &encode(event))?;
        leads::of_event(event).iter().for_each(|(tree, lead)| self.put(*tree, lead, &[]));
        self.put_number(trees::LAST_EVENT, sequence);
        Ok(())
    }
}

impl Transaction for Overlay<'_> {
    fn metadata(&mut self) -> Result<Option<StoreMetadata>, BackendError> {
        let stored = chunks::load(self, Tree::StoreMetadata, trees::STORE);
        told(stored.and_then(|stored| stored.map(|stored| decode((), &stored)).transpose()))
    }

    fn owner(&mut self, id: &OwnerId) -> Result<Option<OwnerRecord>, BackendError> {
        told(load_owner(self, id))
    }

    fn key(&mut self, id: KeyId) -> Result<Option<KeyRecord>, BackendError> {
        told(load_key(self, id))
    }

    fn key_counts(&mut self, owner: &OwnerId) -> Result<KeyCounts, BackendError> {
        told(self.load_counts(owner))
    }

    fn last_key(&mut self, owner: &OwnerId) -> Result<Option<KeyId>, BackendError> {
        let prefix = trees::of_owner(owner);
        let end = trees::after_prefix(&prefix);
        // The ids are inverted, so that the greatest comes first.
        let first = self.first(Tree::OwnerKeys, &prefix, &end, 1);
        told(first.map(|keys| keys.first().and_then(|key| trees::key_in(key))))
    }

    fn live_keys_named(
        &mut self,
        owner: &OwnerId,
        name: &KeyName,
    ) -> Result<Vec<KeyId>, BackendError> {
        let mut ids = Vec::new();
        told(self.each(Tree::LiveNames, &trees::of_name(owner, name), &mut |key| {
            ids.push(trees::key_in(key).ok_or(Fault::damaged("a name leads to no key"))?);
            Ok(())
        }))?;
        Ok(ids)
    }

    fn expired_keys(
        &mut self,
        owner: &OwnerId,
        by: Timestamp,
        limit: usize,
    ) -> Result<Vec<KeyId>, BackendError> {
        let (from, to) = (trees::of_owner(owner), trees::expiring_after(owner, by));
        let no_key = Fault::damaged("an expiry leads to no key");
        told(self.first(Tree::LiveExpiries, &from, &to, limit).and_then(|found| {
            let ids: Option<Vec<_>> =
                found.iter().map(|bytes| trees::expiring_key_in(bytes)).collect();
            ids.ok_or(no_key)
        }))
    }

    fn keys_created_by(&mut self, creator: KeyId) -> Result<Vec<KeyId>, BackendError> {
        let mut ids = Vec::new();
        told(self.each(Tree::CreatedKeys, &trees::key(creator), &mut |key| {
            ids.push(trees::key_in(key).ok_or(Fault::damaged("a creator leads to no key"))?);
            Ok(())
        }))?;
        Ok(ids)
    }

    fn numeric_id_used(&mut self, id: NumericId) -> Result<bool, BackendError> {
        told(self.value(Tree::NumericIds, &trees::numeric_id(id)).map(|value| value.is_some()))
    }

    fn greatest_numeric_id(&mut self) -> Result<u64, BackendError> {
        told(self.number(trees::GREATEST_NUMERIC_ID).and_then(|greatest| match greatest {
            ..=NumericId::MAX => Ok(greatest),
            _ => Err(Fault::damaged("the greatest numeric id is past the greatest there can be")),
        }))
    }

    fn last_event(&mut self) -> Result<u64, BackendError> {
        told(self.number(trees::LAST_EVENT))
    }

    fn each_key(
        &mut self,
        visit: &mut dyn FnMut(Result<KeyRecord, Damage>),
    ) -> Result<(), BackendError> {
        told(self.each(Tree::Keys, &[], &mut |key| {
            let id = trees::key_in(key).ok_or(Fault::damaged("a key has no id"));
            let record = id.as_ref().map_or(DamagedRecord::Unknown, |id| DamagedRecord::Key(*id));
            let loaded = id.and_then(|id| load_key(self, id));
            show(loaded, Tree::Keys, record, visit)
        }))
    }

    fn each_owner(
        &mut self,
        visit: &mut dyn FnMut(Result<OwnerRecord, Damage>),
    ) -> Result<(), BackendError> {
        told(self.each(Tree::Owners, &[], &mut |key| {
            let id = trees::owner_in(key).ok_or(Fault::damaged("an owner has no id"));
            let record = id.as_ref().map_or(DamagedRecord::Unknown, |id| DamagedRecord::Owner(*id));
            let loaded = id.and_then(|id| load_owner(self, &id));
            show(loaded, Tree::Owners, record, visit)
        }))
    }

    fn put_metadata(&mut self, metadata: &StoreMetadata) -> Result<(), BackendError> {
        told(self.put_record(Tree::StoreMetadata, trees::STORE, &encode(metadata)))
    }

    fn put_owner(
        &mut self,
        before: Option<&OwnerRecord>,
        after: Option<&OwnerRecord>,
    ) -> Result<(), BackendError> {
        told(self.store_owner(before, after))
    }

    fn put_key(
        &mut self,
        before: Option<&KeyRecord>,
        after: Option<&KeyRecord>,
    ) -> Result<(), BackendError> {
        told(self.store_key(before, after))
    }

    fn quarantine(&mut self, id: KeyId) -> Result<Option<Quarantine>, BackendError> {
        told(load_quarantine(self, id))
    }

    fn put_quarantine(&mut self, entry: &Quarantine) -> Result<(), BackendError> {
        told(self.put_record(Tree::Quarantine, &trees::key(entry.id), &encode(entry)))
    }

    fn remove_damaged_keys(&mut self, ids: &[KeyId]) -> Result<(), BackendError> {
        ids.iter().try_for_each(|id| told(self.remove_key(*id)))
    }

    fn append_event(&mut self, event: &Event) -> Result<(), BackendError> {
        told(self.store_event(event))
    }

    fn usage(&mut self, of: &UsageSubject) -> Result<Option<Usage>, BackendError> {
        told(load_usage(self, of))
    }

    fn put_usage(&mut self, of: &UsageSubject, usage: Option<&Usage>) -> Result<(), BackendError> {
        told(self.store_usage(of, usage))
    }

    fn request(&mut self, id: &RequestId) -> Result<Option<RequestRecord>, BackendError> {
        told(self.load_request(id))
    }

    fn requests_before(
        &mut self,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<RequestRecord>, BackendError> {
        told(self.load_requests_before(before, limit))
    }

    fn put_request(
        &mut self,
        before: Option<&RequestRecord>,
        after: Option<&RequestRecord>,
    ) -> Result<(), BackendError> {
        told(self.store_request(before, after))
    }
}

/// Shows a record, or its damage in its place.
fn show<R>(
    loaded: Result<Option<R>, Fault>,
    tree: Tree,
    record: DamagedRecord,
    visit: &mut dyn FnMut(Result<R, Damage>),
) -> Result<(), Fault> {
    match loaded {
        Ok(found) => found.into_iter().for_each(|found| visit(Ok(found))),
        Err(fault) => visit(Err(fault.damage(tree, record)?)),
    }
    Ok(())
}
