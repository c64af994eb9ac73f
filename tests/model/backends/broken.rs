//! Sequences on a backend in memory with an injected bug, which can be closed and opened again.

use std::sync::Arc;

use keyhasp::Error;
use keyhasp::backend::Backend;
use keyhasp::store::{Store, StoreBuilder};
use keyhasp::testing::conformance::Subject;

use super::Place;
use crate::broken::{BrokenBy, Disk, Fault};

/// A disk, and the injected bug of the backends that are opened on it.
#[derive(Debug)]
pub(crate) struct OnBroken {
    fault: Fault,
    disk: Arc<Disk>,
}

impl OnBroken {
    pub(crate) fn by(fault: Fault) -> Self {
        Self { fault, disk: BrokenBy(fault).place().unwrap() }
    }
}

impl Place for OnBroken {
    fn open(&mut self, builder: StoreBuilder) -> Result<Store, Error> {
        builder.open_on(Arc::<dyn Backend>::from(BrokenBy(self.fault).open(&self.disk)?))
    }

    fn outlives_its_store(&self) -> bool {
        true
    }
}
