//! The life of a key.

use std::sync::Arc;

use super::authorize::Principal;
use super::key_rules::{self, PolicyContext};
use super::new_key::issuance_preconditions;
use super::retry::{Decision, check_version};
use crate::authority::Authority;
use crate::backend::{Change, Precondition, Write};
use crate::clock::Timestamp;
use crate::event::{EventKind, Fields};
use crate::id::{KeyId, NumericId, OwnerId, Version};
use crate::key::{KeyRecord, OwnerRecord};
use crate::store::engine::state::{Core, MetadataState};
use crate::store::types::error::{Error, Resource, StateProblem};
use crate::store::types::request::{CreateKey, KeyAction, Rotate};
use crate::store::types::views::{Issued, Key};
use crate::token::Token;

impl Core {
    pub(in crate::store) fn create_key(
        self: &Arc<Self>,
        by: &Authority,
        owner: &OwnerId,
        request: &CreateKey,
    ) -> Result<Issued, Error> {
        self.attempt(|| {
            let caller = Principal::new(self, by)?;
            let owner = caller.load_owner(self, owner)?;
            let state = self.metadata();
            let mark = owner.effective_tokens_valid_from(&state.metadata);
            let draft = self.draft_key(&caller, owner.id, mark, request, &state)?;
            let change = issuance_preconditions(Change::default(), &owner, &state);
            let change = caller.with_preconditions(draft.add_to(change, &caller));
            let now = caller.now;
            let usage = self.first_usage(&draft.record, now);
            Ok(Decision::commit(change, move |applied| {
                let record = applied.completed(draft.record);
                let key = Key::new(record, &owner, &state.metadata, now).with_usage(usage);
                Issued { key, token: draft.token, dropped: None }
            }))
        })
    }

    pub(in crate::store) fn key(&self, by: &Authority, id: KeyId) -> Result<Key, Error> {
        let caller = Principal::new(self, by)?;
        let (key, owner) = caller.load_key(self, id)?;
        self.answer_key(key, &owner, caller.now)
    }

    pub(in crate::store) fn key_by_numeric_id(
        &self,
        by: &Authority,
        id: NumericId,
    ) -> Result<Key, Error> {
        let caller = Principal::new(self, by)?;
        let key = self.backend.key_by_numeric_id(id)?;
        let key = key.ok_or(Error::NotFound(Resource::Key))?;
        let (key, owner) = caller.load_key(self, key.id)?;
        self.answer_key(key, &owner, caller.now)
    }

    fn answer_key(
        &self,
        key: KeyRecord,
        owner: &OwnerRecord,
        now: Timestamp,
    ) -> Result<Key, Error> {
        let usage = self.usage_of(std::slice::from_ref(&key), now)?.pop().flatten();
        Ok(Key::new(key, owner, &self.metadata().metadata, now).with_usage(usage))
    }

    pub(in crate::store) fn change_key(
        self: &Arc<Self>,
        by: &Authority,
        id: KeyId,
        action: &KeyAction,
        expected: Option<Version>,
    ) -> Result<Key, Error> {
        self.attempt(|| {
            let caller = Principal::new(self, by)?;
            let (key, owner) = caller.load_key(self, id)?;
            let state = self.metadata();
            let around = self.policy_context(&owner, &state);
            let now = caller.now;
            let Some(changed) = key_rules::act(&caller, &key, action, around)? else {
                let usage = self.usage_if_known(&key, now);
                let key = Key::new(key, &owner, &state.metadata, now).with_usage(usage);
                return Ok(Decision::Answer(key));
            };
            check_version(expected, key.version)?;
            let record = changed.record;
            let event = caller.key_event(changed.kind, &record, changed.fields, None);
            let change = Change::of(Write::ReplaceKey(Box::new(record.clone())), event);
            let change = match action {
                KeyAction::Activate => issuance_preconditions(change, &owner, &state),
                _ => change,
            };
            let usage = self.usage_if_known(&record, now);
            Ok(Decision::commit(caller.with_preconditions(change), move |_| {
                Key::new(record, &owner, &state.metadata, now).with_usage(usage)
            }))
        })
    }

    pub(in crate::store) fn rotate_key(
        self: &Arc<Self>,
        by: &Authority,
        id: KeyId,
        request: &Rotate,
        expected: Option<Version>,
    ) -> Result<Issued, Error> {
        self.attempt(|| {
            let caller = Principal::new(self, by)?;
            let (key, owner) = caller.load_key(self, id)?;
            let state = self.metadata();
            let generation = key_rules::check_rotation(&caller, &key, request)?;
            check_version(expected, key.version)?;
            let mark = owner.effective_tokens_valid_from(&state.metadata);
            let number = key.current.digest.prefix;
            let prefix = state.metadata.prefixes.prefix(number);
            let prefix = prefix.ok_or(Error::NotFound(Resource::Key))?;
            let issued_at = caller.now.max(mark.unwrap_or(Timestamp::MIN));
            let (token, current, seal) =
                self.mint_token(id, generation, issued_at, (prefix, number), key.seal.is_some())?;
            let now = caller.now;
            let (changed, dropped) = key_rules::rotate(&key, current, request, now, mark);
            let fields =
                if seal.is_some() { changed.fields.with(Fields::SEAL) } else { changed.fields };
            let record = KeyRecord { seal, ..changed.record };
            let event = caller.key_event(changed.kind, &record, fields, Some(generation));
            let change = Change::of(Write::ReplaceKey(Box::new(record.clone())), event);
            let change = caller.with_preconditions(issuance_preconditions(change, &owner, &state));
            let usage = self.usage_if_known(&record, now);
            Ok(Decision::commit(change, move |_| Issued {
                key: Key::new(record, &owner, &state.metadata, now).with_usage(usage),
                token,
                dropped,
            }))
        })
    }

    /// Removes a revoked key; what happened to it stays in the events.
    pub(in crate::store) fn purge_key(
        self: &Arc<Self>,
        by: &Authority,
        id: KeyId,
        expected: Option<Version>,
    ) -> Result<(), Error> {
        self.attempt(|| {
            let caller = Principal::new(self, by)?;
            let (key, _) = caller.load_key(self, id)?;
            caller.require_administrator()?;
            if key.revoked.is_none() {
                return Err(Error::State(StateProblem::NotRevoked));
            }
            check_version(expected, key.version)?;
            let event = caller.key_event(EventKind::KeyPurged, &key, Fields::NONE, None);
            let change = Change::of(Write::RemoveKey(key.id, key.version), event);
            Ok(Decision::commit(change, |_| ()))
        })
    }

    /// A key's current token, if it is sealed; an event says that it was shown.
    pub(in crate::store) fn reveal_token(
        self: &Arc<Self>,
        by: &Authority,
        id: KeyId,
    ) -> Result<Token, Error> {
        self.attempt(|| {
            let caller = Principal::new(self, by)?;
            let (key, _) = caller.load_key(self, id)?;
            caller.check_within(&key.access, &key.limits)?;
            let token = self.unseal(&key)?.ok_or(Error::NotFound(Resource::RecoverableToken))?;
            let change = caller.with_preconditions(note_reveal(Change::default(), &caller, &key));
            Ok(Decision::commit(change, move |_| token))
        })
    }

    pub(in crate::store) fn policy_context<'a>(
        &'a self,
        owner: &OwnerRecord,
        state: &MetadataState,
    ) -> PolicyContext<'a> {
        PolicyContext {
            catalogue: self.catalogue(),
            settings_check: self.settings_check.as_deref(),
            mark: owner.effective_tokens_valid_from(&state.metadata),
        }
    }
}

/// Adds to a change that a key's recoverable token is shown, as it is now.
pub(in crate::store) fn note_reveal(
    change: Change,
    caller: &Principal<'_>,
    key: &KeyRecord,
) -> Change {
    let generation = Some(key.current.generation);
    let event = caller.key_event(EventKind::TokenRevealed, key, Fields::NONE, generation);
    change.requiring(Precondition::Key(key.id, key.version)).and(Write::Nothing, event)
}
