//! Nine words that a reader sees whole or not at all.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use crate::store::index::memory::hints::prefetch;

/// How many bits of a key's tag lie in a slot.
pub(in crate::store::index) const TAG_BITS: u32 = 45;

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

/// What a slot holds beside its tag: seven words in its own cache line, and one apart.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::store::index) struct Words {
    pub(in crate::store::index) near: [u64; 7],
    pub(in crate::store::index) far: u64,
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

/// Eight slots side by side: their lines, and after them the word of each that lies apart.
struct SlotGroup {
    lines: [Line; 8],
    far: [AtomicU64; 8],
}

/// So many times eight slots.
pub(in crate::store::index) struct Unit<const OCTETS: usize>([SlotGroup; OCTETS]);

impl<const OCTETS: usize> fmt::Debug for Unit<OCTETS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unit").finish_non_exhaustive()
    }
}

/// One slot of a unit.
///
/// The sequence in the first word grows with every change but that of the reach, so that a reader who finds
/// it the same after reading the contents has read what belongs to it (a seqlock, Boehm 2012, but
/// for the waiting: a reader that meets a change goes on, it never spins on a writer).
#[derive(Clone, Copy, Debug)]
pub(in crate::store::index) struct Slot<'a> {
    line: &'a Line,
    far: &'a AtomicU64,
}

/// The near words of a slot, whole, and the way to the far one.
#[derive(Clone, Copy)]
pub(in crate::store::index) struct Found<'a> {
    pub(in crate::store::index) near: [u64; 7],
    pub(in crate::store::index) seen: ReadVersion<'a>,
}

/// A slot as it was seen: what was read where its words led to counts if it is still so.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct ReadVersion<'a> {
    slot: Slot<'a>,
    head: u64,
}

impl fmt::Debug for Found<'_> {
    /// Part of the words is a digest.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Found").finish_non_exhaustive()
    }
}

/// What a reader finds in a slot.
#[derive(Clone, Copy, Debug)]
pub(in crate::store::index) enum Seen<'a> {
    /// Nothing, and nothing after it.
    End,
    /// Something else.
    Other,
    /// The tag that was looked for, and what belongs to it.
    Match(Found<'a>),
}

/// The tag of a key: never one of the two that mean something else.
#[inline]
pub(in crate::store::index) fn tag_of(id: u128) -> u64 {
    // The low half holds 62 random bits; multiplying by an odd number (2^64 divided by the golden
    // ratio) spreads all of them into the leading bits.
    #[allow(clippy::cast_possible_truncation)]
    let mixed = (id as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> TAG_AT).clamp(1, RETIRED - 1)
}

impl<const OCTETS: usize> Unit<OCTETS> {
    /// How many slots it has.
    pub(in crate::store::index) const SLOTS: usize = 8 * OCTETS;

    pub(in crate::store::index) fn empty() -> Self {
        let word = || AtomicU64::new(0);
        let line = || Line { head: word(), words: std::array::from_fn(|_| word()) };
        Self(std::array::from_fn(|_| SlotGroup {
            lines: std::array::from_fn(|_| line()),
            far: std::array::from_fn(|_| word()),
        }))
    }

    #[inline]
    pub(in crate::store::index) fn slot(&self, at: usize) -> Slot<'_> {
        let octet = &self.0[at / 8];
        Slot { line: &octet.lines[at % 8], far: &octet.far[at % 8] }
    }

    /// The slots from one on.
    #[inline]
    pub(in crate::store::index) fn slots_from(&self, at: usize) -> impl Iterator<Item = Slot<'_>> {
        (at..Self::SLOTS).map(|at| self.slot(at))
    }
}

impl<'a> Slot<'a> {
    /// Has its line fetched.
    #[inline]
    pub(in crate::store::index) fn prefetch(self) {
        prefetch(self.line);
    }

    /// How many slots from here on may hold what begins its search here.
    #[inline]
    pub(in crate::store::index) fn reach(self) -> usize {
        let reach = self.line.head.load(Ordering::Acquire) & REACH_MASK;
        // The greatest that can be written stands for any.
        if reach == REACH_MASK { usize::MAX } else { reach as usize }
    }

    /// Whoever begins a search here shall look at so many slots at least. For the writer, before
    /// it fills the last of them.
    pub(in crate::store::index) fn reach_to(self, slots: usize) {
        let head = self.line.head.load(Ordering::Relaxed);
        let reach = (head & REACH_MASK).max((slots as u64).min(REACH_MASK));
        self.line.head.store(head & !REACH_MASK | reach, Ordering::Release);
    }

    /// What is here for a tag.
    #[inline]
    pub(in crate::store::index) fn read(self, tag: u64) -> Seen<'a> {
        let head = self.line.head.load(Ordering::Acquire);
        let seen = head >> TAG_AT;
        if seen != tag {
            return if seen == EMPTY { Seen::End } else { Seen::Other };
        }
        let near = self.near();
        if self.validate(head) {
            Seen::Match(Found { near, seen: ReadVersion { slot: self, head } })
        } else {
            Seen::Other
        }
    }

    /// Whether all that was read of it belongs to this head.
    #[inline]
    fn validate(self, head: u64) -> bool {
        // If a word came from a later filling, this fence makes the retiring before that filling
        // visible to the load below.
        fence(Ordering::Acquire);
        // Acquire, so that whoever finds it retired also sees that it was announced.
        (self.line.head.load(Ordering::Acquire) ^ head) & !REACH_MASK == 0
    }

    #[inline]
    fn near(self) -> [u64; 7] {
        std::array::from_fn(|i| self.line.words[i].load(Ordering::Relaxed))
    }

    /// The tag of what lives here. For the writer.
    pub(in crate::store::index) fn tag(self) -> Option<u64> {
        let tag = self.line.head.load(Ordering::Relaxed) >> TAG_AT;
        (tag != EMPTY && tag != RETIRED).then_some(tag)
    }

    /// What is here. For the writer.
    pub(in crate::store::index) fn contents(self) -> Words {
        Words { near: self.near(), far: self.far.load(Ordering::Relaxed) }
    }

    /// Whether it was never filled since its unit was taken. For the writer.
    pub(in crate::store::index) fn is_empty(self) -> bool {
        self.line.head.load(Ordering::Relaxed) >> TAG_AT == EMPTY
    }

    /// Fills a slot in which nothing lives, and publishes it.
    pub(in crate::store::index) fn fill(self, tag: u64, words: &Words) {
        // Orders the retiring (or clearing) before the words, for readers still at the old ones.
        fence(Ordering::Release);
        self.rewrite(words);
        self.mark(tag);
    }

    /// Puts words in the place of others, which nobody else sees.
    pub(in crate::store::index) fn rewrite(self, words: &Words) {
        for (place, word) in self.line.words.iter().zip(words.near) {
            place.store(word, Ordering::Relaxed);
        }
        self.far.store(words.far, Ordering::Relaxed);
    }

    /// Ends what lives here.
    pub(in crate::store::index) fn retire(self) {
        self.mark(RETIRED);
    }

    /// Makes the slot empty again, for another group.
    pub(in crate::store::index) fn clear(self) {
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

impl Found<'_> {
    /// The word apart; `None` if the slot was filled anew meanwhile.
    #[inline]
    pub(in crate::store::index) fn far(&self) -> Option<u64> {
        let ReadVersion { slot, head } = self.seen;
        let far = slot.far.load(Ordering::Relaxed);
        slot.validate(head).then_some(far)
    }
}

impl ReadVersion<'_> {
    /// Whether the slot was not filled anew.
    #[inline]
    pub(in crate::store) fn validate(self) -> bool {
        self.slot.validate(self.head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(value: u64) -> Words {
        Words { near: [value; 7], far: value }
    }

    /// The value with which the slot was filled under a tag; `Err` with whether a search goes on.
    fn read(slot: Slot<'_>, tag: u64) -> Result<u64, bool> {
        match slot.read(tag) {
            Seen::End => Err(false),
            Seen::Other => Err(true),
            Seen::Match(found) => {
                let value = found.near[0];
                assert_eq!(found.near, words(value).near);
                assert!(found.far().is_none_or(|far| far == value));
                Ok(value)
            }
        }
    }

    #[test]
    fn eight_slots_are_nine_cache_lines() {
        assert_eq!((size_of::<Unit<4>>(), align_of::<Unit<4>>()), (4 * 9 * 64, 64));
    }

    #[test]
    fn filled_retired_and_filled_again() {
        let unit = Unit::<1>::empty();
        let slot = unit.slot(0);
        assert_eq!(read(slot, 5), Err(false));
        slot.fill(5, &words(1));
        assert_eq!((read(slot, 5), read(slot, 6)), (Ok(1), Err(true)));
        slot.retire();
        assert_eq!((read(slot, 5), slot.tag()), (Err(true), None));
        slot.fill(5, &words(2));
        assert_eq!(read(slot, 5), Ok(2));
        slot.clear();
        assert_eq!(read(slot, 5), Err(false));
    }

    #[test]
    fn the_word_apart_belongs_to_the_others_or_is_not_told() {
        let unit = Unit::<1>::empty();
        let slot = unit.slot(0);
        slot.fill(5, &words(1));
        let Seen::Match(found) = slot.read(5) else { panic!("not found") };
        slot.reach_to(3);
        assert_eq!(found.far(), Some(1));
        slot.retire();
        slot.fill(5, &words(2));
        assert_eq!((found.near[0], found.far()), (1, None));
    }

    #[test]
    fn its_reach_only_grows_until_it_is_cleared() {
        let unit = Unit::<1>::empty();
        let slot = unit.slot(0);
        for (slots, reach) in [(0, 0), (3, 3), (2, 3), (6, 6), (7, usize::MAX), (1, usize::MAX)] {
            slot.reach_to(slots);
            slot.fill(5, &words(1));
            assert_eq!((slot.reach(), read(slot, 5)), (reach, Ok(1)));
            slot.retire();
        }
        slot.clear();
        assert_eq!((slot.reach(), read(slot, 5)), (0, Err(false)));
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
                        // It asserts that what it reads is whole.
                        let _ = read(slot, 7);
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
        assert_eq!(read(slot, 7), Ok(1));
    }
}
