//! From a tag to the number of its group: the directory of extendible hashing (Fagin et al. 1979)
//! over the tag's leading bits. Its entries also say that something in their group has moved, so
//! that a reader who found nothing knows whether to look again.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::slot::TAG_BITS;

/// The greatest depth: 2^20 groups.
pub(in crate::store::index) const MAX_DEPTH: u32 = 20;

#[derive(Debug)]
pub(in crate::store::index) struct Directory {
    depth: AtomicU32,
    /// The entries of each depth; those of a smaller depth are stale once a greater one is
    /// published. An entry is the number of a group and, above it, how often it was announced.
    levels: Box<[OnceLock<Box<[AtomicU64]>>]>,
}

/// The directory has its greatest depth.
#[derive(Debug)]
pub(in crate::store::index) struct AtItsDeepest;

/// Where a reader was led, and what it saw on the way.
#[derive(Clone, Copy, Debug)]
pub(in crate::store::index) struct CommitGuard<'a> {
    directory: &'a Directory,
    depth: u32,
    entry: &'a AtomicU64,
    before: u64,
}

impl Directory {
    /// One entry, which leads to this group.
    pub(in crate::store::index) fn new(group: u32) -> Self {
        let levels: Box<[OnceLock<_>]> = (0..=MAX_DEPTH).map(|_| OnceLock::new()).collect();
        levels[0].get_or_init(|| Box::new([AtomicU64::new(group.into())]) as Box<[_]>);
        Self { depth: AtomicU32::new(0), levels }
    }

    #[inline]
    pub(in crate::store::index) fn lead(&self, tag: u64) -> Option<CommitGuard<'_>> {
        let depth = self.depth.load(Ordering::Acquire);
        let entry = self.entry(depth, tag)?;
        Some(CommitGuard { directory: self, depth, entry, before: entry.load(Ordering::Acquire) })
    }

    #[inline]
    fn entry(&self, depth: u32, tag: u64) -> Option<&AtomicU64> {
        self.levels[depth as usize].get()?.get((tag >> (TAG_BITS - depth)) as usize)
    }
}

impl CommitGuard<'_> {
    #[inline]
    pub(in crate::store::index) fn group(&self) -> u32 {
        number_of(self.before)
    }

    /// Whether something in the group moved since, or the group gave way to others.
    #[inline]
    pub(in crate::store::index) fn has_moved(&self) -> bool {
        self.entry.load(Ordering::Acquire) != self.before
            || self.directory.depth.load(Ordering::Acquire) != self.depth
    }
}

/// For the writer.
impl Directory {
    pub(in crate::store::index) fn depth(&self) -> u32 {
        self.depth.load(Ordering::Relaxed)
    }

    pub(in crate::store::index) fn group(&self, tag: u64) -> Option<u32> {
        self.entry(self.depth(), tag).map(|entry| number_of(entry.load(Ordering::Relaxed)))
    }

    /// All groups, in the order of their tags.
    pub(in crate::store::index) fn groups(&self) -> impl Iterator<Item = u32> {
        let entries = self.levels[self.depth() as usize].get().into_iter().flatten();
        let mut before = None;
        entries.filter_map(move |entry| {
            let number = number_of(entry.load(Ordering::Relaxed));
            // Several entries in a row may lead to it.
            (before.replace(number) != Some(number)).then_some(number)
        })
    }

    /// Leads what led to the group of this depth under which the tag lies to these two, the first
    /// for tags whose next bit is 0; and says that something moved.
    pub(in crate::store::index) fn announce(&self, group_depth: u32, tag: u64, halves: [u32; 2]) {
        let depth = self.depth();
        let span = 1 << (depth - group_depth);
        let first = (tag >> (TAG_BITS - group_depth)) as usize * span;
        let Some(entries) = self.levels[depth as usize].get() else { return };
        for (at, entry) in entries[first..first + span].iter().enumerate() {
            let group = halves[usize::from(at >= span / 2)];
            let announced = entry.load(Ordering::Relaxed) >> 32;
            entry.store(announced.wrapping_add(1) << 32 | u64::from(group), Ordering::Release);
        }
    }

    /// Publishes twice as many entries.
    pub(in crate::store::index) fn double(&self) -> Result<(), AtItsDeepest> {
        let depth = self.depth();
        if depth == MAX_DEPTH {
            return Err(AtItsDeepest);
        }
        let old = self.levels[depth as usize].get().ok_or(AtItsDeepest)?;
        self.levels[depth as usize + 1].get_or_init(|| {
            let twice = old.iter().flat_map(|entry| [entry, entry]);
            twice.map(|entry| AtomicU64::new(entry.load(Ordering::Relaxed))).collect()
        });
        self.depth.store(depth + 1, Ordering::Release);
        Ok(())
    }
}

/// The group of an entry.
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

    /// A tag with these leading bits.
    fn tag(bits: u64, depth: u32) -> u64 {
        bits << (TAG_BITS - depth)
    }

    #[test]
    fn halves_of_a_group_are_led_to_by_the_next_bit() {
        let directory = Directory::new(7);
        assert_eq!(directory.group(tag(1, 1)), Some(7));
        directory.double().unwrap();
        directory.double().unwrap();
        assert_eq!(directory.groups().collect::<Vec<_>>(), [7]);
        directory.announce(0, tag(3, 2), [1, 2]);
        directory.announce(1, tag(3, 2), [3, 4]);
        assert_eq!(directory.groups().collect::<Vec<_>>(), [1, 3, 4]);
        let led = (0..4).map(|bits| directory.lead(tag(bits, 2)).unwrap().group());
        assert_eq!(led.collect::<Vec<_>>(), [1, 1, 3, 4]);
    }

    #[test]
    fn a_lead_notices_what_moved_in_its_group_alone() {
        let directory = Directory::new(0);
        directory.double().unwrap();
        directory.announce(0, 0, [1, 2]);
        let (low, high) = (tag(0, 1), tag(1, 1));
        let leads = || [low, high].map(|tag| directory.lead(tag).unwrap());
        let moved = |leads: [CommitGuard<'_>; 2]| leads.map(|lead| lead.has_moved());
        let before = leads();
        assert_eq!(moved(before), [false, false]);
        directory.announce(1, high, [2, 2]);
        assert_eq!(moved(before), [false, true]);
        let before = leads();
        directory.double().unwrap();
        assert_eq!(moved(before), [true, true]);
    }

    #[test]
    fn it_has_a_greatest_depth() {
        let directory = Directory::new(0);
        (0..MAX_DEPTH).for_each(|_| directory.double().unwrap());
        assert!(directory.double().is_err());
        assert_eq!(
            (directory.depth(), directory.group(u64::MAX >> (64 - TAG_BITS))),
            (MAX_DEPTH, Some(0))
        );
    }
}
