//! The caller of a management call, and what its authority allows. Authority is checked only here.

use crate::authority::{Authority, Role};
use crate::backend::{Change, Precondition};
use crate::clock::Timestamp;
use crate::event::{EventDraft, EventKind, Fields};
use crate::id::{Generation, KeyId, OwnerId, Version};
use crate::key::{
    KeyRecord, Kind, Limits, OwnerRecord, SetBy, StoreMetadata, Switch, ValidityInputs,
};
use crate::permission::Access;
use crate::store::engine::Engine;
use crate::store::types::error::{Error, ForbiddenReason, Resource};

/// The caller of one management call. Made for each call, so that it reflects the records of now.
#[derive(Debug)]
pub(in crate::store::manage) struct Principal<'a> {
    pub(in crate::store::manage) authority: &'a Authority,
    pub(in crate::store::manage) now: Timestamp,
    /// A delegate's acting key, its owner, and the version of the store's metadata.
    acting: Option<(KeyRecord, OwnerRecord, Version)>,
}

impl<'a> Principal<'a> {
    /// Loads and judges a caller. A delegate's acting key, in the generation that the delegate
    /// presented, must be one that would verify now.
    pub(in crate::store::manage) fn new(
        engine: &Engine,
        authority: &'a Authority,
    ) -> Result<Self, Error> {
        engine.records.check_open()?;
        let now = engine.records.now();
        let acting = match authority.role {
            Role::Administrator | Role::Owner { .. } => None,
            Role::Delegate { owner, key, generation } => {
                let forbidden =
                    |reason| Error::Forbidden(ForbiddenReason::ActingKeyRejected(reason));
                let key = engine.records.backend.key(key)?.filter(|key| key.owner == owner);
                let key = key.ok_or(forbidden(None))?;
                let owner = engine.records.backend.owner(&owner)?.ok_or(forbidden(None))?;
                let metadata = engine.records.metadata().metadata;
                let validity = validity_of(&key, &owner, &metadata, generation);
                let validity = validity.ok_or(forbidden(None))?;
                if let Some(reason) = validity.rejected_for(now) {
                    return Err(forbidden(Some(reason)));
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

    pub(in crate::store::manage) fn is_administrator(&self) -> bool {
        self.authority.role == Role::Administrator
    }

    pub(in crate::store::manage) fn is_delegate(&self) -> bool {
        self.acting.is_some()
    }

    pub(in crate::store::manage) fn require_administrator(&self) -> Result<(), Error> {
        if self.is_administrator() {
            Ok(())
        } else {
            Err(Error::Forbidden(ForbiddenReason::AdministratorOnly))
        }
    }

    /// Returns whether the caller may see an owner's records. Those of other owners are not found.
    pub(in crate::store::manage) fn reaches(&self, owner: &OwnerId) -> bool {
        self.authority.role.owner().is_none_or(|own| own == owner)
    }

    /// Loads a key that the caller may see, with its owner.
    pub(in crate::store::manage) fn load_key(
        &self,
        engine: &Engine,
        id: KeyId,
    ) -> Result<(KeyRecord, OwnerRecord), Error> {
        let key = engine.records.backend.key(id)?.filter(|key| self.reaches(&key.owner));
        let key = key.ok_or(Error::NotFound(Resource::Key))?;
        let owner =
            engine.records.backend.owner(&key.owner)?.ok_or(Error::NotFound(Resource::Key))?;
        Ok((key, owner))
    }

    /// Loads an owner that the caller may see.
    pub(in crate::store::manage) fn load_owner(
        &self,
        engine: &Engine,
        id: &OwnerId,
    ) -> Result<OwnerRecord, Error> {
        let owner = if self.reaches(id) { engine.records.backend.owner(id)? } else { None };
        owner.ok_or(Error::NotFound(Resource::Owner))
    }

    /// Checks that a delegate's target key stays within the acting key's access and the owner's
    /// `max_access`, and is limited at least as tightly as the acting key. Otherwise a delegate
    /// whose key is limited could make itself a key without limits. Each key is counted for itself.
    /// The owner's limits bound all keys of the owner together, those of a delegate included.
    pub(in crate::store::manage) fn check_within(
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

    /// Checks that the caller may widen a field: only an administrator may widen what an
    /// administrator has set.
    pub(in crate::store::manage) fn check_may_widen(
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

    /// Returns the setter to record for a field. A field that an administrator has set stays the
    /// administrator's when an owner narrows it.
    pub(in crate::store::manage) fn set_by(&self, before: Option<SetBy>) -> SetBy {
        match before {
            Some(SetBy::Administrator) => SetBy::Administrator,
            _ if self.is_administrator() => SetBy::Administrator,
            _ => SetBy::Owner,
        }
    }

    /// Makes a switch that this caller sets now.
    pub(in crate::store::manage) fn switch(&self) -> Switch {
        Switch {
            at: self.now,
            by: self.authority.actor.clone(),
            reason: self.authority.reason.clone(),
        }
    }

    /// Makes an event of this caller, now.
    pub(in crate::store::manage) fn event(
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

    /// Makes an event about a key.
    pub(in crate::store::manage) fn key_event(
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

    /// Makes an event about an owner.
    pub(in crate::store::manage) fn owner_event(
        &self,
        kind: EventKind,
        owner: &OwnerRecord,
        fields: Fields,
    ) -> EventDraft {
        EventDraft { owner: Some(owner.id), ..self.event(kind, owner.version, fields) }
    }

    /// Adds preconditions to a delegate's change: the acting key, its owner and the store's
    /// metadata, whose `tokens_valid_from` may end the acting token, still have their versions.
    pub(in crate::store::manage) fn with_preconditions(&self, change: Change) -> Change {
        let Some((key, owner, metadata)) = &self.acting else { return change };
        change
            .requiring(Precondition::StoreMetadata(*metadata))
            .requiring(Precondition::Key(key.id, key.version))
            .requiring(Precondition::Owner(owner.id, owner.version))
    }
}

/// Returns whether neither the key nor its owner is limited to a later time.
pub(in crate::store::manage) fn has_begun(
    key: &KeyRecord,
    owner: &OwnerRecord,
    now: Timestamp,
) -> bool {
    let starts = [&key.limits, &owner.limits].map(|limits| limits.not_before.as_ref());
    starts.into_iter().flatten().all(|start| start.value <= now)
}

/// Returns the inputs that decide on one generation of a key; `None` if the key no longer has it.
pub(in crate::store::manage) fn validity_of(
    key: &KeyRecord,
    owner: &OwnerRecord,
    metadata: &StoreMetadata,
    generation: Generation,
) -> Option<ValidityInputs> {
    let valid_from = owner.effective_tokens_valid_from(metadata);
    let (_, ends_at) = key.tokens(valid_from).find(|(token, _)| token.generation == generation)?;
    Some(ValidityInputs { suspended: owner.suspended.is_some(), ends_at, ..key.validity_inputs() })
}
