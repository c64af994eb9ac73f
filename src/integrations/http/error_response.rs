//! The answer to a rejected request.

use std::fmt;

use http::request::Parts;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde_json::Value;

use super::answer::{Head, JSON, NO_TYPE, retry_after};
use super::credentials::Credentials;
use super::rate_headers::seconds;
use crate::clock::Timestamp;
use crate::id::{KeyId, OwnerId};
use crate::key::{RateLimited, RejectReason};
use crate::store::VerifyError;

/// The one sentence for every token that isn't accepted.
const NOT_ACCEPTED: &str = "The API key is not accepted.";
const GRPC: &str = "application/grpc";
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const COST_ABOVE_BURST: &str =
    "https://docs.rs/keyhasp/latest/keyhasp/integrations/http/index.html#cost-above-burst";

/// A reason to reject a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthError<'a> {
    /// The request has no credential that could be verified.
    Missing,
    /// The request has more than one credential.
    Multiple,
    /// The caller lacks a permission. Holds all that are needed, with spaces between.
    Permission(&'a str),
    /// The caller lacks each of these permissions, of which one would do. Holds them with spaces
    /// between.
    AnyPermission(&'a str),
    /// The service's own rule doesn't let the caller in.
    NotAllowed,
    /// The caller is a session, and a key is needed.
    NeedsKey,
    /// The caller is a key, and a session is needed.
    NeedsSession,
    /// The caller may only read, and the method is none of `GET`, `HEAD` and `OPTIONS`.
    ReadOnly,
    /// No layer stands before an extractor or a guard: a defect of the service.
    NoLayer,
    /// A permission of one catalogue is asked of a caller of another: a defect of the service.
    OtherCatalogue,
    /// The store didn't accept the token.
    Verify(VerifyError),
}

impl From<VerifyError> for AuthError<'_> {
    fn from(error: VerifyError) -> Self {
        Self::Verify(error)
    }
}

/// The answer to an error. This is the only place that decides which statuses and sentences a
/// client sees.
struct Answer {
    status: StatusCode,
    error: Option<&'static str>,
    detail: &'static str,
    /// Replaces `detail` where the service discloses reasons.
    disclosed: Option<&'static str>,
    /// The type of the problem, by RFC 9457.
    problem: &'static str,
}

impl Answer {
    fn to(error: &AuthError<'_>, unavailable: StatusCode) -> Self {
        let of = |status, error, detail| Self {
            status,
            error,
            detail,
            disclosed: None,
            problem: NO_TYPE,
        };
        let (bad, unauthorized) = (StatusCode::BAD_REQUEST, StatusCode::UNAUTHORIZED);
        let (forbidden, failed) = (StatusCode::FORBIDDEN, StatusCode::INTERNAL_SERVER_ERROR);
        let scope = Some("insufficient_scope");
        match error {
            AuthError::Missing => of(unauthorized, None, "This needs an API key."),
            AuthError::Multiple => of(bad, Some("invalid_request"), "Send one credential, once."),
            AuthError::Permission(_) => {
                of(forbidden, scope, "The API key lacks a permission that this needs.")
            }
            AuthError::AnyPermission(_) => of(
                forbidden,
                scope,
                "The API key lacks a permission that this needs: one of several would do.",
            ),
            AuthError::ReadOnly => of(forbidden, scope, "The API key may only read."),
            AuthError::NotAllowed => of(forbidden, None, "The caller may not do this."),
            AuthError::NeedsKey => of(forbidden, None, "This needs an API key, not a session."),
            AuthError::NeedsSession => {
                of(forbidden, None, "This can't be done with an API key: log in.")
            }
            AuthError::NoLayer => of(failed, None, "The service can't tell who is asking."),
            AuthError::OtherCatalogue => {
                of(failed, None, "The service can't tell what the caller may do.")
            }
            AuthError::Verify(VerifyError::Unavailable(_)) => {
                of(unavailable, None, "API keys can't be checked at the moment. Try again later.")
            }
            AuthError::Verify(VerifyError::Unrecognized) => {
                of(unauthorized, Some("invalid_token"), NOT_ACCEPTED)
            }
            AuthError::Verify(VerifyError::Rejected(reason)) => Self::rejected(reason),
        }
    }

    fn rejected(reason: &RejectReason) -> Self {
        let limit = |detail| Self {
            status: StatusCode::TOO_MANY_REQUESTS,
            error: None,
            detail,
            disclosed: None,
            problem: NO_TYPE,
        };
        let (unauthorized, forbidden) = (StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN);
        let (status, disclosed) = match reason {
            RejectReason::Suspended => (unauthorized, "The owner of the API key is suspended."),
            RejectReason::Revoked => (unauthorized, "The API key is revoked."),
            RejectReason::Blocked => (unauthorized, "The API key is blocked."),
            RejectReason::Deactivated => (unauthorized, "The API key is deactivated."),
            RejectReason::Expired => (unauthorized, "The API key has expired."),
            RejectReason::Superseded => {
                (unauthorized, "The API key was rotated: a newer token stands in its place.")
            }
            RejectReason::NotYet(_) => (unauthorized, "The API key is not accepted yet."),
            RejectReason::AddressMissing => (
                forbidden,
                "The API key is limited to some addresses, and that of this request is not known.",
            ),
            RejectReason::AddressRejected => {
                (forbidden, "The API key is not accepted from this address.")
            }
            RejectReason::RateLimited(RateLimited { retry_after: Some(_), .. }) => {
                return limit("Too many requests with this API key. Try again later.");
            }
            RejectReason::RateLimited(_) => {
                // Waiting never helps, so it is no 429, upon which clients try again.
                return Self {
                    status: forbidden,
                    problem: COST_ABOVE_BURST,
                    ..limit("This request is more than this API key may do at once.")
                };
            }
            RejectReason::QuotaExhausted { .. } => {
                return limit("The quota of this API key is used up.");
            }
        };
        let error = (status == unauthorized).then_some("invalid_token");
        Self { status, error, detail: NOT_ACCEPTED, disclosed: Some(disclosed), problem: NO_TYPE }
    }
}

/// The answer to a rejected request by RFC 6750, for an API to put into its own shape.
///
/// Status, headers and sentences take nothing from the request, so they can't echo a token. A service
/// that uses [`request`](Self::request) for its answer must leave the credentials out.
#[derive(Clone, Copy)]
pub struct ErrorResponse<'a> {
    cause: AuthError<'a>,
    credentials: &'a Credentials,
    unavailable: StatusCode,
    discloses_reason: bool,
    now: Option<Timestamp>,
    request: Option<&'a Parts>,
    key: Option<KeyId>,
    owner: Option<&'a OwnerId>,
}

impl<'a> ErrorResponse<'a> {
    /// Answers this error, for a service that accepts these credentials.
    #[must_use]
    pub fn new(error: AuthError<'a>, credentials: &'a Credentials) -> Self {
        Self {
            cause: error,
            credentials,
            unavailable: StatusCode::SERVICE_UNAVAILABLE,
            discloses_reason: false,
            now: None,
            request: None,
            key: None,
            owner: None,
        }
    }

    /// Sets the present moment. [`retry_after`](Self::retry_after) needs it to compute the time
    /// until a quota is refilled.
    #[must_use]
    pub fn at(self, now: Timestamp) -> Self {
        Self { now: Some(now), ..self }
    }

    /// Answers 500 in place of 503 if the store can't answer.
    #[must_use]
    pub fn unavailable_is_500(self) -> Self {
        Self { unavailable: StatusCode::INTERNAL_SERVER_ERROR, ..self }
    }

    /// Discloses in [`detail`](Self::detail) why a token with the right secret is rejected.
    #[must_use]
    pub fn disclosing_reason(self) -> Self {
        Self { discloses_reason: true, ..self }
    }

    /// Sets the rejected request.
    #[must_use]
    pub fn to_request(self, request: &'a Parts) -> Self {
        Self { request: Some(request), ..self }
    }

    /// Sets the key whose token was rejected, if its secret was right, and its owner if that is known.
    #[must_use]
    pub fn of_key(self, key: Option<KeyId>, owner: Option<&'a OwnerId>) -> Self {
        Self { key, owner, ..self }
    }

    /// Returns the rejected request without its body; `None` where a handler rejects it by
    /// [`Authenticated`](crate::Authenticated). The layer has marked the headers with tokens as
    /// sensitive, so their `Debug` shows none. Its path may hold what a client wrote: don't repeat it.
    #[must_use]
    pub fn request(&self) -> Option<&'a Parts> {
        self.request
    }

    /// Returns the key that was rejected. `None` unless its secret was right: before that, a stranger
    /// may have written the id.
    #[must_use]
    pub fn key_id(&self) -> Option<KeyId> {
        self.key
    }

    /// Returns the owner of the caller that the layer had let in and a guard or a handler rejected. A
    /// rejected token doesn't say whose it is; [`key_id`](Self::key_id) does.
    #[must_use]
    pub fn owner_id(&self) -> Option<&'a OwnerId> {
        self.owner
    }

    /// Returns the error. It distinguishes a wrong secret from a right one: answer both alike,
    /// unless a client with the right secret shall know.
    #[must_use]
    pub fn cause(&self) -> AuthError<'a> {
        self.cause
    }

    /// Returns the status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.answer().status
    }

    /// Returns the error code of RFC 6750; `None` where it has none.
    #[must_use]
    pub fn error(&self) -> Option<&'static str> {
        self.answer().error
    }

    /// Returns the type of the problem by RFC 9457. It is `about:blank`, except for a request that
    /// [costs more than a burst](crate::integrations::http#cost-above-burst).
    #[must_use]
    pub fn problem_type(&self) -> &'static str {
        self.answer().problem
    }

    /// Returns the permissions that are needed, with spaces between.
    #[must_use]
    pub fn scope(&self) -> Option<&'a str> {
        match self.cause {
            AuthError::Permission(scope) => Some(scope),
            _ => None,
        }
    }

    /// Returns the seconds, rounded up, after which the client may try again; `None` where that
    /// isn't known, or doesn't help.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        match self.cause {
            AuthError::Verify(VerifyError::Rejected(RejectReason::QuotaExhausted {
                refilled_at,
                ..
            })) => refilled_at.zip(self.now).map(|(at, now)| seconds(at.since(now)).max(1)),
            AuthError::Verify(VerifyError::Rejected(RejectReason::RateLimited(limited))) => {
                limited.retry_after.map(|wait| seconds(wait).max(1))
            }
            AuthError::Verify(VerifyError::Unavailable(unavailable))
                if self.status() == StatusCode::SERVICE_UNAVAILABLE =>
            {
                retry_after(unavailable)
            }
            _ => None,
        }
    }

    /// Returns a sentence for the client.
    #[must_use]
    pub fn detail(&self) -> &'static str {
        let answer = self.answer();
        answer.disclosed.filter(|_| self.discloses_reason).unwrap_or(answer.detail)
    }

    fn answer(&self) -> Answer {
        Answer::to(&self.cause, self.unavailable)
    }

    /// Makes the answer with this body, with the status, and with the headers `WWW-Authenticate`
    /// and `Retry-After` where they belong. No cache may store it. An API may change the response
    /// further.
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
    /// `error` and `scope` as members where RFC 6750 has them.
    #[must_use]
    pub fn problem(&self) -> Response<String> {
        let members = [("error", self.error()), ("scope", self.scope())];
        self.head().problem(self.problem_type(), self.detail(), members)
    }

    /// Makes the answer of a gRPC service: status 200 without a message, and `grpc-status` with
    /// `grpc-message` in the headers, from which every client makes its own error. The headers
    /// `www-authenticate` and `retry-after` come as metadata.
    ///
    /// | status | `grpc-status` |
    /// | --- | --- |
    /// | 400 | 3, `INVALID_ARGUMENT` |
    /// | 401 | 16, `UNAUTHENTICATED` |
    /// | 403 | 7, `PERMISSION_DENIED` |
    /// | 429 | 8, `RESOURCE_EXHAUSTED` |
    /// | 500 | 13, `INTERNAL` |
    /// | 503 | 14, `UNAVAILABLE` |
    #[must_use]
    pub fn grpc(&self) -> Response<String> {
        let code = match self.status() {
            StatusCode::BAD_REQUEST => 3,
            StatusCode::UNAUTHORIZED => 16,
            StatusCode::FORBIDDEN => 7,
            StatusCode::TOO_MANY_REQUESTS => 8,
            StatusCode::SERVICE_UNAVAILABLE => 14,
            _ => 13_u16,
        };
        let mut answer = self.respond(GRPC, "");
        *answer.status_mut() = StatusCode::OK;
        let headers = answer.headers_mut();
        headers.insert(GRPC_STATUS, code.into());
        // Each sentence is printable ASCII without a percent sign, which gRPC would have encoded.
        headers.insert(GRPC_MESSAGE, HeaderValue::from_static(self.detail()));
        answer
    }

    fn head(&self) -> Head {
        let has_challenge = self.error().is_some() || self.cause == AuthError::Missing;
        let challenges = if has_challenge { self.challenges() } else { Vec::new() };
        Head { status: self.status(), challenges, retry_after: self.retry_after() }
    }

    /// Makes one challenge for each accepted place of a token. Without credentials it names no error
    /// to a client that didn't know that a key is needed, as RFC 6750 says.
    fn challenges(&self) -> Vec<HeaderValue> {
        let mut parameters: Vec<String> = Vec::new();
        parameters.extend(self.error().map(|error| format!("error=\"{error}\"")));
        parameters.extend(self.scope().map(|scope| format!("scope=\"{scope}\"")));
        self.credentials.challenges(&parameters)
    }
}

/// Shows the request's method alone: without the layer its headers show a token, and its path may hold
/// what a client wrote.
impl fmt::Debug for ErrorResponse<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ErrorResponse")
            .field("cause", &self.cause)
            .field("status", &self.status())
            .field("method", &self.request.map(|request| &request.method))
            .field("key", &self.key)
            .field("owner", &self.owner)
            .finish_non_exhaustive()
    }
}
