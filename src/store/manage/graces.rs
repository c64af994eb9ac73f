//! Graces that a clock reckoned that was ahead, mended.

use std::collections::BTreeSet;

use super::key_rules::next_version;
use crate::authority::{Actor, Authority, Role};
use crate::backend::{BackendErrorKind, Change, Rejection, Scanned, Write};
use crate::clock::Timestamp;
use crate::event::{EventDraft, EventKind, Fields};
use crate::id::KeyId;
use crate::key::PreviousToken;
use crate::store::engine::{Engine, is_ahead};
use crate::store::types::error::Error;

/// Mends graces that began at a time to come: each begins now, and lasts for what is left of its
/// length. Does nothing if there is none.
///
/// Looks at all keys if a grace may have begun ahead that isn't known to be due; once, whatever becomes
/// of the keys that it finds. A key that can't be mended, since it or its owner is damaged, keeps no other
/// one waiting, and is tried again after a minute.
///
/// # Errors
/// [`Error`] if the backend fails, or if a key can't be mended. A later call tries again.
pub(in crate::store) fn mend_graces(engine: &Engine) -> Result<(), Error> {
    engine.check_process()?;
    let (graces, watch) = (&engine.records.graces, &engine.records.clock_watch);
    let now = engine.records.now();
    let mut keys = graces.due(watch);
    let seen = graces.latest();
    let mut result = Ok(());
    if is_ahead(seen, now) {
        match find(engine, now) {
            Ok((found, latest)) => {
                // Before that is settled: the next call finds them here.
                graces.add_due(&found);
                graces.settle(seen, latest);
                keys.extend(found);
            }
            Err(error) => result = Err(error),
        }
    }
    for key in keys {
        let mending = graces.begin(key);
        match mend(engine, key, now) {
            Ok(Ok(())) => mending.end(),
            // Another call has changed the key meanwhile. The next one mends it.
            Ok(Err(Rejection::Conflict { .. })) => {}
            Ok(Err(_)) => mending.put_off(watch),
            Err(Error::Backend(error)) if error.kind() == BackendErrorKind::Corrupt => {
                mending.put_off(watch);
                result = Err(error.into());
            }
            // Others would fail too.
            Err(error) => return Err(error),
        }
    }
    result
}

/// Finds the keys with a grace that began ahead, among all; returns them, and when the latest other
/// grace began, or now.
fn find(engine: &Engine, now: Timestamp) -> Result<(BTreeSet<KeyId>, Timestamp), Error> {
    let (mut keys, mut latest) = (BTreeSet::new(), now);
    engine.records.backend.scan(&mut |scanned| {
        if let Scanned::Key(key) = scanned {
            let begins = || key.previous.iter().map(|previous| previous.since);
            if !key.revoked && begins().any(|since| is_ahead(since, now)) {
                keys.insert(key.id);
            }
            latest = begins().filter(|since| !is_ahead(*since, now)).fold(latest, Ord::max);
        }
    })?;
    Ok((keys, latest))
}

/// Mends the graces of one key.
fn mend(engine: &Engine, id: KeyId, now: Timestamp) -> Result<Result<(), Rejection>, Error> {
    let backend = &engine.records.backend;
    let Some(mut key) = backend.key(id)?.filter(|key| key.revoked.is_none()) else {
        return Ok(Ok(()));
    };
    let Some(owner) = backend.owner(&key.owner)? else { return Ok(Ok(())) };
    let watch = &engine.records.clock_watch;
    let settled =
        |previous: &PreviousToken| engine.records.graces.settled(id, previous, now, watch);
    let previous: Vec<PreviousToken> = key.previous.iter().map(settled).collect();
    let times = |previous: &PreviousToken| (previous.since, previous.ends_at);
    if previous.iter().map(times).eq(key.previous.iter().map(times)) {
        // Another call has mended them.
        return Ok(Ok(()));
    }
    key.previous = previous;
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
    engine
        .commit(Change::of(Write::ReplaceKey(Box::new(next)), event))
        .map(|outcome| outcome.map(drop))
}
