//! From a decision to a commit, and again if the records moved meanwhile.

use crate::backend::{Applied, BackendError, BackendErrorKind, Change, Precondition, Rejection};
use crate::id::Version;
use crate::store::engine::Engine;
use crate::store::types::error::{Error, Resource};

/// How often a call decides anew because others were faster. Each time somebody else got on, so
/// this is never reached by chance.
const MAX_ATTEMPTS: usize = 10_000;

/// What a call decided: to commit something and then answer, or to answer at once.
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

/// Decides and commits, until nothing that the decision rests on moved between the two.
pub(super) fn attempt<'a, T>(
    engine: &Engine,
    decide: impl Fn() -> Result<Decision<'a, T>, Error>,
) -> Result<T, Error> {
    for _ in 0..MAX_ATTEMPTS {
        let (change, answer) = match decide()? {
            Decision::Answer(answer) => return Ok(answer),
            Decision::Commit(change, answer) => (change, answer),
        };
        match engine.commit(change)? {
            Ok(applied) => return Ok(answer(applied)),
            Err(rejection) => {
                if let Some(error) = error_of(engine, rejection)? {
                    return Err(error);
                }
            }
        }
    }
    let kind = BackendErrorKind::TimedOut;
    Err(BackendError::new(kind, engine.backend.name(), "commit").into())
}

/// What a rejection means for the caller; `None` if it is worth another try.
fn error_of(engine: &Engine, rejection: Rejection) -> Result<Option<Error>, Error> {
    Ok(Some(match rejection {
        Rejection::Conflict { of: Precondition::StoreMetadata(_), .. } => {
            engine.reload_metadata()?;
            return Ok(None);
        }
        Rejection::Conflict { .. }
        | Rejection::KeyExists(_)
        | Rejection::KeysChanged
        | Rejection::OwnerHasKeys => return Ok(None),
        Rejection::DataForbid { rule } => Error::DataForbid { rule },
        Rejection::NumericIdTaken(id) => Error::NumericIdTaken(id),
        Rejection::NumericIdsExhausted => Error::NumericIdsExhausted,
        Rejection::LastStandardKey => Error::LastStandardKey,
        Rejection::NameTaken(by) => Error::NameTaken(by),
        Rejection::OwnerExists => Error::OwnerExists,
        Rejection::OwnerMissing => Error::NotFound(Resource::Owner),
        // Only the store tells, and it looks itself at what came of it.
        Rejection::AlreadyAlerted(_) => return Ok(None),
        Rejection::TooManyKeys { limit } => Error::TooManyKeys { limit },
    }))
}

/// A version that the caller expects must be the one found.
pub(in crate::store::manage) fn check_version(
    expected: Option<Version>,
    found: Version,
) -> Result<(), Error> {
    match expected {
        Some(expected) if expected != found => Err(Error::Conflict { expected, found }),
        _ => Ok(()),
    }
}
