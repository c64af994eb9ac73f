//! The error of a backend.

use std::error::Error;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Damage;

/// The kind of an error of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BackendErrorKind {
    /// A file or a database is in the place of one that was to be created.
    AlreadyExists,
    /// Another process, or another handle, has the database open in a way that excludes this one.
    AlreadyOpen,
    /// The backend was closed.
    Closed,
    /// The stored data is damaged.
    Corrupt,
    /// The database is in an earlier state than one that was durable, or a part of it is: its files
    /// are damaged, or an older copy was put in their place. A key may be valid there that was revoked.
    EarlierState,
    /// The engine is a version with known faults.
    EngineUnfit,
    /// The file is a database of another application.
    Foreign,
    /// The write-ahead log beside the database's file belongs to another file, or to the same one
    /// of another time: together they would show a mixture. Neither is touched.
    ForeignLog,
    /// A file of the database is missing or another one since it was opened, or another program has
    /// changed its records. This process commits nothing more: open the database again.
    ForeignWriter,
    /// No space is left.
    Full,
    /// Reading or writing failed.
    Io,
    /// An option of the opening is outside its limits.
    Invalid,
    /// `open` found no database: no file or directory, an empty one, or one on which no store was
    /// ever created. Its volume may not be mounted.
    Missing,
    /// The database lies on a network file system, which the options don't allow.
    NetworkFileSystem,
    /// The database was written by a newer version.
    Newer,
    /// There is something else where a database was expected: a file of another sort, a directory
    /// where a file should be, or a path in a directory that doesn't exist.
    NotADatabase,
    /// The database's file is missing or empty, and its write-ahead log is not: the log may be the
    /// only copy of the data. Neither is touched.
    OrphanedLog,
    /// It is unknown whether the change took effect. Nothing is committed before `recover`.
    OutcomeUnknown,
    /// The database can't be written to.
    ReadOnly,
    /// Another process held the database for too long; nothing happened.
    TimedOut,
    /// The database was written in a format from before the first release, which no version reads
    /// any more.
    Unreleased,
    /// The backend can't do this.
    Unsupported,
}

/// An error of a backend: kind, operation, the backend's name, the database's place if it has one,
/// and a source.
///
/// Nothing was changed, unless the kind is [`BackendErrorKind::OutcomeUnknown`]. Neither it nor
/// its sources show SQL, tokens, digests or stored values.
#[derive(Clone, Debug)]
pub struct BackendError {
    kind: BackendErrorKind,
    backend: &'static str,
    operation: &'static str,
    place: Option<Arc<Path>>,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl BackendError {
    /// An error of `backend` while doing `operation`.
    #[must_use]
    pub fn new(kind: BackendErrorKind, backend: &'static str, operation: &'static str) -> Self {
        Self { kind, backend, operation, place: None, source: None }
    }

    /// The same error, of the database in this place.
    #[must_use]
    pub fn at(mut self, place: &Path) -> Self {
        self.place = Some(Arc::from(place));
        self
    }

    /// The same with its source; the caller answers for what the source shows.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(Arc::from(source.into()));
        self
    }

    /// The same error for an operation of unknown outcome.
    #[must_use]
    pub fn of_unknown_outcome(self) -> Self {
        Self { kind: BackendErrorKind::OutcomeUnknown, ..self }
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> BackendErrorKind {
        self.kind
    }

    /// The backend's name.
    #[must_use]
    pub fn backend(&self) -> &'static str {
        self.backend
    }

    /// The place of the database: its file or directory.
    #[must_use]
    pub fn place(&self) -> Option<&Path> {
        self.place.as_deref()
    }

    /// An error of `backend` that met this damage while doing `operation`.
    pub(crate) fn damaged(backend: &'static str, operation: &'static str, damage: Damage) -> Self {
        Self::new(BackendErrorKind::Corrupt, backend, operation).with_source(damage)
    }

    /// The damaged record, if the error is about one.
    #[must_use]
    pub fn damage(&self) -> Option<&Damage> {
        self.source.as_deref()?.downcast_ref()
    }

    /// The operation that failed.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.operation
    }
}

impl fmt::Display for BackendErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AlreadyExists => {
                "a file is there already: open it with `open`, or name another place"
            }
            Self::AlreadyOpen => "the database is open elsewhere",
            Self::Closed => "the backend is closed",
            Self::Corrupt => "the stored data is damaged",
            Self::EarlierState => {
                "the database is in an earlier state than one that was durable, in which revoked keys \
                 may be valid"
            }
            Self::EngineUnfit => "the engine's version has known faults",
            Self::Foreign => "the file is not a database of keyhasp",
            Self::ForeignLog => {
                "the file and the `-wal` beside it don't belong together: put back the file that the \
                 `-wal` was written beside; or, to give up what the `-wal` holds, move it away"
            }
            Self::ForeignWriter => "the database is not as this process left it",
            Self::Full => "no space left",
            Self::Io => "reading or writing failed",
            Self::Invalid => "an option is outside its limits",
            Self::Missing => {
                "no database is there: its volume may not be mounted; to make a new database on \
                 purpose, call `create`"
            }
            Self::NetworkFileSystem => {
                "the database lies on a network file system, where another host sees neither its locks \
                 nor its shared memory: put it on a local disk"
            }
            Self::Newer => "the database was written by a newer version of keyhasp",
            Self::NotADatabase => "there is no database there",
            Self::OrphanedLog => {
                "the file is missing or empty, but the `-wal` beside it is not, and may hold the \
                 only copy of the data: mount the volume or put the file back from a backup, or \
                 move the `-wal` away to give up what it holds"
            }
            Self::OutcomeUnknown => "whether the change took effect is not known",
            Self::ReadOnly => "the database can't be written to",
            Self::Unreleased => {
                "the database has a format from before the first release; create a new one"
            }
            Self::Unsupported => "this backend can't do it",
            Self::TimedOut => "another process held the database for too long",
        })
    }
}

impl fmt::Display for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}: {}", self.backend, self.operation, self.kind)?;
        if let Some(place) = &self.place {
            write!(f, ": {}", place.display())?;
        }
        match &self.source {
            Some(source) => write!(f, " ({source})"),
            None => Ok(()),
        }
    }
}

impl Error for BackendError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
