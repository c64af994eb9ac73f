//! Guesses where a key's limits lie, before its slot is there.
//!
//! A limited key needs two lines of memory, of which the second is named by the first; one after
//! the other they would take the time of two. So the writer notes, by the trailing bits of the tag,
//! which line a key has, and a reader has that fetched together with the slot. Nothing depends on
//! its being right. As long as no key is limited there is nothing to be looked at.

use std::sync::atomic::{AtomicU32, Ordering};

use super::pages::Pages;

/// The greatest number of guesses, less 1.
const MOST: u32 = (1 << 26) - 1;

/// Guesses by tag: a line's number and 1, or 0.
#[derive(Debug)]
pub(super) struct Guesses {
    /// How many there are, less 1: a power of two, less 1. 0 as long as there are none.
    last: AtomicU32,
    places: Pages<AtomicU32, { 1 << 18 }>,
}

impl Guesses {
    pub(super) fn new() -> Self {
        Self { last: AtomicU32::new(0), places: Pages::new() }
    }

    /// Where the limits of the tag's key may lie.
    #[inline]
    pub(super) fn get(&self, tag: u64) -> Option<u32> {
        let last = self.last.load(Ordering::Relaxed);
        if last == 0 {
            return None;
        }
        self.places.get(tag as u32 & last)?.load(Ordering::Relaxed).checked_sub(1)
    }

    /// Notes where they lie; `lines` is how many there are. For the writer.
    pub(super) fn note(&self, tag: u64, line: u32, lines: u32) {
        let mut last = self.last.load(Ordering::Relaxed);
        // Two to four for each line, so that few are taken by another key.
        while last < MOST && lines > last / 2 {
            last = self.grow(last);
        }
        if let Some(place) = self.make(tag as u32 & last) {
            place.store(line.saturating_add(1), Ordering::Relaxed);
        }
    }

    /// Makes twice as many.
    fn grow(&self, last: u32) -> u32 {
        let next = 2 * last + 1;
        for at in 0..=last {
            // The bit that is new may be either.
            let known = self.places.get(at).map_or(0, |place| place.load(Ordering::Relaxed));
            if let Some(place) = self.make(at | (last + 1)) {
                place.store(known, Ordering::Relaxed);
            }
        }
        self.last.store(next, Ordering::Relaxed);
        next
    }

    fn make(&self, at: u32) -> Option<&AtomicU32> {
        self.places.get_or_make(at, || AtomicU32::new(0))
    }
}

#[cfg(test)]
mod tests {
    use super::super::slot::tag_of;
    use super::*;

    #[test]
    fn most_guesses_are_right() {
        let guesses = Guesses::new();
        let tag = |n: u32| tag_of(u128::from(n) * 0xdead_beef_cafe_f00d);
        assert_eq!(guesses.get(tag(0)), None);
        for lines in [1, 10, 1_000, 100_000] {
            for line in 0..lines {
                guesses.note(tag(line), line, line + 1);
                assert_eq!(guesses.get(tag(line)), Some(line));
            }
            let right = (0..lines).filter(|line| guesses.get(tag(*line)) == Some(*line)).count();
            assert!(right * 10 >= lines as usize * 6, "{right} of {lines}");
        }
    }
}
