//! Reasons to refuse a call.

use keyhasp::Error;
use keyhasp::backend::PepperUse;
use keyhasp::id::{KeyId, Version};
use keyhasp::store::{ForbiddenReason, PepperProblem, Resource, StateProblem, Unavailable};

/// A reason to refuse a call. If several hold at once, the store may return any of them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reason {
    Conflict {
        expected: Version,
        found: u64,
    },
    DataForbid(&'static str),
    Forbidden(ForbiddenReason),
    NumericIdTaken(u64),
    NumericIdsExhausted,
    IdempotencyKeyReused,
    Invalid(&'static str),
    LastStandardKey,
    NameTaken(KeyId),
    NotFound(Resource),
    OwnerExists,
    /// No pepper of this number is open.
    Pepper(u16),
    PepperCurrent,
    PepperInUse {
        tokens: usize,
        keys: usize,
    },
    PepperUnknown,
    Random,
    Seal,
    State(StateProblem),
    TooManyKeys(u32),
    Unavailable(Unavailable),
    /// An error that no call of a sequence may return.
    Unexpected(String),
}

impl Reason {
    /// Maps the error that a store returned.
    pub(crate) fn of(error: &Error) -> Self {
        match error {
            Error::Conflict { expected, found } => {
                Self::Conflict { expected: *expected, found: found.get() }
            }
            Error::DataForbid { rule } => Self::DataForbid(rule),
            Error::Forbidden(denied) => Self::Forbidden(*denied),
            Error::NumericIdTaken(id) => Self::NumericIdTaken(id.get()),
            Error::NumericIdsExhausted => Self::NumericIdsExhausted,
            Error::IdempotencyKeyReused => Self::IdempotencyKeyReused,
            Error::Invalid(invalid) => Self::Invalid(invalid.field()),
            Error::LastStandardKey => Self::LastStandardKey,
            Error::NameTaken(by) => Self::NameTaken(*by),
            Error::NotFound(kindred) => Self::NotFound(*kindred),
            Error::OwnerExists => Self::OwnerExists,
            Error::Pepper { number, problem: PepperProblem::Missing } => Self::Pepper(*number),
            Error::Pepper { problem: PepperProblem::Current, .. } => Self::PepperCurrent,
            Error::Pepper { problem: PepperProblem::Unknown, .. } => Self::PepperUnknown,
            Error::PepperInUse { used: PepperUse { tokens, keys, .. }, .. } => {
                let count = |count: &u64| usize::try_from(*count).unwrap();
                Self::PepperInUse { tokens: count(tokens), keys: count(keys) }
            }
            Error::Random(_) => Self::Random,
            Error::Seal(_) => Self::Seal,
            Error::State(problem) => Self::State(*problem),
            Error::TooManyKeys { limit } => Self::TooManyKeys(*limit),
            Error::Unavailable(unavailable) => Self::Unavailable(*unavailable),
            other => Self::Unexpected(format!("{other:?}")),
        }
    }

    /// A name for statistics.
    pub(crate) fn name(&self) -> String {
        let text = format!("{self:?}");
        match self {
            Self::Forbidden(ForbiddenReason::BeyondLifetime { .. }) => {
                "Forbidden(BeyondLifetime)".into()
            }
            Self::DataForbid(_)
            | Self::Forbidden(_)
            | Self::Invalid(_)
            | Self::NotFound(_)
            | Self::State(_) => text.replace(['"', ' '], ""),
            _ => text.chars().take_while(char::is_ascii_alphanumeric).collect(),
        }
    }
}
