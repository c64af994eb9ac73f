//! Columns to values and back. Whatever is read is checked: a file can be damaged, or edited.

use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, Row, Rows, ToSql};

use super::error::Fault;
use crate::authority::{Actor, Reason};
use crate::clock::Timestamp;
use crate::id::{Generation, KeyId, OwnerId, Version};
use crate::key::{SetBy, Switch};
use crate::permission::Access;

/// A row that is read from left to right.
pub(super) struct Cells<'r> {
    row: &'r Row<'r>,
    table: &'static str,
    next: usize,
}

impl<'r> Cells<'r> {
    pub(super) fn new(row: &'r Row<'r>, table: &'static str) -> Self {
        Self { row, table, next: 0 }
    }

    // Inlined, since opening a large store reads little else than cells.
    /// The next column's value, as `decode` understands it.
    #[inline]
    pub(super) fn get<T>(
        &mut self,
        column: &'static str,
        decode: impl FnOnce(ValueRef<'r>) -> Option<T>,
    ) -> Result<T, Fault> {
        let value = self.row.get_ref(self.next)?;
        self.next += 1;
        decode(value).ok_or_else(|| self.damaged(column))
    }

    /// The same, or nothing where nothing is stored.
    #[inline]
    pub(super) fn maybe<T>(
        &mut self,
        column: &'static str,
        decode: impl FnOnce(ValueRef<'r>) -> Option<T>,
    ) -> Result<Option<T>, Fault> {
        self.get(column, |value| match value {
            ValueRef::Null => Some(None),
            value => decode(value).map(Some),
        })
    }

    /// Three columns: since when, by whom, why.
    pub(super) fn switch(&mut self, column: &'static str) -> Result<Option<Switch>, Fault> {
        let at = self.maybe(column, time)?;
        let by = self.maybe(column, actor)?;
        let reason = self.maybe(column, reason)?;
        match (at, by, reason) {
            (Some(at), Some(by), reason) => Ok(Some(Switch { at, by, reason })),
            (None, None, None) => Ok(None),
            _ => Err(self.damaged(column)),
        }
    }

    pub(super) fn damaged(&self, column: &'static str) -> Fault {
        Fault::Damaged { table: self.table, column }
    }
}

#[inline]
pub(super) fn int<T: TryFrom<i64>>(value: ValueRef<'_>) -> Option<T> {
    T::try_from(value.as_i64().ok()?).ok()
}

pub(super) fn text(value: ValueRef<'_>) -> Option<&str> {
    value.as_str().ok()
}

pub(super) fn blob(value: ValueRef<'_>) -> Option<&[u8]> {
    value.as_blob().ok()
}

pub(super) fn bytes<const N: usize>(value: ValueRef<'_>) -> Option<[u8; N]> {
    blob(value)?.try_into().ok()
}

pub(super) fn flag(value: ValueRef<'_>) -> Option<bool> {
    match value {
        ValueRef::Integer(0) => Some(false),
        ValueRef::Integer(1) => Some(true),
        _ => None,
    }
}

pub(super) fn access(value: ValueRef<'_>) -> Option<Access> {
    text(value)?.parse().ok()
}

pub(super) fn actor(value: ValueRef<'_>) -> Option<Actor> {
    Actor::new(text(value)?).ok()
}

pub(super) fn generation(value: ValueRef<'_>) -> Option<Generation> {
    Generation::new(int(value)?).ok()
}

pub(super) fn key_id(value: ValueRef<'_>) -> Option<KeyId> {
    bytes(value).map(KeyId::from_bytes)
}

pub(super) fn owner_id(value: ValueRef<'_>) -> Option<OwnerId> {
    OwnerId::new(text(value)?).ok()
}

pub(super) fn reason(value: ValueRef<'_>) -> Option<Reason> {
    Reason::new(text(value)?).ok()
}

pub(super) fn time(value: ValueRef<'_>) -> Option<Timestamp> {
    Timestamp::from_millis(int(value)?).ok()
}

/// Versions are numbers of 64 bits without sign, columns with one: the upper half wraps around.
pub(super) fn version(value: ValueRef<'_>) -> Option<Version> {
    value.as_i64().ok().map(|number| Version::new(number.cast_unsigned()))
}

pub(super) fn set_by(value: ValueRef<'_>) -> Option<SetBy> {
    match value {
        ValueRef::Text(b"administrator") => Some(SetBy::Administrator),
        ValueRef::Text(b"owner") => Some(SetBy::Owner),
        _ => None,
    }
}

pub(super) fn set_by_text(set_by: SetBy) -> &'static str {
    match set_by {
        SetBy::Administrator => "administrator",
        SetBy::Owner => "owner",
    }
}

/// A time as it is stored.
pub(super) fn millis(at: Timestamp) -> i64 {
    // Not past the year 9999.
    at.as_millis().cast_signed()
}

/// A version as it is stored.
pub(super) fn number(version: Version) -> i64 {
    version.get().cast_signed()
}

/// A statement whose parameters are bound from left to right.
pub(super) struct Binder<'s, 'c> {
    statement: &'s mut CachedStatement<'c>,
    next: usize,
}

impl<'s, 'c> Binder<'s, 'c> {
    pub(super) fn new(statement: &'s mut CachedStatement<'c>) -> Self {
        Self { statement, next: 1 }
    }

    pub(super) fn put(&mut self, value: impl ToSql) -> Result<&mut Self, Fault> {
        self.statement.raw_bind_parameter(self.next, value)?;
        self.next += 1;
        Ok(self)
    }

    /// Three columns: since when, by whom, why.
    pub(super) fn switch(&mut self, switch: Option<&Switch>) -> Result<&mut Self, Fault> {
        self.put(switch.map(|switch| millis(switch.at)))?
            .put(switch.map(|switch| switch.by.as_str()))?
            .put(switch.and_then(|switch| switch.reason.as_ref()).map(Reason::as_str))
    }

    /// Runs it; how many rows it changed.
    pub(super) fn execute(&mut self) -> Result<usize, Fault> {
        Ok(self.statement.raw_execute()?)
    }

    pub(super) fn query(self) -> Rows<'s> {
        self.statement.raw_query()
    }
}
