//! The life of a key.

use std::sync::Arc;

use super::answer::{Issued, Key};
use super::attempt::{Decision, check_version};
use super::caller::Caller;
use super::core::{Core, HeaderState};
use super::error::{Error, Resource, StateProblem};
use super::lifecycle::{self, Surroundings};
use super::minting::issuing;
use super::request::{CreateKey, KeyAction, Rotate};
use crate::authority::Authority;
use crate::backend::{Change, Precondition, Write};
use crate::clock::Timestamp;
use crate::event::{EventKind, Fields};
use crate::id::{ExternalId, KeyId, OwnerId, Version};
use crate::key::{KeyRecord, OwnerRecord};
use crate::token::Token;

impl Core {
    pub(super) fn create_key(
        self: &Arc<Self>,
        by: &Authority,
        owner: &OwnerId,
        request: &CreateKey,
    ) -> Result<Issued, Error> {
        self.attempt(|| {
            let caller = Caller::new(self, by)?;
            let owner = caller.load_owner(self, owner)?;
            let state = self.header();
            let mark = owner.issue_mark.max(state.header.issue_mark);
            let draft = self.draft_key(&caller, owner.id, mark, request, &state)?;
            let change = issuing(Change::default(), &owner, &state);
            let change = caller.bind(draft.add_to(change, &caller));
            let now = caller.now;
            let usage = self.first_usage(&draft.record, now);
            Ok(Decision::commit(change, move |applied| {
                let mut record = draft.record;
                record.external_id = record.external_id.or(applied.external_ids.first().copied());
                let key = Key::new(record, &owner, &state.header, now).with_usage(usage);
                Issued { key, token: draft.token, dropped: None }
            }))
        })
    }

    pub(super) fn key(&self, by: &Authority, id: KeyId) -> Result<Key, Error> {
        let caller = Caller::new(self, by)?;
        let (key, owner) = caller.load_key(self, id)?;
        self.answer_key(key, &owner, caller.now)
    }

    pub(super) fn key_by_external_id(&self, by: &Authority, id: ExternalId) -> Result<Key, Error> {
        let caller = Caller::new(self, by)?;
        let key = self.backend.key_by_external_id(id)?;
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
        Ok(Key::new(key, owner, &self.header().header, now).with_usage(usage))
    }

    pub(super) fn change_key(
        self: &Arc<Self>,
        by: &Authority,
        id: KeyId,
        action: &KeyAction,
        expected: Option<Version>,
    ) -> Result<Key, Error> {
        self.attempt(|| {
            let caller = Caller::new(self, by)?;
            let (key, owner) = caller.load_key(self, id)?;
            let state = self.header();
            let around = self.surroundings(&owner, &state);
            let now = caller.now;
            let Some(changed) = lifecycle::act(&caller, &key, action, around)? else {
                let usage = self.usage_if_known(&key, now);
                let key = Key::new(key, &owner, &state.header, now).with_usage(usage);
                return Ok(Decision::Answer(key));
            };
            check_version(expected, key.version)?;
            let record = changed.record;
            let event = caller.key_event(changed.kind, &record, changed.fields, None);
            let change = Change::of(Write::ReplaceKey(Box::new(record.clone())), event);
            let change = match action {
                KeyAction::Activate => issuing(change, &owner, &state),
                _ => change,
            };
            let usage = self.usage_if_known(&record, now);
            Ok(Decision::commit(caller.bind(change), move |_| {
                Key::new(record, &owner, &state.header, now).with_usage(usage)
            }))
        })
    }

    pub(super) fn rotate_key(
        self: &Arc<Self>,
        by: &Authority,
        id: KeyId,
        request: &Rotate,
        expected: Option<Version>,
    ) -> Result<Issued, Error> {
        self.attempt(|| {
            let caller = Caller::new(self, by)?;
            let (key, owner) = caller.load_key(self, id)?;
            let state = self.header();
            let generation = lifecycle::check_rotation(&caller, &key, request)?;
            check_version(expected, key.version)?;
            let mark = owner.issue_mark.max(state.header.issue_mark);
            let number = key.current.digest.prefix;
            let prefix = state.header.prefixes.prefix(number);
            let prefix = prefix.ok_or(Error::NotFound(Resource::Key))?;
            let issued_at = caller.now.max(mark.unwrap_or(Timestamp::MIN));
            let (token, current, seal) =
                self.mint_token(id, generation, issued_at, (prefix, number), key.seal.is_some())?;
            let now = caller.now;
            let (changed, dropped) = lifecycle::rotate(&key, current, request, now, mark);
            let fields =
                if seal.is_some() { changed.fields.with(Fields::SEAL) } else { changed.fields };
            let record = KeyRecord { seal, ..changed.record };
            let event = caller.key_event(changed.kind, &record, fields, Some(generation));
            let change = Change::of(Write::ReplaceKey(Box::new(record.clone())), event);
            let change = caller.bind(issuing(change, &owner, &state));
            let usage = self.usage_if_known(&record, now);
            Ok(Decision::commit(change, move |_| Issued {
                key: Key::new(record, &owner, &state.header, now).with_usage(usage),
                token,
                dropped,
            }))
        })
    }

    /// Removes a revoked key; what happened to it stays in the events.
    pub(super) fn purge_key(
        self: &Arc<Self>,
        by: &Authority,
        id: KeyId,
        expected: Option<Version>,
    ) -> Result<(), Error> {
        self.attempt(|| {
            let caller = Caller::new(self, by)?;
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
    pub(super) fn open_token(self: &Arc<Self>, by: &Authority, id: KeyId) -> Result<Token, Error> {
        self.attempt(|| {
            let caller = Caller::new(self, by)?;
            let (key, _) = caller.load_key(self, id)?;
            caller.check_within(&key.access, &key.limits)?;
            let token = self.unseal(&key)?.ok_or(Error::NotFound(Resource::SealedToken))?;
            let change = caller.bind(note_opening(Change::default(), &caller, &key));
            Ok(Decision::commit(change, move |_| token))
        })
    }

    pub(super) fn surroundings<'a>(
        &'a self,
        owner: &OwnerRecord,
        state: &HeaderState,
    ) -> Surroundings<'a> {
        Surroundings {
            catalogue: self.catalogue(),
            settings_check: self.settings_check.as_deref(),
            mark: owner.issue_mark.max(state.header.issue_mark),
        }
    }
}

/// Adds to a change that a key's sealed token is shown, as it is now.
pub(super) fn note_opening(change: Change, caller: &Caller<'_>, key: &KeyRecord) -> Change {
    let generation = Some(key.current.generation);
    let event = caller.key_event(EventKind::TokenOpened, key, Fields::NONE, generation);
    change.requiring(Precondition::Key(key.id, key.version)).and(Write::Nothing, event)
}
