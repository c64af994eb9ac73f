//! Ending keys whose records are damaged, by entries that lie over the records.

use super::authorize::Principal;
use super::retry::{Decision, attempt};
use crate::authority::{Authority, Role};
use crate::backend::{
    BackendError, BackendErrorKind, Change, Damage, DamagedRecord, DamagedRow, Write,
};
use crate::event::{EventDraft, EventKind, Fields};
use crate::id::{KeyId, OwnerId, Version};
use crate::key::Quarantine;
use crate::store::engine::Engine;
use crate::store::types::error::{Error, ForbiddenReason, Resource};
use crate::store::types::request::KeyAction;
use crate::store::types::views::{ChangedKey, DamagedEntry};

/// The ways to end a key without reading its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Block,
    Revoke,
}

/// Answers a call that failed on a damaged record. An action that ends the key is done all the
/// same; of any other the error stands.
pub(super) fn or_quarantine(
    engine: &Engine,
    authority: &Authority,
    id: KeyId,
    action: &KeyAction,
    answer: Result<ChangedKey, Error>,
) -> Result<ChangedKey, Error> {
    let ending = match action {
        KeyAction::Block => Ending::Block,
        KeyAction::Revoke => Ending::Revoke,
        _ => return answer,
    };
    match cause_of(engine, authority, id, &answer) {
        Some(cause) => quarantine(engine, authority, id, ending, &cause)
            .map(|entry| ChangedKey::Damaged(Box::new(entry))),
        None => answer,
    }
}

/// Returns the damage for which a call on a key has failed. It may be a page of the file.
fn cause_of<T>(
    engine: &Engine,
    authority: &Authority,
    id: KeyId,
    answer: &Result<T, Error>,
) -> Option<BackendError> {
    match answer {
        Err(Error::Backend(error)) if error.kind() == BackendErrorKind::Corrupt => {
            Some(error.clone())
        }
        // The owner's record is lost, or the key's own can't be found any more.
        Err(Error::NotFound(Resource::Key)) if authority.role == Role::Administrator => {
            engine.records.damages.key(id).map(|row| error_of(engine, row.damage))
        }
        _ => None,
    }
}

fn error_of(engine: &Engine, damage: Damage) -> BackendError {
    BackendError::damaged(engine.records.backend.name(), "read key", damage)
}

/// Ends one key, and shows its entry. Done again, it changes nothing.
fn quarantine(
    engine: &Engine,
    authority: &Authority,
    id: KeyId,
    ending: Ending,
    cause: &BackendError,
) -> Result<DamagedEntry, Error> {
    attempt(engine, || {
        let caller = Principal::new(engine, authority)?;
        let owner = engine.records.index.owner_of(id);
        check_may_end(&caller, ending, owner, cause)?;
        caller.check_may_end(id)?;
        let (entry, event) = end(engine, &caller, id, ending)?;
        let row = DamagedRow {
            quarantine: Some(Box::new(entry.clone())),
            ..DamagedRow::new(damage_of(id, cause))
        };
        let shown = DamagedEntry::new(row, caller.viewer());
        let Some(event) = event else { return Ok(Decision::Answer(shown)) };
        let change = Change::of(Write::Quarantine(Box::new(entry)), event);
        Ok(Decision::commit(caller.with_preconditions(change), |_| shown))
    })
}

/// Adds to a change that revokes many keys those of them that are damaged.
pub(super) fn revoke_damaged(
    mut change: Change,
    engine: &Engine,
    caller: &Principal<'_>,
    damaged: &[DamagedRow],
) -> Result<Change, Error> {
    for row in damaged {
        let Some(id) = row.key() else { continue };
        let error = error_of(engine, row.damage.clone());
        check_may_end(caller, Ending::Revoke, engine.records.index.owner_of(id), &error)?;
        if let (entry, Some(event)) = end(engine, caller, id, Ending::Revoke)? {
            change = change.and(Write::Quarantine(Box::new(entry)), event);
        }
    }
    Ok(change)
}

/// Checks that the caller may end a key of this owner. An administrator may always; an owner may
/// revoke a key of which the verification index has a whole row, so that its owner is certain.
fn check_may_end(
    caller: &Principal<'_>,
    ending: Ending,
    owner: Option<OwnerId>,
    cause: &BackendError,
) -> Result<(), Error> {
    match (owner, ending) {
        _ if caller.is_administrator() => Ok(()),
        (Some(owner), _) if !caller.reaches(&owner) => Err(Error::NotFound(Resource::Key)),
        (_, Ending::Block) => Err(Error::Forbidden(ForbiddenReason::AdministratorOnly)),
        (Some(_), Ending::Revoke) => Ok(()),
        (None, Ending::Revoke) => Err(Error::Backend(cause.clone())),
    }
}

/// Returns the entry of a key as it ends the key, and the event of that, unless the entry says so
/// already.
fn end(
    engine: &Engine,
    caller: &Principal<'_>,
    id: KeyId,
    ending: Ending,
) -> Result<(Quarantine, Option<EventDraft>), Error> {
    let known = engine.records.backend.quarantine(id)?;
    let version = known.as_ref().map_or(Version::FIRST, |entry| entry.version.next());
    let empty = || {
        let owner = engine.records.index.owner_of(id);
        Quarantine { id, owner, version, blocked: None, revoked: None }
    };
    let mut entry = known.unwrap_or_else(empty);
    let is_revoked = entry.revoked.is_some();
    let (switch, kind, field) = match ending {
        Ending::Block => (&mut entry.blocked, EventKind::KeyBlocked, Fields::BLOCKED),
        Ending::Revoke => (&mut entry.revoked, EventKind::KeyRevoked, Fields::REVOKED),
    };
    if switch.is_some() || is_revoked {
        return Ok((entry, None));
    }
    *switch = Some(caller.switch());
    entry.version = version;
    let event =
        EventDraft { owner: entry.owner, key: Some(id), ..caller.event(kind, version, field) };
    Ok((entry, Some(event)))
}

/// Answers a purge that failed on a damaged record: the key is removed with its quarantine entry.
pub(super) fn or_purge(
    engine: &Engine,
    authority: &Authority,
    id: KeyId,
    answer: Result<(), Error>,
) -> Result<(), Error> {
    if cause_of(engine, authority, id, &answer).is_none() {
        return answer;
    }
    attempt(engine, || {
        let caller = Principal::new(engine, authority)?;
        caller.require_administrator()?;
        let change = remove(Change::default(), engine, &caller, id)?;
        Ok(Decision::commit(change, |_| ()))
    })
}

fn remove(
    change: Change,
    engine: &Engine,
    caller: &Principal<'_>,
    id: KeyId,
) -> Result<Change, Error> {
    let entry = engine.records.backend.quarantine(id)?;
    let (owner, version) =
        entry.map_or((None, Version::FIRST), |entry| (entry.owner, entry.version));
    let owner = owner.or_else(|| engine.records.index.owner_of(id));
    let event = caller.event(EventKind::KeyPurged, version, Fields::NONE);
    let event = EventDraft { owner, key: Some(id), ..event };
    Ok(change.and(Write::RemoveDamagedKey(id), event))
}

/// Names the key in the damage that an error is about: its owner's record may be the damaged one,
/// or a page of the file.
fn damage_of(id: KeyId, error: &BackendError) -> Damage {
    let record = DamagedRecord::Key(id);
    error.damage().cloned().unwrap_or_else(|| Damage::new("keys", "id", record))
}
