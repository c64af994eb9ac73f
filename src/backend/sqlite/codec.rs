//! The row codec: values to columns and back. A stored value is checked when it is read, since a
//! file can be damaged or edited.

use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, Row, Rows, ToSql};

use super::error::Fault;
use crate::key::{Field, Sink, Source};

/// A row that is read from left to right.
pub(super) struct RowReader<'r> {
    row: &'r Row<'r>,
    table: &'static str,
    next: usize,
}

impl<'r> RowReader<'r> {
    pub(super) fn new(row: &'r Row<'r>, table: &'static str) -> Self {
        Self { row, table, next: 0 }
    }

    /// Reads on from a column.
    pub(super) fn at(row: &'r Row<'r>, table: &'static str, column: usize) -> Self {
        Self { row, table, next: column }
    }

    /// Reads the next field, which may have several columns. A fault names `column`.
    // Inlined, since opening a large store does little more than read fields.
    #[inline]
    pub(super) fn field<T: Field>(&mut self, column: &'static str) -> Result<T, Fault> {
        T::get(column, self)
    }

    #[inline]
    fn value(&mut self) -> Result<ValueRef<'r>, Fault> {
        let value = self.row.get_ref(self.next)?;
        self.next += 1;
        Ok(value)
    }

    fn is_null(&self, column: usize) -> Result<bool, Fault> {
        Ok(matches!(self.row.get_ref(column)?, ValueRef::Null))
    }
}

impl Source for RowReader<'_> {
    type Error = Fault;

    const HAS_PLACES: bool = true;

    fn damaged(&self, column: &'static str) -> Fault {
        Fault::damaged(self.table, column)
    }

    /// Reads a number. SQLite's have a sign and 64 bits: the upper half of ours wraps around.
    #[inline]
    fn number(&mut self, column: &'static str) -> Result<u64, Fault> {
        match self.value()? {
            ValueRef::Integer(number) => Ok(number.cast_unsigned()),
            _ => Err(self.damaged(column)),
        }
    }

    #[inline]
    fn word(&mut self, column: &'static str, words: &[(u8, &str)]) -> Result<u8, Fault> {
        let found = self.text(column)?;
        let number = words.iter().find(|(_, word)| *word == found).map(|(number, _)| *number);
        number.ok_or_else(|| self.damaged(column))
    }

    #[inline]
    fn text(&mut self, column: &'static str) -> Result<&str, Fault> {
        match self.value()? {
            ValueRef::Text(text) => std::str::from_utf8(text).map_err(|_| self.damaged(column)),
            _ => Err(self.damaged(column)),
        }
    }

    #[inline]
    fn bytes(&mut self, column: &'static str) -> Result<&[u8], Fault> {
        match self.value()? {
            ValueRef::Blob(bytes) => Ok(bytes),
            _ => Err(self.damaged(column)),
        }
    }

    /// Reads an absent value as NULL in all of its columns.
    #[inline]
    fn option<T: Field>(&mut self, column: &'static str) -> Result<Option<T>, Fault> {
        if !self.is_null(self.next)? {
            return T::get(column, self).map(Some);
        }
        for other in self.next + 1..self.next + T::WIDTH {
            if !self.is_null(other)? {
                return Err(self.damaged(column));
            }
        }
        self.next += T::WIDTH;
        Ok(None)
    }

    /// Reads nothing: a list has rows in a table of its own.
    fn list<T: Field>(&mut self, _: &'static str, _: usize) -> Result<Vec<T>, Fault> {
        Ok(Vec::new())
    }
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

    /// Binds a value as it is.
    pub(super) fn put(&mut self, value: impl ToSql) -> Result<&mut Self, Fault> {
        self.statement.raw_bind_parameter(self.next, value)?;
        self.next += 1;
        Ok(self)
    }

    /// Binds the columns of a field.
    pub(super) fn put_field<T: Field>(&mut self, value: &T) -> Result<&mut Self, Fault> {
        value.put(self)?;
        Ok(self)
    }

    /// Runs the statement and counts the rows it changed.
    pub(super) fn execute(&mut self) -> Result<usize, Fault> {
        Ok(self.statement.raw_execute()?)
    }

    pub(super) fn query(self) -> Rows<'s> {
        self.statement.raw_query()
    }
}

impl Sink for Binder<'_, '_> {
    type Error = Fault;

    const HAS_PLACES: bool = true;

    fn number(&mut self, number: u64) -> Result<(), Fault> {
        self.put(number.cast_signed()).map(drop)
    }

    fn word(&mut self, _: u8, word: &'static str) -> Result<(), Fault> {
        self.put(word).map(drop)
    }

    fn text(&mut self, text: &str) -> Result<(), Fault> {
        self.put(text).map(drop)
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.put(bytes).map(drop)
    }

    fn option<T: Field>(&mut self, value: Option<&T>) -> Result<(), Fault> {
        match value {
            Some(value) => value.put(self),
            None => (0..T::WIDTH).try_for_each(|_| self.put(rusqlite::types::Null).map(drop)),
        }
    }

    /// Binds nothing: a list has rows in a table of its own.
    fn list<T: Field>(&mut self, _: &[T]) -> Result<(), Fault> {
        Ok(())
    }
}

/// Makes an `INSERT` of these columns and the id, with a parameter for each.
pub(super) fn insert_sql(table: &str, columns: &[String], id: &str) -> String {
    let marks = "?, ".repeat(columns.len());
    format!("INSERT INTO {table} ({}, {id}) VALUES ({marks}?)", columns.join(", "))
}

/// Makes an `UPDATE` of these columns in the row of an id, with a parameter for each.
pub(super) fn update_sql(table: &str, columns: &[String], id: &str) -> String {
    format!("UPDATE {table} SET {} = ? WHERE {id} = ?", columns.join(" = ?, "))
}
