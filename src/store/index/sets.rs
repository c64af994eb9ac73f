//! Permission sets by number. A number is used again once no slot and no owner names it.

use std::collections::HashMap;

use super::entry::MAX_SET;
use super::memory::slab::{Slab, SlabNumbers};
use super::memory::vectors::make_room;
use crate::permission::PermissionSet;

/// The readers' side. Number 0 is the empty set, and each other one that of a slab entry plus 1.
#[derive(Debug)]
pub(super) struct Sets(Slab);

impl Sets {
    pub(super) fn new() -> Self {
        Self(Slab::new())
    }

    /// Reads the set of a number. It counts if the slot, or the owner's word, that named the number is
    /// still the same afterwards: the number may be another set's by then.
    #[inline]
    pub(super) fn get(&self, number: u32) -> PermissionSet {
        let entry = number.checked_sub(1).and_then(|entry| self.0.get(entry));
        entry.map_or(PermissionSet::EMPTY, |entry| {
            PermissionSet::from_words(std::array::from_fn(|at| entry.read(at)))
        })
    }
}

/// The writer's side: numbers by set, and the references to each.
///
/// A slot has a reference, an owner has one to the set of its maximum access, and so has a caller that
/// has acquired a number.
#[derive(Debug)]
pub(super) struct SetNumbers {
    by_set: HashMap<PermissionSet, u32>,
    /// The count of each number's references.
    references: Vec<u32>,
    pub(super) numbers: SlabNumbers,
    /// The count of numbers that were freed.
    freed: u64,
}

impl Default for SetNumbers {
    fn default() -> Self {
        let numbers = SlabNumbers::up_to(MAX_SET - 1);
        Self { by_set: HashMap::new(), references: Vec::new(), numbers, freed: 0 }
    }
}

impl SetNumbers {
    /// Acquires a reference to a set, new or known; `None` past the limit.
    pub(super) fn acquire(&mut self, sets: &Sets, set: PermissionSet) -> Option<u32> {
        if set.is_empty() {
            return Some(0);
        }
        let number = match self.by_set.get(&set) {
            Some(number) => *number,
            None => {
                let (number, entry) = self.numbers.acquire(&sets.0)?;
                entry.fill(set.words());
                self.by_set.insert(set, number + 1);
                number + 1
            }
        };
        self.retain(number);
        Some(number)
    }

    /// Adds a reference to a set that has one.
    pub(super) fn retain(&mut self, number: u32) {
        if number == 0 {
            return;
        }
        let at = number as usize;
        make_room(&mut self.references, at);
        self.references[at] += 1;
    }

    /// Releases a reference. The last one frees the number: no reader is led to it any more.
    pub(super) fn release(&mut self, sets: &Sets, number: u32) {
        let Some(references) = self.references.get_mut(number as usize).filter(|_| number > 0)
        else {
            return;
        };
        *references -= 1;
        if *references == 0 {
            self.by_set.remove(&sets.get(number));
            self.numbers.release(number - 1);
            self.freed += 1;
        }
    }

    /// Returns how often a number was freed: until this changes, a number stays that of its set.
    pub(super) fn freed(&self) -> u64 {
        self.freed
    }

    /// Whether a set has a number.
    pub(super) fn has(&self, set: &PermissionSet) -> bool {
        set.is_empty() || self.by_set.contains_key(set)
    }

    /// Returns the numbers of sets, and of entries, used or not.
    #[cfg(test)]
    pub(super) fn count(&self) -> (usize, usize) {
        let referred = self.references.iter().filter(|references| **references > 0).count();
        assert_eq!((referred, self.by_set.len()), (self.by_set.len(), self.numbers.count().0));
        self.numbers.count()
    }
}
