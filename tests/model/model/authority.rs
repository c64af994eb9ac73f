//! Authority: the calls that each caller may make.

use keyhasp::Prefix;
use keyhasp::Timestamp;
use keyhasp::authority::{Authority, Role};
use keyhasp::id::{Generation, KeyId, OwnerId};
use keyhasp::key::{Kind, RejectReason, SetBy};
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
    /// The acting key of a delegate.
    pub(super) acting: Option<Acting>,
}

/// An acting key as it bounds a delegate.
#[derive(Clone, Debug)]
pub(super) struct Acting {
    pub(super) id: KeyId,
    /// Whether the presented token is the current one.
    is_current: bool,
    span: Span,
    /// The owner's `max_access`.
    max_access: Reach,
}

/// All in which a key may exceed another.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) access: Reach,
    pub(super) limits: LimitsFile,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) prefix: Prefix,
}

impl Span {
    pub(super) fn of(key: &KeyFile) -> Self {
        Self {
            access: key.access.clone(),
            limits: key.limits.clone(),
            expires_at: key.expires_at,
            prefix: key.prefix,
        }
    }
}

impl Model {
    /// Judges a caller.
    pub(super) fn caller(&self, by: &Authority) -> Decided<Caller> {
        let caller = |owner, acting| Caller {
            by: by.clone(),
            is_admin: by.role == Role::Administrator,
            owner,
            acting,
        };
        match by.role {
            Role::Administrator => Ok(caller(None, None)),
            Role::Owner { owner } => Ok(caller(Some(owner), None)),
            Role::OwnerByKey { owner, key, generation, previous_tokens } => {
                let (key, _) = self.acting(key, generation)?;
                if !previous_tokens && key.current.generation() != generation {
                    return Err(vec![Reason::Forbidden(ForbiddenReason::PreviousToken)]);
                }
                Ok(caller(Some(owner), None))
            }
            Role::Delegate { owner, key, generation } => {
                if self.keys.get(&key).is_none_or(|key| key.owner != owner) {
                    return Err(rejected_for(None));
                }
                let (key, owner) = self.acting(key, generation)?;
                if key.kind == Kind::Trial {
                    return Err(vec![Reason::Forbidden(ForbiddenReason::TrialKey)]);
                }
                let acting = Acting {
                    id: key.id,
                    is_current: key.current.generation() == generation,
                    span: Span::of(key),
                    max_access: owner.max_access.clone(),
                };
                Ok(caller(Some(owner.id), Some(acting)))
            }
        }
    }

    /// Returns the acting key and its owner. The key, in the generation that was presented, must be
    /// one that would verify now.
    fn acting(&self, key: KeyId, generation: Generation) -> Decided<(&KeyFile, &OwnerFile)> {
        let Some(key) = self.keys.get(&key) else { return Err(rejected_for(None)) };
        let tokens = key.tokens();
        let token = tokens.iter().find(|token| token.generation() == generation);
        let Some(token) = token else { return Err(rejected_for(None)) };
        let owner = &self.owners[&key.owner];
        let reason = key.rejected_for(owner, token, self.now);
        if reason.is_some() {
            return Err(rejected_for(reason));
        }
        if key.begins(owner, self.now).is_some() {
            return Err(vec![Reason::Forbidden(ForbiddenReason::ActingKeyNotYet)]);
        }
        Ok((key, owner))
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

    /// Returns the reasons against a delegate's target that exceeds the acting key.
    pub(super) fn beyond(&self, target: &Span) -> Vec<Reason> {
        let Some(Acting { span: own, max_access, .. }) = &self.acting else { return Vec::new() };
        let is_wider = !target.access.is_within(&own.access)
            || !target.access.is_within(max_access)
            || !target.limits.is_within(&own.limits);
        let end = |span: &Span| span.expires_at.map_or(u64::MAX, Timestamp::as_millis);
        let outlasts = end(target) > end(own);
        let is_other = target.prefix != own.prefix;
        let reasons = [
            (is_wider, ForbiddenReason::BeyondActingKey),
            (outlasts, ForbiddenReason::OutlastsActingKey),
            (is_other, ForbiddenReason::OtherPrefix),
        ];
        let held = reasons.into_iter().filter(|(holds, _)| *holds);
        let held = held.map(|(_, reason)| Reason::Forbidden(reason));
        held.chain(self.not_current()).collect()
    }

    /// Returns the reason against a delegate whose token is a previous one.
    pub(super) fn not_current(&self) -> Option<Reason> {
        let is_previous = self.acting.as_ref().is_some_and(|acting| !acting.is_current);
        is_previous.then_some(Reason::Forbidden(ForbiddenReason::PreviousToken))
    }

    /// Returns the reason against deactivating or revoking a key. A previous token may end its own
    /// key.
    pub(super) fn may_not_end(&self, target: KeyId) -> Option<Reason> {
        let is_own = self.acting.as_ref().is_some_and(|acting| acting.id == target);
        if is_own { None } else { self.not_current() }
    }

    /// Returns the expiry of a new key for which none was given.
    pub(super) fn default_expiry(&self) -> Option<Timestamp> {
        self.acting.as_ref().and_then(|acting| acting.span.expires_at)
    }

    /// Returns the prefix of a delegate's new keys.
    pub(super) fn acting_prefix(&self) -> Option<Prefix> {
        self.acting.as_ref().map(|acting| acting.span.prefix)
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

fn rejected_for(reason: Option<RejectReason>) -> Vec<Reason> {
    vec![Reason::Forbidden(ForbiddenReason::ActingKeyRejected(reason))]
}
