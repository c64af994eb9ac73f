//! The owners' part in the slots of their keys: changes of owners, and the walk that fills stale slots
//! again.

use std::sync::atomic::{Ordering, fence};

use super::entry::Entry;
use super::hash_table::ReadVersion;
use super::hash_table::slot::Words;
use super::index::{Index, IndexError, IndexWriter};
use super::interned::OwnerFlags;
use super::load::Memo;
use super::stale::{StaleOwners, StaleRule, StaleRules, Walked};
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
    /// Each has its rule, and the records of the keys must be read again.
    Records,
}

/// The place at which a change was committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Made {
    /// Here. Its caller waits until the slots are as they should be.
    Here,
    /// In another process, or before a recovery.
    Elsewhere,
}

/// The owner's part in the judgement of an entry.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct ByOwner {
    /// The store can answer for the key.
    pub(in crate::store) is_known: bool,
    /// The owner's switch.
    pub(in crate::store) suspended: bool,
    /// The owner's keys are limited together.
    pub(in crate::store) limited: bool,
    /// All keys that the owner had were revoked, this one too.
    pub(in crate::store) revoked: bool,
    /// The permissions of the key, within the owner's maximum access.
    pub(in crate::store) permissions: PermissionSet,
}

impl Index {
    /// Returns what an entry's owner adds to it. `None` if the entry was replaced meanwhile, or if the
    /// owner was removed and its keys with it.
    // `inline(always)`: otherwise the compiler returns the set through memory.
    #[inline(always)]
    pub(in crate::store) fn by_owner(
        &self,
        entry: &Entry,
        slot: ReadVersion<'_>,
    ) -> Option<ByOwner> {
        let permissions = self.sets.get(entry.set);
        let word = self.owners.word(entry.owner);
        let flags = OwnerFlags::from_word(word.unwrap_or_default());
        let by_owner = ByOwner {
            is_known: word.is_some() && !flags.indeterminate,
            suspended: flags.suspended,
            limited: flags.limited,
            revoked: false,
            permissions,
        };
        let by_owner = if flags.stale || flags.gone {
            self.by_rules(entry, flags.gone, by_owner)?
        } else {
            by_owner
        };
        // The entry was in its slot until the owner's word was read. Otherwise a change of the owner
        // could be missed: its rules end once the slot was filled again.
        slot.validate().then_some(by_owner)
    }

    /// Applies the rules of an owner to an entry that was filled before its last changes.
    // By value: the part of nearly every key, without rules, then never lies in memory.
    #[cold]
    fn by_rules(&self, entry: &Entry, is_gone: bool, by_owner: ByOwner) -> Option<ByOwner> {
        if is_gone {
            return None;
        }
        let mut rules = self.owners.stale(entry.owner);
        let max_access = loop {
            let max_access = self.sets.get(rules.max_access());
            // Acquire fence: pairs with the Release fence in `SlabEntry::fill`. The number of a set that
            // is the owner's no more may be another set's by now; a reader of that one's words sees
            // here that the owner's word has changed. Otherwise it takes them for the owner's.
            fence(Ordering::Acquire);
            match self.owners.stale(entry.owner) {
                same if same == rules => break max_access,
                changed => rules = changed,
            }
        };
        let rule = rules.of(entry.epoch);
        let is_known = by_owner.is_known && !rule.has(StaleRule::UNKNOWN);
        let revoked = rule.has(StaleRule::REVOKED);
        let permissions = if rule.has(StaleRule::CUT) && entry.kind == Kind::Standard {
            by_owner.permissions.intersection(&max_access)
        } else {
            by_owner.permissions
        };
        Some(ByOwner { is_known, revoked, permissions, ..by_owner })
    }

    /// Puts an owner that changed. What the change takes from the keys is taken when this returns,
    /// except what it says that only their records tell, and for which a caller waits here.
    pub(in crate::store) fn change_owner(
        &self,
        owner: &ScannedOwner,
        made: Made,
    ) -> Result<Reach, IndexError> {
        let mut memo = Memo::default();
        let mut load = self.load(&mut memo);
        let granted = load.granted(&owner.max_access);
        let Some(before) = load.writer.owners.get(&self.owners, &owner.id) else {
            // Its keys come after it.
            load.put_owner(owner)?;
            return Ok(Reach::Nothing);
        };
        let may = self.sets.get(before.max_access);
        let was_unread = load.writer.stale.unread(&owner.id).is_some();
        let (mut rule, mut must_read) = (StaleRule::default(), false);
        if !granted.is_superset(&may) {
            rule = rule.with(StaleRule::CUT);
        }
        // The slots tell neither what was cut off them before, nor when their tokens were issued.
        must_read |= !may.is_superset(&granted);
        let (from, known) = (owner.tokens_valid_from, before.tokens_valid_from);
        let from = from.unwrap_or_default();
        if from.swept_since(&known) {
            // All slots are of keys of before. (If an invalidation came after the sweep, that tells.)
            rule = rule.with(StaleRule::REVOKED);
        }
        if !from.invalidates_as(&known) {
            must_read = true;
            if made == Made::Elsewhere {
                rule = rule.with(StaleRule::UNKNOWN);
            }
        }
        if must_read {
            rule = rule.with(StaleRule::READ);
        }
        // Keys of which only a purge's pieces are left would be read with the others.
        let left = owner.sweeps.as_ref().map_or(0, |sweeps| sweeps.left.all);
        let few = load.writer.counts.of_owner(before.number) <= FEW && left <= u64::from(FEW);
        // A revocation needs no record.
        if few && (was_unread || !rule.is_none() && rule != StaleRule::REVOKED) {
            return Ok(Reach::Few);
        }
        load.put_owner(owner)?;
        let writer = &mut *load.writer;
        let mut has_room = true;
        if !rule.is_none() {
            has_room = self.begin_epoch(writer, &owner.id, rule);
        }
        if !must_read && has_room && !was_unread {
            writer.stale.end_unread(&owner.id);
        }
        let is_unread = writer.stale.unread(&owner.id).is_some();
        self.change_flags(before.number, |flags| {
            // A resumption doesn't come before a change of before it.
            flags.suspended = owner.suspended || is_unread && flags.suspended;
            // Without an epoch, nothing tells the slots of before from those of after.
            flags.indeterminate = is_unread && flags.indeterminate || !has_room;
        });
        Ok(match (is_unread, rule.is_none()) {
            (true, _) => Reach::Records,
            (false, true) => Reach::Nothing,
            (false, false) => Reach::Rules,
        })
    }

    /// Leaves a rule for all slots of an owner. Returns whether there was an epoch for that.
    fn begin_epoch(&self, writer: &mut IndexWriter, id: &OwnerId, rule: StaleRule) -> bool {
        let Some(state) = writer.owners.get(&self.owners, id) else { return true };
        let (rules, begun) = self.owners.stale(state.number).begin(state.epoch, rule);
        // In this order: who sees the flag must see the rules.
        self.owners.set_stale(state.number, rules.with_max_access(state.max_access));
        self.change_flags(state.number, |flags| flags.stale = true);
        writer.owners.set_epoch(state.number, begun.unwrap_or(state.epoch));
        writer.stale.add(state.number, Some(*id));
        begun.is_some()
    }

    /// Returns the owners whose keys' records must be read again.
    pub(in crate::store) fn all_unread(&self) -> Vec<OwnerId> {
        self.lock().stale.all_unread()
    }

    /// Returns the ticket of the last change since which the records of an owner's keys must be read
    /// again; `None` if they needn't.
    pub(in crate::store) fn unread(&self, id: &OwnerId) -> Option<u64> {
        self.lock().stale.unread(id)
    }

    /// Notes that the records of an owner's keys must be read again.
    pub(in crate::store) fn begin_unread(&self, id: &OwnerId) {
        let mut writer = self.lock();
        if writer.owners.get(&self.owners, id).is_some() {
            writer.stale.add_unread(*id);
        }
    }

    /// The same after a failure: the store can't answer for the owner until they were read.
    pub(in crate::store) fn doubt_owner(&self, id: &OwnerId) {
        let mut writer = self.lock();
        if let Some(state) = writer.owners.get(&self.owners, id) {
            writer.stale.add_unread(*id);
            self.change_flags(state.number, |flags| flags.indeterminate = true);
        }
    }

    /// Notes that all records of an owner's keys were put again since the change of this ticket. Does
    /// nothing if there was another change meanwhile.
    pub(in crate::store) fn end_unread(&self, id: &OwnerId, ticket: u64) {
        let mut guard = self.lock();
        let writer = &mut *guard;
        if writer.stale.unread(id) == Some(ticket) {
            self.read(writer, id);
        }
    }

    /// Notes that all records of all keys were put again.
    pub(in crate::store) fn end_all_unread(&self) {
        let mut guard = self.lock();
        let writer = &mut *guard;
        for id in writer.stale.all_unread() {
            self.read(writer, &id);
        }
    }

    fn read(&self, writer: &mut IndexWriter, id: &OwnerId) {
        writer.stale.end_unread(id);
        let Some(state) = writer.owners.get(&self.owners, id) else { return };
        let rules = self.owners.stale(state.number);
        self.owners.set_stale(state.number, rules.after_reading());
        self.change_flags(state.number, |flags| {
            flags.suspended = state.suspended;
            flags.indeterminate = false;
        });
    }

    /// Fills the slots of up to so many keys again whose owners have changed. Returns whether there
    /// may be more. An owner with a slot that can't be filled keeps no other waiting: its rules stay, the
    /// round passes over it, and tells the error at its end.
    pub(in crate::store) fn refill(&self, keys: usize) -> Result<bool, IndexError> {
        let mut guard = self.lock();
        let writer = &mut *guard;
        if writer.stale.is_empty() {
            return Ok(false);
        }
        let from = writer.stale.walk_from(|owner| self.owners.stale(owner));
        let (found, next) = {
            let IndexWriter { table, stale, .. } = &*writer;
            self.table.find_from(table, from, keys, |words| self.rule(stale, words).is_some())
        };
        for hash in found {
            self.refill_key(writer, hash);
        }
        for walked in writer.stale.walked_to(next) {
            let Walked { number, is_gone, before, followed_all } = walked;
            let rules = self.owners.stale(number).after_round(before, followed_all);
            if is_gone {
                // No slot names it any more: none was filled since.
                self.free_owner(writer, number);
            } else if rules.is_none() {
                // In this order: who still sees the flag finds no rule, and looks at its slot again.
                self.change_flags(number, |flags| flags.stale = false);
                self.owners.set_stale(number, StaleRules::default());
                writer.stale.remove(number);
            } else {
                self.owners.set_stale(number, rules);
            }
        }
        self.note_likely_pepper(writer);
        if let Some(error) = writer.stale.take_failure() {
            return Err(error);
        }
        // Those that must be read first are left to the end of the reading.
        Ok(writer.stale.has_work())
    }

    /// Returns the flags and the rules of a slot that is to be filled again.
    fn rule(&self, stale: &StaleOwners, words: &Words) -> Option<(OwnerFlags, StaleRules)> {
        let entry = Entry::unpack(words);
        let flags = OwnerFlags::from_word(self.owners.word(entry.owner)?);
        if !flags.gone && !flags.stale || stale.has_failed(entry.owner) {
            return None;
        }
        if flags.gone {
            return Some((flags, StaleRules::default()));
        }
        let rules = self.owners.stale(entry.owner);
        let rule = rules.of(entry.epoch);
        let is_known = !rule.needs_record() || stale.is_read(entry.owner);
        (!rule.is_none() && is_known).then_some((flags, rules))
    }

    /// Fills the slots under a hash again that have rules. If that fails, the next round tries again.
    fn refill_key(&self, writer: &mut IndexWriter, hash: u64) {
        let (mut new, mut old, mut acquired) = (Vec::new(), Vec::new(), Vec::new());
        let mut failed = None;
        for words in self.table.contents(hash) {
            let Some((flags, rules)) = self.rule(&writer.stale, &words) else { continue };
            old.push(words);
            let entry = Entry::unpack(&words);
            let rule = rules.of(entry.epoch);
            // All records of the owner's keys were read, and this key's wasn't among them.
            if flags.gone || rule.needs_record() {
                continue;
            }
            match self.ruled(writer, &entry, rule, rules) {
                Ok(ruled) => {
                    acquired.push(ruled.set);
                    new.push(ruled.pack());
                }
                Err(error) => failed = Some(error),
            }
        }
        let filled = match failed {
            Some(error) => Err(error),
            None => self.replace_where(writer, hash, &new, |words| old.contains(words)),
        };
        // The slots have references of their own.
        acquired.into_iter().for_each(|set| writer.sets.release(&self.sets, set));
        if let Err(error) = filled {
            old.iter().for_each(|words| writer.stale.fail(Entry::unpack(words).owner, error));
        }
    }

    /// Returns an entry as its rule says, of the owner's epoch, with a reference to its set.
    fn ruled(
        &self,
        writer: &mut IndexWriter,
        entry: &Entry,
        rule: StaleRule,
        rules: StaleRules,
    ) -> Result<Entry, IndexError> {
        let mut ruled = *entry;
        // An owner that is gone has no rule that comes here.
        let state = writer.owners.state(entry.owner);
        ruled.epoch = state.ok_or(IndexError::OwnerMissing)?.epoch;
        if rule.has(StaleRule::REVOKED) {
            // As a revoked key is put, which takes no number of a set.
            ruled.standing.revoked = true;
            let id = self.owners.id(entry.owner).ok_or(IndexError::OwnerMissing)?;
            (ruled.limited, ruled.short_owner, ruled.set) = (None, id.padded(), 0);
            return Ok(ruled);
        }
        let mut set = self.sets.get(entry.set);
        if rule.has(StaleRule::CUT) && entry.kind == Kind::Standard {
            set = set.intersection(&self.sets.get(rules.max_access()));
        }
        ruled.set = writer.sets.acquire(&self.sets, set).ok_or(IndexError::Full)?;
        Ok(ruled)
    }
}
