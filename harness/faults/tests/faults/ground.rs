//! The databases on which calls are tried.

use std::fs;
use std::path::Path;

use keyhasp::UpdateKey;
use keyhasp_faults::mutations::{self, Cast};
use keyhasp_faults::world::{Opening, World, scratch};
use tempfile::TempDir;

/// The state in which a call finds the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// Something was committed since it was opened.
    InUse,
    /// Nothing was.
    JustOpened,
    /// The log is so long that the next commit has it copied into the database.
    LogIsLong,
    /// It has just been copied, and the next commit begins it anew.
    LogWasCopied,
    /// Whoever had it open was killed, and left a log.
    WasKilled,
}

/// A database to be copied.
#[derive(Debug)]
pub struct Template {
    pub ground: Ground,
    pub cast: Cast,
    directory: TempDir,
}

/// SQLite copies the log into the database after a commit that leaves it at least so long, in pages.
const LONG: u64 = 1_000;
/// More than a commit of [`touch`] writes, and less than any mutation after it needs to reach `LONG`.
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
            // The same pages again and again.
            while pages_of_log(made.path()) + 3 * STEP < LONG {
                touch(&world, &cast);
            }
            // What a process that is killed leaves.
            copy(made.path(), kept.path());
            return Self { ground, cast, directory: kept };
        }
        copy(made.path(), kept.path());
        Self { ground, cast, directory: kept }
    }

    /// Lays a copy.
    pub fn lay(&self, into: &Path) {
        copy(self.directory.path(), into);
    }

    /// Leads a store on a copy to where the call finds it.
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

/// A commit about nothing that matters.
fn touch(world: &World, cast: &Cast) {
    let version = world.admin.get(cast.other).unwrap().version;
    let update = UpdateKey::new().name(format!("name {:04}", version.get()));
    world.admin.update(cast.other, update).unwrap();
}

/// Copies the database and its log, as they would be found by the next process.
pub fn copy(from: &Path, into: &Path) {
    for name in ["keys.db", "keys.db-wal", "keys.db-journal"] {
        if from.join(name).exists() {
            fs::copy(from.join(name), into.join(name)).unwrap();
        }
    }
}
