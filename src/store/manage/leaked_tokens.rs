//! Leaked tokens: finding the key of a token that was found in public, and blocking it.

use constant_time_eq::constant_time_eq_n;

use super::authorize::{Principal, has_begun, validity_of};
use super::key_rules::{self, PolicyContext};
use super::retry::{Decision, attempt};
use crate::authority::{Authority, Reason, Viewer};
use crate::backend::{Change, Write};
use crate::clock::Timestamp;
use crate::id::Generation;
use crate::key::{KeyRecord, OwnerRecord};
use crate::store::engine::{Engine, MetadataState};
use crate::store::types::KeyUsage;
use crate::store::types::error::{Error, PepperProblem};
use crate::store::types::request::KeyAction;
use crate::store::types::views::{FoundToken, Key};
use crate::store::usage::UsageRecorder;
use crate::token::Unverified;

/// Finds the key and generation of a leaked token. Reads the backend and not the index: this
/// counts as no use of the token, and finds ended tokens too.
pub(in crate::store) fn identify(
    engine: &Engine,
    usage: &UsageRecorder,
    authority: &Authority,
    token: &[u8],
) -> Result<Option<FoundToken>, Error> {
    let caller = Principal::new(engine, authority)?;
    caller.require_administrator()?;
    let state = engine.records.metadata();
    let matched = match_token(engine, &state, token)?;
    Ok(matched.map(|matched| {
        let usage = usage.of_one(&matched.key, caller.now);
        matched.into_found(&state, usage, caller.now)
    }))
}

/// Finds the key of a leaked token, and blocks it. Leaves the key as it is if it is revoked or
/// blocked already, or if the token has ended for good: otherwise an attacker could stop a key
/// by publishing a token that the key has replaced.
pub(in crate::store) fn block_leaked(
    engine: &Engine,
    usage: &UsageRecorder,
    authority: &Authority,
    token: &[u8],
) -> Result<Option<FoundToken>, Error> {
    attempt(engine, || {
        Principal::new(engine, authority)?.require_administrator()?;
        let state = engine.records.metadata();
        let Some(mut matched) = match_token(engine, &state, token)? else {
            return Ok(Decision::Answer(None));
        };
        let authority = with_default_reason(authority, matched.generation)?;
        let caller = Principal::new(engine, &authority)?;
        let context =
            PolicyContext::new(engine.records.catalogue(), &matched.owner, &state.metadata);
        let now = caller.now;
        let changed = if matched.is_over(&state, now) {
            None
        } else {
            key_rules::act(&caller, &matched.key, &KeyAction::Block, context)?
        };
        let usage = usage.of_one(&matched.key, now);
        let Some(changed) = changed else {
            return Ok(Decision::Answer(Some(matched.into_found(&state, usage, now))));
        };
        matched.key = changed.record;
        let generation = Some(matched.generation);
        let event = caller.key_event(changed.kind, &matched.key, changed.fields, generation);
        let change = Change::of(Write::ReplaceKey(Box::new(matched.key.clone())), event);
        Ok(Decision::commit(change, move |_| Some(matched.into_found(&state, usage, now))))
    })
}

/// Finds the key that stores a token's digest; `None` if no key stores it, or none any more.
pub(super) fn match_token(
    engine: &Engine,
    state: &MetadataState,
    token: &[u8],
) -> Result<Option<TokenMatch>, Error> {
    let Some(token) = Unverified::parse(token) else { return Ok(None) };
    let Some(key) = engine.records.backend.key(token.id)? else { return Ok(None) };
    let Some(owner) = engine.records.backend.owner(&key.owner)? else { return Ok(None) };
    let mut missing_pepper = None;
    let previous = key.previous.iter().map(|previous| &previous.token);
    for record in std::iter::once(&key.current).chain(previous) {
        let stored = &record.digest;
        let prefix = state.metadata.prefixes.prefix(stored.prefix);
        if prefix.is_none_or(|prefix| prefix.as_bytes() != token.prefix) {
            continue;
        }
        let mut open = engine.records.peppers.iter();
        let Some((_, pepper)) = open.find(|(number, _)| *number == stored.pepper) else {
            // Under a retired pepper there is no token any more.
            if !state.metadata.is_retired(stored.pepper) {
                missing_pepper = Some(stored.pepper.get());
            }
            continue;
        };
        if constant_time_eq_n(&token.digest(pepper), stored.expose()) {
            let generation = record.generation;
            return Ok(Some(TokenMatch { key, owner, generation }));
        }
    }
    match missing_pepper {
        // The token may match the digest under this pepper, so `None` could be wrong.
        Some(number) => Err(Error::Pepper { number, problem: PepperProblem::Missing }),
        None => Ok(None),
    }
}

/// The key that a token matches.
pub(super) struct TokenMatch {
    pub(super) key: KeyRecord,
    pub(super) owner: OwnerRecord,
    pub(super) generation: Generation,
}

impl TokenMatch {
    /// Returns whether the token has ended for good: its key is revoked, or a later token or a
    /// `tokens_valid_from` has superseded it.
    fn is_over(&self, state: &MetadataState, now: Timestamp) -> bool {
        let validity = validity_of(&self.key, &self.owner, &state.metadata, self.generation);
        let ends_at = validity.map(|validity| validity.ends_at);
        let is_superseded = ends_at.is_none_or(|end| end.is_some_and(|end| end <= now));
        self.key.revoked.is_some() || is_superseded
    }

    fn into_found(
        self,
        state: &MetadataState,
        usage: Option<KeyUsage>,
        now: Timestamp,
    ) -> FoundToken {
        let Self { key, owner, generation } = self;
        let prefix = key.current.digest.prefix;
        let is_prefix_accepted =
            state.metadata.prefixes.accepted().any(|accepted| accepted.number == prefix);
        // `None` if the change of this call has dropped the ended generation from the record.
        let validity = validity_of(&key, &owner, &state.metadata, generation);
        let is_valid = validity.is_some_and(|validity| validity.rejected_for(now).is_none());
        FoundToken {
            generation,
            is_current: generation == key.current.generation,
            is_accepted: is_prefix_accepted && is_valid && has_begun(&key, &owner, now),
            // Only administrators identify tokens.
            key: Key::new(key, &owner, &state.metadata, (Viewer::Administrator, now))
                .with_usage(usage),
        }
    }
}

/// Gives an authority that has no reason a default one.
fn with_default_reason(authority: &Authority, generation: Generation) -> Result<Authority, Error> {
    let mut authority = authority.clone();
    if authority.reason.is_none() {
        let text = format!("token of generation {generation} found in public");
        authority.reason = Some(Reason::new(text)?);
    }
    Ok(authority)
}
