//! Large owners that changed: their keys are put again in pieces, beside other callers' commits.
//!
//! Each piece takes the commit guard, for which callers wait in turn: without it, a thread that takes
//! a lock again at once would keep out others that wait for it.
//!
//! The thread reads one page of each owner in turn, and fills some slots between: no owner waits until a
//! larger one was read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use super::engine::Engine;
use super::index_sync::UnsettledOwner;
use super::worker::{Next, Worked, Workers};
use crate::backend::{BackendError, BackendErrorKind};
use crate::id::{KeyId, OwnerId};
use crate::store::types::error::Error;

/// Number of keys of which one piece fills the slots.
const KEYS_AT_ONCE: usize = 256;

/// Number of pieces, of pages and of slots each, before the thread looks whether it must end.
const PIECES: usize = 16;

/// Pause after a failure.
const PAUSE: Duration = Duration::from_secs(1);

/// The readings of owners' keys that are under way.
///
/// Locked for a moment: the owners' readings don't wait for each other.
#[derive(Debug, Default)]
pub(super) struct Readings(Mutex<BTreeMap<OwnerId, OwnReading>>);

/// The reading of one owner's keys, `None` before its first page. A thread that goes on with it holds
/// the lock. Without it, each of several callers that wait for the owner would read all keys.
type OwnReading = Arc<Mutex<Option<Reading>>>;

/// The place that a reading has reached.
#[derive(Clone, Copy, Debug)]
struct Reading {
    /// The ticket of the last change before the reading began. It reads what that change needs.
    ticket: u64,
    /// The next page is of the keys before this one; `None` for the first page.
    before: Option<KeyId>,
}

impl Readings {
    fn of(&self, owner: &OwnerId) -> OwnReading {
        Arc::clone(self.lock().entry(*owner).or_default())
    }

    /// Forgets those of other owners.
    fn retain(&self, owners: &[OwnerId]) {
        self.lock().retain(|owner, _| owners.binary_search(owner).is_ok());
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<OwnerId, OwnReading>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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
            match self.read_in_turn(&owner) {
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

    /// Reads the next page of an owner's keys. Returns false if a caller reads them already.
    fn read_in_turn(&self, owner: &OwnerId) -> Result<bool, Error> {
        let reading = self.readings.of(owner);
        let mut reading = match reading.try_lock() {
            Ok(reading) => reading,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(false),
        };
        self.read_or_doubt(owner, || self.read_page(owner, &mut reading).map(drop))?;
        Ok(true)
    }

    /// Waits until the slots of an owner's keys are as its record says. If they can't be now, the
    /// store can't answer for the owner until they are.
    pub(super) fn settle_owner(&self, owner: &OwnerId) -> Result<(), Error> {
        if self.is_read(owner) {
            return Ok(());
        }
        self.read_or_doubt(owner, || self.read_keys_again(owner))
    }

    /// Reads keys of an owner. If that fails, the store can't answer for the owner until a thread of the
    /// store has read them.
    fn read_or_doubt(
        &self,
        owner: &OwnerId,
        read: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut unsettled = UnsettledOwner { records: &self.records, owner, is_settled: false };
        let mut read = read();
        if read.is_err() {
            // A thread that reloads the owner whole holds the log, and may have put all its keys
            // meanwhile.
            let _applied_log = self.records.lock_applied_log();
            if self.is_read(owner) {
                read = Ok(());
            }
            unsettled.is_settled = read.is_ok();
            drop(unsettled);
        } else {
            unsettled.is_settled = true;
        }
        read
    }

    fn is_read(&self, owner: &OwnerId) -> bool {
        self.records.index.unread(owner).is_none()
    }

    /// Puts the keys of an owner again if their records must be read, a page at a time. What was
    /// committed before holds when this returns.
    fn read_keys_again(&self, owner: &OwnerId) -> Result<(), Error> {
        let reading = self.readings.of(owner);
        {
            let mut reading = reading.lock().unwrap_or_else(PoisonError::into_inner);
            let ticket = self.records.index.unread(owner);
            // A reading that began before the last change hasn't read what this caller waits for.
            if reading.is_some_and(|reading| Some(reading.ticket) != ticket) {
                *reading = None;
            }
            while !self.read_page(owner, &mut reading)? {}
        }
        // The thread passes over an owner whose keys a caller reads. There may have been another change.
        self.records.refills.wake();
        Ok(())
    }

    /// Puts the next page of an owner's keys again. Returns whether it was the last.
    fn read_page(&self, owner: &OwnerId, reading: &mut Option<Reading>) -> Result<bool, Error> {
        // If it fails, another reading begins with the first page.
        let known = reading.take();
        let Some(ticket) = self.records.index.unread(owner) else { return Ok(true) };
        let Reading { ticket, before } = known.unwrap_or(Reading { ticket, before: None });
        let _guard = self.lock_commits()?;
        let _applied_log = self.records.lock_applied_log();
        let before = self.records.put_keys_again(owner, before)?;
        if before.is_none() {
            self.records.index.end_unread(owner, ticket);
            self.records.refills.wake();
            return Ok(true);
        }
        *reading = Some(Reading { ticket, before });
        Ok(false)
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
