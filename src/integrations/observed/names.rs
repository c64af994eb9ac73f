//! Outcomes by name: few, known beforehand, and none of them made of what a client sent.

use crate::key::Unfit;
use crate::store::{Error, Refusal};

/// All outcomes of a verification, in no particular order.
#[cfg(feature = "metrics")]
pub(in crate::integrations) const VERIFICATIONS: [&str; 14] = [
    "accepted",
    "unrecognized",
    "suspended",
    "revoked",
    "blocked",
    "deactivated",
    "expired",
    "superseded",
    "not_yet",
    "address_missing",
    "address_refused",
    "rate_limited",
    "quota_exhausted",
    "unavailable",
];

/// What came of a verification.
pub(in crate::integrations) fn verification_outcome<T>(
    answer: &Result<T, Refusal>,
) -> &'static str {
    match answer {
        Ok(_) => "accepted",
        Err(Refusal::Unrecognized) => "unrecognized",
        Err(Refusal::Unfit(unfit)) => match unfit {
            Unfit::Suspended => "suspended",
            Unfit::Revoked => "revoked",
            Unfit::Blocked => "blocked",
            Unfit::Deactivated => "deactivated",
            Unfit::Expired => "expired",
            Unfit::Superseded => "superseded",
        },
        Err(Refusal::NotYet(_)) => "not_yet",
        Err(Refusal::AddressMissing) => "address_missing",
        Err(Refusal::AddressRefused) => "address_refused",
        Err(Refusal::RateLimited(_)) => "rate_limited",
        Err(Refusal::QuotaExhausted { .. }) => "quota_exhausted",
        Err(Refusal::Unavailable(_)) => "unavailable",
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
            Error::Denied(_) => "denied",
            Error::ExternalIdTaken(_) => "external_id_taken",
            Error::ExternalIdsExhausted => "external_ids_exhausted",
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
