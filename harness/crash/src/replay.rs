//! A model of a disk that loses power.
//!
//! The model assumes this of a disk. After a sync of a file returned, its bytes and its length
//! last; after a sync of a directory, its entries do. Before that, each write may have arrived,
//! whole or some sectors of it, whatever became of the writes before and after it; or all did that
//! came before some moment. Changes of directories arrive in their order up to some point, as a
//! journal keeps them. `sync_file_range` promises nothing. What was written before a sync that
//! failed never arrives by a later sync, since the kernel took the pages for clean.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use crate::random::Random;
use crate::record::Entry;

/// The sizes of what a disk writes whole or not at all.
const SECTORS: [usize; 2] = [512, 4_096];
/// The length of the latest past in which a loss may stop writes in their order.
const RECENT: u64 = 12;

/// The files of the watched directory.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    files: BTreeMap<u64, Content>,
    /// The names that a process finds.
    now: Names,
    /// The names that outlast a loss of power.
    safe: Names,
    /// The changes of names that may outlast it, in order.
    pending: Vec<(String, Naming)>,
    next: u64,
    /// Counts the changes.
    moment: u64,
}

type Names = BTreeMap<String, Node>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    File(u64),
    Directory,
}

#[derive(Clone, Debug)]
enum Naming {
    Add(String, Node),
    Remove(String),
    Rename(String, String),
}

#[derive(Clone, Debug, Default)]
struct Content {
    safe: Vec<u8>,
    /// The changes after that, in order.
    pending: Vec<Pending>,
}

#[derive(Clone, Debug)]
struct Pending {
    moment: u64,
    change: Change,
    fate: Fate,
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// The change lasts.
    Certain,
    /// The change has arrived or never will, since its sync failed.
    Doomed,
    /// A sync will make it last.
    Open,
}

/// The part of the unsynced changes that arrives.
#[derive(Clone, Copy, Debug)]
enum Arrives {
    /// Each change by itself, with so many chances in a hundred.
    Percent(u64),
    /// All changes before a moment; the last of them perhaps in part.
    Before(u64),
}

/// A loss of power.
#[derive(Clone, Copy, Debug)]
struct Loss {
    arrives: Arrives,
    sector: usize,
    /// The bytes of a file that has grown and was not filled.
    filling: u8,
}

impl Disk {
    /// Whether a loss could take anything, except from files whose paths end so.
    #[must_use]
    pub fn is_pending(&self, except: &[&str]) -> bool {
        let may_lose = |(path, node): (&String, &Node)| match node {
            Node::File(number) => {
                !except.iter().any(|end| path.ends_with(end)) && self.files[number].is_pending()
            }
            Node::Directory => false,
        };
        !self.pending.is_empty() || self.now.iter().any(may_lose)
    }

    /// Makes a disk that safely holds what lies in a directory.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn holding(dir: &Path) -> io::Result<Self> {
        let mut disk = Self::default();
        disk.take_in(dir, "")?;
        disk.safe = disk.now.clone();
        Ok(disk)
    }

    fn take_in(&mut self, dir: &Path, below: &str) -> io::Result<()> {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let path = format!("{below}{}", entry.file_name().to_string_lossy());
            if entry.file_type()?.is_dir() {
                self.now.insert(path.clone(), Node::Directory);
                self.take_in(&entry.path(), &format!("{path}/"))?;
            } else {
                self.next += 1;
                let safe = fs::read(entry.path())?;
                self.files.insert(self.next, Content { safe, pending: Vec::new() });
                self.now.insert(path, Node::File(self.next));
            }
        }
        Ok(())
    }

    /// Applies a change.
    ///
    /// # Errors
    /// The change is about a file that isn't there.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), String> {
        match entry {
            Entry::Process | Entry::Said(_) | Entry::SyncRange(_) => {}
            Entry::Write(path, offset, data) => {
                self.change(path, Change::Write(*offset as usize, data.clone()))?;
            }
            Entry::Truncate(path, len) => self.change(path, Change::Length(*len as usize))?,
            Entry::Sync(path) => self.sync(path),
            Entry::SyncFailed(path) => {
                if let Ok(file) = self.file(path) {
                    file.decide(Fate::Doomed);
                }
            }
            Entry::Create(path) => {
                self.next += 1;
                self.files.insert(self.next, Content::default());
                self.name(path, Naming::Add(path.clone(), Node::File(self.next)));
            }
            Entry::Directory(path) => {
                self.name(path, Naming::Add(path.clone(), Node::Directory));
            }
            Entry::Remove(path) => self.name(path, Naming::Remove(path.clone())),
            Entry::Rename(from, to) => self.name(to, Naming::Rename(from.clone(), to.clone())),
        }
        Ok(())
    }

    fn file(&mut self, path: &str) -> Result<&mut Content, String> {
        match self.now.get(path) {
            Some(Node::File(number)) => self.files.get_mut(number),
            _ => None,
        }
        .ok_or_else(|| format!("{path} was written and never made"))
    }

    fn change(&mut self, path: &str, change: Change) -> Result<(), String> {
        self.moment += 1;
        let moment = self.moment;
        self.file(path)?.pending.push(Pending { moment, change, fate: Fate::Open });
        Ok(())
    }

    /// Returns each file's bytes as a process reads them, by path.
    #[must_use]
    pub fn current(&self) -> BTreeMap<String, Vec<u8>> {
        let bytes = |number: &u64| {
            let content = &self.files[number];
            let mut bytes = content.safe.clone();
            content.pending.iter().for_each(|pending| pending.change.write(&mut bytes, 0));
            bytes
        };
        let file = |(path, node): (&String, &Node)| match node {
            Node::File(number) => Some((path.clone(), bytes(number))),
            Node::Directory => None,
        };
        self.now.iter().filter_map(file).collect()
    }

    fn name(&mut self, path: &str, naming: Naming) {
        carry_out(&mut self.now, &naming);
        self.pending.push((parent(path).to_owned(), naming));
    }

    fn sync(&mut self, path: &str) {
        if let Ok(file) = self.file(path) {
            file.decide(Fate::Certain);
        } else {
            let (synced, others) = std::mem::take(&mut self.pending)
                .into_iter()
                .partition(|(directory, _)| directory == path);
            self.pending = others;
            let synced: Vec<(String, Naming)> = synced;
            synced.iter().for_each(|(_, naming)| carry_out(&mut self.safe, naming));
        }
    }

    /// Writes what a loss of power leaves to a new directory.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn lose_power(&self, random: &mut Random, to: &Path) -> io::Result<()> {
        let mut names = self.safe.clone();
        let arrived = random.below(self.pending.len() as u64 + 1) as usize;
        self.pending[..arrived].iter().for_each(|(_, naming)| carry_out(&mut names, naming));
        fs::create_dir(to)?;
        let loss = self.loss(random);
        for (path, node) in &names {
            let at = to.join(path);
            // Below a directory that never arrived nothing is found.
            if !at.parent().is_some_and(Path::is_dir) {
                continue;
            }
            match node {
                Node::Directory => fs::create_dir(at)?,
                Node::File(number) => fs::write(at, self.files[number].after(loss, random))?,
            }
        }
        Ok(())
    }

    fn loss(&self, random: &mut Random) -> Loss {
        let arrives = match random.below(6) {
            // All, most, some, nothing.
            choice @ 0..4 => Arrives::Percent([100, 90, 50, 0][choice as usize]),
            _ => Arrives::Before((self.moment + 1).saturating_sub(random.below(RECENT))),
        };
        let sector = SECTORS[random.below(2) as usize];
        let filling = if random.percent(50) { 0 } else { random.below(256) as u8 };
        Loss { arrives, sector, filling }
    }
}

impl Content {
    fn is_pending(&self) -> bool {
        self.pending.iter().any(|pending| pending.fate != Fate::Certain)
    }

    /// Decides the fate of every open change.
    fn decide(&mut self, decided: Fate) {
        for pending in self.pending.iter_mut().filter(|pending| pending.fate == Fate::Open) {
            pending.fate = decided;
        }
        let is_certain = |pending: &&Pending| pending.fate == Fate::Certain;
        let certain = self.pending.iter().take_while(is_certain).count();
        self.pending.drain(..certain).for_each(|pending| pending.change.write(&mut self.safe, 0));
    }

    fn after(&self, loss: Loss, random: &mut Random) -> Vec<u8> {
        let mut bytes = self.safe.clone();
        for Pending { moment, change, fate } in &self.pending {
            let (is_whole, is_part) = match loss.arrives {
                _ if *fate == Fate::Certain => (true, false),
                Arrives::Percent(percent) => (random.percent(percent), random.percent(40)),
                Arrives::Before(_) if *fate == Fate::Doomed => (random.percent(50), false),
                Arrives::Before(end) => (*moment < end, *moment == end && random.percent(50)),
            };
            if is_whole {
                change.write(&mut bytes, loss.filling);
            } else if is_part {
                change.write_in_part(&mut bytes, loss, random);
            }
        }
        bytes
    }
}

impl Change {
    fn write(&self, to: &mut Vec<u8>, filling: u8) {
        match self {
            Self::Write(offset, data) => {
                let end = offset + data.len();
                if to.len() < end {
                    to.resize(end, filling);
                }
                to[*offset..end].copy_from_slice(data);
            }
            Self::Length(len) => to.resize(*len, 0),
        }
    }

    /// Writes some sectors of it: the first ones, or any.
    fn write_in_part(&self, to: &mut Vec<u8>, loss: Loss, random: &mut Random) {
        let Self::Write(offset, data) = self else { return };
        // The file may have grown and not been filled.
        if random.percent(50) && to.len() < offset + data.len() {
            to.resize(offset + data.len(), loss.filling);
        }
        let (in_order, mut at) = (random.percent(50), 0);
        while at < data.len() {
            let sector_end = (offset + at) / loss.sector * loss.sector + loss.sector;
            let end = (sector_end - offset).min(data.len());
            if random.percent(50) {
                Self::Write(offset + at, data[at..end].to_vec()).write(to, loss.filling);
            } else if in_order {
                return;
            }
            at = end;
        }
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn carry_out(names: &mut Names, naming: &Naming) {
    match naming {
        Naming::Add(path, node) => drop(names.insert(path.clone(), *node)),
        Naming::Remove(path) => drop(names.remove(path)),
        Naming::Rename(from, to) => {
            let below = |path: &str| {
                let rest = path.strip_prefix(from.as_str())?;
                (rest.is_empty() || rest.starts_with('/')).then(|| format!("{to}{rest}"))
            };
            let moved: Vec<_> =
                names.keys().filter_map(|path| Some((path.clone(), below(path)?))).collect();
            for (path, target) in moved {
                if let Some(node) = names.remove(&path) {
                    names.insert(target, node);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(entries: &[Entry]) -> Disk {
        let mut disk = Disk::default();
        entries.iter().for_each(|entry| disk.apply(entry).unwrap());
        disk
    }

    /// Returns every content that a loss of power leaves, of many.
    fn found(disk: &Disk) -> Vec<Option<Vec<u8>>> {
        let mut all: Vec<_> = (0..200)
            .map(|seed| {
                let dir = tempfile::TempDir::new().unwrap();
                let to = dir.path().join("disk");
                disk.lose_power(&mut Random::new(seed), &to).unwrap();
                fs::read(to.join("a")).ok()
            })
            .collect();
        all.sort();
        all.dedup();
        all
    }

    #[test]
    fn what_was_synced_is_there_and_nothing_else_for_certain() {
        let path = || "a".to_owned();
        let write = |at, bytes: &[u8]| Entry::Write(path(), at, bytes.to_vec());
        let made = [Entry::Create(path()), write(0, b"one"), Entry::Sync(path())];
        // The file's name doesn't last.
        assert_eq!(found(&disk(&made)), [None, Some(b"one".to_vec())]);
        let named = [&made[..], &[Entry::Sync(String::new())]].concat();
        assert_eq!(found(&disk(&named)), [Some(b"one".to_vec())]);
        assert!(!disk(&named).is_pending(&[".lock"]));
        // Half synced is not synced.
        let more = [&named[..], &[write(1, b"x"), Entry::SyncRange(path())]].concat();
        assert_eq!(found(&disk(&more)), [Some(b"one".to_vec()), Some(b"oxe".to_vec())]);
        // A sync that failed is not made good by the next one.
        let failed = [&more[..], &[Entry::SyncFailed(path()), Entry::Sync(path())]].concat();
        assert_eq!(found(&disk(&failed)).len(), 2);
        let again = [&failed[..], &[write(1, b"x"), Entry::Sync(path())]].concat();
        assert_eq!(found(&disk(&again)), [Some(b"oxe".to_vec())]);
        assert_eq!(disk(&again).current()["a"], b"oxe");
    }

    #[test]
    fn names_arrive_in_their_order() {
        let disk = disk(&[
            Entry::Create("new".into()),
            Entry::Write("new".into(), 0, b"1".to_vec()),
            Entry::Sync("new".into()),
            Entry::Rename("new".into(), "a".into()),
        ]);
        assert_eq!(found(&disk), [None, Some(b"1".to_vec())]);
    }
}
