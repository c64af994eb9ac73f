//! The slab: cache lines by number, each used again when no reader can be led to it any more.
//!
//! Limit records, lists of networks, permission sets and owners' ids lie in slabs. A reader may still look at
//! an entry that was given to another key or owner. What it read there counts only if the slot, the owner's
//! word or the reference that led it there is still the same afterwards.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::hints::prefetch;
use super::pages::Pages;

/// Words of an entry.
pub(in super::super) const WORDS: usize = 8;
/// The most entries that are made at once.
const LARGEST: u32 = 1 << 18;

/// The number of entries that must be released after one before it is used again, unless no other
/// is left.
///
/// No key is judged by another's limits without it: the slot or the owner's word tells afterwards.
/// But a thread may be interrupted before it takes a use from a record, and take it when another
/// key has the record.
pub(in super::super) const QUARANTINE: usize = 1 << 10;

/// One cache line, so that threads that spend from two records don't slow each other down.
#[repr(align(64))]
pub(in super::super) struct SlabEntry([AtomicU64; WORDS]);

impl fmt::Debug for SlabEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlabEntry").finish_non_exhaustive()
    }
}

/// The entries by number.
#[derive(Debug)]
pub(in super::super) struct Slab(Pages<SlabEntry, LARGEST>);

/// The writer's side: which numbers are free.
#[derive(Debug)]
pub(in super::super) struct SlabNumbers {
    next: u32,
    /// First in, first out, so that an entry stays unused as long as possible.
    free: VecDeque<u32>,
    /// The greatest number that may be given.
    pub(in super::super) max: u32,
    /// [`QUARANTINE`], except in tests that look at what happens without.
    pub(in super::super) quarantine: usize,
}

impl Default for SlabNumbers {
    fn default() -> Self {
        Self::up_to(u32::MAX)
    }
}

impl SlabEntry {
    fn empty() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }

    #[inline]
    pub(in super::super) fn word(&self, at: usize) -> &AtomicU64 {
        &self.0[at]
    }

    /// Reads a word, which counts if what led here is still the same afterwards.
    #[inline]
    pub(in super::super) fn read(&self, at: usize) -> u64 {
        // Relaxed: the slot's or the owner's word was loaded before with Acquire, and an Acquire
        // fence follows before it is compared.
        self.0[at].load(Ordering::Relaxed)
    }

    /// Fills the entry for its next use. The caller publishes it by a Release store after this.
    pub(in super::super) fn fill(&self, words: [u64; WORDS]) {
        // Release fence: orders the end of the entry's last use before these words. Without it a
        // reader that was led here by the last use takes these words for its own.
        fence(Ordering::Release);
        for (place, word) in self.0.iter().zip(words) {
            place.store(word, Ordering::Relaxed);
        }
    }
}

impl Slab {
    pub(in super::super) fn new() -> Self {
        Self(Pages::new())
    }

    #[inline]
    pub(in super::super) fn get(&self, number: u32) -> Option<&SlabEntry> {
        self.0.get(number)
    }

    /// Returns an entry, after making it if there is none; `None` past the limit.
    pub(in super::super) fn get_or_make(&self, number: u32) -> Option<&SlabEntry> {
        self.0.get_or_make(number, SlabEntry::empty)
    }

    /// Makes the entries below a number; returns whether there can be so many.
    pub(in super::super) fn make(&mut self, entries: u32) -> bool {
        (0..entries).all(|number| self.get_or_make(number).is_some())
    }

    /// Rounds a number of entries down to those that are allocated together.
    pub(in super::super) fn whole_parts(entries: u32) -> u32 {
        Pages::<SlabEntry, LARGEST>::whole_parts(entries)
    }

    /// Returns the words of an entry that no other thread uses.
    pub(in super::super) fn words(&mut self, number: u32) -> [u64; WORDS] {
        self.get(number).map_or([0; WORDS], |entry| std::array::from_fn(|at| entry.read(at)))
    }

    /// Replaces the words of an entry that no other thread uses; returns the words before.
    pub(in super::super) fn swap(&mut self, number: u32, words: [u64; WORDS]) -> [u64; WORDS] {
        let before = self.words(number);
        if let Some(entry) = self.get(number) {
            entry.fill(words);
        }
        before
    }

    /// Prefetches entries side by side.
    #[inline]
    pub(in super::super) fn prefetch_some(&self, first: u32, entries: usize) {
        // Fewer at the end of a part.
        self.0.from(first).iter().take(entries).for_each(prefetch);
    }

    /// Prefetches an entry.
    #[inline]
    pub(in super::super) fn prefetch(&self, number: u32) {
        if let Some(entry) = self.get(number) {
            prefetch(entry);
        }
    }
}

impl SlabNumbers {
    /// Makes numbers up to a greatest one.
    pub(in super::super) fn up_to(max: u32) -> Self {
        Self { next: 0, free: VecDeque::new(), max, quarantine: QUARANTINE }
    }

    /// Acquires an entry; `None` past the limit.
    pub(in super::super) fn acquire<'a>(&mut self, slab: &'a Slab) -> Option<(u32, &'a SlabEntry)> {
        if self.free.len() <= self.quarantine
            && self.next <= self.max
            && let Some(entry) = slab.get_or_make(self.next)
        {
            self.next += 1;
            return Some((self.next - 1, entry));
        }
        let number = self.free.pop_front()?;
        Some((number, slab.get(number)?))
    }

    /// Releases an entry to which no reader will be led any more.
    pub(in super::super) fn release(&mut self, number: u32) {
        self.free.push_back(number);
    }

    /// Returns how many more entries can be acquired.
    pub(in super::super) fn room(&self) -> u32 {
        let free = u32::try_from(self.free.len()).unwrap_or(u32::MAX);
        let never_given = self.max.checked_sub(self.next).map_or(0, |more| more.saturating_add(1));
        never_given.saturating_add(free)
    }

    /// Returns the numbers of entries that are in use, and of all entries.
    #[cfg(test)]
    pub(in super::super) fn count(&self) -> (usize, usize) {
        (self.next as usize - self.free.len(), self.next as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_in_quarantine_before_it_is_used_again() {
        let slab = Slab::new();
        let mut numbers = SlabNumbers::default();
        let acquire = |numbers: &mut SlabNumbers| numbers.acquire(&slab).unwrap().0;
        assert_eq!(size_of::<SlabEntry>(), 64);
        let quarantine = u32::try_from(QUARANTINE).unwrap();
        for number in 0..=quarantine {
            assert_eq!(acquire(&mut numbers), number);
            numbers.release(number);
        }
        assert_eq!(numbers.count(), (0, QUARANTINE + 1));
        // After the first, as many were released.
        for number in 0..3 {
            assert_eq!(acquire(&mut numbers), number);
            numbers.release(number);
        }
        assert_eq!(numbers.count(), (0, QUARANTINE + 1));
    }
}
