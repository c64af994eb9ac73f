//! Errors of SQLite without its own words, which hold SQL.

use std::borrow::Cow;
use std::error::Error;
use std::{fmt, io};

use rusqlite::ffi;

use crate::backend::file_lock::LockFault;
use crate::backend::open_file::Strange;
use crate::backend::{BackendError, BackendErrorKind, Damage, DamagedRecord};

pub(super) const NAME: &str = "sqlite";

/// Stands for a column in the damage of a page that SQLite can't read.
pub(super) const PAGE: &str = "page";

/// A failure in this backend. It holds nothing that an error must not show.
#[derive(Debug)]
pub(super) enum Fault {
    /// A stored value is not what can have been written there.
    Damaged(Damage),
    /// Rows lie in another order than their table says.
    OutOfOrder,
    /// SQLite failed, with its extended result code.
    Engine(Code),
    /// SQLite can't make sense of these places, which the store can't do without.
    Unreadable(String),
    /// The database shows fewer events than were durable.
    Earlier { found: u64, durable: u64 },
    /// The database is not as this process left it.
    Foreign(String),
    /// Refused for a reason of our own.
    Refused { kind: BackendErrorKind, why: Cow<'static, str> },
    /// The operating system failed.
    System(io::Error),
}

/// A result code of SQLite, extended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Code(i32);

impl Code {
    /// The code without its extension.
    pub(super) fn primary(self) -> i32 {
        self.0 & 0xff
    }

    fn kind(self) -> BackendErrorKind {
        use BackendErrorKind as Kind;
        match self.primary() {
            _ if self.0 == ffi::SQLITE_IOERR_SHORT_READ => Kind::Corrupt,
            ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED | ffi::SQLITE_PROTOCOL => Kind::TimedOut,
            // The last five: the tables are not those of their version, or hold what can't be.
            ffi::SQLITE_CORRUPT
            | ffi::SQLITE_CONSTRAINT
            | ffi::SQLITE_ERROR
            | ffi::SQLITE_FORMAT
            | ffi::SQLITE_MISMATCH
            | ffi::SQLITE_SCHEMA => Kind::Corrupt,
            // The second: the log's index could not be made longer.
            _ if self.0 == ffi::SQLITE_IOERR_SHMSIZE => Kind::Full,
            ffi::SQLITE_FULL => Kind::Full,
            ffi::SQLITE_NOTADB => Kind::NotADatabase,
            ffi::SQLITE_AUTH | ffi::SQLITE_PERM | ffi::SQLITE_READONLY => Kind::ReadOnly,
            _ => Kind::Io,
        }
    }
}

impl Fault {
    pub(super) fn refused(kind: BackendErrorKind, why: impl Into<Cow<'static, str>>) -> Self {
        Self::Refused { kind, why: why.into() }
    }

    /// Damage in a row of which the reader doesn't know the id.
    pub(super) const fn damaged(table: &'static str, column: &'static str) -> Self {
        Self::Damaged(Damage::new(table, column, DamagedRecord::Unknown))
    }

    /// Names the record, if this is damage in a row of a table, or of the page on which it lies.
    pub(super) fn of(self, table: &'static str, record: DamagedRecord) -> Self {
        match self {
            Self::Damaged(damage) => Self::Damaged(Damage { record, ..damage }),
            fault if fault.is_corrupt() => Self::Damaged(Damage::new(table, PAGE, record)),
            other => other,
        }
    }

    /// SQLite can't make sense of a page.
    pub(super) const fn page() -> Self {
        Self::Engine(Code(ffi::SQLITE_CORRUPT))
    }

    /// Returns whether SQLite can't make sense of a page.
    pub(super) fn is_corrupt(&self) -> bool {
        matches!(self, Self::Engine(code) if code.primary() == ffi::SQLITE_CORRUPT)
    }

    /// Where no store was found, and events were durable, they are lost with the log.
    pub(super) fn or_earlier(self, durable: Option<u64>) -> Self {
        match durable.filter(|durable| *durable > 0) {
            Some(durable) if self.kind() == BackendErrorKind::Missing => {
                Self::Earlier { found: 0, durable }
            }
            _ => self,
        }
    }

    /// Returns whether another connection holds the database.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self, Self::Engine(code) if code.primary() == ffi::SQLITE_BUSY)
    }

    /// Returns whether there was no room for a file.
    pub(super) fn is_full(&self) -> bool {
        self.kind() == BackendErrorKind::Full
    }

    /// Returns whether a log can't be read, since its index can't be made.
    pub(super) fn is_without_index(&self) -> bool {
        matches!(self, Self::Engine(code) if code.primary() == ffi::SQLITE_CANTOPEN
            || code.0 == ffi::SQLITE_READONLY_CANTINIT)
    }

    pub(super) fn kind(&self) -> BackendErrorKind {
        match self {
            Self::Damaged(_) | Self::OutOfOrder | Self::Unreadable(_) => BackendErrorKind::Corrupt,
            Self::Earlier { .. } => BackendErrorKind::EarlierState,
            Self::Engine(code) => code.kind(),
            Self::Foreign(_) => BackendErrorKind::ForeignWriter,
            Self::Refused { kind, .. } => *kind,
            Self::System(source) => kind_of(source),
        }
    }

    /// Returns whether the file is no database, or not of this version.
    pub(super) fn is_no_database(&self) -> bool {
        match self {
            Self::Engine(code) => code.primary() == ffi::SQLITE_NOTADB,
            Self::Damaged(damage) => damage.column == "user_version",
            _ => false,
        }
    }

    pub(super) fn closed() -> Self {
        Self::refused(BackendErrorKind::Closed, "it was closed before")
    }

    /// The error that a caller gets, who asked for `operation`.
    pub(super) fn during(self, operation: &'static str) -> BackendError {
        let error = BackendError::new(self.kind(), NAME, operation);
        match self {
            Self::Damaged(damage) => error.with_source(damage),
            Self::OutOfOrder => error.with_source("rows of a table are out of order"),
            Self::Engine(code) => error.with_source(code),
            Self::Unreadable(places) => error.with_source(format!(
                "{places}; put back a backup, or rescue what can be read (`A damaged page` in \
                 docs/operations.md): sqlite3 FILE .dump"
            )),
            Self::Earlier { found, durable } => error.with_source(format!(
                "it ends with event {found} of {durable}: FILE-wal is damaged, or is another \
                 database's; put back a backup, or remove FILE.lock to go on from the earlier state"
            )),
            Self::Foreign(why) => error.with_source(why),
            Self::Refused { kind: BackendErrorKind::Closed, .. } => error,
            Self::Refused { why, .. } => error.with_source(why),
            Self::System(source) => error.with_source(source),
        }
    }
}

/// Shows damage in a row in place of its record. Any other fault stays one.
pub(super) fn or_damage<R>(
    read: Result<R, Fault>,
    record: DamagedRecord,
) -> Result<Result<R, Damage>, Fault> {
    match read {
        Ok(read) => Ok(Ok(read)),
        Err(Fault::Damaged(damage)) => Ok(Err(Damage { record, ..damage })),
        Err(fault) => Err(fault),
    }
}

/// Returns whether an error is of a row or a page that can't be read, so that it is no error of other
/// rows.
pub(super) fn is_of_damage(error: &BackendError) -> bool {
    let code = error.source().and_then(|source| source.downcast_ref::<Code>());
    error.damage().is_some() || code.is_some_and(|code| code.primary() == ffi::SQLITE_CORRUPT)
}

fn kind_of(error: &io::Error) -> BackendErrorKind {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            BackendErrorKind::ReadOnly
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::NotFound => BackendErrorKind::NotADatabase,
        io::ErrorKind::QuotaExceeded | io::ErrorKind::StorageFull => BackendErrorKind::Full,
        _ => BackendErrorKind::Io,
    }
}

impl From<rusqlite::Error> for Fault {
    /// Keeps the code alone: both the text and the Display of rusqlite's error can hold SQL.
    fn from(error: rusqlite::Error) -> Self {
        let code = match error {
            rusqlite::Error::SqliteFailure(error, _)
            | rusqlite::Error::SqlInputError { error, .. } => error.extended_code,
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::QueryReturnedNoRows
            | rusqlite::Error::StatementChangedRows(_)
            | rusqlite::Error::Utf8Error(..) => ffi::SQLITE_MISMATCH,
            _ => ffi::SQLITE_MISUSE,
        };
        Self::Engine(Code(code))
    }
}

impl From<Strange> for Fault {
    fn from(strange: Strange) -> Self {
        Self::Foreign(strange.to_string())
    }
}

impl From<LockFault> for Fault {
    fn from(fault: LockFault) -> Self {
        match fault {
            LockFault::Denied(why) => Self::refused(BackendErrorKind::ReadOnly, why),
            LockFault::System(error) => error.into(),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl Error for Code {}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |code| NAMES.iter().find(|(known, _)| *known == code).map(|(_, name)| *name);
        match name(self.0).or_else(|| name(self.primary())) {
            Some(name) => write!(f, "{name}, {}", self.0)?,
            None => write!(f, "result code {}", self.0)?,
        }
        // SQLite doesn't say where. A check names the page, if the list of tables can be read.
        if self.kind() == BackendErrorKind::Corrupt {
            f.write_str(
                ": a page, or the list of tables in sqlite_schema, is damaged; put back a backup, or \
                 rescue what can be read (`A damaged page` in docs/operations.md): sqlite3 FILE .dump",
            )?;
        }
        Ok(())
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Code({self})")
    }
}

/// Pairs of a code and its own name.
macro_rules! names {
    ($($name:ident)*) => { &[$((ffi::$name, stringify!($name))),*] };
}

/// The codes that can be met here. An extended code without a name goes by its primary one.
const NAMES: &[(i32, &str)] = names! {
    SQLITE_AUTH SQLITE_BUSY SQLITE_BUSY_RECOVERY SQLITE_BUSY_SNAPSHOT SQLITE_BUSY_TIMEOUT
    SQLITE_CANTOPEN SQLITE_CANTOPEN_FULLPATH SQLITE_CANTOPEN_ISDIR SQLITE_CANTOPEN_SYMLINK
    SQLITE_CONSTRAINT SQLITE_CONSTRAINT_CHECK SQLITE_CONSTRAINT_DATATYPE
    SQLITE_CONSTRAINT_NOTNULL SQLITE_CONSTRAINT_PRIMARYKEY SQLITE_CONSTRAINT_ROWID
    SQLITE_CONSTRAINT_UNIQUE SQLITE_CORRUPT SQLITE_CORRUPT_INDEX SQLITE_ERROR SQLITE_FORMAT
    SQLITE_FULL SQLITE_INTERNAL SQLITE_INTERRUPT SQLITE_IOERR SQLITE_IOERR_ACCESS
    SQLITE_IOERR_CLOSE SQLITE_IOERR_CORRUPTFS SQLITE_IOERR_DELETE SQLITE_IOERR_DIR_FSYNC
    SQLITE_IOERR_FSTAT SQLITE_IOERR_FSYNC SQLITE_IOERR_LOCK SQLITE_IOERR_NOMEM
    SQLITE_IOERR_RDLOCK SQLITE_IOERR_READ SQLITE_IOERR_SEEK SQLITE_IOERR_SHMLOCK
    SQLITE_IOERR_SHMMAP SQLITE_IOERR_SHMOPEN SQLITE_IOERR_SHMSIZE SQLITE_IOERR_SHORT_READ
    SQLITE_IOERR_TRUNCATE SQLITE_IOERR_UNLOCK SQLITE_IOERR_WRITE SQLITE_LOCKED SQLITE_MISMATCH
    SQLITE_MISUSE SQLITE_NOLFS SQLITE_NOMEM SQLITE_NOTADB SQLITE_NOTFOUND SQLITE_PERM
    SQLITE_PROTOCOL SQLITE_RANGE SQLITE_READONLY SQLITE_READONLY_CANTINIT
    SQLITE_READONLY_CANTLOCK SQLITE_READONLY_DBMOVED SQLITE_READONLY_DIRECTORY
    SQLITE_READONLY_RECOVERY SQLITE_READONLY_ROLLBACK SQLITE_SCHEMA SQLITE_TOOBIG
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_their_kinds() {
        let table = [
            (ffi::SQLITE_BUSY_SNAPSHOT, BackendErrorKind::TimedOut),
            (ffi::SQLITE_CORRUPT_INDEX, BackendErrorKind::Corrupt),
            (ffi::SQLITE_IOERR_SHORT_READ, BackendErrorKind::Corrupt),
            (ffi::SQLITE_IOERR_FSYNC, BackendErrorKind::Io),
            (ffi::SQLITE_FULL, BackendErrorKind::Full),
            (ffi::SQLITE_READONLY_DIRECTORY, BackendErrorKind::ReadOnly),
            (ffi::SQLITE_NOTADB, BackendErrorKind::NotADatabase),
            (ffi::SQLITE_NOMEM, BackendErrorKind::Io),
        ];
        for (code, kind) in table {
            assert_eq!(Fault::Engine(Code(code)).during("test").kind(), kind, "{code}");
        }
    }

    #[test]
    fn a_source_is_a_code_and_its_name() {
        let shown = |code| Fault::Engine(Code(code)).during("test").to_string();
        assert!(shown(778).ends_with("(SQLITE_IOERR_WRITE, 778)"), "{}", shown(778));
        // Extended codes of times to come go by their primary one.
        assert!(shown(10 | 99 << 8).ends_with("(SQLITE_IOERR, 25354)"));
        assert!(shown(250).ends_with("(result code 250)"));
    }

    #[test]
    fn no_word_of_the_engine_is_kept() {
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        let canary = "SELECT canary FROM (SELECT 1 AS nowhere)";
        let raw = connection.prepare(canary).unwrap_err();
        assert!(raw.to_string().contains("canary"));
        let error = Fault::from(raw).during("test");
        let source = error.source().unwrap();
        for shown in [format!("{error} {error:?}"), format!("{source} {source:?}")] {
            assert!(!shown.contains("canary") && !shown.contains("nowhere"), "{shown}");
        }
    }
}
