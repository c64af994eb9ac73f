//! Eight words that a reader sees whole or not at all.

use std::sync::atomic::{AtomicU64, Ordering, fence};

/// How many bits of a key's tag lie in a slot.
pub(super) const TAG_BITS: u32 = 48;
/// How many slots make a unit.
pub(super) const UNIT_SLOTS: usize = 16;

/// Nothing was ever here since its unit was taken: a search ends.
const EMPTY: u64 = 0;
/// Something was here: a search goes on.
const RETIRED: u64 = (1 << TAG_BITS) - 1;
const SEQUENCE_BITS: u32 = 64 - TAG_BITS;
const SEQUENCE_MASK: u64 = (1 << SEQUENCE_BITS) - 1;

/// What a slot holds beside its tag.
pub(super) type Words = [u64; 7];

/// One cache line: a word of 48 bits of tag and 16 of sequence, and seven of contents.
///
/// The sequence grows with every change of the first word, so that a reader who finds that word
/// the same after reading the contents has read what belongs to it (a seqlock, Boehm 2012, but
/// for the waiting: a reader that meets a change goes on, it never spins on a writer).
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Slot {
    head: AtomicU64,
    words: [AtomicU64; 7],
}

/// What a reader finds in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nothing, and nothing after it.
    End,
    /// Something else.
    Other,
    /// The tag that was looked for, and what belongs to it.
    Match(Words),
}

/// The tag of a key: never one of the two that mean something else.
#[inline]
pub(super) fn tag_of(id: u128) -> u64 {
    // The low half holds 62 random bits; multiplying by an odd number (2^64 divided by the golden
    // ratio) spreads all of them into the leading bits.
    #[allow(clippy::cast_possible_truncation)]
    let mixed = (id as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> SEQUENCE_BITS).clamp(1, RETIRED - 1)
}

impl Slot {
    pub(super) fn empty() -> Self {
        Self { head: AtomicU64::new(0), words: std::array::from_fn(|_| AtomicU64::new(0)) }
    }

    /// What is here for a tag.
    #[inline]
    pub(super) fn read(&self, tag: u64) -> Seen {
        let head = self.head.load(Ordering::Acquire);
        let seen = head >> SEQUENCE_BITS;
        if seen != tag {
            return if seen == EMPTY { Seen::End } else { Seen::Other };
        }
        let words = std::array::from_fn(|i| self.words[i].load(Ordering::Relaxed));
        // If a word above came from a later filling, this fence makes the retiring before that
        // filling visible to the load below.
        fence(Ordering::Acquire);
        if self.head.load(Ordering::Relaxed) == head { Seen::Match(words) } else { Seen::Other }
    }

    /// The tag of what lives here. For the writer.
    pub(super) fn tag(&self) -> Option<u64> {
        let tag = self.head.load(Ordering::Relaxed) >> SEQUENCE_BITS;
        (tag != EMPTY && tag != RETIRED).then_some(tag)
    }

    /// What lives here. For the writer.
    pub(super) fn contents(&self) -> Words {
        std::array::from_fn(|i| self.words[i].load(Ordering::Relaxed))
    }

    /// Whether it was never filled since its unit was taken. For the writer.
    pub(super) fn is_empty(&self) -> bool {
        self.head.load(Ordering::Relaxed) >> SEQUENCE_BITS == EMPTY
    }

    /// Fills a slot in which nothing lives, and publishes it.
    pub(super) fn fill(&self, tag: u64, words: &Words) {
        // Orders the retiring (or clearing) before the words, for readers still at the old ones.
        fence(Ordering::Release);
        for (word, value) in self.words.iter().zip(words) {
            word.store(*value, Ordering::Relaxed);
        }
        self.mark(tag);
    }

    /// Ends what lives here.
    pub(super) fn retire(&self) {
        self.mark(RETIRED);
    }

    /// Makes the slot empty again, for another group.
    pub(super) fn clear(&self) {
        self.mark(EMPTY);
    }

    fn mark(&self, tag: u64) {
        let sequence = self.head.load(Ordering::Relaxed).wrapping_add(1) & SEQUENCE_MASK;
        self.head.store(tag << SEQUENCE_BITS | sequence, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_one_cache_line() {
        assert_eq!((size_of::<Slot>(), align_of::<Slot>()), (64, 64));
    }

    #[test]
    fn filled_retired_and_filled_again() {
        let slot = Slot::empty();
        assert_eq!(slot.read(5), Seen::End);
        slot.fill(5, &[1; 7]);
        assert_eq!((slot.read(5), slot.read(6)), (Seen::Match([1; 7]), Seen::Other));
        slot.retire();
        assert_eq!((slot.read(5), slot.tag()), (Seen::Other, None));
        slot.fill(5, &[2; 7]);
        assert_eq!(slot.read(5), Seen::Match([2; 7]));
        slot.clear();
        assert_eq!(slot.read(5), Seen::End);
    }

    #[test]
    fn tags_never_mean_something_else() {
        for id in [0, 1, u128::MAX, 1 << 127] {
            let tag = tag_of(id);
            assert!(tag != EMPTY && tag != RETIRED && tag >> TAG_BITS == 0);
        }
    }

    /// Readers of a slot that is filled and retired all the time see each filling whole.
    #[test]
    fn contents_are_never_torn() {
        let slot = Slot::empty();
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        let mut seen = 0_u64;
                        while !stop.load(Ordering::Relaxed) {
                            if let Seen::Match(words) = slot.read(7) {
                                assert!(words.iter().all(|word| *word == words[0]), "{words:?}");
                                seen += 1;
                            }
                        }
                        seen
                    })
                })
                .collect();
            for value in 0..200_000 {
                slot.fill(7, &[value; 7]);
                slot.retire();
            }
            // One last time, so that every reader has something to see.
            slot.fill(7, &[1; 7]);
            while readers.iter().any(|reader| !reader.is_finished()) {
                stop.store(true, Ordering::Relaxed);
                std::thread::yield_now();
            }
        });
        assert_eq!(slot.read(7), Seen::Match([1; 7]));
    }
}
