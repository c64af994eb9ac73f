//! The record of an owner.

use super::{Lifetime, Limits, SettingNames, Settings, StoreMetadata, Switch, record};
use crate::authority::Actor;
use crate::clock::Timestamp;
use crate::id::{Incarnation, OwnerId, Version};
use crate::permission::Access;

/// The number of live keys that an owner may have by default.
pub const DEFAULT_MAX_KEYS: u32 = 1_000;

record! {
    /// The record of an owner: all that is stored of it.
    ///
    /// The fields that the verification index needs come first, as in a key's record.
    #[derive(Clone, Debug)]
    pub struct OwnerRecord {
        /// The service's own id for the owner.
        pub id: OwnerId,
        /// The most that its standard keys may do, whatever they say.
        pub max_access: Access,
        /// The administrator's switch: none of its keys is accepted.
        pub suspended: Option<Switch>,
        /// Tokens issued before this moment are superseded.
        pub tokens_valid_from: Option<Timestamp>,
        /// The limits on the use of all its keys together.
        pub limits: Limits,
        /// The number of changes, creation included.
        pub version: Version,
        /// What tells it from an earlier owner of this id. A replacement keeps it.
        pub incarnation: Incarnation,
        /// The settings of its keys where they have none of their own.
        pub defaults: Settings,
        /// The defaults that go over what its keys set themselves, unless an administrator has set
        /// it.
        pub fixed_defaults: SettingNames,
        /// The number of live keys it may have.
        pub max_keys: u32,
        /// The lifetime of its keys.
        pub lifetime: Lifetime,
        /// The moment of creation.
        pub created_at: Timestamp,
        /// The actor who created it.
        pub created_by: Actor,
        /// The moment of the last change.
        pub updated_at: Timestamp,
    }
}

impl OwnerRecord {
    /// Finds the moment from which tokens of its keys are valid: the later of its own and the
    /// store's.
    #[must_use]
    pub fn effective_tokens_valid_from(&self, store: &StoreMetadata) -> Option<Timestamp> {
        self.tokens_valid_from.max(store.tokens_valid_from)
    }
}
