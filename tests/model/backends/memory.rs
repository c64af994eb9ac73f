//! Sequences in memory.

use std::sync::Arc;

use keyhasp::Error;
use keyhasp::backend::{Backend, Memory};
use keyhasp::store::{Store, StoreBuilder};

use super::Place;

/// A backend in memory, held here too. Closing a store would lose its records, so the next store is
/// opened beside the old one, which is no longer called.
#[derive(Debug)]
pub(crate) struct InMemory(Arc<dyn Backend>);

impl InMemory {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Memory::new()))
    }
}

impl Place for InMemory {
    fn open(&mut self, builder: StoreBuilder) -> Result<Store, Error> {
        builder.open_on(Arc::clone(&self.0))
    }

    fn outlives_its_store(&self) -> bool {
        false
    }
}
