//! Sequences in memory.

use std::sync::Arc;

use keyhasp::Error;
use keyhasp::backend::{Backend, Memory};
use keyhasp::store::{Store, StoreBuilder};

use super::Place;

/// A backend in memory, held here too. Closing a store would lose its records, so the next store is
/// opened beside the old one, which is no longer called.
#[derive(Debug)]
pub(crate) struct InMemory {
    backend: Arc<dyn Backend>,
    /// A change of the settings with which a store is opened.
    change: fn(StoreBuilder) -> StoreBuilder,
}

impl InMemory {
    pub(crate) fn new() -> Self {
        Self::opening(|builder| builder)
    }

    /// Opens stores with other settings than the driver asks for.
    pub(crate) fn opening(change: fn(StoreBuilder) -> StoreBuilder) -> Self {
        Self { backend: Arc::new(Memory::new()), change }
    }
}

impl Place for InMemory {
    fn open(&mut self, builder: StoreBuilder) -> Result<Store, Error> {
        (self.change)(builder).open_on(Arc::clone(&self.backend))
    }

    fn outlives_its_store(&self) -> bool {
        false
    }
}
