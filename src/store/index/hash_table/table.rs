//! From a tag to its slots.
//!
//! The directory leads to a group of up to 16 units of 512 slots, with linear probing inside the
//! group. A full group is made anew with one unit more, or splits in two; so the index grows by
//! parts, is never much emptier than it must be, and what a group leaves behind is used by the
//! next. Directory and groups are small enough to stay in a core's own cache.

use super::directory::{AtItsDeepest, CommitGuard, Directory, MAX_DEPTH};
use super::group::{Group, GroupFull, MAX_UNITS, Run, UNIT_SLOTS, Unit, Units, room};
use super::slot::{Found, Seen, Slot, TAG_BITS, Words};
use crate::store::index::memory::pages::Pages;

/// What the halves of a split group begin with.
const SPLIT_UNITS: usize = MAX_UNITS / 2;

/// What readers see.
#[derive(Debug)]
pub(in crate::store::index) struct Table {
    directory: Directory,
    groups: Pages<Group, { 1 << 10 }>,
    units: Units,
}

/// What the one writer knows beside it.
#[derive(Debug, Default)]
pub(in crate::store::index) struct Writer {
    /// By number of the group.
    groups: Vec<GroupInfo>,
    free_groups: Vec<u32>,
    units: u32,
    free_units: Vec<u32>,
}

#[derive(Clone, Copy, Debug, Default)]
struct GroupInfo {
    /// How many leading bits of their tags the group's slots share.
    depth: u32,
    /// How many of its slots aren't empty.
    used: usize,
}

/// The index is at its limit; nothing was changed.
#[derive(Debug)]
pub(in crate::store::index) struct TableFull;

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

/// A search that knows where it will look first.
#[derive(Clone, Copy, Debug)]
pub(in crate::store::index) struct Probe<'a> {
    table: &'a Table,
    tag: u64,
    lead: CommitGuard<'a>,
    run: Run<'a>,
}

impl Table {
    pub(in crate::store::index) fn new(writer: &mut Writer) -> Self {
        // The first group of all has the number 0.
        let table =
            Self { directory: Directory::new(0), groups: Pages::new(), units: Pages::new() };
        let made = table.make_group(writer, 0, 1);
        debug_assert!(matches!(made, Ok(0)), "the first group: {made:?}");
        table
    }

    /// Begins to look for a tag: has the first slots fetched, and can do something else meanwhile.
    // By force: what it returns would else go through memory.
    #[inline(always)]
    pub(in crate::store::index) fn probe(&self, tag: u64) -> Option<Probe<'_>> {
        loop {
            let lead = self.directory.lead(tag)?;
            if let Some(run) = self.run(lead.group(), tag) {
                run.prefetch();
                return Some(Probe { table: self, tag, lead, run });
            }
            // The group was given up meanwhile, so the directory has moved on.
            if !lead.has_moved() {
                return None;
            }
        }
    }

    /// Has fetched what adding under a tag looks at first.
    pub(in crate::store::index) fn prepare(&self, tag: u64) {
        if let Some(run) = self.directory.group(tag).and_then(|group| self.run(group, tag)) {
            run.first().prefetch();
        }
    }

    /// Makes room for so many tokens, if it is as it was made; otherwise does nothing.
    pub(in crate::store::index) fn make_room(
        &self,
        writer: &mut Writer,
        tokens: u64,
    ) -> Result<(), TableFull> {
        if writer.groups.len() != 1 || writer.groups[0].used > 0 {
            return Ok(());
        }
        // Tags are as good as random: hardly one group in a million gets more than this.
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
            self.renew_all(writer, depth, &[1; 2])?;
        }
        self.renew_all(writer, depth, &[units])
    }

    /// Makes all groups anew, which have this depth.
    fn renew_all(&self, writer: &mut Writer, depth: u32, units: &[usize]) -> Result<(), TableFull> {
        for group in 0..1 << depth {
            let tag = group << (TAG_BITS - depth);
            let number = self.directory.group(tag).ok_or(TableFull)?;
            self.renew(writer, number, tag, units)?;
        }
        Ok(())
    }

    /// Adds `new` under a tag, if nothing lives there; whether that was so.
    pub(in crate::store::index) fn add(
        &self,
        writer: &mut Writer,
        tag: u64,
        new: &[Words],
    ) -> Result<bool, TableFull> {
        let number = self.group_with_room(writer, tag, new.len())?;
        let run = self.run(number, tag).ok_or(TableFull)?;
        if run.used().any(|slot| slot.tag() == Some(tag)) {
            return Ok(false);
        }
        for words in new {
            writer.groups[number as usize].used += usize::from(run.fill(tag, words)?);
        }
        Ok(true)
    }

    /// Replaces what lives under a tag, as far as `is_old` says so, by `new`.
    pub(in crate::store::index) fn replace(
        &self,
        writer: &mut Writer,
        tag: u64,
        new: &[Words],
        is_old: impl Fn(&Words) -> bool,
    ) -> Result<(), TableFull> {
        let number = self.group_with_room(writer, tag, new.len())?;
        let run = self.run(number, tag).ok_or(TableFull)?;
        let old: Vec<Slot<'_>> =
            run.used().filter(|slot| slot.tag() == Some(tag) && is_old(&slot.contents())).collect();
        for words in new {
            writer.groups[number as usize].used += usize::from(run.fill(tag, words)?);
        }
        if !old.is_empty() {
            self.directory.announce(writer.groups[number as usize].depth, tag, [number; 2]);
            old.into_iter().for_each(Slot::retire);
        }
        Ok(())
    }

    /// What lives under a tag. For the writer.
    pub(in crate::store::index) fn contents(&self, tag: u64) -> Vec<Words> {
        let run = self.directory.group(tag).and_then(|number| self.run(number, tag));
        let used = run.iter().flat_map(Run::used);
        used.filter(|slot| slot.tag() == Some(tag)).map(Slot::contents).collect()
    }

    /// Retires everything whose tag isn't to be kept, and shows it.
    pub(in crate::store::index) fn retain(
        &self,
        writer: &Writer,
        keep: impl Fn(u64) -> bool,
        mut gone: impl FnMut(&Words),
    ) {
        for (number, info) in (0..).zip(&writer.groups) {
            let Some(run) = self.run(number, 0) else { continue };
            for slot in run.iter() {
                let Some(tag) = slot.tag().filter(|tag| !keep(*tag)) else { continue };
                gone(&slot.contents());
                self.directory.announce(info.depth, tag, [number; 2]);
                slot.retire();
            }
        }
    }

    /// All groups, in the order of their tags. For the writer.
    pub(in crate::store::index) fn runs(&self) -> impl Iterator<Item = Run<'_>> {
        self.directory.groups().filter_map(|number| self.run(number, 0))
    }

    /// The group of a tag, after growing or cleaning it until so many more fit.
    fn group_with_room(
        &self,
        writer: &mut Writer,
        tag: u64,
        more: usize,
    ) -> Result<u32, TableFull> {
        loop {
            let number = self.directory.group(tag).ok_or(TableFull)?;
            let run = self.run(number, tag).ok_or(TableFull)?;
            let units = run.len();
            let info = writer.groups[number as usize];
            if info.used + more <= room(units) {
                return Ok(number);
            }
            let live = run.iter().filter(|slot| slot.tag().is_some()).count();
            // Room for what lives, what comes, and a few changes after that.
            let needed = live + more + UNIT_SLOTS / 8;
            match (1..=MAX_UNITS).find(|units| room(*units) >= needed) {
                Some(needed) => self.renew(writer, number, tag, &[needed.max(units)])?,
                None => {
                    if info.depth == self.directory.depth() {
                        self.directory.double()?;
                    }
                    self.renew(writer, number, tag, &[SPLIT_UNITS; 2])?;
                }
            }
        }
    }

    /// Copies a group's living slots into one new group, or two by the next bit of their tags.
    fn renew(
        &self,
        writer: &mut Writer,
        number: u32,
        tag: u64,
        units: &[usize],
    ) -> Result<(), TableFull> {
        let splits = units.len() == 2;
        let old_depth = writer.groups[number as usize].depth;
        let depth = old_depth + u32::from(splits);
        let old = self.run(number, tag).ok_or(TableFull)?;
        let mut halves: [usize; 2] = [0; 2];
        let half_of = |tag: u64| if splits { tag as usize >> (TAG_BITS - depth) & 1 } else { 0 };
        for tag in old.iter().filter_map(Slot::tag) {
            halves[half_of(tag)] += 1;
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
            let Some(tag) = slot.tag() else { continue };
            let target = targets[half_of(tag)];
            let run = self.run(target, tag).ok_or(TableFull)?;
            run.fill(tag, &slot.contents())?;
            writer.groups[target as usize].used += 1;
        }
        self.directory.announce(old_depth, tag, targets);
        // Readers still in the old group find it emptied, and look again.
        old.iter().for_each(Slot::clear);
        writer.free_units.extend(old.units());
        writer.free_groups.push(number);
        self.groups.get(number).ok_or(TableFull)?.give_up();
        Ok(())
    }

    /// An empty group of so many units.
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
        group.take(&units?);
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
    fn run(&self, number: u32, tag: u64) -> Option<Run<'_>> {
        self.groups.get(number)?.run(&self.units, tag)
    }
}

impl<'a> Probe<'a> {
    /// Shows what lives under the tag, until `visit` breaks with an answer. What it shows was
    /// whole and alive at some time during the call; what lived throughout is shown.
    #[inline]
    pub(in crate::store::index) fn find<B>(
        mut self,
        mut visit: impl FnMut(&Found<'a>) -> Option<B>,
    ) -> Option<B> {
        loop {
            for slot in self.run.iter().take(self.run.first().reach()) {
                match slot.read(self.tag) {
                    Seen::End => break,
                    Seen::Other => {}
                    Seen::Match(found) => {
                        if let Some(answer) = visit(&found) {
                            return Some(answer);
                        }
                    }
                }
            }
            // A slot is announced before it is retired, so whoever missed it sees this.
            if !self.lead.has_moved() {
                return None;
            }
            self = self.table.probe(self.tag)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicBool, Ordering};

    use proptest::prelude::*;

    use super::super::slot::tag_of;
    use super::*;

    /// How many slots there are, those of free units included.
    fn slots(writer: &Writer) -> usize {
        writer.units as usize * UNIT_SLOTS
    }

    fn words(value: u64) -> Words {
        Words { near: [value; 7], far: value }
    }

    fn put(table: &Table, writer: &mut Writer, tag: u64, values: &[u64]) {
        let new: Vec<Words> = values.iter().map(|value| words(*value)).collect();
        table.replace(writer, tag, &new, |_| true).unwrap();
    }

    fn values(table: &Table, tag: u64) -> Vec<u64> {
        let mut found = Vec::new();
        table.probe(tag).unwrap().find(|seen| {
            found.push(seen.near[0]);
            None::<()>
        });
        found.sort_unstable();
        found
    }

    proptest! {
        /// Against a map: every tag has what was put last, whatever else is put or taken away.
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0..2_000_u128, 0..7_usize), 1..3_000)) {
            let mut writer = Writer::default();
            let table = Table::new(&mut writer);
            let mut map: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
            for (i, (id, count)) in steps.into_iter().enumerate() {
                let tag = tag_of(id.wrapping_mul(0x1234_5678_9abc_def1_2345));
                let new: Vec<u64> = (0..count as u64).map(|n| i as u64 * 10 + n).collect();
                put(&table, &mut writer, tag, &new);
                map.insert(tag, new);
            }
            for (tag, expected) in map {
                prop_assert_eq!(values(&table, tag), expected);
            }
        }
    }

    #[test]
    fn what_is_added_finds_nothing_in_its_place() {
        let mut writer = Writer::default();
        let table = Table::new(&mut writer);
        let tag = |i: u64| tag_of(u128::from(i) * 0xdead_beef_cafe_f00d);
        for i in 0..20_000 {
            assert!(table.add(&mut writer, tag(i), &[words(i), words(i + 1)]).unwrap());
        }
        for i in 0..20_000 {
            assert!(!table.add(&mut writer, tag(i), &[words(9)]).unwrap());
            assert_eq!(values(&table, tag(i)), [i, i + 1]);
            if i % 3 == 0 {
                put(&table, &mut writer, tag(i), &[]);
                assert!(table.add(&mut writer, tag(i), &[words(i)]).unwrap());
                assert_eq!(values(&table, tag(i)), [i]);
            }
        }
    }

    #[test]
    fn where_room_was_made_no_group_is_made_anew() {
        let tag = |i: u64| tag_of(u128::from(i) * 0xdead_beef_cafe_f00d);
        for keys in [0, 1, 300, 5_000, 100_000, 300_000] {
            let mut writer = Writer::default();
            let table = Table::new(&mut writer);
            table.make_room(&mut writer, keys).unwrap();
            let groups =
                |writer: &Writer| (writer.groups.len(), writer.units, table.directory.depth());
            let before = groups(&writer);
            for i in 0..keys {
                assert!(table.add(&mut writer, tag(i), &[words(i)]).unwrap());
            }
            assert_eq!(groups(&writer), before, "{keys}");
            assert!((0..keys).all(|i| values(&table, tag(i)) == [i]));
            let most = keys as f64 * 1.6 + 3.0 * UNIT_SLOTS as f64;
            assert!((slots(&writer) as f64) < most, "{keys}: {} slots", slots(&writer));
            // What holds something is left as it is.
            table.make_room(&mut writer, keys * 2).unwrap();
            assert!(keys == 0 || groups(&writer) == before);
        }
        let mut writer = Writer::default();
        let table = Table::new(&mut writer);
        assert!(table.make_room(&mut writer, u64::MAX).is_err());
        assert_eq!(writer.units, 1);
    }

    #[test]
    fn it_grows_by_parts_and_keeps_everything() {
        let mut writer = Writer::default();
        let table = Table::new(&mut writer);
        let tag = |i: u64| tag_of(u128::from(i) * 0xdead_beef_cafe_f00d);
        let keys = 100_000;
        let mut worst = 0.0_f64;
        for i in 0..keys {
            put(&table, &mut writer, tag(i), &[i]);
            if i > 60_000 {
                worst = worst.max(slots(&writer) as f64 / (i + 1) as f64);
            }
        }
        for i in 0..keys {
            assert_eq!(values(&table, tag(i)), [i]);
        }
        assert!(worst < 1.75, "{worst} slots for each key");
        let mut rewrite = |round| {
            for i in 0..keys {
                put(&table, &mut writer, tag(i), &[i + round]);
            }
            slots(&writer)
        };
        // Rewriting everything again and again takes no more room: retired slots are used again.
        let once = rewrite(1);
        let often = (2..6).map(rewrite).max().unwrap();
        assert!(often <= once + once / 8, "{once} {often}");
    }

    #[test]
    fn only_what_is_old_goes() {
        let mut writer = Writer::default();
        let table = Table::new(&mut writer);
        put(&table, &mut writer, 9, &[1, 2]);
        table.replace(&mut writer, 9, &[words(3)], |old| old.near[0] == 1).unwrap();
        assert_eq!(values(&table, 9), [2, 3]);
        put(&table, &mut writer, 10, &[4]);
        let mut gone = Vec::new();
        table.retain(&writer, |tag| tag == 10, |words| gone.push(words.near[0]));
        gone.sort_unstable();
        assert_eq!(gone, [2, 3]);
        assert_eq!((values(&table, 9), values(&table, 10)), (vec![], vec![4]));
    }

    /// What lives throughout is found throughout, while its group is rewritten and split.
    #[test]
    fn readers_never_miss_what_lives() {
        let mut writer = Writer::default();
        let table = Table::new(&mut writer);
        let tag = |i: u64| tag_of(u128::from(i) * 0x9e37_79b9_0000_0001);
        for i in 0..100 {
            put(&table, &mut writer, tag(i), &[i]);
        }
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for reader in 0..2_u64 {
                let (stop, table) = (&stop, &table);
                scope.spawn(move || {
                    let mut i = reader;
                    while !stop.load(Ordering::Relaxed) {
                        i = (i + 1) % 100;
                        let found = table.probe(tag(i)).unwrap().find(|seen| {
                            assert_eq!(seen.near, words(seen.near[0]).near);
                            (seen.near[0] % 1_000_000 == i).then_some(())
                        });
                        assert!(found.is_some(), "missed {i}");
                    }
                });
            }
            for i in 0..20_000_u64 {
                let old = i % 100;
                put(&table, &mut writer, tag(old), &[old + i * 1_000_000]);
                put(&table, &mut writer, tag(1_000 + i), &[u64::MAX - 1]);
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}
