//! Counts of what lives in the index. For the writer.

use super::entry::Entry;
use super::hash_table::slot::Words;
use super::memory::vectors::make_room;
use crate::token::Peppers;

/// Counts of the slots in which something lives.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Those of each pepper, by its position.
    pub(super) by_pepper: [usize; Peppers::MAX_OPEN],
    /// Those of each owner, by its number.
    by_owner: Vec<u32>,
}

impl Counts {
    pub(super) fn add(&mut self, words: &Words) {
        let Entry { pepper, owner, .. } = Entry::unpack(words);
        self.by_pepper[usize::from(pepper)] += 1;
        let owner = owner as usize;
        make_room(&mut self.by_owner, owner);
        self.by_owner[owner] += 1;
    }

    pub(super) fn remove(&mut self, words: &Words) {
        let Entry { pepper, owner, .. } = Entry::unpack(words);
        self.by_pepper[usize::from(pepper)] -= 1;
        self.by_owner[owner as usize] -= 1;
    }

    /// Returns the number of an owner's slots.
    pub(super) fn of_owner(&self, owner: u32) -> u32 {
        self.by_owner.get(owner as usize).copied().unwrap_or_default()
    }
}
