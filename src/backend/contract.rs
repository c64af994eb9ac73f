//! The contract between a store and where its records lie.

use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

use super::{
    Applied, BackendError, BackendErrorKind, BackupProgress, Change, EventPage, EventQuery,
    Finding, KeyFilter, KeyPage, KeyPageQuery, OwnerPage, OwnerPageQuery, Rejection, Repaired,
    Scanned, StorageHealth, UsageChange, UsageOutcome, UsageSubject,
};
use crate::clock::Timestamp;
use crate::id::{KeyId, NumericId, OwnerId};
use crate::key::{
    KeyRecord, OwnerRecord, Quarantine, RequestId, RequestRecord, StoreMetadata, Usage,
};

/// Whether this process alone has the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// No other process can open it.
    Exclusive,
    /// Other handles may have it open; their commits are visible here within `max_staleness`.
    Shared {
        /// The greatest age of what this process knows.
        max_staleness: Duration,
    },
}

/// The outcome of each change of a batch, in order.
pub type CommitOutcome = Vec<Result<Applied, Rejection>>;

/// A store of records and events.
///
/// # Contract
/// Each paragraph names the cases of the conformance suite (`keyhasp::testing::conformance`) that
/// hold a backend to it; `docs/writing-a-backend.md` writes one from scratch.
///
/// **Atomicity** (`atomic_*`). A [`Change`] takes effect whole or not at all: its records and its
/// events together. A refused change leaves no trace, and the changes of a batch around it take
/// effect all the same.
///
/// **Rules** (`rule_*`). What a change must satisfy is decided inside the commit, against the
/// state that the commit replaces, by [`apply`](super::apply()) or by the same rules: creations
/// find nothing in their place, replacements find the version before theirs, preconditions hold,
/// names and numeric ids are unique, the guards of the store's rules hold. A store is created once,
/// before all else.
///
/// **Sweeps** (`sweep_*`). One commit revokes or removes all keys of an owner, and pieces write it
/// into the keys' records later. Inside a commit [`apply`](super::apply()) judges everything as if
/// it were written; what the backend reads are records as they are stored, and the store itself
/// applies the sweeps to them.
///
/// **Requests** (`request_*`). A change under a request takes effect once, decided inside the
/// commit: its record is kept in the same step, and a second change under that request is refused.
/// Records noted before a moment that the change names count as gone, and go in pieces.
///
/// **Isolation and order** (`order_*`). Changes of a batch apply in order, later ones seeing
/// earlier ones; concurrent commits behave as if one came after the other. Events are numbered
/// from 1, singly, growing, without gaps, consecutive within a change. A read that starts after a
/// commit returned sees it. Nothing assumes that this process is the only writer, unless
/// [`sharing`](Backend::sharing) says so.
///
/// **Durability** (`durable_*`). When `commit` returned an outcome, what it says is on stable
/// storage and is found again at the next open, unless the backend says that it keeps nothing.
///
/// **Errors** (`error_*`). Any error but `OutcomeUnknown` means that nothing happened. After
/// `OutcomeUnknown` the caller commits nothing until [`recover`](Backend::recover) returned
/// `Ok`; reads after that show whether the batch took effect. `recover` doesn't trust a new sync:
/// it makes sure that what it can read is on stable storage.
///
/// **Queries** (`query_*`). Pages are in order and complete: following `next` from the start
/// shows every record that was there throughout exactly once. A page looks at no more rows than
/// the query allows. Pages are not a snapshot.
///
/// **Usage** (`usage_*`). What was used is kept beside the records: taking it in writes no event
/// and no new version, and no commit is refused for it. A batch is taken in whole and in order, or
/// not at all, by [`apply_usage`](super::apply_usage()) or by the same rules: the latest moment and
/// address count, numbers are summed, and a quota is leased only as it stands in its record at that
/// moment, so that all leases together never exceed it. Of what isn't there nothing is kept, and
/// what was used of a key or an owner goes in the commit that removes it. It is as durable as a
/// commit, and errors mean the same: a lease in a batch of unknown outcome is forfeited.
///
/// **Damage** (`damage_*`). A record that can't be what was written is [`Damage`](super::Damage) of
/// that record alone: its load fails with an error that names it, scans, pages and feeds show the
/// place in its stead and go on; changes of the store's own record pass over it. A quarantine entry lies over a key's record: from then on the key
/// reads as damaged, and its own bytes stay as they are. Who removes the key removes both.
///
/// **Size** (`size_*`). Every record within the limits of its types is stored and read back the
/// same.
pub trait Backend: Debug + Send + Sync + 'static {
    /// A short name for errors and logs, such as `sqlite`.
    fn name(&self) -> &'static str;

    /// Whether other processes can have the database open too.
    fn sharing(&self) -> Sharing;

    /// Returns whether it was opened to look only: everything that writes fails with `ReadOnly`, and
    /// changes nothing. Defaults to false.
    fn is_read_only(&self) -> bool {
        false
    }

    /// Measures the files of the database, and the room that is left. Doesn't wait for a commit, and
    /// answers also after `close`. Defaults to nothing known.
    fn storage(&self) -> StorageHealth {
        StorageHealth::default()
    }

    /// Reads the store's own record. There is none before the commit that creates it
    /// ([`Write::CreateMetadata`](super::Write::CreateMetadata)).
    ///
    /// # Errors
    /// [`BackendError`].
    fn metadata(&self) -> Result<Option<StoreMetadata>, BackendError>;

    /// Shows what the index needs of all owners, then of all keys, and returns the number of the
    /// last event before the scan began. Events after that number may or may not be reflected.
    ///
    /// # Errors
    /// [`BackendError`].
    fn scan(&self, visit: &mut dyn FnMut(Scanned)) -> Result<u64, BackendError>;

    /// Estimates how many keys a scan will show, as far as that costs next to nothing; 0 where it
    /// doesn't. The store makes room for them. A number that is wrong does no other harm.
    fn expected_keys(&self) -> u64 {
        0
    }

    /// The same for one owner, at one moment; shows nothing if neither it nor a key of it exists.
    ///
    /// # Errors
    /// [`BackendError`].
    fn scan_owner(
        &self,
        owner: &OwnerId,
        visit: &mut dyn FnMut(Scanned),
    ) -> Result<(), BackendError>;

    /// Loads an owner.
    ///
    /// # Errors
    /// [`BackendError`].
    fn owner(&self, id: &OwnerId) -> Result<Option<OwnerRecord>, BackendError>;

    /// Loads a key.
    ///
    /// # Errors
    /// [`BackendError`].
    fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, BackendError>;

    /// Loads a key by its numeric id.
    ///
    /// # Errors
    /// [`BackendError`].
    fn key_by_numeric_id(&self, id: NumericId) -> Result<Option<KeyRecord>, BackendError>;

    /// Loads the record of a request that took effect.
    ///
    /// # Errors
    /// [`BackendError`].
    fn request(&self, id: &RequestId) -> Result<Option<RequestRecord>, BackendError>;

    /// Loads the quarantine entry of a key. A damaged entry counts as none.
    ///
    /// # Errors
    /// [`BackendError`].
    fn quarantine(&self, id: KeyId) -> Result<Option<Quarantine>, BackendError>;

    /// Commits changes in one durable step, in order, each whole or refused with its own reason.
    ///
    /// # Errors
    /// [`BackendError`] for the batch as a whole; unless it is of unknown outcome, nothing of the
    /// batch happened.
    fn commit(&self, batch: &[Change]) -> Result<CommitOutcome, BackendError>;

    /// A page of keys, newest first by id.
    ///
    /// # Errors
    /// [`BackendError`].
    fn page_keys(&self, query: &KeyPageQuery) -> Result<KeyPage, BackendError>;

    /// Counts the keys that match. May scan the whole table.
    ///
    /// # Errors
    /// [`BackendError`].
    fn count_keys(&self, filter: &KeyFilter) -> Result<u64, BackendError>;

    /// A page of owners, ascending by id.
    ///
    /// # Errors
    /// [`BackendError`].
    fn page_owners(&self, query: &OwnerPageQuery) -> Result<OwnerPage, BackendError>;

    /// Events after a number, in their order, or before one, newest first.
    ///
    /// # Errors
    /// [`BackendError`].
    fn events(&self, query: &EventQuery) -> Result<EventPage, BackendError>;

    /// The number of the last event; 0 before the first.
    ///
    /// # Errors
    /// [`BackendError`].
    fn last_event(&self) -> Result<u64, BackendError>;

    /// Removes the oldest events up to the first that isn't before `before`, but at most `limit`
    /// (at least 1), in one durable step. The newest event always stays, so that numbers go on.
    /// Returns how many were removed: fewer than `limit` only if no more are to be removed.
    ///
    /// The store prunes hundreds at a time, and commits wait meanwhile.
    ///
    /// # Errors
    /// [`BackendError`]; unless it is of unknown outcome, nothing was removed.
    fn prune_events(&self, before: Timestamp, limit: usize) -> Result<u64, BackendError>;

    /// Waits until there is an event after `after`, or for `timeout`. Returns the number of the
    /// last event known then.
    ///
    /// # Errors
    /// [`BackendError`].
    fn wait(&self, after: u64, timeout: Duration) -> Result<u64, BackendError>;

    /// Takes in what was used, in one durable step. Verifications wait for a batch with leases: it
    /// should wait for another process for some dozen milliseconds at most.
    ///
    /// # Errors
    /// [`BackendError`]; unless it is of unknown outcome, nothing of the batch happened. `TimedOut` if
    /// another process held the database.
    fn record_usage(&self, batch: &[UsageChange]) -> Result<UsageOutcome, BackendError>;

    /// Reads the usage of each of these, in their order; empty where there is none.
    ///
    /// # Errors
    /// [`BackendError`].
    fn usage(&self, of: &[UsageSubject]) -> Result<Vec<Usage>, BackendError>;

    /// Copies the database of one moment into a new file, which is durable when this returns.
    /// Commits go on meanwhile. Tells `progress` how far it is, now and then. Defaults to
    /// `Unsupported`.
    ///
    /// # Errors
    /// [`BackendError`], and no file is left: `AlreadyExists` for a file that is there, `Full` without
    /// room, `TimedOut` if the store had to recover meanwhile, `Unsupported` if the backend has no
    /// backup of its own.
    fn backup(
        &self,
        to: &Path,
        progress: &mut dyn FnMut(BackupProgress),
    ) -> Result<(), BackendError> {
        let _ = (to, progress);
        Err(BackendError::new(BackendErrorKind::Unsupported, self.name(), "back up"))
    }

    /// Reads everything, and lists every fault with its place. Commits may go on meanwhile. A backend
    /// with nothing beside its records answers [`check_by_reading`](super::check_by_reading).
    ///
    /// # Errors
    /// [`BackendError`] if it can't read for another reason than damage.
    fn check(&self) -> Result<Vec<Finding>, BackendError>;

    /// Mends the faults of which the right state follows from whole records
    /// ([`Finding::is_mendable`]), durably, and tells what it did. Changes nothing where a check finds
    /// nothing. No key is accepted after it that wasn't before. Defaults to mending nothing.
    ///
    /// # Errors
    /// [`BackendError`]; what was mended before it stays.
    fn repair(&self, now: Timestamp) -> Result<Repaired, BackendError> {
        let _ = now;
        Ok(Repaired { left: self.check()?, ..Repaired::default() })
    }

    /// Checks that the files of the database are those that were opened, and that no other program
    /// has changed records without an event. A store calls this each second; it mustn't hold up
    /// commits. An error of another kind than `ForeignWriter` says that the backend couldn't tell.
    /// Defaults to nothing to check.
    ///
    /// # Errors
    /// [`BackendError`]: `ForeignWriter` only if it is certain.
    fn check_files(&self) -> Result<(), BackendError> {
        Ok(())
    }

    /// After an error of unknown outcome: makes the database usable again, and what it can read
    /// durable.
    ///
    /// # Errors
    /// [`BackendError`] while it can't; the caller tries again later.
    fn recover(&self) -> Result<(), BackendError>;

    /// Flushes and lets go of everything. Every later call fails with `Closed`; closing again does
    /// nothing.
    ///
    /// # Errors
    /// [`BackendError`] when flushing failed; it is closed all the same.
    fn close(&self) -> Result<(), BackendError>;
}
