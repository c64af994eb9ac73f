//! The answer to a management call that failed.

use http::{Response, StatusCode};
use serde_json::Value;

use super::answer::{Head, JSON, NO_TYPE};
use super::credentials::Credentials;
use super::error_response::RETRY_SECONDS;
use super::rate_headers::seconds;
use crate::backend::BackendErrorKind;
use crate::invalid::Invalid;
use crate::store::{Error, ForbiddenReason, Resource, StateProblem, Unavailable};

/// The answer to a management call that failed, for an API to put into its own shape: a status, a
/// code that stays the same when texts change, and a sentence for the service's customer.
///
/// The sentence names no type of Rust, no path and no part of the database. Faults of the service
/// itself, such as a failing backend, are told alike, for a customer can't mend them.
///
/// ```
/// use keyhasp::integrations::http::ManagementError;
/// use keyhasp::{Error, Expiry, Timestamp};
///
/// # fn f(error: &Error) {
/// let answer = ManagementError::new(error).field_names(&[("expiry", "expires_at")]);
/// // 409, `name_taken`, "Another API key of the same owner has this name; choose another."
/// println!("{} {} {}", answer.status(), answer.code(), answer.detail());
/// // The whole answer as problem details by RFC 9457.
/// let response = answer.problem();
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ManagementError<'a> {
    error: &'a Error,
    names: &'a [(&'a str, &'a str)],
    credentials: Option<&'a Credentials>,
}

/// Status, code and sentence. A sentence that isn't constant is computed.
type Answer = (StatusCode, &'static str, &'static str);

impl<'a> ManagementError<'a> {
    /// Answers this error.
    #[must_use]
    pub fn new(error: &'a Error) -> Self {
        Self { error, names: &[], credentials: None }
    }

    /// Sets the places of tokens that the challenge of an answer with 401 names. Defaults to
    /// [`Credentials::bearer`].
    #[must_use]
    pub fn credentials(self, credentials: &'a Credentials) -> Self {
        Self { credentials: Some(credentials), ..self }
    }

    /// Sets the service's own names of fields: pairs of the name in [`Invalid::field`] and the
    /// service's. A field that isn't among them keeps its name.
    #[must_use]
    pub fn field_names(self, names: &'a [(&'a str, &'a str)]) -> Self {
        Self { names, ..self }
    }

    /// Returns the status:
    ///
    /// | status | error |
    /// | --- | --- |
    /// | 400 | an input is invalid |
    /// | 401 | the acting key is no longer accepted |
    /// | 403 | the caller may not do this |
    /// | 404 | there is no such thing, or the caller doesn't reach it |
    /// | 409 | the state of the record, or another record, doesn't allow it |
    /// | 422 | an idempotency key was used for another request |
    /// | 500 | the outcome is unknown, or the service is set up wrongly |
    /// | 503 | the store can't do it now; nothing was changed |
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.answer().0
    }

    /// Returns the code, in lower case with underscores, such as `name_taken`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.answer().1
    }

    /// Returns the field that is invalid, by the service's own name; `None` for another error.
    #[must_use]
    pub fn field(&self) -> Option<&'a str> {
        let Error::Invalid(invalid) = self.error else { return None };
        Some(self.own_name(invalid.field()))
    }

    /// Returns a sentence for the customer.
    #[must_use]
    pub fn detail(&self) -> String {
        match self.error {
            Error::Invalid(invalid) => self.of_invalid(invalid),
            Error::Conflict { expected, found } => {
                format!("The record has version {found}, not {expected}; read it and decide again.")
            }
            Error::NumericIdTaken(number) => format!("The id {number} was used before."),
            Error::TooManyKeys { limit } => {
                format!("There may be at most {limit} API keys; revoke one first.")
            }
            Error::Forbidden(ForbiddenReason::BeyondLifetime { latest }) => {
                format!("The API key may expire at {latest} at the latest.")
            }
            Error::Forbidden(ForbiddenReason::SetByAdministrator { field }) => format!(
                "An administrator has set {}; it may be narrowed, not widened.",
                self.own_name(field)
            ),
            _ => self.answer().2.to_owned(),
        }
    }

    /// Returns the seconds after which the client may try again; `None` where that doesn't help.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        match self.error {
            Error::Unavailable(Unavailable::Damaged) => None,
            Error::Unavailable(Unavailable::Quota { retry_after }) => {
                Some(seconds(*retry_after).max(1))
            }
            Error::Unavailable(_) => Some(RETRY_SECONDS),
            Error::Backend(error) => {
                let passes = [BackendErrorKind::Io, BackendErrorKind::TimedOut];
                passes.contains(&error.kind()).then_some(RETRY_SECONDS)
            }
            _ => None,
        }
    }

    /// Makes the answer with this body, with the status, for no cache to store, and with the headers
    /// `Retry-After` and `WWW-Authenticate` where they belong.
    #[must_use]
    pub fn respond(&self, content_type: &'static str, body: impl Into<String>) -> Response<String> {
        self.head().respond(content_type, body.into())
    }

    /// Makes the answer with this JSON as its body, as [`respond`](Self::respond) does.
    #[must_use]
    pub fn json(&self, body: &Value) -> Response<String> {
        self.respond(JSON, body.to_string())
    }

    /// Makes the answer of an API without a shape of its own: problem details by RFC 9457, with
    /// the members `code` and, for an invalid input, `field`.
    #[must_use]
    pub fn problem(&self) -> Response<String> {
        let members = [("code", Some(self.code())), ("field", self.field())];
        self.head().problem(NO_TYPE, &self.detail(), members)
    }

    fn head(&self) -> Head {
        let status = self.status();
        let bearer = Credentials::bearer();
        let credentials = self.credentials.unwrap_or(&bearer);
        let challenges = match status {
            StatusCode::UNAUTHORIZED => {
                credentials.challenges(&["error=\"invalid_token\"".to_owned()])
            }
            _ => Vec::new(),
        };
        Head { status, challenges, retry_after: self.retry_after() }
    }

    fn of_invalid(&self, invalid: &'a Invalid) -> String {
        format!("{}: {}.", self.own_name(invalid.field()), invalid.problem())
    }

    fn own_name(&self, field: &'a str) -> &'a str {
        let own = self.names.iter().find(|(known, _)| *known == field);
        own.map_or(field, |(_, own)| own)
    }

    fn answer(&self) -> Answer {
        let conflict = |code, detail| (StatusCode::CONFLICT, code, detail);
        let failed = |code, detail| (StatusCode::INTERNAL_SERVER_ERROR, code, detail);
        match self.error {
            Error::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid_input", ""),
            Error::Forbidden(reason) => forbidden(reason),
            Error::NotFound(resource) => not_found(*resource),
            Error::State(problem) => state(*problem),
            Error::Conflict { .. } => conflict("version_conflict", ""),
            Error::DataForbid { .. } => {
                conflict("data_forbid", "What is stored doesn't satisfy the new rules.")
            }
            Error::LastStandardKey => conflict(
                "last_standard_key",
                "One standard API key must stay; create another first.",
            ),
            Error::NameTaken(_) => conflict(
                "name_taken",
                "Another API key of the same owner has this name; choose another.",
            ),
            Error::NumericIdTaken(_) => conflict("numeric_id_taken", ""),
            Error::NumericIdsExhausted => {
                conflict("numeric_ids_exhausted", "There is no id left; give an unused one.")
            }
            Error::OwnerExists => conflict("owner_exists", "An owner with this id exists."),
            Error::PepperInUse { .. } => {
                conflict("pepper_in_use", "Tokens are accepted that need this pepper.")
            }
            Error::TooManyKeys { .. } => conflict("too_many_keys", ""),
            Error::IdempotencyKeyReused => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_key_reused",
                "Another request has used this idempotency key; send a new one.",
            ),
            // Not 503: clients repeat that by themselves, and this may have been done.
            Error::OutcomeUnknown(_) => failed(
                "outcome_unknown",
                "It isn't known whether this was done. Read before trying again.",
            ),
            Error::IndexFull(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "store_full", "The service has no room for more.")
            }
            Error::Backend(_) | Error::ClockBehindLog(_) | Error::Unavailable(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "API keys can't be managed at the moment. Try again later.",
            ),
            Error::Pepper { .. }
            | Error::Random(_)
            | Error::RecoveryKey { .. }
            | Error::RulesDiffer(_)
            | Error::Seal(_) => failed("internal", "The service is set up wrongly."),
        }
    }
}

fn forbidden(reason: &ForbiddenReason) -> Answer {
    let of = |code, detail| (StatusCode::FORBIDDEN, code, detail);
    let gone = |code, detail| (StatusCode::UNAUTHORIZED, code, detail);
    match reason {
        ForbiddenReason::ActingKeyNotYet => {
            gone("acting_key_not_yet", "The API key that this is done with isn't accepted yet.")
        }
        ForbiddenReason::ActingKeyRejected(_) => {
            gone("acting_key_rejected", "The API key that this is done with is no longer accepted.")
        }
        ForbiddenReason::AdministratorOnly => {
            of("administrator_only", "Only an administrator may do this.")
        }
        ForbiddenReason::BeyondActingKey => of(
            "beyond_acting_key",
            "The API key would be allowed more than the one that this is done with, or than its \
             owner; ask for less.",
        ),
        ForbiddenReason::BeyondLifetime { .. } => of("beyond_lifetime", ""),
        ForbiddenReason::NotADelegate => {
            of("not_by_api_key", "This can't be done with an API key.")
        }
        ForbiddenReason::OtherPrefix => of(
            "other_prefix",
            "The API key would begin with another prefix than the one that this is done with.",
        ),
        ForbiddenReason::OutlastsActingKey => of(
            "outlasts_acting_key",
            "The API key would expire later than the one that this is done with.",
        ),
        ForbiddenReason::PreviousToken => of(
            "previous_token",
            "The token that this is done with was rotated; use the current one.",
        ),
        ForbiddenReason::ProtectedSetting => of(
            "protected_setting",
            "An administrator has set one of these settings; it can't be changed.",
        ),
        ForbiddenReason::SetByAdministrator { .. } => of("set_by_administrator", ""),
        ForbiddenReason::TrialKey => of("trial_key", "A trial API key can't manage API keys."),
    }
}

fn not_found(resource: Resource) -> Answer {
    let of = |code, detail| (StatusCode::NOT_FOUND, code, detail);
    match resource {
        Resource::Key => of("key_not_found", "There is no such API key."),
        Resource::Owner => of("owner_not_found", "There is no such owner."),
        Resource::RecoverableToken => {
            of("token_not_recoverable", "The token of this API key can't be shown again.")
        }
        Resource::Request => {
            of("request_not_found", "No request under this idempotency key made a token.")
        }
    }
}

fn state(problem: StateProblem) -> Answer {
    let of = |code, detail| (StatusCode::CONFLICT, code, detail);
    match problem {
        StateProblem::Blocked => of("key_blocked", "The API key is blocked."),
        StateProblem::Expired => of("key_expired", "The API key has expired."),
        StateProblem::GenerationsExhausted => {
            of("generations_exhausted", "The API key can't be rotated any more; create another.")
        }
        StateProblem::NoQuota => of("no_quota", "There is no quota."),
        StateProblem::NotReplaceable => {
            of("not_replaceable", "The token of this request was replaced before.")
        }
        StateProblem::NotRevoked => of("key_not_revoked", "The API key isn't revoked."),
        StateProblem::NotSuspended => of("owner_not_suspended", "The owner isn't suspended."),
        StateProblem::NotTrial => of("key_not_trial", "The API key isn't a trial key."),
        StateProblem::RecoveryOff => {
            of("recovery_off", "Tokens can't be shown again in this service.")
        }
        StateProblem::Revoked => of("key_revoked", "The API key is revoked, which is final."),
    }
}
