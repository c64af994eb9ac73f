//! Changes of owners that reach the slots of their keys, and the walk that fills such slots again.

use super::entry::Entry;
use super::hash_table::slot::Words;
use super::index::{Index, IndexError, IndexWriter};
use super::interned::OwnerFlags;
use super::load::Memo;
use super::stale::{StaleOwners, StaleRule, StaleRules};
use crate::backend::ScannedOwner;
use crate::id::OwnerId;
use crate::key::Kind;
use crate::permission::PermissionSet;

/// The keys of an owner with at most so many tokens are put again at once.
const FEW: u32 = if cfg!(test) { 3 } else { 256 };

/// The way in which a change of an owner reaches the slots of its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Reach {
    /// There is nothing to do for them.
    Nothing,
    /// Nothing was changed yet: the owner is put together with its keys, which are few.
    Few,
    /// Each has its rule until it is filled again.
    Rules,
    /// The records of the keys must be read again, beside rules for the slots if there are any.
    Records,
}

/// Where a change was committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Made {
    /// Here. Its caller waits until the slots are as they should be.
    Here,
    /// In another process, or before a recovery.
    Elsewhere,
}

impl Index {
    /// Puts an owner that changed. What the change means for the keys holds when this returns,
    /// except where it says that their records must be read again.
    pub(in crate::store) fn change_owner(
        &self,
        owner: &ScannedOwner,
        made: Made,
    ) -> Result<Reach, IndexError> {
        let mut memo = Memo::default();
        let mut load = self.load(&mut memo);
        let granted = load.granted(&owner.max_access);
        let Some(before) = load.writer.owners.get(&owner.id) else {
            // Its keys come after it.
            load.put_owner(owner)?;
            return Ok(Reach::Nothing);
        };
        let may = self.sets.get(before.max_access);
        let (mut rule, mut must_read) = (StaleRule::default(), before.unread > 0);
        if granted != may {
            if !granted.is_superset(&may) {
                rule = rule.with(StaleRule::CUT);
            }
            // The slots don't tell what was cut off them before.
            must_read |= !may.is_superset(&granted);
        }
        if owner.tokens_valid_from != before.tokens_valid_from {
            // The slots don't tell when their tokens were issued.
            must_read = true;
            if made == Made::Elsewhere {
                rule = rule.with(StaleRule::UNKNOWN);
            }
        }
        if rule.is_none() && !must_read {
            load.put_owner(owner)?;
            return Ok(Reach::Nothing);
        }
        if load.writer.counts.of_owner(before.number) <= FEW {
            return Ok(Reach::Few);
        }
        // Before the rules, which name its set.
        load.put_owner(owner)?;
        let writer = &mut *load.writer;
        let begun = self.begin_epoch(writer, &owner.id, rule);
        if !must_read && begun {
            return Ok(Reach::Rules);
        }
        drop(load);
        self.begin_unread(&owner.id);
        Ok(Reach::Records)
    }

    /// Leaves a rule for all slots of an owner. Returns whether the rule is enough.
    fn begin_epoch(&self, writer: &mut IndexWriter, id: &OwnerId, rule: StaleRule) -> bool {
        let Some(state) = writer.owners.get(id) else { return true };
        let before = self.owners.stale(state.number);
        let (rules, begun) = match rule.is_none() {
            true => (before, Some(state.epoch)),
            false => before.begin(state.epoch, rule),
        };
        if rules.is_none() {
            return true;
        }
        // In this order: who sees the flag must see the rules.
        self.owners.set_stale(state.number, rules.with_max_access(state.max_access));
        self.change_flags(state.number, |flags| flags.stale = true);
        writer.owners.change(id, |state| state.epoch = begun.unwrap_or(state.epoch));
        writer.stale.add(state.number, Some(*id));
        begun.is_some()
    }

    /// Returns the owners whose keys' records must be read again.
    pub(in crate::store) fn unread_owners(&self) -> Vec<OwnerId> {
        self.lock().stale.unread()
    }

    /// Returns the number of changes since which the records of an owner's keys must be read again;
    /// 0 if they needn't.
    pub(in crate::store) fn unread(&self, id: &OwnerId) -> u32 {
        self.lock().owners.get(id).map_or(0, |state| state.unread)
    }

    /// Notes that the records of an owner's keys must be read again. Returns the number of changes
    /// since which that is so.
    pub(in crate::store) fn begin_unread(&self, id: &OwnerId) -> u32 {
        let mut guard = self.lock();
        let writer = &mut *guard;
        let Some(state) = writer.owners.get(id) else { return 0 };
        writer.owners.change(id, |state| state.unread += 1);
        writer.stale.add_unread(*id);
        state.unread + 1
    }

    /// Notes that all records of an owner's keys were put again since so many changes. Returns false
    /// if there was another change meanwhile.
    pub(in crate::store) fn end_unread(&self, id: &OwnerId, changes: u32) -> bool {
        let mut guard = self.lock();
        let writer = &mut *guard;
        if writer.owners.get(id).is_some_and(|state| state.unread != changes) {
            return false;
        }
        writer.owners.change(id, |state| state.unread = 0);
        writer.stale.forget_unread(id);
        true
    }

    /// Fills the slots of up to so many keys again whose owners have changed. Returns whether there
    /// may be more.
    pub(in crate::store) fn refill(&self, keys: usize) -> Result<bool, IndexError> {
        let mut guard = self.lock();
        let writer = &mut *guard;
        if writer.stale.is_empty() {
            return Ok(false);
        }
        let from = writer.stale.walk_from();
        let (found, next) = {
            let IndexWriter { table, stale, .. } = &*writer;
            self.table.find_from(table, from, keys, |words| self.rule(stale, words).is_some())
        };
        for hash in found {
            self.refill_key(writer, hash)?;
        }
        for (number, id) in writer.stale.walked_to(next) {
            if id.is_some() {
                self.change_flags(number, |flags| flags.stale = false);
                self.owners.set_stale(number, StaleRules::default());
            }
        }
        self.note_likely_pepper(writer);
        Ok(!writer.stale.is_empty())
    }

    /// Returns the flags and the rules of a slot that is to be filled again.
    fn rule(&self, stale: &StaleOwners, words: &Words) -> Option<(OwnerFlags, StaleRules)> {
        let entry = Entry::unpack(words);
        let flags = OwnerFlags::from_word(self.owners.word(entry.owner)?);
        if flags.gone {
            return Some((flags, StaleRules::default()));
        }
        if !flags.stale {
            return None;
        }
        let rules = self.owners.stale(entry.owner);
        let rule = rules.of(entry.epoch);
        let id = stale.id(entry.owner)?;
        let is_known = !rule.has(StaleRule::UNKNOWN) || !stale.is_unread(&id);
        (!rule.is_none() && is_known).then_some((flags, rules))
    }

    /// Fills the slots under a hash again that have rules.
    fn refill_key(&self, writer: &mut IndexWriter, hash: u64) -> Result<(), IndexError> {
        let (mut new, mut old) = (Vec::new(), Vec::new());
        for words in self.table.contents(hash) {
            let Some((flags, rules)) = self.rule(&writer.stale, &words) else { continue };
            old.push(words);
            let entry = Entry::unpack(&words);
            let rule = rules.of(entry.epoch);
            // All records of the owner's keys were read, and this key's wasn't among them.
            if flags.gone || rule.has(StaleRule::UNKNOWN) {
                continue;
            }
            new.push(self.ruled(writer, &entry, rule, rules)?.pack());
        }
        self.replace_where(writer, hash, &new, |words| old.contains(words))
    }

    /// Returns an entry as its rule says, of the owner's epoch.
    fn ruled(
        &self,
        writer: &mut IndexWriter,
        entry: &Entry,
        rule: StaleRule,
        rules: StaleRules,
    ) -> Result<Entry, IndexError> {
        let mut ruled = *entry;
        if rule.has(StaleRule::REVOKED) {
            ruled.standing.revoked = true;
            ruled.limited = None;
        }
        if rule.has(StaleRule::CUT) && entry.kind == Kind::Standard {
            let max_access = self.sets.get(rules.max_access());
            let cut: PermissionSet = self.sets.get(entry.set).intersection(&max_access);
            ruled.set = writer.sets.put(&self.sets, cut).ok_or(IndexError::Full)?;
        }
        let state = writer.stale.id(entry.owner).and_then(|id| writer.owners.get(&id));
        ruled.epoch = state.ok_or(IndexError::OwnerMissing)?.epoch;
        Ok(ruled)
    }
}
