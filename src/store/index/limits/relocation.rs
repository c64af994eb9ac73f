//! Relocation: keys' records into their buckets, when all keys of a store that is opened were put.
//!
//! The number of limited keys isn't known before. Until then the records lie in the order in which
//! they came. Then the slab grows by a fifth to a third, and each record gets a place of its own,
//! in the bucket of its key's hash as long as there is room. The records change places among
//! themselves, so only their numbers are held twice, in 4 bytes each.

use super::super::memory::slab::{Slab, WORDS};
use super::placement::{BUCKET_LEN, NumberSet, Placement, first_of};

/// The most records for each that is used, in hundredths.
const ROOM: u64 = 135;

/// The target of a record that isn't used.
const NONE: u32 = u32::MAX;
/// The target of a record whose bucket has no room.
const LATE: u32 = u32::MAX - 1;

/// The target of each record.
#[derive(Debug)]
pub(in super::super) struct Relocation {
    to: Vec<u32>,
    free: NumberSet,
    places: u32,
    /// The first place for the next record, of those that come in the order of their hashes.
    next: u32,
}

impl Relocation {
    /// Makes room for the records that are used; `None` if there are none, or there can't be room.
    pub(super) fn begin(slab: &mut Slab, placement: &Placement) -> Option<Self> {
        let (all, used) = (placement.all(), placement.used());
        let wanted = u32::try_from(u64::from(used) * ROOM / 100).unwrap_or(u32::MAX);
        // A part that is begun is made whole.
        let places = Slab::whole_parts(wanted).max(all).max(BUCKET_LEN);
        (used > 0 && slab.make(places)).then(|| Self::new(all, places))
    }

    /// Makes a relocation from the first records to at least as many places. No record is used, as
    /// far as it knows.
    fn new(records: u32, places: u32) -> Self {
        let (to, free) = (vec![NONE; records as usize], NumberSet::below(places));
        Self { to, free, places, next: 0 }
    }

    /// Returns the number of buckets.
    pub(super) fn buckets(&self) -> u32 {
        self.places + 1 - BUCKET_LEN
    }

    /// Adds the record of a key with this hash; hashes come in their order. The record goes to the
    /// first place of its bucket that those before it have left. As all buckets are of one length,
    /// no other way brings more records into theirs.
    pub(in super::super) fn add(&mut self, hash: u64, record: u32) {
        let first = first_of(hash, self.buckets());
        let place = self.next.max(first);
        let Some(to) = self.to.get_mut(record as usize) else { return };
        if place < first + BUCKET_LEN {
            self.free.remove(place);
            self.next = place + 1;
            *to = place;
        } else {
            *to = LATE;
        }
    }

    /// Gives places to the records whose buckets have no room, when all were added.
    pub(in super::super) fn place_late(&mut self) {
        for to in self.to.iter_mut().filter(|to| **to == LATE) {
            *to = self.free.remove_any().unwrap_or(NONE);
        }
    }

    /// Returns the target of a record, if it is used.
    pub(in super::super) fn target(&self, record: u32) -> Option<u32> {
        self.to.get(record as usize).copied().filter(|to| *to != NONE)
    }

    /// Moves the contents of each record to its target, those of the target to theirs, and so on.
    /// Returns the placement after that.
    pub(super) fn apply(mut self, slab: &mut Slab) -> Placement {
        for (first, number) in (0..self.to.len()).zip(0..) {
            let mut to = std::mem::replace(&mut self.to[first], NONE);
            if to == NONE {
                continue;
            }
            let mut held: [u64; WORDS] = slab.words(number);
            while to != NONE {
                let next = self.to.get_mut(to as usize);
                let next = next.map_or(NONE, |next| std::mem::replace(next, NONE));
                held = slab.swap(to, held);
                to = next;
            }
        }
        Placement::new(self.places, self.free)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::super::super::hash_table::slot::HASH_BITS;
    use super::*;

    proptest! {
        /// Compares with the plainest way. Each used record has a place of its own that holds its
        /// words, and all other places are free. In the order of hashes, each key has the first
        /// free place of its bucket, if there is one.
        #[test]
        fn each_record_has_a_place_of_its_own(
            mut keys in prop::collection::btree_map(0..1_u64 << HASH_BITS, any::<bool>(), 1..300),
            crowded in any::<bool>(),
            room in 0..200_u32,
            order in any::<u64>(),
        ) {
            if crowded {
                keys = keys.into_iter().map(|(hash, used)| (hash >> 4, used)).collect();
            }
            // The records are not in the order of their hashes, and some are no longer used.
            let mut came: Vec<(u64, bool)> = keys.into_iter().collect();
            came.sort_by_key(|(hash, _)| (hash ^ order).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let records = u32::try_from(came.len()).unwrap();
            let places = (records + room).max(BUCKET_LEN);
            let mut slab = Slab::new();
            prop_assert!(slab.make(places));
            (0..places).for_each(|record| _ = slab.swap(record, [u64::from(record); WORDS]));
            let mut relocation = Relocation::new(records, places);
            let by_hash: BTreeMap<u64, u32> = came.iter().zip(0..)
                .filter(|((_, used), _)| *used).map(|((hash, _), record)| (*hash, record)).collect();
            let mut free: BTreeSet<u32> = (0..places).collect();
            let mut expected = BTreeMap::new();
            for (hash, record) in &by_hash {
                relocation.add(*hash, *record);
                let first = first_of(*hash, relocation.buckets());
                let place = (first..first + BUCKET_LEN).find(|place| free.contains(place));
                if let Some(place) = place {
                    free.remove(&place);
                    expected.insert(*record, place);
                }
            }
            relocation.place_late();
            let to: BTreeMap<u32, u32> =
                (0..records).filter_map(|record| Some((record, relocation.target(record)?))).collect();
            prop_assert!(to.keys().eq(by_hash.values().collect::<BTreeSet<_>>()));
            prop_assert!(expected.iter().all(|(record, place)| to[record] == *place));
            let taken: BTreeSet<u32> = to.values().copied().collect();
            prop_assert_eq!(taken.len(), to.len());
            prop_assert!(taken.iter().all(|place| *place < places));
            let mut placement = relocation.apply(&mut slab);
            for (record, place) in &to {
                prop_assert_eq!(slab.words(*place), [u64::from(*record); WORDS]);
            }
            // The first record past all places is a new one.
            let left = std::iter::from_fn(|| Some(placement.acquire(&slab, None)?.0));
            let left: BTreeSet<u32> = left.take_while(|place| *place < places).collect();
            prop_assert!(left.into_iter().eq((0..places).filter(|place| !taken.contains(place))));
        }
    }
}
