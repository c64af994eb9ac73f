//! Which keys were noted in the present interval of the resolution: a table of fixed size that all
//! threads share, read without a lock and seldom written.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::id::KeyId;

/// How many words make a set: one cache line.
const WAYS: usize = 8;
const LEAST_SETS: u64 = 1 << 7;
const MOST_SETS: u64 = 1 << 18;
/// The low bits of a word: the interval. Those above it: 40 random bits of the id.
const INTERVAL_BITS: u32 = 24;
const TAG_BITS: u32 = 40;

/// Forgets keys only for others, and then notes them once more than needed. That two keys are taken
/// for one, and a use in the same interval isn't noted, takes 47 equal random bits, or up to 58 in a
/// larger table.
#[derive(Debug)]
pub(super) struct Recent {
    sets: Box<[Set]>,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Set([AtomicU64; WAYS]);

impl Recent {
    /// With room for about so many keys.
    pub(super) fn new(keys: u64) -> Self {
        let sets = keys.min(MOST_SETS * WAYS as u64).div_ceil(WAYS as u64).next_power_of_two();
        let sets = sets.clamp(LEAST_SETS, MOST_SETS);
        Self { sets: (0..sets).map(|_| Set::default()).collect() }
    }

    /// Notes a key in an interval; whether it wasn't noted before.
    #[inline]
    pub(super) fn note(&self, key: KeyId, interval: u64) -> bool {
        // The low 62 bits of an id are random. An empty word is 0, and no interval is.
        let (_, id) = halves(key);
        let interval = interval % ((1 << INTERVAL_BITS) - 1) + 1;
        let word = id << INTERVAL_BITS | interval;
        // As many as there are fit into a pointer.
        #[allow(clippy::cast_possible_truncation)]
        let set = &self.sets[(id >> TAG_BITS) as usize & (self.sets.len() - 1)].0;
        if set.iter().any(|way| way.load(Ordering::Relaxed) == word) {
            return false;
        }
        self.put(set, word);
        true
    }

    /// Where the same key stood, or nothing, or what was noted in another interval, or anywhere.
    #[cold]
    fn put(&self, set: &[AtomicU64; WAYS], word: u64) {
        let interval = |word: u64| word & ((1 << INTERVAL_BITS) - 1);
        let find = |is_free: &dyn Fn(u64) -> bool| {
            set.iter().find(|way| is_free(way.load(Ordering::Relaxed)))
        };
        let way = find(&|found| found >> INTERVAL_BITS == word >> INTERVAL_BITS)
            .or_else(|| find(&|found| found == 0))
            .or_else(|| find(&|found| interval(found) != interval(word)));
        // Of the tag's bits, those that say nothing of the set.
        #[allow(clippy::cast_possible_truncation)]
        let any = &set[(word >> INTERVAL_BITS) as usize % WAYS];
        way.unwrap_or(any).store(word, Ordering::Relaxed);
    }
}

#[allow(clippy::cast_possible_truncation)]
fn halves(key: KeyId) -> (u64, u64) {
    let id = key.as_u128();
    ((id >> 64) as u64, id as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u64) -> KeyId {
        // As random as needed.
        KeyId::from_u128(u128::from(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 2))
    }

    #[test]
    fn a_key_is_new_once_in_an_interval() {
        let recent = Recent::new(0);
        for interval in [0, 1, 5, 1 << 24, 7, 5] {
            assert!(recent.note(key(1), interval), "{interval}");
            assert!(!recent.note(key(1), interval), "{interval}");
        }
    }

    /// By a clock that steps to and fro, neither of two keys is noted more often than alone.
    #[test]
    fn no_key_is_forgotten_while_there_is_room() {
        let recent = Recent::new(0);
        let keys = || (1..=WAYS as u64).map(|n| (KeyId::from_u128(u128::from(n)), n));
        assert!(keys().all(|(key, interval)| recent.note(key, interval)));
        assert!(keys().all(|(key, interval)| !recent.note(key, interval)));
    }

    #[test]
    fn it_holds_as_many_as_it_was_made_for() {
        const KEYS: u64 = 4_096;
        let recent = Recent::new(KEYS);
        for interval in 1..4 {
            assert!((0..KEYS).all(|n| recent.note(key(n), interval)), "never too few");
            let again = (0..KEYS).filter(|n| recent.note(key(*n), interval)).count();
            assert!(again < KEYS as usize / 3, "{again} keys were forgotten");
        }
    }
}
