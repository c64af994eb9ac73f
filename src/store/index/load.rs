//! Records into the index: one that changed, or all of them when a store is opened.

use std::sync::MutexGuard;

use super::entry::Entry;
use super::hash_table::slot::{Words, tag_of};
use super::interned::{OwnerState, Owners};
use super::limits::write::PutLimits;
use super::verification_index::{Index, IndexError, IndexWriter, OwnerFlags, PutOwner};
use crate::backend::{ScannedKey, ScannedOwner};
use crate::clock::Timestamp;
use crate::id::KeyId;
use crate::key::{Kind, ValidityInputs};
use crate::permission::{Access, PermissionSet};

/// How many different lists of permissions are remembered.
const REMEMBERED: usize = 64;

/// What was worked out for records before, and often holds for the next.
#[derive(Debug, Default)]
pub(in crate::store) struct Memo {
    /// What lists of permissions stand for.
    granted: Vec<(Access, PermissionSet)>,
    /// The last set that was cut by a maximum access, that maximum access's number, and the number of the result.
    cut: Option<(PermissionSet, Option<u32>, u32)>,
    /// The entries of one key.
    entries: Vec<Words>,
}

/// The writer's turn. Readers don't wait for its end, other writers do.
#[derive(Debug)]
pub(in crate::store) struct Load<'a> {
    index: &'a Index,
    writer: MutexGuard<'a, IndexWriter>,
    memo: &'a mut Memo,
    /// The latest time by which a token was found to be over.
    latest: Option<Timestamp>,
}

impl Index {
    /// Begins to put records. What `memo` holds stays right for this index.
    pub(in crate::store) fn load<'a>(&'a self, memo: &'a mut Memo) -> Load<'a> {
        let mut writer = self.lock();
        // What was over, and is left out for want of its pepper, stays so if the clock steps back.
        let latest = writer.latest.max(Some(self.clock.now()));
        writer.latest = latest;
        Load { index: self, writer, memo, latest }
    }

    /// Makes room for so many keys at once, if there are none yet. Without it there is as much room
    /// in the end, but groups are made anew all the time until then.
    pub(in crate::store) fn make_room(&self, keys: u64) {
        // Where there can't be so much, whoever needs it will be told.
        let _ = self.table.make_room(&mut self.lock().table, keys);
    }

    /// Puts one owner: [`Load::put_owner`].
    pub(in crate::store) fn put_owner(&self, owner: &ScannedOwner) -> Result<PutOwner, IndexError> {
        self.load(&mut Memo::default()).put_owner(owner)
    }

    /// Puts one key: [`Load::put_key`].
    pub(in crate::store) fn put_key(&self, key: &ScannedKey) -> Result<(), IndexError> {
        self.load(&mut Memo::default()).put_key(key)
    }
}

impl Drop for Load<'_> {
    fn drop(&mut self) {
        self.index.note_likely_pepper(&self.writer);
    }
}

impl Load<'_> {
    /// Has fetched from memory what putting a key will look at.
    pub(in crate::store) fn prepare(&self, id: KeyId) {
        self.index.table.prepare(tag_of(id.as_u128()));
    }

    /// Notes an owner, new or changed. What stands against its keys holds at once; what no longer
    /// does is taken away by [`clear_owner_flags`](Index::clear_owner_flags), when its keys have been put.
    pub(in crate::store) fn put_owner(
        &mut self,
        owner: &ScannedOwner,
    ) -> Result<PutOwner, IndexError> {
        let max_access = self.granted(&owner.max_access);
        let (index, writer) = (self.index, &mut *self.writer);
        let max_access = writer.sets.put(&index.sets, max_access).ok_or(IndexError::Full)?;
        let before = writer.owners.get(&owner.id);
        let word_before =
            before.and_then(|before| index.owners.word(before.number)).unwrap_or_default();
        let flags_before = Owners::flags_of(word_before);
        let flags = OwnerFlags { suspended: owner.suspended, ..OwnerFlags::default() }.bits();
        let after = writer
            .owners
            .put(&index.owners, owner.id, max_access, owner.tokens_valid_from, flags | flags_before)
            .ok_or(IndexError::Full)?;
        index.put_owner_limits(writer, after.number, &owner.limits)?;
        let cut = |state: OwnerState| (state.max_access, state.tokens_valid_from);
        Ok(PutOwner {
            narrows: before.is_some_and(|before| cut(before) != cut(after)),
            unblocks: flags_before & !flags != 0,
        })
    }

    /// Puts a key, new or changed, in place of what is there of it.
    pub(in crate::store) fn put_key(&mut self, key: &ScannedKey) -> Result<(), IndexError> {
        let owner = self.writer.owners.get(&key.owner).ok_or(IndexError::OwnerMissing)?;
        let limits = self.index.put_key_limits(&mut self.writer, key, owner.number)?;
        let mut entries = std::mem::take(&mut self.memo.entries);
        entries.clear();
        let packed = self.pack(key, owner, limits, &mut entries);
        let put = packed.and_then(|()| self.put_entries(key.id, owner.number, &entries));
        if put.is_err() || entries.is_empty() {
            self.index.take_back(&mut self.writer, limits);
        }
        self.memo.entries = entries;
        put
    }

    /// The entries of a key's tokens.
    fn pack(
        &mut self,
        key: &ScannedKey,
        owner: OwnerState,
        limits: PutLimits,
        entries: &mut Vec<Words>,
    ) -> Result<(), IndexError> {
        let set = self.set(key, owner)?;
        let mark = owner.tokens_valid_from.max(self.writer.tokens_valid_from);
        for (token, ends_at) in key.tokens(mark) {
            let number = token.digest.pepper;
            let standing = ValidityInputs { ends_at, ..key.validity_inputs() };
            let Some(pepper) = self.index.peppers.iter().position(|open| *open == number) else {
                // A token that is over for good needs no pepper: it is refused as unknown.
                let is_over = standing.revoked || ends_at.is_some_and(|at| Some(at) <= self.latest);
                if is_over {
                    continue;
                }
                return Err(IndexError::PepperMissing(number.get()));
            };
            let entry = Entry {
                digest: Entry::cut(token.digest.expose()),
                owner: owner.number,
                short_owner: key.owner.padded().filter(|_| limits.limited.is_none()),
                limited: limits.limited,
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

    /// Most keys that are put are new, and nothing has to make room for them.
    fn put_entries(&mut self, id: KeyId, owner: u32, entries: &[Words]) -> Result<(), IndexError> {
        let writer = &mut *self.writer;
        let added = self.index.table.add(&mut writer.table, tag_of(id.as_u128()), entries);
        if !added.map_err(|_| IndexError::Full)? {
            return self.index.replace(writer, id, Some(owner), entries);
        }
        for words in entries {
            writer.tokens[usize::from(Entry::unpack(words).pepper)] += 1;
        }
        Ok(())
    }

    /// The number of what a key may do, cut by its owner's maximum access.
    fn set(&mut self, key: &ScannedKey, owner: OwnerState) -> Result<u32, IndexError> {
        let granted = self.granted(&key.access);
        let max_access = match key.kind {
            Kind::Standard => Some(owner.max_access),
            Kind::Trial => None,
        };
        if let Some((set, cut_by, number)) = self.memo.cut
            && (set, cut_by) == (granted, max_access)
        {
            return Ok(number);
        }
        let sets = &self.index.sets;
        let cut =
            max_access.map_or(granted, |max_access| granted.intersection(&sets.get(max_access)));
        let number = self.writer.sets.put(sets, cut).ok_or(IndexError::Full)?;
        self.memo.cut = Some((granted, max_access, number));
        Ok(number)
    }

    /// What an access stands for. A list is compiled once for many keys.
    fn granted(&mut self, access: &Access) -> PermissionSet {
        let catalogue = &self.index.catalogue;
        let Access::Limited(_) = access else { return access.compile(catalogue) };
        let known = &mut self.memo.granted;
        if let Some((_, set)) = known.iter().find(|(known, _)| known == access) {
            return *set;
        }
        let set = access.compile(catalogue);
        if known.len() == REMEMBERED {
            known.clear();
        }
        known.push((access.clone(), set));
        set
    }
}
