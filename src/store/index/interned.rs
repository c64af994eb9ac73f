//! Interned owners: what readers find of an owner by its number.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use super::memory::pages::Pages;
use super::memory::slab::{Slab, SlabEntry};
use super::stale::StaleRules;
use crate::id::OwnerId;
use crate::store::types::reserved::OwnerRef;

/// The part of an owner that a reader seldom needs.
#[derive(Debug, Default)]
struct OwnerCell {
    /// The flags, and above them the number of the owner's limit record plus 1. One word holds
    /// both, so that a reader sees them together and an owner takes no more memory.
    word: AtomicU32,
    /// The count of owners that have had the number.
    given: AtomicU32,
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

/// Enough for all numbers of owners.
type Cells = Pages<OwnerCell, { 1 << 17 }>;

/// The owners by number. A number is used again once no slot names it.
///
/// What was read here of a slot's owner counts if the slot is still the same afterwards: otherwise it may
/// be another owner's. A reference says by itself whether it still means the same owner.
#[derive(Debug)]
pub(super) struct Owners {
    ids: Slab,
    cells: Cells,
    /// One bit for each owner, set if its word isn't 0. It is small enough to stay in a cache.
    flagged: Pages<AtomicU64, { 1 << 13 }>,
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

/// The readers' side.
impl Owners {
    /// The most owners that there is memory for.
    #[cfg(test)]
    pub(super) const MOST: u64 = Cells::MOST;

    pub(super) fn new() -> Self {
        Self { ids: Slab::new(), cells: Pages::new(), flagged: Pages::new() }
    }

    /// Reads the id of an owner.
    #[inline]
    pub(super) fn id(&self, number: u32) -> Option<OwnerId> {
        let entry = self.ids.get(number)?;
        OwnerId::from_words(std::array::from_fn(|at| entry.read(at)))
    }

    /// Reads which use of its number an owner has.
    pub(super) fn reference(&self, number: u32) -> Option<OwnerRef> {
        // Relaxed: a caller that uses the reference looks afterwards whether what led here is still the same.
        let given = self.cells.get(number)?.given.load(Ordering::Relaxed);
        Some(OwnerRef { number, given })
    }

    /// Whether the number is still that of the same owner.
    pub(super) fn is_current(&self, reference: OwnerRef) -> bool {
        // Acquire fence: pairs with the Release fence in `SlabEntry::fill`, and with the Release store of
        // the count. What was read before of a later owner shows the later count here. Without it
        // another owner is taken for this one.
        fence(Ordering::Acquire);
        self.reference(reference.number) == Some(reference)
    }

    /// Returns the id of an owner that is still there, or was the last to have its number.
    pub(super) fn id_of(&self, reference: OwnerRef) -> Option<OwnerId> {
        let id = self.id(reference.number)?;
        self.is_current(reference).then_some(id)
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
        Some(self.cells.get(number)?.word.load(Ordering::Acquire))
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
        let rules = self.cells.get(number).map(|owner| owner.stale.load(Ordering::Acquire));
        StaleRules(rules.unwrap_or_default())
    }
}

/// The writer's side.
impl Owners {
    /// The ids, whose numbers the writer gives.
    pub(super) fn ids(&self) -> &Slab {
        &self.ids
    }

    /// Gives a number that nothing names, with its entry, to an owner.
    pub(super) fn give(
        &self,
        (number, entry): (u32, &SlabEntry),
        id: &OwnerId,
        flags: u8,
    ) -> Option<()> {
        let cell = self.cells.get_or_make(number, OwnerCell::default)?;
        // Relaxed: only the writer stores there.
        let given = cell.given.load(Ordering::Relaxed).wrapping_add(1);
        // Release: a reader of this count must see that the word of the owner before has ended. And before
        // the id, which `fill` orders after it: a reader of a word of this id must see this count.
        // Otherwise it takes this owner for the one before.
        cell.given.store(given, Ordering::Release);
        entry.fill(id.words());
        self.set_flags(number, flags)
    }

    /// Ends what was said of an owner whose number nothing names any more.
    pub(super) fn clear(&self, number: u32) {
        self.set_stale(number, StaleRules::default());
        // It fails for a number that was never given.
        let _ = self.set(number, 0);
    }

    /// Sets the rules for an owner's slots.
    pub(super) fn set_stale(&self, number: u32, rules: StaleRules) {
        if let Some(owner) = self.cells.get(number) {
            // Release: publishes the slots that were filled again before rules end, and the set that
            // the word names.
            owner.stale.store(rules.0, Ordering::Release);
        }
    }

    /// Sets an owner's flags.
    pub(super) fn set_flags(&self, number: u32, flags: u8) -> Option<()> {
        // Relaxed, here and in `set_record`: only the writer stores there.
        let record = self.cells.get(number)?.word.load(Ordering::Relaxed) & !FLAGS;
        self.set(number, record | u32::from(flags))
    }

    /// Sets the number of an owner's limit record; `None` past the greatest number.
    pub(super) fn set_record(&self, number: u32, record: Option<u32>) -> Option<()> {
        let record = record.map_or(Some(0), |record| record.checked_add(1))?;
        let shifted = record.checked_mul(1 << FLAG_BITS)?;
        self.set(number, shifted | self.cells.get(number)?.word.load(Ordering::Relaxed) & FLAGS)
    }

    fn set(&self, number: u32, new: u32) -> Option<()> {
        // Release: publishes the limit record that the word names.
        self.cells.get(number)?.word.store(new, Ordering::Release);
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
