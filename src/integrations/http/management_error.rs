//! The answer to a management call that failed.

use std::borrow::Cow;

use http::{Response, StatusCode};
use serde_json::Value;

use super::answer::{Head, JSON, NO_TYPE, RETRY_SECONDS, retry_after};
use super::credentials::Credentials;
use crate::backend::BackendErrorKind;
use crate::store::{Error, ForbiddenReason, Resource, StateProblem};

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

/// Status, code and sentence.
type Answer = (StatusCode, &'static str, Cow<'static, str>);

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

    /// Sets the service's own names of fields: pairs of the name in [`Invalid::field`](crate::Invalid::field) and the
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
    pub fn detail(&self) -> Cow<'static, str> {
        self.answer().2
    }

    /// Returns the seconds after which the client may try again; `None` where that doesn't help.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        match self.error {
            Error::Unavailable(unavailable) => retry_after(*unavailable),
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

    fn own_name(&self, field: &'a str) -> &'a str {
        let own = self.names.iter().find(|(known, _)| *known == field);
        own.map_or(field, |(_, own)| own)
    }

    fn answer(&self) -> Answer {
        let conflict = |code, detail: &'static str| (StatusCode::CONFLICT, code, detail.into());
        let failed =
            |code, detail: &'static str| (StatusCode::INTERNAL_SERVER_ERROR, code, detail.into());
        let unavailable =
            |code, detail: &'static str| (StatusCode::SERVICE_UNAVAILABLE, code, detail.into());
        match self.error {
            Error::Invalid(invalid) => {
                let detail = format!("{}: {}.", self.own_name(invalid.field()), invalid.problem());
                (StatusCode::BAD_REQUEST, "invalid_input", detail.into())
            }
            Error::Forbidden(reason) => self.forbidden(reason),
            Error::NotFound(resource) => not_found(*resource),
            Error::State(problem) => state(*problem),
            Error::Conflict { expected, found } => {
                let detail = format!(
                    "The record has version {found}, not {expected}; read it and decide again."
                );
                (StatusCode::CONFLICT, "version_conflict", detail.into())
            }
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
            Error::NumericIdTaken(number) => {
                let detail = format!("The id {number} was used before.");
                (StatusCode::CONFLICT, "numeric_id_taken", detail.into())
            }
            Error::NumericIdsExhausted => {
                conflict("numeric_ids_exhausted", "There is no id left; give an unused one.")
            }
            Error::OwnerExists => conflict("owner_exists", "An owner with this id exists."),
            Error::PepperInUse { .. } => {
                conflict("pepper_in_use", "Tokens are accepted that need this secret.")
            }
            Error::TooManyKeys { limit } => {
                let detail = format!("There may be at most {limit} API keys; revoke one first.");
                (StatusCode::CONFLICT, "too_many_keys", detail.into())
            }
            Error::IdempotencyKeyReused => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_key_reused",
                "Another request has used this idempotency key; send a new one.".into(),
            ),
            // Not 503: clients repeat that by themselves, and this may have been done.
            Error::OutcomeUnknown(_) => failed(
                "outcome_unknown",
                "It isn't known whether this was done. Read before trying again.",
            ),
            Error::IndexFull(_) => unavailable("store_full", "The service has no room for more."),
            Error::Backend(_)
            | Error::ClockBehindLog(_)
            | Error::Random(_)
            | Error::Unavailable(_) => unavailable(
                "unavailable",
                "API keys can't be managed at the moment. Try again later.",
            ),
            Error::Pepper { .. }
            | Error::RecoveryKey { .. }
            | Error::RulesDiffer(_)
            | Error::Seal(_) => failed("internal", "The service is set up wrongly."),
        }
    }

    fn forbidden(&self, reason: &ForbiddenReason) -> Answer {
        let of = |code, detail: &'static str| (StatusCode::FORBIDDEN, code, detail.into());
        let gone = |code, detail: &'static str| (StatusCode::UNAUTHORIZED, code, detail.into());
        match reason {
            ForbiddenReason::ActingKeyNotYet => {
                gone("acting_key_not_yet", "The API key that this is done with isn't accepted yet.")
            }
            ForbiddenReason::ActingKeyRejected(_) => gone(
                "acting_key_rejected",
                "The API key that this is done with is no longer accepted.",
            ),
            ForbiddenReason::AdministratorOnly => {
                of("administrator_only", "Only an administrator may do this.")
            }
            ForbiddenReason::BeyondActingKey => of(
                "beyond_acting_key",
                "The API key would be allowed more than the one that this is done with, or than its \
                 owner; ask for less.",
            ),
            ForbiddenReason::BeyondLifetime { latest } => {
                let detail = format!("The API key may expire at {latest} at the latest.");
                (StatusCode::FORBIDDEN, "beyond_lifetime", detail.into())
            }
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
            ForbiddenReason::SetByAdministrator { field } => {
                let field = self.own_name(field);
                let detail =
                    format!("An administrator has set {field}; it may be narrowed, not widened.");
                (StatusCode::FORBIDDEN, "set_by_administrator", detail.into())
            }
            ForbiddenReason::TrialKey => of("trial_key", "A trial API key can't manage API keys."),
        }
    }
}

fn not_found(resource: Resource) -> Answer {
    let of = |code, detail: &'static str| (StatusCode::NOT_FOUND, code, detail.into());
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
    let of = |code, detail: &'static str| (StatusCode::CONFLICT, code, detail.into());
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
