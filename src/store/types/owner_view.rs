//! An owner, as answers show it.

use serde::Serialize;

use crate::authority::{Actor, Viewer};
use crate::clock::Timestamp;
use crate::id::{Incarnation, OwnerId, Version};
use crate::key::{Lifetime, Limits, OwnerRecord, SettingNames, Settings, Switch, Tags};
use crate::permission::Access;

/// An owner at the time of the answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Owner {
    /// The service's own id of the owner.
    pub id: OwnerId,
    /// The default settings of its keys. A key's own settings go over them.
    pub defaults: Settings,
    /// The defaults that its keys can't override, unless an administrator does.
    pub fixed_defaults: SettingNames,
    /// The suspension by an administrator, if any.
    pub suspended: Option<Switch>,
    /// The access that cuts that of its standard keys.
    pub max_access: Access,
    /// The limits of all its keys together.
    pub limits: Limits,
    /// The greatest number of unrevoked keys.
    pub max_keys: u32,
    /// The lifetime of its keys. That of the store's rules holds beside it.
    pub lifetime: Lifetime,
    /// Every token that was issued before this moment is superseded.
    pub tokens_valid_from: Option<Timestamp>,
    /// The tags, by which lists find the owner. Administrators alone see them (an event tells that they changed): to others this is
    /// empty.
    pub tags: Tags,
    /// The moment of creation.
    pub created_at: Timestamp,
    /// The actor that created it. An owner sees `administrator` in place of an administrator's name.
    pub created_by: Actor,
    /// The moment of the last change.
    pub updated_at: Timestamp,
    /// The version, which grows by one with each change.
    pub version: Version,
    /// The number that tells it from an earlier owner of this id, which was purged.
    pub incarnation: Incarnation,
}

impl Owner {
    /// Shows an owner's record to a viewer.
    pub(in crate::store) fn new(owner: OwnerRecord, viewer: Viewer) -> Self {
        let OwnerRecord {
            id,
            version,
            incarnation,
            defaults,
            fixed_defaults,
            suspended,
            max_access,
            limits,
            max_keys,
            lifetime,
            tokens_valid_from,
            sweeps: _,
            created_at,
            created_by,
            updated_at,
            tags,
        } = owner;
        Self {
            id,
            defaults,
            fixed_defaults,
            suspended: suspended.map(|switch| switch.shown_to(viewer)),
            max_access,
            limits,
            max_keys,
            lifetime,
            tokens_valid_from: tokens_valid_from.and_then(|from| from.shown()),
            tags: if viewer == Viewer::Administrator { tags } else { Tags::default() },
            created_at,
            // Only administrators create owners.
            created_by: created_by.shown_to(viewer, true),
            updated_at,
            version,
            incarnation,
        }
    }
}
