//! The index as the store uses it: keys and owners in, entries out.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::entry::{Entry, Packed, ShortOwner};
use super::hash_table::slot::{Words, tag_of};
use super::hash_table::table::{Probe, Table, Writer};
use super::interned::{OwnerNumbers, Owners, SetNumbers, Sets};
use super::limits::read::{LineNumbers, Lines};
use crate::backend::ScannedOwner;
use crate::clock::{Clock, Timestamp};
use crate::id::{KeyId, OwnerId};
use crate::key::PepperNumber;
use crate::permission::{Catalogue, PermissionSet};
use crate::token::Peppers;

/// What holds for all keys of an owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::store) struct OwnerFlags {
    /// None of its keys is accepted.
    pub(in crate::store) suspended: bool,
    /// The last change of the owner has an unknown outcome.
    pub(in crate::store) indeterminate: bool,
    /// Its keys are limited together.
    pub(in crate::store) limited: bool,
}

/// What putting an owner has led to.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct PutOwner {
    /// Its keys must be put again: their tokens are cut by what changed.
    pub(in crate::store) narrows: bool,
    /// Something no longer stands against its keys.
    pub(in crate::store) unblocks: bool,
}

/// Every live token, by its key's id.
pub(in crate::store) struct Index {
    pub(super) table: Table,
    pub(super) owners: Owners,
    pub(super) sets: Sets,
    pub(super) lines: Lines,
    pub(super) catalogue: Catalogue,
    /// The open peppers in their order; a slot names one by its position.
    pub(super) peppers: Vec<PepperNumber>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) likely_pepper: AtomicU8,
    writer: Mutex<IndexWriter>,
}

/// A search that was begun.
#[derive(Debug)]
pub(in crate::store) struct Search<'a>(Option<Probe<'a>>);

impl Search<'_> {
    /// Shows the entries under the id, until `visit` breaks with an answer.
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
    pub(super) lines: LineNumbers,
    /// The store's own issue mark.
    pub(super) tokens_valid_from: Option<Timestamp>,
    /// The latest time by which a token was found to be over.
    pub(super) latest: Option<Timestamp>,
    /// How many tokens are in it, by the position of their pepper.
    pub(super) tokens: [usize; Peppers::MAX_OPEN],
}

/// A token can't be indexed; who presents it is told that the store can't answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::store) enum IndexError {
    #[error("the index is at its limit")]
    Full,
    #[error("the owner of a key is missing")]
    OwnerMissing,
    #[error("pepper {0} is needed by a live token and not open")]
    PepperMissing(u16),
}

impl OwnerFlags {
    pub(super) fn bits(self) -> u8 {
        u8::from(self.suspended) | u8::from(self.indeterminate) << 1
    }

    #[inline]
    fn from_word(word: u32) -> Self {
        let bits = Owners::flags_of(word);
        let limited = Owners::limiter_of(word).is_some();
        Self { suspended: bits & 1 == 1, indeterminate: bits & 2 == 2, limited }
    }
}

impl fmt::Debug for Index {
    /// Shows nothing of what is in it: digests lie there as words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index").finish_non_exhaustive()
    }
}

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
        let lines = Lines::new();
        Self { table, owners, sets, lines, catalogue, peppers, clock, likely_pepper, writer }
    }

    pub(in crate::store) fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Begins to look for an id; what it will find is on its way while the token is hashed.
    #[inline]
    pub(in crate::store) fn search(&self, id: KeyId) -> Search<'_> {
        let tag = tag_of(id.as_u128());
        let probe = self.table.probe(tag);
        self.prefetch_stretch(tag);
        Search(probe)
    }

    /// The pepper under which most tokens lie, by its position.
    #[inline]
    pub(in crate::store) fn likely_pepper(&self) -> u8 {
        self.likely_pepper.load(Ordering::Relaxed)
    }

    /// What holds for all keys of an owner.
    #[inline]
    pub(in crate::store) fn owner_flags(&self, owner: u32) -> Option<OwnerFlags> {
        Some(OwnerFlags::from_word(self.owners.word(owner)?))
    }

    /// An owner by its number, or by its id, if that is short and known.
    // By force: the id would else be copied once more.
    #[inline(always)]
    pub(in crate::store) fn owner(
        &self,
        number: u32,
        short: Option<ShortOwner>,
    ) -> Option<OwnerId> {
        match short {
            Some(short) => Some(OwnerId::from_padded(short)),
            None => Some(*self.owners.get(number)?.id.get()?),
        }
    }

    /// A permission set by its number.
    #[inline]
    pub(in crate::store) fn set(&self, number: u32) -> PermissionSet {
        self.sets.get(number)
    }

    /// Whether a new key of this id would share its tag with another.
    pub(in crate::store) fn has_tag(&self, id: KeyId) -> bool {
        self.search(id).find(|_| Some(())).is_some()
    }

    /// How many tokens are indexed.
    pub(in crate::store) fn tokens(&self) -> usize {
        self.lock().tokens.iter().sum()
    }

    pub(in crate::store) fn set_tokens_valid_from(&self, mark: Option<Timestamp>) {
        self.lock().tokens_valid_from = mark;
    }

    /// What stands against an owner's keys is this, and nothing else.
    pub(in crate::store) fn clear_owner_flags(&self, owner: &ScannedOwner) {
        let writer = self.lock();
        let flags = OwnerFlags { suspended: owner.suspended, ..OwnerFlags::default() }.bits();
        // An owner that was put has a number, and a number that was given has a place.
        let _ = writer
            .owners
            .get(&owner.id)
            .and_then(|state| self.owners.set_flags(state.number, flags));
    }

    /// Forgets an owner whose keys are gone.
    pub(in crate::store) fn remove_owner(&self, id: &OwnerId) {
        let mut guard = self.lock();
        let writer = &mut *guard;
        if let Some(state) = writer.owners.remove(id) {
            self.end_owner_limits(writer, state.number);
        }
    }

    /// Takes a key away.
    pub(in crate::store) fn remove_key(
        &self,
        id: KeyId,
        owner: &OwnerId,
    ) -> Result<(), IndexError> {
        let mut guard = self.lock();
        let writer = &mut *guard;
        let owner = writer.owners.get(owner).map(|owner| owner.number);
        self.replace(writer, id, owner, &[])
    }

    /// From now on the store can't answer for this owner.
    pub(in crate::store) fn mark_owner_indeterminate(&self, id: &OwnerId) {
        let writer = self.lock();
        if let Some(owner) = writer.owners.get(id) {
            self.set_indeterminate(owner.number);
        }
    }

    /// From now on the store can't answer for this key.
    pub(in crate::store) fn mark_key_indeterminate(&self, id: KeyId, owner: &OwnerId) {
        let mut guard = self.lock();
        let writer = &mut *guard;
        let Some(state) = writer.owners.get(owner) else { return };
        let contents = self.table.contents(tag_of(id.as_u128()));
        let indeterminate: Vec<Words> = contents
            .iter()
            .map(Entry::unpack)
            .filter(|entry| entry.owner == state.number)
            .map(|entry| Entry { is_indeterminate: true, ..entry }.pack())
            .collect();
        if self.replace(writer, id, Some(state.number), &indeterminate).is_err() {
            // No room to say it of the key alone.
            self.set_indeterminate(state.number);
        }
    }

    fn set_indeterminate(&self, owner: u32) {
        let flags = OwnerFlags::from_word(self.owners.word(owner).unwrap_or_default());
        // It fails for a number that was never given.
        let _ = self.owners.set_flags(owner, OwnerFlags { indeterminate: true, ..flags }.bits());
    }

    /// Takes away every key and owner that isn't among these.
    pub(in crate::store) fn retain(&self, keys: &BTreeSet<KeyId>, owners: &BTreeSet<OwnerId>) {
        let mut guard = self.lock();
        let writer = &mut *guard;
        let tags: HashSet<u64> = keys.iter().map(|id| tag_of(id.as_u128())).collect();
        let mut gone = Vec::new();
        self.table.retain(
            &writer.table,
            |tag| tags.contains(&tag),
            |words| {
                let entry = Entry::unpack(words);
                writer.tokens[usize::from(entry.pepper)] -= 1;
                if entry.limited.is_some() {
                    gone.push(*words);
                }
            },
        );
        self.free_lines(writer, gone.iter(), &[]);
        for state in writer.owners.retain(|id| owners.contains(id)) {
            self.end_owner_limits(writer, state.number);
        }
    }

    /// Two keys may share a tag by chance (one pair in 2^45); the owner's number tells most such
    /// pairs apart, and the store draws another id for a new key that would make one. Of an owner
    /// that isn't known any more, everything under the tag goes: who is left out is refused.
    pub(super) fn replace(
        &self,
        writer: &mut IndexWriter,
        id: KeyId,
        owner: Option<u32>,
        entries: &[Words],
    ) -> Result<(), IndexError> {
        let tag = tag_of(id.as_u128());
        let is_old = |words: &Words| owner.is_none_or(|owner| Entry::unpack(words).owner == owner);
        let gone = self.table.contents(tag);
        self.table
            .replace(&mut writer.table, tag, entries, is_old)
            .map_err(|_| IndexError::Full)?;
        let pepper = |words: &Words| usize::from(Entry::unpack(words).pepper);
        entries.iter().for_each(|words| writer.tokens[pepper(words)] += 1);
        gone.iter().filter(|w| is_old(w)).for_each(|words| writer.tokens[pepper(words)] -= 1);
        self.free_lines(writer, gone.iter().filter(|w| is_old(w)), entries);
        self.note_likely_pepper(writer);
        Ok(())
    }

    pub(super) fn note_likely_pepper(&self, writer: &IndexWriter) {
        let likely = (0..).zip(writer.tokens).max_by_key(|(at, tokens)| (*tokens, u8::MAX - at));
        self.likely_pepper.store(likely.map_or(0, |(at, _)| at), Ordering::Relaxed);
    }

    /// What there is to change, while nobody else has the index.
    pub(super) fn parts(&mut self) -> (&mut Table, &mut Lines, &mut IndexWriter) {
        let writer = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner);
        (&mut self.table, &mut self.lines, writer)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, IndexWriter> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
