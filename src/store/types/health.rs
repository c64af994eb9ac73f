//! The health of a store: whether it answers, and what an operator has to look at.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use serde::Serialize;

use super::clock::{ClockAhead, ClockBehindLog};
use super::error::Error;
use super::verify_error::Unavailable;
use super::views::Damaged;
use crate::backend::{BackendErrorKind, StorageHealth};
use crate::clock::Timestamp;

/// The health of a store. In a child that was forked with it, `unavailable` alone says something.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// The reason for which it can't answer, for all or for some keys. `None` if it is ready.
    pub unavailable: Option<Unavailable>,
    /// The age of its knowledge of other processes' changes. `None` if it has the database alone.
    pub staleness: Option<Duration>,
    /// Says that wall time has run ahead since the opening, so that the store removes nothing by
    /// itself. `None` if it hasn't.
    pub clock_ahead: Option<ClockAhead>,
    /// Says that wall time lies behind an event of the log. `None` if it doesn't.
    pub clock_behind_log: Option<ClockBehindLog>,
    /// The number of tokens in the index.
    pub tokens: usize,
    /// The newest event that the index reflects. `None` before the first.
    pub last_event: Option<LastEvent>,
    /// The durable writes of this process: changes, usage, leases of quotas, and pruning.
    pub writes: WorkHealth,
    /// The background threads, in the order in which they were started. A thread whose work is
    /// never needed, such as the recovery, has neither a success nor an error.
    pub threads: Vec<ThreadHealth>,
    /// The files of the database, and the room that is left for them.
    pub storage: StorageHealth,
    /// The damaged records, whose tokens are not accepted.
    pub damaged: Damaged,
}

/// The newest event that a store knows of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LastEvent {
    /// The number of the event.
    pub number: u64,
    /// The moment of the event, by the clock of the process that wrote it.
    pub at: Timestamp,
}

/// The health of a background thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ThreadHealth {
    /// The name of the thread, as the operating system has it: `keyhasp-recover`,
    /// `keyhasp-watch`, `keyhasp-refresh`, `keyhasp-usage`, `keyhasp-alerts`, `keyhasp-waits`,
    /// `keyhasp-leases`, `keyhasp-slots`, `keyhasp-sweeps` or `keyhasp-health`.
    pub name: &'static str,
    /// The results of its work.
    #[serde(flatten)]
    pub work: WorkHealth,
}

/// The results of work that is done again and again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WorkHealth {
    /// The moment at which it last succeeded, since the store was opened.
    pub last_success: Option<Timestamp>,
    /// The last error since the store was opened. It stays when the work succeeds again.
    pub last_error: Option<HealthError>,
    /// Whether the work has failed, and has not succeeded since.
    pub is_failing: bool,
}

/// An error of work that no caller waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HealthError {
    /// The moment of the error.
    pub at: Timestamp,
    /// The kind of the error.
    pub kind: HealthErrorKind,
    /// The text of the error. It shows no token, digest, pepper or SQL.
    pub text: String,
}

/// The kind of a [`HealthError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HealthErrorKind {
    /// The backend failed.
    Backend(BackendErrorKind),
    /// The work panicked, in the service's clock or in the backend for instance. The thread goes on
    /// after a pause. The panic's message is with the process's panic hook.
    Panic,
    /// The store refused.
    Store,
}

/// A reason for which an operator has to look at a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HealthProblem {
    /// Wall time has run ahead since the opening.
    ClockAhead,
    /// Wall time lies behind an event of the log.
    ClockBehindLog,
    /// Records are damaged.
    Damaged,
    /// The work of this background thread fails.
    Thread(&'static str),
    /// The store can't answer, for all or for some keys.
    Unavailable(Unavailable),
    /// Writes fail, with errors of this kind.
    Writes(BackendErrorKind),
}

impl Health {
    /// Returns whether the store answers for every key. A store that can't write is ready as long as
    /// it verifies: [`problems`](Self::problems) says so.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.unavailable.is_none()
    }

    /// Returns the reasons for which an operator has to look at the store, the gravest first. Empty
    /// if there is none.
    #[must_use]
    pub fn problems(&self) -> Vec<HealthProblem> {
        let unavailable = self.unavailable.map(HealthProblem::Unavailable);
        let writes = self.writes.last_error.as_ref().filter(|_| self.writes.is_failing);
        let writes = writes.and_then(|error| match error.kind {
            HealthErrorKind::Backend(kind) => Some(HealthProblem::Writes(kind)),
            HealthErrorKind::Panic | HealthErrorKind::Store => None,
        });
        let full = HealthProblem::Writes(BackendErrorKind::Full);
        let writes = writes.or(self.storage.lacks_room.then_some(full));
        let damaged = (self.damaged.records > 0).then_some(HealthProblem::Damaged);
        let behind = self.clock_behind_log.map(|_| HealthProblem::ClockBehindLog);
        let ahead = self.clock_ahead.map(|_| HealthProblem::ClockAhead);
        let threads = self.threads.iter().filter(|thread| thread.work.is_failing);
        let threads = threads.map(|thread| HealthProblem::Thread(thread.name));
        [unavailable, writes, damaged, behind, ahead].into_iter().flatten().chain(threads).collect()
    }
}

impl Display for HealthProblem {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClockAhead => f.write_str(
                "the clock has run ahead since the store was opened; set it, the store removes \
                 nothing by itself until then",
            ),
            Self::ClockBehindLog => f.write_str(
                "the clock lies behind the newest event; set it, expired keys are accepted until \
                 then",
            ),
            Self::Damaged => f.write_str(
                "records are damaged, and their tokens not accepted; `damaged` names their places",
            ),
            Self::Thread(name) => write!(
                f,
                "the work of the background thread {name} fails; its last error is in `threads`"
            ),
            Self::Unavailable(unavailable) => unavailable.fmt(f),
            Self::Writes(kind) => write!(
                f,
                "the store can't write: {kind}; its last error is in `writes`, and it is over with \
                 the next write that succeeds"
            ),
        }
    }
}

impl HealthErrorKind {
    pub(in crate::store) fn of(error: &Error) -> Self {
        match error {
            Error::Backend(error) | Error::OutcomeUnknown(error) => Self::Backend(error.kind()),
            _ => Self::Store,
        }
    }
}
