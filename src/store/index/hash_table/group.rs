//! A group of slots, searched by linear probing.

use std::sync::atomic::{AtomicU32, Ordering};

use super::slot::{self, Slot, Words};
use crate::store::index::memory::pages::Pages;

pub(in crate::store::index) type Unit = slot::Unit<64>;

/// All units; groups name theirs by number.
pub(in crate::store::index) type Units = Pages<Unit, { 1 << 10 }>;

/// How many slots make a unit.
pub(in crate::store::index) const UNIT_SLOTS: usize = Unit::SLOTS;
/// How many units a group has at most.
pub(in crate::store::index) const MAX_UNITS: usize = 16;

/// How many slots are fetched before the first is looked at: a search for what isn't there passes
/// so many on average, and fetching them together costs hardly more than fetching one.
const PREFETCHED: usize = 4;

/// How many trailing bits of a tag say where in its group a search begins.
const START_BITS: u32 = 24;
const START_MASK: u64 = (1 << START_BITS) - 1;

/// Which units make up a group, in their order. Readers that hold a number of a group that was
/// given up may find it being written: what they compute from that leads to wrong slots, where
/// they find nothing, and then see that the directory has moved on.
#[derive(Debug, Default)]
pub(in crate::store::index) struct Group {
    len: AtomicU32,
    units: [AtomicU32; MAX_UNITS],
}

/// The slots of a group in the order in which a tag looks for its own.
#[derive(Clone, Copy, Debug)]
pub(in crate::store::index) struct Run<'a> {
    all: &'a Units,
    group: &'a Group,
    /// How many units the group has.
    units: usize,
    /// Where the first slot lies: the unit's place in the group, the unit, the slot's place in it.
    unit_at: usize,
    first: &'a Unit,
    at: usize,
}

/// No slot of the group is free.
#[derive(Clone, Copy, Debug)]
pub(in crate::store::index) struct GroupFull;

/// How many slots of so many units may be used, retired ones included: three in four.
pub(in crate::store::index) const fn room(units: usize) -> usize {
    units * UNIT_SLOTS / 4 * 3
}

impl Group {
    /// Where a tag looks; `None` if the group was given up.
    #[inline]
    pub(in crate::store::index) fn run<'a>(&'a self, all: &'a Units, tag: u64) -> Option<Run<'a>> {
        let units = self.len.load(Ordering::Acquire) as usize;
        if units == 0 {
            return None;
        }
        // The trailing bits, scaled to the number of slots. The leading ones led to the group.
        let scaled = ((tag & START_MASK) as usize * units * UNIT_SLOTS) >> START_BITS;
        let (unit_at, at) = (scaled / UNIT_SLOTS, scaled % UNIT_SLOTS);
        let first = self.unit(all, unit_at)?;
        Some(Run { all, group: self, units, unit_at, first, at })
    }

    #[inline]
    fn unit<'a>(&self, all: &'a Units, at: usize) -> Option<&'a Unit> {
        all.get(self.units.get(at)?.load(Ordering::Acquire))
    }

    /// Takes units, at most as many as a group has. For the writer.
    pub(in crate::store::index) fn take(&self, units: &[u32]) {
        for (place, unit) in self.units.iter().zip(units) {
            place.store(*unit, Ordering::Release);
        }
        // Released, here and above, for readers that still hold this number from its last use:
        // whoever sees the new use sees that the directory has moved on.
        #[allow(clippy::cast_possible_truncation)]
        self.len.store(units.len() as u32, Ordering::Release);
    }

    /// Gives the group up. For the writer.
    pub(in crate::store::index) fn give_up(&self) {
        self.len.store(0, Ordering::Release);
    }
}

impl<'a> Run<'a> {
    /// Has the first slots fetched.
    #[inline]
    pub(in crate::store::index) fn prefetch(&self) {
        // Not past the unit's end: few begin so close to it.
        self.first.slots_from(self.at).take(PREFETCHED).for_each(Slot::prefetch);
    }

    #[inline]
    pub(in crate::store::index) fn first(&self) -> Slot<'a> {
        self.first.slot(self.at)
    }

    #[inline]
    pub(in crate::store::index) fn iter(self) -> impl Iterator<Item = Slot<'a>> {
        // The unit of the beginning comes again at the end, up to where it began.
        let later = (1..=self.units).map_while(move |nth| {
            let unit = self.group.unit(self.all, (self.unit_at + nth) % self.units)?;
            let slots = if nth == self.units { self.at } else { UNIT_SLOTS };
            Some(unit.slots_from(0).take(slots))
        });
        self.first.slots_from(self.at).chain(later.flatten())
    }

    /// Those in which something under the tag may live. For the writer.
    pub(in crate::store::index) fn used(&self) -> impl Iterator<Item = Slot<'a>> + use<'a> {
        self.iter().take(self.first().reach()).take_while(|slot| !slot.is_empty())
    }

    /// Fills the first slot in which nothing lives; says whether nothing ever did. For the writer.
    pub(in crate::store::index) fn fill(&self, tag: u64, words: &Words) -> Result<bool, GroupFull> {
        let mut slots = (1..).zip(self.iter());
        let (reach, slot) = slots.find(|(_, slot)| slot.tag().is_none()).ok_or(GroupFull)?;
        let was_empty = slot.is_empty();
        self.first().reach_to(reach);
        slot.fill(tag, words);
        Ok(was_empty)
    }

    /// The numbers of the group's units. For the writer.
    pub(in crate::store::index) fn units(self) -> impl Iterator<Item = u32> {
        let units = &self.group.units[..self.units];
        units.iter().map(|unit| unit.load(Ordering::Relaxed))
    }

    /// How many units the group has.
    pub(in crate::store::index) fn len(&self) -> usize {
        self.units
    }
}
