//! Sequences on sled.

use keyhasp::Error;
use keyhasp::backend::sled::{Sled, SledOptions};
use keyhasp::store::{Store, StoreBuilder};
use tempfile::TempDir;

use super::Place;

/// A directory.
#[derive(Debug)]
pub(crate) struct OnSled(TempDir);

impl OnSled {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }
}

impl Place for OnSled {
    fn open(&mut self, builder: StoreBuilder) -> Result<Store, Error> {
        let options = SledOptions::default().sync_off_for_tests();
        builder.open(Sled::open_or_create(self.0.path().join("keys"), options)?.0)
    }

    fn outlives_its_store(&self) -> bool {
        true
    }
}
