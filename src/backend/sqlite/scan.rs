//! Scans, from which the verification index is loaded, in short transactions.

use std::time::{Duration, Instant};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::checksums;
use super::codec::RowReader;
use super::error::Fault;
use super::keys::PreviousLoader;
use super::limits::Loader;
use super::quarantine::Entries;
use crate::backend::{
    Damage, DamagedRecord, DamagedRow, Scanned, ScannedKey, ScannedOwner, quarantined,
};
use crate::clock::Timestamp;
use crate::id::{KeyId, OwnerId};
use crate::key::{Limits, PlainBytes, Source, TokenRecord};

/// The greatest number of rows of a transaction: so many stay in a core's own cache until they are
/// handed on. With 1,024 an opening takes 5 % longer, with 4,096 20 %.
const ROWS_AT_ONCE: u32 = 512;

/// After how many rows the time is looked at.
const ROWS_UNTIMED: usize = 64;

/// The columns that the index needs; a row shows them before all others.
macro_rules! key_columns {
    () => {
        "id, owner, kind, expires_at, deactivated_at, blocked_at, revoked_at, lapsed_at, generation, \
         digest, scheme, pepper, prefix, issued_at, owner_epoch, \
         store_epoch, access, limited, state_checksum"
    };
}

pub(super) use key_columns;

macro_rules! owner_columns {
    () => {
        "id, suspended_at, tokens_valid_from, epoch, epoch_ended_at, epochs_swept, epochs_invalidated, max_access, limited, sweeps, state_checksum"
    };
}

pub(super) const KEYS: &str =
    concat!("SELECT ", key_columns!(), " FROM keys WHERE id > ?1 ORDER BY id LIMIT ?2");
pub(super) const OWNERS: &str =
    concat!("SELECT ", owner_columns!(), " FROM owners WHERE id > ?1 ORDER BY id LIMIT ?2");
/// Where a page of the table can't be read: the ids as an index has them, and single rows.
const KEYS_BY_INDEX: &str =
    "SELECT id FROM keys INDEXED BY keys_by_owner WHERE id > ?1 ORDER BY id LIMIT ?2";
const OWNERS_BY_INDEX: &str = "SELECT DISTINCT owner FROM keys INDEXED BY keys_by_owner \
     WHERE owner > ?1 ORDER BY owner LIMIT ?2";
const ONE_KEY: &str = concat!("SELECT ", key_columns!(), " FROM keys WHERE id = ?");
const ONE_OWNER: &str = concat!("SELECT ", owner_columns!(), " FROM owners WHERE id = ?");
pub(super) const PREVIOUS_TOKENS: &str = "SELECT key_id, generation, digest, scheme, pepper, prefix, issued_at, owner_epoch, store_epoch, since, ends_at \
     FROM previous_tokens WHERE key_id > ?1 AND key_id <= ?2 ORDER BY key_id, generation";

/// When a transaction has shown enough.
pub(super) struct Pace {
    started: Instant,
    budget: Duration,
    rows: usize,
}

impl Pace {
    pub(super) fn new(budget: Duration) -> Self {
        Self { started: Instant::now(), budget, rows: 0 }
    }

    /// Counts a row; whether it should be the last.
    pub(super) fn is_over(&mut self) -> bool {
        self.rows += 1;
        self.rows.is_multiple_of(ROWS_UNTIMED) && self.started.elapsed() > self.budget
    }
}

/// Rows that were read, and where to go on.
pub(super) struct Scan {
    pub(super) rows: Vec<Scanned>,
    /// The id after which to go on; `None` at the end.
    pub(super) next: Option<Vec<u8>>,
}

/// The part of a table that one transaction reads.
#[derive(Clone, Copy)]
pub(super) enum Part<'a> {
    /// Some rows after an id, for as long as the time lasts.
    After(&'a [u8], Duration),
    /// All rows as they lie there, without a search: for a table whose rows are out of order, where
    /// a search could pass rows over.
    Whole,
}

/// The progress along the ids of a table.
struct Walk {
    last: Vec<u8>,
    pace: Option<Pace>,
}

impl Walk {
    fn new(part: Part<'_>) -> Self {
        match part {
            Part::After(after, budget) => {
                Self { last: after.to_vec(), pace: Some(Pace::new(budget)) }
            }
            Part::Whole => Self { last: Vec::new(), pace: None },
        }
    }

    /// Notes the id of a row. Refuses one that is out of order, unless all rows are read.
    fn note(&mut self, row: &Row<'_>) -> Result<(), Fault> {
        let id = match row.get_ref(0)? {
            ValueRef::Blob(bytes) | ValueRef::Text(bytes) => bytes,
            _ => &[],
        };
        if self.pace.is_some() && *id <= *self.last {
            return Err(Fault::OutOfOrder);
        }
        self.last.clear();
        self.last.extend_from_slice(id);
        Ok(())
    }

    /// Counts a row; whether it should be the last.
    fn is_over(&mut self) -> bool {
        self.pace.as_mut().is_some_and(Pace::is_over)
    }

    fn limit(&self) -> i64 {
        if self.pace.is_some() { ROWS_AT_ONCE.into() } else { i64::MAX }
    }

    /// Returns where to go on after these rows.
    fn next(self, rows: usize, is_cut: bool) -> Option<Vec<u8>> {
        (self.pace.is_some() && (is_cut || rows == ROWS_AT_ONCE as usize)).then_some(self.last)
    }
}

/// Reads owners. Where a page of the table can't be read, those of them that have keys are shown one
/// by one.
pub(super) fn owners(connection: &Connection, part: Part<'_>) -> Result<Scan, Fault> {
    match (walk_owners(connection, part), part) {
        (Err(fault), Part::After(after, _)) if fault.is_corrupt() => {
            let ids = ids_after(connection, OWNERS_BY_INDEX, str::from_utf8(after).unwrap_or(""))?;
            let mut rows = Vec::new();
            for id in &ids {
                let id = str::from_utf8(id).unwrap_or_default();
                rows.extend(
                    OwnerId::new(id).ok().map(|id| one_owner(connection, &id)).transpose()?,
                );
            }
            let rows = rows.into_iter().flatten().collect();
            Ok(Scan { next: next_after(&ids), rows })
        }
        (scan, _) => scan,
    }
}

/// Reads up to as many ids as a transaction shows.
fn ids_after(
    connection: &Connection,
    sql: &str,
    after: impl rusqlite::ToSql,
) -> Result<Vec<Vec<u8>>, Fault> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query((after, ROWS_AT_ONCE))?;
    let mut ids = Vec::new();
    while let Some(row) = rows.next()? {
        if let ValueRef::Blob(bytes) | ValueRef::Text(bytes) = row.get_ref(0)? {
            ids.push(bytes.to_vec());
        }
    }
    Ok(ids)
}

fn next_after(ids: &[Vec<u8>]) -> Option<Vec<u8>> {
    ids.last().filter(|_| ids.len() == ROWS_AT_ONCE as usize).cloned()
}

/// Reads an owner.
pub(super) fn one_owner(connection: &Connection, id: &OwnerId) -> Result<Option<Scanned>, Fault> {
    let mut statement = connection.prepare_cached(ONE_OWNER)?;
    let mut rows = statement.query([id.as_str()])?;
    let mut limits = Loader::of(connection, "owners")?;
    match rows.next() {
        Ok(row) => row.map(|row| shown_owner(row, &mut limits)).transpose(),
        Err(error) => match Fault::from(error).of("owners", DamagedRecord::Owner(*id)) {
            Fault::Damaged(damage) => Ok(Some(Scanned::Damaged(DamagedRow::new(damage)))),
            fault => Err(fault),
        },
    }
}

fn walk_owners(connection: &Connection, part: Part<'_>) -> Result<Scan, Fault> {
    let mut walk = Walk::new(part);
    let after = str::from_utf8(&walk.last).unwrap_or_default().to_owned();
    let mut statement = connection.prepare_cached(OWNERS)?;
    let mut rows = statement.query((after, walk.limit()))?;
    let mut limits = Loader::of(connection, "owners")?;
    let (mut found, mut is_cut) = (Vec::new(), false);
    while let Some(row) = rows.next()?.filter(|_| !is_cut) {
        walk.note(row)?;
        found.push(shown_owner(row, &mut limits)?);
        is_cut = walk.is_over();
    }
    Ok(Scan { next: walk.next(found.len(), is_cut), rows: found })
}

fn shown_owner(row: &Row<'_>, limits: &mut Loader<'_>) -> Result<Scanned, Fault> {
    match owner(row, limits) {
        Ok(owner) => Ok(Scanned::Owner(owner)),
        Err(Fault::Damaged(damage)) => {
            let id = RowReader::new(row, "owners").field("id");
            let record = id.map_or(DamagedRecord::Unknown, DamagedRecord::Owner);
            Ok(Scanned::Damaged(DamagedRow::new(Damage { record, ..damage })))
        }
        Err(fault) => Err(fault),
    }
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
        sweeps: None,
    };
    if row.field("limited")? {
        owner.limits = limits.load(owner.id.as_str())?;
    }
    owner.sweeps = row.field("sweeps")?;
    let checksum: u32 = row.field("state_checksum")?;
    if checksums::of_scanned_owner(&owner) == checksum {
        Ok(owner)
    } else {
        Err(row.damaged("state_checksum"))
    }
}

/// Reads keys with their previous tokens. Where a page of the table can't be read, its keys are shown
/// as damaged, one by one.
pub(super) fn keys(
    connection: &Connection,
    part: Part<'_>,
    entries: &Entries,
) -> Result<Scan, Fault> {
    match (walk_keys(connection, part, entries), part) {
        (Err(fault), Part::After(after, _)) if fault.is_corrupt() => {
            let ids = ids_after(connection, KEYS_BY_INDEX, after)?;
            Ok(Scan { next: next_after(&ids), rows: by_ids(connection, &ids, entries)? })
        }
        (scan, _) => scan,
    }
}

/// Reads keys one by one.
pub(super) fn by_ids(
    connection: &Connection,
    ids: &[Vec<u8>],
    entries: &Entries,
) -> Result<Vec<Scanned>, Fault> {
    let mut judge = Judge::new(connection, entries)?;
    let mut limits = Loader::of(connection, "keys")?;
    let mut statement = connection.prepare_cached(ONE_KEY)?;
    let mut found = Vec::with_capacity(ids.len());
    for bytes in ids {
        // Without a readable id there is nothing to name.
        let Ok(id) = <[u8; 16]>::try_from(&bytes[..]).map(KeyId::from_bytes) else { continue };
        let mut rows = statement.query([bytes])?;
        match rows.next() {
            Ok(Some(row)) => found.push(judge.read(row, &mut limits)?),
            Ok(None) => {}
            Err(error) => match Fault::from(error).of("keys", DamagedRecord::Key(id)) {
                Fault::Damaged(damage) => {
                    let row = judge.completed(DamagedRow::new(damage))?;
                    found.push(Scanned::Damaged(row));
                }
                fault => return Err(fault),
            },
        }
    }
    Ok(found)
}

fn walk_keys(connection: &Connection, part: Part<'_>, entries: &Entries) -> Result<Scan, Fault> {
    let mut walk = Walk::new(part);
    let after = walk.last.clone();
    let mut statement = connection.prepare_cached(KEYS)?;
    let mut rows = statement.query((&after, walk.limit()))?;
    let mut limits = Loader::of(connection, "keys")?;
    let mut is_cut = false;
    let (mut found, mut checksums, mut damaged) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(row) = rows.next()?.filter(|_| !is_cut) {
        walk.note(row)?;
        match key(&mut RowReader::new(row, "keys"), &mut limits) {
            Ok((key, checksum)) => {
                found.push(key);
                checksums.push(checksum);
            }
            Err(Fault::Damaged(damage)) => damaged.push(damaged_key(row, damage)),
            Err(fault) => return Err(fault),
        }
        is_cut = walk.is_over();
    }
    let count = found.len() + damaged.len();
    if let (Part::After(..), Some(last)) = (part, found.last()) {
        let through = last.id.to_bytes();
        add_previous_tokens(connection, &after, &through, &mut found)?;
    }
    let mut judge = Judge::new(connection, entries)?;
    let mut shown = Vec::with_capacity(count);
    for (key, checksum) in found.into_iter().zip(checksums) {
        shown.push(judge.shown(key, checksum)?);
    }
    for row in damaged {
        shown.push(Scanned::Damaged(judge.completed(row)?));
    }
    Ok(Scan { next: walk.next(count, is_cut), rows: shown })
}

/// Tells whole keys from damaged ones, and from those under quarantine.
pub(super) struct Judge<'a> {
    entries: &'a Entries,
    previous: PreviousLoader<'a>,
    bytes: PlainBytes,
}

impl<'a> Judge<'a> {
    pub(super) fn new(connection: &'a Connection, entries: &'a Entries) -> Result<Self, Fault> {
        Ok(Self { entries, previous: PreviousLoader::new(connection)?, bytes: PlainBytes::new() })
    }

    /// Shows the key of a row.
    pub(super) fn read(
        &mut self,
        row: &Row<'_>,
        limits: &mut Loader<'_>,
    ) -> Result<Scanned, Fault> {
        match key(&mut RowReader::new(row, "keys"), limits) {
            Ok((mut key, checksum)) => {
                key.previous = self.previous.whole(key.id)?;
                self.shown(key, checksum)
            }
            Err(Fault::Damaged(damage)) => {
                Ok(Scanned::Damaged(self.completed(damaged_key(row, damage))?))
            }
            Err(fault) => Err(fault),
        }
    }

    fn shown(&mut self, mut key: ScannedKey, checksum: u32) -> Result<Scanned, Fault> {
        let is_whole = |bytes: &mut PlainBytes, key: &ScannedKey| {
            checksums::of_scanned_key_in(bytes, key) == checksum
        };
        let mut whole = is_whole(&mut self.bytes, &key);
        if !whole {
            // Previous tokens that were read beside other keys' may be out of order.
            key.previous = self.previous.whole(key.id)?;
            whole = is_whole(&mut self.bytes, &key);
        }
        if whole && (self.entries.is_empty() || !self.entries.contains_key(&key.id)) {
            return Ok(Scanned::Key(key));
        }
        let damage = if whole { quarantined(key.id) } else { self.damage(key.id)? };
        let quarantine = self.entries.get(&key.id).cloned().flatten();
        Ok(Scanned::Damaged(DamagedRow { quarantine, ..key.damaged(damage) }))
    }

    /// Names the damage of a key of whose row each value could be right.
    fn damage(&mut self, id: KeyId) -> Result<Damage, Fault> {
        let record = DamagedRecord::Key(id);
        match self.previous.load(id) {
            Ok(_) => Ok(Damage::new("keys", "state_checksum", record)),
            Err(fault) => match fault.of("previous_tokens", record) {
                Fault::Damaged(damage) => Ok(damage),
                fault => Err(fault),
            },
        }
    }

    /// Adds to a damaged row what lies in other tables.
    fn completed(&mut self, mut row: DamagedRow) -> Result<DamagedRow, Fault> {
        if let Some(id) = row.key() {
            let previous = self.previous.whole(id)?.into_iter();
            row.digests.extend(previous.map(|previous| previous.token.digest));
            row.quarantine = self.entries.get(&id).cloned().flatten();
        }
        Ok(row)
    }
}

/// Reads what can be read of a damaged row: its id and the digest of its current token.
fn damaged_key(row: &Row<'_>, damage: Damage) -> DamagedRow {
    let id = RowReader::new(row, "keys").field("id");
    let record = id.map_or(DamagedRecord::Unknown, DamagedRecord::Key);
    let current =
        row.as_ref().column_index("generation").ok().and_then(|column| {
            RowReader::at(row, "keys", column).field::<TokenRecord>("digest").ok()
        });
    DamagedRow {
        digests: current.map(|token| token.digest).into_iter().collect(),
        ..DamagedRow::new(Damage { record, ..damage })
    }
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
    loop {
        let row = match rows.next().map_err(Fault::from) {
            Ok(Some(row)) => row,
            // The keys whose tokens are missing then are looked at one by one.
            Err(fault) if !fault.is_corrupt() => return Err(fault),
            Ok(None) | Err(_) => return Ok(()),
        };
        let mut row = RowReader::new(row, "previous_tokens");
        let Ok(id) = row.field("key_id") else { continue };
        while found.next_if(|key| key.id < id).is_some() {}
        // A token of no key opens nothing.
        let Some(key) = found.peek_mut().filter(|key| key.id == id) else { continue };
        // Without a damaged one the checksum of its key doesn't hold.
        key.previous.extend(row.field("previous").ok());
    }
}
