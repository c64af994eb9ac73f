//! The watched directories.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use super::system;
use super::watch::Watcher;

type Directories = HashMap<PathBuf, Arc<dyn Watcher>>;

static DIRECTORIES: LazyLock<Mutex<Directories>> = LazyLock::new(Mutex::default);

/// Keeps a directory watched while it lives. Files opened meanwhile are watched until they are
/// closed.
#[derive(Debug)]
pub struct Watched(PathBuf);

/// Watches all files that SQLite opens in a directory from now on.
///
/// # Panics
/// If the directory is missing, or is watched already.
pub fn watch(directory: &Path, by: Arc<dyn Watcher>) -> Watched {
    system::install();
    let directory = directory.canonicalize().expect("a directory");
    let before = lock().insert(directory.clone(), by);
    assert!(before.is_none(), "it is watched already");
    Watched(directory)
}

/// Returns the watcher of a file, and the file's name in its directory.
pub(super) fn watcher_of(path: &Path) -> Option<(Arc<dyn Watcher>, String)> {
    let by = Arc::clone(lock().get(path.parent()?)?);
    Some((by, path.file_name()?.to_str()?.to_owned()))
}

impl Drop for Watched {
    fn drop(&mut self) {
        lock().remove(&self.0);
    }
}

fn lock() -> MutexGuard<'static, Directories> {
    DIRECTORIES.lock().unwrap_or_else(PoisonError::into_inner)
}
