//! A batch before it is written: what it writes lies over the trees, so that later changes see
//! earlier ones, and goes to the trees in one step at the end.

use std::ops::Bound;

use ::sled::IVec;

use super::chunks::{self, Values};
use super::engine::{Engine, Writes, number};
use super::fault::Fault;
use super::leads;
use super::read::{load_key, load_owner, load_quarantine, load_usage};
use super::record::{
    decode_metadata, encode_event, encode_key, encode_metadata, encode_owner, encode_quarantine,
    encode_usage,
};
use super::sums::Sums;
use super::trees::{self, Tree};
use crate::backend::{BackendError, KeyCounts, Transaction, UsageSubject};
use crate::clock::Timestamp;
use crate::event::Event;
use crate::id::{KeyId, NumericId, OwnerId};
use crate::key::{
    KeyName, KeyRecord, OwnerRecord, Quarantine, RequestId, RequestRecord, StoreMetadata, Usage,
};

/// What is written in one step.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) writes: Writes,
    /// The number of the batch, by which a later opening knows whether it is still there.
    pub(super) number: u64,
}

/// Writes over the trees of an engine.
pub(super) struct Overlay<'a> {
    engine: &'a Engine,
    writes: Writes,
}

impl<'a> Overlay<'a> {
    pub(super) fn new(engine: &'a Engine) -> Self {
        Self { engine, writes: Writes::new() }
    }

    /// The outcome of a batch, and what is to be written for it.
    pub(super) fn finish<T>(
        self,
        outcome: Result<T, BackendError>,
    ) -> Result<Result<(T, Batch), BackendError>, Fault> {
        match outcome {
            Ok(outcome) => Ok(Ok((outcome, self.into_batch()?))),
            Err(error) => Ok(Err(error)),
        }
    }

    /// The batch to write, with its number and what all trees sum up to after it.
    pub(super) fn into_batch(self) -> Result<Batch, Fault> {
        if self.writes.is_empty() {
            return Ok(Batch::default());
        }
        let mut sums = Sums::load(self.engine)?;
        for (tree, entries) in &self.writes {
            for (key, new) in entries {
                let old = self.engine.value(*tree, key)?;
                sums.replace(*tree, key, old.as_deref(), new.as_deref());
            }
        }
        self.into_batch_with(sums)
    }

    /// The batch to write, after which the trees have these sums.
    pub(super) fn into_batch_with(mut self, sums: Sums) -> Result<Batch, Fault> {
        let number = self.number(trees::WRITES)? + 1;
        self.put_number(trees::WRITES, number);
        self.put(Tree::StoreMetadata, trees::SUMS, &sums.encode());
        Ok(Batch { writes: self.writes, number })
    }

    pub(super) fn put(&mut self, tree: Tree, key: &[u8], value: &[u8]) {
        self.writes.entry(tree).or_default().insert(key.to_vec(), Some(value.to_vec()));
    }

    pub(super) fn remove(&mut self, tree: Tree, key: &[u8]) {
        self.writes.entry(tree).or_default().insert(key.to_vec(), None);
    }

    /// Writes a record with all its chunks, and no chunk of the one before.
    pub(super) fn put_record(
        &mut self,
        tree: Tree,
        key: &[u8],
        record: &[u8],
    ) -> Result<(), Fault> {
        let (head, further) = chunks::split(tree, key, record)?;
        self.remove_record(tree, key)?;
        self.put(tree, key, &head);
        for (number, chunk) in (1..=u16::MAX).zip(further) {
            self.put(Tree::Chunks, &trees::chunk(tree, key, number), chunk);
        }
        Ok(())
    }

    pub(super) fn remove_record(&mut self, tree: Tree, key: &[u8]) -> Result<(), Fault> {
        if let Some(old) = self.value(tree, key)? {
            // A damaged value doesn't say how many follow it.
            let count = chunks::count(&old).ok();
            for number in 1..=count.unwrap_or(u16::MAX) {
                let chunk = trees::chunk(tree, key, number);
                if count.is_none() && self.value(Tree::Chunks, &chunk)?.is_none() {
                    break;
                }
                self.remove(Tree::Chunks, &chunk);
            }
            self.remove(tree, key);
        }
        Ok(())
    }

    /// Shows the keys of a tree that begin with `prefix`, in no order.
    pub(super) fn each(
        &self,
        tree: Tree,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let end = trees::after_prefix(prefix);
        let to = if end.is_empty() { Bound::Unbounded } else { Bound::Excluded(&*end) };
        let written = self.writes.get(&tree);
        for entry in self.engine.range(tree, Bound::Included(prefix), to) {
            let (key, _) = entry?;
            if !written.is_some_and(|written| written.contains_key(&*key)) {
                visit(&key)?;
            }
        }
        let is_there = |(key, value): &(&Vec<u8>, &Option<Vec<u8>>)| {
            key.starts_with(prefix) && value.is_some()
        };
        written.into_iter().flatten().filter(is_there).try_for_each(|(key, _)| visit(key))
    }

    /// Lists the first keys of a tree in a range, in order; at most `limit`.
    pub(super) fn first(
        &self,
        tree: Tree,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, Fault> {
        let written = self.writes.get(&tree);
        let mut first = Vec::new();
        for entry in self.engine.range(tree, Bound::Included(from), Bound::Excluded(to)) {
            if first.len() == limit {
                break;
            }
            let (key, _) = entry?;
            if !written.is_some_and(|written| written.contains_key(&*key)) {
                first.push(key.to_vec());
            }
        }
        let range = (Bound::Included(from), Bound::Excluded(to));
        let written = written.map(|written| written.range::<[u8], _>(range));
        first.extend(
            written
                .into_iter()
                .flatten()
                .filter(|(_, value)| value.is_some())
                .map(|(key, _)| key.clone()),
        );
        first.sort_unstable();
        first.truncate(limit);
        Ok(first)
    }

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
            self.put_record(Tree::Keys, &trees::key(key.id), &encode_key(key)?)?;
        }
        Ok(())
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
        self.put_record(Tree::Events, &trees::event(sequence), &encode_event(event)?)?;
        leads::of_event(event).iter().for_each(|(tree, lead)| self.put(*tree, lead, &[]));
        self.put_number(trees::LAST_EVENT, sequence);
        Ok(())
    }

    /// Removes an event with all by which it is found. What leads to a damaged one stays.
    pub(super) fn remove_event(
        &mut self,
        sequence: u64,
        event: Option<&Event>,
    ) -> Result<(), Fault> {
        self.remove_record(Tree::Events, &trees::event(sequence))?;
        let leads = event.map(leads::of_event).unwrap_or_default();
        leads.iter().for_each(|(tree, lead)| self.remove(*tree, lead));
        Ok(())
    }

    pub(super) fn store_usage(
        &mut self,
        of: &UsageSubject,
        usage: Option<&Usage>,
    ) -> Result<(), Fault> {
        let key = trees::usage(of);
        match usage {
            // Never so long that it has chunks.
            Some(usage) => {
                let head = chunks::split(Tree::Usage, &key, &encode_usage(usage)?)?.0;
                self.put(Tree::Usage, &key, &head);
            }
            None => self.remove(Tree::Usage, &key),
        }
        Ok(())
    }

    pub(super) fn number(&self, name: &[u8]) -> Result<u64, Fault> {
        number(self.value(Tree::StoreMetadata, name)?.as_deref())
    }

    pub(super) fn put_number(&mut self, name: &[u8], number: u64) {
        self.put(Tree::StoreMetadata, name, &number.to_be_bytes());
    }
}

impl Values for Overlay<'_> {
    fn value(&self, tree: Tree, key: &[u8]) -> Result<Option<IVec>, Fault> {
        match self.writes.get(&tree).and_then(|entries| entries.get(key)) {
            Some(value) => Ok(value.as_deref().map(IVec::from)),
            None => self.engine.value(tree, key),
        }
    }
}

/// Maps a fault to the error of a commit, the one operation that uses a transaction.
fn told<T>(result: Result<T, Fault>) -> Result<T, BackendError> {
    result.map_err(|fault| fault.during("commit"))
}

impl Transaction for Overlay<'_> {
    fn metadata(&mut self) -> Result<Option<StoreMetadata>, BackendError> {
        let stored = chunks::load(self, Tree::StoreMetadata, trees::STORE);
        told(stored.and_then(|stored| stored.map(|stored| decode_metadata(&stored)).transpose()))
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

    fn each_key(&mut self, visit: &mut dyn FnMut(KeyRecord)) -> Result<(), BackendError> {
        told(self.each(Tree::Keys, &[], &mut |key| {
            let id = trees::key_in(key).ok_or(Fault::damaged("a key has no id"))?;
            load_key(self, id)?.into_iter().for_each(&mut *visit);
            Ok(())
        }))
    }

    fn each_owner(&mut self, visit: &mut dyn FnMut(OwnerRecord)) -> Result<(), BackendError> {
        told(self.each(Tree::Owners, &[], &mut |key| {
            let id = trees::owner_in(key).ok_or(Fault::damaged("an owner has no id"))?;
            load_owner(self, &id)?.into_iter().for_each(&mut *visit);
            Ok(())
        }))
    }

    fn put_metadata(&mut self, metadata: &StoreMetadata) -> Result<(), BackendError> {
        told(encode_metadata(metadata))
            .and_then(|record| told(self.put_record(Tree::StoreMetadata, trees::STORE, &record)))
    }

    fn put_owner(
        &mut self,
        before: Option<&OwnerRecord>,
        after: Option<&OwnerRecord>,
    ) -> Result<(), BackendError> {
        told(match (before, after) {
            (_, Some(owner)) => encode_owner(owner)
                .and_then(|record| self.put_record(Tree::Owners, trees::owner(&owner.id), &record)),
            (Some(owner), None) => self.remove_record(Tree::Owners, trees::owner(&owner.id)),
            (None, None) => Ok(()),
        })
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
        told(
            encode_quarantine(entry).and_then(|record| {
                self.put_record(Tree::Quarantine, &trees::key(entry.id), &record)
            }),
        )
    }

    fn remove_damaged_key(&mut self, id: KeyId) -> Result<(), BackendError> {
        told(self.remove_key(id))
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
