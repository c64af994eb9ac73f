//! The reasons for which a verification fails.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::key::RejectReason;

/// The reason for which a store can't answer now. It says nothing about the key or the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Unavailable {
    /// The store is closed.
    #[error("the store is closed; open it again")]
    Closed,
    /// A file of the database is missing or another one since it was opened, or another program has
    /// changed its records. `Error::Backend` of a management call says which.
    #[error(
        "the database is not as this process left it: a file is missing or replaced, or another \
         program has changed records; stop all processes that use it, put its files in their \
         places, and open it again"
    )]
    ForeignWriter,
    /// This process was forked after the store was opened.
    #[error("this process was forked after the store was opened; open the store after forking")]
    Forked,
    /// The record of the key or of its owner is damaged. [`Health`](super::health::Health) names the
    /// place.
    #[error(
        "the record of the key or of its owner is damaged; `health()` names the place, and an \
         administrator may revoke and purge the key"
    )]
    Damaged,
    /// This process has spent its lease of a quota, and no other has come in time
    /// ([`StoreBuilder::quota_wait`](crate::StoreBuilder::quota_wait)).
    #[error(
        "this process has spent its lease of a quota, and the backend gives it no other in time; \
         try again after {} ms", .retry_after.as_millis()
    )]
    Quota {
        /// The time after which trying again may help.
        retry_after: Duration,
    },
    /// The outcome of a change is indeterminate, and the store is finding it out.
    #[error("the store is finding out whether a change took effect; try again later")]
    Recovering,
    /// Another process changed the store's rules.
    #[error("another process changed the store's rules; open the store again with the new ones")]
    RulesChanged,
    /// The store has not read the changes of other processes within the backend's `max_staleness`.
    #[error(
        "the store has not read the changes of other processes within `max_staleness`; try again \
         later"
    )]
    Stale,
}

/// The reason for which a verification doesn't accept a token.
///
/// `Unrecognized` is the same answer for a malformed token, an unknown key and a wrong secret. A
/// caller learns the other reasons only after it has shown the right secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VerifyError {
    /// The secret was right, and the token is not accepted now.
    Rejected(RejectReason),
    /// The store can't answer. This says nothing about the token.
    Unavailable(Unavailable),
    /// The token is none of this store: malformed, of an unknown key, or with a wrong secret.
    Unrecognized,
}

impl Display for VerifyError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(reason) => reason.fmt(f),
            Self::Unavailable(unavailable) => unavailable.fmt(f),
            Self::Unrecognized => f.write_str("the token is not recognized"),
        }
    }
}

impl std::error::Error for VerifyError {}
