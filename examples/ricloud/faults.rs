//! The API's errors: `{"error": "slug", "message": "text"}`, with `params` for invalid parameters.

use axum::Json;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use keyhasp::integrations::http::{ErrorResponse, no_store};
use keyhasp::{Error, ForbiddenReason};
use serde_json::{Map, Value, json};

use super::shared::BodyFault;

/// A failed request.
#[derive(Debug)]
pub(crate) struct Fault {
    status: StatusCode,
    slug: &'static str,
    message: String,
    params: Option<Map<String, Value>>,
}

impl Fault {
    pub(crate) fn new(status: StatusCode, slug: &'static str, message: impl Into<String>) -> Self {
        Self { status, slug, message: message.into(), params: None }
    }

    /// Answers for an id that is unknown, out of range or another organisation's: all alike.
    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "This resource cannot be found.")
    }

    pub(crate) fn invalid_body(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid-body", message)
    }

    /// Answers for one invalid parameter.
    pub(crate) fn invalid_parameter(name: &str, text: &str) -> Self {
        Self::invalid_parameters(Map::from_iter([(name.to_owned(), json!([text]))]))
    }

    /// Answers for several parameters, each with its fault.
    pub(crate) fn invalid_parameters(params: Map<String, Value>) -> Self {
        let message = "A parameter is not valid; see `params`.";
        let fault = Self::new(StatusCode::BAD_REQUEST, "invalid-parameter", message);
        Self { params: Some(params), ..fault }
    }
}

impl From<BodyFault> for Fault {
    fn from(fault: BodyFault) -> Self {
        match fault {
            BodyFault::TooLarge => {
                let status = StatusCode::PAYLOAD_TOO_LARGE;
                Self::new(status, "invalid-body", "The request body is too large.")
            }
            BodyFault::Empty => {
                Self::invalid_body("The request has no body. Without parameters, send `{}`.")
            }
            BodyFault::Interrupted => Self::invalid_body("The request body ended too soon."),
            BodyFault::NotJson(why) => {
                Self::invalid_body(format!("The request body is not valid JSON: {why}."))
            }
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let conflict = |message: String| Self::new(StatusCode::CONFLICT, "conflict", message);
        match error {
            Error::NotFound(_) => Self::not_found(),
            Error::TooManyKeys { limit } => {
                let message = format!("An organisation can have {limit} keys.");
                Self::new(StatusCode::FORBIDDEN, "limit-exceeded", message)
            }
            // The calling key was revoked or rotated after the layer verified it.
            Error::Forbidden(ForbiddenReason::ActingKeyRejected(_)) => {
                let message = "The API key is not accepted.";
                Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
            }
            Error::Forbidden(_) => {
                let message = "Only an API administrator can do this.";
                Self::new(StatusCode::FORBIDDEN, "missing-scope", message)
            }
            Error::State(problem) => conflict(format!("This can't be done now: {problem}.")),
            Error::Invalid(invalid) => {
                Self::new(StatusCode::BAD_REQUEST, "invalid-parameter", invalid.to_string())
            }
            // Clients repeat a request at once after a 5xx, so a 5xx must mean that nothing was
            // done.
            Error::OutcomeUnknown(_) => conflict(
                "It is not known whether this was done. Read the key before trying again.".into(),
            ),
            _ => {
                let message = "Keys can't be reached at the moment. Try again later.";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
            }
        }
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> axum::response::Response {
        let mut body = json!({"error": self.slug, "message": self.message});
        if let Some(params) = self.params {
            body["params"] = params.into();
        }
        let mut response = (self.status, Json(body)).into_response();
        let header = match self.status {
            StatusCode::SERVICE_UNAVAILABLE => Some((RETRY_AFTER, "1")),
            StatusCode::UNAUTHORIZED => {
                Some((WWW_AUTHENTICATE, "Token realm=\"api\", error=\"invalid_token\""))
            }
            _ => None,
        };
        if let Some((name, value)) = header {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
            no_store(response.headers_mut());
        }
        response
    }
}

/// Answers a request that the layer rejects. A client without the secret gets the same answer as a
/// client with the secret of a key that isn't accepted now.
pub(crate) fn refused(response: &ErrorResponse<'_>) -> Response<String> {
    let slug = match (response.status(), response.scope()) {
        (StatusCode::BAD_REQUEST, _) => "invalid-credentials",
        (StatusCode::UNAUTHORIZED, _) => "unauthorized",
        (StatusCode::FORBIDDEN, Some(_)) => "missing-scope",
        (StatusCode::FORBIDDEN, None) => "forbidden",
        (StatusCode::TOO_MANY_REQUESTS, _) => "too-many-requests",
        _ => "unavailable",
    };
    response.json(&json!({"error": slug, "message": response.detail()}))
}

pub(crate) async fn no_such_path() -> Fault {
    Fault::not_found()
}

pub(crate) async fn no_such_method() -> Fault {
    let message = "This resource does not have that method.";
    Fault::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", message)
}
