//! The storage of records and events.
//!
//! A backend decides each commit inside one transaction of its database engine, by rules that are
//! the same for all backends. Code in this folder never sees a plaintext token.
//!
//! | room | contents |
//! | --- | --- |
//! | `contract` | [`Backend`]: what a backend does |
//! | `layer` | [`BackendLayer`]: a backend around another one |
//! | `change`, `usage` | the changes that it commits, and the usage that it records |
//! | `query`, `scan` | the pages that it returns, and what the verification index is loaded from |
//! | `transaction` | [`Transaction`]: a backend's state inside one commit |
//! | `apply`, `apply_usage` | the rules of a commit and of usage, on a transaction |
//! | `plan`, `plan_rules` | what a change does to each record; the rules that it must satisfy |
//! | `new_rules`, `retirement` | new rules, judged by the data; the tokens that a retired pepper ends |
//! | `swept`, `sweeping` | a transaction as pending sweeps show it; what a change binds or writes of one |
//! | `replaced` | a record before and after a change |
//! | `lapses` | expired keys that end in the change that needs their place or name |
//! | `damage`, `quarantines` | records that can't be what was written, and entries that lie over them |
//! | `finding`, `check` | the faults that a check finds, and what a repair did; the check by reading |
//! | `error`, `storage` | [`BackendError`]; [`StorageHealth`]: the files, and the room for them |
//! | `notifier` | [`ChangeNotifier`]: wakes callers that wait for a commit |
//! | `opening` | [`Opened`]: whether a database was there, or is made |
//! | `format`, `file_lock` | the number of the stored format, and the lock of a database |
//! | `open_file` | the identity of files that are open |
//! | `file_system` | whether a database lies on a network file system |
//! | `memory`, `sqlite`, `sled` | the backends |

mod apply;
mod apply_usage;
mod bound;
mod change;
mod check;
mod contract;
mod damage;
mod error;
#[cfg(any(feature = "sled", feature = "sqlite"))]
mod file_lock;
#[cfg(any(feature = "sled", feature = "sqlite"))]
mod file_system;
mod finding;
#[cfg(any(feature = "sled", feature = "sqlite"))]
mod format;
mod incarnations;
mod lapses;
mod layer;
mod memory;
mod new_rules;
mod notifier;
#[cfg(any(feature = "sled", feature = "sqlite"))]
mod open_file;
mod opening;
mod plan;
mod plan_rules;
mod quarantines;
mod query;
mod replaced;
mod requests;
mod retirement;
mod scan;
#[cfg(feature = "sled")]
pub mod sled;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod storage;
mod sweeping;
mod swept;
mod transaction;
mod usage;

pub use crate::key::KeyCounts;
pub use apply::apply;
pub use apply_usage::apply_usage;
pub use change::{
    AllWritten, Applied, Change, Once, Operation, PepperUse, PieceOf, Precondition, Rejection,
    Write, WriteKey,
};
pub use check::check_by_reading;
pub use contract::{Backend, CommitOutcome, Sharing};
pub(crate) use damage::quarantined;
pub use damage::{Damage, DamagedRecord, DamagedRow};
pub use error::{BackendError, BackendErrorKind};
pub use finding::{Finding, Repaired};
pub use layer::{BackendCall, BackendCallKind, BackendLayer};
pub use memory::Memory;
pub use notifier::ChangeNotifier;
pub use opening::Opened;
pub use query::{
    EventFilter, EventPage, EventQuery, KeyFilter, KeyPage, KeyPageQuery, OwnerPage,
    OwnerPageQuery, StateSet,
};
pub use scan::{Scanned, ScannedKey, ScannedOwner};
pub use storage::{BackupProgress, StorageHealth};
pub(crate) use swept::damaged_counts;
pub use transaction::Transaction;
pub use usage::{UsageChange, UsageOutcome, UsageSubject};
