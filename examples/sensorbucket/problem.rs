//! The API's errors, in its own words.

use std::borrow::Cow;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use keyhasp::integrations::http::ErrorResponse;
use keyhasp::{Error, ForbiddenReason, Invalid, Rejection};
use serde::Serialize;

/// An error, with its status: the model `ApiError`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Problem {
    #[serde(skip)]
    status: StatusCode,
    message: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
}

/// Declares the errors with a constant text: name, status, message, and code if it has one.
macro_rules! problems {
    ($($name:ident: $status:ident, $message:literal $(, $code:literal)?;)*) => {
        impl Problem {
            $(pub(crate) const $name: Self = Self {
                status: StatusCode::$status,
                message: Cow::Borrowed($message),
                code: code!($($code)?),
            };)*
        }
    };
}

macro_rules! code {
    () => {
        None
    };
    ($code:literal) => {
        Some($code)
    };
}

problems! {
    INVALID_CONTENT_TYPE: BAD_REQUEST, "Invalid content type", "INVALID_CONTENT_TYPE";
    MALFORMED_JSON: BAD_REQUEST, "Malformed JSON", "MALFORMED_JSON";
    BODY_TOO_LARGE: PAYLOAD_TOO_LARGE, "the body is too large";
    PERMISSION_INVALID: BAD_REQUEST, "permission value is invalid", "ERR_PERMISSION_INVALID";
    NO_NAME: BAD_REQUEST, "name cannot be empty";
    BAD_NAME: BAD_REQUEST, "name cannot be longer than 255 characters, or have a null character";
    NO_TENANT: BAD_REQUEST, "tenant_id must be higher than 0";
    NOT_IN_THE_FUTURE: BAD_REQUEST, "expiration_date must be set in the future";
    NO_PERMISSION: BAD_REQUEST, "at least one permission is required";
    TENANT_NOT_FOUND: NOT_FOUND, "Tenant could not be found", "TENANT_NOT_FOUND";
    TENANT_ARCHIVED: NOT_FOUND, "Organisation does not exist or has been archived";
    NAME_TAKEN: BAD_REQUEST, "API Key with name already exists for this tenant",
        "API_KEY_NAME_TENANT_COMBO_NOT_UNIQUE";
    KEY_NOT_FOUND: NOT_FOUND, "API Key not found", "ERR_API_KEY_NOT_FOUND";
    NO_SUCH_KEY: NOT_FOUND, "Key does not exist";
    NOT_A_NUMBER: BAD_REQUEST, "api_key_id must be a valid int";
    INVALID_PARAMS: BAD_REQUEST, "invalid params";
    TOO_MANY_TENANTS: BAD_REQUEST, "more than 64 tenants: name up to 64 of them by tenant_id";
    NO_AUTHORIZATION: BAD_REQUEST, "Authorization header must be set";
    INVALID_INPUT: BAD_REQUEST, "Invalid input";
    UNAUTHORIZED: UNAUTHORIZED, "Unauthorized", "UNAUTHORIZED";
    FORBIDDEN: FORBIDDEN, "Forbidden", "FORBIDDEN";
    TOO_MANY_REQUESTS: TOO_MANY_REQUESTS, "Too many requests", "TOO_MANY_REQUESTS";
    NO_SUCH_PATH: NOT_FOUND, "404 page not found";
    NO_SUCH_METHOD: METHOD_NOT_ALLOWED, "Method not allowed";
    INTERNAL: INTERNAL_SERVER_ERROR, "Internal server error";
}

impl Problem {
    fn bad_request(message: String) -> Self {
        Self { status: StatusCode::BAD_REQUEST, message: message.into(), code: None }
    }

    /// Answers a request that the layer rejects. A client with the secret of a key that isn't
    /// accepted now gets the same answer as other clients.
    pub(crate) fn of_refused(response: &ErrorResponse<'_>) -> axum::http::Response<String> {
        let problem = match response.status() {
            StatusCode::UNAUTHORIZED => Self::UNAUTHORIZED,
            StatusCode::FORBIDDEN => Self::FORBIDDEN,
            StatusCode::BAD_REQUEST => Self::INVALID_INPUT,
            StatusCode::TOO_MANY_REQUESTS => Self::TOO_MANY_REQUESTS,
            _ => Self::INTERNAL,
        };
        response.json(&serde_json::json!(problem))
    }
}

impl From<Invalid> for Problem {
    /// Answers for an input that keyhasp finds invalid and that this API has no message for.
    fn from(invalid: Invalid) -> Self {
        Self::bad_request(invalid.to_string())
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Invalid(invalid) => invalid.into(),
            Error::NameTaken(_) => Self::NAME_TAKEN,
            // The caller's key was revoked after the layer verified it.
            Error::Forbidden(ForbiddenReason::ActingKeyRejected(_)) => Self::UNAUTHORIZED,
            Error::TooManyKeys { .. } => Self::bad_request(error.to_string()),
            _ => Self::INTERNAL,
        }
    }
}

impl From<Rejection> for Problem {
    /// Answers for a handler that no layer protects, which is a fault of the service.
    fn from(_: Rejection) -> Self {
        Self::INTERNAL
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status, Json(self)).into_response()
    }
}
