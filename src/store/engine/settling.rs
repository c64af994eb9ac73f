//! Large owners that changed: their keys are put again in pieces, beside other callers' commits.
//!
//! Each piece takes the commit guard, for which callers wait in turn: without it, a thread that takes
//! a lock again at once would keep out others that wait for it.
//!
//! The thread reads one page of each owner in turn, and fills some slots between: no owner waits until a
//! larger one was read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::engine::Engine;
use super::worker::{Next, Worked, Workers};
use crate::backend::{BackendError, BackendErrorKind};
use crate::id::OwnerId;
use crate::store::types::error::Error;

/// Number of keys of which one piece fills the slots.
const KEYS_AT_ONCE: usize = 256;

/// Number of pieces, of pages and of slots each, before the thread looks whether it must end.
const PIECES: usize = 16;

/// Pause after a failure.
const PAUSE: Duration = Duration::from_secs(1);

/// The state of the thread that puts keys again.
#[derive(Debug, Default)]
struct Turns {
    /// The owner that had the last turn.
    last: Option<OwnerId>,
    /// The owners whose keys couldn't be read, each with the time at which that failed. They wait for
    /// the pause, and no other owner does.
    failed: BTreeMap<OwnerId, Instant>,
    /// The time at which slots couldn't be filled.
    slots_failed: Option<Instant>,
}

impl Turns {
    /// Returns the owners that have the next turns, of all whose keys must be read, ascending.
    fn next(&mut self, mut unread: Vec<OwnerId>) -> Vec<OwnerId> {
        self.failed.retain(|owner, _| unread.binary_search(owner).is_ok());
        let had_turns = unread.partition_point(|owner| Some(*owner) <= self.last);
        unread.rotate_left(had_turns);
        unread.retain(|owner| !waits(self.failed.get(owner)));
        unread.truncate(PIECES);
        unread
    }

    fn has_failure(&self) -> bool {
        !self.failed.is_empty() || self.slots_failed.is_some()
    }
}

/// Whether the pause after a failure isn't over.
fn waits(failed: Option<&Instant>) -> bool {
    failed.is_some_and(|at| at.elapsed() < PAUSE)
}

impl Engine {
    /// The work of the thread that puts keys again.
    fn work_on_slots(&self, turns: &mut Turns) -> Worked {
        let unread = self.records.index.all_unread();
        self.readings.retain(&unread);
        let (mut error, mut has_more) = (None, false);
        for owner in turns.next(unread) {
            turns.last = Some(owner);
            // Before it is read: it keeps no other owner waiting, even if its reading panics.
            turns.failed.insert(owner, Instant::now());
            match self.readings.read_in_turn(&self.records, &owner, || self.lock_commits()) {
                Ok(is_read) => {
                    turns.failed.remove(&owner);
                    has_more |= is_read;
                }
                Err(failure) => error = Some(failure),
            }
        }
        if !waits(turns.slots_failed.as_ref()) {
            turns.slots_failed = None;
            match self.fill_some_slots() {
                Ok(more) => has_more |= more,
                Err(failure) => {
                    turns.slots_failed = Some(Instant::now());
                    error = Some(failure);
                }
            }
        }
        let next = match has_more {
            true => Next::After(Duration::ZERO),
            false if turns.has_failure() => Next::After(PAUSE),
            false => Next::WhenWoken,
        };
        match error {
            Some(error) => Worked::with(Err(error), next),
            // What has failed before hasn't been tried again.
            None if turns.has_failure() => Worked::nothing(next),
            None => Worked::well(next),
        }
    }

    /// Fills the slots of some pieces. Returns whether there may be more.
    fn fill_some_slots(&self) -> Result<bool, Error> {
        for _ in 0..PIECES {
            if !self.fill_slots()? {
                return Ok(false);
            }
        }
        Ok(true)
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
    let (name, mut turns) = (engine.records.backend.name(), Turns::default());
    let work = move || shared.work_on_slots(&mut turns);
    workers.spawn(name, "keyhasp-slots", signal, Next::WhenWoken, work)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each owner has its turn after at most one of each other's, except one that waits for the pause.
    #[test]
    fn owners_have_turns() {
        let owner = |number: usize| OwnerId::new(format!("org-{number:02}")).unwrap();
        let unread: Vec<OwnerId> = (0..2 * PIECES + 3).map(owner).collect();
        let mut turns = Turns::default();
        turns.failed.insert(owner(1), Instant::now());
        // It isn't among those that must be read.
        turns.failed.insert(owner(99), Instant::now());
        let mut had: BTreeMap<OwnerId, usize> = BTreeMap::new();
        for _ in 0..3 {
            for owner in turns.next(unread.clone()) {
                turns.last = Some(owner);
                *had.entry(owner).or_default() += 1;
            }
        }
        assert_eq!(had.values().sum::<usize>(), 3 * PIECES);
        assert_eq!(had.len(), unread.len() - 1);
        assert!(!had.contains_key(&owner(1)) && had.values().all(|turns| *turns <= 2));
        assert_eq!(turns.failed.len(), 1);
    }
}
