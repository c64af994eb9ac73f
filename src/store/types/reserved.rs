//! The uses of quotas that a verification has reserved.

use crate::clock::Timestamp;
use crate::id::{KeyId, OwnerId, Version};

/// The uses that one verification took from the quotas of a key and its owner. A caller settles it
/// once, with what the work cost in the end.
#[derive(Debug)]
#[must_use = "a reservation that isn't settled stands as it is"]
pub struct ReservedUses {
    pub(in crate::store) key: KeyId,
    pub(in crate::store) owner: OwnerId,
    pub(in crate::store) cost: u32,
    /// The quotas from which they were taken: the key's, then its owner's.
    pub(in crate::store) quotas: ReservedQuotas,
}

/// The quotas of a key and of its owner from which uses were reserved.
pub(in crate::store) type ReservedQuotas = [Option<ReservedQuota>; 2];

/// A quota from which uses were reserved.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct ReservedQuota {
    /// The number of the owner in the index.
    pub(in crate::store) owner: u32,
    /// The version of the quota.
    pub(in crate::store) since: Version,
    /// When the period ends.
    pub(in crate::store) void_from: Option<Timestamp>,
}

impl ReservedUses {
    /// Returns the number of uses that are reserved.
    #[must_use]
    pub fn cost(&self) -> u32 {
        self.cost
    }
}
