//! Answers to management calls that failed: statuses, codes, and sentences for customers.

use std::collections::BTreeMap;
use std::time::Duration;

use http::StatusCode;
use keyhasp::backend::{BackendError, BackendErrorKind, PepperUse};
use keyhasp::integrations::http::{Credentials, ManagementError};
use keyhasp::invalid::{Invalid, Problem};
use keyhasp::store::{
    IndexLimit, PepperProblem, RecoveryKeyProblem, Resource, StateProblem, Unavailable,
};
use keyhasp::{
    Access, CreateKey, Error, Expiry, ForbiddenReason, KeyId, NumericId, Timestamp, Version,
};
use serde_json::Value;

use crate::common::World;

const LATER: &str = "2030-01-01T00:00:00Z";

fn backend(kind: BackendErrorKind) -> BackendError {
    BackendError::new(kind, "sqlite", "commit").at("/srv/keys.db".as_ref())
}

/// An error of each status and code, with both.
fn errors() -> Vec<(Error, u16, &'static str)> {
    let forbidden = |reason, status, code| (Error::Forbidden(reason), status, code);
    let state = |problem, code| (Error::State(problem), 409, code);
    let not_found = |resource, code| (Error::NotFound(resource), 404, code);
    let latest = LATER.parse().unwrap();
    vec![
        (Error::Invalid(Invalid::new("name", Problem::Empty)), 400, "invalid_input"),
        forbidden(ForbiddenReason::ActingKeyNotYet, 401, "acting_key_not_yet"),
        forbidden(ForbiddenReason::ActingKeyRejected(None), 401, "acting_key_rejected"),
        forbidden(ForbiddenReason::AdministratorOnly, 403, "administrator_only"),
        forbidden(ForbiddenReason::BeyondActingKey, 403, "beyond_acting_key"),
        forbidden(ForbiddenReason::BeyondLifetime { latest }, 403, "beyond_lifetime"),
        forbidden(ForbiddenReason::NotADelegate, 403, "not_by_api_key"),
        forbidden(ForbiddenReason::OtherPrefix, 403, "other_prefix"),
        forbidden(ForbiddenReason::OutlastsActingKey, 403, "outlasts_acting_key"),
        forbidden(ForbiddenReason::PreviousToken, 403, "previous_token"),
        forbidden(ForbiddenReason::ProtectedSetting, 403, "protected_setting"),
        forbidden(
            ForbiddenReason::SetByAdministrator { field: "rate" },
            403,
            "set_by_administrator",
        ),
        forbidden(ForbiddenReason::TrialKey, 403, "trial_key"),
        not_found(Resource::Key, "key_not_found"),
        not_found(Resource::Owner, "owner_not_found"),
        not_found(Resource::RecoverableToken, "token_not_recoverable"),
        not_found(Resource::Request, "request_not_found"),
        state(StateProblem::Blocked, "key_blocked"),
        state(StateProblem::Expired, "key_expired"),
        state(StateProblem::GenerationsExhausted, "generations_exhausted"),
        state(StateProblem::NoQuota, "no_quota"),
        state(StateProblem::NotReplaceable, "not_replaceable"),
        state(StateProblem::NotRevoked, "key_not_revoked"),
        state(StateProblem::NotSuspended, "owner_not_suspended"),
        state(StateProblem::NotTrial, "key_not_trial"),
        state(StateProblem::RecoveryOff, "recovery_off"),
        state(StateProblem::Revoked, "key_revoked"),
        (
            Error::Conflict { expected: Version::FIRST, found: Version::new(2) },
            409,
            "version_conflict",
        ),
        (Error::DataForbid { rule: "last_standard_key" }, 409, "data_forbid"),
        (Error::LastStandardKey, 409, "last_standard_key"),
        (Error::NameTaken(KeyId::from_u128(7)), 409, "name_taken"),
        (Error::NumericIdTaken(NumericId::new(9).unwrap()), 409, "numeric_id_taken"),
        (Error::NumericIdsExhausted, 409, "numeric_ids_exhausted"),
        (Error::OwnerExists, 409, "owner_exists"),
        (Error::TooManyKeys { limit: 3 }, 409, "too_many_keys"),
        (Error::IdempotencyKeyReused, 422, "idempotency_key_reused"),
        (Error::OutcomeUnknown(backend(BackendErrorKind::OutcomeUnknown)), 500, "outcome_unknown"),
        (Error::Seal("no recovery key 3".into()), 500, "internal"),
        (Error::Pepper { number: 3, problem: PepperProblem::Missing }, 500, "internal"),
        (Error::RecoveryKey { number: 3, problem: RecoveryKeyProblem::Wrong }, 500, "internal"),
        (Error::PepperInUse { number: 3, used: PepperUse::default() }, 409, "pepper_in_use"),
        (Error::IndexFull(IndexLimit::Owners(1 << 28)), 503, "store_full"),
        (Error::Backend(backend(BackendErrorKind::Full)), 503, "unavailable"),
        (Error::Unavailable(Unavailable::Closed), 503, "unavailable"),
    ]
}

fn body(answer: &ManagementError<'_>) -> Value {
    serde_json::from_str(answer.problem().body()).unwrap()
}

/// Each has a status and a code; one code has one status and one meaning.
#[test]
fn statuses_and_codes() {
    let mut codes: BTreeMap<&str, u32> = BTreeMap::new();
    for (error, status, code) in errors() {
        let answer = ManagementError::new(&error);
        assert_eq!((answer.status().as_u16(), answer.code()), (status, code), "{error}");
        let shown = body(&answer);
        assert_eq!(shown["status"], status, "{shown}");
        assert_eq!(shown["code"], code, "{shown}");
        assert_eq!(shown["detail"], &*answer.detail(), "{shown}");
        let response = answer.problem();
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(response.headers()["cache-control"], "no-store");
        // RFC 9110, section 15.5.2.
        let challenges = response.headers().get_all("www-authenticate").iter().count();
        assert_eq!(challenges, usize::from(status == 401), "{error}");
        // A client repeats by itself what says when: so only what is known not to have been done.
        let has_retry = response.headers().contains_key("retry-after");
        assert!(!has_retry || code == "unavailable", "{error}");
        *codes.entry(code).or_default() += 1;
    }
    // A customer can tell no more of the service's own faults.
    codes.retain(|code, _| !["internal", "unavailable"].contains(code));
    assert!(codes.values().all(|count| *count == 1), "{codes:?}");
}

/// An error that heals by itself says when to try again; one that a person must mend doesn't.
#[test]
fn retries_where_they_help() {
    let retry_after = |error: Error| ManagementError::new(&error).retry_after();
    let of_quota = Unavailable::Quota { retry_after: Duration::from_millis(2_500) };
    assert_eq!(retry_after(Error::Unavailable(of_quota)), Some(3));
    assert_eq!(retry_after(Error::Unavailable(Unavailable::Recovering)), Some(1));
    assert_eq!(retry_after(Error::Backend(backend(BackendErrorKind::TimedOut))), Some(1));
    assert_eq!(retry_after(Error::Unavailable(Unavailable::Damaged)), None);
    assert_eq!(retry_after(Error::Backend(backend(BackendErrorKind::Corrupt))), None);
    assert_eq!(retry_after(Error::LastStandardKey), None);
}

#[test]
fn a_challenge_names_the_services_own_places() {
    let error = Error::Forbidden(ForbiddenReason::ActingKeyRejected(None));
    let credentials = Credentials::header("X-Api-Key").unwrap().realm("links").unwrap();
    let answer = ManagementError::new(&error).credentials(&credentials).problem();
    let challenge = "ApiKey realm=\"links\", header=\"x-api-key\", error=\"invalid_token\"";
    assert_eq!(answer.headers()["www-authenticate"], challenge);
}

/// A sentence is a sentence, and names nothing of the program or the machine.
#[test]
fn sentences_are_for_customers() {
    for (error, _, _) in errors() {
        let detail = ManagementError::new(&error).detail();
        assert!(detail.ends_with('.') && detail.len() > 10, "{detail}");
        for word in ["`", "::", "_", "sqlite", "/srv", "database", "pepper", "commit"] {
            assert!(!detail.contains(word), "{detail}");
        }
    }
}

#[test]
fn figures_dates_and_names_of_fields() {
    let detail = |error: &Error| ManagementError::new(error).detail();
    let latest = LATER.parse().unwrap();
    let beyond = Error::Forbidden(ForbiddenReason::BeyondLifetime { latest });
    assert_eq!(detail(&beyond), format!("The API key may expire at {LATER} at the latest."));
    assert_eq!(
        detail(&Error::TooManyKeys { limit: 3 }),
        "There may be at most 3 API keys; revoke one first."
    );
    let names = [("rate", "requests_per_minute")];
    let error = Error::Forbidden(ForbiddenReason::SetByAdministrator { field: "rate" });
    let answer = ManagementError::new(&error).field_names(&names);
    assert!(answer.detail().contains("requests_per_minute"), "{}", answer.detail());
    assert_eq!(answer.field(), None);
}

/// An expiry that has passed, as the store refuses it: dates, and the service's name of the field.
#[test]
fn an_expiry_that_has_passed() {
    let world = World::new();
    let past = Expiry::At(Timestamp::MIN);
    let (keys, _) = world.owner("org");
    let error = keys.create(CreateKey::new(Access::Full).expires(past)).unwrap_err();
    let answer = ManagementError::new(&error).field_names(&[("expiry", "expires_at")]);
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    assert_eq!(answer.field(), Some("expires_at"));
    let shown = body(&answer);
    assert_eq!(shown["field"], "expires_at");
    let detail = shown["detail"].as_str().unwrap();
    assert!(detail.starts_with("expires_at: 1970-01-01T00:00:00Z is too early, 20"), "{detail}");
    assert!(!detail.contains("ms"), "{detail}");
}
