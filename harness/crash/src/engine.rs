//! The durable backends, and a store on one of them.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use keyhasp::backend::sled::{Sled, SledOptions};
use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::backend::{Backend, BackendError};
use keyhasp::store::{StoreBuilder, UsageSettings};
use keyhasp::{Catalogue, Error, KeyStore, Prefix, Store};

/// A durable backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// SQLite.
    Sqlite,
    /// sled.
    Sled,
}

impl Engine {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Sqlite, Self::Sled];

    /// Opens its database in a directory, or makes one there.
    ///
    /// # Errors
    /// As the backend says.
    pub fn open(self, place: &Path) -> Result<Arc<dyn Backend>, BackendError> {
        Ok(match self {
            Self::Sqlite => {
                Arc::new(Sqlite::open(place.join("keys.db"), SqliteOptions::exclusive())?)
            }
            Self::Sled => Arc::new(Sled::open(place.join("keys"), SledOptions::default())?),
        })
    }
}

/// A store on a backend, always opened alike.
///
/// # Errors
/// As the store says.
pub fn store(backend: Arc<dyn Backend>) -> Result<Arc<dyn KeyStore>, Error> {
    Ok(Arc::new(builder()?.open_on(backend)?))
}

/// The same, which counts uses.
///
/// # Errors
/// As the store says.
pub fn counting(backend: Arc<dyn Backend>) -> Result<Arc<Store>, Error> {
    let usage = UsageSettings::new().counts().interval(Duration::from_secs(1));
    Ok(Arc::new(builder()?.usage(usage).open_on(backend)?))
}

fn builder() -> Result<StoreBuilder, Error> {
    let catalogue = Catalogue::builder().read("links:read").write("links:write").build()?;
    Ok(Store::builder(catalogue, [Prefix::new("crash")?]))
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite => "sqlite",
            Self::Sled => "sled",
        })
    }
}

impl FromStr for Engine {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let engine = Self::ALL.into_iter().find(|engine| engine.to_string() == text);
        engine.ok_or_else(|| format!("`{text}` is no durable backend"))
    }
}
