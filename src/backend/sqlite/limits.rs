//! What keys and owners may use: columns that both tables have.

use std::time::Duration;

use rusqlite::{CachedStatement, Connection, ToSql};

use super::codec::{Binder, Cells, int, millis, number, set_by, set_by_text, text, time, version};
use super::error::Fault;
use crate::clock::Timestamp;
use crate::key::{Limit, Limits, Networks, Period, Quota, VersionedQuota, Rate, Refill};

/// The columns, in the order in which they are read and written.
macro_rules! limit_columns {
    () => {
        "limited, not_before, not_before_by, networks, networks_by, rate_count, rate_per_ms, \
         rate_burst, rate_by, quota_uses, quota_refill, quota_refill_period, quota_version, quota_by"
    };
}

/// As many parameters.
macro_rules! limit_marks {
    () => {
        "?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?"
    };
}

pub(super) use {limit_columns, limit_marks};

/// Reads them where `limited` says that there are some. Asking for them with period row makes the
/// scan of a million keys longer, and most keys have none.
pub(super) struct Loader<'c> {
    statement: CachedStatement<'c>,
    table: &'static str,
}

impl<'c> Loader<'c> {
    pub(super) fn of_keys(connection: &'c Connection) -> Result<Self, Fault> {
        let sql = concat!("SELECT ", limit_columns!(), " FROM keys WHERE id = ?");
        Ok(Self { statement: connection.prepare_cached(sql)?, table: "keys" })
    }

    pub(super) fn of_owners(connection: &'c Connection) -> Result<Self, Fault> {
        let sql = concat!("SELECT ", limit_columns!(), " FROM owners WHERE id = ?");
        Ok(Self { statement: connection.prepare_cached(sql)?, table: "owners" })
    }

    /// Reads those of a row that is there.
    pub(super) fn load(&mut self, id: impl ToSql) -> Result<Limits, Fault> {
        let mut rows = self.statement.query([id])?;
        let damaged = Fault::Damaged { table: self.table, column: "id" };
        let row = rows.next()?.ok_or(damaged)?;
        decode(&mut Cells::new(row, self.table))
    }
}

/// Reads the columns.
pub(super) fn decode(cells: &mut Cells<'_>) -> Result<Limits, Fault> {
    let is_limited = cells.get("limited", super::codec::flag)?;
    let not_before = cells.maybe("not_before", time)?;
    let not_before = limit(cells, "not_before_by", not_before)?;
    let networks = cells.maybe("networks", |value| text(value)?.parse::<Networks>().ok())?;
    let networks = limit(cells, "networks_by", networks)?;
    let rate = rate(cells)?;
    let rate = limit(cells, "rate_by", rate)?;
    let quota = quota(cells)?;
    let quota = limit(cells, "quota_by", quota)?;
    let limits = Limits { not_before, networks, rate, quota };
    // The scan goes by the column alone.
    if limits.is_empty() == is_limited { Err(cells.damaged("limited")) } else { Ok(limits) }
}

/// A limit and the next column, which says who set it.
fn limit<T>(
    cells: &mut Cells<'_>,
    column: &'static str,
    value: Option<T>,
) -> Result<Option<Limit<T>>, Fault> {
    match (value, cells.maybe(column, set_by)?) {
        (Some(value), Some(by)) => Ok(Some(Limit { value, by })),
        (None, None) => Ok(None),
        _ => Err(cells.damaged(column)),
    }
}

fn rate(cells: &mut Cells<'_>) -> Result<Option<Rate>, Fault> {
    let count = cells.maybe("rate_count", int)?;
    let per = cells.maybe("rate_per_ms", |value| int(value).map(Duration::from_millis))?;
    let burst = cells.maybe("rate_burst", int)?;
    let damaged = || cells.damaged("rate_count");
    match (count, per, burst) {
        (Some(count), Some(per), Some(burst)) => {
            let rate = Rate::new(count, per).and_then(|rate| rate.with_burst(burst));
            rate.map(Some).map_err(|_| damaged())
        }
        (None, None, None) => Ok(None),
        _ => Err(damaged()),
    }
}

fn quota(cells: &mut Cells<'_>) -> Result<Option<VersionedQuota>, Fault> {
    let uses = cells.maybe("quota_uses", |value| Quota::one_time(int(value)?).ok())?;
    let amount = cells.maybe("quota_refill", int)?;
    let period = cells.maybe("quota_refill_period", |value| period(text(value)?))?;
    let quota_version = cells.maybe("quota_version", version)?;
    let damaged = || cells.damaged("quota_uses");
    let refill = match (amount, period) {
        (Some(amount), Some(period)) => Some(Refill::new(amount, period).map_err(|_| damaged())?),
        (None, None) => None,
        _ => return Err(damaged()),
    };
    match (uses, refill, quota_version) {
        (Some(quota), Some(refill), Some(quota_version)) => {
            Ok(Some(VersionedQuota { quota: quota.with_refill(refill), quota_version }))
        }
        (Some(quota), None, Some(quota_version)) => Ok(Some(VersionedQuota { quota, quota_version })),
        (None, None, None) => Ok(None),
        _ => Err(damaged()),
    }
}

fn period(text: &str) -> Option<Period> {
    [Period::Day, Period::Week, Period::Month]
        .into_iter()
        .find(|period| period_text(*period) == text)
}

fn period_text(period: Period) -> &'static str {
    match period {
        Period::Day => "day",
        Period::Week => "week",
        Period::Month => "month",
    }
}

/// Writes the columns.
pub(super) fn put(binder: &mut Binder<'_, '_>, limits: &Limits) -> Result<(), Fault> {
    fn by<T>(limit: Option<&Limit<T>>) -> Option<&'static str> {
        limit.map(|limit| set_by_text(limit.by))
    }
    let Limits { not_before, networks, rate, quota } = limits;
    let from: Option<Timestamp> = not_before.map(|limit| limit.value);
    let per = rate.map(|limit| i64::try_from(limit.value.per().as_millis()).unwrap_or(i64::MAX));
    let run = quota.map(|limit| limit.value);
    let refill = run.and_then(|run| run.quota.refill());
    binder
        .put(!limits.is_empty())?
        .put(from.map(millis))?
        .put(by(not_before.as_ref()))?
        .put(networks.as_ref().map(|limit| limit.value.to_string()))?
        .put(by(networks.as_ref()))?
        .put(rate.map(|limit| limit.value.count()))?
        .put(per)?
        .put(rate.map(|limit| limit.value.burst()))?
        .put(by(rate.as_ref()))?
        // At most 2^40 - 1.
        .put(run.map(|run| run.quota.uses().cast_signed()))?
        .put(refill.map(|refill| refill.amount().cast_signed()))?
        .put(refill.map(|refill| period_text(refill.period())))?
        .put(run.map(|run| number(run.quota_version)))?
        .put(by(quota.as_ref()))?;
    Ok(())
}
