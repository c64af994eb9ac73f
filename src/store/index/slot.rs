//! Ten words that a reader sees whole or not at all.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::prefetch::prefetch;

/// How many bits of a key's tag lie in a slot.
pub(super) const TAG_BITS: u32 = 45;

/// Nothing was ever here since its unit was taken: a search ends.
const EMPTY: u64 = 0;
/// Something was here: a search goes on.
const RETIRED: u64 = (1 << TAG_BITS) - 1;
const REACH_BITS: u32 = 3;
const REACH_MASK: u64 = (1 << REACH_BITS) - 1;
const SEQUENCE_MASK: u64 = (1 << (64 - TAG_BITS)) - 1 - REACH_MASK;
const SEQUENCE_ONE: u64 = 1 << REACH_BITS;
/// Where the tag begins.
const TAG_AT: u32 = 64 - TAG_BITS;

/// What a slot holds beside its tag: seven words in its own cache line, and two apart.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) near: [u64; 7],
    pub(super) far: [u64; 2],
}

impl fmt::Debug for Words {
    /// Part of them is a digest.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Words").finish_non_exhaustive()
    }
}

/// One cache line: a word of 45 bits of tag, 16 of sequence and 3 of reach, and seven of contents.
/// The reach isn't the contents' own: it says how far from here those lie whose search begins here.
#[repr(align(64))]
struct Line {
    head: AtomicU64,
    words: [AtomicU64; 7],
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").finish_non_exhaustive()
    }
}

/// Four slots side by side: their lines, and after them the words of each that lie apart, so that
/// both can be fetched at once and lie in one page of memory.
struct Quad {
    lines: [Line; 4],
    far: [[AtomicU64; 2]; 4],
}

/// So many times four slots.
pub(super) struct Unit<const QUADS: usize>([Quad; QUADS]);

impl<const QUADS: usize> fmt::Debug for Unit<QUADS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unit").finish_non_exhaustive()
    }
}

/// One slot of a unit.
///
/// The sequence in the first word grows with every change of that word, so that a reader who finds
/// it the same after reading the contents has read what belongs to it (a seqlock, Boehm 2012, but
/// for the waiting: a reader that meets a change goes on, it never spins on a writer).
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot<'a> {
    line: &'a Line,
    far: &'a [AtomicU64; 2],
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
    (mixed >> TAG_AT).clamp(1, RETIRED - 1)
}

impl<const QUADS: usize> Unit<QUADS> {
    /// How many slots it has.
    pub(super) const SLOTS: usize = 4 * QUADS;

    pub(super) fn empty() -> Self {
        let word = || AtomicU64::new(0);
        let line = || Line { head: word(), words: std::array::from_fn(|_| word()) };
        Self(std::array::from_fn(|_| Quad {
            lines: std::array::from_fn(|_| line()),
            far: std::array::from_fn(|_| [word(), word()]),
        }))
    }

    #[inline]
    pub(super) fn slot(&self, at: usize) -> Slot<'_> {
        let quad = &self.0[at / 4];
        Slot { line: &quad.lines[at % 4], far: &quad.far[at % 4] }
    }

    /// The slots from one on.
    #[inline]
    pub(super) fn slots_from(&self, at: usize) -> impl Iterator<Item = Slot<'_>> {
        (at..Self::SLOTS).map(|at| self.slot(at))
    }
}

impl Slot<'_> {
    /// Has its line fetched.
    #[inline]
    pub(super) fn prefetch(self) {
        prefetch(self.line);
    }

    /// Has its words apart fetched; those of its neighbours mostly come along.
    #[inline]
    pub(super) fn prefetch_far(self) {
        prefetch(self.far);
    }

    /// How many slots from here on may hold what begins its search here.
    #[inline]
    pub(super) fn reach(self) -> usize {
        let reach = self.line.head.load(Ordering::Acquire) & REACH_MASK;
        // The greatest that can be written stands for any.
        if reach == REACH_MASK { usize::MAX } else { reach as usize }
    }

    /// Whoever begins a search here shall look at so many slots at least. For the writer, before
    /// it fills the last of them.
    pub(super) fn reach_to(self, slots: usize) {
        let head = self.line.head.load(Ordering::Relaxed);
        let reach = (head & REACH_MASK).max((slots as u64).min(REACH_MASK));
        self.line.head.store(head & !REACH_MASK | reach, Ordering::Release);
    }

    /// What is here for a tag.
    #[inline]
    pub(super) fn read(self, tag: u64) -> Seen {
        let head = self.line.head.load(Ordering::Acquire);
        let seen = head >> TAG_AT;
        if seen != tag {
            return if seen == EMPTY { Seen::End } else { Seen::Other };
        }
        let words = self.contents();
        // If a word above came from a later filling, this fence makes the retiring before that
        // filling visible to the load below.
        fence(Ordering::Acquire);
        // Acquire, so that whoever finds it retired also sees that it was announced.
        if (self.line.head.load(Ordering::Acquire) ^ head) & !REACH_MASK == 0 {
            Seen::Match(words)
        } else {
            Seen::Other
        }
    }

    /// The tag of what lives here. For the writer.
    pub(super) fn tag(self) -> Option<u64> {
        let tag = self.line.head.load(Ordering::Relaxed) >> TAG_AT;
        (tag != EMPTY && tag != RETIRED).then_some(tag)
    }

    /// What is here. Torn, unless by the writer or between two looks at the head.
    #[inline]
    pub(super) fn contents(self) -> Words {
        Words {
            near: std::array::from_fn(|i| self.line.words[i].load(Ordering::Relaxed)),
            far: std::array::from_fn(|i| self.far[i].load(Ordering::Relaxed)),
        }
    }

    /// Whether it was never filled since its unit was taken. For the writer.
    pub(super) fn is_empty(self) -> bool {
        self.line.head.load(Ordering::Relaxed) >> TAG_AT == EMPTY
    }

    /// Fills a slot in which nothing lives, and publishes it.
    pub(super) fn fill(self, tag: u64, words: &Words) {
        // Orders the retiring (or clearing) before the words, for readers still at the old ones.
        fence(Ordering::Release);
        let places = self.line.words.iter().chain(self.far);
        for (place, word) in places.zip(words.near.iter().chain(&words.far)) {
            place.store(*word, Ordering::Relaxed);
        }
        self.mark(tag);
    }

    /// Ends what lives here.
    pub(super) fn retire(self) {
        self.mark(RETIRED);
    }

    /// Makes the slot empty again, for another group.
    pub(super) fn clear(self) {
        // In one store: whoever sees no reach also sees that the group was given up.
        self.line.head.store(EMPTY | self.next_sequence(), Ordering::Release);
    }

    fn mark(self, tag: u64) {
        let reach = self.line.head.load(Ordering::Relaxed) & REACH_MASK;
        let head = tag << TAG_AT | self.next_sequence() | reach;
        self.line.head.store(head, Ordering::Release);
    }

    fn next_sequence(self) -> u64 {
        self.line.head.load(Ordering::Relaxed).wrapping_add(SEQUENCE_ONE) & SEQUENCE_MASK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(value: u64) -> Words {
        Words { near: [value; 7], far: [value; 2] }
    }

    #[test]
    fn a_slot_is_one_cache_line_and_two_words() {
        assert_eq!((size_of::<Unit<8>>(), align_of::<Unit<8>>()), (32 * 80, 64));
    }

    #[test]
    fn filled_retired_and_filled_again() {
        let unit = Unit::<1>::empty();
        let slot = unit.slot(0);
        assert_eq!(slot.read(5), Seen::End);
        slot.fill(5, &words(1));
        assert_eq!((slot.read(5), slot.read(6)), (Seen::Match(words(1)), Seen::Other));
        slot.retire();
        assert_eq!((slot.read(5), slot.tag()), (Seen::Other, None));
        slot.fill(5, &words(2));
        assert_eq!(slot.read(5), Seen::Match(words(2)));
        slot.clear();
        assert_eq!(slot.read(5), Seen::End);
    }

    #[test]
    fn its_reach_only_grows_until_it_is_cleared() {
        let unit = Unit::<1>::empty();
        let slot = unit.slot(0);
        for (slots, reach) in [(0, 0), (3, 3), (2, 3), (6, 6), (7, usize::MAX), (1, usize::MAX)] {
            slot.reach_to(slots);
            slot.fill(5, &words(1));
            assert_eq!((slot.reach(), slot.read(5)), (reach, Seen::Match(words(1))));
            slot.retire();
        }
        slot.clear();
        assert_eq!((slot.reach(), slot.read(5)), (0, Seen::End));
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
        let unit = Unit::<1>::empty();
        let slot = unit.slot(0);
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        if let Seen::Match(seen) = slot.read(7) {
                            assert_eq!(seen, words(seen.near[0]));
                        }
                    }
                });
            }
            for value in 0..50_000 {
                slot.fill(7, &words(value));
                slot.retire();
            }
            stop.store(true, Ordering::Relaxed);
        });
        slot.fill(7, &words(1));
        assert_eq!(slot.read(7), Seen::Match(words(1)));
    }
}
