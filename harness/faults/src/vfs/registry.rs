//! Which directories are watched.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use super::system;
use super::watch::AlertSettings;

type Directories = HashMap<PathBuf, Arc<dyn AlertSettings>>;

static DIRECTORIES: LazyLock<Mutex<Directories>> = LazyLock::new(Mutex::default);

/// As long as it lives, a directory is watched. Files opened meanwhile are watched until they are
/// closed.
#[derive(Debug)]
pub struct Watched(PathBuf);

/// Watches all files that SQLite opens in a directory from now on.
///
/// # Panics
/// If the directory isn't there, or is watched already.
pub fn watch(directory: &Path, by: Arc<dyn AlertSettings>) -> Watched {
    system::install();
    let directory = directory.canonicalize().expect("a directory");
    let before = lock().insert(directory.clone(), by);
    assert!(before.is_none(), "it is watched already");
    Watched(directory)
}

/// Who watches a file, and the file's name there.
pub(super) fn watcher_of(path: &Path) -> Option<(Arc<dyn AlertSettings>, String)> {
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
