//! The manager, and the calls on one key.

use std::sync::Arc;

use super::authorize::Principal;
use super::key_rules::{self, PolicyContext};
use super::new_key::{Minter, issuance_preconditions};
use super::quarantine::{or_purge, or_quarantine};
use super::retry::{Decision, attempt, attempt_again_if, check_version};
use crate::authority::Authority;
use crate::backend::{Applied, Change, Precondition, Rejection, Write};
use crate::event::{EventKind, Fields};
use crate::id::{Generation, KeyId, NumericId, OwnerId, Version};
use crate::invalid::{Invalid, Problem};
use crate::key::{Grant, KeyRecord, OwnerRecord};
use crate::store::engine::{Engine, MetadataState};
use crate::store::types::SettingsCheck;
use crate::store::types::error::{Error, Resource, StateProblem};
use crate::store::types::request::{CreateKey, KeyAction, Rotate};
use crate::store::types::views::{ChangedKey, Issued, Key};
use crate::store::usage::UsageRecorder;

/// Performs the management calls on keys and owners.
#[derive(Debug)]
pub(in crate::store) struct Manager {
    pub(super) engine: Arc<Engine>,
    pub(super) minter: Minter,
    pub(super) usage: Arc<UsageRecorder>,
    pub(super) settings_check: Option<Box<dyn SettingsCheck>>,
}

impl Manager {
    pub(in crate::store) fn new(
        engine: &Arc<Engine>,
        usage: &Arc<UsageRecorder>,
        minter: Minter,
        settings_check: Option<Box<dyn SettingsCheck>>,
    ) -> Self {
        Self { engine: Arc::clone(engine), minter, usage: Arc::clone(usage), settings_check }
    }

    pub(in crate::store) fn create_key(
        &self,
        authority: &Authority,
        owner: &OwnerId,
        request: &CreateKey,
    ) -> Result<Issued, Error> {
        attempt_again_if(&self.engine, owner_came_or_went(request), || {
            self.decide_creation(authority, owner, request)
        })
    }

    /// Decides a creation.
    pub(super) fn decide_creation(
        &self,
        authority: &Authority,
        owner: &OwnerId,
        request: &CreateKey,
    ) -> Result<Decision<'_, Issued>, Error> {
        let caller = Principal::new(&self.engine, authority)?;
        Ok(self.creation(&caller, owner, request)?.into_decision())
    }

    /// Decides a creation by a caller that is judged already.
    pub(super) fn creation(
        &self,
        caller: &Principal<'_>,
        owner: &OwnerId,
        request: &CreateKey,
    ) -> Result<Issuance, Error> {
        let (owner, owner_change) = self.owner_for_key(caller, owner, request)?;
        let state = self.engine.records.metadata();
        let context = self.policy_context(&owner, &state);
        let draft = self.minter.draft_key(caller, owner.id, &context, request, &state)?;
        let (viewer, now) = (caller.viewer(), caller.now);
        let change = match owner_change {
            // No key of this owner can have expired.
            Some(change) => change.requiring(Precondition::StoreMetadata(state.metadata.version)),
            None => issuance_preconditions(Change::default(), &owner, &state)
                .lapsing(self.engine.lapse_expired_by(now)),
        };
        let change = caller.with_preconditions(draft.add_to(change, caller));
        let usage = self.usage.of_new(&draft.record, now);
        let (key, generation) = (draft.record.id, draft.record.current.generation);
        let answer = move |applied: Applied| {
            draft.into_issued(&applied, &owner, &state.metadata, (viewer, now), usage)
        };
        Ok(Issuance { change, key, generation, answer: Box::new(answer) })
    }

    /// Loads the owner of a new key. If there is none and the request says so, drafts it instead, with
    /// the change that creates it.
    fn owner_for_key(
        &self,
        caller: &Principal<'_>,
        id: &OwnerId,
        request: &CreateKey,
    ) -> Result<(OwnerRecord, Option<Change>), Error> {
        let Some(new) = request.or_create_owner.as_deref() else {
            return Ok((caller.load_owner(&self.engine, id)?, None));
        };
        caller.require_administrator()?;
        if new.first_key.is_some() {
            let what = "must be an owner without a first key; the request is the key's";
            return Err(Invalid::new("or_create_owner", Problem::Required { what }).into());
        }
        match caller.load_owner(&self.engine, id) {
            Err(Error::NotFound(Resource::Owner)) => {
                let check = self.settings_check.as_deref();
                let (owner, change) = self.minter.draft_owner(caller, id, new, check)?;
                Ok((owner, Some(change)))
            }
            owner => Ok((owner?, None)),
        }
    }

    pub(in crate::store) fn key(&self, authority: &Authority, id: KeyId) -> Result<Key, Error> {
        let caller = Principal::new(&self.engine, authority)?;
        let (key, owner) = caller.load_key(&self.engine, id)?;
        self.answer_key(key, &owner, &caller)
    }

    pub(in crate::store) fn key_by_numeric_id(
        &self,
        authority: &Authority,
        id: NumericId,
    ) -> Result<Key, Error> {
        let caller = Principal::new(&self.engine, authority)?;
        let key = self.engine.records.backend.key_by_numeric_id(id)?;
        let key = key.ok_or(Error::NotFound(Resource::Key))?;
        let (key, owner) = caller.load_key(&self.engine, key.id)?;
        self.answer_key(key, &owner, &caller)
    }

    fn answer_key(
        &self,
        key: KeyRecord,
        owner: &OwnerRecord,
        caller: &Principal<'_>,
    ) -> Result<Key, Error> {
        let usage = self.usage.of(std::slice::from_ref(&key), caller.now)?.pop();
        let usage = usage.and_then(Result::ok).flatten();
        let metadata = self.engine.records.metadata().metadata;
        Ok(Key::new(key, owner, &metadata, (caller.viewer(), caller.now)).with_usage(usage))
    }

    pub(in crate::store) fn change_key(
        &self,
        authority: &Authority,
        id: KeyId,
        action: &KeyAction,
        expected: Option<Version>,
    ) -> Result<ChangedKey, Error> {
        let answer = attempt(&self.engine, || self.decide_action(authority, id, action, expected));
        or_quarantine(&self.engine, authority, id, action, answer)
    }

    /// Decides an action on a key.
    pub(super) fn decide_action(
        &self,
        authority: &Authority,
        id: KeyId,
        action: &KeyAction,
        expected: Option<Version>,
    ) -> Result<Decision<'_, ChangedKey>, Error> {
        let caller = Principal::new(&self.engine, authority)?;
        let (key, owner) = caller.load_key(&self.engine, id)?;
        let state = self.engine.records.metadata();
        let context = self.policy_context(&owner, &state);
        let (viewer, now) = (caller.viewer(), caller.now);
        let Some(changed) = key_rules::act(&caller, &key, action, context)? else {
            let usage = self.usage.of_one(&key, now);
            let key = Key::new(key, &owner, &state.metadata, (viewer, now)).with_usage(usage);
            return Ok(Decision::Answer(ChangedKey::Whole(Box::new(key))));
        };
        check_version(expected, key.version)?;
        let record = changed.record;
        let event = caller.key_event(changed.kind, &record, changed.fields, None);
        let written = Box::new(record.clone());
        let write = match action {
            KeyAction::RefillQuota => Write::GrantKeyUses(written, Grant::Refill),
            KeyAction::AddToQuota(uses) => Write::GrantKeyUses(written, Grant::add(*uses)?),
            _ => Write::ReplaceKey(written),
        };
        let change = Change::of(write, event);
        // A lapsed key whose expiry moves is judged as a new one.
        let counts_again = key.lapsed_at.is_some() && record.lapsed_at.is_none();
        let change = if rests_on_owner(action) || counts_again {
            issuance_preconditions(change, &owner, &state)
        } else {
            change
        };
        let change = change.lapsing(self.engine.lapse_expired_by(now));
        Ok(Decision::commit(caller.with_preconditions(change), move |_| {
            // Read after the commit, which decides what is left of a quota.
            let usage = self.usage.of_one(&record, now);
            let key = Key::new(record, &owner, &state.metadata, (viewer, now));
            ChangedKey::Whole(Box::new(key.with_usage(usage)))
        }))
    }

    pub(in crate::store) fn rotate_key(
        &self,
        authority: &Authority,
        id: KeyId,
        request: &Rotate,
        expected: Option<Version>,
    ) -> Result<Issued, Error> {
        attempt(&self.engine, || {
            let caller = Principal::new(&self.engine, authority)?;
            Ok(self.rotation(&caller, id, request, expected)?.into_decision())
        })
    }

    /// Decides a rotation.
    pub(super) fn rotation(
        &self,
        caller: &Principal<'_>,
        id: KeyId,
        request: &Rotate,
        expected: Option<Version>,
    ) -> Result<Issuance, Error> {
        let (key, owner) = caller.load_key(&self.engine, id)?;
        let state = self.engine.records.metadata();
        let generation = key_rules::check_rotation(caller, &key, request)?;
        check_version(expected, key.version)?;
        let invalidations = owner.invalidations(&state.metadata);
        let number = key.current.digest.prefix;
        let prefix = state.metadata.prefixes.prefix(number);
        let prefix = prefix.ok_or(Error::NotFound(Resource::Key))?;
        let (token, current, seal) = self.minter.mint_token(
            id,
            generation,
            (caller.now, invalidations),
            (prefix, number),
            key.seal.is_some(),
        )?;
        let (viewer, now) = (caller.viewer(), caller.now);
        let (changed, dropped) = key_rules::rotate(&key, current, request, now, invalidations);
        let fields =
            if seal.is_some() { changed.fields.with(Fields::SEAL) } else { changed.fields };
        let record = KeyRecord { seal, ..changed.record };
        let event = caller.key_event(changed.kind, &record, fields, Some(generation));
        let change = Change::of(Write::ReplaceKey(Box::new(record.clone())), event);
        let change = caller.with_preconditions(issuance_preconditions(change, &owner, &state));
        let usage = self.usage.of_one(&record, now);
        let answer = move |_| {
            let key = Key::new(record, &owner, &state.metadata, (viewer, now)).with_usage(usage);
            Issued { key, token, dropped }
        };
        Ok(Issuance { change, key: id, generation, answer: Box::new(answer) })
    }

    /// Deletes a revoked key. Its events stay.
    pub(in crate::store) fn purge_key(
        &self,
        authority: &Authority,
        id: KeyId,
        expected: Option<Version>,
    ) -> Result<(), Error> {
        let answer = attempt(&self.engine, || self.decide_purge(authority, id, expected));
        or_purge(&self.engine, authority, id, answer)
    }

    /// Decides a purge.
    pub(super) fn decide_purge(
        &self,
        authority: &Authority,
        id: KeyId,
        expected: Option<Version>,
    ) -> Result<Decision<'_, ()>, Error> {
        let caller = Principal::new(&self.engine, authority)?;
        let (key, _) = caller.load_key(&self.engine, id)?;
        caller.require_administrator()?;
        if key.revoked.is_none() {
            return Err(Error::State(StateProblem::NotRevoked));
        }
        check_version(expected, key.version)?;
        let event = caller.key_event(EventKind::KeyPurged, &key, Fields::NONE, None);
        let change = Change::of(Write::RemoveKey(key.id, key.version), event);
        Ok(Decision::commit(change, |_| ()))
    }

    pub(super) fn policy_context<'a>(
        &'a self,
        owner: &'a OwnerRecord,
        state: &'a MetadataState,
    ) -> PolicyContext<'a> {
        PolicyContext {
            settings_check: self.settings_check.as_deref(),
            ..PolicyContext::new(self.engine.records.catalogue(), owner, &state.metadata)
        }
    }
}

/// Returns which rejections of a creation mean that another caller has created or removed the owner
/// that the request would create.
pub(super) fn owner_came_or_went(request: &CreateKey) -> impl Fn(&Rejection) -> bool {
    let may_create = request.or_create_owner.is_some();
    move |rejection| {
        may_create && matches!(rejection, Rejection::OwnerExists | Rejection::OwnerMissing)
    }
}

/// Returns whether an action lets a client in, or in for longer. Then it is decided by the owner's
/// `tokens_valid_from` and lifetime and the store's, which must be the same at the commit.
fn rests_on_owner(action: &KeyAction) -> bool {
    match action {
        KeyAction::Activate | KeyAction::ExtendExpiry(_) => true,
        KeyAction::Update(update) => update.expiry.is_some(),
        _ => false,
    }
}

/// A decided creation or rotation: the change that issues a token, and the answer once it is
/// committed.
pub(super) struct Issuance {
    pub(super) change: Change,
    pub(super) key: KeyId,
    pub(super) generation: Generation,
    pub(super) answer: Box<dyn FnOnce(Applied) -> Issued>,
}

impl Issuance {
    fn into_decision<'a>(self) -> Decision<'a, Issued> {
        Decision::commit(self.change, self.answer)
    }
}
