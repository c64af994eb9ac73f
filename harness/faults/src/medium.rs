//! What is on stable storage, and what a power cut would leave of the rest.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::ffi;

use crate::file_record::{Chance, FileRecord, Leaves, SECTORS};
use crate::vfs::{AlertSettings, Call, Kind, Operation, Verdict};

/// The files of a directory, as bytes by name.
pub type Image = BTreeMap<String, Vec<u8>>;

/// What a disk says without doing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// That the database was synced.
    DatabaseSynced,
    /// That the write-ahead log was synced.
    LogSynced,
}

/// Records a directory: what was written, made, cut and deleted since the last sync.
///
/// Names count as durable as SQLite's own VFS makes them so: with the first sync of a journal or a
/// log that was opened to be made, which syncs the directory too, and with a deletion that asks for
/// it. The log's index is no part: its content means nothing after a power cut.
#[derive(Debug)]
pub struct Medium {
    directory: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// All that happens has a moment of its own.
    moment: u64,
    lie: Option<Lie>,
    /// The sync that fails, counted from now.
    failing_sync: Option<u64>,
    failed: u64,
    files: Vec<Known>,
    /// Each name's file, and what names led to before, since the directory was synced.
    names: BTreeMap<String, Option<usize>>,
    renamed: Vec<Renamed>,
}

/// A file, under whatever name.
#[derive(Debug)]
struct Known {
    record: FileRecord,
    inode: u64,
    /// Its first sync also syncs the directory.
    syncs_directory: bool,
}

/// A name that meant something else before.
#[derive(Debug)]
struct Renamed {
    name: String,
    before: Option<usize>,
}

impl Medium {
    /// Records this directory; what is in it is taken to be durable.
    ///
    /// # Panics
    /// If it can't be read.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        let medium = Self {
            directory: directory.canonicalize().expect("a directory"),
            state: Mutex::default(),
        };
        let mut state = medium.lock();
        for entry in fs::read_dir(directory).expect("a directory") {
            let name = entry.expect("an entry").file_name().into_string().expect("a plain name");
            if name.ends_with(".db") || name.ends_with("-wal") || name.ends_with("-journal") {
                let id = state.add(medium.found(&name));
                state.names.insert(name, Some(id));
            }
        }
        drop(state);
        medium
    }

    /// Says so from now on.
    pub fn lie(&self, lie: Lie) {
        self.lock().lie = Some(lie);
    }

    /// The `nth` sync from now fails, and what it was about stays unsynced for good.
    pub fn fail_sync(&self, nth: u64) {
        self.lock().failing_sync = Some(nth);
    }

    /// No sync fails any more; how many have since the last time.
    pub fn heal(&self) -> u64 {
        let mut state = self.lock();
        state.failing_sync = None;
        std::mem::take(&mut state.failed)
    }

    /// How many operations there were that change anything.
    #[must_use]
    pub fn moment(&self) -> u64 {
        self.lock().moment
    }

    /// What can be read now, of the files that are known.
    #[must_use]
    pub fn current(&self) -> Image {
        let state = self.lock();
        let file = |(name, id): (&String, &Option<usize>)| {
            Some((name.clone(), state.files[(*id)?].record.current()))
        };
        state.names.iter().filter_map(file).collect()
    }

    /// What would be found if the power were cut now.
    pub fn after_loss(&self, chance: &mut impl Chance) -> Image {
        let state = self.lock();
        let leaves = match chance.below(8) {
            0 => Leaves::All,
            1 => Leaves::Nothing,
            2..=4 => Leaves::UpTo(state.moment.saturating_sub(chance.below(12))),
            _ => Leaves::Some,
        };
        let sector = SECTORS[usize::from(chance.one_in(2))];
        let mut image = Image::new();
        for (name, id) in &state.names {
            let before = state.renamed.iter().filter(|renamed| renamed.name == *name);
            let mut may_be: Vec<Option<usize>> = before.map(|renamed| renamed.before).collect();
            let found = match leaves {
                Leaves::All => *id,
                Leaves::Nothing => may_be.first().copied().unwrap_or(*id),
                Leaves::Some | Leaves::UpTo(_) => {
                    may_be.push(*id);
                    let which = chance.below(may_be.len() as u64);
                    may_be[usize::try_from(which).unwrap_or(0)]
                }
            };
            if let Some(id) = found {
                let bytes = state.files[id].record.after_loss(leaves, sector, chance);
                image.insert(name.clone(), bytes);
            }
        }
        image
    }

    /// The file as it lies in the directory, taken to be durable.
    fn found(&self, name: &str) -> Known {
        let path = self.directory.join(name);
        Known {
            record: FileRecord::durable(fs::read(&path).expect("a file")),
            inode: fs::metadata(&path).expect("a file").ino(),
            syncs_directory: false,
        }
    }

    fn opened(&self, call: &Call<'_>, create: bool) {
        let mut state = self.lock();
        let is_journal = matches!(call.kind, Kind::Journal | Kind::Log);
        let metadata = fs::metadata(self.directory.join(call.file)).expect("a file");
        let known = state.names.get(call.file).copied().flatten();
        let id = match known {
            Some(id) if state.files[id].inode == metadata.ino() => id,
            // Put in place by the backend itself, which syncs file and directory: see `renew_log`.
            // Nothing is made in any other way, so an empty new file was just made by this call.
            _ if metadata.len() > 0 => {
                let id = state.add(self.found(call.file));
                state.names.insert(call.file.to_owned(), Some(id));
                state.renamed.clear();
                id
            }
            _ => {
                let record = FileRecord::default();
                let inode = metadata.ino();
                let id = state.add(Known { record, inode, syncs_directory: false });
                state.rename(call.file, Some(id));
                id
            }
        };
        state.files[id].syncs_directory |= create && is_journal;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, file: Known) -> usize {
        self.files.push(file);
        self.files.len() - 1
    }

    fn rename(&mut self, name: &str, id: Option<usize>) {
        self.moment += 1;
        let before = self.names.insert(name.to_owned(), id).flatten();
        self.renamed.push(Renamed { name: name.to_owned(), before });
    }

    fn known(&mut self, name: &str) -> &mut Known {
        let id = self.names.get(name).copied().flatten().expect("a file that was opened");
        &mut self.files[id]
    }

    fn sync(&mut self, call: &Call<'_>) {
        self.moment += 1;
        let lie = match call.kind {
            Kind::Database => Some(Lie::DatabaseSynced),
            Kind::Log => Some(Lie::LogSynced),
            _ => None,
        };
        if self.lie.is_some() && self.lie == lie {
            return;
        }
        let known = self.known(call.file);
        known.record.sync();
        if std::mem::take(&mut known.syncs_directory) {
            self.renamed.clear();
        }
    }
}

impl AlertSettings for Medium {
    fn before(&self, call: &Call<'_>) -> Verdict {
        if call.operation != Operation::Sync {
            return Verdict::Pass;
        }
        let mut state = self.lock();
        let failing = state.failing_sync.as_mut().map(|left| {
            *left -= 1;
            *left
        });
        if failing == Some(0) {
            state.failing_sync = None;
            state.failed += 1;
            state.known(call.file).record.fail_sync();
            return Verdict::Fail(ffi::SQLITE_IOERR_FSYNC);
        }
        // The disk is this record.
        Verdict::Skip
    }

    fn after(&self, call: &Call<'_>) {
        if let Operation::Open { create } = call.operation {
            return self.opened(call, create);
        }
        let mut state = self.lock();
        let moment = state.moment;
        match call.operation {
            Operation::Delete { sync_directory } => {
                if state.names.contains_key(call.file) {
                    state.rename(call.file, None);
                }
                if sync_directory {
                    state.renamed.clear();
                }
            }
            Operation::Sync => state.sync(call),
            Operation::Truncate { size } => {
                state.known(call.file).record.resize(moment, size);
                state.moment += 1;
            }
            Operation::Write { offset, data } => {
                state.known(call.file).record.write(moment, offset, data);
                state.moment += 1;
            }
            _ => {}
        }
    }
}
