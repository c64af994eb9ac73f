//! The durable backends, and a store on one of them.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use keyhasp::backend::Backend;
use keyhasp::backend::sled::{Sled, SledOptions};
use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::store::{StoreBuilder, UsageSettings};
use keyhasp::{Catalogue, Error, KeyStore, Prefix, Store};

/// The staleness that a shared database allows.
const STALENESS: Duration = Duration::from_secs(60);

/// A durable backend, as it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// SQLite for one process.
    Sqlite,
    /// SQLite as several processes share it.
    SharedSqlite,
    /// sled.
    Sled,
}

impl Engine {
    /// Each backend once.
    pub const ALL: [Self; 2] = [Self::Sqlite, Self::Sled];
    const NAMES: [(Self, &str); 3] =
        [(Self::Sqlite, "sqlite"), (Self::SharedSqlite, "sqlite-shared"), (Self::Sled, "sled")];

    /// Opens the database in a directory, or makes it there.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn open(self, place: &Path) -> Result<Arc<dyn Backend>, Error> {
        let sqlite = |options| Sqlite::open_or_create(place.join("keys.db"), options);
        let sled = || Sled::open_or_create(place.join("keys"), SledOptions::default());
        Ok(match self {
            Self::Sqlite => Arc::new(sqlite(SqliteOptions::exclusive())?.0),
            Self::SharedSqlite => Arc::new(sqlite(SqliteOptions::shared(STALENESS)?)?.0),
            Self::Sled => Arc::new(sled()?.0),
        })
    }

    /// The end of the path of the file that a commit writes and syncs.
    #[must_use]
    pub fn commits_to(self) -> &'static str {
        match self {
            Self::Sqlite | Self::SharedSqlite => "keys.db-wal",
            Self::Sled => "/db",
        }
    }
}

/// Opens a store on a backend, always with the same settings. It writes no piece of a sweep unless it
/// is asked to, so that its log stands still while it is looked at.
///
/// # Errors
/// Those of the store.
pub fn store(backend: Arc<dyn Backend>) -> Result<Arc<dyn KeyStore>, Error> {
    Ok(Arc::new(builder()?.without_sweeps_for_tests().open_on(backend)?))
}

/// Opens a store that counts uses; otherwise as [`store`].
///
/// # Errors
/// Those of the store.
pub fn counting(backend: Arc<dyn Backend>) -> Result<Arc<Store>, Error> {
    Ok(Arc::new(builder()?.usage(usage()).without_sweeps_for_tests().open_on(backend)?))
}

/// Opens a store that is to be killed at work: a thread of it writes pieces of sweeps. Counts uses on
/// demand.
///
/// # Errors
/// Those of the store.
pub fn at_work(backend: Arc<dyn Backend>, counts: bool) -> Result<Arc<Store>, Error> {
    let builder = builder()?;
    let builder = if counts { builder.usage(usage()) } else { builder };
    Ok(Arc::new(builder.open_on(backend)?))
}

fn usage() -> UsageSettings {
    UsageSettings::new().counts().interval(Duration::from_secs(1))
}

fn builder() -> Result<StoreBuilder, Error> {
    let catalogue = Catalogue::builder().read("links:read").write("links:write").build()?;
    // A use waits for its lease, however slow the machine is.
    let patience = Duration::from_secs(3_600);
    Ok(Store::builder(catalogue, [Prefix::new("crash")?]).quota_wait(patience))
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.iter().find(|(engine, _)| engine == self);
        f.write_str(name.map_or("?", |(_, name)| name))
    }
}

impl FromStr for Engine {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::NAMES.iter().find(|(_, name)| *name == text);
        found.map(|(engine, _)| *engine).ok_or_else(|| format!("`{text}` is no durable backend"))
    }
}
