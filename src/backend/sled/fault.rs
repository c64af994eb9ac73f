//! A failure in this backend, before it is known during which operation.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::backend::file_lock::LockFault;
use crate::backend::open_file::Strange;
use crate::backend::{BackendError, BackendErrorKind};

/// The backend's name in errors and logs.
pub(super) const NAME: &str = "sled";

/// A failure of this backend. Its source is a text of ours or of the operating system, never
/// sled's own: that may show keys, values and paths.
#[derive(Debug)]
pub(super) struct Fault {
    kind: BackendErrorKind,
    source: Box<dyn Error + Send + Sync>,
}

impl Fault {
    pub(super) fn new(
        kind: BackendErrorKind,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self { kind, source: source.into() }
    }

    pub(super) fn damaged(what: &'static str) -> Self {
        Self::new(BackendErrorKind::Corrupt, what)
    }

    pub(super) fn newer(what: &'static str) -> Self {
        Self::new(BackendErrorKind::Newer, what)
    }

    /// Nothing is done before a recovery.
    pub(super) fn unsure() -> Self {
        let text = "the outcome of an earlier commit is not known: recover first";
        Self::new(BackendErrorKind::Io, text)
    }

    pub(super) fn kind(&self) -> BackendErrorKind {
        self.kind
    }

    /// The error to show, now that the operation is known.
    pub(super) fn during(self, operation: &'static str) -> BackendError {
        BackendError::new(self.kind, NAME, operation).with_source(self.source)
    }
}

impl From<Strange> for Fault {
    fn from(strange: Strange) -> Self {
        Self { kind: BackendErrorKind::ForeignWriter, source: strange.to_string().into() }
    }
}

impl From<LockFault> for Fault {
    fn from(fault: LockFault) -> Self {
        match fault {
            LockFault::Denied(why) => Self::new(BackendErrorKind::ReadOnly, why),
            LockFault::System(error) => error.into(),
        }
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
            _ => BackendErrorKind::Io,
        };
        // Rebuilt from its number or kind: its other texts may not be the system's own words.
        let plain = match error.raw_os_error() {
            Some(number) => io::Error::from_raw_os_error(number),
            None => io::Error::from(error.kind()),
        };
        Self { kind, source: plain.into() }
    }
}

impl From<::sled::Error> for Fault {
    fn from(error: ::sled::Error) -> Self {
        use ::sled::Error as E;
        match error {
            E::Io(error) => error.into(),
            E::Corruption { .. } => Self::damaged("sled found damage in its files"),
            E::Unsupported(_) => Self::damaged("sled refuses its own configuration"),
            E::CollectionNotFound(_) => Self::damaged("a tree is missing"),
            E::ReportableBug(_) => Self::damaged("sled met a state that it rules out"),
        }
    }
}

/// Runs a call into sled. sled asserts where it finds its files other than it left them: such a
/// panic ends here, as damage.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, ::sled::Error>) -> Result<T, Fault> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(Fault::from),
        Err(_) => Err(Fault::damaged("sled panicked: its files are not as it left them")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_sleds_own_words_is_shown() {
        let secret = "canary";
        let faults: Vec<Fault> = vec![
            ::sled::Error::Io(io::Error::new(ErrorKind::StorageFull, secret)).into(),
            ::sled::Error::Io(io::Error::other(secret)).into(),
            ::sled::Error::Unsupported(secret.into()).into(),
            ::sled::Error::ReportableBug(secret.into()).into(),
            ::sled::Error::CollectionNotFound(secret.as_bytes().into()).into(),
            guarded::<()>(|| panic!("{secret}")).unwrap_err(),
        ];
        let kinds: Vec<_> = faults.iter().map(Fault::kind).collect();
        use BackendErrorKind::{Corrupt, Full, Io};
        assert_eq!(kinds, [Full, Io, Corrupt, Corrupt, Corrupt, Corrupt]);
        for fault in faults {
            let error = fault.during("test");
            assert!(!format!("{error} {error:?}").contains(secret), "{error:?}");
        }
    }
}
