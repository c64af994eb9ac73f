//! Usage: tables `key_usage` and `owner_usage`.

use std::sync::LazyLock;

use rusqlite::{Connection, ToSql};

use super::checksums;
use super::codec::{Binder, RowReader, insert_sql};
use super::error::Fault;
use crate::backend::{DamagedRecord, UsageSubject};
use crate::id::KeyId;
use crate::key::{AlertState, Field, QuotaState, RejectKind, RejectedCounts, Source, Usage, Used};

/// The columns of a quota's state and its checksum.
static QUOTA: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut columns = Vec::new();
    QuotaState::columns("quota", &mut columns);
    columns.push("quota_checksum".into());
    columns
});

/// The columns of a key beside its id, in the order in which they are read and written.
static COLUMNS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut columns = Vec::new();
    Used::columns("used", &mut columns);
    AlertState::columns("alert_state", &mut columns);
    columns.extend_from_slice(&QUOTA);
    columns
});

static LOAD_KEY: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {} FROM key_usage WHERE key_id = ?", COLUMNS.join(", ")));
static LOAD_OWNER: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {} FROM owner_usage WHERE owner = ?", QUOTA.join(", ")));
static QUOTA_OF_KEY: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {} FROM key_usage WHERE key_id = ?", QUOTA.join(", ")));
static PUT_KEY: LazyLock<String> =
    LazyLock::new(|| insert_sql("key_usage", &COLUMNS, "key_id").replace("INSERT", REPLACE));
static PUT_OWNER: LazyLock<String> =
    LazyLock::new(|| insert_sql("owner_usage", &QUOTA, "owner").replace("INSERT", REPLACE));

const REPLACE: &str = "INSERT OR REPLACE";

/// Changes last use and count alone, the most frequent change.
static TOUCH: LazyLock<String> = LazyLock::new(|| {
    let (used, accepted) = (later("last_used_at", 1), sum("accepted", 2));
    format!("UPDATE key_usage SET {used}, {accepted} WHERE key_id = ?3")
});

static ADD: LazyLock<String> = LazyLock::new(|| {
    let mut sets = vec![
        later("last_used_at", 1),
        sum("accepted", 2),
        "address = CASE WHEN ?4 >= coalesce(address_at, -1) THEN ?3 ELSE address END".into(),
        later("address_at", 4),
    ];
    let rejected = RejectKind::ALL.iter().zip(sets.len() + 1..);
    let rejected: Vec<_> = rejected.map(|(kind, place)| sum(kind.name(), place)).collect();
    sets.extend(rejected);
    format!("UPDATE key_usage SET {} WHERE key_id = ?{}", sets.join(", "), sets.len() + 1)
});

/// Sets a column to the later of itself and a parameter, either of which may be NULL.
fn later(column: &str, parameter: usize) -> String {
    format!("{column} = coalesce(max({column}, ?{parameter}), ?{parameter}, {column})")
}

/// Adds a parameter to a column, which stops at the greatest number that SQLite has.
fn sum(column: &str, parameter: usize) -> String {
    format!("{column} = min({column}, {} - ?{parameter}) + ?{parameter}", i64::MAX)
}

/// Adds uses in one statement, and returns whether the key has a row for them.
pub(super) fn add(connection: &Connection, key: KeyId, used: &Used) -> Result<bool, Fault> {
    update(connection, key, used).map_err(|fault| of_row(fault, &UsageSubject::Key(key)))
}

fn update(connection: &Connection, key: KeyId, used: &Used) -> Result<bool, Fault> {
    let is_short = used.last_address.is_none() && used.rejected == RejectedCounts::default();
    let mut statement = connection.prepare_cached(if is_short { &TOUCH } else { &ADD })?;
    let mut binder = Binder::new(&mut statement);
    let used = Used { accepted: used.accepted.min(Usage::MAX_COUNT), ..*used };
    if is_short {
        binder.put_field(&used.last_used_at)?.put_field(&used.accepted)?;
    } else {
        binder.put_field(&used)?;
    }
    Ok(binder.put_field(&key)?.execute()? > 0)
}

/// Returns whether there is such a key.
pub(super) fn has_key(connection: &Connection, key: KeyId) -> Result<bool, Fault> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM keys WHERE id = ?")?;
    Ok(statement.exists([key.to_bytes()])?)
}

/// Reads the usage of a key or an owner, if there is any.
pub(super) fn load(connection: &Connection, of: &UsageSubject) -> Result<Option<Usage>, Fault> {
    read(connection, of).map_err(|fault| of_row(fault, of))
}

/// Names the row in a fault.
fn of_row(fault: Fault, of: &UsageSubject) -> Fault {
    match of {
        UsageSubject::Key(key) => fault.of("key_usage", DamagedRecord::Key(*key)),
        UsageSubject::Owner(owner) => fault.of("owner_usage", DamagedRecord::Owner(*owner)),
    }
}

fn read(connection: &Connection, of: &UsageSubject) -> Result<Option<Usage>, Fault> {
    match of {
        UsageSubject::Key(key) => {
            let mut statement = connection.prepare_cached(&LOAD_KEY)?;
            let mut rows = statement.query([key.to_bytes()])?;
            let Some(row) = rows.next()? else { return Ok(None) };
            let mut row = RowReader::new(row, "key_usage");
            let (used, alert_state) = (row.field("used")?, row.field("alert_state")?);
            Ok(Some(Usage { used, alert_state, quota: quota(&mut row, of)? }))
        }
        UsageSubject::Owner(owner) => {
            let mut statement = connection.prepare_cached(&LOAD_OWNER)?;
            let mut rows = statement.query([owner.as_str()])?;
            let Some(row) = rows.next()? else { return Ok(None) };
            let quota = quota(&mut RowReader::new(row, "owner_usage"), of)?;
            Ok(Some(Usage { quota, ..Usage::default() }))
        }
    }
}

fn quota(row: &mut RowReader<'_>, of: &UsageSubject) -> Result<Option<QuotaState>, Fault> {
    let quota: Option<QuotaState> = row.field("quota_checksum")?;
    let stored: Option<u32> = row.field("quota_checksum")?;
    if quota.map(|quota| checksums::of_quota(of, &quota)) == stored {
        Ok(quota)
    } else {
        Err(row.damaged("quota_checksum"))
    }
}

/// Reads the quota's state of a key or an owner alone.
pub(super) fn load_quota(
    connection: &Connection,
    of: &UsageSubject,
) -> Result<Option<QuotaState>, Fault> {
    let (sql, id): (&str, &dyn ToSql) = match of {
        UsageSubject::Key(key) => (&QUOTA_OF_KEY, &key.to_bytes()),
        UsageSubject::Owner(owner) => (&LOAD_OWNER, &owner.as_str()),
    };
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([id])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    quota(&mut RowReader::new(row, "usage"), of)
}

/// Creates, replaces or removes the usage of a key or an owner.
pub(super) fn put(
    connection: &Connection,
    of: &UsageSubject,
    usage: Option<&Usage>,
) -> Result<(), Fault> {
    let sql: &str = match (of, usage) {
        (UsageSubject::Key(_), Some(_)) => &PUT_KEY,
        (UsageSubject::Owner(_), Some(_)) => &PUT_OWNER,
        (UsageSubject::Key(_), None) => "DELETE FROM key_usage WHERE key_id = ?",
        (UsageSubject::Owner(_), None) => "DELETE FROM owner_usage WHERE owner = ?",
    };
    let mut statement = connection.prepare_cached(sql)?;
    let mut binder = Binder::new(&mut statement);
    if let Some(Usage { used, quota, alert_state }) = usage {
        if matches!(of, UsageSubject::Key(_)) {
            let used = Used { accepted: used.accepted.min(Usage::MAX_COUNT), ..*used };
            binder.put_field(&used)?.put_field(alert_state)?;
        }
        let checksum = quota.map(|quota| checksums::of_quota(of, &quota));
        binder.put_field(quota)?.put_field(&checksum)?;
    }
    match of {
        UsageSubject::Key(key) => binder.put_field(key)?.execute()?,
        UsageSubject::Owner(owner) => binder.put_field(owner)?.execute()?,
    };
    Ok(())
}
