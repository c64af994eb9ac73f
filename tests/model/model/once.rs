//! Requests that take effect once.

use std::time::Duration;

use keyhasp::Timestamp;
use keyhasp::authority::{Authority, Role};
use keyhasp::id::{KeyId, OwnerId};
use keyhasp::store::{ForbiddenReason, Resource, StateProblem};
use serde_json::{Value, json};

use super::authority::{Caller, Span};
use super::reason::Reason;
use super::state::{Decided, Fresh, Model};
use crate::calls::{Call, Rotation};

/// A request that took effect.
#[derive(Clone, Debug)]
pub(crate) struct RequestFile {
    pub(crate) call: Call,
    pub(crate) key: KeyId,
    generation: u32,
    is_replaced: bool,
    at: Timestamp,
    /// The latest time of a call since then.
    latest: Timestamp,
}

/// The callers among whom a name stands for one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    Administrators,
    Key(KeyId),
    Owner(OwnerId),
}

impl Model {
    /// Makes a creation or rotation, unless one of this name was made before.
    pub(super) fn once(
        &mut self,
        by: &Authority,
        name: &str,
        call: &Call,
        fresh: &Fresh,
    ) -> Decided<Value> {
        // A caller that repeats its own rotation has a previous token by then.
        let mut lenient = by.clone();
        if let Role::OwnerByKey { previous_tokens, .. } = &mut lenient.role {
            *previous_tokens = true;
        }
        let mut repeating = self.caller(&lenient)?;
        repeating.by = by.clone();
        let place = (scope(by), name.to_owned());
        let found = self.requests.get(&place).cloned();
        if let Some(found) = found {
            if content(&found.call) == content(call) {
                return self.repeat(by, &repeating, &found);
            }
            self.caller(by)?;
            return Err(vec![Reason::IdempotencyKeyReused]);
        }
        let caller = self.caller(by)?;
        let (mut shown, key) = match call {
            Call::CreateKey { owner, key } => {
                let shown = self.create_key(&caller, *owner, key, fresh)?;
                (shown, fresh.token.as_ref().map_or(KeyId::from_u128(0), |(id, _)| *id))
            }
            Call::Rotate { id, how, expected } => {
                (self.rotate(&caller, *id, *how, *expected, fresh)?, *id)
            }
            other => panic!("{other:?} has no idempotency key"),
        };
        let generation = self.keys[&key].current.generation;
        let (call, at) = (call.clone(), self.now);
        self.requests.insert(
            place,
            RequestFile { call, key, generation, is_replaced: false, at, latest: at },
        );
        shown["generation"] = generation.into();
        shown["is_repeated"] = false.into();
        Ok(shown)
    }

    fn repeat(&mut self, by: &Authority, caller: &Caller, found: &RequestFile) -> Decided<Value> {
        let may_act = self.caller(by);
        if caller.by.role.acting_key() != Some(found.key) {
            may_act.clone()?;
        }
        let key = self.key_in_reach(caller, found.key)?.clone();
        let is_shown = may_act.is_ok()
            && key.sealed_under.is_some()
            && key.current.generation == found.generation
            && caller.beyond(&Span::of(&key)).is_empty();
        let token = match self.against_opening(&key) {
            _ if !is_shown => None,
            Some(Reason::State(StateProblem::RecoveryOff)) => None,
            Some(against) => return Err(vec![against]),
            None => Some(key.current.text.clone()),
        };
        if token.is_some() {
            self.note_reveal(caller, &key);
        }
        Ok(json!({
            "key": self.shown_key(found.key),
            "generation": found.generation,
            "token": token,
            "dropped": null,
            "is_repeated": true,
        }))
    }

    /// Replaces the token of a request that was lost, and no other.
    pub(super) fn replace_lost(
        &mut self,
        caller: &Caller,
        id: KeyId,
        name: &str,
        fresh: &Fresh,
    ) -> Decided<Value> {
        if caller.is_delegate() {
            return Err(vec![Reason::Forbidden(ForbiddenReason::NotADelegate)]);
        }
        if let Role::OwnerByKey { key, generation, .. } = caller.by.role
            && self.keys[&key].current.generation() != generation
        {
            return Err(vec![Reason::Forbidden(ForbiddenReason::PreviousToken)]);
        }
        let key = self.key_in_reach(caller, id)?;
        let scopes = [scope(&caller.by), Scope::Owner(key.owner), Scope::Key(id)];
        let places = scopes.map(|scope| (scope, name.to_owned()));
        let is_of_key = |place: &&(Scope, String)| {
            self.requests.get(*place).is_some_and(|found| found.key == id)
        };
        let Some(place) = places.iter().find(is_of_key) else {
            return Err(vec![Reason::NotFound(Resource::Request)]);
        };
        let found = self.requests[place].clone();
        if found.is_replaced || found.generation != key.current.generation {
            return Err(vec![Reason::State(StateProblem::NotReplaceable)]);
        }
        let how = Rotation { force: false, grace: Some(Duration::ZERO), unblock: false };
        let shown = self.rotate(caller, id, how, None, fresh)?;
        let generation = self.keys[&id].current.generation;
        let replaced = RequestFile { generation, is_replaced: true, ..found };
        self.requests.insert(place.clone(), replaced);
        Ok(shown)
    }

    /// Notes for each request at which time a call is made.
    pub(super) fn note_time(&mut self) {
        for request in self.requests.values_mut() {
            request.latest = request.latest.max(self.now);
        }
    }

    /// The names whose requests are all younger than a day, by any time at which a call was made
    /// since: older ones may be gone.
    pub(crate) fn young_requests(&self) -> Vec<(String, RequestFile)> {
        let day = Duration::from_secs(24 * 60 * 60);
        let is_young = |request: &RequestFile| {
            let latest = request.latest.max(self.now);
            latest.since(request.at) < day && request.at.since(self.now) < day
        };
        let all = || self.requests.iter();
        let is_known = |name: &str| {
            all().filter(|((_, other), _)| other == name).all(|(_, request)| is_young(request))
        };
        let young = all().filter(|((_, name), _)| is_known(name));
        young.map(|((_, name), request)| (name.clone(), request.clone())).collect()
    }
}

fn scope(by: &Authority) -> Scope {
    match by.role {
        Role::Administrator => Scope::Administrators,
        Role::Owner { owner } => Scope::Owner(owner),
        Role::Delegate { key, .. } | Role::OwnerByKey { key, .. } => Scope::Key(key),
    }
}

/// All that a request says.
fn content(call: &Call) -> String {
    match call {
        Call::CreateKey { owner, key } => format!("create {owner} {:?}", key.request()),
        Call::Rotate { id, how, expected } => {
            format!("rotate {id} {:?} {expected:?}", how.request())
        }
        other => format!("{other:?}"),
    }
}
