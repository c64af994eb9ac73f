//! The backends on which the sequences run.

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
    /// Opens a store on the database, with the records that it had before.
    fn open(&mut self, builder: StoreBuilder) -> Result<Store, Error>;

    /// Returns whether a closed store releases the database, so that it can be opened again.
    fn outlives_its_store(&self) -> bool;

    /// Returns whether several stores can have the database open.
    fn is_shared(&self) -> bool {
        false
    }
}
