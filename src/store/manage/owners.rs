//! The calls on owners.

use serde_json::Value;

use super::authorize::Principal;
use super::key_rules;
use super::keys::Manager;
use super::limit_rules;
use super::list::MAX_EXAMINED;
use super::new_key::issuance_preconditions;
use super::retry::{Decision, attempt, check_version};
use super::setting_rules;
use crate::authority::Authority;
use crate::backend::{Change, KeyFilter, KeyPageQuery, Precondition, StateSet, Write};
use crate::clock::Timestamp;
use crate::event::{EventKind, Fields};
use crate::id::{OwnerId, Version};
use crate::invalid::{Invalid, Problem};
use crate::key::{Grant, Kind, OwnerRecord, SettingNames, SettingsPatch, TokensValidFrom};
use crate::store::types::error::{Error, StateProblem};
use crate::store::types::owner_view::Owner;
use crate::store::types::request::{CreateKey, CreateOwner, OwnerAction, UpdateOwner};
use crate::store::types::views::{CreatedOwner, RevokedAll};

impl Manager {
    pub(in crate::store) fn create_owner(
        &self,
        authority: &Authority,
        id: &OwnerId,
        request: &CreateOwner,
    ) -> Result<CreatedOwner, Error> {
        attempt(&self.engine, || {
            let caller = Principal::new(&self.engine, authority)?;
            let state = self.engine.records.metadata();
            let check = self.settings_check.as_deref();
            let (owner, mut change) = self.minter.draft_owner(&caller, id, request, check)?;
            let draft = match &request.first_key {
                Some(first) => {
                    check_first_key(first)?;
                    let context = self.policy_context(&owner, &state);
                    Some(self.minter.draft_key(&caller, owner.id, &context, first, &state)?)
                }
                None => None,
            };
            if let Some(draft) = &draft {
                change = draft.add_to(change, &caller);
                change = change.requiring(Precondition::StoreMetadata(state.metadata.version));
            }
            let (viewer, now) = (caller.viewer(), caller.now);
            let usage = draft.as_ref().and_then(|draft| self.usage.of_new(&draft.record, now));
            Ok(Decision::commit(change, move |applied| {
                let first_key = draft.map(|draft| {
                    draft.into_issued(&applied, &owner, &state.metadata, (viewer, now), usage)
                });
                CreatedOwner { owner: Owner::new(owner, viewer), first_key }
            }))
        })
    }

    pub(in crate::store) fn owner(
        &self,
        authority: &Authority,
        id: &OwnerId,
    ) -> Result<Owner, Error> {
        let caller = Principal::new(&self.engine, authority)?;
        Ok(Owner::new(caller.load_owner(&self.engine, id)?, caller.viewer()))
    }

    pub(in crate::store) fn change_owner(
        &self,
        authority: &Authority,
        id: &OwnerId,
        action: &OwnerAction,
        expected: Option<Version>,
    ) -> Result<Owner, Error> {
        attempt(&self.engine, || {
            let caller = Principal::new(&self.engine, authority)?;
            let owner = caller.load_owner(&self.engine, id)?;
            caller.require_administrator()?;
            let viewer = caller.viewer();
            let mut next = owner.clone();
            let next_quota_version = owner.incarnation.quota_version(owner.version.next());
            let (kind, fields) = match action {
                OwnerAction::Suspend => {
                    next.suspended = next.suspended.or_else(|| Some(caller.switch()));
                    (EventKind::OwnerSuspended, Fields::SUSPENDED)
                }
                OwnerAction::Resume => {
                    next.suspended = None;
                    (EventKind::OwnerResumed, Fields::SUSPENDED)
                }
                OwnerAction::InvalidateTokens(to) => {
                    check_tokens_valid_from(*to, caller.now)?;
                    let before = next.tokens_valid_from;
                    next.tokens_valid_from = Some(TokensValidFrom::after(before, *to, caller.now));
                    (EventKind::OwnerTokensInvalidated, Fields::TOKENS_VALID_FROM)
                }
                OwnerAction::RefillQuota => {
                    let quota = &mut next.limits.quota;
                    let fields = limit_rules::grant(&caller, quota, next_quota_version)?;
                    (EventKind::OwnerQuotaRefilled, fields)
                }
                OwnerAction::AddToQuota(_) => {
                    let quota = &mut next.limits.quota;
                    let fields = limit_rules::grant(&caller, quota, next_quota_version)?;
                    (EventKind::OwnerQuotaAdded, fields)
                }
                OwnerAction::Update(update) => {
                    (EventKind::OwnerUpdated, self.apply_owner_update(&caller, &mut next, update)?)
                }
            };
            let from = |owner: &OwnerRecord| owner.tokens_valid_from.unwrap_or_default();
            let is_unchanged = match action {
                OwnerAction::Update(_) => fields.is_empty(),
                _ => {
                    next.suspended == owner.suspended
                        && from(&next) == from(&owner)
                        && next.limits == owner.limits
                }
            };
            if is_unchanged {
                // Another caller may have made the change, and wait until it holds.
                self.engine.await_owner(id)?;
                return Ok(Decision::Answer(Owner::new(owner, viewer)));
            }
            check_version(expected, owner.version)?;
            next.version = owner.version.next();
            next.updated_at = caller.now;
            let event = caller.owner_event(kind, &next, fields);
            let written = Box::new(next.clone());
            let write = match action {
                OwnerAction::RefillQuota => Write::GrantOwnerUses(written, Grant::Refill),
                OwnerAction::AddToQuota(uses) => Write::GrantOwnerUses(written, Grant::add(*uses)?),
                _ => Write::ReplaceOwner(written),
            };
            Ok(Decision::commit(Change::of(write, event), move |_| Owner::new(next, viewer)))
        })
    }

    /// Applies an update to an owner; returns the fields that differ.
    fn apply_owner_update(
        &self,
        caller: &Principal<'_>,
        owner: &mut OwnerRecord,
        update: &UpdateOwner,
    ) -> Result<Fields, Error> {
        let (defaults, fixed) = (update.defaults.as_ref(), update.fixed_defaults.as_deref());
        let mut fields = self.set_defaults(caller, owner, defaults, fixed)?;
        if let Some(max_access) = &update.max_access
            && *max_access != owner.max_access
        {
            let catalogue = self.engine.records.catalogue();
            let max_access = max_access.renamed(catalogue);
            if max_access != owner.max_access {
                max_access.check(catalogue)?;
                owner.max_access = max_access;
                fields = fields.with(Fields::ACCESS);
            }
        }
        if let Some(max_keys) = update.max_keys
            && max_keys != owner.max_keys
        {
            owner.max_keys = max_keys;
            fields = fields.with(Fields::MAX_KEYS);
        }
        if let Some(lifetime) = update.lifetime
            && lifetime != owner.lifetime
        {
            owner.lifetime = lifetime;
            fields = fields.with(Fields::LIFETIME);
        }
        if let Some(tags) = &update.tags {
            fields = fields.with(key_rules::set_tags(&mut owner.tags, tags)?);
        }
        // Versions begin again with each incarnation, and leases of one don't fit the next.
        let next = owner.incarnation.quota_version(owner.version.next());
        Ok(fields.with(limit_rules::set(caller, &mut owner.limits, &update.limits, next)?))
    }

    fn set_defaults(
        &self,
        caller: &Principal<'_>,
        owner: &mut OwnerRecord,
        patch: Option<&Value>,
        fixed: Option<&SettingNames>,
    ) -> Result<Fields, Error> {
        let patch = patch.cloned().map(SettingsPatch::from_value).transpose()?;
        setting_rules::set_defaults(caller, owner, patch, fixed, self.settings_check.as_deref())
    }

    /// Revokes every key of an owner by one commit, and creates a replacement if the caller wants
    /// one. Pieces write it into the keys' records later.
    pub(in crate::store) fn revoke_all(
        &self,
        authority: &Authority,
        id: &OwnerId,
        replacement: Option<&CreateKey>,
        expected: Option<Version>,
    ) -> Result<RevokedAll, Error> {
        attempt(&self.engine, || {
            let caller = Principal::new(&self.engine, authority)?;
            let owner = caller.load_owner(&self.engine, id)?;
            caller.check_current()?;
            let state = self.engine.records.metadata();
            replacement.map_or(Ok(()), check_owner_exists)?;
            if replacement.is_none() && !self.has_unrevoked(owner.id, caller.now)? {
                return Ok(Decision::Answer(RevokedAll { revoked: 0, replacement: None }));
            }
            check_version(expected, owner.version)?;
            let mut next = owner.clone();
            next.version = owner.version.next();
            next.updated_at = caller.now;
            // As the commit does it: the replacement is issued in the next epoch.
            next.tokens_valid_from = Some(TokensValidFrom::after_sweep(owner.tokens_valid_from));
            let event = caller.owner_event(EventKind::OwnerKeysRevoked, &next, Fields::NONE);
            let mut change = Change::of(Write::RevokeKeys(Box::new(next.clone())), event);
            let context = self.policy_context(&next, &state);
            let draft = match replacement {
                Some(request) => {
                    Some(self.minter.draft_key(&caller, owner.id, &context, request, &state)?)
                }
                None => None,
            };
            if let Some(draft) = &draft {
                change = issuance_preconditions(draft.add_to(change, &caller), &owner, &state);
            }
            let (viewer, now) = (caller.viewer(), caller.now);
            let usage = draft.as_ref().and_then(|draft| self.usage.of_new(&draft.record, now));
            Ok(Decision::commit(caller.with_preconditions(change), move |applied| {
                let replacement = draft.map(|draft| {
                    draft.into_issued(&applied, &next, &state.metadata, (viewer, now), usage)
                });
                let revoked = usize::try_from(applied.swept).unwrap_or(usize::MAX);
                RevokedAll { revoked, replacement }
            }))
        })
    }

    /// Returns whether an owner has a key that isn't revoked. A damaged one is if its entry says so.
    fn has_unrevoked(&self, owner: OwnerId, now: Timestamp) -> Result<bool, Error> {
        let filter = KeyFilter { owner: Some(owner), ..KeyFilter::new(StateSet::UNREVOKED, now) };
        let (limit, examine) = (1, MAX_EXAMINED);
        let mut query = KeyPageQuery { filter, before: None, after: None, limit, examine };
        loop {
            let page = self.engine.records.backend.page_keys(&query)?;
            if !page.keys.is_empty() || page.damaged.iter().any(|row| !row.is_revoked()) {
                return Ok(true);
            }
            match page.next {
                Some(next) => query.before = Some(next),
                None => return Ok(false),
            }
        }
    }

    /// Deletes a suspended owner with all its keys by one commit. Pieces delete the keys' records
    /// later. Their events stay.
    pub(in crate::store) fn purge_owner(
        &self,
        authority: &Authority,
        id: &OwnerId,
        expected: Option<Version>,
    ) -> Result<(), Error> {
        attempt(&self.engine, || {
            let caller = Principal::new(&self.engine, authority)?;
            let owner = caller.load_owner(&self.engine, id)?;
            caller.require_administrator()?;
            if owner.suspended.is_none() {
                return Err(Error::State(StateProblem::NotSuspended));
            }
            check_version(expected, owner.version)?;
            let event = caller.owner_event(EventKind::OwnerPurged, &owner, Fields::NONE);
            let change = Change::of(Write::PurgeOwner(owner.id, owner.version), event)
                .requiring(Precondition::Incarnation(owner.id, owner.incarnation));
            Ok(Decision::commit(change, |_| ()))
        })
    }
}

/// Checks that an owner's first key is a standard key.
fn check_first_key(request: &CreateKey) -> Result<(), Invalid> {
    check_owner_exists(request)?;
    if request.kind == Kind::Standard {
        return Ok(());
    }
    Err(Invalid::new("first key", Problem::Required { what: "must be a standard key" }))
}

/// Checks that a request doesn't ask for an owner where the call has one.
fn check_owner_exists(request: &CreateKey) -> Result<(), Invalid> {
    if request.or_create_owner.is_none() {
        return Ok(());
    }
    let what = "must be left out of a first key and of a replacement, whose owner the call names";
    Err(Invalid::new("or_create_owner", Problem::Required { what }))
}

/// Checks that a new `tokens_valid_from` doesn't lie in the future.
pub(super) fn check_tokens_valid_from(to: Timestamp, now: Timestamp) -> Result<(), Invalid> {
    if to <= now {
        return Ok(());
    }
    let (given, latest) = (to.to_string(), now.to_string());
    Err(Invalid::new("tokens_valid_from", Problem::TooLate { given, latest }))
}
