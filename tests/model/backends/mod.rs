//! Where the sequences run.

#[cfg(feature = "testing")]
mod broken;
mod memory;
#[cfg(all(feature = "sled", feature = "testing"))]
mod sled;
#[cfg(all(feature = "sqlite", feature = "testing"))]
mod sqlite;

use std::fmt::Debug;

use keyhasp::Error;
use keyhasp::store::{Store, StoreBuilder};

#[cfg(feature = "testing")]
pub(crate) use broken::OnBroken;
pub(crate) use memory::InMemory;
#[cfg(all(feature = "sled", feature = "testing"))]
pub(crate) use sled::OnSled;
#[cfg(all(feature = "sqlite", feature = "testing"))]
pub(crate) use sqlite::OnSqlite;

/// A place for one database, empty at first.
pub(crate) trait Place: Debug {
    /// Opens a store on it; what was there before is there again.
    fn open(&mut self, builder: StoreBuilder) -> Result<Store, Error>;

    /// Whether a store lets go of the database when it is closed, so that it can be opened again.
    fn outlives_its_store(&self) -> bool;

    /// Whether several stores can have it open.
    fn is_shared(&self) -> bool {
        false
    }
}
