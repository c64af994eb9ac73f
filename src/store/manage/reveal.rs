//! Revealing recoverable tokens: each reveal writes an event.

use super::authorize::{KeyReach, Principal};
use super::list::{PageOfKeys, damaged_usage, owners_of, page_of_keys};
use super::recoverable_tokens::Sealer;
use super::retry::{Decision, attempt};
use crate::authority::Authority;
use crate::backend::{Change, Precondition, Write};
use crate::event::{EventKind, Fields};
use crate::id::KeyId;
use crate::key::KeyRecord;
use crate::store::engine::Engine;
use crate::store::types::error::{Error, Resource};
use crate::store::types::request::ListKeys;
use crate::store::types::views::{Key, Page, RevealedToken};
use crate::store::usage::UsageRecorder;
use crate::token::Token;

/// Reveals a key's current token, if it is recoverable, and writes an event of that.
pub(in crate::store) fn reveal_token(
    engine: &Engine,
    sealer: &Sealer,
    authority: &Authority,
    id: KeyId,
) -> Result<Token, Error> {
    attempt(engine, || {
        let caller = Principal::new(engine, authority)?;
        let (key, _) = caller.load_key(engine, id)?;
        caller.check_within(KeyReach::of(&key))?;
        let token = sealer.unseal(&key)?;
        let token = token.ok_or(Error::NotFound(Resource::RecoverableToken))?;
        let change = caller.with_preconditions(note_reveal(Change::default(), &caller, &key));
        Ok(Decision::commit(change, move |_| token))
    })
}

/// Returns a page of keys with their current tokens, where these are recoverable. Writes an
/// event for each revealed token.
pub(in crate::store) fn reveal_tokens(
    engine: &Engine,
    usage: &UsageRecorder,
    sealer: &Sealer,
    authority: &Authority,
    query: &ListKeys,
) -> Result<Page<RevealedToken>, Error> {
    attempt(engine, || {
        let caller = Principal::new(engine, authority)?;
        caller.check_current()?;
        let PageOfKeys { records, mut damaged, next } =
            page_of_keys(engine, usage, &caller, query)?;
        let metadata = engine.records.metadata().metadata;
        let mut change = Change::default();
        let mut items = Vec::new();
        let owners = owners_of(engine, &records)?;
        let usage = usage.of(&records, caller.now)?;
        for (key, usage) in records.into_iter().zip(usage) {
            let Some(owner) = owners.iter().find(|owner| owner.id == key.owner) else {
                continue;
            };
            let usage = damaged_usage(usage, key.id, &mut damaged);
            let is_within = caller.check_within(KeyReach::of(&key)).is_ok();
            let (token, error) = match is_within.then(|| sealer.unseal(&key)) {
                Some(Err(error @ Error::Seal(_))) => (None, Some(error)),
                unsealed => (unsealed.transpose()?.flatten(), None),
            };
            if token.is_some() {
                change = note_reveal(change, &caller, &key);
            }
            let key =
                Key::new(key, owner, &metadata, (caller.viewer(), caller.now)).with_usage(usage);
            items.push(RevealedToken { key, token, error });
        }
        let page = Page { items, damaged, next };
        if change.operations.is_empty() {
            return Ok(Decision::Answer(page));
        }
        Ok(Decision::commit(caller.with_preconditions(change), move |_| page))
    })
}

/// Adds to a change the event that a key's current token is revealed. The change holds only if the
/// key still has its version.
pub(super) fn note_reveal(change: Change, caller: &Principal<'_>, key: &KeyRecord) -> Change {
    let generation = Some(key.current.generation);
    let event = caller.key_event(EventKind::TokenRevealed, key, Fields::NONE, generation);
    change.requiring(Precondition::Key(key.id, key.version)).and(Write::Nothing, event)
}
