//! Groups of slots, searched by linear probing.

use std::sync::atomic::{AtomicU32, Ordering};

use super::super::memory::pages::Pages;
use super::slot::{self, Slot, Words};

pub(super) type Unit = slot::Unit<64>;

/// All units; groups name theirs by number.
pub(super) type Units = Pages<Unit, { 1 << 10 }>;

/// Slots of a unit.
pub(super) const UNIT_SLOTS: usize = Unit::SLOTS;
/// The most units of a group.
pub(super) const MAX_UNITS: usize = 16;

/// The number of slots that are prefetched before the first is looked at. A search for an unknown
/// hash passes so many on average, and fetching them together costs hardly more than fetching one.
const PREFETCHED: usize = 4;

/// Trailing bits of a hash that say where in its group a search begins.
const START_BITS: u32 = 24;
const START_MASK: u64 = (1 << START_BITS) - 1;

/// The units of a group, in their order.
///
/// A reader may still hold the number of a group that was given up while the writer fills the group
/// for another use. Such a reader computes wrong slots and finds nothing there. It then sees that
/// the directory has moved on.
#[derive(Debug, Default)]
pub(super) struct Group {
    len: AtomicU32,
    units: [AtomicU32; MAX_UNITS],
}

/// The slots of a group in the order in which a search for one hash looks at them.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct ProbeSequence<'a> {
    all: &'a Units,
    group: &'a Group,
    /// The number of units of the group.
    units: usize,
    /// The first slot: its unit's place in the group, the unit, and its own place in the unit.
    unit_at: usize,
    first: &'a Unit,
    at: usize,
}

/// No slot of the group is free.
#[derive(Clone, Copy, Debug)]
pub(super) struct GroupFull;

/// The number of slots that may be used of so many units, retired ones included: three in four.
pub(super) const fn room(units: usize) -> usize {
    units * UNIT_SLOTS / 4 * 3
}

impl Group {
    /// Returns the slots in the order of a search for `hash`; `None` if the group was given up.
    #[inline]
    pub(super) fn probe<'a>(&'a self, all: &'a Units, hash: u64) -> Option<ProbeSequence<'a>> {
        // Acquire, here and in `unit`: a reader that sees a number's next use must also see that
        // the directory has moved on. It would trust a search in the wrong units otherwise.
        let units = self.len.load(Ordering::Acquire) as usize;
        if units == 0 {
            return None;
        }
        // The trailing bits, scaled to the number of slots. The leading ones led to the group.
        let scaled = ((hash & START_MASK) as usize * units * UNIT_SLOTS) >> START_BITS;
        let (unit_at, at) = (scaled / UNIT_SLOTS, scaled % UNIT_SLOTS);
        let first = self.unit(all, unit_at)?;
        Some(ProbeSequence { all, group: self, units, unit_at, first, at })
    }

    #[inline]
    fn unit<'a>(&self, all: &'a Units, at: usize) -> Option<&'a Unit> {
        all.get(self.units.get(at)?.load(Ordering::Acquire))
    }

    /// Gives the group its units, at most [`MAX_UNITS`]. For the writer.
    pub(super) fn assign(&self, units: &[u32]) {
        // Release, here and below: the loads in `probe` and `unit` pair with it.
        for (place, unit) in self.units.iter().zip(units) {
            place.store(*unit, Ordering::Release);
        }
        #[allow(clippy::cast_possible_truncation)]
        self.len.store(units.len() as u32, Ordering::Release);
    }

    /// Gives the group up. For the writer.
    pub(super) fn give_up(&self) {
        // Release: a reader that finds no units must see the directory's move, or it ends its
        // search.
        self.len.store(0, Ordering::Release);
    }
}

impl<'a> ProbeSequence<'a> {
    /// Prefetches the first slots.
    #[inline]
    pub(super) fn prefetch(&self) {
        // Not past the unit's end: few begin so close to it.
        self.first.slots_from(self.at).take(PREFETCHED).for_each(Slot::prefetch);
    }

    #[inline]
    pub(super) fn first(&self) -> Slot<'a> {
        self.first.slot(self.at)
    }

    #[inline]
    pub(in super::super) fn iter(self) -> impl Iterator<Item = Slot<'a>> {
        // The first unit comes again at the end, up to the slot at which the search began.
        let later = (1..=self.units).map_while(move |nth| {
            let unit = self.group.unit(self.all, (self.unit_at + nth) % self.units)?;
            let slots = if nth == self.units { self.at } else { UNIT_SLOTS };
            Some(unit.slots_from(0).take(slots))
        });
        self.first.slots_from(self.at).chain(later.flatten())
    }

    /// Returns the slots in which the hash may live. For the writer.
    pub(super) fn used(&self) -> impl Iterator<Item = Slot<'a>> + use<'a> {
        self.iter().take(self.first().probe_len()).take_while(|slot| !slot.is_empty())
    }

    /// Fills the first slot in which nothing lives; returns whether the slot was empty. For the
    /// writer.
    pub(super) fn fill(&self, hash: u64, words: &Words) -> Result<bool, GroupFull> {
        let mut slots = (1..).zip(self.iter());
        let (probe_len, slot) = slots.find(|(_, slot)| slot.hash().is_none()).ok_or(GroupFull)?;
        let was_empty = slot.is_empty();
        // Before the filling: a reader that knows of the key must look so far.
        self.first().extend_probe_len(probe_len);
        slot.fill(hash, words);
        Ok(was_empty)
    }

    /// Returns the numbers of the group's units. For the writer.
    pub(super) fn units(self) -> impl Iterator<Item = u32> {
        let units = &self.group.units[..self.units];
        // Relaxed: only the writer stores there.
        units.iter().map(|unit| unit.load(Ordering::Relaxed))
    }

    /// Returns the number of units.
    pub(super) fn len(&self) -> usize {
        self.units
    }
}
