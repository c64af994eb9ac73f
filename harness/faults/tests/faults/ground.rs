//! Databases for the calls, each in another state of its files.

use std::fs;
use std::path::Path;

use keyhasp::UpdateKey;
use keyhasp_faults::mutations::{self, Cast};
use keyhasp_faults::world::{Opening, World, scratch};
use tempfile::TempDir;

/// A state of the files before a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// A change was committed since the opening.
    InUse,
    /// No change was.
    JustOpened,
    /// The log is so long that a checkpoint follows the next commit.
    LogIsLong,
    /// A checkpoint has just copied the log, and the next commit writes over it.
    LogWasCopied,
    /// The process before was killed, and left a log.
    WasKilled,
}

/// A database to be copied.
#[derive(Debug)]
pub struct Template {
    pub ground: Ground,
    pub cast: Cast,
    directory: TempDir,
}

/// The length of the log, in pages, from which on SQLite makes a checkpoint after a commit.
const LONG: u64 = 1_000;
/// More pages than a commit of [`touch`] writes, and fewer than any mutation writes.
const STEP: u64 = 8;

impl Template {
    pub fn new(ground: Ground) -> Self {
        let (made, kept) = (scratch(), scratch());
        let world = World::open(made.path(), &Opening::default()).unwrap();
        let cast = mutations::fill(&world).unwrap();
        if ground == Ground::WasKilled {
            copy(made.path(), kept.path());
            return Self { ground, cast, directory: kept };
        }
        world.store.close().unwrap();
        if matches!(ground, Ground::LogIsLong | Ground::LogWasCopied) {
            let opening = Opening { seed: 2, ..Opening::default() };
            let world = World::open(made.path(), &opening).unwrap();
            // Each commit writes the same pages.
            while pages_of_log(made.path()) + 3 * STEP < LONG {
                touch(&world, &cast);
            }
            // A killed process leaves this.
            copy(made.path(), kept.path());
            return Self { ground, cast, directory: kept };
        }
        copy(made.path(), kept.path());
        Self { ground, cast, directory: kept }
    }

    /// Copies it to a directory.
    pub fn lay(&self, into: &Path) {
        copy(self.directory.path(), into);
    }

    /// Leads a store on a copy to the state.
    pub fn prepare(&self, world: &World, directory: &Path) {
        let cast = &self.cast;
        match self.ground {
            Ground::JustOpened | Ground::WasKilled => {}
            Ground::InUse => touch(world, cast),
            // One more commit is enough.
            Ground::LogIsLong => {
                while pages_of_log(directory) + STEP < LONG {
                    touch(world, cast);
                }
                assert!(pages_of_log(directory) < LONG);
            }
            Ground::LogWasCopied => {
                while pages_of_log(directory) < LONG {
                    touch(world, cast);
                }
            }
        }
    }
}

fn pages_of_log(directory: &Path) -> u64 {
    fs::metadata(directory.join("keys.db-wal")).map_or(0, |log| log.len() / 4_120)
}

/// Commits a change that no test looks at.
fn touch(world: &World, cast: &Cast) {
    let version = world.admin.get(cast.other).unwrap().version;
    let update = UpdateKey::new().name(format!("name {:04}", version.get()));
    world.admin.update(cast.other, update).unwrap();
}

/// Copies the database and its log, as the next process would find them.
pub fn copy(from: &Path, into: &Path) {
    for name in ["keys.db", "keys.db-wal", "keys.db-journal"] {
        if from.join(name).exists() {
            fs::copy(from.join(name), into.join(name)).unwrap();
        }
    }
}
