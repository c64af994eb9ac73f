//! The record of an owner.

use super::{Limits, Settings, Switch};
use crate::authority::Actor;
use crate::clock::Timestamp;
use crate::id::{OwnerId, Version};
use crate::permission::Access;

/// How many unrevoked keys an owner may have unless told otherwise.
pub const DEFAULT_MAX_KEYS: u32 = 1_000;

/// All that is stored of an owner.
#[derive(Clone, Debug)]
pub struct OwnerRecord {
    /// The service's own id for it.
    pub id: OwnerId,
    /// Grows by one with each change.
    pub version: Version,
    /// What holds for its keys where they don't say otherwise.
    pub defaults: Settings,
    /// The administrator's switch: none of its keys is accepted.
    pub suspended: Option<Switch>,
    /// What its standard keys may do at most, whatever they say.
    pub max_access: Access,
    /// What all its keys together may use.
    pub limits: Limits,
    /// How many unrevoked keys it may have.
    pub max_keys: u32,
    /// Every token issued before this is superseded.
    pub tokens_valid_from: Option<Timestamp>,
    /// When it was created.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: Actor,
    /// When it was last changed.
    pub updated_at: Timestamp,
}
