//! The faults that a test injects: of which operations, when and how.

use crate::backend::BackendErrorKind;

/// A failure to come: of which operation, when and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The operations that count, and may fail.
    pub target: Target,
    /// The number of the first of them to fail, counted from now: 1 is the next.
    pub nth: u64,
    /// Before or after it takes effect.
    pub moment: Moment,
    /// Set if all later ones fail too.
    pub lasting: bool,
}

/// Operations that a [`Fault`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// All but `name`, `sharing`, `expected_keys` and `close`.
    Any,
    /// `commit`.
    Commits,
    /// Operations that change nothing, except `wait`.
    Reads,
    /// `recover`.
    Recoveries,
    /// `record_usage`.
    Usage,
    /// `wait`.
    Waits,
    /// `commit`, `prune_events` and `record_usage`.
    Writes,
}

/// The moment at which an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// After it has done its work, before it answers. A write fails with `OutcomeUnknown`; a read,
    /// a recovery and a wait fail with `Io`.
    After,
    /// Before it does anything, with an error of this kind. With `OutcomeUnknown`, the write is
    /// one that didn't take effect.
    Before(BackendErrorKind),
}

impl Target {
    pub(super) fn includes(self, other: Self) -> bool {
        let is_write = matches!(other, Self::Commits | Self::Usage);
        self == Self::Any || self == other || (self == Self::Writes && is_write)
    }
}
