//! The checks that a database and the given rules and secrets fit, and what an opening adds.

use super::engine::{Engine, stored_metadata};
use super::manage::{Sealer, pepper_retirement};
use super::types::{
    Error, IfInUse, PepperProblem, RecoveryKeyProblem, RetiredPepper, RulesDiffer, RulesShown,
};
use crate::authority::{Actor, Authority, Role};
use crate::backend::{
    Backend, BackendError, BackendErrorKind, Change, PepperUse, Rejection, Write,
};
use crate::clock::Timestamp;
use crate::event::{EventDraft, EventKind, Fields};
use crate::key::{PepperNumber, Prefix, StoreMetadata};
use crate::token::{Mismatch, Peppers};

/// Reads the metadata, or creates the store, with its first event. Of several processes that come
/// here together, one creates it.
pub(super) fn found_or_created(
    backend: &dyn Backend,
    initial: &StoreMetadata,
    at: Timestamp,
) -> Result<StoreMetadata, Error> {
    if let Some(found) = backend.metadata()? {
        return Ok(found);
    }
    let event = EventDraft {
        at,
        kind: EventKind::StoreCreated,
        owner: None,
        key: None,
        version: initial.version,
        generation: None,
        fields: Fields::NONE,
        authority: by_store()?,
    };
    let change = Change::of(Write::CreateMetadata(Box::new(initial.clone())), event);
    match &backend.commit(&[change])?[..] {
        [Ok(_)] => Ok(initial.clone()),
        _ => stored_metadata(backend),
    }
}

/// Checks that the database has the rules and accepts the prefixes that the store is opened with.
pub(super) fn check_rules(stored: &StoreMetadata, given: &StoreMetadata) -> Result<(), Error> {
    let shown = |metadata: &StoreMetadata| {
        let mut prefixes: Vec<Prefix> =
            metadata.prefixes.accepted().map(|entry| entry.prefix).collect();
        prefixes.sort_unstable_by_key(|prefix| prefix.as_str().to_owned());
        RulesShown { rules: metadata.rules, prefixes }
    };
    let (stored, given) = (shown(stored), shown(given));
    if stored == given {
        return Ok(());
    }
    Err(Error::RulesDiffer(Box::new(RulesDiffer { stored, given })))
}

/// Checks the given peppers and recovery keys: the database knows no other secret under the number
/// of one, and none of them under another number, and the current pepper isn't retired.
pub(super) fn check_secrets(
    stored: &StoreMetadata,
    peppers: &Peppers,
    sealer: &Sealer,
) -> Result<(), Error> {
    let of_pepper = |number, problem| Err(Error::Pepper { number, problem });
    match peppers.mismatch(&stored.peppers) {
        Some(Mismatch::Wrong { number }) => return of_pepper(number, PepperProblem::Wrong),
        Some(Mismatch::KnownAs { number, known_as }) => {
            return of_pepper(number, PepperProblem::KnownAs(known_as));
        }
        None => {}
    }
    let (current, _) = peppers.current();
    if stored.is_retired(current) {
        return of_pepper(current.get(), PepperProblem::Retired);
    }
    let of_key = |number, problem| Err(Error::RecoveryKey { number, problem });
    match sealer.mismatch(&stored.recovery_keys) {
        Some(Mismatch::Wrong { number }) => of_key(number, RecoveryKeyProblem::Wrong),
        Some(Mismatch::KnownAs { number, known_as }) => {
            of_key(number, RecoveryKeyProblem::KnownAs(known_as))
        }
        None => Ok(()),
    }
}

/// Retires peppers, before the records are loaded: those that are lost would keep the index from
/// loading. Returns one result for each.
pub(super) fn retire_peppers(
    backend: &dyn Backend,
    peppers: &Peppers,
    retiring: &[(u16, IfInUse)],
    at: Timestamp,
) -> Result<Vec<RetiredPepper>, Error> {
    let retire = |(number, if_in_use): &(u16, IfInUse)| {
        retire_pepper(backend, peppers, (*number, *if_in_use), at)
    };
    retiring.iter().map(retire).collect()
}

fn retire_pepper(
    backend: &dyn Backend,
    peppers: &Peppers,
    (number, if_in_use): (u16, IfInUse),
    at: Timestamp,
) -> Result<RetiredPepper, Error> {
    let (authority, pepper) = (by_store()?, PepperNumber::new(number));
    loop {
        let before = stored_metadata(backend)?;
        let made = (at, &authority);
        let change = pepper_retirement::retirement(&before, peppers, pepper, if_in_use, made)?;
        let Some(change) = change else {
            return Ok(RetiredPepper {
                number,
                ended: PepperUse::default(),
                version: before.version,
            });
        };
        match backend.commit(std::slice::from_ref(&change))?.pop() {
            Some(Ok(applied)) => {
                let version = before.version.next();
                return Ok(RetiredPepper { number, ended: applied.ended, version });
            }
            // Another process committed first.
            Some(Err(Rejection::Conflict { .. })) => {}
            Some(Err(Rejection::PepperInUse { used, .. })) => {
                return Err(Error::PepperInUse { number, used });
            }
            // A page that can't be read.
            Some(Err(Rejection::Damaged(damage))) => {
                return Err(BackendError::damaged(backend.name(), "retire pepper", *damage).into());
            }
            // The backend breaks its contract: the outcome of the change is unknown.
            Some(Err(_)) | None => {
                let kind = BackendErrorKind::OutcomeUnknown;
                return Err(BackendError::new(kind, backend.name(), "commit").into());
            }
        }
    }
}

/// Stores the check values of peppers and recovery keys that the database doesn't know yet.
pub(super) fn add_secrets(engine: &Engine, sealer: &Sealer) -> Result<(), Error> {
    let (peppers, authority) = (&engine.records.peppers, by_store()?);
    loop {
        let before = engine.records.metadata().metadata;
        let Some((next, kind, fields)) = adding(&before, peppers, sealer) else { return Ok(()) };
        let event = EventDraft {
            at: engine.records.now(),
            kind,
            owner: None,
            key: None,
            version: next.version,
            generation: None,
            fields,
            authority: authority.clone(),
        };
        let change = Change::of(Write::ReplaceMetadata(Box::new(next)), event);
        match engine.commit(change)? {
            Ok(_) => {}
            Err(Rejection::Conflict { .. }) => {
                // Another process committed first: check its secrets like those found at opening.
                let stored = engine.records.stored_metadata()?;
                let known = engine.records.metadata().metadata;
                check_rules(&stored, &known)?;
                check_secrets(&stored, peppers, sealer)?;
                engine.records.put_metadata(&stored)?;
            }
            Err(_) => return Ok(()),
        }
    }
}

/// Adds the check values that metadata lacks, those of peppers first. Returns `None` if it lacks
/// none.
fn adding(
    before: &StoreMetadata,
    peppers: &Peppers,
    sealer: &Sealer,
) -> Option<(StoreMetadata, EventKind, Fields)> {
    let mut next = StoreMetadata { version: before.version.next(), ..before.clone() };
    let lacks_pepper = |number| before.peppers.iter().all(|known| known.number != number);
    next.peppers.extend(peppers.checks().into_iter().filter(|check| lacks_pepper(check.number)));
    if next.peppers.len() > before.peppers.len() {
        next.peppers.sort_unstable_by_key(|check| check.number);
        return Some((next, EventKind::PepperAdded, Fields::PEPPERS));
    }
    let lacks_key = |number| before.recovery_keys.iter().all(|known| known.number != number);
    next.recovery_keys.extend(sealer.checks().into_iter().filter(|check| lacks_key(check.number)));
    if next.recovery_keys.len() > before.recovery_keys.len() {
        next.recovery_keys.sort_unstable_by_key(|check| check.number);
        return Some((next, EventKind::RecoveryKeyAdded, Fields::RECOVERY_KEYS));
    }
    None
}

fn by_store() -> Result<Authority, Error> {
    Ok(Authority::new(Role::Administrator, Actor::store()?))
}
