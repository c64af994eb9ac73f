//! Retiring a pepper: its tokens end, and its number is never used again.

use super::authorize::Principal;
use super::retry::{Decision, attempt, check_version};
use crate::authority::Authority;
use crate::backend::{Change, PepperUse, Write};
use crate::clock::Timestamp;
use crate::event::{EventDraft, EventKind, Fields};
use crate::id::Version;
use crate::key::{PepperNumber, StoreMetadata};
use crate::store::engine::Engine;
use crate::store::types::error::{Error, PepperProblem};
use crate::store::types::request::IfInUse;
use crate::store::types::views::RetiredPepper;
use crate::token::Peppers;

pub(in crate::store) fn retire_pepper(
    engine: &Engine,
    authority: &Authority,
    number: u16,
    if_in_use: IfInUse,
    expected: Option<Version>,
) -> Result<RetiredPepper, Error> {
    attempt(engine, || {
        let caller = Principal::new(engine, authority)?;
        caller.require_administrator()?;
        let before = engine.records.metadata().metadata;
        let pepper = PepperNumber::new(number);
        let given = &engine.records.peppers;
        let made = (caller.now, authority);
        let Some(change) = retirement(&before, given, pepper, if_in_use, made)? else {
            let (ended, version) = (PepperUse::default(), before.version);
            return Ok(Decision::Answer(RetiredPepper { number, ended, version }));
        };
        check_version(expected, before.version)?;
        let version = before.version.next();
        Ok(Decision::commit(change, move |applied| {
            let ended = applied.ended;
            RetiredPepper { number, ended, version }
        }))
    })
}

/// Makes the change that retires a pepper; `None` if it is retired already.
///
/// # Errors
/// `Pepper` for the current one, and for a number that the database doesn't know.
pub(in crate::store) fn retirement(
    before: &StoreMetadata,
    given: &Peppers,
    pepper: PepperNumber,
    if_in_use: IfInUse,
    (at, authority): (Timestamp, &Authority),
) -> Result<Option<Change>, Error> {
    let refused = |problem| Err(Error::Pepper { number: pepper.get(), problem });
    if given.current().0 == pepper {
        return refused(PepperProblem::Current);
    }
    let mut next = StoreMetadata { version: before.version.next(), ..before.clone() };
    match next.peppers.iter_mut().find(|check| check.number == pepper) {
        Some(check) if check.retired => return Ok(None),
        Some(check) => check.retired = true,
        None => return refused(PepperProblem::Unknown),
    }
    let event = EventDraft {
        at,
        kind: EventKind::PepperRetired,
        owner: None,
        key: None,
        version: next.version,
        generation: None,
        fields: Fields::PEPPERS,
        authority: authority.clone(),
    };
    let change = Change::of(Write::ReplaceMetadata(Box::new(next)), event);
    Ok(Some(change.ending_tokens(if_in_use == IfInUse::EndTokens)))
}
