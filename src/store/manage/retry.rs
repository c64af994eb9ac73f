//! Deciding and committing, and doing both again if a record changed in between.

use crate::backend::{Applied, BackendError, BackendErrorKind, Change, Precondition, Rejection};
use crate::id::Version;
use crate::store::engine::Engine;
use crate::store::types::error::{Error, Resource};

/// Largest number of times that a call decides. Each time before, another thread or process has
/// committed, so chance never reaches this number.
const MAX_ATTEMPTS: usize = 10_000;

/// The decision of a call: to commit a change and then answer, or to answer at once.
pub(in crate::store::manage) enum Decision<'a, T> {
    /// Nothing changes.
    Answer(T),
    /// A change, and the answer once it is committed.
    Commit(Change, Box<dyn FnOnce(Applied) -> T + 'a>),
}

impl<'a, T> Decision<'a, T> {
    pub(in crate::store::manage) fn commit(
        change: Change,
        answer: impl FnOnce(Applied) -> T + 'a,
    ) -> Self {
        Self::Commit(change, Box::new(answer))
    }
}

/// Decides and commits; does both again as long as a record of the decision changed in between.
pub(super) fn attempt<'a, T>(
    engine: &Engine,
    decide: impl Fn() -> Result<Decision<'a, T>, Error>,
) -> Result<T, Error> {
    attempt_again_if(engine, |_| false, decide)
}

/// Does the same, and decides again also after the rejections that `is_overtaken` names: they mean
/// that another caller was first.
pub(super) fn attempt_again_if<'a, T>(
    engine: &Engine,
    is_overtaken: impl Fn(&Rejection) -> bool,
    decide: impl Fn() -> Result<Decision<'a, T>, Error>,
) -> Result<T, Error> {
    for _ in 0..MAX_ATTEMPTS {
        let (change, answer) = match decide()? {
            Decision::Answer(answer) => {
                // What the answer shows may be another caller's change, on its way to the index.
                engine.await_published()?;
                return Ok(answer);
            }
            Decision::Commit(change, answer) => (change, answer),
        };
        match engine.commit_and(change, |outcome| outcome.map(answer))? {
            Ok(answer) => return Ok(answer),
            Err(rejection) if is_overtaken(&rejection) => {}
            Err(rejection) => {
                if let Some(error) = error_of(engine, rejection)? {
                    return Err(error);
                }
            }
        }
    }
    let kind = BackendErrorKind::TimedOut;
    Err(BackendError::new(kind, engine.records.backend.name(), "commit").into())
}

/// Maps a rejection of a change to the caller's error; `None` if the call must decide again.
fn error_of(engine: &Engine, rejection: Rejection) -> Result<Option<Error>, Error> {
    Ok(Some(match rejection {
        Rejection::Conflict { of: Precondition::StoreMetadata(_), .. } => {
            engine.records.reload_metadata()?;
            return Ok(None);
        }
        Rejection::AlreadyRequested
        | Rejection::Conflict { .. }
        | Rejection::KeyExists(_)
        | Rejection::KeysChanged
        | Rejection::OwnerReplaced
        | Rejection::OwnerHasKeys => return Ok(None),
        Rejection::Damaged(damage) => {
            BackendError::damaged(engine.records.backend.name(), "commit", *damage).into()
        }
        Rejection::DataForbid { rule } => Error::DataForbid { rule },
        Rejection::NumericIdTaken(id) => Error::NumericIdTaken(id),
        Rejection::NumericIdsExhausted => Error::NumericIdsExhausted,
        Rejection::LastStandardKey => Error::LastStandardKey,
        Rejection::NameTaken(by) => Error::NameTaken(by),
        Rejection::OwnerExists => Error::OwnerExists,
        Rejection::OwnerMissing => Error::NotFound(Resource::Owner),
        // Only the alert scanner records alerts, and it handles this rejection itself.
        Rejection::AlreadyAlerted(_) => return Ok(None),
        Rejection::PepperInUse { number, used } => {
            Error::PepperInUse { number: number.get(), used }
        }
        Rejection::SweepsPending(owner) => {
            engine.finish_sweeps(Some(&owner))?;
            return Ok(None);
        }
        Rejection::TooManyKeys { limit } => Error::TooManyKeys { limit },
        // A store was created before it was opened, so the backend has lost its record.
        Rejection::StoreExists | Rejection::StoreMissing => {
            let (kind, backend) = (BackendErrorKind::Corrupt, engine.records.backend.name());
            BackendError::new(kind, backend, "commit").with_source(rejection).into()
        }
    }))
}

/// Checks that a record has the version that the caller expects.
pub(in crate::store::manage) fn check_version(
    expected: Option<Version>,
    found: Version,
) -> Result<(), Error> {
    match expected {
        Some(expected) if expected != found => Err(Error::Conflict { expected, found }),
        _ => Ok(()),
    }
}
