//! Large owners that changed: their keys are put again in pieces, beside other callers' commits.
//!
//! Each piece takes the commit guard, for which callers wait in turn: without it, a thread that takes
//! a lock again at once would keep out others that wait for it.

use std::sync::Arc;
use std::time::Duration;

use super::engine::Engine;
use super::worker::{Next, Worked, Workers};
use crate::backend::{BackendError, BackendErrorKind};
use crate::store::types::error::Error;

/// Number of keys of which one piece fills the slots.
const KEYS_AT_ONCE: usize = 256;

/// Number of pieces before the thread looks whether it must end.
const PIECES: usize = 16;

/// Pause after a failure.
const PAUSE: Duration = Duration::from_secs(1);

impl Engine {
    /// The work of the thread that puts keys again.
    fn work_on_slots(&self) -> Worked {
        // An owner whose keys can't be read keeps no other waiting.
        let mut failed = None;
        for owner in self.records.index.all_unread() {
            failed = self.settle_owner(&owner).err().or(failed);
        }
        let mut has_more = true;
        for _ in 0..PIECES {
            match self.fill_slots() {
                Ok(more) => has_more = more,
                Err(error) => (failed, has_more) = (Some(error), false),
            }
            if !has_more {
                break;
            }
        }
        match failed {
            Some(error) => Worked::with(Err(error), Next::After(PAUSE)),
            None if has_more => Worked::well(Next::After(Duration::ZERO)),
            None => Worked::well(Next::WhenWoken),
        }
    }

    /// Fills the slots of one piece. Returns whether there may be more.
    fn fill_slots(&self) -> Result<bool, Error> {
        self.check_process()?;
        let _guard = self.acquire();
        self.records.index.refill(KEYS_AT_ONCE).map_err(|error| {
            let (kind, name) = (BackendErrorKind::Full, self.records.backend.name());
            BackendError::new(kind, name, "fill the index").with_source(error).into()
        })
    }
}

/// Starts the thread that puts the keys of large owners again.
pub(in crate::store) fn start_settling(
    engine: &Arc<Engine>,
    workers: &mut Workers,
) -> Result<(), Error> {
    let (shared, signal) = (Arc::clone(engine), &engine.records.refills);
    let name = engine.records.backend.name();
    workers.spawn(name, "keyhasp-slots", signal, Next::WhenWoken, move || shared.work_on_slots())
}
