//! Authority: the calls that each caller may make.

use keyhasp::authority::{Authority, Role};
use keyhasp::id::{KeyId, OwnerId};
use keyhasp::key::{Kind, SetBy};
use keyhasp::store::{ForbiddenReason, Resource};

use super::access::Reach;
use super::limits::LimitsFile;
use super::reason::Reason;
use super::records::{KeyFile, OwnerFile};
use super::state::{Decided, Model};

/// The caller of a call.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) by: Authority,
    pub(super) is_admin: bool,
    /// The only owner that the caller may see; `None` for all owners.
    pub(super) owner: Option<OwnerId>,
    /// The bounds of a delegate: the acting key's access, and its owner's `max_access`.
    pub(super) bounds: Vec<Reach>,
    /// The acting key's limits.
    pub(super) acting: Option<LimitsFile>,
}

impl Model {
    /// Judges a caller. An acting key, in the generation that was presented, must be one that would
    /// verify now.
    pub(super) fn caller(&self, by: &Authority) -> Decided<Caller> {
        let caller = |owner, bounds, acting| Caller {
            by: by.clone(),
            is_admin: by.role == Role::Administrator,
            owner,
            bounds,
            acting,
        };
        match by.role {
            Role::Administrator => Ok(caller(None, Vec::new(), None)),
            Role::Owner { owner } => Ok(caller(Some(owner), Vec::new(), None)),
            Role::Delegate { owner, key, generation } => {
                let rejected_for = |rejected_for| {
                    vec![Reason::Forbidden(ForbiddenReason::ActingKeyRejected(rejected_for))]
                };
                let Some(key) = self.keys.get(&key).filter(|key| key.owner == owner) else {
                    return Err(rejected_for(None));
                };
                let tokens = key.tokens();
                let token = tokens.iter().find(|token| token.generation() == generation);
                let Some(token) = token else { return Err(rejected_for(None)) };
                let owner = &self.owners[&owner];
                let reason = key.rejected_for(owner, token, self.mark_of(owner), self.now);
                if reason.is_some() {
                    return Err(rejected_for(reason));
                }
                if key.begins(owner, self.now).is_some() {
                    return Err(vec![Reason::Forbidden(ForbiddenReason::ActingKeyNotYet)]);
                }
                if key.kind == Kind::Trial {
                    return Err(vec![Reason::Forbidden(ForbiddenReason::TrialKey)]);
                }
                let bounds = vec![key.access.clone(), owner.max_access.clone()];
                Ok(caller(Some(owner.id), bounds, Some(key.limits.clone())))
            }
        }
    }

    /// Returns a key that the caller may see. Another owner's key is not found.
    pub(super) fn key_in_reach(&self, caller: &Caller, id: KeyId) -> Decided<&KeyFile> {
        let key = self.keys.get(&id).filter(|key| caller.reaches(key.owner));
        key.ok_or_else(|| vec![Reason::NotFound(Resource::Key)])
    }

    /// Returns an owner that the caller may see. Another owner is not found.
    pub(super) fn owner_in_reach(&self, caller: &Caller, id: OwnerId) -> Decided<&OwnerFile> {
        let owner = self.owners.get(&id).filter(|_| caller.reaches(id));
        owner.ok_or_else(|| vec![Reason::NotFound(Resource::Owner)])
    }
}

impl Caller {
    pub(super) fn reaches(&self, owner: OwnerId) -> bool {
        self.owner.is_none_or(|own| own == owner)
    }

    /// Returns the reason against a part of a call that only administrators may make.
    pub(super) fn not_admin(&self) -> Option<Reason> {
        (!self.is_admin).then_some(Reason::Forbidden(ForbiddenReason::AdministratorOnly))
    }

    /// Returns an error for a call that only administrators may make.
    pub(super) fn require_admin(&self) -> Decided<()> {
        self.not_admin().map_or(Ok(()), |reason| Err(vec![reason]))
    }

    pub(super) fn is_delegate(&self) -> bool {
        self.acting.is_some()
    }

    /// Returns the reason against a delegate's target that exceeds the acting key's access or
    /// limits.
    pub(super) fn beyond(&self, access: &Reach, limits: &LimitsFile) -> Option<Reason> {
        let goes_beyond = self.bounds.iter().any(|bound| !access.is_within(bound));
        let is_looser = self.acting.as_ref().is_some_and(|acting| !limits.is_within(acting));
        (goes_beyond || is_looser).then_some(Reason::Forbidden(ForbiddenReason::BeyondActingKey))
    }

    /// Returns the reason against widening what an administrator has set.
    pub(super) fn may_not_widen(&self, field: &'static str, set_by: SetBy) -> Option<Reason> {
        let is_fixed = set_by == SetBy::Administrator && !self.is_admin;
        is_fixed.then_some(Reason::Forbidden(ForbiddenReason::SetByAdministrator { field }))
    }

    /// Returns the setter to record. A field that an administrator has set stays the
    /// administrator's when an owner narrows it.
    pub(super) fn set_by(&self, before: SetBy) -> SetBy {
        if self.is_admin { SetBy::Administrator } else { before }
    }
}
