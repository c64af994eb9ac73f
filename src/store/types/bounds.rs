//! The bounds that an owner puts on its keys.

use crate::key::{Kind, Limits, OwnerRecord};
use crate::permission::Access;

/// The part of an owner's record that bounds a key of it.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::store) struct Bounds {
    pub(in crate::store) max_access: Access,
    pub(in crate::store) limits: Limits,
}

impl Bounds {
    /// Gathers what bounds a key of this kind. A trial key may exceed its owner's maximum access.
    pub(in crate::store) fn of(kind: Kind, owner: &OwnerRecord) -> Self {
        let max_access = match kind {
            Kind::Standard => owner.max_access.clone(),
            Kind::Trial => Access::Full,
        };
        Self { max_access, limits: owner.limits.clone() }
    }
}
