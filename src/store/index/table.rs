//! From a tag to its slots: a directory over the tag's leading bits (extendible hashing, Fagin et
//! al. 1979), pages with linear probing below it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::pages::Pages;
use super::slot::{PAGE_SLOTS, Seen, Slot, TAG_BITS, Words};

/// The greatest depth of the directory: 2^26 pages.
const MAX_DEPTH: u32 = 26;
/// A page with more slots than this in use, retired ones included, is made anew.
const MAX_USED: usize = PAGE_SLOTS * 7 / 8;
/// A page made anew splits if more than this would live in it.
const MAX_LIVE: usize = PAGE_SLOTS * 3 / 4;

type Page = [Slot; PAGE_SLOTS];

/// What readers see.
#[derive(Debug)]
pub(super) struct Table {
    depth: AtomicU32,
    /// One directory for each depth; that of a smaller depth is stale once a greater one is
    /// published. An entry is a page number and, above it, how often the page was announced.
    directories: Box<[OnceLock<Box<[AtomicU64]>>]>,
    pages: Pages<Page, 512>,
}

/// What the one writer knows beside it.
#[derive(Debug, Default)]
pub(super) struct Writer {
    /// By page number.
    infos: Vec<PageInfo>,
    free: Vec<u32>,
}

#[derive(Clone, Copy, Debug, Default)]
struct PageInfo {
    /// How many leading bits of their tags the page's slots share.
    depth: u32,
    /// How many of its slots aren't empty.
    used: usize,
}

/// The index is at its limit; nothing was changed.
#[derive(Debug)]
pub(super) struct TableFull;

impl Table {
    pub(super) fn new(writer: &mut Writer) -> Self {
        let table = Self {
            depth: AtomicU32::new(0),
            directories: (0..=MAX_DEPTH).map(|_| OnceLock::new()).collect(),
            pages: Pages::new(),
        };
        let first = table.allocate(writer, 0).unwrap_or_default();
        table.directories[0].get_or_init(|| Box::new([AtomicU64::new(first.into())]));
        table
    }

    /// Shows what lives under a tag, until `visit` breaks with an answer. What it shows was whole
    /// and alive at some time during the call; what lived throughout is shown.
    #[inline]
    pub(super) fn find<B>(
        &self,
        tag: u64,
        mut visit: impl FnMut(&Words) -> Option<B>,
    ) -> Option<B> {
        loop {
            let depth = self.depth.load(Ordering::Acquire);
            let entry = self.entry(depth, tag)?;
            let before = entry.load(Ordering::Acquire);
            let page = self.pages.get(page_of(before))?;
            for slot in probe(page, tag) {
                match slot.read(tag) {
                    Seen::End => break,
                    Seen::Other => {}
                    Seen::Match(words) => {
                        if let Some(answer) = visit(&words) {
                            return Some(answer);
                        }
                    }
                }
            }
            // A slot is announced before it is retired, so whoever missed it sees this.
            let moved = entry.load(Ordering::Acquire) != before
                || self.depth.load(Ordering::Acquire) != depth;
            if !moved {
                return None;
            }
        }
    }

    /// Replaces what lives under a tag, as far as `is_old` says so, by `new`.
    pub(super) fn replace(
        &self,
        writer: &mut Writer,
        tag: u64,
        new: &[Words],
        is_old: impl Fn(&Words) -> bool,
    ) -> Result<(), TableFull> {
        let (number, page) = self.page_with_room(writer, tag, new.len())?;
        let old: Vec<&Slot> = page
            .iter()
            .filter(|slot| slot.tag() == Some(tag) && is_old(&slot.contents()))
            .collect();
        for words in new {
            let mut free = probe(page, tag).filter(|slot| slot.tag().is_none());
            let slot = free.next().ok_or(TableFull)?;
            writer.infos[number as usize].used += usize::from(slot.is_empty());
            slot.fill(tag, words);
        }
        if !old.is_empty() {
            self.announce(number, writer.infos[number as usize].depth, tag);
            old.into_iter().for_each(Slot::retire);
        }
        Ok(())
    }

    /// What lives under a tag. For the writer.
    pub(super) fn contents(&self, tag: u64) -> Vec<Words> {
        let mut found = Vec::new();
        self.find(tag, |words| {
            found.push(*words);
            None::<()>
        });
        found
    }

    /// Retires everything whose tag isn't to be kept; how much that was.
    pub(super) fn retain(&self, writer: &Writer, keep: impl Fn(u64) -> bool) -> usize {
        let mut retired = 0;
        for (number, info) in (0..).zip(&writer.infos) {
            let Some(page) = self.pages.get(number) else { continue };
            for slot in page {
                let Some(tag) = slot.tag().filter(|tag| !keep(*tag)) else { continue };
                self.announce(number, info.depth, tag);
                slot.retire();
                retired += 1;
            }
        }
        retired
    }

    /// The page of a tag, after splitting or cleaning it until so many more fit.
    fn page_with_room(
        &self,
        writer: &mut Writer,
        tag: u64,
        more: usize,
    ) -> Result<(u32, &Page), TableFull> {
        loop {
            let depth = self.depth.load(Ordering::Relaxed);
            let entry = self.entry(depth, tag).ok_or(TableFull)?;
            let number = page_of(entry.load(Ordering::Relaxed));
            let page = self.pages.get(number).ok_or(TableFull)?;
            let info = writer.infos[number as usize];
            if info.used + more <= MAX_USED {
                return Ok((number, page));
            }
            let live = page.iter().filter(|slot| slot.tag().is_some()).count();
            let splits = live + more > MAX_LIVE;
            if splits && info.depth == depth {
                self.double(depth)?;
            }
            self.renew(writer, number, tag, splits)?;
        }
    }

    /// Copies a page's living slots into one new page, or two by the next bit of their tags.
    fn renew(
        &self,
        writer: &mut Writer,
        number: u32,
        tag: u64,
        splits: bool,
    ) -> Result<(), TableFull> {
        let old_depth = writer.infos[number as usize].depth;
        let depth = old_depth + u32::from(splits);
        let first = self.allocate(writer, depth)?;
        let second = if splits { self.allocate(writer, depth)? } else { first };
        let page = self.pages.get(number).ok_or(TableFull)?;
        for slot in page {
            let Some(tag) = slot.tag() else { continue };
            let goes_second = splits && tag >> (TAG_BITS - depth) & 1 == 1;
            let target = if goes_second { second } else { first };
            let target_page = self.pages.get(target).ok_or(TableFull)?;
            let free = probe(target_page, tag).find(|slot| slot.is_empty()).ok_or(TableFull)?;
            free.fill(tag, &slot.contents());
            writer.infos[target as usize].used += 1;
        }
        for (at, entry) in self.entries(old_depth, tag).enumerate() {
            // The first half of the old page's entries have 0 as the next bit.
            let half = self.span(old_depth) / 2;
            let target = if splits && at >= half { second } else { first };
            let announced = entry.load(Ordering::Relaxed) >> 32;
            entry.store(announced.wrapping_add(1) << 32 | u64::from(target), Ordering::Release);
        }
        // Readers still in the old page find it emptied, and look again.
        page.iter().for_each(Slot::clear);
        writer.free.push(number);
        Ok(())
    }

    fn allocate(&self, writer: &mut Writer, depth: u32) -> Result<u32, TableFull> {
        let info = PageInfo { depth, used: 0 };
        if let Some(number) = writer.free.pop() {
            writer.infos[number as usize] = info;
            return Ok(number);
        }
        let number = u32::try_from(writer.infos.len()).map_err(|_| TableFull)?;
        let make = || std::array::from_fn(|_| Slot::empty());
        self.pages.get_or_make(number, make).ok_or(TableFull)?;
        writer.infos.push(info);
        Ok(number)
    }

    /// Publishes a directory twice as long.
    fn double(&self, depth: u32) -> Result<(), TableFull> {
        if depth == MAX_DEPTH {
            return Err(TableFull);
        }
        let old = self.directories[depth as usize].get().ok_or(TableFull)?;
        self.directories[depth as usize + 1].get_or_init(|| {
            let twice = old.iter().flat_map(|entry| [entry, entry]);
            twice.map(|entry| AtomicU64::new(entry.load(Ordering::Relaxed))).collect()
        });
        self.depth.store(depth + 1, Ordering::Release);
        Ok(())
    }

    /// Says that something under this tag's page moved.
    fn announce(&self, number: u32, page_depth: u32, tag: u64) {
        for entry in self.entries(page_depth, tag) {
            let announced = entry.load(Ordering::Relaxed) >> 32;
            entry.store(announced.wrapping_add(1) << 32 | u64::from(number), Ordering::Release);
        }
    }

    /// How many entries of the directory lead to a page of this depth.
    fn span(&self, page_depth: u32) -> usize {
        1 << (self.depth.load(Ordering::Relaxed) - page_depth)
    }

    /// The entries that lead to the page of this depth under which the tag lies.
    fn entries(&self, page_depth: u32, tag: u64) -> impl Iterator<Item = &AtomicU64> {
        let depth = self.depth.load(Ordering::Relaxed);
        let span = self.span(page_depth);
        let first = (tag >> (TAG_BITS - page_depth)) as usize * span;
        let directory = self.directories[depth as usize].get();
        directory.into_iter().flat_map(move |directory| &directory[first..first + span])
    }

    #[inline]
    fn entry(&self, depth: u32, tag: u64) -> Option<&AtomicU64> {
        self.directories[depth as usize].get()?.get((tag >> (TAG_BITS - depth)) as usize)
    }
}

/// The page of a directory's entry.
#[inline]
fn page_of(entry: u64) -> u32 {
    // The lower half.
    #[allow(clippy::cast_possible_truncation)]
    {
        entry as u32
    }
}

/// A page's slots in the order in which a tag looks for its own.
#[inline]
fn probe(page: &Page, tag: u64) -> impl Iterator<Item = &Slot> {
    let start = tag as usize % PAGE_SLOTS;
    let (before, from) = page.split_at(start);
    from.iter().chain(before)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::AtomicBool;

    use proptest::prelude::*;

    use super::super::slot::tag_of;
    use super::*;

    /// How many slots there are, those of free pages included.
    fn slots(writer: &Writer) -> usize {
        writer.infos.len() * PAGE_SLOTS
    }

    fn words(value: u64) -> Words {
        [value; 7]
    }

    fn put(table: &Table, writer: &mut Writer, tag: u64, values: &[u64]) {
        let new: Vec<Words> = values.iter().map(|value| words(*value)).collect();
        table.replace(writer, tag, &new, |_| true).unwrap();
    }

    fn values(table: &Table, tag: u64) -> Vec<u64> {
        let mut found: Vec<u64> = table.contents(tag).iter().map(|words| words[0]).collect();
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
    fn it_grows_and_keeps_everything() {
        let mut writer = Writer::default();
        let table = Table::new(&mut writer);
        let tag = |i: u64| tag_of(u128::from(i) * 0xdead_beef_cafe_f00d);
        let keys = 100_000;
        for i in 0..keys {
            put(&table, &mut writer, tag(i), &[i]);
        }
        for i in 0..keys {
            assert_eq!(values(&table, tag(i)), [i]);
        }
        assert!(slots(&writer) < 4 * keys as usize);
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
        table.replace(&mut writer, 9, &[words(3)], |old| old[0] == 1).unwrap();
        assert_eq!(values(&table, 9), [2, 3]);
        table.replace(&mut writer, 9, &[], |_| true).unwrap();
        assert!(values(&table, 9).is_empty());
    }

    /// What lives throughout is found throughout, while its page is rewritten and split.
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
                        let found = table.find(tag(i), |words| {
                            assert!(words.iter().all(|word| *word == words[0]));
                            (words[0] % 1_000_000 == i).then_some(())
                        });
                        assert!(found.is_some(), "missed {i}");
                    }
                });
            }
            for i in 0..60_000_u64 {
                let old = i % 100;
                put(&table, &mut writer, tag(old), &[old + i * 1_000_000]);
                put(&table, &mut writer, tag(1_000 + i), &[u64::MAX - 1]);
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}
