//! Graces that a clock reckoned ahead, where some can't be mended.
#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keyhasp::backend::{Backend, BackendError, BackendErrorKind, BackendLayer, Memory, Scanned};
use keyhasp::key::{KeyRecord, OwnerRecord};
use keyhasp::{KeyId, OwnerId, Rotate};

use crate::common::{HOUR, World, builder, clock, owner};

/// A backend that counts scans, and can't read one key, or one owner.
#[derive(Debug, Default)]
struct Watched {
    inner: Memory,
    scans: AtomicUsize,
    damaged_key: Mutex<Option<KeyId>>,
    damaged_owner: Mutex<Option<OwnerId>>,
}

fn damage() -> BackendError {
    BackendError::new(BackendErrorKind::Corrupt, "watched", "read")
}

impl BackendLayer for Watched {
    fn inner(&self) -> &dyn Backend {
        &self.inner
    }

    fn scan(&self, visit: &mut dyn FnMut(Scanned)) -> Result<u64, BackendError> {
        self.scans.fetch_add(1, Ordering::SeqCst);
        self.inner.scan(visit)
    }

    fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, BackendError> {
        match *self.damaged_key.lock().unwrap() {
            Some(damaged) if damaged == id => Err(damage()),
            _ => self.inner.key(id),
        }
    }

    fn owner(&self, id: &OwnerId) -> Result<Option<OwnerRecord>, BackendError> {
        match *self.damaged_owner.lock().unwrap() {
            Some(damaged) if damaged == *id => Err(damage()),
            _ => self.inner.owner(id),
        }
    }

    /// Stays open for the next store.
    fn close(&self) -> Result<(), BackendError> {
        Ok(())
    }
}

/// A grace that can't be mended keeps no other waiting, and has all keys looked at once, not at each
/// call. It is mended when that can be done again.
#[test]
fn a_grace_that_cannot_be_mended_keeps_no_other_waiting() {
    for is_of_owner in [false, true] {
        let (backend, clock) = (Arc::<Watched>::default(), clock());
        let open = |seed| {
            let store = builder(&clock, seed).open_on(Arc::<Watched>::clone(&backend)).unwrap();
            World::of(Arc::new(store), Arc::clone(&clock))
        };
        let world = open(1);
        let (_, first) = world.owner("first");
        let (_, second) = world.owner("second");
        let right = world.now();
        drop(world);
        clock.set(right.saturating_add(HOUR * 24 * 365));
        // This process doesn't know its clock for wrong.
        let world = open(2);
        for issued in [&first, &second] {
            world.admin.rotate(issued.key.id, Rotate::with_grace(HOUR)).unwrap();
        }
        clock.set(right);
        match is_of_owner {
            false => *backend.damaged_key.lock().unwrap() = Some(first.key.id),
            true => *backend.damaged_owner.lock().unwrap() = Some(owner("first")),
        }
        backend.scans.store(0, Ordering::SeqCst);
        let ends_at = |id| world.admin.get(id).unwrap().previous_tokens[0].ends_at;
        for id in ["another", "next", "last"] {
            world.owner(id);
            assert_eq!(ends_at(second.key.id), right.saturating_add(HOUR));
            assert_eq!(backend.scans.load(Ordering::SeqCst), 1, "{id}, {is_of_owner}");
        }
        (*backend.damaged_key.lock().unwrap(), *backend.damaged_owner.lock().unwrap()) =
            (None, None);
        clock.advance(Duration::from_secs(60));
        world.owner("whole");
        assert_eq!(ends_at(first.key.id), world.after(HOUR));
        assert_eq!(backend.scans.load(Ordering::SeqCst), 1);
    }
}
