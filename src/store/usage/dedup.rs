//! The dedup filter: the keys that were noted in the present interval of the resolution. All
//! threads share one table of fixed size, which they read without a lock and seldom write.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::id::KeyId;

/// Number of words in a set: one cache line.
const WAYS: usize = 8;
const MIN_SETS: u64 = 1 << 7;
const MAX_SETS: u64 = 1 << 18;
/// The low bits of a word hold the interval. The bits above hold 40 random bits of the key's id.
const INTERVAL_BITS: u32 = 24;
const ID_BITS: u32 = 40;

/// A set of keys that may forget a key when another needs its place. A forgotten key is noted once
/// more than needed. Two keys are taken for one, and a use isn't noted, only if 47 random bits of
/// their ids are equal, or up to 58 in a larger table.
///
/// Words are read and written Relaxed: each stands alone, and no other memory is read by it. A
/// thread that reads an old word notes its key once more than needed.
#[derive(Debug)]
pub(super) struct DedupFilter {
    sets: Box<[Set]>,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Set([AtomicU64; WAYS]);

impl DedupFilter {
    /// Makes a filter with room for about this many keys.
    pub(super) fn new(keys: u64) -> Self {
        let sets = keys.min(MAX_SETS * WAYS as u64).div_ceil(WAYS as u64).next_power_of_two();
        let sets = sets.clamp(MIN_SETS, MAX_SETS);
        Self { sets: (0..sets).map(|_| Set::default()).collect() }
    }

    /// Notes a key in an interval; returns whether the key wasn't noted before.
    #[inline]
    pub(super) fn note(&self, key: KeyId, interval: u64) -> bool {
        // The low 62 bits of an id are random.
        #[allow(clippy::cast_possible_truncation)]
        let id = key.as_u128() as u64;
        // Never 0, which is an empty word.
        let interval = interval % ((1 << INTERVAL_BITS) - 1) + 1;
        let word = id << INTERVAL_BITS | interval;
        // The number of sets fits into a `usize`.
        #[allow(clippy::cast_possible_truncation)]
        let set = &self.sets[(id >> ID_BITS) as usize & (self.sets.len() - 1)].0;
        if set.iter().any(|way| way.load(Ordering::Relaxed) == word) {
            return false;
        }
        self.put(set, word);
        true
    }

    /// Forgets all keys.
    pub(super) fn clear(&self) {
        self.sets.iter().flat_map(|set| &set.0).for_each(|way| way.store(0, Ordering::Relaxed));
    }

    /// Writes a word into a set: over the word of the same key, an empty word, the word of a key
    /// from another interval, or any word, in this order.
    #[cold]
    fn put(&self, set: &[AtomicU64; WAYS], word: u64) {
        let interval = |word: u64| word & ((1 << INTERVAL_BITS) - 1);
        let find = |is_free: &dyn Fn(u64) -> bool| {
            set.iter().find(|way| is_free(way.load(Ordering::Relaxed)))
        };
        let way = find(&|found| found >> INTERVAL_BITS == word >> INTERVAL_BITS)
            .or_else(|| find(&|found| found == 0))
            .or_else(|| find(&|found| interval(found) != interval(word)));
        // The low bits of the id don't choose the set, so they spread its keys over its words.
        #[allow(clippy::cast_possible_truncation)]
        let any = &set[(word >> INTERVAL_BITS) as usize % WAYS];
        way.unwrap_or(any).store(word, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u64) -> KeyId {
        // Random enough for a test.
        KeyId::from_u128(u128::from(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 2))
    }

    #[test]
    fn a_key_is_new_once_in_an_interval() {
        let dedup = DedupFilter::new(0);
        for interval in [0, 1, 5, 1 << 24, 7, 5] {
            assert!(dedup.note(key(1), interval), "{interval}");
            assert!(!dedup.note(key(1), interval), "{interval}");
        }
    }

    /// Keys of one set stay in it also when each is noted in another interval, as by a clock that
    /// steps to and fro.
    #[test]
    fn no_key_is_forgotten_while_there_is_room() {
        let dedup = DedupFilter::new(0);
        let keys = || (1..=WAYS as u64).map(|n| (KeyId::from_u128(u128::from(n)), n));
        assert!(keys().all(|(key, interval)| dedup.note(key, interval)));
        assert!(keys().all(|(key, interval)| !dedup.note(key, interval)));
    }

    #[test]
    fn a_key_is_new_after_the_filter_is_cleared() {
        let dedup = DedupFilter::new(0);
        assert!(dedup.note(key(1), 5));
        dedup.clear();
        assert!(dedup.note(key(1), 5) && !dedup.note(key(1), 5));
    }

    #[test]
    fn it_holds_as_many_keys_as_it_has_room_for() {
        const KEYS: u64 = 4_096;
        let dedup = DedupFilter::new(KEYS);
        for interval in 1..4 {
            assert!((0..KEYS).all(|n| dedup.note(key(n), interval)), "never too few");
            let again = (0..KEYS).filter(|n| dedup.note(key(*n), interval)).count();
            assert!(again < KEYS as usize / 3, "{again} keys were forgotten");
        }
    }
}
