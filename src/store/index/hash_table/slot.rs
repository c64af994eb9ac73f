//! Slots: nine words that a reader sees whole or not at all.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::super::memory::hints::prefetch;

/// Bits of a key hash.
pub(in super::super) const HASH_BITS: u32 = 45;

/// The hash of a slot that was never filled since its unit was taken: a search ends there.
const EMPTY: u64 = 0;
/// The hash of a slot whose contents ended: a search goes on.
const RETIRED: u64 = (1 << HASH_BITS) - 1;
const PROBE_BITS: u32 = 3;
const PROBE_MASK: u64 = (1 << PROBE_BITS) - 1;
const SEQUENCE_MASK: u64 = (1 << (64 - HASH_BITS)) - 1 - PROBE_MASK;
const SEQUENCE_ONE: u64 = 1 << PROBE_BITS;
/// The hash's lowest bit in the head.
const HASH_AT: u32 = 64 - HASH_BITS;

/// The contents of a slot: seven words in its own cache line, and one in a line that eight slots
/// share.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Words {
    pub(in super::super) near: [u64; 7],
    pub(in super::super) far: u64,
}

impl fmt::Debug for Words {
    /// Shows no word: some are parts of a digest.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Words").finish_non_exhaustive()
    }
}

/// One cache line: a head of 45 bits of hash, 16 of sequence and 3 of probe length, then seven
/// words of contents. The probe length isn't the contents' own. It says how far from here the
/// contents lie whose search begins here.
#[repr(align(64))]
struct CacheLine {
    head: AtomicU64,
    words: [AtomicU64; 7],
}

impl fmt::Debug for CacheLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheLine").finish_non_exhaustive()
    }
}

/// Eight slots: their cache lines, then one line with the far word of each.
struct SlotGroup {
    lines: [CacheLine; 8],
    far: [AtomicU64; 8],
}

/// Slots that are allocated together, eight in each slot group.
pub(in super::super) struct Unit<const SLOT_GROUPS: usize>([SlotGroup; SLOT_GROUPS]);

impl<const SLOT_GROUPS: usize> fmt::Debug for Unit<SLOT_GROUPS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unit").finish_non_exhaustive()
    }
}

/// One slot of a unit: a seqlock (Boehm 2012) whose readers never spin.
///
/// The head's sequence grows with each change but that of the probe length. A reader that finds the
/// sequence unchanged after its reads has read words of one filling. A reader that meets a change
/// goes on to the next slot, and the table's directory tells it to search again.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Slot<'a> {
    line: &'a CacheLine,
    far: &'a AtomicU64,
}

/// The near words of a slot, of one filling, and the way to the far word.
#[derive(Clone, Copy)]
pub(in super::super) struct Found<'a> {
    pub(in super::super) near: [u64; 7],
    pub(in super::super) seen: ReadVersion<'a>,
}

/// The version of a slot at a read. What a reader found where the slot's words led to counts if the
/// version is still the same afterwards.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct ReadVersion<'a> {
    slot: Slot<'a>,
    head: u64,
}

impl fmt::Debug for Found<'_> {
    /// Shows no word: some are parts of a digest.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Found").finish_non_exhaustive()
    }
}

/// The outcome of looking at a slot for a hash.
#[derive(Clone, Copy, Debug)]
pub(in super::super) enum Seen<'a> {
    /// Nothing here, and nothing after it.
    End,
    /// Something different, or a slot that is being changed.
    Other,
    /// The hash, and the words that belong to it.
    Match(Found<'a>),
}

/// Hashes a key's id. The result is neither of the two values that mark a slot without contents.
#[inline]
pub(in super::super) fn hash_of(id: u128) -> u64 {
    // The low half holds 62 random bits; multiplying by an odd number (2^64 divided by the golden
    // ratio) spreads all of them into the leading bits.
    #[allow(clippy::cast_possible_truncation)]
    let mixed = (id as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> HASH_AT).clamp(1, RETIRED - 1)
}

impl<const SLOT_GROUPS: usize> Unit<SLOT_GROUPS> {
    /// The number of slots.
    pub(in super::super) const SLOTS: usize = 8 * SLOT_GROUPS;

    pub(in super::super) fn empty() -> Self {
        let word = || AtomicU64::new(0);
        let line = || CacheLine { head: word(), words: std::array::from_fn(|_| word()) };
        Self(std::array::from_fn(|_| SlotGroup {
            lines: std::array::from_fn(|_| line()),
            far: std::array::from_fn(|_| word()),
        }))
    }

    #[inline]
    pub(in super::super) fn slot(&self, at: usize) -> Slot<'_> {
        let slot_group = &self.0[at / 8];
        Slot { line: &slot_group.lines[at % 8], far: &slot_group.far[at % 8] }
    }

    /// Returns the slots from `at` on.
    #[inline]
    pub(in super::super) fn slots_from(&self, at: usize) -> impl Iterator<Item = Slot<'_>> {
        (at..Self::SLOTS).map(|at| self.slot(at))
    }
}

/// The readers' side.
impl<'a> Slot<'a> {
    /// Prefetches the slot's cache line.
    #[inline]
    pub(in super::super) fn prefetch(self) {
        prefetch(self.line);
    }

    /// Returns the probe length: the number of slots from here on that may hold contents whose
    /// search begins here.
    #[inline]
    pub(in super::super) fn probe_len(self) -> usize {
        // Acquire: a reader that takes its length from a cleared slot must see that the directory
        // leads elsewhere by now. It would end its search otherwise.
        let len = self.line.head.load(Ordering::Acquire) & PROBE_MASK;
        // The greatest that can be written stands for any.
        if len == PROBE_MASK { usize::MAX } else { len as usize }
    }

    /// Looks for a hash in this slot.
    #[inline]
    pub(in super::super) fn read(self, hash: u64) -> Seen<'a> {
        // Acquire: the words below must not be older than this head, and a reader that finds the
        // slot retired or cleared must see that this was announced.
        let head = self.line.head.load(Ordering::Acquire);
        let seen = head >> HASH_AT;
        if seen != hash {
            return if seen == EMPTY { Seen::End } else { Seen::Other };
        }
        let near = self.near();
        if self.validate(head) {
            Seen::Match(Found { near, seen: ReadVersion { slot: self, head } })
        } else {
            Seen::Other
        }
    }

    /// Whether all words that were read since `head` belong to it.
    #[inline]
    fn validate(self, head: u64) -> bool {
        // Acquire fence: pairs with the release fence in `fill`. If a word came from a later
        // filling, the load below sees the retiring before that filling. Without it a reader takes
        // words of two fillings for one.
        fence(Ordering::Acquire);
        // Acquire: a reader that finds the slot retired must also see that this was announced. It
        // would end its search otherwise, and miss a key that lives.
        (self.line.head.load(Ordering::Acquire) ^ head) & !PROBE_MASK == 0
    }

    /// Returns the words, which `validate` judges afterwards.
    #[inline]
    fn near(self) -> [u64; 7] {
        // Relaxed: the head's loads before and after order them.
        std::array::from_fn(|i| self.line.words[i].load(Ordering::Relaxed))
    }
}

/// The writer's side; there is one writer. Its own loads are Relaxed: it sees its own last store.
impl Slot<'_> {
    /// Raises the probe length to at least `slots`, before the last of those slots is filled.
    pub(in super::super) fn extend_probe_len(self, slots: usize) {
        let head = self.line.head.load(Ordering::Relaxed);
        let len = (head & PROBE_MASK).max((slots as u64).min(PROBE_MASK));
        // Release: this store replaces the one that published the slot's words, and a reader may
        // take its head from here.
        self.line.head.store(head & !PROBE_MASK | len, Ordering::Release);
    }

    /// Returns the hash of what lives here.
    pub(in super::super) fn hash(self) -> Option<u64> {
        let hash = self.line.head.load(Ordering::Relaxed) >> HASH_AT;
        (hash != EMPTY && hash != RETIRED).then_some(hash)
    }

    /// Returns the words.
    pub(in super::super) fn contents(self) -> Words {
        Words { near: self.near(), far: self.far.load(Ordering::Relaxed) }
    }

    /// Whether the slot was never filled since its unit was taken.
    pub(in super::super) fn is_empty(self) -> bool {
        self.line.head.load(Ordering::Relaxed) >> HASH_AT == EMPTY
    }

    /// Fills a slot in which nothing lives, and publishes it.
    pub(in super::super) fn fill(self, hash: u64, words: &Words) {
        // Release fence: orders the retiring (or clearing) before the words. Without it a reader of
        // the previous filling sees new words under the old head.
        fence(Ordering::Release);
        self.rewrite(words);
        self.mark(hash);
    }

    /// Replaces words that no reader can see yet.
    pub(in super::super) fn rewrite(self, words: &Words) {
        // Relaxed: the head's release store publishes them, or the index as a whole does.
        for (place, word) in self.line.words.iter().zip(words.near) {
            place.store(word, Ordering::Relaxed);
        }
        self.far.store(words.far, Ordering::Relaxed);
    }

    /// Ends what lives here.
    pub(in super::super) fn retire(self) {
        self.mark(RETIRED);
    }

    /// Empties the slot, for another group.
    pub(in super::super) fn clear(self) {
        // Release, and one store: a reader that finds the slot empty, or no probe length, must see
        // that the directory leads elsewhere by now. It would end its search otherwise.
        self.line.head.store(EMPTY | self.next_sequence(), Ordering::Release);
    }

    fn mark(self, hash: u64) {
        let probe_len = self.line.head.load(Ordering::Relaxed) & PROBE_MASK;
        let head = hash << HASH_AT | self.next_sequence() | probe_len;
        // Release: publishes the words of a filling, and the announcement before a retiring.
        self.line.head.store(head, Ordering::Release);
    }

    fn next_sequence(self) -> u64 {
        self.line.head.load(Ordering::Relaxed).wrapping_add(SEQUENCE_ONE) & SEQUENCE_MASK
    }
}

impl Found<'_> {
    /// Returns the far word; `None` if the slot was changed meanwhile.
    #[inline]
    pub(in super::super) fn far(&self) -> Option<u64> {
        let ReadVersion { slot, head } = self.seen;
        // Relaxed: `validate` rejects the word of another filling.
        let far = slot.far.load(Ordering::Relaxed);
        slot.validate(head).then_some(far)
    }
}

impl ReadVersion<'_> {
    /// Whether the slot is still as it was read.
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

    /// Returns the value with which the slot was filled under a hash; `Err` says whether a search
    /// goes on.
    fn read(slot: Slot<'_>, hash: u64) -> Result<u64, bool> {
        match slot.read(hash) {
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
        assert_eq!((read(slot, 5), slot.hash()), (Err(true), None));
        slot.fill(5, &words(2));
        assert_eq!(read(slot, 5), Ok(2));
        slot.clear();
        assert_eq!(read(slot, 5), Err(false));
    }

    #[test]
    fn the_far_word_belongs_to_the_others_or_is_none() {
        let unit = Unit::<1>::empty();
        let slot = unit.slot(0);
        slot.fill(5, &words(1));
        let Seen::Match(found) = slot.read(5) else { panic!("not found") };
        slot.extend_probe_len(3);
        assert_eq!(found.far(), Some(1));
        slot.retire();
        slot.fill(5, &words(2));
        assert_eq!((found.near[0], found.far()), (1, None));
    }

    #[test]
    fn its_probe_length_only_grows_until_it_is_cleared() {
        let unit = Unit::<1>::empty();
        let slot = unit.slot(0);
        for (slots, len) in [(0, 0), (3, 3), (2, 3), (6, 6), (7, usize::MAX), (1, usize::MAX)] {
            slot.extend_probe_len(slots);
            slot.fill(5, &words(1));
            assert_eq!((slot.probe_len(), read(slot, 5)), (len, Ok(1)));
            slot.retire();
        }
        slot.clear();
        assert_eq!((slot.probe_len(), read(slot, 5)), (0, Err(false)));
    }

    #[test]
    fn hashes_never_mean_something_else() {
        for id in [0, 1, u128::MAX, 1 << 127] {
            let hash = hash_of(id);
            assert!(hash != EMPTY && hash != RETIRED && hash >> HASH_BITS == 0);
        }
    }

    /// Readers see each filling whole while the slot is filled and retired all the time.
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
