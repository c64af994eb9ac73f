//! Loading: records into the index, one that changed, or all of them when a store is opened.

use std::collections::BTreeSet;
use std::sync::MutexGuard;

use super::entry::{Entry, Limited};
use super::hash_table::group::ProbeSequence;
use super::hash_table::slot::{Words, hash_of};
use super::index::{Index, IndexError, IndexWriter};
use super::interned::{OwnerFlags, Owners};
use super::limits::limit_table::{WrittenLimits, not_before_of};
use super::owner_numbers::{OwnerRules, OwnerState};
use crate::backend::{ScannedKey, ScannedOwner, UsageSubject};
use crate::clock::Timestamp;
use crate::id::{KeyId, OwnerId};
use crate::key::{Invalidations, Kind, Limits, ValidityInputs};
use crate::permission::{Access, Pattern, PermissionSet};

/// The most lists of permissions that a memo holds.
const REMEMBERED: usize = 64;
/// The most patterns that match nothing that a memo holds.
const UNMATCHED: usize = 64;

/// Results for the records before, which often hold for the next.
#[derive(Debug, Default)]
pub(in crate::store) struct Memo {
    /// The sets that lists of permissions were compiled to.
    granted: Vec<Compiled>,
    /// The patterns of keys that match nothing.
    unmatched: BTreeSet<Pattern>,
    /// The last set that was cut by a maximum access, the number of that access, and the number of
    /// the result. They hold until a number is freed.
    cut: Option<(PermissionSet, Option<u32>, u32, u64)>,
    /// The entries of one key.
    entries: Vec<Words>,
}

/// A list of permissions.
#[derive(Debug)]
struct Compiled {
    access: Access,
    set: PermissionSet,
    /// Its patterns that match nothing, until they are noted.
    unmatched: Vec<Pattern>,
}

impl Memo {
    /// Returns the patterns that match no permission, of the keys that were put.
    pub(in crate::store) fn take_unmatched(&mut self) -> BTreeSet<Pattern> {
        std::mem::take(&mut self.unmatched)
    }
}

/// The writer's turn, with the lock. Other writers wait for its end, readers don't.
#[derive(Debug)]
pub(in crate::store) struct Load<'a> {
    pub(super) index: &'a Index,
    pub(super) writer: MutexGuard<'a, IndexWriter>,
    memo: &'a mut Memo,
    /// The latest time by which a token was found to be over.
    latest: Option<Timestamp>,
}

impl Index {
    /// Begins to put records. A memo serves one index only.
    pub(in crate::store) fn load<'a>(&'a self, memo: &'a mut Memo) -> Load<'a> {
        let mut writer = self.lock();
        // A token that was left out as over, for its pepper isn't open, stays so if the clock steps
        // back.
        let latest = writer.latest.max(Some(self.clock.now()));
        writer.latest = latest;
        Load { index: self, writer, memo, latest }
    }

    /// Makes room for so many keys at once, if there are none yet. Otherwise groups would be
    /// rebuilt all the time until there is as much room.
    pub(in crate::store) fn make_room(&self, keys: u64) {
        // If there can't be so much room, the key that finds none fails.
        let _ = self.table.make_room(&mut self.lock().table, keys);
    }

    /// Puts one key: [`Load::put_key`].
    pub(in crate::store) fn put_key(&self, key: &ScannedKey) -> Result<(), IndexError> {
        self.load(&mut Memo::default()).put_key(key)
    }

    /// Relocates the limit records of keys, once, before readers have the index. Without room for
    /// that, the records stay where they are.
    pub(in crate::store) fn relocate_limits(&mut self) {
        let record = |entry: &Entry| entry.limited?.record;
        let (table, limits, writer) = self.parts();
        let Some(mut relocation) = limits.begin_relocation(&writer.limits) else { return };
        let mut named = Vec::new();
        for slots in table.groups() {
            let living = slots.iter().filter_map(|slot| Some((slot.hash()?, slot.contents())));
            named.extend(
                living.filter_map(|(hash, words)| Some((hash, record(&Entry::unpack(&words))?))),
            );
            named.sort_unstable();
            // Tokens of one key name one record.
            named.dedup();
            named.drain(..).for_each(|(hash, record)| relocation.add(hash, record));
        }
        relocation.place_late();
        let slots = table.groups().flat_map(ProbeSequence::iter);
        for slot in slots.filter(|slot| slot.hash().is_some()) {
            let entry = Entry::unpack(&slot.contents());
            let target = record(&entry).and_then(|record| relocation.target(record));
            if let (Some(limited), Some(target)) = (entry.limited, target) {
                let limited = Limited { record: Some(target), ..limited };
                slot.rewrite(&Entry { limited: Some(limited), ..entry }.pack());
            }
        }
        limits.relocate(&mut writer.limits, relocation);
    }
}

impl Drop for Load<'_> {
    fn drop(&mut self) {
        self.index.note_likely_pepper(&self.writer);
    }
}

impl Load<'_> {
    /// Prefetches the slot at which putting a key will begin.
    pub(in crate::store) fn prepare(&self, id: KeyId) {
        self.index.table.prepare(hash_of(id.as_u128()));
    }

    /// Puts an owner, new or changed. If the slots of its keys depend on the change, the records of
    /// the keys count as unread until [`end_unread`](Index::end_unread). New flags hold at once. Returns
    /// whether one no longer holds: the caller clears it by
    /// [`clear_owner_flags`](Index::clear_owner_flags), when the owner's keys have been put.
    pub(in crate::store) fn put_owner(&mut self, owner: &ScannedOwner) -> Result<bool, IndexError> {
        let max_access = self.granted(&owner.max_access);
        // The service's clock may panic: not between the steps below.
        let now = self.index.clock.now();
        let (index, writer) = (self.index, &mut *self.writer);
        let max_access = writer.sets.acquire(&index.sets, max_access).ok_or(IndexError::Full)?;
        let before = writer.owners.get(&index.owners, &owner.id);
        let word_before =
            before.and_then(|before| index.owners.word(before.number)).unwrap_or_default();
        let flags_before = OwnerFlags::from_word(word_before);
        let flags =
            OwnerFlags { suspended: owner.suspended || flags_before.suspended, ..flags_before };
        let ScannedOwner { tokens_valid_from, suspended, .. } = *owner;
        let tokens_valid_from = tokens_valid_from.unwrap_or_default();
        let rules = OwnerRules { max_access, tokens_valid_from, suspended };
        if before.is_some_and(|before| before.differs(rules)) {
            // Before the change: if what follows fails, its keys' slots aren't taken for right.
            writer.stale.add_unread(owner.id);
        }
        let put = writer.owners.put(&index.owners, &owner.id, rules, flags.bits());
        let Some(after) = put else {
            writer.sets.release(&index.sets, max_access);
            return Err(IndexError::Full);
        };
        let stale = index.owners.stale(after.number);
        if !stale.is_none() {
            // The set that it names may be another's number next.
            index.owners.set_stale(after.number, stale.with_max_access(max_access));
        }
        if let Some(before) = before {
            writer.sets.release(&index.sets, before.max_access);
        }
        let written = self.write_owner_limits(after.number, &owner.id, &owner.limits, now);
        if before.is_some() && written.is_err() {
            // The caller doesn't come to leave rules for the slots.
            self.index.change_flags(after.number, |flags| flags.indeterminate = true);
        }
        written?;
        Ok(flags_before.indeterminate || flags_before.suspended && !owner.suspended)
    }

    /// Puts the limits of an owner, which hold at once.
    fn write_owner_limits(
        &mut self,
        owner: u32,
        id: &OwnerId,
        limits: &Limits,
        now: Timestamp,
    ) -> Result<(), IndexError> {
        let (index, writer) = (self.index, &mut self.writer.limits);
        let before = Owners::record_of(index.owners.word(owner).ok_or(IndexError::Full)?);
        let written = index.limits.write_owner(writer, limits, before, now)?;
        if let Some(lease) = written.dropped {
            self.writer.dropped.push((UsageSubject::Owner(*id), lease));
        }
        let writer = &mut self.writer.limits;
        if written.record == before {
            return Ok(());
        }
        if index.owners.set_record(owner, written.record).is_none() {
            if let Some(new) = written.record.filter(|_| written.is_new) {
                index.limits.release_owner(writer, new);
            }
            return Err(IndexError::Full);
        }
        if let Some(before) = before {
            index.limits.release_owner(writer, before);
        }
        Ok(())
    }

    /// Replaces the entries of a key, new or changed.
    pub(in crate::store) fn put_key(&mut self, key: &ScannedKey) -> Result<(), IndexError> {
        let known = self.writer.owners.get(&self.index.owners, &key.owner);
        let owner = known.ok_or(IndexError::OwnerMissing)?;
        if key.current.epochs.owner > owner.tokens_valid_from.epoch {
            // Its token was issued after a change of the owner that isn't known here yet. A rule of
            // that change would take the slot for one of before.
            return Err(IndexError::OwnerOutdated);
        }
        let (limited, written) = self.write_limits(key, owner.number)?;
        let mut entries = std::mem::take(&mut self.memo.entries);
        entries.clear();
        let put = self.set(key, owner).and_then(|set| {
            let packed = self.pack(key, owner, (limited, set), &mut entries);
            let put = packed.and_then(|()| self.put_entries(key.id, owner.number, &entries));
            // The slots have references of their own.
            self.writer.sets.release(&self.index.sets, set);
            put
        });
        if (put.is_err() || entries.is_empty())
            && let Some(new) = written.record.filter(|_| written.is_new)
        {
            self.index.limits.release_key(&mut self.writer.limits, new);
        }
        self.memo.entries = entries;
        put
    }

    /// Writes the limits of a key. The entries must name a new record next, or it must be released.
    fn write_limits(
        &mut self,
        key: &ScannedKey,
        owner: u32,
    ) -> Result<(Option<Limited>, WrittenLimits), IndexError> {
        // A revoked key is never used again.
        let Some(limits) = key.limits.as_deref().filter(|_| !key.revoked) else {
            return Ok((None, WrittenLimits::default()));
        };
        let (index, writer) = (self.index, &mut self.writer.limits);
        let hashed = (hash_of(key.id.as_u128()), &key.owner);
        let before = index.key_record(key.id, Some(owner));
        let written = index.limits.write_key(writer, hashed, limits, before, index.clock.now())?;
        if let Some(lease) = written.dropped {
            self.writer.dropped.push((UsageSubject::Key(key.id), lease));
        }
        let limited = Limited { not_before: not_before_of(limits), record: written.record };
        let is_limited = limited.not_before.is_some() || limited.record.is_some();
        Ok((is_limited.then_some(limited), written))
    }

    /// Packs the entries of a key's tokens.
    fn pack(
        &mut self,
        key: &ScannedKey,
        owner: OwnerState,
        (limited, set): (Option<Limited>, u32),
        entries: &mut Vec<Words>,
    ) -> Result<(), IndexError> {
        let (owners, stores) = (Some(owner.tokens_valid_from), self.writer.tokens_valid_from);
        let peppers = &self.writer.retired;
        let invalidations = Invalidations { owner: owners, store: stores, peppers };
        for (token, ends_at) in key.tokens(invalidations) {
            let number = token.digest.pepper;
            let standing = ValidityInputs { ends_at, ..key.validity_inputs() };
            let Some(pepper) = self.index.peppers.iter().position(|open| *open == number) else {
                // A token that is over for good needs no pepper: it is rejected as unknown.
                let is_over = standing.revoked || ends_at.is_some_and(|at| Some(at) <= self.latest);
                if is_over {
                    continue;
                }
                return Err(IndexError::PepperMissing(number.get()));
            };
            let entry = Entry {
                digest: Entry::cut(token.digest.expose()),
                owner: owner.number,
                epoch: owner.epoch,
                short_owner: key.owner.padded().filter(|_| limited.is_none()),
                limited,
                set,
                generation: token.generation.get(),
                // At most 4 are open.
                #[allow(clippy::cast_possible_truncation)]
                pepper: pepper as u8,
                prefix: token.digest.prefix.get(),
                kind: key.kind,
                is_current: token.generation == key.current.generation,
                is_indeterminate: false,
                standing,
            };
            entries.push(entry.pack());
        }
        Ok(())
    }

    /// Puts the entries of a key. Most keys are new, and replace nothing.
    fn put_entries(&mut self, id: KeyId, owner: u32, entries: &[Words]) -> Result<(), IndexError> {
        let writer = &mut *self.writer;
        if !self.index.table.add(&mut writer.table, hash_of(id.as_u128()), entries)? {
            return self.index.replace(writer, id, Some(owner), entries);
        }
        entries.iter().for_each(|words| writer.add(words));
        Ok(())
    }

    /// Acquires the number of a key's permission set, cut by its owner's maximum access.
    fn set(&mut self, key: &ScannedKey, owner: OwnerState) -> Result<u32, IndexError> {
        let granted = self.granted_to_key(key);
        if key.revoked || key.blocked || key.deactivated {
            // It may do nothing as it is, and can be shown if there is no number left. A change that
            // opens it again puts it again.
            return Ok(0);
        }
        let max_access = match key.kind {
            Kind::Standard => Some(owner.max_access),
            Kind::Trial => None,
        };
        let (sets, numbers) = (&self.index.sets, &mut self.writer.sets);
        if let Some((set, cut_by, number, freed)) = self.memo.cut
            && (set, cut_by, freed) == (granted, max_access, numbers.freed())
        {
            numbers.retain(number);
            return Ok(number);
        }
        let cut =
            max_access.map_or(granted, |max_access| granted.intersection(&sets.get(max_access)));
        let number = numbers.acquire(sets, cut).ok_or(IndexError::Full)?;
        self.memo.cut = Some((granted, max_access, number, numbers.freed()));
        Ok(number)
    }

    /// Compiles the access of a key, and notes what of it matches nothing.
    fn granted_to_key(&mut self, key: &ScannedKey) -> PermissionSet {
        if key.revoked {
            return PermissionSet::EMPTY;
        }
        let Some(at) = self.remembered(&key.access) else {
            return key.access.compile(&self.index.catalogue);
        };
        let Memo { granted, unmatched, .. } = &mut *self.memo;
        let room = UNMATCHED.saturating_sub(unmatched.len());
        unmatched.extend(granted[at].unmatched.drain(..).take(room));
        granted[at].set
    }

    /// Compiles an access. A list is compiled once for many keys.
    pub(super) fn granted(&mut self, access: &Access) -> PermissionSet {
        match self.remembered(access) {
            Some(at) => self.memo.granted[at].set,
            None => access.compile(&self.index.catalogue),
        }
    }

    /// Returns the place of a list in the memo; `None` if it is no list.
    fn remembered(&mut self, access: &Access) -> Option<usize> {
        let catalogue = &self.index.catalogue;
        let Access::Limited(_) = access else { return None };
        let known = &mut self.memo.granted;
        if let Some(at) = known.iter().position(|known| known.access == *access) {
            return Some(at);
        }
        let set = access.compile(catalogue);
        let unmatched = access.unmatched(catalogue).cloned().collect();
        if known.len() == REMEMBERED {
            known.clear();
        }
        known.push(Compiled { access: access.clone(), set, unmatched });
        Some(known.len() - 1)
    }
}
