//! The storage of records and events.
//!
//! [`Backend`] is the contract, [`Change`] what is committed, [`apply`] the one place where the
//! rules of a commit are decided, for every backend alike; [`apply_usage`] is the same for what was
//! used, which is kept beside the records. A [`BackendLayer`] is a backend around another one.
//! Code in this folder never sees a plaintext token.

mod apply;
mod apply_usage;
mod change;
mod contract;
mod error;
#[cfg(any(feature = "sled", feature = "sqlite"))]
mod file_lock;
mod layer;
mod memory;
mod notifier;
mod query;
mod scan;
#[cfg(feature = "sled")]
pub mod sled;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod transaction;
mod usage;

pub use apply::apply;
pub use apply_usage::apply_usage;
pub use change::{Applied, Change, Operation, Precondition, Rejection, Write, WriteKey};
pub use contract::{Backend, CommitOutcome, Sharing};
pub use error::{BackendError, BackendErrorKind};
pub use layer::{BackendCall, BackendCallKind, BackendLayer};
pub use memory::Memory;
pub use notifier::ChangeNotifier;
pub use query::{
    EventFilter, EventPage, EventQuery, KeyFilter, KeyPage, KeyPageQuery, OwnerPage,
    OwnerPageQuery, StateSet,
};
pub use scan::{Scanned, ScannedKey, ScannedOwner};
pub use transaction::{KeyCounts, Transaction};
pub use usage::{UsageChange, UsageOutcome, UsageSubject};
