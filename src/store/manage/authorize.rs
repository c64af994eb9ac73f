//! The caller of a management call, and what its authority allows. Authority is checked only here.

use crate::authority::{Authority, Role, Viewer};
use crate::backend::{Change, Precondition};
use crate::clock::Timestamp;
use crate::event::{EventDraft, EventKind, Fields};
use crate::id::{Generation, KeyId, OwnerId, Version};
use crate::key::{
    Expiry, KeyRecord, Kind, Limits, OwnerRecord, PrefixNumber, SetBy, StoreMetadata, Switch,
    ValidityInputs,
};
use crate::permission::Access;
use crate::store::engine::Engine;
use crate::store::types::error::{Error, ForbiddenReason, Resource};

/// The caller of one management call. Made for each call, so that it reflects the records of now.
#[derive(Debug)]
pub(in crate::store::manage) struct Principal<'a> {
    pub(in crate::store::manage) authority: &'a Authority,
    pub(in crate::store::manage) now: Timestamp,
    /// The key that the caller acts with.
    acting: Option<Acting>,
}

/// The key that a caller acts with, and the records on which the judgement of it rests.
#[derive(Debug)]
struct Acting {
    key: KeyRecord,
    owner: OwnerRecord,
    /// The version of the store's metadata.
    metadata: Version,
    /// Whether the presented token is the key's current one.
    is_current: bool,
    /// Whether the caller reaches no further than this key does.
    is_delegate: bool,
}

/// The reach of a key: what a delegate must not give beyond its acting key.
#[derive(Clone, Copy, Debug)]
pub(in crate::store::manage) struct KeyReach<'a> {
    pub(in crate::store::manage) access: &'a Access,
    pub(in crate::store::manage) limits: &'a Limits,
    /// `None` if the key never expires.
    pub(in crate::store::manage) expires_at: Option<Timestamp>,
    /// The prefix of the key's current token.
    pub(in crate::store::manage) prefix: PrefixNumber,
}

impl<'a> KeyReach<'a> {
    pub(in crate::store::manage) fn of(key: &'a KeyRecord) -> Self {
        let KeyRecord { access, limits, expires_at, current, .. } = key;
        Self { access, limits, expires_at: *expires_at, prefix: current.digest.prefix }
    }
}

impl Acting {
    /// Loads and judges the acting key, in the generation that the caller presented.
    fn new(
        engine: &Engine,
        role: &Role,
        (key, generation): (KeyId, Generation),
        now: Timestamp,
    ) -> Result<Self, Error> {
        let forbidden = |reason| Error::Forbidden(ForbiddenReason::ActingKeyRejected(reason));
        let is_delegate = matches!(role, Role::Delegate { .. });
        let key = engine.records.backend.key(key)?;
        // A service may let a key of one owner act as another owner, but never as a delegate.
        let key = key.filter(|key| !is_delegate || role.owner() == Some(&key.owner));
        let mut key = key.ok_or(forbidden(None))?;
        let mut owner = engine.records.backend.owner(&key.owner)?.ok_or(forbidden(None))?;
        let metadata = engine.records.metadata().metadata;
        let validity = validity_of(&key, &owner, &metadata, generation);
        let validity = validity.ok_or(forbidden(None))?;
        if let Some(reason) = validity.rejected_for(now) {
            return Err(forbidden(Some(reason)));
        }
        if !has_begun(&key, &owner, now) {
            return Err(Error::Forbidden(ForbiddenReason::ActingKeyNotYet));
        }
        let is_current = key.current.generation == generation;
        if is_delegate && key.kind == Kind::Trial {
            return Err(Error::Forbidden(ForbiddenReason::TrialKey));
        }
        // What it reaches may have been given under other names of the same permissions.
        for access in [&mut key.access, &mut owner.max_access] {
            *access = access.with_all_names(engine.records.catalogue());
        }
        Ok(Self { key, owner, metadata: metadata.version, is_current, is_delegate })
    }
}

impl<'a> Principal<'a> {
    /// Loads and judges a caller. The key that it acts with, in the generation that it presented,
    /// must be one that would verify now. No caller has the name of the store itself.
    pub(in crate::store::manage) fn new(
        engine: &Engine,
        authority: &'a Authority,
    ) -> Result<Self, Error> {
        let caller = Self::repeating(engine, authority)?;
        caller.check_token()?;
        Ok(caller)
    }

    /// Loads and judges a caller that may repeat a request, and so may have a previous token where
    /// the current one is asked for. Before it does anything else,
    /// [`check_token`](Self::check_token) must hold.
    pub(in crate::store::manage) fn repeating(
        engine: &Engine,
        authority: &'a Authority,
    ) -> Result<Self, Error> {
        engine.records.check_open()?;
        authority.actor.check_caller()?;
        let now = engine.records.now();
        let role = &authority.role;
        let acting = role.acting_token().map(|acting| Acting::new(engine, role, acting, now));
        Ok(Self { authority, now, acting: acting.transpose()? })
    }

    /// Checks that an owner that acts by a key does so with its current token, unless the service
    /// allows previous ones.
    pub(in crate::store::manage) fn check_token(&self) -> Result<(), Error> {
        let needs_current =
            matches!(self.authority.role, Role::OwnerByKey { previous_tokens: false, .. });
        if needs_current && self.acting.as_ref().is_some_and(|acting| !acting.is_current) {
            return Err(Error::Forbidden(ForbiddenReason::PreviousToken));
        }
        Ok(())
    }

    /// Returns whether the caller acts with this very key.
    pub(in crate::store::manage) fn acts_with(&self, key: KeyId) -> bool {
        self.acting.as_ref().is_some_and(|acting| acting.key.id == key)
    }

    /// Checks that the caller may replace a token that was lost: an administrator, or an owner,
    /// with a current token if it acts by a key.
    pub(in crate::store::manage) fn check_may_replace(&self) -> Result<(), Error> {
        match &self.acting {
            Some(acting) if acting.is_delegate => {
                Err(Error::Forbidden(ForbiddenReason::NotADelegate))
            }
            Some(acting) if !acting.is_current => {
                Err(Error::Forbidden(ForbiddenReason::PreviousToken))
            }
            _ => Ok(()),
        }
    }

    /// Returns the viewer of the answer.
    pub(in crate::store::manage) fn viewer(&self) -> Viewer {
        self.authority.role.viewer()
    }

    pub(in crate::store::manage) fn is_administrator(&self) -> bool {
        self.authority.role == Role::Administrator
    }

    pub(in crate::store::manage) fn is_delegate(&self) -> bool {
        self.delegating().is_some()
    }

    /// Returns the acting key of a delegate, which reaches no further than that key.
    fn delegating(&self) -> Option<&Acting> {
        self.acting.as_ref().filter(|acting| acting.is_delegate)
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

    /// Checks that a delegate's target key gives nothing beyond the acting key, which must be
    /// presented with its current token:
    ///
    /// - The target stays within the acting key's access and the owner's `max_access`.
    /// - It is limited at least as tightly as the acting key. Each key is counted for itself. The
    ///   owner's limits bound all keys of the owner together, those of a delegate included.
    /// - It doesn't expire later.
    /// - Its token has the prefix of the acting one.
    pub(in crate::store::manage) fn check_within(&self, reach: KeyReach<'_>) -> Result<(), Error> {
        let Some(Acting { key, owner, .. }) = self.delegating() else { return Ok(()) };
        self.check_current()?;
        let own = KeyReach::of(key);
        let has_access =
            reach.access.is_within(own.access) && reach.access.is_within(&owner.max_access);
        let outlasts = match (reach.expires_at, own.expires_at) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(target), Some(own)) => target > own,
        };
        let reason = if !has_access || !reach.limits.is_within(own.limits) {
            ForbiddenReason::BeyondActingKey
        } else if outlasts {
            ForbiddenReason::OutlastsActingKey
        } else if reach.prefix != own.prefix {
            ForbiddenReason::OtherPrefix
        } else {
            return Ok(());
        };
        Err(Error::Forbidden(reason))
    }

    /// Checks that a delegate presented the acting key's current token. A previous token, in its
    /// grace, may read; [`check_may_end`](Self::check_may_end) says what it may end.
    pub(in crate::store::manage) fn check_current(&self) -> Result<(), Error> {
        if self.delegating().is_none_or(|acting| acting.is_current) {
            Ok(())
        } else {
            Err(Error::Forbidden(ForbiddenReason::PreviousToken))
        }
    }

    /// Checks that the caller may deactivate or revoke a key: with a previous token only the acting
    /// key itself.
    pub(in crate::store::manage) fn check_may_end(&self, target: KeyId) -> Result<(), Error> {
        match self.delegating() {
            Some(acting) if acting.key.id == target => Ok(()),
            _ => self.check_current(),
        }
    }

    /// Returns the expiry of a new key for which none is requested.
    pub(in crate::store::manage) fn default_expiry(&self) -> Expiry {
        let acting = self.delegating().and_then(|acting| acting.key.expires_at);
        acting.map_or(Expiry::Never, Expiry::At)
    }

    /// Returns the number of the prefix that a delegate's new keys have.
    pub(in crate::store::manage) fn acting_prefix(&self) -> Option<PrefixNumber> {
        self.delegating().map(|acting| acting.key.current.digest.prefix)
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
        Switch::new(self.now, self.authority)
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

    /// Adds preconditions to the change of a caller that acts with a key: the acting key, its owner
    /// and the store's metadata, whose `tokens_valid_from` may end the acting token, still have
    /// their versions. So a rotation in between, which makes the acting token a previous one, has
    /// the call decide again.
    pub(in crate::store::manage) fn with_preconditions(&self, change: Change) -> Change {
        let Some(Acting { key, owner, metadata, .. }) = &self.acting else { return change };
        change
            .requiring(Precondition::StoreMetadata(*metadata))
            .requiring(Precondition::Key(key.id, key.version))
            .requiring(Precondition::Owner(owner.id, owner.version))
            .requiring(Precondition::Incarnation(owner.id, owner.incarnation))
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
    let invalidations = owner.invalidations(metadata);
    let (_, ends_at) =
        key.tokens(invalidations).find(|(token, _)| token.generation == generation)?;
    Some(ValidityInputs { suspended: owner.suspended.is_some(), ends_at, ..key.validity_inputs() })
}
