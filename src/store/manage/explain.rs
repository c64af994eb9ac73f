//! Why a token is accepted or not.

use super::authorize::Principal;
use super::leaked_tokens::{TokenMatch, match_token};
use crate::authority::{Authority, Viewer};
use crate::clock::Timestamp;
use crate::id::Generation;
use crate::key::{KeyRecord, PreviousToken, TokenRecord};
use crate::store::engine::{Engine, MetadataState, Records};
use crate::store::types::error::Error;
use crate::store::types::owner_view::Owner;
use crate::store::types::views::Key;
use crate::store::types::{ExplainedToken, Explanation, KeyUsage, Obstacle, ObstacleKind};
use crate::store::usage::UsageRecorder;
use crate::token::{Inspection, Unverified, inspect};

/// Finds all that stands against a token. Reads the backend and not the index, as the search for a
/// leaked token does: it finds ended tokens too, and this counts as no use.
pub(in crate::store) fn explain(
    engine: &Engine,
    usage: &UsageRecorder,
    authority: &Authority,
    token: &[u8],
) -> Result<Explanation, Error> {
    let caller = Principal::new(engine, authority)?;
    caller.require_administrator()?;
    let state = engine.records.metadata();
    let now = caller.now;
    let found = match match_token(engine, &state, token) {
        Err(Error::Backend(error)) => {
            return Ok(Explanation::Damaged(engine.records.noted_damage(error)?));
        }
        found => found?,
    };
    let Some(found) = found else { return unknown(engine, &state, token, now) };
    let usage = usage.of_one(&found.key, now);
    Ok(Explanation::Known(Box::new(known(&engine.records, &state, found, now, usage))))
}

/// Explains a token that no key has.
fn unknown(
    engine: &Engine,
    state: &MetadataState,
    token: &[u8],
    now: Timestamp,
) -> Result<Explanation, Error> {
    let Some(parsed) = Unverified::parse(token) else { return Ok(Explanation::Malformed) };
    let is_mistyped = match inspect(token) {
        Inspection::NotAToken => return Ok(Explanation::Malformed),
        Inspection::Mistyped => true,
        Inspection::WellFormed { .. } => false,
    };
    let key = engine.records.backend.key(parsed.id)?;
    let shown = match key {
        Some(key) => engine.records.backend.owner(&key.owner)?.map(|owner| {
            Box::new(Key::new(key, &owner, &state.metadata, (Viewer::Administrator, now)))
        }),
        None => None,
    };
    Ok(Explanation::Unknown { is_mistyped, key: shown })
}

/// Explains a token that a key has.
fn known(
    records: &Records,
    state: &MetadataState,
    found: TokenMatch,
    now: Timestamp,
    usage: Option<KeyUsage>,
) -> ExplainedToken {
    let obstacles = obstacles(records, state, &found, now);
    let TokenMatch { key, owner, generation } = found;
    let viewer = Viewer::Administrator;
    let (token, grace) = token_of(&key, generation);
    let (prefix, issued_at, is_current) = (token.digest.prefix, token.issued_at, grace.is_none());
    let key = Key::new(key, &owner, &state.metadata, (viewer, now)).with_usage(usage);
    ExplainedToken {
        // Every prefix number in a digest was assigned by this table.
        prefix: state.metadata.prefixes.prefix(prefix).unwrap_or(key.prefix),
        generation,
        is_current,
        issued_at,
        access: key.effective_access(records.catalogue()),
        limits: key.effective_limits(),
        obstacles,
        owner: Owner::new(owner, viewer),
        key,
    }
}

/// Returns a token of a key, and its grace if it is a previous one.
fn token_of(key: &KeyRecord, generation: Generation) -> (&TokenRecord, Option<&PreviousToken>) {
    let mut previous = key.previous.iter();
    let grace = previous.find(|previous| previous.token.generation == generation);
    (grace.map_or(&key.current, |previous| &previous.token), grace)
}

/// Lists all that stands against a token, in the order in which a verification looks.
fn obstacles(
    records: &Records,
    state: &MetadataState,
    found: &TokenMatch,
    now: Timestamp,
) -> Vec<Obstacle> {
    let TokenMatch { key, owner, generation } = found;
    let metadata = &state.metadata;
    let (token, grace) = token_of(key, *generation);
    let is_accepted =
        metadata.prefixes.accepted().any(|accepted| accepted.number == token.digest.prefix);
    let mut all = Vec::new();
    let mut holds = |kind, since| all.push(Obstacle::since(kind, since));
    if !is_accepted {
        holds(ObstacleKind::PrefixNotAccepted, None);
    }
    for (kind, switch) in [
        (ObstacleKind::OwnerSuspended, &owner.suspended),
        (ObstacleKind::Revoked, &key.revoked),
        (ObstacleKind::Blocked, &key.blocked),
        (ObstacleKind::Deactivated, &key.deactivated),
    ] {
        if let Some(switch) = switch {
            holds(kind, Some(switch.at));
        }
    }
    if key.validity_inputs().expires_at.is_some_and(|at| now >= at) {
        holds(ObstacleKind::Expired, key.expires_at);
    }
    if let Some(grace) = grace {
        let is_over = now >= grace.ends_at;
        // A clock that was ahead reckoned its end.
        if is_over || records.graces.is_over(key.id, *generation, &records.clock_watch) {
            holds(ObstacleKind::GraceOver, is_over.then_some(grace.ends_at));
        }
    }
    for (kind, from, epoch) in [
        (ObstacleKind::InvalidatedForOwner, owner.tokens_valid_from, token.epochs.owner),
        (ObstacleKind::InvalidatedForStore, metadata.tokens_valid_from, token.epochs.store),
    ] {
        if let Some(from) = from.filter(|from| from.supersedes(token.issued_at, epoch)) {
            // Otherwise it was stamped by a clock that was ahead, and the end of its epoch reached it.
            let is_earlier = token.issued_at < from.moment;
            holds(kind, Some(if is_earlier { from.moment } else { from.ended_at }));
        }
    }
    if metadata.is_retired(token.digest.pepper) {
        holds(ObstacleKind::PepperRetired, None);
    }
    for (kind, limits) in
        [(ObstacleKind::KeyNotYet, &key.limits), (ObstacleKind::OwnerNotYet, &owner.limits)]
    {
        if let Some(from) = limits.not_before.filter(|from| from.value > now) {
            all.push(Obstacle::until(kind, from.value));
        }
    }
    all
}
