//! Placement: which limit record a key gets, as far as its hash alone can tell.
//!
//! A limited key needs two cache lines: its slot, and the record that the slot names. One after the
//! other they would take the time of two. So each key hash has a *bucket* of three records side by
//! side, by the hash's leading bits. A reader prefetches the bucket together with the slot. Still
//! the slot names the record, which may be any, and nothing depends on its place. A store without
//! limited keys has no buckets.
//!
//! [`relocation`](super::relocation) sets the number of buckets when a store is opened, and moves
//! the records into them. There are 1.2 to 1.35 records for each limited key then, of which 91 to
//! 94 in a hundred lie in their buckets. A key that is limited later gets a free record of its
//! bucket, or any other. When a store has half as many limited keys again as when it was opened,
//! two in three lie in their buckets; when it has twice as many, half. A store that was opened
//! without limited keys has no buckets until it is opened again. For the records outside, a reader
//! waits for one cache line after the other.
//!
//! Of a million limited keys, this makes a verification faster by a quarter to a third. If half of
//! the keys were added after opening, it is an eighth to a quarter.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use super::super::hash_table::slot::HASH_BITS;
use super::super::memory::slab::{QUARANTINE, Slab, SlabEntry};

/// Records of a bucket. With two, only 85 to 87 in a hundred records would lie in theirs.
pub(super) const BUCKET_LEN: u32 = 3;

/// The number of buckets, each of which begins one record after the one before; 0 if no record was
/// relocated. For readers.
#[derive(Debug, Default)]
pub(super) struct Buckets(AtomicU32);

impl Buckets {
    /// Returns the first record of a hash's bucket.
    #[inline]
    pub(super) fn first_of(&self, hash: u64) -> Option<u32> {
        // Relaxed: the number is set before readers have the index, and only steers prefetches.
        let buckets = self.0.load(Ordering::Relaxed);
        (buckets > 0).then(|| first_of(hash, buckets))
    }

    /// Sets the number of buckets, while no reader has the index.
    pub(super) fn set(&mut self, buckets: u32) {
        *self.0.get_mut() = buckets;
    }
}

/// Returns the first record of a hash's bucket, of so many buckets.
#[inline]
pub(super) fn first_of(hash: u64, buckets: u32) -> u32 {
    // 32 leading bits, scaled: less than the factor.
    #[allow(clippy::cast_possible_truncation)]
    {
        (((hash >> (HASH_BITS - u32::BITS)) * u64::from(buckets)) >> u32::BITS) as u32
    }
}

/// The writer's side: which records of keys are free.
#[derive(Debug)]
pub(super) struct Placement {
    /// The number of records.
    all: u32,
    /// The free records that are out of quarantine.
    free: NumberSet,
    /// The records that were released last, the oldest in front.
    quarantined: VecDeque<u32>,
    /// [`QUARANTINE`], except in tests that look at what happens without.
    pub(super) quarantine: usize,
}

impl Default for Placement {
    fn default() -> Self {
        Self::new(0, NumberSet::default())
    }
}

impl Placement {
    /// Makes a placement of `all` records, of which these are free and out of quarantine.
    pub(super) fn new(all: u32, free: NumberSet) -> Self {
        Self { all, free, quarantined: VecDeque::new(), quarantine: QUARANTINE }
    }

    /// Acquires a record, of the bucket that begins with this one if one of it is free; `None` past
    /// the limit.
    pub(super) fn acquire<'a>(
        &mut self,
        slab: &'a Slab,
        bucket: Option<u32>,
    ) -> Option<(u32, &'a SlabEntry)> {
        let own = bucket.and_then(|first| self.free.remove_one_of(first..first + BUCKET_LEN));
        if let Some(number) = own.or_else(|| self.free.remove_any()) {
            return Some((number, slab.get(number)?));
        }
        if let Some(entry) = slab.get_or_make(self.all) {
            self.all += 1;
            return Some((self.all - 1, entry));
        }
        let number = self.quarantined.pop_front()?;
        Some((number, slab.get(number)?))
    }

    /// Releases a record to which no reader will be led any more.
    pub(super) fn release(&mut self, number: u32) {
        self.quarantined.push_back(number);
        if self.quarantined.len() > self.quarantine
            && let Some(oldest) = self.quarantined.pop_front()
        {
            self.free.insert(oldest);
        }
    }

    /// Returns the number of records.
    pub(super) fn all(&self) -> u32 {
        self.all
    }

    /// Returns the number of records in use.
    pub(super) fn used(&self) -> u32 {
        // Never more are free than there are.
        let quarantined = u32::try_from(self.quarantined.len()).unwrap_or(u32::MAX);
        self.all.saturating_sub(quarantined).saturating_sub(self.free.len())
    }

    /// Returns the number of records in use, and of all records.
    #[cfg(test)]
    pub(super) fn count(&self) -> (usize, usize) {
        (self.used() as usize, self.all as usize)
    }
}

/// A set of numbers, one bit each.
#[derive(Debug, Default)]
pub(super) struct NumberSet {
    words: Vec<u64>,
    len: u32,
    /// The word in which the last number was found.
    at: usize,
}

impl NumberSet {
    /// Makes the set of all numbers less than `end`.
    pub(super) fn below(end: u32) -> Self {
        let mut words = vec![u64::MAX; end as usize / 64];
        if !end.is_multiple_of(64) {
            words.push((1 << (end % 64)) - 1);
        }
        Self { words, len: end, at: 0 }
    }

    fn len(&self) -> u32 {
        self.len
    }

    fn insert(&mut self, number: u32) {
        let (at, bit) = place(number);
        if at >= self.words.len() {
            self.words.resize(at + 1, 0);
        }
        self.len += u32::from(self.words[at] & bit == 0);
        self.words[at] |= bit;
    }

    pub(super) fn remove(&mut self, number: u32) -> bool {
        let (at, bit) = place(number);
        let Some(word) = self.words.get_mut(at).filter(|word| **word & bit != 0) else {
            return false;
        };
        *word &= !bit;
        self.len -= 1;
        true
    }

    /// Removes the first of these numbers that is in the set.
    fn remove_one_of(&mut self, mut numbers: Range<u32>) -> Option<u32> {
        numbers.find(|number| self.remove(*number))
    }

    /// Removes any number: the next after the last one, and so on all the way round.
    pub(super) fn remove_any(&mut self) -> Option<u32> {
        if self.len == 0 {
            return None;
        }
        let (before, after) = self.words.split_at(self.at);
        let words = (self.at..).zip(after).chain((0..).zip(before));
        let (at, word) = words.into_iter().find(|(_, word)| **word != 0)?;
        self.at = at;
        let number = u32::try_from(at * 64).ok()? + word.trailing_zeros();
        self.remove(number);
        Some(number)
    }
}

/// Returns the word of a number, and its bit.
fn place(number: u32) -> (usize, u64) {
    (number as usize / 64, 1 << (number % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hashes_are_spread_over_all_buckets_in_their_order() {
        let last = (1 << HASH_BITS) - 1;
        for buckets in [1, 2, 3, 1_000, u32::MAX / 2] {
            assert_eq!((first_of(0, buckets), first_of(last, buckets)), (0, buckets - 1));
            let hashes = (0..10_000).map(|n| last / 10_000 * n);
            assert!(hashes.map(|hash| first_of(hash, buckets)).is_sorted());
        }
        let mut buckets = Buckets::default();
        assert_eq!(buckets.first_of(last), None);
        buckets.set(3);
        assert_eq!(buckets.first_of(last), Some(2));
    }

    #[test]
    fn a_record_is_in_quarantine_before_it_is_used_again() {
        let slab = Slab::new();
        let mut placement = Placement::default();
        let quarantine = u32::try_from(QUARANTINE).unwrap();
        let acquire = |placement: &mut Placement, first| placement.acquire(&slab, first).unwrap().0;
        for number in 0..quarantine + 100 {
            assert_eq!(acquire(&mut placement, Some(7)), number);
        }
        assert_eq!(placement.count(), (QUARANTINE + 100, QUARANTINE + 100));
        (0..quarantine + 100).rev().for_each(|number| placement.release(number));
        // Those come first that are out of quarantine, of the bucket if there are such.
        assert_eq!(acquire(&mut placement, Some(7)), quarantine);
        assert_eq!(acquire(&mut placement, Some(quarantine + 50)), quarantine + 50);
        for _ in 2..100 {
            assert!(acquire(&mut placement, None) > quarantine);
        }
        // Rather a new one than one that was released just now.
        assert_eq!(acquire(&mut placement, Some(7)), quarantine + 100);
    }

    proptest! {
        /// Compares with a plain set: an acquired record was free, free records come before new
        /// ones, and those of the bucket come first.
        #[test]
        fn none_is_lost_and_none_acquired_twice(
            records in 2..80_u32,
            steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..4_000),
        ) {
            let slab = Slab::new();
            (0..records).for_each(|record| _ = slab.get_or_make(record).unwrap());
            let mut placement = Placement::new(records, NumberSet::below(records));
            let mut free: BTreeSet<u32> = (0..records).collect();
            let (mut released, mut released_at) = (0_usize, BTreeMap::new());
            let mut used: Vec<u32> = Vec::new();
            let mut all = records;
            for (acquires, index) in steps {
                if acquires || used.is_empty() {
                    let first = u32::try_from(index.index(records as usize - 1)).unwrap();
                    let (record, entry) = placement.acquire(&slab, Some(first)).unwrap();
                    prop_assert!(std::ptr::eq(entry, slab.get(record).unwrap()));
                    let is_ready = |record: u32| {
                        let at = released_at.get(&record);
                        free.contains(&record) && at.is_none_or(|at| released - at > QUARANTINE)
                    };
                    let mut own = first..first + BUCKET_LEN;
                    prop_assert!(own.contains(&record) || !own.any(is_ready));
                    let is_new = !free.contains(&record);
                    if is_new {
                        prop_assert!(record == all && !free.iter().any(|record| is_ready(*record)));
                        all += 1;
                    }
                    free.remove(&record);
                    used.push(record);
                } else {
                    let record = used.swap_remove(index.index(used.len()));
                    placement.release(record);
                    released_at.insert(record, released);
                    released += 1;
                    free.insert(record);
                }
                prop_assert_eq!(placement.count(), (used.len(), all as usize));
            }
        }
    }
}
