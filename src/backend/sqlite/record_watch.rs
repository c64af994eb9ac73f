//! Records and events as this process knows them, by which it notices another program's changes.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;

use super::error::Fault;
use super::transaction::Snapshot;
use super::{events, foreign_edits, schema};
use crate::backend::Sharing;

/// The records and events of an open database, as this process left them.
///
/// A keyhasp that shares the database writes an event with each change of a record; another program
/// doesn't, and its edits are noted by triggers. So an edit is a foreign writer's in each mode of
/// sharing, and an event that this process hasn't written is one's where it is alone. What other
/// programs keep in tables of their own, as litestream does, is neither.
#[derive(Debug)]
pub(super) struct RecordWatch {
    is_alone: bool,
    /// Locked, so that no look sees the events of a commit and not yet that they are this process's
    /// own.
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    /// Number of the last event that is committed, as far as this process knows.
    last_event: u64,
    /// Number of the last event of the commit that is under way, or whose outcome is unknown.
    pending: u64,
    /// Number of the last edit of another program. Those from before the opening are known.
    last_edit: u64,
    /// The version that SQLite shows of the data on the connection that writes. It changes when
    /// another connection commits. `None` of a new connection.
    data_version: Option<i64>,
}

/// The events and edits of a database at one moment.
struct Found {
    last_event: u64,
    last_edit: u64,
}

impl Found {
    fn read(connection: &Connection) -> Result<Self, Fault> {
        let last_event = events::last(connection)?;
        Ok(Self { last_event, last_edit: foreign_edits::last_number(connection)? })
    }
}

impl RecordWatch {
    /// Notes what is there at the opening.
    pub(super) fn new(connection: &Connection, sharing: Sharing) -> Result<Self, Fault> {
        let Found { last_event, last_edit } = Found::read(&*Snapshot::begin(connection)?)?;
        let known = Known { last_event, pending: last_event, last_edit, data_version: None };
        Ok(Self { is_alone: sharing == Sharing::Exclusive, known: Mutex::new(known) })
    }

    /// Returns the number of the last event that is committed, as far as this process knows.
    pub(super) fn last_event(&self) -> u64 {
        self.known().last_event
    }

    /// Checks, at the begin of a write, that what is there is what this process knows. Looks no
    /// further unless another connection has committed.
    pub(super) fn check_write(&self, tx: &Connection) -> Result<(), Fault> {
        let version =
            tx.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get::<_, i64>(0))?;
        let mut known = self.known();
        if known.data_version == Some(version) {
            return Ok(());
        }
        let found = Found::read(tx)?;
        known.check_edits(&found, tx)?;
        // A commit of unknown outcome took effect or didn't.
        let is_own = (known.last_event..=known.pending).contains(&found.last_event);
        if found.last_event < known.last_event {
            return Err(went_back());
        }
        if self.is_alone && !is_own {
            return Err(other_process());
        }
        known.data_version = Some(version);
        known.last_event = found.last_event;
        known.pending = found.last_event;
        Ok(())
    }

    /// Checks that the events of a commit, from `first` to `last`, follow the last one known. Called
    /// before they are committed: a look that finds them then knows that they are this process's.
    pub(super) fn check_events(&self, first: u64, last: u64) -> Result<(), Fault> {
        let mut known = self.known();
        if self.is_alone && first != known.last_event + 1 {
            return Err(other_process());
        }
        known.pending = last;
        Ok(())
    }

    /// Notes that the commit under way took effect.
    pub(super) fn note_committed(&self) {
        let mut known = self.known();
        known.last_event = known.pending.max(known.last_event);
    }

    /// Notes that nothing happened.
    pub(super) fn note_undone(&self) {
        let mut known = self.known();
        known.pending = known.last_event;
    }

    /// Notes that another connection will write.
    pub(super) fn note_new_connection(&self) {
        self.known().data_version = None;
    }

    /// Looks on a connection that reads, beside commits.
    pub(super) fn look(&self, connection: &Connection) -> Result<(), Fault> {
        // Before the reading: what is known by now, the reading shows.
        let known_before = self.last_event();
        // What the connection remembers of the file could hide that it was written over.
        connection.execute_batch("PRAGMA shrink_memory")?;
        let tx = Snapshot::begin(connection).map_err(|fault| match fault {
            fault if fault.is_no_database() => other_content(),
            fault => fault,
        })?;
        if schema::Identity::read(&tx)?.application_id != schema::APPLICATION_ID {
            return Err(other_content());
        }
        let found = Found::read(&tx)?;
        let mut known = self.known();
        known.check_edits(&found, &tx)?;
        if found.last_event < known_before {
            return Err(went_back());
        }
        // After the reading: the commits that it may show are known or pending by now.
        if self.is_alone && found.last_event > known.pending.max(known.last_event) {
            return Err(other_process());
        }
        if !self.is_alone {
            known.last_event = known.last_event.max(found.last_event);
        }
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn check_edits(&self, found: &Found, connection: &Connection) -> Result<(), Fault> {
        if found.last_edit == self.last_edit {
            return Ok(());
        }
        let edited = foreign_edits::last(connection)?;
        let edited = edited.map_or_else(|| "a record".to_owned(), |edit| edit.to_string());
        Err(foreign(&format!("another program has changed {edited}, without an event")))
    }
}

fn other_process() -> Fault {
    foreign("another process writes to the database that this one has exclusively")
}

fn went_back() -> Fault {
    foreign("events are gone that were there: the database file was written over by another")
}

fn other_content() -> Fault {
    foreign("the database file was written over by something else")
}

fn foreign(what: &str) -> Fault {
    let remedy = "this process writes nothing more: stop all processes that use the database, check \
                  its records, and open it again";
    Fault::Foreign(format!("{what}; {remedy}"))
}
