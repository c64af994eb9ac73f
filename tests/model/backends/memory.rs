//! In memory.

use std::sync::Arc;

use keyhasp::Error;
use keyhasp::backend::{Backend, Memory};
use keyhasp::store::{Store, StoreBuilder};

use super::Place;

/// Memory that is held here too. A closed store takes it along, so a store that is opened anew
/// stands beside the old one, which nobody asks any more.
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
