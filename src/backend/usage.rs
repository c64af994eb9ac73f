//! Usage on its way into a backend.

use crate::clock::Timestamp;
use crate::id::{KeyId, OwnerId};
use crate::key::{Lease, LeaseRequest, Used};

/// The key or the owner that usage is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UsageSubject {
    /// A key.
    Key(KeyId),
    /// An owner, which has a quota alone.
    Owner(OwnerId),
}

/// One step of usage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UsageChange {
    /// Adds uses of a key. Does nothing where the key is gone.
    Add(KeyId, Used),
    /// Counts what was noted of a key at a time after `now` as noted now, by
    /// [`Used::settle`], and then forgets its last address if it was seen before a moment.
    Settle {
        /// The key.
        of: KeyId,
        /// The moment, by the clock of the process that settles.
        now: Timestamp,
        /// The moment before which an address is forgotten.
        forget_before: Timestamp,
    },
    /// Takes uses out of the quota that the key or owner has now, by
    /// [`VersionedQuota::lease`](crate::key::VersionedQuota::lease).
    Lease {
        /// The key or owner that has the quota.
        of: UsageSubject,
        /// The uses that the process holds and needs.
        request: LeaseRequest,
        /// The moment, by the clock of the process that asks.
        at: Timestamp,
    },
    /// Counts uses that were done already, also beyond what is left. Does nothing where there is no
    /// quota.
    Charge {
        /// The key or owner that has the quota.
        of: UsageSubject,
        /// The number of uses.
        uses: u64,
        /// The moment, by the clock of the process that counts them.
        at: Timestamp,
    },
    /// Puts unspent uses back, by [`VersionedQuota::refund`](crate::key::VersionedQuota::refund).
    /// Does nothing where the quota's count began later.
    GiveBack {
        /// The key or owner that has the quota.
        of: UsageSubject,
        /// The rest of the lease.
        lease: Lease,
        /// The moment, by the clock of the process that gives back.
        at: Timestamp,
    },
}

impl UsageChange {
    /// Whether a write with this waits for another process for a moment only, and is tried again:
    /// verifications of this process wait for it, or for the next one.
    pub(crate) fn is_brief(&self) -> bool {
        matches!(self, Self::Lease { .. } | Self::Charge { .. })
    }
}

/// The outcome of each step of a batch, in order: a lease for each step that asked for one of a key
/// or an owner that exists and has a quota; otherwise `None`.
pub type UsageOutcome = Vec<Option<Lease>>;
