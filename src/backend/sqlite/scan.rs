//! Scans, from which the verification index is loaded, in short transactions.

use std::time::{Duration, Instant};

use rusqlite::{Connection, Row};

use super::codec::RowReader;
use super::error::Fault;
use super::keys::PreviousLoader;
use super::limits::Loader;
use super::{checksums, events};
use crate::backend::{ScannedKey, ScannedOwner};
use crate::clock::Timestamp;
use crate::id::{KeyId, OwnerId};
use crate::key::{Limits, PlainBytes, Source};

/// The greatest number of rows of a transaction: so many stay in a core's own cache until they are
/// handed on. With 1,024 an opening takes 5 % longer, with 4,096 20 %.
const ROWS_AT_ONCE: u32 = 512;

/// After how many rows the time is looked at.
const ROWS_UNTIMED: usize = 64;

/// The columns that the index needs; a row shows them before all others.
macro_rules! columns {
    () => {
        "id, owner, kind, expires_at, deactivated_at, blocked_at, revoked_at, lapsed_at, generation, \
         digest, scheme, pepper, prefix, issued_at, owner_epoch, \
         store_epoch, access, limited, state_checksum"
    };
}

macro_rules! owner_columns {
    () => {
        "id, suspended_at, tokens_valid_from, epoch, epoch_ended_at, epochs_swept, max_access, limited, state_checksum"
    };
}

pub(super) const KEYS: &str =
    concat!("SELECT ", columns!(), " FROM keys WHERE id > ?1 ORDER BY id LIMIT ?2");
pub(super) const OWNERS: &str =
    concat!("SELECT ", owner_columns!(), " FROM owners WHERE id > ?1 ORDER BY id LIMIT ?2");
pub(super) const KEYS_OF_OWNER: &str = concat!(
    "SELECT ",
    columns!(),
    ", state FROM keys INDEXED BY keys_by_owner \
     WHERE owner = ?1 AND (state, id) > (?2, ?3) ORDER BY state, id"
);
pub(super) const PREVIOUS_TOKENS: &str = "SELECT key_id, generation, digest, scheme, pepper, prefix, issued_at, owner_epoch, store_epoch, since, ends_at \
     FROM previous_tokens WHERE key_id > ?1 AND key_id <= ?2 ORDER BY key_id, generation";

/// When a transaction has shown enough.
struct Pace {
    started: Instant,
    budget: Duration,
    rows: usize,
}

impl Pace {
    fn new(budget: Duration) -> Self {
        Self { started: Instant::now(), budget, rows: 0 }
    }

    /// Counts a row; whether it should be the last.
    fn is_over(&mut self) -> bool {
        self.rows += 1;
        self.rows.is_multiple_of(ROWS_UNTIMED) && self.started.elapsed() > self.budget
    }
}

/// Some owners after one, for as long as `budget` lasts; whether there may be more after them.
pub(super) fn owners(
    connection: &Connection,
    after: Option<&OwnerId>,
    budget: Duration,
    found: &mut Vec<ScannedOwner>,
) -> Result<bool, Fault> {
    let mut statement = connection.prepare_cached(OWNERS)?;
    let mut rows = statement.query((after.map_or("", OwnerId::as_str), ROWS_AT_ONCE))?;
    let mut limits = Loader::of(connection, "owners")?;
    let mut pace = Pace::new(budget);
    while let Some(row) = rows.next()? {
        found.push(owner(row, &mut limits)?);
        if pace.is_over() {
            return Ok(true);
        }
    }
    Ok(found.len() == ROWS_AT_ONCE as usize)
}

/// Reads the first column of a switch, which says whether it is on.
fn is_on(row: &mut RowReader<'_>, column: &'static str) -> Result<bool, Fault> {
    Ok(row.field::<Option<Timestamp>>(column)?.is_some())
}

fn owner(row: &Row<'_>, limits: &mut Loader<'_>) -> Result<ScannedOwner, Fault> {
    let mut row = RowReader::new(row, "owners");
    let mut owner = ScannedOwner {
        id: row.field("id")?,
        suspended: is_on(&mut row, "suspended_at")?,
        tokens_valid_from: row.field("tokens_valid_from")?,
        max_access: row.field("max_access")?,
        limits: Limits::default(),
    };
    if row.field("limited")? {
        owner.limits = limits.load(owner.id.as_str())?;
    }
    let checksum: u32 = row.field("state_checksum")?;
    if checksums::of_scanned_owner(&owner) == checksum {
        Ok(owner)
    } else {
        Err(row.damaged("state_checksum"))
    }
}

/// Some keys after one, with their previous tokens, for as long as `budget` lasts; whether there
/// may be more after them.
pub(super) fn keys(
    connection: &Connection,
    after: Option<KeyId>,
    budget: Duration,
    found: &mut Vec<ScannedKey>,
) -> Result<bool, Fault> {
    let after = after.map(KeyId::to_bytes);
    // No id is below the empty blob.
    let after: &[u8] = after.as_ref().map_or(&[], |id| id.as_slice());
    let mut statement = connection.prepare_cached(KEYS)?;
    let mut rows = statement.query((after, ROWS_AT_ONCE))?;
    let mut pace = Pace::new(budget);
    let mut limits = Loader::of(connection, "keys")?;
    let mut is_cut = false;
    let mut checksums = Vec::new();
    while let Some(row) = rows.next()?.filter(|_| !is_cut) {
        let (key, checksum) = key(&mut RowReader::new(row, "keys"), &mut limits)?;
        found.push(key);
        checksums.push(checksum);
        is_cut = pace.is_over();
    }
    if let Some(last) = found.last() {
        let through = last.id.to_bytes();
        add_previous_tokens(connection, after, &through, found)?;
    }
    let mut bytes = PlainBytes::new();
    let mut pairs = found.iter().zip(checksums);
    pairs.try_for_each(|(key, checksum)| check(&mut bytes, key, checksum))?;
    Ok(is_cut || found.len() == ROWS_AT_ONCE as usize)
}

/// A key without its previous tokens, and the checksum of it with them.
fn key(row: &mut RowReader<'_>, limits: &mut Loader<'_>) -> Result<(ScannedKey, u32), Fault> {
    let mut key = ScannedKey {
        id: row.field("id")?,
        owner: row.field("owner")?,
        kind: row.field("kind")?,
        expires_at: row.field("expires_at")?,
        deactivated: is_on(row, "deactivated_at")?,
        blocked: is_on(row, "blocked_at")?,
        revoked: is_on(row, "revoked_at")?,
        lapsed: is_on(row, "lapsed_at")?,
        current: row.field("digest")?,
        access: row.field("access")?,
        limits: None,
        previous: Vec::new(),
    };
    if row.field("limited")? {
        key.limits = Some(Box::new(limits.load(key.id.to_bytes())?));
    }
    Ok((key, row.field("state_checksum")?))
}

fn check(bytes: &mut PlainBytes, key: &ScannedKey, checksum: u32) -> Result<(), Fault> {
    let damaged = Fault::Damaged { table: "keys", column: "state_checksum" };
    if checksums::of_scanned_key_in(bytes, key) == checksum { Ok(()) } else { Err(damaged) }
}

/// Both lists are in the order of ids: each is gone through once.
fn add_previous_tokens(
    connection: &Connection,
    after: &[u8],
    through: &[u8],
    found: &mut [ScannedKey],
) -> Result<(), Fault> {
    let mut statement = connection.prepare_cached(PREVIOUS_TOKENS)?;
    let mut rows = statement.query([after, through])?;
    let mut found = found.iter_mut().peekable();
    while let Some(row) = rows.next()? {
        let mut row = RowReader::new(row, "previous_tokens");
        let id = row.field("key_id")?;
        while found.next_if(|key| key.id < id).is_some() {}
        // A token of no key opens nothing.
        let Some(key) = found.peek_mut().filter(|key| key.id == id) else { continue };
        key.previous.push(row.field("previous")?);
    }
    Ok(())
}

/// An owner and its keys, gathered in several transactions between which nothing was committed.
#[derive(Default)]
pub(super) struct OneOwner {
    pub(super) owner: Option<ScannedOwner>,
    pub(super) keys: Vec<ScannedKey>,
    /// The column `state` and the id of the last key.
    position: Option<(u32, KeyId)>,
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
        if self.position.is_none() {
            let sql = concat!("SELECT ", owner_columns!(), " FROM owners WHERE id = ?");
            let mut statement = connection.prepare_cached(sql)?;
            let mut rows = statement.query([id.as_str()])?;
            let Some(row) = rows.next()? else { return Ok(Progress::Done) };
            self.owner = Some(owner(row, &mut Loader::of(connection, "owners")?)?);
        }
        let (state, after) = self.position.unzip();
        let after = after.map(KeyId::to_bytes);
        let after: &[u8] = after.as_ref().map_or(&[], |id| id.as_slice());
        let mut statement = connection.prepare_cached(KEYS_OF_OWNER)?;
        let mut previous = PreviousLoader::new(connection)?;
        let mut limits = Loader::of(connection, "keys")?;
        let mut rows = statement.query((id.as_str(), state.unwrap_or(0), after))?;
        let mut pace = Pace::new(budget);
        while let Some(row) = rows.next()? {
            let mut row = RowReader::new(row, "keys");
            let (mut key, checksum) = key(&mut row, &mut limits)?;
            self.position = Some((row.field("state")?, key.id));
            key.previous = previous.load(key.id)?;
            check(&mut PlainBytes::new(), &key, checksum)?;
            self.keys.push(key);
            if pace.is_over() {
                return Ok(Progress::More);
            }
        }
        Ok(Progress::Done)
    }
}
