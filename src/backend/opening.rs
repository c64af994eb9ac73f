//! Opening and creating, for every backend that keeps a database on a disk.

#[cfg(any(feature = "sled", feature = "sqlite"))]
use super::BackendErrorKind;

/// The outcome of opening or creating: whether a database was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Opened {
    /// There was none, or only the beginning of one that no store was ever created on. The store
    /// that is opened on it writes its records.
    Created,
    /// There was one.
    Existing,
}

/// The call that a caller made.
#[cfg(any(feature = "sled", feature = "sqlite"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intent {
    Create,
    Open,
    OpenOrCreate,
}

#[cfg(any(feature = "sled", feature = "sqlite"))]
impl Intent {
    /// The operation that an error names.
    pub(super) const fn operation(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Open => "open",
            Self::OpenOrCreate => "open or create",
        }
    }

    /// Judges what was found. The kind of the refusal says what to do instead.
    pub(super) fn judge(self, found: Opened) -> Result<(), BackendErrorKind> {
        match (self, found) {
            (Self::Create, Opened::Existing) => Err(BackendErrorKind::AlreadyExists),
            (Self::Open, Opened::Created) => Err(BackendErrorKind::Missing),
            _ => Ok(()),
        }
    }
}
