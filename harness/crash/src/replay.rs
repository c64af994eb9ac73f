//! A disk that loses power: what was not synced is there, or not, or in part.
//!
//! What is assumed of it: after a sync of a file returned, its bytes and its length last; after a
//! sync of a directory, its entries. Before that, each write may have arrived, whole or some sectors
//! of it, whatever became of those before and after it; changes of directories arrive in their order
//! up to some point, as a journal keeps them. `sync_file_range` promises nothing. What was written
//! before a sync that failed never arrives by a later one: the kernel took the pages for clean.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use crate::random::Random;
use crate::record::Entry;

/// What reaches a disk whole or not at all.
const SECTOR: usize = 512;

/// Everything in the directory that is watched.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    files: BTreeMap<u64, Content>,
    /// What is found there now.
    now: Names,
    /// What is on the disk for certain.
    safe: Names,
    /// What may be, in order.
    pending: Vec<(String, Naming)>,
    next: u64,
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
    /// What came after that, in order.
    pending: Vec<(Change, Fate)>,
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It lasts.
    Certain,
    /// It has arrived already or never will.
    Doomed,
    /// A sync makes it last.
    Open,
}

impl Disk {
    /// Whether anything could be lost, but in files whose names end so.
    #[must_use]
    pub fn is_pending(&self, but: &str) -> bool {
        let may_lose = |(path, node): (&String, &Node)| match node {
            Node::File(number) => !path.ends_with(but) && self.files[number].is_pending(),
            Node::Directory => false,
        };
        !self.pending.is_empty() || self.now.iter().any(may_lose)
    }

    /// A disk that holds what lies in a directory, for certain.
    ///
    /// # Errors
    /// As the system says.
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

    /// Takes over a change.
    ///
    /// # Errors
    /// It is about a file that isn't there.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), String> {
        match entry {
            Entry::Process | Entry::Said(_) | Entry::SyncRange(_) => {}
            Entry::Write(path, offset, data) => {
                let write = Change::Write(*offset as usize, data.clone());
                self.file(path)?.pending.push((write, Fate::Open));
            }
            Entry::Truncate(path, len) => {
                self.file(path)?.pending.push((Change::Length(*len as usize), Fate::Open));
            }
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

    /// What is there after the power failed, by these choices.
    ///
    /// # Errors
    /// It can't be written down.
    pub fn lose_power(&self, random: &mut Random, to: &Path) -> io::Result<()> {
        let mut names = self.safe.clone();
        let arrived = random.below(self.pending.len() as u64 + 1) as usize;
        self.pending[..arrived].iter().for_each(|(_, naming)| carry_out(&mut names, naming));
        fs::create_dir(to)?;
        // How much of what was written arrives: all, most, some, nothing.
        let percent = [100, 90, 50, 0][random.below(4) as usize];
        for (path, node) in &names {
            let at = to.join(path);
            // Below a directory that never arrived nothing is found.
            if !at.parent().is_some_and(Path::is_dir) {
                continue;
            }
            match node {
                Node::Directory => fs::create_dir(at)?,
                Node::File(number) => {
                    let content = &self.files[number];
                    let mut bytes = content.safe.clone();
                    for (change, fate) in &content.pending {
                        if *fate == Fate::Certain || random.percent(percent) {
                            change.write(&mut bytes);
                        } else if random.percent(40) {
                            change.write_in_part(&mut bytes, random);
                        }
                    }
                    fs::write(at, bytes)?;
                }
            }
        }
        Ok(())
    }
}

impl Content {
    fn is_pending(&self) -> bool {
        self.pending.iter().any(|(_, fate)| *fate != Fate::Certain)
    }

    /// Decides on everything that is open.
    fn decide(&mut self, decided: Fate) {
        for (_, fate) in self.pending.iter_mut().filter(|(_, fate)| *fate == Fate::Open) {
            *fate = decided;
        }
        let certain = self.pending.iter().take_while(|(_, fate)| *fate == Fate::Certain).count();
        self.pending.drain(..certain).for_each(|(change, _)| change.write(&mut self.safe));
    }
}

impl Change {
    fn write(&self, to: &mut Vec<u8>) {
        match self {
            Self::Write(offset, data) => {
                let end = offset + data.len();
                if to.len() < end {
                    to.resize(end, 0);
                }
                to[*offset..end].copy_from_slice(data);
            }
            Self::Length(len) => to.resize(*len, 0),
        }
    }

    /// Some sectors of it: the first ones, or any.
    fn write_in_part(&self, to: &mut Vec<u8>, random: &mut Random) {
        let Self::Write(offset, data) = self else { return };
        // The file may have grown and not been filled.
        if random.percent(50) && to.len() < offset + data.len() {
            to.resize(offset + data.len(), 0);
        }
        let (in_order, mut at) = (random.percent(50), 0);
        while at < data.len() {
            let sector_end = (offset + at) / SECTOR * SECTOR + SECTOR;
            let end = (sector_end - offset).min(data.len());
            if random.percent(50) {
                Self::Write(offset + at, data[at..end].to_vec()).write(to);
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

    /// All that is found after losing power in many ways.
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
        // A file without a name that lasts.
        assert_eq!(found(&disk(&made)), [None, Some(b"one".to_vec())]);
        let named = [&made[..], &[Entry::Sync(String::new())]].concat();
        assert_eq!(found(&disk(&named)), [Some(b"one".to_vec())]);
        assert!(!disk(&named).is_pending(".lock"));
        // Half synced is not synced.
        let more = [&named[..], &[write(1, b"x"), Entry::SyncRange(path())]].concat();
        assert_eq!(found(&disk(&more)), [Some(b"one".to_vec()), Some(b"oxe".to_vec())]);
        // A sync that failed is not made good by the next one.
        let failed = [&more[..], &[Entry::SyncFailed(path()), Entry::Sync(path())]].concat();
        assert_eq!(found(&disk(&failed)).len(), 2);
        let anew = [&failed[..], &[write(1, b"x"), Entry::Sync(path())]].concat();
        assert_eq!(found(&disk(&anew)), [Some(b"oxe".to_vec())]);
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
