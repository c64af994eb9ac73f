//! The hash table: from a key hash to its slots.
//!
//! The directory leads to a group of up to 16 units of 512 slots, with linear probing inside the
//! group. The writer rebuilds a full group with one unit more, or splits it in two. So the table
//! grows by parts and is never much emptier than it must be. The next group uses the units that
//! another left behind. Directory and groups are small enough to stay in a core's own cache.

use super::super::memory::pages::Pages;
use super::directory::{AtItsDeepest, Directory, Lookup, MAX_DEPTH};
use super::group::{Group, GroupFull, MAX_UNITS, ProbeSequence, UNIT_SLOTS, Unit, Units, room};
use super::slot::{Found, HASH_BITS, Seen, Slot, Words};

/// The units with which each half of a split group begins.
const SPLIT_UNITS: usize = MAX_UNITS / 2;

/// The readers' side.
///
/// All orderings are in the rooms below; here only the order of the steps matters. A new slot is
/// filled before the move is announced, and the old slot is retired after that.
#[derive(Debug)]
pub(in super::super) struct Table {
    directory: Directory,
    groups: Pages<Group, { 1 << 10 }>,
    units: Units,
}

/// The one writer's side.
#[derive(Debug, Default)]
pub(in super::super) struct Writer {
    /// The groups, by number.
    groups: Vec<GroupInfo>,
    free_groups: Vec<u32>,
    units: u32,
    free_units: Vec<u32>,
}

#[derive(Clone, Copy, Debug, Default)]
struct GroupInfo {
    /// The number of leading bits that all hashes of the group share.
    depth: u32,
    /// The number of slots that aren't empty.
    used: usize,
}

/// The table is at its limit; nothing was changed.
#[derive(Debug)]
pub(in super::super) struct TableFull;

impl From<GroupFull> for TableFull {
    fn from(_: GroupFull) -> Self {
        Self
    }
}

impl From<AtItsDeepest> for TableFull {
    fn from(_: AtItsDeepest) -> Self {
        Self
    }
}

/// A search that has found its group.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Probe<'a> {
    table: &'a Table,
    hash: u64,
    lookup: Lookup<'a>,
    slots: ProbeSequence<'a>,
}

impl Table {
    pub(in super::super) fn new(writer: &mut Writer) -> Self {
        // The first group of all has the number 0.
        let table =
            Self { directory: Directory::new(0), groups: Pages::new(), units: Pages::new() };
        let made = table.make_group(writer, 0, 1);
        debug_assert!(matches!(made, Ok(0)), "the first group: {made:?}");
        table
    }

    /// Begins a search and prefetches its first slots, so that the caller can work meanwhile.
    // `inline(always)`: otherwise the compiler returns `Probe` through memory.
    #[inline(always)]
    pub(in super::super) fn probe(&self, hash: u64) -> Option<Probe<'_>> {
        loop {
            let lookup = self.directory.look_up(hash)?;
            if let Some(slots) = self.probe_group(lookup.group(), hash) {
                slots.prefetch();
                return Some(Probe { table: self, hash, lookup, slots });
            }
            // The group was given up meanwhile, so the directory has moved on.
            if !lookup.has_moved() {
                return None;
            }
        }
    }

    /// Prefetches the slot at which adding under a hash begins.
    pub(in super::super) fn prepare(&self, hash: u64) {
        if let Some(slots) =
            self.directory.group(hash).and_then(|group| self.probe_group(group, hash))
        {
            slots.first().prefetch();
        }
    }

    /// Makes room for so many tokens in a new table. Does nothing in a table that was used.
    pub(in super::super) fn make_room(
        &self,
        writer: &mut Writer,
        tokens: u64,
    ) -> Result<(), TableFull> {
        if writer.groups.len() != 1 || writer.groups[0].used > 0 {
            return Ok(());
        }
        // Hashes are as good as random, so hardly one group in a million exceeds its share by
        // more than five standard deviations.
        let share = |depth: u32| usize::try_from(tokens >> depth).unwrap_or(usize::MAX);
        let most = |depth| share(depth).saturating_add(share(depth).isqrt() * 5);
        let fitting = |depth| (1..=MAX_UNITS).find(|units| room(*units) >= most(depth));
        if fitting(0) == Some(1) {
            return Ok(());
        }
        let sizes = (0..=MAX_DEPTH).find_map(|depth| Some((depth, fitting(depth)?)));
        let (depth, units) = sizes.ok_or(TableFull)?;
        for depth in 0..depth {
            self.directory.double()?;
            self.rebuild_all(writer, depth, &[1; 2])?;
        }
        self.rebuild_all(writer, depth, &[units])
    }

    /// Rebuilds all groups, which have this depth.
    fn rebuild_all(
        &self,
        writer: &mut Writer,
        depth: u32,
        units: &[usize],
    ) -> Result<(), TableFull> {
        for group in 0..1 << depth {
            let hash = group << (HASH_BITS - depth);
            let number = self.directory.group(hash).ok_or(TableFull)?;
            self.rebuild(writer, number, hash, units)?;
        }
        Ok(())
    }

    /// Adds `new` under a hash if nothing lives there; returns whether it did.
    pub(in super::super) fn add(
        &self,
        writer: &mut Writer,
        hash: u64,
        new: &[Words],
    ) -> Result<bool, TableFull> {
        let number = self.group_with_room(writer, hash, new.len())?;
        let slots = self.probe_group(number, hash).ok_or(TableFull)?;
        if slots.used().any(|slot| slot.hash() == Some(hash)) {
            return Ok(false);
        }
        for words in new {
            writer.groups[number as usize].used += usize::from(slots.fill(hash, words)?);
        }
        Ok(true)
    }

    /// Replaces the contents under a hash for which `is_old` holds by `new`.
    pub(in super::super) fn replace(
        &self,
        writer: &mut Writer,
        hash: u64,
        new: &[Words],
        is_old: impl Fn(&Words) -> bool,
    ) -> Result<(), TableFull> {
        let number = self.group_with_room(writer, hash, new.len())?;
        let slots = self.probe_group(number, hash).ok_or(TableFull)?;
        let old: Vec<Slot<'_>> = slots
            .used()
            .filter(|slot| slot.hash() == Some(hash) && is_old(&slot.contents()))
            .collect();
        for words in new {
            writer.groups[number as usize].used += usize::from(slots.fill(hash, words)?);
        }
        if !old.is_empty() {
            // Before the retiring: a reader that misses an old slot must see that it has to search
            // again, or it misses a key that lives.
            self.directory.announce(writer.groups[number as usize].depth, hash, [number; 2]);
            old.into_iter().for_each(Slot::retire);
        }
        Ok(())
    }

    /// Returns the contents under a hash. For the writer.
    pub(in super::super) fn contents(&self, hash: u64) -> Vec<Words> {
        let slots = self.directory.group(hash).and_then(|number| self.probe_group(number, hash));
        let used = slots.iter().flat_map(ProbeSequence::used);
        used.filter(|slot| slot.hash() == Some(hash)).map(Slot::contents).collect()
    }

    /// Retires all contents for which, with their hash, `keep` fails, and passes them to `gone`.
    pub(in super::super) fn retain(
        &self,
        writer: &Writer,
        keep: impl Fn(u64, &Words) -> bool,
        mut gone: impl FnMut(&Words),
    ) {
        for (number, info) in (0..).zip(&writer.groups) {
            let Some(slots) = self.probe_group(number, 0) else { continue };
            for slot in slots.iter() {
                let Some(hash) = slot.hash() else { continue };
                let words = slot.contents();
                if keep(hash, &words) {
                    continue;
                }
                gone(&words);
                // In this order, as in `replace`.
                self.directory.announce(info.depth, hash, [number; 2]);
                slot.retire();
            }
        }
    }

    /// Returns the slots of all groups, in the order of their hashes. For the writer.
    pub(in super::super) fn groups(&self) -> impl Iterator<Item = ProbeSequence<'_>> {
        self.directory.groups().filter_map(|number| self.probe_group(number, 0))
    }

    /// Returns the group of a hash, after growing or cleaning it until `more` slots fit.
    fn group_with_room(
        &self,
        writer: &mut Writer,
        hash: u64,
        more: usize,
    ) -> Result<u32, TableFull> {
        loop {
            let number = self.directory.group(hash).ok_or(TableFull)?;
            let slots = self.probe_group(number, hash).ok_or(TableFull)?;
            let units = slots.len();
            let info = writer.groups[number as usize];
            if info.used + more <= room(units) {
                return Ok(number);
            }
            let live = slots.iter().filter(|slot| slot.hash().is_some()).count();
            // Room for the living slots, the new ones, and a few changes after that.
            let needed = live + more + UNIT_SLOTS / 8;
            match (1..=MAX_UNITS).find(|units| room(*units) >= needed) {
                Some(needed) => self.rebuild(writer, number, hash, &[needed.max(units)])?,
                None => {
                    if info.depth == self.directory.depth() {
                        self.directory.double()?;
                    }
                    self.rebuild(writer, number, hash, &[SPLIT_UNITS; 2])?;
                }
            }
        }
    }

    /// Copies a group's living slots into one new group, or into two by the next bit of their
    /// hashes.
    fn rebuild(
        &self,
        writer: &mut Writer,
        number: u32,
        hash: u64,
        units: &[usize],
    ) -> Result<(), TableFull> {
        let splits = units.len() == 2;
        let old_depth = writer.groups[number as usize].depth;
        let depth = old_depth + u32::from(splits);
        let old = self.probe_group(number, hash).ok_or(TableFull)?;
        let mut halves: [usize; 2] = [0; 2];
        let half_of = |hash: u64| if splits { hash as usize >> (HASH_BITS - depth) & 1 } else { 0 };
        for hash in old.iter().filter_map(Slot::hash) {
            halves[half_of(hash)] += 1;
        }
        let mut targets = [0; 2];
        for (at, units) in units.iter().enumerate() {
            // A split may be uneven.
            let fits = |units: &usize| room(*units) >= halves[at];
            let units = (*units..=MAX_UNITS).find(fits).unwrap_or(MAX_UNITS);
            targets[at] = self.make_group(writer, depth, units)?;
        }
        if !splits {
            targets[1] = targets[0];
        }
        for slot in old.iter() {
            let Some(hash) = slot.hash() else { continue };
            let target = targets[half_of(hash)];
            let slots = self.probe_group(target, hash).ok_or(TableFull)?;
            slots.fill(hash, &slot.contents())?;
            writer.groups[target as usize].used += 1;
        }
        self.directory.announce(old_depth, hash, targets);
        // After the announcement: readers still in the old group find it emptied, and search again.
        old.iter().for_each(Slot::clear);
        writer.free_units.extend(old.units());
        writer.free_groups.push(number);
        self.groups.get(number).ok_or(TableFull)?.give_up();
        Ok(())
    }

    /// Makes an empty group of so many units.
    fn make_group(&self, writer: &mut Writer, depth: u32, units: usize) -> Result<u32, TableFull> {
        let number = match writer.free_groups.pop() {
            Some(number) => number,
            None => {
                let number = u32::try_from(writer.groups.len()).map_err(|_| TableFull)?;
                self.groups.get_or_make(number, Group::default).ok_or(TableFull)?;
                writer.groups.push(GroupInfo::default());
                number
            }
        };
        writer.groups[number as usize] = GroupInfo { depth, used: 0 };
        let group = self.groups.get(number).ok_or(TableFull)?;
        let units: Result<Vec<u32>, _> = (0..units).map(|_| self.make_unit(writer)).collect();
        group.assign(&units?);
        Ok(number)
    }

    fn make_unit(&self, writer: &mut Writer) -> Result<u32, TableFull> {
        if let Some(number) = writer.free_units.pop() {
            return Ok(number);
        }
        let number = writer.units;
        self.units.get_or_make(number, Unit::empty).ok_or(TableFull)?;
        writer.units += 1;
        Ok(number)
    }

    #[inline]
    fn probe_group(&self, number: u32, hash: u64) -> Option<ProbeSequence<'_>> {
        self.groups.get(number)?.probe(&self.units, hash)
    }
}

impl<'a> Probe<'a> {
    /// Passes the contents under the hash to `visit`, until that returns an answer. Contents that
    /// are passed lived at some time during the call. Contents that lived throughout are passed.
    #[inline]
    pub(in super::super) fn find<B>(
        mut self,
        mut visit: impl FnMut(&Found<'a>) -> Option<B>,
    ) -> Option<B> {
        loop {
            for slot in self.slots.iter().take(self.slots.first().probe_len()) {
                match slot.read(self.hash) {
                    Seen::End => break,
                    Seen::Other => {}
                    Seen::Match(found) => {
                        if let Some(answer) = visit(&found) {
                            return Some(answer);
                        }
                    }
                }
            }
            // A retiring is announced first, so a reader that missed the slot sees the move.
            if !self.lookup.has_moved() {
                return None;
            }
            self = self.table.probe(self.hash)?;
        }
    }
}

#[cfg(test)]
mod tests;
