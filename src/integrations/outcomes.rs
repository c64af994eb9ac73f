//! Names of outcomes. Each is a constant: none is made of what a client sent.

#[cfg(feature = "metrics")]
use crate::key::RejectKind;
use crate::store::{Error, VerifyError};

/// Lists all outcomes of a verification, in no particular order.
#[cfg(feature = "metrics")]
pub(super) fn verification_outcomes() -> impl Iterator<Item = &'static str> {
    let others = ["accepted", "unrecognized", "unavailable"];
    others.into_iter().chain(RejectKind::ALL.iter().map(|kind| kind.name()))
}

/// Names the outcome of a verification.
pub(super) fn verification_outcome<T>(answer: &Result<T, VerifyError>) -> &'static str {
    match answer {
        Ok(_) => "accepted",
        Err(VerifyError::Unrecognized) => "unrecognized",
        Err(VerifyError::Rejected(reason)) => reason.kind().name(),
        Err(VerifyError::Unavailable(_)) => "unavailable",
    }
}

/// Names the outcome of a management call.
pub(super) fn call_outcome<T>(answer: &Result<T, Error>) -> &'static str {
    match answer {
        Ok(_) => "ok",
        Err(error) => match error {
            Error::Backend(_) => "backend",
            Error::ClockBehindLog(_) => "clock_behind_log",
            Error::Conflict { .. } => "conflict",
            Error::DataForbid { .. } => "data_forbid",
            Error::Forbidden(_) => "forbidden",
            Error::NumericIdTaken(_) => "numeric_id_taken",
            Error::NumericIdsExhausted => "numeric_ids_exhausted",
            Error::IdempotencyKeyReused => "idempotency_key_reused",
            Error::IndexFull(_) => "index_full",
            Error::Invalid(_) => "invalid",
            Error::LastStandardKey => "last_standard_key",
            Error::NameTaken(_) => "name_taken",
            Error::NotFound(_) => "not_found",
            Error::OutcomeUnknown(_) => "outcome_unknown",
            Error::OwnerExists => "owner_exists",
            Error::Pepper { .. } => "pepper",
            Error::PepperInUse { .. } => "pepper_in_use",
            Error::Random(_) => "random",
            Error::RecoveryKey { .. } => "recovery_key",
            Error::RulesDiffer(_) => "rules_differ",
            Error::Seal(_) => "seal",
            Error::State(_) => "state",
            Error::TooManyKeys { .. } => "too_many_keys",
            Error::Unavailable(_) => "unavailable",
        },
    }
}
