//! What the verification index is loaded from, read in short transactions.

use std::time::{Duration, Instant};

use rusqlite::{Connection, Row};

use super::checksums::Bytes;
use super::codec::{Cells, access, flag, int, key_id, owner_id, time};
use super::error::Fault;
use super::keys::PreviousLoader;
use super::limits::Loader;
use super::{checksums, events, keys};
use crate::backend::{ScannedKey, ScannedOwner};
use crate::id::{KeyId, OwnerId};
use crate::key::{Limits, PreviousToken};

/// How many rows a transaction shows at most: so many stay in a core's own cache until they are
/// handed on. With 1,024 an opening takes 5 % longer, with 4,096 20 %.
const ROWS_AT_ONCE: u32 = 512;

/// After how many rows the time is looked at.
const ROWS_UNTIMED: usize = 64;

/// The columns that the index needs; a row shows them before all others.
macro_rules! columns {
    () => {
        "id, owner, kind, expires_at, deactivated_at, blocked_at, revoked_at, generation, digest, \
         scheme, pepper, prefix, issued_at, access, limited, state_sum"
    };
}

macro_rules! owner_columns {
    () => {
        "id, suspended_at, tokens_valid_from, max_access, limited, state_sum"
    };
}

pub(super) const KEYS: &str =
    concat!("SELECT ", columns!(), " FROM keys WHERE id > ?1 ORDER BY id LIMIT ?2");
pub(super) const OWNERS: &str =
    concat!("SELECT ", owner_columns!(), " FROM owners WHERE id > ?1 ORDER BY id LIMIT ?2");
pub(super) const KEYS_OF_OWNER: &str = concat!(
    "SELECT ",
    columns!(),
    ", standing FROM keys INDEXED BY keys_by_owner \
     WHERE owner = ?1 AND (standing, id) > (?2, ?3) ORDER BY standing, id"
);
pub(super) const PREVIOUS_TOKENS: &str = "SELECT key_id, generation, digest, scheme, pepper, prefix, issued_at, ends_at \
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
    let mut limits = Loader::of_owners(connection)?;
    let mut pace = Pace::new(budget);
    while let Some(row) = rows.next()? {
        found.push(owner(row, &mut limits)?);
        if pace.is_over() {
            return Ok(true);
        }
    }
    Ok(found.len() == ROWS_AT_ONCE as usize)
}

fn owner(row: &Row<'_>, limits: &mut Loader<'_>) -> Result<ScannedOwner, Fault> {
    let mut cells = Cells::new(row, "owners");
    let mut owner = ScannedOwner {
        id: cells.get("id", owner_id)?,
        suspended: cells.maybe("suspended_at", time)?.is_some(),
        tokens_valid_from: cells.maybe("tokens_valid_from", time)?,
        max_access: cells.get("max_access", access)?,
        limits: Limits::default(),
    };
    if cells.get("limited", flag)? {
        owner.limits = limits.load(owner.id.as_str())?;
    }
    let sum: u32 = cells.get("state_sum", int)?;
    if checksums::of_scanned_owner(&owner) == sum {
        Ok(owner)
    } else {
        Err(cells.damaged("state_sum"))
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
    let mut limits = Loader::of_keys(connection)?;
    let mut is_cut = false;
    let mut sums = Vec::new();
    while let Some(row) = rows.next()?.filter(|_| !is_cut) {
        let (key, sum) = key(&mut Cells::new(row, "keys"), &mut limits)?;
        found.push(key);
        sums.push(sum);
        is_cut = pace.is_over();
    }
    if let Some(last) = found.last() {
        let through = last.id.to_bytes();
        add_previous_tokens(connection, after, &through, found)?;
    }
    let mut bytes = Bytes::new();
    found.iter().zip(sums).try_for_each(|(key, sum)| check(&mut bytes, key, sum))?;
    Ok(is_cut || found.len() == ROWS_AT_ONCE as usize)
}

/// A key without its previous tokens, and the checksum of it with them.
fn key(cells: &mut Cells<'_>, limits: &mut Loader<'_>) -> Result<(ScannedKey, u32), Fault> {
    let mut key = ScannedKey {
        id: cells.get("id", key_id)?,
        owner: cells.get("owner", owner_id)?,
        kind: cells.get("kind", keys::kind)?,
        expires_at: cells.maybe("expires_at", time)?,
        deactivated: cells.maybe("deactivated_at", time)?.is_some(),
        blocked: cells.maybe("blocked_at", time)?.is_some(),
        revoked: cells.maybe("revoked_at", time)?.is_some(),
        current: keys::token(cells)?,
        access: cells.get("access", access)?,
        limits: None,
        previous: Vec::new(),
    };
    if cells.get("limited", flag)? {
        key.limits = Some(Box::new(limits.load(key.id.to_bytes())?));
    }
    Ok((key, cells.get("state_sum", int)?))
}

fn check(bytes: &mut Bytes, key: &ScannedKey, sum: u32) -> Result<(), Fault> {
    let damaged = Fault::Damaged { table: "keys", column: "state_sum" };
    if bytes.of_scanned_key(key) == sum { Ok(()) } else { Err(damaged) }
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
        let mut cells = Cells::new(row, "previous_tokens");
        let id = cells.get("key_id", key_id)?;
        while found.next_if(|key| key.id < id).is_some() {}
        // A token of no key opens nothing.
        let Some(key) = found.peek_mut().filter(|key| key.id == id) else { continue };
        let token = keys::token(&mut cells)?;
        key.previous.push(PreviousToken { token, ends_at: cells.get("ends_at", time)? });
    }
    Ok(())
}

/// An owner and its keys, gathered in several transactions between which nothing was committed.
#[derive(Default)]
pub(super) struct OneOwner {
    pub(super) owner: Option<ScannedOwner>,
    pub(super) keys: Vec<ScannedKey>,
    /// The standing and the id of the last key.
    position: Option<(i64, KeyId)>,
    /// The last event when the first transaction began.
    as_of: Option<u64>,
}

/// How far the gathering is.
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
            self.owner = Some(owner(row, &mut Loader::of_owners(connection)?)?);
        }
        let (standing, after) = self.position.unzip();
        let after = after.map(KeyId::to_bytes);
        let after: &[u8] = after.as_ref().map_or(&[], |id| id.as_slice());
        let mut statement = connection.prepare_cached(KEYS_OF_OWNER)?;
        let mut previous = PreviousLoader::new(connection)?;
        let mut limits = Loader::of_keys(connection)?;
        let mut rows = statement.query((id.as_str(), standing.unwrap_or(0), after))?;
        let mut pace = Pace::new(budget);
        while let Some(row) = rows.next()? {
            let mut cells = Cells::new(row, "keys");
            let (mut key, sum) = key(&mut cells, &mut limits)?;
            self.position = Some((cells.get("standing", int)?, key.id));
            key.previous = previous.load(key.id)?;
            check(&mut Bytes::new(), &key, sum)?;
            self.keys.push(key);
            if pace.is_over() {
                return Ok(Progress::More);
            }
        }
        Ok(Progress::Done)
    }
}
