//! Tokens that were found in public: whose they are.

use constant_time_eq::constant_time_eq_n;

use super::authorize::{Principal, has_begun, standing_of};
use super::key_rules;
use super::keys::Manager;
use super::retry::{Decision, attempt};
use crate::authority::{Authority, Reason};
use crate::backend::{Change, Write};
use crate::clock::Timestamp;
use crate::id::Generation;
use crate::key::{KeyRecord, OwnerRecord};
use crate::store::engine::MetadataState;
use crate::store::types::KeyUsage;
use crate::store::types::error::{Error, PepperProblem};
use crate::store::types::request::KeyAction;
use crate::store::types::views::{FoundToken, Key};
use crate::token::Unverified;

impl Manager {
    /// Which key and generation a token is. Looks at what is stored, not at the index: it is no
    /// use of the token, and tells of dead ones too.
    pub(in crate::store) fn identify(
        &self,
        by: &Authority,
        token: &[u8],
    ) -> Result<Option<FoundToken>, Error> {
        let caller = Principal::new(&self.engine, by)?;
        caller.require_administrator()?;
        let state = self.engine.metadata();
        let whose = self.whose(&state, token)?;
        Ok(whose.map(|whose| {
            let usage = self.usage.of_one(&whose.key, caller.now);
            whose.found(&state, usage, caller.now)
        }))
    }

    /// The same, and blocks the key, unless it is revoked or blocked already, or the token is one
    /// that can't do harm any more: nobody is to stop a key by publishing what it has replaced.
    pub(in crate::store) fn block_leaked(
        &self,
        by: &Authority,
        token: &[u8],
    ) -> Result<Option<FoundToken>, Error> {
        attempt(&self.engine, || {
            Principal::new(&self.engine, by)?.require_administrator()?;
            let state = self.engine.metadata();
            let Some(mut whose) = self.whose(&state, token)? else {
                return Ok(Decision::Answer(None));
            };
            let by = because_of(by, whose.generation)?;
            let caller = Principal::new(&self.engine, &by)?;
            let around = self.policy_context(&whose.owner, &state);
            let now = caller.now;
            let changed = if whose.is_over(&state, now) {
                None
            } else {
                key_rules::act(&caller, &whose.key, &KeyAction::Block, around)?
            };
            let usage = self.usage.of_one(&whose.key, now);
            let Some(changed) = changed else {
                return Ok(Decision::Answer(Some(whose.found(&state, usage, now))));
            };
            whose.key = changed.record;
            let generation = Some(whose.generation);
            let event = caller.key_event(changed.kind, &whose.key, changed.fields, generation);
            let change = Change::of(Write::ReplaceKey(Box::new(whose.key.clone())), event);
            Ok(Decision::commit(change, move |_| Some(whose.found(&state, usage, now))))
        })
    }

    /// Whose a token is; `None` if no key has it, or none has it any more.
    fn whose(&self, state: &MetadataState, token: &[u8]) -> Result<Option<Whose>, Error> {
        let Some(token) = Unverified::parse(token) else { return Ok(None) };
        let Some(key) = self.engine.backend.key(token.id)? else { return Ok(None) };
        let Some(owner) = self.engine.backend.owner(&key.owner)? else { return Ok(None) };
        let mut unknown = None;
        let previous = key.previous.iter().map(|previous| &previous.token);
        for record in std::iter::once(&key.current).chain(previous) {
            let stored = &record.digest;
            let prefix = state.metadata.prefixes.prefix(stored.prefix);
            if prefix.is_none_or(|prefix| prefix.as_bytes() != token.prefix) {
                continue;
            }
            let mut open = self.engine.peppers.iter();
            let Some((_, pepper)) = open.find(|(number, _)| *number == stored.pepper) else {
                unknown = Some(stored.pepper.get());
                continue;
            };
            if constant_time_eq_n(&token.digest(pepper), stored.expose()) {
                let generation = record.generation;
                return Ok(Some(Whose { key, owner, generation }));
            }
        }
        match unknown {
            // It may be that one: better no answer than a wrong one.
            Some(number) => Err(Error::Pepper { number, problem: PepperProblem::Missing }),
            None => Ok(None),
        }
    }
}

/// Whose a token is.
struct Whose {
    key: KeyRecord,
    owner: OwnerRecord,
    generation: Generation,
}

impl Whose {
    /// Whether nothing can make the token good again: its key is revoked, or it was superseded.
    fn is_over(&self, state: &MetadataState, now: Timestamp) -> bool {
        let standing = standing_of(&self.key, &self.owner, &state.metadata, self.generation);
        let ends_at = standing.map(|standing| standing.ends_at);
        let is_superseded = ends_at.is_none_or(|end| end.is_some_and(|end| end <= now));
        self.key.revoked.is_some() || is_superseded
    }

    fn found(self, state: &MetadataState, usage: Option<KeyUsage>, now: Timestamp) -> FoundToken {
        let Self { key, owner, generation } = self;
        let prefix = key.current.digest.prefix;
        let is_prefix_accepted =
            state.metadata.prefixes.accepted().any(|accepted| accepted.number == prefix);
        // A change may just have ended it for good.
        let standing = standing_of(&key, &owner, &state.metadata, generation);
        let is_fit = standing.is_some_and(|standing| standing.rejected_for(now).is_none());
        FoundToken {
            generation,
            is_current: generation == key.current.generation,
            is_accepted: is_prefix_accepted && is_fit && has_begun(&key, &owner, now),
            key: Key::new(key, &owner, &state.metadata, now).with_usage(usage),
        }
    }
}

/// The authority with a reason, for who gave none.
fn because_of(by: &Authority, generation: Generation) -> Result<Authority, Error> {
    let mut by = by.clone();
    if by.reason.is_none() {
        let text = format!("token of generation {generation} found in public");
        by.reason = Some(Reason::new(text)?);
    }
    Ok(by)
}
