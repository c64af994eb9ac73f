//! The directory: from a key hash to the number of its group.
//!
//! This is the directory of extendible hashing (Fagin et al. 1979) over the hash's leading bits.
//! Its entries also count what moved in their groups. A reader that found nothing so learns whether
//! to search again.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::slot::HASH_BITS;

/// The greatest depth: 2^20 groups.
pub(super) const MAX_DEPTH: u32 = 20;

#[derive(Debug)]
pub(super) struct Directory {
    depth: AtomicU32,
    /// The entries of each depth. Those of a smaller depth are stale once a greater one is
    /// published. An entry is the number of a group and, above it, how often something moved there.
    levels: Box<[OnceLock<Box<[AtomicU64]>>]>,
}

/// The directory has its greatest depth.
#[derive(Debug)]
pub(super) struct AtItsDeepest;

/// A directory entry as a reader saw it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lookup<'a> {
    directory: &'a Directory,
    depth: u32,
    entry: &'a AtomicU64,
    before: u64,
}

/// The readers' side.
impl Directory {
    /// Finds the group of a hash.
    #[inline]
    pub(super) fn look_up(&self, hash: u64) -> Option<Lookup<'_>> {
        // Acquire, twice: the entries of the depth, and the units and slots of the group, must be
        // seen as they were when this was published. A reader would miss a living key otherwise.
        let depth = self.depth.load(Ordering::Acquire);
        let entry = self.entry(depth, hash)?;
        Some(Lookup { directory: self, depth, entry, before: entry.load(Ordering::Acquire) })
    }

    #[inline]
    fn entry(&self, depth: u32, hash: u64) -> Option<&AtomicU64> {
        self.levels[depth as usize].get()?.get((hash >> (HASH_BITS - depth)) as usize)
    }
}

impl Lookup<'_> {
    #[inline]
    pub(super) fn group(&self) -> u32 {
        number_of(self.before)
    }

    /// Whether something in the group moved since, or the group gave way to others.
    #[inline]
    pub(super) fn has_moved(&self) -> bool {
        // The slots' Acquire loads order both loads behind the search, and the next search acquires
        // for itself. So Relaxed would do here, and Acquire costs nothing more. Without the depth a
        // reader would trust a stale entry: entries of a smaller depth are never changed again.
        self.entry.load(Ordering::Acquire) != self.before
            || self.directory.depth.load(Ordering::Acquire) != self.depth
    }
}

/// The writer's side; there is one writer. Its own loads are Relaxed: it sees its own last store.
impl Directory {
    /// Makes a directory of one entry, which leads to this group.
    pub(super) fn new(group: u32) -> Self {
        let levels: Box<[OnceLock<_>]> = (0..=MAX_DEPTH).map(|_| OnceLock::new()).collect();
        levels[0].get_or_init(|| Box::new([AtomicU64::new(group.into())]) as Box<[_]>);
        Self { depth: AtomicU32::new(0), levels }
    }

    pub(super) fn depth(&self) -> u32 {
        self.depth.load(Ordering::Relaxed)
    }

    pub(super) fn group(&self, hash: u64) -> Option<u32> {
        self.entry(self.depth(), hash).map(|entry| number_of(entry.load(Ordering::Relaxed)))
    }

    /// Returns all groups, in the order of their hashes.
    pub(super) fn groups(&self) -> impl Iterator<Item = u32> {
        let entries = self.levels[self.depth() as usize].get().into_iter().flatten();
        let mut before = None;
        entries.filter_map(move |entry| {
            let number = number_of(entry.load(Ordering::Relaxed));
            // Several entries in a row may lead to it.
            (before.replace(number) != Some(number)).then_some(number)
        })
    }

    /// Announces a move: leads the entries of the hash's group, which has this depth, to two
    /// groups. The first gets the hashes whose next bit is 0.
    pub(super) fn announce(&self, group_depth: u32, hash: u64, halves: [u32; 2]) {
        let depth = self.depth();
        let span = 1 << (depth - group_depth);
        let first = (hash >> (HASH_BITS - group_depth)) as usize * span;
        let Some(entries) = self.levels[depth as usize].get() else { return };
        for (at, entry) in entries[first..first + span].iter().enumerate() {
            let group = halves[usize::from(at >= span / 2)];
            let announced = entry.load(Ordering::Relaxed) >> 32;
            // Release: a reader that sees the move must see the slots that were filled before it.
            entry.store(announced.wrapping_add(1) << 32 | u64::from(group), Ordering::Release);
        }
    }

    /// Publishes twice as many entries.
    pub(super) fn double(&self) -> Result<(), AtItsDeepest> {
        let depth = self.depth();
        if depth == MAX_DEPTH {
            return Err(AtItsDeepest);
        }
        let old = self.levels[depth as usize].get().ok_or(AtItsDeepest)?;
        self.levels[depth as usize + 1].get_or_init(|| {
            let twice = old.iter().flat_map(|entry| [entry, entry]);
            twice.map(|entry| AtomicU64::new(entry.load(Ordering::Relaxed))).collect()
        });
        // Release: a reader of the new depth must find its entries.
        self.depth.store(depth + 1, Ordering::Release);
        Ok(())
    }
}

/// Returns the group of an entry.
#[inline]
fn number_of(entry: u64) -> u32 {
    // The lower half.
    #[allow(clippy::cast_possible_truncation)]
    {
        entry as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a hash with these leading bits.
    fn hash(bits: u64, depth: u32) -> u64 {
        bits << (HASH_BITS - depth)
    }

    #[test]
    fn halves_of_a_group_are_led_to_by_the_next_bit() {
        let directory = Directory::new(7);
        assert_eq!(directory.group(hash(1, 1)), Some(7));
        directory.double().unwrap();
        directory.double().unwrap();
        assert_eq!(directory.groups().collect::<Vec<_>>(), [7]);
        directory.announce(0, hash(3, 2), [1, 2]);
        directory.announce(1, hash(3, 2), [3, 4]);
        assert_eq!(directory.groups().collect::<Vec<_>>(), [1, 3, 4]);
        let led = (0..4).map(|bits| directory.look_up(hash(bits, 2)).unwrap().group());
        assert_eq!(led.collect::<Vec<_>>(), [1, 1, 3, 4]);
    }

    #[test]
    fn a_lookup_notices_what_moved_in_its_group_alone() {
        let directory = Directory::new(0);
        directory.double().unwrap();
        directory.announce(0, 0, [1, 2]);
        let (low, high) = (hash(0, 1), hash(1, 1));
        let look_up = || [low, high].map(|hash| directory.look_up(hash).unwrap());
        let moved = |lookups: [Lookup<'_>; 2]| lookups.map(|lookup| lookup.has_moved());
        let before = look_up();
        assert_eq!(moved(before), [false, false]);
        directory.announce(1, high, [2, 2]);
        assert_eq!(moved(before), [false, true]);
        let before = look_up();
        directory.double().unwrap();
        assert_eq!(moved(before), [true, true]);
    }

    #[test]
    fn it_has_a_greatest_depth() {
        let directory = Directory::new(0);
        (0..MAX_DEPTH).for_each(|_| directory.double().unwrap());
        assert!(directory.double().is_err());
        assert_eq!(
            (directory.depth(), directory.group(u64::MAX >> (64 - HASH_BITS))),
            (MAX_DEPTH, Some(0))
        );
    }
}
