//! The API's errors: `{"code": "…", "message": "…"}`. The code of an error stays the same when its
//! message changes.

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use keyhasp::integrations::http::{AuthError, ErrorResponse, no_store};
use keyhasp::{Error, ForbiddenReason, RejectReason, VerifyError};
use serde_json::{Value, json};

use super::shared::BodyFault;

/// The message for every key that isn't accepted, and for a missing one: a client without the
/// secret learns nothing from it.
const CHECK_THE_KEY: &str = "The API key is missing or not accepted. Check that it was copied \
    whole, that it begins with its prefix taapit_, and that it has not been deactivated.";
const READS_ONLY: &str = "This API key may only read: GET alone. A full-access key would do.";
const NOT_FROM_HERE: &str = "This API key is not accepted from the address of this request.";
const TOO_MANY: &str = "There were too many requests. Try again after the seconds that Retry-After \
    says; if that is not enough, wait twice as long each time.";
const LATER: &str = "API keys can't be checked at the moment. Try again later.";

/// A failed request.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", CHECK_THE_KEY)
    }

    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "There is no such thing here.")
    }

    pub(crate) fn parameter(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_parameter", message)
    }

    pub(crate) fn body(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_body", message)
    }

    fn forbidden(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, message)
    }

    fn lacking(scope: &str) -> Self {
        let message = format!("This API key lacks {scope}. A full-access key would do.");
        Self::forbidden("permission_denied", message)
    }

    fn unavailable() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", LATER)
    }

    fn json(&self) -> Value {
        json!({"code": self.code, "message": self.message})
    }
}

/// Answers a request that the layer rejects, in this API's shape. Status and headers stay those of
/// RFC 6750.
pub(crate) fn refused(response: &ErrorResponse<'_>) -> Response<String> {
    let problem = match response.cause() {
        AuthError::Missing | AuthError::Verify(VerifyError::Unrecognized) => {
            Problem::unauthorized()
        }
        AuthError::Permission(scope) => Problem::lacking(scope),
        // The second is of the one guard that has a function of this service.
        AuthError::ReadOnly | AuthError::NotAllowed => {
            Problem::forbidden("read_only_key", READS_ONLY)
        }
        AuthError::Verify(VerifyError::Unavailable(_)) => Problem::unavailable(),
        AuthError::Verify(VerifyError::Rejected(reason)) => match reason {
            RejectReason::AddressMissing | RejectReason::AddressRejected => {
                Problem::forbidden("address_not_allowed", NOT_FROM_HERE)
            }
            RejectReason::RateLimited(_) => {
                Problem::new(response.status(), "rate_limited", TOO_MANY)
            }
            RejectReason::QuotaExhausted { .. } => {
                Problem::new(response.status(), "quota_exhausted", response.detail())
            }
            _ => Problem::unauthorized(),
        },
        _ => Problem::new(response.status(), "invalid_request", response.detail()),
    };
    response.json(&problem.json())
}

/// Answers an error of the store, for a caller that the layer has admitted.
impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound(_) => Self::not_found(),
            // The key was deactivated after the layer verified it, or it has a later `not_before`.
            Error::Forbidden(
                ForbiddenReason::ActingKeyRejected(_) | ForbiddenReason::ActingKeyNotYet,
            ) => Self::unauthorized(),
            Error::Forbidden(denied) => Self::forbidden("permission_denied", denied.to_string()),
            Error::Invalid(invalid) => Self::parameter(invalid.to_string()),
            Error::Conflict { .. }
            | Error::LastStandardKey
            | Error::NameTaken(_)
            | Error::State(_)
            | Error::TooManyKeys { .. } => {
                Self::new(StatusCode::CONFLICT, "conflict", error.to_string())
            }
            // Not 503, which clients repeat by themselves: this may have been done.
            Error::OutcomeUnknown(_) => {
                let message = "It is not known whether this was done. Read before trying again.";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "outcome_unknown", message)
            }
            // The fault is the service's, not the caller's.
            _ => Self::unavailable(),
        }
    }
}

impl From<BodyFault> for Problem {
    fn from(fault: BodyFault) -> Self {
        match fault {
            BodyFault::Interrupted => Self::body("The body ended too soon."),
            BodyFault::Empty => Self::body("The body is empty; it must be JSON."),
            BodyFault::NotJson(why) => Self::body(format!("The body must be JSON: {why}.")),
            BodyFault::TooLarge => {
                let message = "The body is too large.";
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> axum::response::Response {
        let json = HeaderValue::from_static("application/json");
        let mut answer =
            (self.status, [(CONTENT_TYPE, json)], self.json().to_string()).into_response();
        let header = match self.status {
            StatusCode::SERVICE_UNAVAILABLE => Some((RETRY_AFTER, "1")),
            StatusCode::UNAUTHORIZED => {
                Some((WWW_AUTHENTICATE, "Bearer realm=\"api\", error=\"invalid_token\""))
            }
            _ => None,
        };
        if let Some((name, value)) = header {
            answer.headers_mut().insert(name, HeaderValue::from_static(value));
            no_store(answer.headers_mut());
        }
        answer
    }
}
