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
    /// The holder of the quota.
    pub(in crate::store) holder: Whose,
    /// The version of the quota.
    pub(in crate::store) since: Version,
    /// When the period ends.
    pub(in crate::store) void_from: Option<Timestamp>,
}

/// The holder of limits: a key, with its owner if that is known, or an owner.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) enum Whose {
    Key(KeyId, Option<OwnerRef>),
    Owner(OwnerRef),
}

/// An owner in the index, by its number. A number is used again when its owner is gone; so a reference that
/// outlasts a call says which use of the number it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct OwnerRef {
    pub(in crate::store) number: u32,
    /// The count of owners that have had the number, this one included. It comes round after 2^32.
    pub(in crate::store) given: u32,
}

impl ReservedUses {
    /// Returns the number of uses that are reserved.
    #[must_use]
    pub fn cost(&self) -> u32 {
        self.cost
    }

    /// Returns whether the quotas were this owner's and its key's, as far as is known.
    pub(in crate::store) fn is_of(&self, owner: OwnerRef) -> bool {
        self.quotas.iter().flatten().all(|quota| match quota.holder {
            Whose::Key(_, of) => of.is_none_or(|of| of == owner),
            Whose::Owner(of) => of == owner,
        })
    }
}
