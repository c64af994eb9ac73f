//! Who may do what.

use keyhasp::authority::{Authority, Role};
use keyhasp::id::{KeyId, OwnerId};
use keyhasp::key::{Kind, SetBy};
use keyhasp::store::{ForbiddenReason, Resource};

use super::access::Reach;
use super::limits::LimitsFile;
use super::reason::Reason;
use super::records::{KeyFile, OwnerFile};
use super::state::{Decided, Model};

/// Somebody whose call is considered.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) by: Authority,
    pub(super) is_admin: bool,
    /// The one owner in reach; `None` reaches all.
    pub(super) owner: Option<OwnerId>,
    /// What a delegate may not go beyond: the acting key's access, and its owner's maximum access.
    pub(super) bounds: Vec<Reach>,
    /// And its limits.
    pub(super) acting: Option<LimitsFile>,
}

impl Model {
    /// Looks at who calls. An acting key, with the generation that was shown, must be one that
    /// would verify now.
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

    /// A key that the caller reaches; another's is not found.
    pub(super) fn key_in_reach(&self, caller: &Caller, id: KeyId) -> Decided<&KeyFile> {
        let key = self.keys.get(&id).filter(|key| caller.reaches(key.owner));
        key.ok_or_else(|| vec![Reason::NotFound(Resource::Key)])
    }

    /// An owner that the caller reaches; another is not found.
    pub(super) fn owner_in_reach(&self, caller: &Caller, id: OwnerId) -> Decided<&OwnerFile> {
        let owner = self.owners.get(&id).filter(|_| caller.reaches(id));
        owner.ok_or_else(|| vec![Reason::NotFound(Resource::Owner)])
    }
}

impl Caller {
    pub(super) fn reaches(&self, owner: OwnerId) -> bool {
        self.owner.is_none_or(|own| own == owner)
    }

    /// What only administrators may do.
    pub(super) fn not_admin(&self) -> Option<Reason> {
        (!self.is_admin).then_some(Reason::Forbidden(ForbiddenReason::AdministratorOnly))
    }

    /// The same, for calls that are administrators' altogether.
    pub(super) fn require_admin(&self) -> Decided<()> {
        self.not_admin().map_or(Ok(()), |reason| Err(vec![reason]))
    }

    pub(super) fn is_delegate(&self) -> bool {
        self.acting.is_some()
    }

    /// A delegate goes beyond nothing, and what it does to keys keeps its own key's limits.
    pub(super) fn beyond(&self, access: &Reach, limits: &LimitsFile) -> Option<Reason> {
        let goes_beyond = self.bounds.iter().any(|bound| !access.is_within(bound));
        let is_looser = self.acting.as_ref().is_some_and(|acting| !limits.is_within(acting));
        (goes_beyond || is_looser).then_some(Reason::Forbidden(ForbiddenReason::BeyondActingKey))
    }

    /// What an administrator has set, nobody else widens.
    pub(super) fn may_not_widen(&self, field: &'static str, set_by: SetBy) -> Option<Reason> {
        let is_fixed = set_by == SetBy::Administrator && !self.is_admin;
        is_fixed.then_some(Reason::Forbidden(ForbiddenReason::SetByAdministrator { field }))
    }

    /// Who has set what this caller sets: what an owner narrows stays an administrator's.
    pub(super) fn set_by(&self, before: SetBy) -> SetBy {
        if self.is_admin { SetBy::Administrator } else { before }
    }
}
