//! Requests that take effect once, however often they are sent.

use std::time::Duration;

use serde::Serialize;

use super::authorize::{KeyReach, Principal};
use super::keys::{Issuance, Manager, owner_came_or_went};
use super::retry::{Decision, attempt, attempt_again_if};
use super::reveal::note_reveal;
use crate::authority::{Authority, Role};
use crate::backend::{Change, Once, Rejection};
use crate::clock::Timestamp;
use crate::id::{KeyId, OwnerId, Version};
use crate::invalid::{Invalid, Problem};
use crate::key::{CallerScope, IdempotencyKey, KeyRecord, RequestId, RequestRecord};
use crate::store::types::error::{Error, Resource, StateProblem};
use crate::store::types::request::{CreateKey, Rotate};
use crate::store::types::views::{Issued, IssuedOnce, Key};
use crate::token::Token;

impl Manager {
    /// Creates a key under an idempotency key.
    pub(in crate::store) fn create_key_once(
        &self,
        authority: &Authority,
        owner: &OwnerId,
        request: &CreateKey,
        key: &IdempotencyKey,
    ) -> Result<IssuedOnce, Error> {
        let request_id = RequestId { scope: scope(&authority.role), key: key.clone() };
        let content = content(&("create", owner, request))?;
        let is_overtaken = owner_came_or_went(request);
        self.issue_once(authority, &request_id, content, is_overtaken, |caller| {
            self.creation(caller, owner, request)
        })
    }

    /// Rotates a key under an idempotency key.
    pub(in crate::store) fn rotate_key_once(
        &self,
        authority: &Authority,
        id: KeyId,
        request: &Rotate,
        expected: Option<Version>,
        key: &IdempotencyKey,
    ) -> Result<IssuedOnce, Error> {
        let request_id = RequestId { scope: scope(&authority.role), key: key.clone() };
        let content = content(&("rotate", id, request, expected))?;
        self.issue_once(
            authority,
            &request_id,
            content,
            |_| false,
            |caller| self.rotation(caller, id, request, expected),
        )
    }

    /// Replaces the token that a request issued and that was lost on the way. The lost token ends;
    /// previous tokens keep the rest of their grace.
    pub(in crate::store) fn replace_lost_token(
        &self,
        authority: &Authority,
        id: KeyId,
        key: &IdempotencyKey,
    ) -> Result<Issued, Error> {
        attempt(&self.engine, || {
            let caller = Principal::new(&self.engine, authority)?;
            caller.check_may_replace()?;
            let (record, owner) = caller.load_key(&self.engine, id)?;
            let over_before = self.over_before();
            let mut found = None;
            // The caller's own request, the owner's, or one of the key for itself.
            for scope in
                [scope(&authority.role), CallerScope::Owner(owner.id), CallerScope::ActingKey(id)]
            {
                let request = RequestId { scope, key: key.clone() };
                let request = self.requested(&request, over_before)?;
                found = found.or(request.filter(|request| request.key_id == id));
            }
            let found = found.ok_or(Error::NotFound(Resource::Request))?;
            if found.is_replaced || found.generation != record.current.generation {
                return Err(Error::State(StateProblem::NotReplaceable));
            }
            // Without a grace, a rotation ends the token before it alone.
            let rotate = Rotate::with_grace(Duration::ZERO);
            let Issuance { change, generation, answer, .. } =
                self.rotation(&caller, id, &rotate, None)?;
            let record = RequestRecord { generation, is_replaced: true, ..found };
            let change = change.under(Once { record, replaces: true, over_before });
            Ok(Decision::commit(change, answer))
        })
    }

    /// Issues a token by a request, or answers that the request has done so before.
    fn issue_once(
        &self,
        authority: &Authority,
        id: &RequestId,
        content: [u8; 32],
        is_overtaken: impl Fn(&Rejection) -> bool,
        issue: impl Fn(&Principal<'_>) -> Result<Issuance, Error>,
    ) -> Result<IssuedOnce, Error> {
        attempt_again_if(&self.engine, is_overtaken, || {
            let caller = Principal::repeating(&self.engine, authority)?;
            let over_before = self.over_before();
            match self.requested(id, over_before)? {
                Some(found) if found.content == content => return self.repeat(&caller, &found),
                Some(_) => {
                    caller.check_token()?;
                    return Err(Error::IdempotencyKeyReused);
                }
                None => caller.check_token()?,
            }
            let Issuance { change, key, generation, answer } = issue(&caller)?;
            let (id, at) = (id.clone(), caller.now);
            let record =
                RequestRecord { id, content, key_id: key, generation, is_replaced: false, at };
            let change = change.under(Once { record, replaces: false, over_before });
            Ok(Decision::commit(change, move |applied| answer(applied).into()))
        })
    }

    /// Answers a repeated request: with the key and the generation, and with the token if the
    /// caller may reveal it.
    fn repeat<'a>(
        &self,
        caller: &Principal<'_>,
        request: &RequestRecord,
    ) -> Result<Decision<'a, IssuedOnce>, Error> {
        let may_act = caller.check_token();
        // With a previous token an owner repeats the rotation that made it one, and no more.
        if !caller.acts_with(request.key_id) {
            may_act.clone()?;
        }
        let (record, owner) = caller.load_key(&self.engine, request.key_id)?;
        let state = self.engine.records.metadata();
        let token = match may_act {
            Ok(()) => self.repeated_token(caller, request, &record)?,
            Err(_) => None,
        };
        let change = token.is_some().then(|| note_reveal(Change::default(), caller, &record));
        let usage = self.usage.of_one(&record, caller.now);
        let shown = (caller.viewer(), caller.now);
        let key = Key::new(record, &owner, &state.metadata, shown).with_usage(usage);
        let generation = request.generation;
        let answer = IssuedOnce { key, generation, token, dropped: None, is_repeated: true };
        Ok(match change {
            Some(change) => Decision::commit(caller.with_preconditions(change), move |_| answer),
            None => Decision::Answer(answer),
        })
    }

    /// Returns the token of a repeated request, if it is the key's current one and recoverable, and
    /// if the caller may reveal it.
    fn repeated_token(
        &self,
        caller: &Principal<'_>,
        request: &RequestRecord,
        key: &KeyRecord,
    ) -> Result<Option<Token>, Error> {
        if request.generation != key.current.generation
            || caller.check_within(KeyReach::of(key)).is_err()
        {
            return Ok(None);
        }
        match self.minter.sealer.unseal(key) {
            // The store was opened without recovery keys, so the caller may reveal nothing.
            Err(Error::State(StateProblem::RecoveryOff)) => Ok(None),
            token => token,
        }
    }

    /// Loads the record of a request, unless it is over.
    fn requested(
        &self,
        id: &RequestId,
        over_before: Option<Timestamp>,
    ) -> Result<Option<RequestRecord>, Error> {
        let found = self.engine.records.backend.request(id)?;
        Ok(found.filter(|record| over_before.is_none_or(|before| record.at >= before)))
    }

    /// Returns the moment before which records of requests are over. `None` while the time isn't
    /// trusted: then all are kept.
    fn over_before(&self) -> Option<Timestamp> {
        let now = self.engine.records.clock_watch.removal_time()?;
        Some(now.saturating_sub(IdempotencyKey::KEPT))
    }
}

/// Returns the callers among whom an idempotency key of this role stands for one request.
fn scope(role: &Role) -> CallerScope {
    match role {
        Role::Administrator => CallerScope::Administrator,
        Role::Owner { owner } => CallerScope::Owner(*owner),
        Role::Delegate { key, .. } | Role::OwnerByKey { key, .. } => CallerScope::ActingKey(*key),
    }
}

/// Hashes all that a request says.
fn content(request: &impl Serialize) -> Result<[u8; 32], Error> {
    let bytes = serde_json::to_vec(request).map_err(|_| {
        Invalid::new("request", Problem::Malformed { expected: "what JSON can express" })
    })?;
    Ok(blake3::derive_key("keyhasp idempotent request v1", &bytes))
}
