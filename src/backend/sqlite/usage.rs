//! What was used: tables `key_usage` and `owner_usage`.

use std::net::IpAddr;
use std::sync::LazyLock;

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::checksums;
use super::codec::{Binder, Cells, generation, int, millis, number, text, time, version};
use super::error::Fault;
use crate::backend::UsageSubject;
use crate::id::{Generation, KeyId};
use crate::key::{
    AlertState, AlertedTokens, LastAddress, QuotaState, RejectKind, RejectedCounts, Usage, Used,
};

macro_rules! quota {
    () => {
        "quota_version, quota_left, quota_period, quota_sum"
    };
}

const ALERTED: &str = "alerted_expired, alerted_trial_ending, alerted_token_old, alerted_unused, \
     alerted_previous_token_used, alerted_rejected";

/// The columns of a key, in the order in which they are read and, with the id last, written.
static COLUMNS: LazyLock<String> = LazyLock::new(|| {
    let rejected: Vec<_> = RejectKind::ALL.iter().map(|kind| kind.name()).collect();
    let rejected = rejected.join(", ");
    format!("last_used_at, accepted, address, address_at, {rejected}, {ALERTED}, {}", quota!())
});

static LOAD_KEY: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {} FROM key_usage WHERE key_id = ?", *COLUMNS));

static PUT_KEY: LazyLock<String> = LazyLock::new(|| {
    let places = vec!["?"; COLUMNS.split(", ").count() + 1].join(", ");
    format!("INSERT OR REPLACE INTO key_usage ({}, key_id) VALUES ({places})", *COLUMNS)
});

/// Last use and count alone, the most frequent change.
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

/// Adds uses in one statement, unless the key has no row: false then.
pub(super) fn add(connection: &Connection, key: KeyId, used: &Used) -> Result<bool, Fault> {
    let is_short = used.last_address.is_none() && used.rejected == RejectedCounts::default();
    let mut statement = connection.prepare_cached(if is_short { &TOUCH } else { &ADD })?;
    let mut binder = Binder::new(&mut statement);
    binder.put(used.last_used_at.map(millis))?.put(count(used.accepted))?;
    if !is_short {
        put_address(&mut binder, used)?;
        put_rejected(&mut binder, used)?;
    }
    Ok(binder.put(key.to_bytes())?.execute()? > 0)
}

/// Whether there is such a key.
pub(super) fn has_key(connection: &Connection, key: KeyId) -> Result<bool, Fault> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM keys WHERE id = ?")?;
    Ok(statement.exists([key.to_bytes()])?)
}

/// Reads what there is of a key or an owner.
pub(super) fn load(connection: &Connection, of: &UsageSubject) -> Result<Option<Usage>, Fault> {
    match of {
        UsageSubject::Key(key) => {
            let mut statement = connection.prepare_cached(&LOAD_KEY)?;
            let mut rows = statement.query([key.to_bytes()])?;
            let Some(row) = rows.next()? else { return Ok(None) };
            let mut cells = Cells::new(row, "key_usage");
            let used = used(&mut cells)?;
            let alert_state = alert_state(&mut cells)?;
            Ok(Some(Usage { used, alert_state, quota: quota(&mut cells, of)? }))
        }
        UsageSubject::Owner(owner) => {
            let sql = concat!("SELECT ", quota!(), " FROM owner_usage WHERE owner = ?");
            let mut statement = connection.prepare_cached(sql)?;
            let mut rows = statement.query([owner.as_str()])?;
            let Some(row) = rows.next()? else { return Ok(None) };
            let quota = quota(&mut Cells::new(row, "owner_usage"), of)?;
            Ok(Some(Usage { quota, ..Usage::default() }))
        }
    }
}

fn used(cells: &mut Cells<'_>) -> Result<Used, Fault> {
    let last_used_at = cells.maybe("last_used_at", time)?;
    let accepted = cells.get("accepted", int)?;
    let address = cells.maybe("address", address)?;
    let address_at = cells.maybe("address_at", time)?;
    let last_address = match (address, address_at) {
        (Some(address), Some(at)) => Some(LastAddress { address, at }),
        (None, None) => None,
        _ => return Err(cells.damaged("address_at")),
    };
    let mut rejected = RejectedCounts::default();
    for reason in RejectKind::ALL {
        rejected.add(*reason, cells.get(reason.name(), int)?);
    }
    Ok(Used { last_used_at, last_address, accepted, rejected })
}

fn quota(cells: &mut Cells<'_>, of: &UsageSubject) -> Result<Option<QuotaState>, Fault> {
    let quota_version = cells.maybe("quota_version", version)?;
    let left = cells.maybe("quota_left", int)?;
    let period = cells.maybe("quota_period", time)?;
    let sum = cells.maybe("quota_sum", int::<u32>)?;
    match (quota_version, left, period, sum) {
        (None, None, None, None) => Ok(None),
        (Some(quota_version), Some(left), Some(period), Some(sum)) => {
            let state = QuotaState { quota_version, left, period };
            let is_whole = checksums::of_quota(of, &state) == sum;
            if is_whole { Ok(Some(state)) } else { Err(cells.damaged("quota_sum")) }
        }
        _ => Err(cells.damaged("quota_sum")),
    }
}

fn alert_state(cells: &mut Cells<'_>) -> Result<AlertState, Fault> {
    Ok(AlertState {
        expired: cells.maybe("alerted_expired", time)?,
        trial_ending: cells.maybe("alerted_trial_ending", time)?,
        token_old: cells.maybe("alerted_token_old", generation)?,
        unused: cells.maybe("alerted_unused", time)?,
        previous_token_used: cells.maybe("alerted_previous_token_used", alerted_tokens)?,
        rejected: cells.maybe("alerted_rejected", time)?,
    })
}

fn alerted_tokens(value: ValueRef<'_>) -> Option<AlertedTokens> {
    AlertedTokens::from_number(int(value)?).ok()
}

fn address(value: ValueRef<'_>) -> Option<IpAddr> {
    text(value)?.parse().ok()
}

/// Creates, replaces or removes what there is of a key or an owner.
pub(super) fn put(
    connection: &Connection,
    of: &UsageSubject,
    usage: Option<&Usage>,
) -> Result<(), Fault> {
    let sql: &str = match (of, usage) {
        (UsageSubject::Key(_), Some(_)) => &PUT_KEY,
        (UsageSubject::Owner(_), Some(_)) => concat!(
            "INSERT OR REPLACE INTO owner_usage (",
            quota!(),
            ", owner) VALUES (?, ?, ?, ?, ?)"
        ),
        (UsageSubject::Key(_), None) => "DELETE FROM key_usage WHERE key_id = ?",
        (UsageSubject::Owner(_), None) => "DELETE FROM owner_usage WHERE owner = ?",
    };
    let mut statement = connection.prepare_cached(sql)?;
    let mut binder = Binder::new(&mut statement);
    if let Some(Usage { used, quota, alert_state }) = usage {
        if matches!(of, UsageSubject::Key(_)) {
            binder.put(used.last_used_at.map(millis))?.put(count(used.accepted))?;
            put_address(&mut binder, used)?;
            put_rejected(&mut binder, used)?;
            put_alert_state(&mut binder, alert_state)?;
        }
        binder
            .put(quota.map(|quota| number(quota.quota_version)))?
            .put(quota.map(|quota| count(quota.left)))?
            .put(quota.map(|quota| millis(quota.period)))?
            .put(quota.map(|quota| checksums::of_quota(of, &quota)))?;
    }
    match of {
        UsageSubject::Key(key) => binder.put(key.to_bytes())?.execute()?,
        UsageSubject::Owner(owner) => binder.put(owner.as_str())?.execute()?,
    };
    Ok(())
}

fn put_address(binder: &mut Binder<'_, '_>, used: &Used) -> Result<(), Fault> {
    let seen = used.last_address;
    binder.put(seen.map(|seen| seen.address.to_string()))?.put(seen.map(|seen| millis(seen.at)))?;
    Ok(())
}

fn put_rejected(binder: &mut Binder<'_, '_>, used: &Used) -> Result<(), Fault> {
    for reason in RejectKind::ALL {
        binder.put(count(used.rejected.get(*reason)))?;
    }
    Ok(())
}

fn put_alert_state(binder: &mut Binder<'_, '_>, alerts: &AlertState) -> Result<(), Fault> {
    binder
        .put(alerts.expired.map(millis))?
        .put(alerts.trial_ending.map(millis))?
        .put(alerts.token_old.map(Generation::get))?
        .put(alerts.unused.map(millis))?
        .put(alerts.previous_token_used.map(|tokens| count(tokens.number())))?
        .put(alerts.rejected.map(millis))?;
    Ok(())
}

/// A count as it is stored.
fn count(count: u64) -> i64 {
    count.min(Usage::MAX_COUNT).cast_signed()
}
