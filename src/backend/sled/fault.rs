//! A failure in this backend, before it is known during which operation.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::trees::Tree;
use crate::backend::file_lock::LockFault;
use crate::backend::open_file::Strange;
use crate::backend::{BackendError, BackendErrorKind, Damage, DamagedRecord, quarantined};
use crate::id::KeyId;

/// The backend's name in errors and logs.
pub(super) const NAME: &str = "sled";

/// The way out of damage that sled can't step over.
const PUT_BACK: &str = "; put back a copy of DIR and DIR.lock that was made while it was closed";

/// A failure of this backend. Its source is a text of ours or of the operating system, never
/// sled's own: that may show keys, values and paths.
#[derive(Debug)]
pub(super) struct Fault {
    kind: BackendErrorKind,
    source: Box<dyn Error + Send + Sync>,
    /// If it is about one stored value, so that others can be read: where in it the damage lies.
    of_value: Option<&'static str>,
}

impl Fault {
    pub(super) fn new(
        kind: BackendErrorKind,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self { kind, source: source.into(), of_value: None }
    }

    /// A stored value isn't what can have been written there.
    pub(super) fn damaged(what: &'static str) -> Self {
        Self { of_value: Some("record"), ..Self::unreadable(what) }
    }

    /// The database as a whole is damaged.
    fn unreadable(what: &'static str) -> Self {
        Self::new(BackendErrorKind::Corrupt, what)
    }

    /// Names the record, if this is damage of a stored value.
    pub(super) fn of(self, tree: Tree, record: DamagedRecord) -> Self {
        match self.damage(tree, record) {
            Ok(damage) => Self { source: damage.into(), ..Self::damaged("") },
            Err(fault) => fault,
        }
    }

    /// Returns the place of the damage, if this is damage of a stored value.
    pub(super) fn damage(self, tree: Tree, record: DamagedRecord) -> Result<Damage, Self> {
        match self.source.downcast_ref::<Damage>() {
            Some(damage) => Ok(damage.clone()),
            None => match self.of_value {
                Some(column) => Ok(Damage::new(tree.name(), column, record)),
                None => Err(self),
            },
        }
    }

    /// A key is under quarantine.
    pub(super) fn quarantined(id: KeyId) -> Self {
        Self { source: quarantined(id).into(), ..Self::damaged("") }
    }

    /// There are fewer batches than were durable.
    pub(super) fn earlier(found: u64, durable: u64) -> Self {
        let what = format!("it has {found} of {durable} batches");
        Self::of_lost_writes(&what, "; to go on from the earlier state, remove DIR.lock")
    }

    /// A tree has other entries than were written.
    pub(super) fn lost(tree: Tree) -> Self {
        Self::of_lost_writes(&format!("entries of `{}` are lost", tree.name()), "")
    }

    fn of_lost_writes(what: &str, otherwise: &str) -> Self {
        let source =
            format!("{what}: sled drops what follows damage in its log{PUT_BACK}{otherwise}");
        Self { kind: BackendErrorKind::EarlierState, source: source.into(), of_value: None }
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
        let source = strange.to_string().into();
        Self { kind: BackendErrorKind::ForeignWriter, source, of_value: None }
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
        Self { kind, source: plain.into(), of_value: None }
    }
}

impl From<::sled::Error> for Fault {
    fn from(error: ::sled::Error) -> Self {
        use ::sled::Error as E;
        match error {
            E::Io(error) => error.into(),
            E::Corruption { at, .. } => Self {
                kind: BackendErrorKind::Corrupt,
                source: match at {
                    Some(at) => {
                        format!("sled found damage in its data file `db`, at {at}{PUT_BACK}").into()
                    }
                    None => format!("sled found damage in its files{PUT_BACK}").into(),
                },
                of_value: Some("page"),
            },
            E::Unsupported(_) => Self::unreadable("sled refuses its own configuration"),
            E::CollectionNotFound(_) => Self::unreadable("a tree is missing"),
            E::ReportableBug(_) => Self::unreadable("sled met a state that it rules out"),
        }
    }
}

/// Runs a call into sled. sled asserts where it finds its files other than it left them: such a
/// panic ends here, as damage.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, ::sled::Error>) -> Result<T, Fault> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(Fault::from),
        Err(_) => {
            let what = format!("sled panicked: its files are not as it left them{PUT_BACK}");
            Err(Fault::new(BackendErrorKind::Corrupt, what))
        }
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
