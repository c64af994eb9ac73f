//! Graces that a clock reckoned that was ahead, mended.

use super::key_rules::next_version;
use crate::authority::{Actor, Authority, Role};
use crate::backend::{Change, Scanned, Write};
use crate::clock::Timestamp;
use crate::event::{EventDraft, EventKind, Fields};
use crate::id::KeyId;
use crate::key::PreviousToken;
use crate::store::engine::{Engine, is_ahead};
use crate::store::types::error::Error;

/// Mends graces that began at a time to come: each begins now, and lasts for what is left of its
/// length. Does nothing if there is none.
///
/// # Errors
/// [`Error`] if the backend fails. The next call tries again.
pub(in crate::store) fn mend_graces(engine: &Engine) -> Result<(), Error> {
    engine.check_process()?;
    let now = engine.records.now();
    let mut keys = engine.records.graces.keys(&engine.records.clock_watch);
    let (seen, mut latest) = (engine.records.graces.latest(), now);
    if is_ahead(seen, now) {
        latest = find(engine, now, &mut keys)?;
    }
    keys.sort_unstable();
    keys.dedup();
    keys.into_iter().try_for_each(|key| mend(engine, key, now))?;
    // Only now: if one failed, the next call finds it again.
    if is_ahead(seen, now) {
        engine.records.graces.settle(seen, latest);
    }
    Ok(())
}

/// Finds the keys with a grace that began ahead, among all; returns when the latest other grace
/// began, or now.
fn find(engine: &Engine, now: Timestamp, keys: &mut Vec<KeyId>) -> Result<Timestamp, Error> {
    let mut latest = now;
    engine.records.backend.scan(&mut |scanned| {
        if let Scanned::Key(key) = scanned {
            let begins = || key.previous.iter().map(|previous| previous.since);
            if !key.revoked && begins().any(|since| is_ahead(since, now)) {
                keys.push(key.id);
            }
            latest = begins().filter(|since| !is_ahead(*since, now)).fold(latest, Ord::max);
        }
    })?;
    Ok(latest)
}

/// Mends the graces of one key. If another call changes the key meanwhile, the next one mends it.
fn mend(engine: &Engine, id: KeyId, now: Timestamp) -> Result<(), Error> {
    let backend = &engine.records.backend;
    let Some(mut key) = backend.key(id)?.filter(|key| key.revoked.is_none()) else {
        return Ok(());
    };
    let Some(owner) = backend.owner(&key.owner)? else { return Ok(()) };
    let watch = &engine.records.clock_watch;
    let settled =
        |previous: &PreviousToken| engine.records.graces.settled(id, previous, now, watch);
    key.previous = key.previous.iter().map(settled).collect();
    let metadata = engine.records.metadata().metadata;
    let invalidations = owner.invalidations(&metadata);
    let next = next_version(key, now, invalidations);
    let event = EventDraft {
        at: now,
        kind: EventKind::GracesMended,
        owner: Some(next.owner),
        key: Some(id),
        version: next.version,
        generation: None,
        fields: Fields::PREVIOUS_TOKENS,
        authority: Authority::new(Role::Administrator, Actor::store()?),
    };
    engine.commit(Change::of(Write::ReplaceKey(Box::new(next)), event)).map(|_| ())
}
