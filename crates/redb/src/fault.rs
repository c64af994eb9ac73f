//! A failure of this backend, before it is known during which operation.

use std::error::Error;
use std::io::{self, ErrorKind};

use keyhasp::backend::{BackendError, BackendErrorKind, Damage};

/// The backend's name in errors and logs.
pub(crate) const NAME: &str = "redb";

/// A failure. Its source is a text of ours, or the operating system's; redb's own texts may show what
/// is stored.
#[derive(Debug)]
pub(crate) struct Fault {
    kind: BackendErrorKind,
    source: Box<dyn Error + Send + Sync>,
}

impl Fault {
    pub(crate) fn new(kind: BackendErrorKind, source: &'static str) -> Self {
        Self { kind, source: source.into() }
    }

    /// One record is damaged; the others can be read.
    pub(crate) fn damaged(damage: Damage) -> Self {
        Self { kind: BackendErrorKind::Corrupt, source: damage.into() }
    }

    /// Returns the damage, if this is about one record.
    pub(crate) fn damage(self) -> Result<Damage, Self> {
        self.source.downcast_ref::<Damage>().cloned().ok_or(self)
    }

    pub(crate) fn during(self, operation: &'static str) -> BackendError {
        BackendError::new(self.kind, NAME, operation).with_source(self.source)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                BackendErrorKind::Full
            }
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                BackendErrorKind::ReadOnly
            }
            ErrorKind::InvalidData => BackendErrorKind::Corrupt,
            _ => BackendErrorKind::Io,
        };
        let plain = match error.raw_os_error() {
            Some(number) => io::Error::from_raw_os_error(number),
            None => io::Error::from(error.kind()),
        };
        Self { kind, source: plain.into() }
    }
}

impl From<redb::Error> for Fault {
    fn from(error: redb::Error) -> Self {
        use redb::Error as E;
        match error {
            E::Io(error) => error.into(),
            E::DatabaseAlreadyOpen | E::LockProtocolMismatch => {
                Self::new(BackendErrorKind::AlreadyOpen, "another program has the file open")
            }
            E::UpgradeRequired(_) => {
                Self::new(BackendErrorKind::Unreleased, "the file is of an earlier redb")
            }
            E::PreviousIo => Self::new(BackendErrorKind::Io, "an earlier call on the file failed"),
            E::ValueTooLarge(_) => Self::new(BackendErrorKind::Full, "a record is over 3 GiB"),
            _ => Self::new(BackendErrorKind::Corrupt, "redb can't make sense of the file"),
        }
    }
}

/// Each of redb's calls has an error of its own, and each of them is a [`redb::Error`].
macro_rules! from {
    ($($error:ident)*) => {
        $(impl From<redb::$error> for Fault {
            fn from(error: redb::$error) -> Self {
                redb::Error::from(error).into()
            }
        })*
    };
}

from!(CommitError DatabaseError StorageError TableError TransactionError);
