//! The readings of the keys of large owners that changed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use super::group_commit::CommitGuard;
use super::index_sync::UnsettledOwner;
use super::records::Records;
use crate::id::{KeyId, OwnerId};
use crate::store::types::error::Error;

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
    pub(super) fn retain(&self, owners: &[OwnerId]) {
        self.lock().retain(|owner, _| owners.binary_search(owner).is_ok());
    }

    /// Reads the next page of an owner's keys. Returns false if a caller reads them already.
    pub(super) fn read_in_turn<'a>(
        &self,
        records: &Records,
        owner: &OwnerId,
        lock_commits: impl Fn() -> Result<CommitGuard<'a>, Error>,
    ) -> Result<bool, Error> {
        let reading = self.of(owner);
        let mut reading = match reading.try_lock() {
            Ok(reading) => reading,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(false),
        };
        let read = || read_page(records, owner, &mut reading, &lock_commits).map(drop);
        read_or_doubt(records, owner, read).map(|()| true)
    }

    /// Waits until the slots of an owner's keys are as its record says. If they can't be now, the
    /// store can't answer for the owner until they are.
    pub(super) fn settle<'a>(
        &self,
        records: &Records,
        owner: &OwnerId,
        lock_commits: impl Fn() -> Result<CommitGuard<'a>, Error>,
    ) -> Result<(), Error> {
        if is_read(records, owner) {
            return Ok(());
        }
        read_or_doubt(records, owner, || self.read_all(records, owner, &lock_commits))
    }

    /// Puts the keys of an owner again if their records must be read, a page at a time. What was
    /// committed before holds when this returns.
    fn read_all<'a>(
        &self,
        records: &Records,
        owner: &OwnerId,
        lock_commits: &impl Fn() -> Result<CommitGuard<'a>, Error>,
    ) -> Result<(), Error> {
        let reading = self.of(owner);
        let mut reading = reading.lock().unwrap_or_else(PoisonError::into_inner);
        let ticket = records.index.unread(owner);
        // A reading that began before the last change hasn't read what this caller waits for.
        if reading.is_some_and(|reading| Some(reading.ticket) != ticket) {
            *reading = None;
        }
        while !read_page(records, owner, &mut reading, lock_commits)? {}
        drop(reading);
        // The thread passes over an owner whose keys a caller reads. There may have been another change.
        records.refills.wake();
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<OwnerId, OwnReading>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads keys of an owner. If that fails, the store can't answer for the owner until a thread of the
/// store has read them.
fn read_or_doubt(
    records: &Records,
    owner: &OwnerId,
    read: impl FnOnce() -> Result<(), Error>,
) -> Result<(), Error> {
    let mut unsettled = UnsettledOwner { records, owner, is_settled: false };
    let mut read = read();
    if read.is_ok() {
        unsettled.is_settled = true;
        return read;
    }
    // A thread that reloads the owner whole holds the log, and may have put all its keys meanwhile.
    let _applied_log = records.lock_applied_log();
    if is_read(records, owner) {
        read = Ok(());
    }
    unsettled.is_settled = read.is_ok();
    drop(unsettled);
    read
}

fn is_read(records: &Records, owner: &OwnerId) -> bool {
    records.index.unread(owner).is_none()
}

/// Puts the next page of an owner's keys again. Returns whether it was the last.
fn read_page<'a>(
    records: &Records,
    owner: &OwnerId,
    reading: &mut Option<Reading>,
    lock_commits: &impl Fn() -> Result<CommitGuard<'a>, Error>,
) -> Result<bool, Error> {
    // If it fails, another reading begins with the first page.
    let known = reading.take();
    let Some(ticket) = records.index.unread(owner) else { return Ok(true) };
    let Reading { ticket, before } = known.unwrap_or(Reading { ticket, before: None });
    let _guard = lock_commits()?;
    let _applied_log = records.lock_applied_log();
    let before = records.put_keys_again(owner, before)?;
    if before.is_none() {
        records.index.end_unread(owner, ticket);
        records.refills.wake();
        return Ok(true);
    }
    *reading = Some(Reading { ticket, before });
    Ok(false)
}
