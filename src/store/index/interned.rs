//! Interned owners: owners by number.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::entry::MAX_OWNER;
use super::memory::pages::Pages;
use super::stale::StaleRules;
use crate::id::OwnerId;
use crate::key::TokensValidFrom;

/// The readers' side of an owner: its id, and the flags of all of its keys.
#[derive(Debug)]
pub(super) struct InternedOwner {
    /// Set once, before any entry names the owner's number.
    pub(super) id: OnceLock<OwnerId>,
    /// The flags, and above them the number of the owner's limit record plus 1. One word holds
    /// both, so that a reader sees them together and an owner takes no more memory.
    word: AtomicU32,
    /// The rules for slots that were filled before the last changes of the owner; 0 without any.
    stale: AtomicU64,
}

/// The flags of an owner, which hold for all of its keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct OwnerFlags {
    /// No key of the owner is accepted.
    pub(super) suspended: bool,
    /// The last change of the owner is indeterminate.
    pub(super) indeterminate: bool,
    /// The owner's keys are limited together.
    pub(super) limited: bool,
    /// Slots that were filled before the last changes of the owner are judged by
    /// rules of their epochs.
    pub(super) stale: bool,
    /// The owner was removed, and its keys with it.
    pub(super) gone: bool,
}

/// The bits of an owner's word that are flags.
const FLAG_BITS: u32 = 8;
const FLAGS: u32 = (1 << FLAG_BITS) - 1;

/// The owners by number. A number is given once, for a reader may still hold it.
#[derive(Debug)]
pub(super) struct Owners {
    owners: Pages<InternedOwner, { 1 << 16 }>,
    /// One bit for each owner, set if its word isn't 0. It is small enough to stay in a cache.
    flagged: Pages<AtomicU64, { 1 << 13 }>,
}

/// The writer's side of the owners: numbers by id.
#[derive(Debug, Default)]
pub(super) struct OwnerNumbers {
    by_id: HashMap<OwnerId, OwnerState>,
    next: u32,
}

/// The rules of an owner by which the entries of its keys are made.
#[derive(Clone, Copy, Debug)]
pub(super) struct OwnerState {
    pub(super) number: u32,
    /// The number of the permission set of its maximum access.
    pub(super) max_access: u32,
    pub(super) tokens_valid_from: Option<TokensValidFrom>,
    /// The epoch in which slots are filled now.
    pub(super) epoch: u8,
    /// The owner's switch, as it should be: its flag may still be set.
    pub(super) suspended: bool,
}

impl OwnerFlags {
    pub(super) fn bits(self) -> u8 {
        u8::from(self.suspended)
            | u8::from(self.indeterminate) << 1
            | u8::from(self.stale) << 2
            | u8::from(self.gone) << 3
    }

    #[inline]
    pub(super) fn from_word(word: u32) -> Self {
        let bits = Owners::flags_of(word);
        let limited = Owners::record_of(word).is_some();
        let flag = |at: u8| bits >> at & 1 == 1;
        Self { suspended: flag(0), indeterminate: flag(1), limited, stale: flag(2), gone: flag(3) }
    }
}

/// The rules of an owner that its record says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OwnerRules {
    pub(super) max_access: u32,
    pub(super) tokens_valid_from: Option<TokensValidFrom>,
    pub(super) suspended: bool,
}

impl Owners {
    pub(super) fn new() -> Self {
        Self { owners: Pages::new(), flagged: Pages::new() }
    }

    #[inline]
    pub(super) fn get(&self, number: u32) -> Option<&InternedOwner> {
        self.owners.get(number)
    }

    /// Returns an owner's word: 0 for an owner without flags and limits.
    #[inline]
    pub(super) fn word(&self, number: u32) -> Option<u32> {
        // Acquire on the word: the limit record that it names must be seen filled. Otherwise a
        // reader judges by an empty record. Acquire on the bit: a set bit leads to the word of its
        // time. Otherwise a reader could answer by the word before.
        let bits = self.flagged.get(number >> 6)?.load(Ordering::Acquire);
        if bits >> (number & 63) & 1 == 0 {
            return Some(0);
        }
        Some(self.get(number)?.word.load(Ordering::Acquire))
    }

    /// Returns the flags of an owner's word.
    #[inline]
    pub(super) fn flags_of(word: u32) -> u8 {
        // The lowest bits.
        #[allow(clippy::cast_possible_truncation)]
        let flags = (word & FLAGS) as u8;
        flags
    }

    /// Returns the number of the limit record that an owner's word names.
    #[inline]
    pub(super) fn record_of(word: u32) -> Option<u32> {
        (word >> FLAG_BITS).checked_sub(1)
    }

    /// Returns the rules for an owner's slots.
    #[cold]
    pub(super) fn stale(&self, number: u32) -> StaleRules {
        // Acquire: a reader that sees rules end must see the slots filled again for which they were.
        // Otherwise it takes a slot of before for one that is as it should be.
        let rules = self.get(number).map(|owner| owner.stale.load(Ordering::Acquire));
        StaleRules(rules.unwrap_or_default())
    }

    /// Sets the rules for an owner's slots. For the writer.
    pub(super) fn set_stale(&self, number: u32, rules: StaleRules) {
        if let Some(owner) = self.get(number) {
            // Release: publishes the slots that were filled again before rules end, and the set that
            // the word names.
            owner.stale.store(rules.0, Ordering::Release);
        }
    }

    /// Sets an owner's flags. For the writer.
    pub(super) fn set_flags(&self, number: u32, flags: u8) -> Option<()> {
        // Relaxed, here and in `set_record`: only the writer stores there.
        let record = self.get(number)?.word.load(Ordering::Relaxed) & !FLAGS;
        self.set(number, record | u32::from(flags))
    }

    /// Sets the number of an owner's limit record; `None` past the greatest number. For the writer.
    pub(super) fn set_record(&self, number: u32, record: Option<u32>) -> Option<()> {
        let record = record.map_or(Some(0), |record| record.checked_add(1))?;
        let shifted = record.checked_mul(1 << FLAG_BITS)?;
        self.set(number, shifted | self.get(number)?.word.load(Ordering::Relaxed) & FLAGS)
    }

    fn set(&self, number: u32, new: u32) -> Option<()> {
        // Release: publishes the limit record that the word names.
        self.get(number)?.word.store(new, Ordering::Release);
        let word = self.flagged.get_or_make(number >> 6, || AtomicU64::new(0))?;
        let bit = 1 << (number & 63);
        // The Release half: a reader that sees the bit must see the word. The Acquire half pairs
        // with nothing, for only the writer changes bits.
        if new == 0 {
            word.fetch_and(!bit, Ordering::AcqRel);
        } else {
            word.fetch_or(bit, Ordering::AcqRel);
        }
        Some(())
    }
}

impl OwnerState {
    /// Whether slots that were filled by these rules aren't as others say.
    pub(super) fn differs(&self, rules: OwnerRules) -> bool {
        let known = (self.max_access, self.tokens_valid_from);
        known != (rules.max_access, rules.tokens_valid_from)
    }
}

impl OwnerNumbers {
    pub(super) fn get(&self, id: &OwnerId) -> Option<OwnerState> {
        self.by_id.get(id).copied()
    }

    /// Puts an owner, new or changed. `None` when all numbers are used up.
    pub(super) fn put(
        &mut self,
        owners: &Owners,
        id: OwnerId,
        rules: OwnerRules,
        flags: u8,
    ) -> Option<OwnerState> {
        let OwnerRules { max_access, tokens_valid_from, suspended } = rules;
        let before = self.by_id.get(&id);
        let (number, epoch) = before.map_or((self.next, 0), |state| (state.number, state.epoch));
        if number > MAX_OWNER {
            return None;
        }
        let make = || InternedOwner {
            id: OnceLock::new(),
            word: AtomicU32::new(0),
            stale: AtomicU64::new(0),
        };
        let owner = owners.owners.get_or_make(number, make)?;
        owner.id.get_or_init(|| id);
        owners.set_flags(number, flags)?;
        self.next = self.next.max(number + 1);
        let state = OwnerState { number, max_access, tokens_valid_from, epoch, suspended };
        self.by_id.insert(id, state);
        Some(state)
    }

    /// Changes what is known of an owner.
    pub(super) fn change(&mut self, id: &OwnerId, change: impl FnOnce(&mut OwnerState)) {
        if let Some(state) = self.by_id.get_mut(id) {
            change(state);
        }
    }

    /// Acts as if so many numbers had been given.
    #[cfg(test)]
    pub(super) fn set_next(&mut self, next: u32) {
        self.next = next;
    }

    /// Returns how many more owners there can be.
    pub(super) fn room(&self) -> u32 {
        (MAX_OWNER + 1).saturating_sub(self.next)
    }

    pub(super) fn remove(&mut self, id: &OwnerId) -> Option<OwnerState> {
        self.by_id.remove(id)
    }

    /// Removes the owners for which `keep` fails, and returns them.
    pub(super) fn retain(&mut self, keep: impl Fn(&OwnerId) -> bool) -> Vec<(OwnerId, OwnerState)> {
        self.by_id.extract_if(|id, _| !keep(id)).collect()
    }
}
