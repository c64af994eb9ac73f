//! The index as the store uses it: searches for readers; removals and marks for the writer.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::counts::Counts;
use super::entry::{Entry, Packed};
use super::hash_table::ReadVersion;
use super::hash_table::slot::{Words, hash_of};
use super::hash_table::table::{Probe, Table, TableFull, Writer};
use super::interned::{OwnerFlags, Owners};
use super::limits::DroppedLease;
use super::limits::limit_table::{LimitTable, LimitWriter, LimitsFull};
use super::owner_numbers::{OwnerNumbers, OwnerState};
use super::packing::ShortOwner;
use super::sets::{SetNumbers, Sets};
use super::stale::StaleOwners;
use crate::backend::{ScannedOwner, UsageSubject};
use crate::clock::{Clock, Timestamp};
use crate::id::{KeyId, OwnerId};
use crate::key::{PepperCheck, PepperNumber, StoreMetadata, TokensValidFrom};
use crate::permission::Catalogue;
use crate::store::types::reserved::OwnerRef;

/// An owner without its number, whose keys stay until this is dropped.
#[derive(Debug)]
pub(in crate::store) struct DetachedOwner<'a> {
    index: &'a Index,
    state: OwnerState,
}

/// All live tokens, by their keys' ids.
pub(in crate::store) struct Index {
    pub(super) table: Table,
    pub(super) owners: Owners,
    pub(super) sets: Sets,
    pub(super) limits: LimitTable,
    pub(super) catalogue: Catalogue,
    /// The open peppers in their order; a slot names one by its position.
    pub(super) peppers: Vec<PepperNumber>,
    pub(super) clock: Arc<dyn Clock>,
    likely_pepper: AtomicU8,
    /// One writer at a time: all orderings of the index rely on it. Readers never take the lock.
    writer: Mutex<IndexWriter>,
}

/// A search that has begun.
#[derive(Debug)]
pub(in crate::store) struct Search<'a>(Option<Probe<'a>>);

impl Search<'_> {
    /// Passes the entries under the id to `visit`, until that returns an answer.
    #[inline]
    pub(in crate::store) fn find<B>(
        self,
        mut visit: impl FnMut(&Packed<'_>) -> Option<B>,
    ) -> Option<B> {
        self.0?.find(|found| visit(&Packed(*found)))
    }
}

#[derive(Debug, Default)]
pub(super) struct IndexWriter {
    pub(super) table: Writer,
    pub(super) owners: OwnerNumbers,
    pub(super) sets: SetNumbers,
    pub(super) limits: LimitWriter,
    /// The store's own invalidation of tokens.
    pub(super) tokens_valid_from: Option<TokensValidFrom>,
    /// The retired peppers.
    pub(super) retired: Vec<PepperCheck>,
    /// The latest time by which a token was found to be over.
    pub(super) latest: Option<Timestamp>,
    pub(super) counts: Counts,
    pub(super) stale: StaleOwners,
    /// The last error of the round in which the walk fills stale slots again.
    pub(super) failed: Option<IndexError>,
    /// The rests of the leases of quotas that were replaced, until they are given back.
    pub(super) dropped: Vec<(UsageSubject, DroppedLease)>,
}

impl IndexWriter {
    /// Counts an entry that was put.
    pub(super) fn add(&mut self, words: &Words) {
        self.counts.add(words);
        self.sets.retain(Entry::unpack(words).set);
    }

    /// Counts an entry that was removed, and releases its set.
    pub(super) fn remove(&mut self, sets: &Sets, words: &Words) {
        self.counts.remove(words);
        self.sets.release(sets, Entry::unpack(words).set);
    }
}

/// A token can't be indexed. Its verification answers that the store is unavailable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::store) enum IndexError {
    #[error("the index is at its limit")]
    Full,
    #[error("the owner of a key is missing")]
    OwnerMissing,
    #[error("a key is newer than what is known of its owner")]
    OwnerOutdated,
    #[error("pepper {0} is needed by a live token and not open")]
    PepperMissing(u16),
}

impl From<TableFull> for IndexError {
    fn from(_: TableFull) -> Self {
        Self::Full
    }
}

impl From<LimitsFull> for IndexError {
    fn from(_: LimitsFull) -> Self {
        Self::Full
    }
}

impl fmt::Debug for Index {
    /// Shows no contents: digests lie there as words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index").finish_non_exhaustive()
    }
}

impl Drop for DetachedOwner<'_> {
    fn drop(&mut self) {
        self.index.remove_owner_parts(&mut self.index.lock(), self.state);
    }
}

/// The readers' side, which takes no lock.
impl Index {
    pub(in crate::store) fn new(
        catalogue: Catalogue,
        peppers: Vec<PepperNumber>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let mut writer = IndexWriter::default();
        let table = Table::new(&mut writer.table);
        let (owners, sets) = (Owners::new(), Sets::new());
        let (likely_pepper, writer) = (AtomicU8::new(0), Mutex::new(writer));
        let limits = LimitTable::new();
        Self { table, owners, sets, limits, catalogue, peppers, clock, likely_pepper, writer }
    }

    pub(in crate::store) fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Begins a search for an id. Slots and limits are on their way while the caller hashes the
    /// token.
    // `inline(always)`: otherwise the compiler returns `Search` through memory.
    #[inline(always)]
    pub(in crate::store) fn search(&self, id: KeyId) -> Search<'_> {
        let hash = hash_of(id.as_u128());
        let probe = self.table.probe(hash);
        self.limits.prefetch_bucket(hash);
        Search(probe)
    }

    /// Returns the position of the pepper under which most tokens lie.
    #[inline]
    pub(in crate::store) fn likely_pepper(&self) -> u8 {
        // Relaxed: a guess, which costs one more hash if it is wrong.
        self.likely_pepper.load(Ordering::Relaxed)
    }

    /// Returns the id of an entry's owner: the short one if it is known, otherwise by the owner's number.
    /// `None` if the entry was replaced meanwhile.
    // `inline(always)`: otherwise the compiler copies the id once more.
    #[inline(always)]
    pub(in crate::store) fn owner(
        &self,
        number: u32,
        short: Option<ShortOwner>,
        slot: ReadVersion<'_>,
    ) -> Option<OwnerId> {
        if let Some(short) = short {
            return Some(OwnerId::from_padded(short));
        }
        let id = self.owners.id(number)?;
        // Otherwise the number may have been another owner's when its id was read.
        slot.validate().then_some(id)
    }

    /// Returns the id of an owner, if the number is still its own.
    pub(in crate::store) fn owner_by(&self, owner: OwnerRef) -> Option<OwnerId> {
        self.owners.id_of(owner)
    }

    /// Returns the owner that has this number now. It is an entry's owner if the slot is still the same
    /// afterwards.
    #[cold]
    pub(in crate::store) fn owner_ref(&self, number: u32) -> Option<OwnerRef> {
        self.owners.reference(number)
    }

    /// Returns the owner of an indexed key.
    pub(in crate::store) fn owner_of(&self, id: KeyId) -> Option<OwnerId> {
        let (id, word) = self.search(id).find(|packed| {
            let entry = packed.judged_at(Timestamp::MIN)?;
            let word = self.owners.word(entry.owner)?;
            let id = self.owner(entry.owner, entry.short_owner, packed.seen())?;
            // Otherwise the word may be another owner's.
            packed.seen().validate().then_some((id, word))
        })?;
        (!OwnerFlags::from_word(word).gone).then_some(id)
    }

    /// Whether a new key of this id would share its hash with another key.
    pub(in crate::store) fn has_hash(&self, id: KeyId) -> bool {
        self.search(id).find(|_| Some(())).is_some()
    }
}

/// The writer's side, which takes the lock.
impl Index {
    /// Returns the number of indexed tokens. Those of owners that were removed are none, though their
    /// slots are still to be emptied.
    pub(in crate::store) fn tokens(&self) -> usize {
        let writer = self.lock();
        let gone = writer.stale.gone().map(|owner| writer.counts.of_owner(owner) as usize);
        writer.counts.by_pepper.iter().sum::<usize>() - gone.sum::<usize>()
    }

    /// Sets the store's own invalidations of tokens, for keys that are put from now on.
    pub(in crate::store) fn set_invalidations(&self, metadata: &StoreMetadata) {
        let mut writer = self.lock();
        writer.tokens_valid_from = metadata.tokens_valid_from;
        writer.retired = metadata.retired_peppers().cloned().collect();
    }

    /// Clears the flags that no longer hold for an owner's keys.
    pub(in crate::store) fn clear_owner_flags(&self, owner: &ScannedOwner) {
        let writer = self.lock();
        let Some(state) = writer.owners.get(&self.owners, &owner.id) else { return };
        self.change_flags(state.number, |flags| {
            flags.suspended = owner.suspended;
            flags.indeterminate = false;
        });
    }

    /// Changes the flags of an owner that has a number. For the writer.
    pub(super) fn change_flags(&self, owner: u32, change: impl FnOnce(&mut OwnerFlags)) {
        let mut flags = OwnerFlags::from_word(self.owners.word(owner).unwrap_or_default());
        change(&mut flags);
        // It fails for a number that was never given.
        let _ = self.owners.set_flags(owner, flags.bits());
    }

    /// Whether the index has an owner, and has it suspended.
    pub(in crate::store) fn is_suspended(&self, id: &OwnerId) -> bool {
        let writer = self.lock();
        let word =
            writer.owners.get(&self.owners, id).and_then(|owner| self.owners.word(owner.number));
        word.is_some_and(|word| OwnerFlags::from_word(word).suspended)
    }

    /// Removes an owner. From now on none of its keys is there.
    pub(in crate::store) fn remove_owner(&self, id: &OwnerId) {
        let mut guard = self.lock();
        let writer = &mut *guard;
        if let Some(state) = writer.owners.remove(&self.owners, id) {
            writer.stale.end_unread(id);
            self.remove_owner_parts(writer, state);
        }
    }

    /// Takes its number from an owner. An owner that is put under the id from now on gets another one:
    /// this one isn't free while a slot names it, nor before what is returned is dropped, and until then
    /// its keys stay.
    pub(in crate::store) fn detach_owner(&self, id: &OwnerId) -> Option<DetachedOwner<'_>> {
        let mut writer = self.lock();
        let state = writer.owners.remove(&self.owners, id)?;
        writer.stale.end_unread(id);
        Some(DetachedOwner { index: self, state })
    }

    fn remove_owner_parts(&self, writer: &mut IndexWriter, state: OwnerState) {
        // Before its limits end: a use that finds none would not be counted.
        self.change_flags(state.number, |flags| flags.gone = true);
        self.remove_owner_limits(writer, state.number);
        writer.sets.release(&self.sets, state.max_access);
        if writer.counts.of_owner(state.number) == 0 {
            return self.free_owner(writer, state.number);
        }
        writer.stale.add(state.number, None);
        // Rules name the set of the maximum access, which may be another set's number next.
        let stale = self.owners.stale(state.number);
        if !stale.is_none() {
            self.owners.set_stale(state.number, stale.with_max_access(0));
        }
    }

    /// Frees the number of an owner that is gone. No slot names it.
    pub(super) fn free_owner(&self, writer: &mut IndexWriter, number: u32) {
        writer.stale.remove(number);
        // A number that a slot names all the same is lost, not given to another owner.
        if writer.counts.of_owner(number) == 0 {
            writer.owners.release(&self.owners, number);
        }
    }

    /// Whether an owner has a limit record.
    pub(super) fn has_owner_limits(&self, owner: u32) -> bool {
        self.owners.word(owner).and_then(Owners::record_of).is_some()
    }

    fn remove_owner_limits(&self, writer: &mut IndexWriter, owner: u32) {
        let record = self.owners.word(owner).and_then(Owners::record_of);
        if let Some(record) = record
            && self.owners.set_record(owner, None).is_some()
        {
            self.limits.release_owner(&mut writer.limits, record);
        }
    }

    /// Removes a key.
    pub(in crate::store) fn remove_key(
        &self,
        id: KeyId,
        owner: &OwnerId,
    ) -> Result<(), IndexError> {
        let mut guard = self.lock();
        let writer = &mut *guard;
        let owner = writer.owners.get(&self.owners, owner).map(|owner| owner.number);
        self.replace(writer, id, owner, &[])
    }

    /// Removes a key of whatever owner, and with it any that shares its hash.
    pub(in crate::store) fn remove_everywhere(&self, id: KeyId) {
        // Without new entries nothing can be too much.
        let _ = self.replace(&mut self.lock(), id, None, &[]);
    }

    /// Marks an owner indeterminate: from now on the store can't answer for it.
    pub(in crate::store) fn mark_owner_indeterminate(&self, id: &OwnerId) {
        let writer = self.lock();
        if let Some(owner) = writer.owners.get(&self.owners, id) {
            self.set_indeterminate(owner.number);
        }
    }

    /// Marks a key indeterminate: from now on the store can't answer for it.
    pub(in crate::store) fn mark_key_indeterminate(&self, id: KeyId, owner: &OwnerId) {
        let mut guard = self.lock();
        let writer = &mut *guard;
        let Some(state) = writer.owners.get(&self.owners, owner) else { return };
        let contents = self.table.contents(hash_of(id.as_u128()));
        let indeterminate: Vec<Words> = contents
            .iter()
            .map(Entry::unpack)
            .filter(|entry| entry.owner == state.number)
            .map(|entry| Entry { is_indeterminate: true, ..entry }.pack())
            .collect();
        if self.replace(writer, id, Some(state.number), &indeterminate).is_err() {
            // There is no room to mark the key alone.
            self.set_indeterminate(state.number);
        }
    }

    fn set_indeterminate(&self, owner: u32) {
        self.change_flags(owner, |flags| flags.indeterminate = true);
    }

    /// Removes all keys and owners that aren't among these.
    pub(in crate::store) fn retain(&self, keys: &BTreeSet<KeyId>, owners: &BTreeSet<OwnerId>) {
        let mut guard = self.lock();
        let writer = &mut *guard;
        let hashes: HashSet<u64> = keys.iter().map(|id| hash_of(id.as_u128())).collect();
        let mut gone = Vec::new();
        let IndexWriter { table, counts, sets, .. } = &mut *writer;
        self.table.retain(
            table,
            |hash| hashes.contains(&hash),
            |words| {
                counts.remove(words);
                sets.release(&self.sets, Entry::unpack(words).set);
                if Entry::unpack(words).limited.is_some() {
                    gone.push(*words);
                }
            },
        );
        self.release_records(writer, gone.iter(), &[]);
        for (id, state) in writer.owners.retain(&self.owners, |id| owners.contains(id)) {
            writer.stale.end_unread(&id);
            self.remove_owner_parts(writer, state);
        }
    }

    /// Replaces the entries of a key.
    ///
    /// Two keys may share a hash by chance (one pair in 2^45). The owner's number tells most such
    /// pairs apart, and the store draws another id for a new key that would make one. Without a
    /// known owner, all entries under the hash go: a key that is missing is rejected.
    pub(super) fn replace(
        &self,
        writer: &mut IndexWriter,
        id: KeyId,
        owner: Option<u32>,
        entries: &[Words],
    ) -> Result<(), IndexError> {
        let is_old = |words: &Words| owner.is_none_or(|owner| Entry::unpack(words).owner == owner);
        self.replace_where(writer, hash_of(id.as_u128()), entries, is_old)?;
        self.note_likely_pepper(writer);
        Ok(())
    }

    /// Replaces those entries under a hash for which `is_old` holds.
    pub(super) fn replace_where(
        &self,
        writer: &mut IndexWriter,
        hash: u64,
        entries: &[Words],
        is_old: impl Fn(&Words) -> bool,
    ) -> Result<(), IndexError> {
        let mut gone = self.table.contents(hash);
        gone.retain(&is_old);
        self.table.replace(&mut writer.table, hash, entries, is_old)?;
        entries.iter().for_each(|words| writer.add(words));
        // After the new entries, which may name the same sets.
        gone.iter().for_each(|words| writer.remove(&self.sets, words));
        self.release_records(writer, gone.iter(), entries);
        Ok(())
    }

    /// Releases the limit records that the entries `gone` named, unless entries name them now.
    fn release_records<'a>(
        &self,
        writer: &mut IndexWriter,
        gone: impl Iterator<Item = &'a Words>,
        entries: &[Words],
    ) {
        let record = |words: &Words| Entry::unpack(words).limited?.record;
        let mut gone: Vec<u32> = gone.filter_map(record).collect();
        if gone.is_empty() {
            return;
        }
        gone.sort_unstable();
        gone.dedup();
        gone.retain(|number| entries.iter().all(|words| record(words) != Some(*number)));
        gone.into_iter().for_each(|number| self.limits.release_key(&mut writer.limits, number));
    }

    /// Returns the number of a key's limit record. The lock is held.
    pub(super) fn key_record(&self, id: KeyId, owner: Option<u32>) -> Option<u32> {
        let contents = self.table.contents(hash_of(id.as_u128()));
        let mut entries = contents.iter().map(Entry::unpack);
        let own = entries.find(|entry| owner.is_none_or(|owner| entry.owner == owner))?;
        own.limited?.record
    }

    pub(super) fn note_likely_pepper(&self, writer: &IndexWriter) {
        let likely =
            (0..).zip(writer.counts.by_pepper).max_by_key(|(at, tokens)| (*tokens, u8::MAX - at));
        // Relaxed, as where it is loaded.
        self.likely_pepper.store(likely.map_or(0, |(at, _)| at), Ordering::Relaxed);
    }

    /// Returns the parts of an index that no other thread has.
    pub(super) fn parts(&mut self) -> (&Table, &mut LimitTable, &mut IndexWriter) {
        let writer = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner);
        (&self.table, &mut self.limits, writer)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, IndexWriter> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
