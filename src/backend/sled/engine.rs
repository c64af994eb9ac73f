//! The one user of the crate `sled`: opening, reading, writing durably, letting go.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::ops::Bound;
use std::path::Path;
use std::thread;
use std::time::Duration;

use ::sled::transaction::{
    ConflictableTransactionError as Conflict, TransactionError, Transactional,
    UnabortableTransactionError as Unabortable,
};
use ::sled::{Db, IVec};

use super::chunks::Values;
use super::fault::{Fault, guarded};
use super::files::sync_tree;
use super::layout::{Layout, already_open};
use super::options::SledOptions;
use super::trees::{self, Tree};
use super::watchdog::Watchdog;
use crate::backend::BackendErrorKind;
use crate::backend::format::{FORMAT, OLDEST_READ};

/// The time that sled's own threads may take to release its file.
const LET_GO: Duration = Duration::from_secs(5);

/// A batch to write: for each tree its keys, with their values or nothing.
pub(super) type Writes = BTreeMap<Tree, BTreeMap<Vec<u8>, Option<Vec<u8>>>>;

/// An open sled database.
pub(super) struct Engine {
    /// Holds a part of `db`: dropped before it.
    watchdog: Watchdog,
    db: Db,
    /// The trees, in the order of [`Tree::index`].
    trees: Vec<::sled::Tree>,
    data: DataFile,
}

/// Why a write failed.
pub(super) enum WriteFault {
    /// Nothing was written.
    Before(Fault),
    /// It may have been, in whole.
    Unknown(Fault),
}

impl WriteFault {
    fn into_fault(self) -> Fault {
        match self {
            Self::Before(fault) | Self::Unknown(fault) => fault,
        }
    }
}

impl Engine {
    /// Makes an empty database in a new generation; when it returns, everything in there is
    /// durable.
    pub(super) fn create(
        layout: &Layout,
        generation: u64,
        options: &SledOptions,
    ) -> Result<Self, Fault> {
        let engine = Self::start(layout, generation, options, true)?;
        let written = engine.write_format();
        let settled = written.and_then(|()| engine.settle(layout, generation));
        engine.unless(settled)
    }

    /// Raises the format in the trees to the one that is written from now on.
    pub(super) fn raise_format(&self) -> Result<(), Fault> {
        let format = self.value(Tree::StoreMetadata, trees::FORMAT)?;
        if format.as_deref() == Some(&FORMAT.to_be_bytes()) { Ok(()) } else { self.write_format() }
    }

    fn write_format(&self) -> Result<(), Fault> {
        let format = FORMAT.to_be_bytes().to_vec();
        let metadata = BTreeMap::from([(trees::FORMAT.to_vec(), Some(format))]);
        let writes = Writes::from([(Tree::StoreMetadata, metadata)]);
        self.write(&writes).map_err(WriteFault::into_fault)
    }

    /// Opens a database that was created; what is read from then on is durable, unless a sync
    /// failed before.
    pub(super) fn open(
        layout: &Layout,
        generation: u64,
        options: &SledOptions,
    ) -> Result<Self, Fault> {
        layout.drop_half_snapshots(generation)?;
        let engine = Self::start(layout, generation, options, false)?;
        let settled = engine.check().and_then(|()| engine.settle(layout, generation));
        engine.unless(settled)
    }

    /// Returns the engine if `done` is `Ok`. Otherwise closes it, and returns the fault.
    pub(super) fn unless(self, done: Result<(), Fault>) -> Result<Self, Fault> {
        match done {
            Ok(()) => Ok(self),
            Err(fault) => {
                let _ = self.let_go();
                Err(fault)
            }
        }
    }

    fn start(
        layout: &Layout,
        generation: u64,
        options: &SledOptions,
        create: bool,
    ) -> Result<Self, Fault> {
        // Ours before sled's: an error of writing the file's pages back is reported to every
        // descriptor that was open then.
        let data = DataFile::open(&layout.data_file(generation), options.sync, create)?;
        data.expect_unlocked()?;
        if !create && data.file.metadata()?.len() == 0 {
            return Err(Fault::damaged("sled's data file is empty"));
        }
        let config = ::sled::Config::new()
            .path(layout.generation(generation))
            .cache_capacity(options.cache_capacity)
            // No thread that flushes by itself: every commit does.
            .flush_every_ms(None);
        let opened = guarded(|| config.open()).and_then(|db| match open_trees(&db, create) {
            Ok(trees) => Ok((trees, db)),
            Err(fault) => {
                drop_contained(Vec::new(), db);
                Err(fault)
            }
        });
        match opened {
            Ok((trees, db)) => Ok(Self { watchdog: watchdog(&db), db, trees, data }),
            Err(fault) => {
                // A caller that tries again at once must not meet what this try left.
                let _ = data.await_unlocked();
                Err(fault)
            }
        }
    }

    /// Checks that the database has a format that is read, and is not obviously cut short.
    fn check(&self) -> Result<(), Fault> {
        let format = self.value(Tree::StoreMetadata, trees::FORMAT)?;
        match format.and_then(|format| <[u8; 4]>::try_from(&*format).ok()).map(u32::from_be_bytes) {
            Some(format) if format > FORMAT => Err(Fault::newer("the trees have a later format")),
            Some(format) if format >= OLDEST_READ => Ok(()),
            _ => Err(Fault::damaged("the trees have no format")),
        }?;
        let last = self.number(trees::LAST_EVENT)?;
        if last > 0 && self.value(Tree::Events, &trees::event(last))?.is_none() {
            return Err(Fault::damaged("the last event is missing"));
        }
        Ok(())
    }

    /// Makes durable what is there.
    fn settle(&self, layout: &Layout, generation: u64) -> Result<(), Fault> {
        self.data.sync().inspect_err(|_| layout.note_unsynced())?;
        // sled may just have written a snapshot.
        if self.data.sync { Ok(sync_tree(&layout.generation(generation))?) } else { Ok(()) }
    }

    /// A counter in the metadata; 0 if there is none.
    pub(super) fn number(&self, name: &[u8]) -> Result<u64, Fault> {
        number(self.value(Tree::StoreMetadata, name)?.as_deref())
    }

    /// The length of the data file, in bytes.
    pub(super) fn size(&self) -> Result<u64, Fault> {
        Ok(self.data.file.metadata()?.len())
    }

    /// The entries of a tree between two bounds, in order.
    pub(super) fn range(&self, tree: Tree, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Range {
        let tree = &self.trees[tree.index()];
        let range = guarded(|| Ok(tree.range::<&[u8], _>((from, to))));
        match range {
            Ok(inner) => Range { inner: Some(inner), fault: None },
            Err(fault) => Range { inner: None, fault: Some(fault) },
        }
    }

    /// Writes everything in one atomic step, and returns when it is durable.
    pub(super) fn write(&self, writes: &Writes) -> Result<(), WriteFault> {
        let trees: Vec<_> = writes.keys().map(|tree| self.trees[tree.index()].clone()).collect();
        let step = self.watchdog.during(|| {
            let mut before = None;
            let step = guarded(|| {
                let done = trees.as_slice().transaction(|views| {
                    for (view, entries) in views.iter().zip(writes.values()) {
                        for (key, value) in entries {
                            let old = match value {
                                Some(value) => view.insert(key.as_slice(), value.as_slice()),
                                None => view.remove(key.as_slice()),
                            };
                            // Up to here nothing is written, and nothing conflicts: we are the
                            // only writer.
                            old.map_err(|error| match error {
                                Unabortable::Storage(error) => Conflict::Abort(error),
                                Unabortable::Conflict => Conflict::Conflict,
                            })?;
                        }
                    }
                    Ok(())
                });
                match done {
                    Ok(()) => self.db.flush().map(drop),
                    Err(TransactionError::Abort(error)) => {
                        before = Some(error);
                        Ok(())
                    }
                    Err(TransactionError::Storage(error)) => Err(error),
                }
            });
            (step, before)
        });
        match step {
            (Err(fault), _) => Err(WriteFault::Unknown(fault)),
            (Ok(()), Some(error)) => Err(WriteFault::Before(error.into())),
            // sled's flush ends in `sync_file_range`, which is no sync.
            (Ok(()), None) => self.data.sync().map_err(WriteFault::Unknown),
        }
    }

    /// The descriptor of sled's data file.
    pub(super) fn data_file(&self) -> &File {
        &self.data.file
    }

    /// Flushes, and lets go of all files. Returns what failed, and lets go of them all the same.
    pub(super) fn close(self) -> Result<(), Fault> {
        let flushed = self.watchdog.during(|| guarded(|| self.db.flush().map(drop)));
        let synced = flushed.and_then(|()| self.data.sync());
        synced.and(self.let_go())
    }

    /// Lets go of all files, flushed or not, and waits until sled's threads have too.
    pub(super) fn let_go(self) -> Result<(), Fault> {
        // Whatever is on its way has failed or arrived after this, so that dropping won't wait.
        let _ = self.watchdog.during(|| guarded(|| self.db.flush().map(drop)));
        let Self { watchdog, db, trees, data } = self;
        drop(watchdog);
        drop_contained(trees, db);
        data.await_unlocked()
    }

    /// Does this in place of the next sync.
    #[cfg(test)]
    pub(super) fn replace_next_sync(&self, sync: NextSync) {
        *self.data.next_sync.lock().unwrap() = Some(sync);
    }
}

impl Values for Engine {
    fn value(&self, tree: Tree, key: &[u8]) -> Result<Option<IVec>, Fault> {
        guarded(|| self.trees[tree.index()].get(key))
    }
}

/// Starts the watchdog for the threads that wait for sled's threads.
fn watchdog(db: &Db) -> Watchdog {
    let (asked, woken) = (db.context.clone(), db.context.clone());
    // Asked for more than there will ever be, the log finds the error and wakes all who wait.
    let wake = move || drop(woken.pagecache.log.make_stable(i64::MAX));
    Watchdog::start(move || asked.global_error().is_err(), wake)
}

/// Drops what is sled's. It syncs as it ends, and panics if that fails; what there is to know of
/// that is known already.
fn drop_contained(trees: Vec<::sled::Tree>, db: Db) {
    let _ = guarded(move || {
        drop(trees);
        drop(db);
        Ok(())
    });
}

/// All trees; which must be there already, unless the database is being created.
fn open_trees(db: &Db, create: bool) -> Result<Vec<::sled::Tree>, Fault> {
    let names = db.tree_names();
    let exists = |tree: &Tree| names.iter().any(|name| *name == tree.name().as_bytes());
    if !create && !Tree::ALL.iter().all(exists) {
        return Err(Fault::damaged("a tree is missing"));
    }
    Tree::ALL.iter().map(|tree| guarded(|| db.open_tree(tree.name()))).collect()
}

/// A stored counter; 0 if it isn't there.
pub(super) fn number(value: Option<&[u8]>) -> Result<u64, Fault> {
    match value.map(<[u8; 8]>::try_from) {
        None => Ok(0),
        Some(Ok(bytes)) => Ok(u64::from_be_bytes(bytes)),
        Some(Err(_)) => Err(Fault::damaged("a counter is not a number")),
    }
}

/// Entries of a tree.
pub(super) struct Range {
    inner: Option<::sled::Iter>,
    fault: Option<Fault>,
}

impl Iterator for Range {
    type Item = Result<(IVec, IVec), Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(fault) = self.fault.take() {
            return Some(Err(fault));
        }
        let inner = self.inner.as_mut()?;
        let next = guarded(|| inner.next().transpose());
        if next.is_err() {
            self.inner = None;
        }
        next.transpose()
    }
}

#[cfg(test)]
type NextSync = Box<dyn FnOnce() -> Result<(), Fault> + Send>;

/// Our own descriptor of sled's data file.
struct DataFile {
    file: File,
    sync: bool,
    /// Done in place of the next sync.
    #[cfg(test)]
    next_sync: std::sync::Mutex<Option<NextSync>>,
}

impl DataFile {
    fn open(path: &Path, sync: bool, create: bool) -> Result<Self, Fault> {
        let file = OpenOptions::new().read(true).write(true).create_new(create).open(path)?;
        Ok(Self {
            file,
            sync,
            #[cfg(test)]
            next_sync: std::sync::Mutex::default(),
        })
    }

    fn sync(&self) -> Result<(), Fault> {
        #[cfg(test)]
        if let Some(sync) = self.next_sync.lock().ok().and_then(|mut next| next.take()) {
            return sync();
        }
        if self.sync { Ok(self.file.sync_all()?) } else { Ok(()) }
    }

    /// Checks that no program holds the file past our lock, such as another one with sled.
    fn expect_unlocked(&self) -> Result<(), Fault> {
        match self.file.try_lock() {
            Ok(()) => Ok(self.file.unlock()?),
            Err(TryLockError::WouldBlock) => Err(already_open()),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }

    /// Waits until sled's lock on the file is gone, and with it the last who could write to it.
    fn await_unlocked(&self) -> Result<(), Fault> {
        // A file's lock can't be waited for with an end to it, so it is looked at again and again.
        // Looks are counted, not time: a machine that was stopped meanwhile has released no lock.
        for _ in 0..LET_GO.as_millis() {
            match self.expect_unlocked() {
                Err(fault) if fault.kind() == BackendErrorKind::AlreadyOpen => {}
                other => return other,
            }
            thread::sleep(Duration::from_millis(1));
        }
        let text = "sled still has a write under way";
        Err(Fault::new(BackendErrorKind::TimedOut, text))
    }
}

/// Waits until no thread can write to a data file any more.
pub(super) fn await_unlocked(path: &Path) -> Result<(), Fault> {
    DataFile::open(path, false, false)?.await_unlocked()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn who_waits_for_a_file_gets_it_after_its_holder() {
        let temp = tempfile::TempDir::new().unwrap();
        let path = temp.path().join("db");
        let holder = File::create(&path).unwrap();
        holder.lock().unwrap();
        let is_let_go = AtomicBool::new(false);
        thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                await_unlocked(&path).unwrap();
                is_let_go.load(Ordering::SeqCst)
            });
            // As long as the waiter likes to take for getting there.
            thread::yield_now();
            is_let_go.store(true, Ordering::SeqCst);
            drop(holder);
            assert!(waiter.join().unwrap());
        });
    }
}
