//! Who asks, and what that allows: the one place where authority is checked.

use crate::authority::{Authority, Role};
use crate::backend::{Change, Precondition};
use crate::clock::Timestamp;
use crate::event::{EventDraft, EventKind, Fields};
use crate::id::{Generation, KeyId, OwnerId, Version};
use crate::key::{
    KeyRecord, Kind, Limits, OwnerRecord, SetBy, StoreMetadata, Switch, ValidityInputs,
};
use crate::permission::Access;
use crate::store::engine::state::Core;
use crate::store::types::error::{Error, ForbiddenReason, Resource};

/// Somebody who asks for something, looked at afresh for each call.
#[derive(Debug)]
pub(in crate::store) struct Principal<'a> {
    pub(in crate::store) authority: &'a Authority,
    pub(in crate::store) now: Timestamp,
    /// The acting key, its owner and the version of the store's own record, if somebody acts with a
    /// key.
    acting: Option<(KeyRecord, OwnerRecord, Version)>,
}

impl<'a> Principal<'a> {
    /// Looks at who asks. The acting key of a delegate, with the generation it showed, must be one
    /// that would verify now.
    pub(in crate::store) fn new(core: &Core, authority: &'a Authority) -> Result<Self, Error> {
        core.check_open()?;
        let now = core.now();
        let acting = match authority.role {
            Role::Administrator | Role::Owner { .. } => None,
            Role::Delegate { owner, key, generation } => {
                let denied = |rejected_for| {
                    Error::Forbidden(ForbiddenReason::ActingKeyRejected(rejected_for))
                };
                let key = core.backend.key(key)?.filter(|key| key.owner == owner);
                let key = key.ok_or(denied(None))?;
                let owner = core.backend.owner(&owner)?.ok_or(denied(None))?;
                let metadata = core.metadata().metadata;
                let standing = standing_of(&key, &owner, &metadata, generation);
                let standing = standing.ok_or(denied(None))?;
                if let Some(rejected_for) = standing.rejected_for(now) {
                    return Err(denied(Some(rejected_for)));
                }
                if !has_begun(&key, &owner, now) {
                    return Err(Error::Forbidden(ForbiddenReason::ActingKeyNotYet));
                }
                if key.kind == Kind::Trial {
                    return Err(Error::Forbidden(ForbiddenReason::TrialKey));
                }
                Some((key, owner, metadata.version))
            }
        };
        Ok(Self { authority, now, acting })
    }

    pub(in crate::store) fn is_administrator(&self) -> bool {
        self.authority.role == Role::Administrator
    }

    pub(in crate::store) fn is_delegate(&self) -> bool {
        self.acting.is_some()
    }

    pub(in crate::store) fn require_administrator(&self) -> Result<(), Error> {
        if self.is_administrator() {
            Ok(())
        } else {
            Err(Error::Forbidden(ForbiddenReason::AdministratorOnly))
        }
    }

    /// What belongs to somebody else is not found.
    pub(in crate::store) fn reaches(&self, owner: &OwnerId) -> bool {
        self.authority.role.owner().is_none_or(|own| own == owner)
    }

    /// Loads a key in reach, with its owner.
    pub(in crate::store) fn load_key(
        &self,
        core: &Core,
        id: KeyId,
    ) -> Result<(KeyRecord, OwnerRecord), Error> {
        let key = core.backend.key(id)?.filter(|key| self.reaches(&key.owner));
        let key = key.ok_or(Error::NotFound(Resource::Key))?;
        let owner = core.backend.owner(&key.owner)?.ok_or(Error::NotFound(Resource::Key))?;
        Ok((key, owner))
    }

    /// Loads an owner in reach.
    pub(in crate::store) fn load_owner(
        &self,
        core: &Core,
        id: &OwnerId,
    ) -> Result<OwnerRecord, Error> {
        let owner = if self.reaches(id) { core.backend.owner(id)? } else { None };
        owner.ok_or(Error::NotFound(Resource::Owner))
    }

    /// A delegate's target must stay within what the acting key and its owner's maximum access allow, and
    /// be limited at least as tightly as the acting key: who may use a key here and so often
    /// doesn't get one for everywhere and always. Each key counts for itself; what bounds all keys
    /// of an owner together are the owner's limits, which hold for whatever a delegate makes.
    pub(in crate::store) fn check_within(
        &self,
        access: &Access,
        limits: &Limits,
    ) -> Result<(), Error> {
        let Some((key, owner, _)) = &self.acting else { return Ok(()) };
        let has_access = access.is_within(&key.access) && access.is_within(&owner.max_access);
        if has_access && limits.is_within(&key.limits) {
            Ok(())
        } else {
            Err(Error::Forbidden(ForbiddenReason::BeyondActingKey))
        }
    }

    /// What an administrator has set, others may narrow, never widen.
    pub(in crate::store) fn check_may_widen(
        &self,
        field: &'static str,
        set_by: SetBy,
    ) -> Result<(), Error> {
        match set_by {
            SetBy::Administrator if !self.is_administrator() => {
                Err(Error::Forbidden(ForbiddenReason::SetByAdministrator { field }))
            }
            _ => Ok(()),
        }
    }

    /// Who sets something: an owner that narrows what an administrator has set leaves it the
    /// administrator's.
    pub(in crate::store) fn set_by(&self, before: Option<SetBy>) -> SetBy {
        match before {
            Some(SetBy::Administrator) => SetBy::Administrator,
            _ if self.is_administrator() => SetBy::Administrator,
            _ => SetBy::Owner,
        }
    }

    /// A switch that this caller sets now.
    pub(in crate::store) fn switch(&self) -> Switch {
        Switch {
            at: self.now,
            by: self.authority.actor.clone(),
            reason: self.authority.reason.clone(),
        }
    }

    /// An event of this caller's, now.
    pub(in crate::store) fn event(
        &self,
        kind: EventKind,
        version: Version,
        fields: Fields,
    ) -> EventDraft {
        EventDraft {
            at: self.now,
            kind,
            owner: None,
            key: None,
            version,
            generation: None,
            fields,
            authority: self.authority.clone(),
        }
    }

    /// An event about a key.
    pub(in crate::store) fn key_event(
        &self,
        kind: EventKind,
        key: &KeyRecord,
        fields: Fields,
        generation: Option<Generation>,
    ) -> EventDraft {
        EventDraft {
            key: Some(key.id),
            owner: Some(key.owner),
            generation,
            ..self.event(kind, key.version, fields)
        }
    }

    /// An event about an owner.
    pub(in crate::store) fn owner_event(
        &self,
        kind: EventKind,
        owner: &OwnerRecord,
        fields: Fields,
    ) -> EventDraft {
        EventDraft { owner: Some(owner.id), ..self.event(kind, owner.version, fields) }
    }

    /// A change that holds only if a delegate's acting key and owner, and the store's issue mark,
    /// are still as they were.
    pub(in crate::store) fn with_preconditions(&self, change: Change) -> Change {
        let Some((key, owner, metadata)) = &self.acting else { return change };
        change
            .requiring(Precondition::StoreMetadata(*metadata))
            .requiring(Precondition::Key(key.id, key.version))
            .requiring(Precondition::Owner(owner.id, owner.version))
    }
}

/// Whether neither the key nor its owner is limited to a later time.
pub(in crate::store) fn has_begun(key: &KeyRecord, owner: &OwnerRecord, now: Timestamp) -> bool {
    let starts = [&key.limits, &owner.limits].map(|limits| limits.not_before.as_ref());
    starts.into_iter().flatten().all(|start| start.value <= now)
}

/// What decides on one generation of a key; `None` if it lives no more.
pub(in crate::store) fn standing_of(
    key: &KeyRecord,
    owner: &OwnerRecord,
    metadata: &StoreMetadata,
    generation: Generation,
) -> Option<ValidityInputs> {
    let mark = owner.effective_tokens_valid_from(metadata);
    let (_, ends_at) = key.tokens(mark).find(|(token, _)| token.generation == generation)?;
    Some(ValidityInputs { suspended: owner.suspended.is_some(), ends_at, ..key.validity_inputs() })
}
