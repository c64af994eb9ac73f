//! The number of keys of each owner.

use super::chunks::Values;
use super::fault::Fault;
use super::overlay::Overlay;
use super::read::load_key;
use super::trees::{self, Tree};
use crate::backend::KeyCounts;
use crate::id::OwnerId;

impl Overlay<'_> {
    pub(super) fn load_counts(&self, owner: &OwnerId) -> Result<KeyCounts, Fault> {
        match self.value(Tree::KeyCounts, trees::owner(owner))? {
            Some(value) => decode_counts(&value),
            None => Ok(KeyCounts::default()),
        }
    }

    pub(super) fn store_counts(&mut self, owner: &OwnerId, counts: KeyCounts) {
        if counts == KeyCounts::default() {
            self.remove(Tree::KeyCounts, trees::owner(owner));
        } else {
            self.put(Tree::KeyCounts, trees::owner(owner), &encode_counts(counts));
        }
    }

    /// Stores the counts of an owner's keys as they are.
    pub(super) fn count_again(&mut self, owner: &OwnerId) -> Result<(), Fault> {
        let counts = self.counted(owner)?;
        self.store_counts(owner, counts);
        Ok(())
    }

    /// Counts the keys of an owner that can be read; those that can't count among all
    /// and among the unrevoked.
    pub(super) fn counted(&self, owner: &OwnerId) -> Result<KeyCounts, Fault> {
        let mut counts = KeyCounts::default();
        self.each(Tree::OwnerKeys, &trees::of_owner(owner), &mut |key| {
            let id = trees::key_in(key).ok_or(Fault::damaged("a key id is too short"))?;
            let damaged = KeyCounts { all: 1, unrevoked: 1, ..KeyCounts::default() };
            let one = load_key(self, id).ok().flatten().map_or(damaged, |key| KeyCounts::of(&key));
            counts = counts.plus(one);
            Ok(())
        })?;
        Ok(counts)
    }
}

/// The four counts, 8 bytes each.
fn encode_counts(counts: KeyCounts) -> Vec<u8> {
    let KeyCounts { all, unrevoked, live, live_standard } = counts;
    [all, unrevoked, live, live_standard].map(u64::to_be_bytes).concat()
}

fn decode_counts(value: &[u8]) -> Result<KeyCounts, Fault> {
    if let ([all, unrevoked, live, live_standard], []) = value.as_chunks::<8>() {
        let [all, unrevoked, live, live_standard] =
            [all, unrevoked, live, live_standard].map(|n| u64::from_be_bytes(*n));
        let is_falling = [all, unrevoked, live, live_standard].is_sorted_by(|a, b| a >= b);
        // With room to count on.
        if is_falling && all <= u64::MAX / 2 {
            return Ok(KeyCounts { all, unrevoked, live, live_standard });
        }
    }
    Err(Fault::damaged("the counts of an owner can't be right"))
}
