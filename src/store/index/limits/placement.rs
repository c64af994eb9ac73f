//! Where the limits of a key lie, as far as its tag alone can tell.
//!
//! A limited key needs two cache lines, of which the second is named by the first; one after the
//! other they would take the time of two. So each tag has a *stretch* of three lines side by side,
//! by its leading bits, as with groups of slots: what lies together there lies together here. A
//! reader has the stretch fetched beside the slot. The slot still names the line, which may be any:
//! nothing depends on its lying in the stretch, and where no line was placed nothing is looked at.
//!
//! Lines are placed when a store is opened (see [`moves`](super::relocation)): 1.2 to 1.35 of them for
//! each limited key, of which 91 to 94 in a hundred then lie in their stretches. No line is moved
//! in use, so how many stretches there are doesn't change after that. A key that is limited later
//! gets a free line of its stretch, or else any. When a store has half as many limited keys again
//! as when it was opened, two in three lie in their stretches; when it has twice as many, half; and
//! of one that was opened without limited keys, none, until it is opened again. For the others one
//! line is waited for after the other.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use super::records::{Cell, Cells, REST};
use crate::store::index::hash_table::slot::TAG_BITS;

/// How many lines make a stretch. With two, 85 to 87 in a hundred would lie in theirs.
pub(in crate::store::index) const LONG: u32 = 3;

/// How many stretches there are, of which each begins a line after the one before; 0 if no line was
/// placed. For readers.
#[derive(Debug, Default)]
pub(in crate::store::index) struct Stretches(AtomicU32);

impl Stretches {
    /// The first line of a tag's stretch.
    #[inline]
    pub(in crate::store::index) fn of(&self, tag: u64) -> Option<u32> {
        let stretches = self.0.load(Ordering::Relaxed);
        (stretches > 0).then(|| first_of(tag, stretches))
    }

    /// From now on there are so many; while nobody reads.
    pub(in crate::store::index) fn set(&mut self, stretches: u32) {
        *self.0.get_mut() = stretches;
    }
}

/// The first line of a tag's stretch, of so many stretches.
#[inline]
pub(in crate::store::index) fn first_of(tag: u64, stretches: u32) -> u32 {
    // 32 leading bits, scaled: less than the factor.
    #[allow(clippy::cast_possible_truncation)]
    {
        (((tag >> (TAG_BITS - u32::BITS)) * u64::from(stretches)) >> u32::BITS) as u32
    }
}

/// Which lines of keys are free. For the writer.
#[derive(Debug)]
pub(in crate::store::index) struct Places {
    /// How many lines there are.
    all: u32,
    /// Free, and rested or never used.
    rested: Bits,
    /// Those that were freed last, the first of them in front.
    resting: VecDeque<u32>,
    /// [`REST`], but in tests that look at what happens without.
    pub(in crate::store::index) rest: usize,
}

impl Default for Places {
    fn default() -> Self {
        Self::new(0, Bits::default())
    }
}

impl Places {
    /// Of so many lines these are free, and none was used lately.
    pub(in crate::store::index) fn new(all: u32, rested: Bits) -> Self {
        Self { all, rested, resting: VecDeque::new(), rest: REST }
    }

    /// A line for somebody, of the stretch that begins with this one if one of it has rested; `None`
    /// past the limit.
    pub(in crate::store::index) fn take<'a>(
        &mut self,
        cells: &'a Cells,
        stretch: Option<u32>,
    ) -> Option<(u32, &'a Cell)> {
        let own = stretch.and_then(|first| self.rested.remove_one_of(first..first + LONG));
        if let Some(number) = own.or_else(|| self.rested.remove_any()) {
            return Some((number, cells.get(number)?));
        }
        if let Some(cell) = cells.get_or_make(self.all) {
            self.all += 1;
            return Some((self.all - 1, cell));
        }
        let number = self.resting.pop_front()?;
        Some((number, cells.get(number)?))
    }

    /// Nobody will be led to the line any more.
    pub(in crate::store::index) fn release(&mut self, number: u32) {
        self.resting.push_back(number);
        if self.resting.len() > self.rest
            && let Some(rested) = self.resting.pop_front()
        {
            self.rested.insert(rested);
        }
    }

    /// How many there are.
    pub(in crate::store::index) fn all(&self) -> u32 {
        self.all
    }

    /// How many are in use.
    pub(in crate::store::index) fn used(&self) -> u32 {
        // Never more are free than there are.
        let resting = u32::try_from(self.resting.len()).unwrap_or(u32::MAX);
        self.all.saturating_sub(resting).saturating_sub(self.rested.len())
    }

    /// How many are in use, and how many there are.
    #[cfg(test)]
    pub(in crate::store::index) fn count(&self) -> (usize, usize) {
        (self.used() as usize, self.all as usize)
    }
}

/// A set of numbers, one bit each.
#[derive(Debug, Default)]
pub(in crate::store::index) struct Bits {
    words: Vec<u64>,
    len: u32,
    /// The word in which one was found last.
    at: usize,
}

impl Bits {
    /// All numbers less than this.
    pub(in crate::store::index) fn below(end: u32) -> Self {
        let mut words = vec![u64::MAX; end as usize / 64];
        if !end.is_multiple_of(64) {
            words.push((1 << (end % 64)) - 1);
        }
        Self { words, len: end, at: 0 }
    }

    fn len(&self) -> u32 {
        self.len
    }

    fn insert(&mut self, number: u32) {
        let (at, bit) = place(number);
        if at >= self.words.len() {
            self.words.resize(at + 1, 0);
        }
        self.len += u32::from(self.words[at] & bit == 0);
        self.words[at] |= bit;
    }

    pub(in crate::store::index) fn remove(&mut self, number: u32) -> bool {
        let (at, bit) = place(number);
        let Some(word) = self.words.get_mut(at).filter(|word| **word & bit != 0) else {
            return false;
        };
        *word &= !bit;
        self.len -= 1;
        true
    }

    /// The first of these that is in it.
    fn remove_one_of(&mut self, mut numbers: Range<u32>) -> Option<u32> {
        numbers.find(|number| self.remove(*number))
    }

    /// The next after the one before, and so on all the way round.
    pub(in crate::store::index) fn remove_any(&mut self) -> Option<u32> {
        if self.len == 0 {
            return None;
        }
        let (before, after) = self.words.split_at(self.at);
        let words = (self.at..).zip(after).chain((0..).zip(before));
        let (at, word) = words.into_iter().find(|(_, word)| **word != 0)?;
        self.at = at;
        let number = u32::try_from(at * 64).ok()? + word.trailing_zeros();
        self.remove(number);
        Some(number)
    }
}

/// The word of a number, and its bit.
fn place(number: u32) -> (usize, u64) {
    (number as usize / 64, 1 << (number % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tags_are_spread_over_all_stretches_in_their_order() {
        let last = (1 << TAG_BITS) - 1;
        for stretches in [1, 2, 3, 1_000, u32::MAX / 2] {
            assert_eq!((first_of(0, stretches), first_of(last, stretches)), (0, stretches - 1));
            let tags = (0..10_000).map(|n| last / 10_000 * n);
            assert!(tags.map(|tag| first_of(tag, stretches)).is_sorted());
        }
        let mut stretches = Stretches::default();
        assert_eq!(stretches.of(last), None);
        stretches.set(3);
        assert_eq!(stretches.of(last), Some(2));
    }

    #[test]
    fn a_line_rests_before_it_is_used_again() {
        let cells = Cells::new();
        let mut places = Places::default();
        let rest = u32::try_from(REST).unwrap();
        let take = |places: &mut Places, first| places.take(&cells, first).unwrap().0;
        for number in 0..rest + 100 {
            assert_eq!(take(&mut places, Some(7)), number);
        }
        assert_eq!(places.count(), (REST + 100, REST + 100));
        (0..rest + 100).rev().for_each(|number| places.release(number));
        // Those come first that have rested, of the stretch if there are such.
        assert_eq!(take(&mut places, Some(7)), rest);
        assert_eq!(take(&mut places, Some(rest + 50)), rest + 50);
        for _ in 2..100 {
            assert!(take(&mut places, None) > rest);
        }
        // Rather a new one than one that was freed just now.
        assert_eq!(take(&mut places, Some(7)), rest + 100);
    }

    proptest! {
        /// Against a plain set: what is taken was free, what was free is taken before another is
        /// made, and of the stretch if one of it had rested.
        #[test]
        fn none_is_lost_and_none_taken_twice(
            lines in 2..80_u32,
            steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..4_000),
        ) {
            let cells = Cells::new();
            (0..lines).for_each(|line| _ = cells.get_or_make(line).unwrap());
            let mut places = Places::new(lines, Bits::below(lines));
            let mut free: BTreeSet<u32> = (0..lines).collect();
            let (mut freed, mut freed_at) = (0_usize, BTreeMap::new());
            let mut used: Vec<u32> = Vec::new();
            let mut all = lines;
            for (takes, index) in steps {
                if takes || used.is_empty() {
                    let first = u32::try_from(index.index(lines as usize - 1)).unwrap();
                    let (line, cell) = places.take(&cells, Some(first)).unwrap();
                    prop_assert!(std::ptr::eq(cell, cells.get(line).unwrap()));
                    let has_rested = |line: u32| {
                        let at = freed_at.get(&line);
                        free.contains(&line) && at.is_none_or(|at| freed - at > REST)
                    };
                    let mut own = first..first + LONG;
                    prop_assert!(own.contains(&line) || !own.any(has_rested));
                    let is_new = !free.contains(&line);
                    if is_new {
                        prop_assert!(line == all && !free.iter().any(|line| has_rested(*line)));
                        all += 1;
                    }
                    free.remove(&line);
                    used.push(line);
                } else {
                    let line = used.swap_remove(index.index(used.len()));
                    places.release(line);
                    freed_at.insert(line, freed);
                    freed += 1;
                    free.insert(line);
                }
                prop_assert_eq!(places.count(), (used.len(), all as usize));
            }
        }
    }
}
