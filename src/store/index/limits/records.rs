//! Cache lines by number, each used again when nobody refers to it any more.
//!
//! A reader may still look at a line that was given to somebody else. Whatever it has read there
//! counts only if, afterwards, that which led it to the line is still as it was.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use crate::store::index::memory::hints::prefetch;
use crate::store::index::memory::pages::Pages;

/// How many words a line has.
pub(in crate::store::index) const WORDS: usize = 8;
/// How many are made at once at most.
const LARGEST: u32 = 1 << 18;

/// How many lines must have been freed after one before it is used again, unless there can be no
/// other.
///
/// Nobody is judged by another's limits without it: whatever led to the line says afterwards whether
/// it was still its own. But a thread that was interrupted before it takes a use from a line may
/// take it from somebody else's by then.
pub(in crate::store::index) const REST: usize = 1 << 10;

/// One cache line: what two threads do to two of them doesn't meet.
#[repr(align(64))]
pub(in crate::store::index) struct Cell([AtomicU64; WORDS]);

impl fmt::Debug for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cell").finish_non_exhaustive()
    }
}

/// The lines.
#[derive(Debug)]
pub(in crate::store::index) struct Cells(Pages<Cell, LARGEST>);

/// Which numbers are free. For the writer.
#[derive(Debug)]
pub(in crate::store::index) struct Numbers {
    next: u32,
    /// First in, first out, so that a line rests as long as can be.
    free: VecDeque<u32>,
    /// [`REST`], but in tests that look at what happens without.
    pub(in crate::store::index) rest: usize,
}

impl Default for Numbers {
    fn default() -> Self {
        Self { next: 0, free: VecDeque::new(), rest: REST }
    }
}

impl Cell {
    fn empty() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }

    #[inline]
    pub(in crate::store::index) fn word(&self, at: usize) -> &AtomicU64 {
        &self.0[at]
    }

    #[inline]
    pub(in crate::store::index) fn read(&self, at: usize) -> u64 {
        self.0[at].load(Ordering::Relaxed)
    }

    /// Fills it for a new owner of the line. Whoever is led to it must be so by a Release store
    /// after this.
    pub(in crate::store::index) fn fill(&self, words: [u64; WORDS]) {
        // What ended the line's last use comes before these words, for readers who were led here
        // by that: it is what they look at afterwards, behind a fence of their own.
        fence(Ordering::Release);
        for (place, word) in self.0.iter().zip(words) {
            place.store(word, Ordering::Relaxed);
        }
    }
}

impl Cells {
    pub(in crate::store::index) fn new() -> Self {
        Self(Pages::new())
    }

    #[inline]
    pub(in crate::store::index) fn get(&self, number: u32) -> Option<&Cell> {
        self.0.get(number)
    }

    /// A line, which is made if it isn't there yet; `None` past the limit.
    pub(in crate::store::index) fn get_or_make(&self, number: u32) -> Option<&Cell> {
        self.0.get_or_make(number, Cell::empty)
    }

    /// Makes all up to so many; whether there can be so many.
    pub(in crate::store::index) fn make(&mut self, lines: u32) -> bool {
        (0..lines).all(|number| self.get_or_make(number).is_some())
    }

    /// The most lines, up to so many, for which no more are made.
    pub(in crate::store::index) fn whole_parts(lines: u32) -> u32 {
        Pages::<Cell, LARGEST>::whole_parts(lines)
    }

    /// What a line holds. While nobody else has it, as the next.
    pub(in crate::store::index) fn words(&mut self, number: u32) -> [u64; WORDS] {
        self.get(number).map_or([0; WORDS], |cell| std::array::from_fn(|at| cell.read(at)))
    }

    /// Puts something else into a line; what it held.
    pub(in crate::store::index) fn swap(
        &mut self,
        number: u32,
        words: [u64; WORDS],
    ) -> [u64; WORDS] {
        let before = self.words(number);
        if let Some(cell) = self.get(number) {
            cell.fill(words);
        }
        before
    }

    /// Has lines fetched that lie side by side.
    #[inline]
    pub(in crate::store::index) fn prefetch_some(&self, first: u32, lines: usize) {
        // Where a part ends it may be fewer.
        self.0.from(first).iter().take(lines).for_each(prefetch);
    }

    /// Has a line fetched.
    #[inline]
    pub(in crate::store::index) fn prefetch(&self, number: u32) {
        if let Some(cell) = self.get(number) {
            prefetch(cell);
        }
    }
}

impl Numbers {
    /// A line for somebody; `None` past the limit.
    pub(in crate::store::index) fn take<'a>(
        &mut self,
        cells: &'a Cells,
    ) -> Option<(u32, &'a Cell)> {
        if self.free.len() <= self.rest
            && let Some(cell) = cells.get_or_make(self.next)
        {
            self.next += 1;
            return Some((self.next - 1, cell));
        }
        let number = self.free.pop_front()?;
        Some((number, cells.get(number)?))
    }

    /// Nobody will be led to the line any more.
    pub(in crate::store::index) fn release(&mut self, number: u32) {
        self.free.push_back(number);
    }

    /// How many are in use, and how many there are.
    #[cfg(test)]
    pub(in crate::store::index) fn count(&self) -> (usize, usize) {
        (self.next as usize - self.free.len(), self.next as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_rests_before_it_is_used_again() {
        let cells = Cells::new();
        let mut numbers = Numbers::default();
        let take = |numbers: &mut Numbers| numbers.take(&cells).unwrap().0;
        assert_eq!(size_of::<Cell>(), 64);
        let rest = u32::try_from(REST).unwrap();
        for number in 0..=rest {
            assert_eq!(take(&mut numbers), number);
            numbers.release(number);
        }
        assert_eq!(numbers.count(), (0, REST + 1));
        // The first has seen as many freed after it.
        for number in 0..3 {
            assert_eq!(take(&mut numbers), number);
            numbers.release(number);
        }
        assert_eq!(numbers.count(), (0, REST + 1));
    }
}
