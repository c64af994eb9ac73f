//! Where a service's data lie.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::store::StoreBuilder;
use keyhasp::{KeyStore, Peppers};
use tempfile::{NamedTempFile, TempDir};

use super::Outcome;

/// A database, and beside it the secrets that it is read with: the pepper in `FILE.pepper`, others
/// in files of their own names.
///
/// That is for an example, which must find its secrets again by itself. A real service keeps them
/// apart from the database, so that whoever takes the one doesn't have the other.
#[derive(Debug)]
pub(crate) struct Place {
    database: PathBuf,
    /// Goes away with the process.
    _temporary: Option<TempDir>,
}

impl Place {
    /// At this file; at a temporary one if none is given.
    pub(crate) fn new(database: Option<String>) -> io::Result<Self> {
        if let Some(database) = database {
            return Ok(Self { database: database.into(), _temporary: None });
        }
        let temporary = tempfile::tempdir()?;
        Ok(Self { database: temporary.path().join("keys.db"), _temporary: Some(temporary) })
    }

    /// Opens a store on the database, with the pepper. Closed, it can be opened again.
    pub(crate) fn open(&self, store: StoreBuilder) -> Outcome<Arc<dyn KeyStore>> {
        self.open_as(store, SqliteOptions::exclusive())
    }

    /// The same, by other options.
    pub(crate) fn open_as(
        &self,
        store: StoreBuilder,
        options: SqliteOptions,
    ) -> Outcome<Arc<dyn KeyStore>> {
        let peppers = Peppers::new(1, self.secret("pepper")?)?;
        let database = Sqlite::open(&self.database, options)?;
        Ok(Arc::new(store.peppers(peppers).open(database)?))
    }

    /// A secret of this name: drawn at first, and the same from then on.
    pub(crate) fn secret(&self, name: &str) -> Outcome<[u8; 32]> {
        let file = PathBuf::from(format!("{}.{name}", self.database.display()));
        if let Some(secret) = read(&file)? {
            return Ok(secret);
        }
        match draw(&file) {
            // Another process was faster: both open the database with what that one drew.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                read(&file)?.ok_or_else(|| said(&file, &error).into())
            }
            drawn => drawn.map_err(|error| said(&file, &error).into()),
        }
    }
}

fn said(file: &Path, error: &io::Error) -> String {
    format!("{}: {error}", file.display())
}

/// The secret in this file; none if there is no such file.
fn read(file: &Path) -> Outcome<Option<[u8; 32]>> {
    match fs::read(file) {
        Ok(secret) => match secret.try_into() {
            Ok(secret) => Ok(Some(secret)),
            Err(_) => Err(format!("{} is not a secret of 32 bytes", file.display()).into()),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(said(file, &error).into()),
    }
}

/// A new secret, on disk before anything rests on it. A temporary file is its owner's alone to
/// read; it gets its name when it is whole, and not if another process was faster.
fn draw(file: &Path) -> io::Result<[u8; 32]> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(io::Error::other)?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut draft = NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
    draft.write_all(&secret)?;
    draft.as_file().sync_all()?;
    draft.persist_noclobber(file)?;
    Ok(secret)
}
