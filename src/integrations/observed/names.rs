//! Outcomes by name: few, known beforehand, and none of them made of what a client sent.

#[cfg(feature = "metrics")]
use crate::key::RejectKind;
use crate::store::{Error, VerifyError};

/// All outcomes of a verification, in no particular order.
#[cfg(feature = "metrics")]
pub(in crate::integrations) fn verification_outcomes() -> impl Iterator<Item = &'static str> {
    let others = ["accepted", "unrecognized", "unavailable"];
    others.into_iter().chain(RejectKind::ALL.iter().map(|kind| kind.name()))
}

/// The name of a verification's outcome.
pub(in crate::integrations) fn verification_outcome<T>(
    answer: &Result<T, VerifyError>,
) -> &'static str {
    match answer {
        Ok(_) => "accepted",
        Err(VerifyError::Unrecognized) => "unrecognized",
        Err(VerifyError::Rejected(reason)) => reason.kind().name(),
        Err(VerifyError::Unavailable(_)) => "unavailable",
    }
}

/// What came of a management call.
pub(in crate::integrations) fn call_outcome<T>(answer: &Result<T, Error>) -> &'static str {
    match answer {
        Ok(_) => "ok",
        Err(error) => match error {
            Error::Backend(_) => "backend",
            Error::Conflict { .. } => "conflict",
            Error::DataForbid { .. } => "data_forbid",
            Error::Forbidden(_) => "forbidden",
            Error::NumericIdTaken(_) => "numeric_id_taken",
            Error::NumericIdsExhausted => "numeric_ids_exhausted",
            Error::Invalid(_) => "invalid",
            Error::LastStandardKey => "last_standard_key",
            Error::NameTaken(_) => "name_taken",
            Error::NotFound(_) => "not_found",
            Error::OutcomeUnknown(_) => "outcome_unknown",
            Error::OwnerExists => "owner_exists",
            Error::Pepper { .. } => "pepper",
            Error::Random(_) => "random",
            Error::RulesDiffer(_) => "rules_differ",
            Error::Seal(_) => "seal",
            Error::State(_) => "state",
            Error::TooManyKeys { .. } => "too_many_keys",
            Error::Unavailable(_) => "unavailable",
        },
    }
}
