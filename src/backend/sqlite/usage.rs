//! What was used: tables `key_usage` and `owner_usage`.

use std::net::IpAddr;

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::cells::{Binder, Cells, generation, int, millis, number, text, time, version};
use super::error::Fault;
use super::sums;
use crate::backend::UsageOf;
use crate::id::{Generation, KeyId};
use crate::key::{
    LastAddress, QuotaState, RefusedCounts, RefusedFor, Told, ToldTokens, Usage, Used,
};

/// The columns of reasons, by number.
macro_rules! refused {
    () => {
        "suspended, revoked, blocked, deactivated, expired, superseded, not_yet, wrong_address, \
         rate_limited, quota_exhausted"
    };
}

macro_rules! quota {
    () => {
        "quota_since, quota_left, quota_period, quota_sum"
    };
}

macro_rules! told {
    () => {
        "told_expired, told_trial_ending, told_token_old, told_unused, told_earlier_token_used, \
         told_refused"
    };
}

/// The columns of a key, in the order in which they are read and, with the id last, written.
macro_rules! columns {
    () => {
        concat!(
            "last_used_at, accepted, address, address_at, ",
            refused!(),
            ", ",
            told!(),
            ", ",
            quota!()
        )
    };
}

/// The later of a column and a parameter, either of which may be nothing.
macro_rules! later {
    ($column:literal, $parameter:literal) => {
        concat!(
            $column,
            " = coalesce(max(",
            $column,
            ", ",
            $parameter,
            "), ",
            $parameter,
            ", ",
            $column,
            ")"
        )
    };
}

/// The sum of a column and a parameter, which stops at the greatest number there is.
macro_rules! sum {
    ($column:literal, $parameter:literal) => {
        concat!(
            $column,
            " = min(",
            $column,
            ", 9223372036854775807 - ",
            $parameter,
            ") + ",
            $parameter
        )
    };
}

/// Last use and count alone, which is what there is most of.
const TOUCH: &str = concat!(
    "UPDATE key_usage SET ",
    later!("last_used_at", "?1"),
    ", ",
    sum!("accepted", "?2"),
    " WHERE key_id = ?3"
);

const ADD: &str = concat!(
    "UPDATE key_usage SET ",
    later!("last_used_at", "?1"),
    ", ",
    sum!("accepted", "?2"),
    ", ",
    "address = CASE WHEN ?4 >= coalesce(address_at, -1) THEN ?3 ELSE address END, ",
    later!("address_at", "?4"),
    ", ",
    sum!("suspended", "?5"),
    ", ",
    sum!("revoked", "?6"),
    ", ",
    sum!("blocked", "?7"),
    ", ",
    sum!("deactivated", "?8"),
    ", ",
    sum!("expired", "?9"),
    ", ",
    sum!("superseded", "?10"),
    ", ",
    sum!("not_yet", "?11"),
    ", ",
    sum!("wrong_address", "?12"),
    ", ",
    sum!("rate_limited", "?13"),
    ", ",
    sum!("quota_exhausted", "?14"),
    " WHERE key_id = ?15"
);

/// Adds uses in one statement, unless the key has no row: false then.
pub(super) fn add(connection: &Connection, key: KeyId, used: &Used) -> Result<bool, Fault> {
    let is_short = used.last_address.is_none() && used.refused == RefusedCounts::default();
    let mut statement = connection.prepare_cached(if is_short { TOUCH } else { ADD })?;
    let mut binder = Binder::new(&mut statement);
    binder.put(used.last_used_at.map(millis))?.put(count(used.accepted))?;
    if !is_short {
        put_address(&mut binder, used)?;
        put_refused(&mut binder, used)?;
    }
    Ok(binder.put(key.to_bytes())?.execute()? > 0)
}

/// Whether there is such a key.
pub(super) fn has_key(connection: &Connection, key: KeyId) -> Result<bool, Fault> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM keys WHERE id = ?")?;
    Ok(statement.exists([key.to_bytes()])?)
}

/// Reads what there is of a key or an owner.
pub(super) fn load(connection: &Connection, of: &UsageOf) -> Result<Option<Usage>, Fault> {
    match of {
        UsageOf::Key(key) => {
            let sql = concat!("SELECT ", columns!(), " FROM key_usage WHERE key_id = ?");
            let mut statement = connection.prepare_cached(sql)?;
            let mut rows = statement.query([key.to_bytes()])?;
            let Some(row) = rows.next()? else { return Ok(None) };
            let mut cells = Cells::new(row, "key_usage");
            let used = used(&mut cells)?;
            let told = told(&mut cells)?;
            Ok(Some(Usage { used, told, quota: quota(&mut cells, of)? }))
        }
        UsageOf::Owner(owner) => {
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
    let mut refused = RefusedCounts::default();
    for reason in RefusedFor::ALL {
        refused.add(reason, cells.get(column(reason), int)?);
    }
    Ok(Used { last_used_at, last_address, accepted, refused })
}

/// The column of a reason: its name, unless another column has that.
const fn column(reason: RefusedFor) -> &'static str {
    match reason {
        RefusedFor::Address => "wrong_address",
        _ => reason.name(),
    }
}

fn quota(cells: &mut Cells<'_>, of: &UsageOf) -> Result<Option<QuotaState>, Fault> {
    let since = cells.maybe("quota_since", version)?;
    let left = cells.maybe("quota_left", int)?;
    let period = cells.maybe("quota_period", time)?;
    let sum = cells.maybe("quota_sum", int::<u32>)?;
    match (since, left, period, sum) {
        (None, None, None, None) => Ok(None),
        (Some(since), Some(left), Some(period), Some(sum)) => {
            let state = QuotaState { since, left, period };
            let is_whole = sums::of_quota(of, &state) == sum;
            if is_whole { Ok(Some(state)) } else { Err(cells.damaged("quota_sum")) }
        }
        _ => Err(cells.damaged("quota_sum")),
    }
}

fn told(cells: &mut Cells<'_>) -> Result<Told, Fault> {
    Ok(Told {
        expired: cells.maybe("told_expired", time)?,
        trial_ending: cells.maybe("told_trial_ending", time)?,
        token_old: cells.maybe("told_token_old", generation)?,
        unused: cells.maybe("told_unused", time)?,
        earlier_token_used: cells.maybe("told_earlier_token_used", told_tokens)?,
        refused: cells.maybe("told_refused", time)?,
    })
}

fn told_tokens(value: ValueRef<'_>) -> Option<ToldTokens> {
    ToldTokens::from_number(int(value)?).ok()
}

fn address(value: ValueRef<'_>) -> Option<IpAddr> {
    text(value)?.parse().ok()
}

/// Creates, replaces or removes what there is of a key or an owner.
pub(super) fn put(
    connection: &Connection,
    of: &UsageOf,
    usage: Option<&Usage>,
) -> Result<(), Fault> {
    let sql = match (of, usage) {
        (UsageOf::Key(_), Some(_)) => concat!(
            "INSERT OR REPLACE INTO key_usage (",
            columns!(),
            ", key_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, \
             ?)"
        ),
        (UsageOf::Owner(_), Some(_)) => concat!(
            "INSERT OR REPLACE INTO owner_usage (",
            quota!(),
            ", owner) VALUES (?, ?, ?, ?, ?)"
        ),
        (UsageOf::Key(_), None) => "DELETE FROM key_usage WHERE key_id = ?",
        (UsageOf::Owner(_), None) => "DELETE FROM owner_usage WHERE owner = ?",
    };
    let mut statement = connection.prepare_cached(sql)?;
    let mut binder = Binder::new(&mut statement);
    if let Some(Usage { used, quota, told }) = usage {
        if matches!(of, UsageOf::Key(_)) {
            binder.put(used.last_used_at.map(millis))?.put(count(used.accepted))?;
            put_address(&mut binder, used)?;
            put_refused(&mut binder, used)?;
            put_told(&mut binder, told)?;
        }
        binder
            .put(quota.map(|quota| number(quota.since)))?
            .put(quota.map(|quota| count(quota.left)))?
            .put(quota.map(|quota| millis(quota.period)))?
            .put(quota.map(|quota| sums::of_quota(of, &quota)))?;
    }
    match of {
        UsageOf::Key(key) => binder.put(key.to_bytes())?.execute()?,
        UsageOf::Owner(owner) => binder.put(owner.as_str())?.execute()?,
    };
    Ok(())
}

fn put_address(binder: &mut Binder<'_, '_>, used: &Used) -> Result<(), Fault> {
    let seen = used.last_address;
    binder.put(seen.map(|seen| seen.address.to_string()))?.put(seen.map(|seen| millis(seen.at)))?;
    Ok(())
}

fn put_refused(binder: &mut Binder<'_, '_>, used: &Used) -> Result<(), Fault> {
    for reason in RefusedFor::ALL {
        binder.put(count(used.refused.get(reason)))?;
    }
    Ok(())
}

fn put_told(binder: &mut Binder<'_, '_>, told: &Told) -> Result<(), Fault> {
    binder
        .put(told.expired.map(millis))?
        .put(told.trial_ending.map(millis))?
        .put(told.token_old.map(Generation::get))?
        .put(told.unused.map(millis))?
        .put(told.earlier_token_used.map(|tokens| count(tokens.number())))?
        .put(told.refused.map(millis))?;
    Ok(())
}

/// A count as it is stored.
fn count(count: u64) -> i64 {
    count.min(Usage::MAX_COUNT).cast_signed()
}
