//! The scan of one owner and its keys.

use std::time::Duration;

use rusqlite::Connection;

use super::error::Fault;
use super::limits::Loader;
use super::scan::{Judge, Pace, by_ids, key_columns, one_owner};
use super::{events, quarantine};
use crate::backend::Scanned;
use crate::id::OwnerId;

pub(super) const KEYS_OF_OWNER: &str = concat!(
    "SELECT ",
    key_columns!(),
    ", state FROM keys INDEXED BY keys_by_owner \
     WHERE owner = ?1 AND (state, id) > (?2, ?3) ORDER BY state, id"
);
/// The ids as the index has them, where a page of the table can't be read.
const KEYS_BY_INDEX: &str =
    "SELECT id FROM keys INDEXED BY keys_by_owner WHERE owner = ? ORDER BY id";

/// An owner and its keys, gathered in several transactions between which nothing was committed.
#[derive(Default)]
pub(super) struct OneOwner {
    pub(super) rows: Vec<Scanned>,
    /// The column `state` and the id of the last key.
    position: Option<(i64, Vec<u8>)>,
    /// The last event when the first transaction began.
    as_of: Option<u64>,
}

/// The progress of the gathering.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// Something was committed since it began: what was gathered is of two moments.
    Disturbed,
    Done,
    More,
}

impl OneOwner {
    /// Gathers on, for as long as `budget` lasts.
    pub(super) fn gather(
        &mut self,
        connection: &Connection,
        id: &OwnerId,
        budget: Duration,
    ) -> Result<Progress, Fault> {
        // Every change leaves an event.
        let last = events::last(connection)?;
        if *self.as_of.get_or_insert(last) != last {
            return Ok(Progress::Disturbed);
        }
        match self.gather_keys(connection, id, budget) {
            // A page of the table can't be read.
            Err(fault) if fault.is_corrupt() => {
                self.rows.clear();
                self.rows.extend(one_owner(connection, id)?);
                let mut statement = connection.prepare_cached(KEYS_BY_INDEX)?;
                let ids = statement.query_map([id.as_str()], |row| row.get(0))?;
                let ids: Vec<Vec<u8>> = ids.collect::<Result<_, _>>()?;
                self.rows.extend(by_ids(connection, &ids, &quarantine::all(connection)?)?);
                Ok(Progress::Done)
            }
            progress => progress,
        }
    }

    fn gather_keys(
        &mut self,
        connection: &Connection,
        id: &OwnerId,
        budget: Duration,
    ) -> Result<Progress, Fault> {
        if self.position.is_none() {
            self.rows.extend(one_owner(connection, id)?);
        }
        let (state, after) = self.position.take().unwrap_or_default();
        let entries = quarantine::all(connection)?;
        let mut statement = connection.prepare_cached(KEYS_OF_OWNER)?;
        let mut judge = Judge::new(connection, &entries)?;
        let mut limits = Loader::of(connection, "keys")?;
        let mut rows = statement.query((id.as_str(), state, after))?;
        let mut pace = Pace::new(budget);
        while let Some(row) = rows.next()? {
            self.rows.push(judge.read(row, &mut limits)?);
            if pace.is_over() {
                // Columns of an index: SQLite has compared them.
                self.position = Some((row.get("state")?, row.get("id")?));
                return Ok(Progress::More);
            }
        }
        Ok(Progress::Done)
    }
}
