//! Sequences on SQLite.

use std::time::Duration;

use keyhasp::Error;
use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::store::{Store, StoreBuilder};
use tempfile::TempDir;

use super::Place;

/// A file in a directory of its own.
#[derive(Debug)]
pub(crate) struct OnSqlite {
    dir: TempDir,
    options: SqliteOptions,
    is_shared: bool,
}

impl OnSqlite {
    /// Makes a database for one process.
    pub(crate) fn exclusive() -> Self {
        Self::with(SqliteOptions::exclusive(), false)
    }

    /// Makes a database for several processes. The driver polls whenever it moves the clock, so the
    /// store never becomes stale.
    pub(crate) fn shared() -> Self {
        Self::with(SqliteOptions::shared(Duration::from_secs(3_600)).unwrap(), true)
    }

    fn with(options: SqliteOptions, is_shared: bool) -> Self {
        Self { dir: TempDir::new().unwrap(), options: options.sync_off_for_tests(), is_shared }
    }
}

impl Place for OnSqlite {
    fn open(&mut self, builder: StoreBuilder) -> Result<Store, Error> {
        builder.open(Sqlite::open_or_create(self.dir.path().join("keys.db"), self.options)?.0)
    }

    fn outlives_its_store(&self) -> bool {
        true
    }

    fn is_shared(&self) -> bool {
        self.is_shared
    }
}
