//! What a refused request is answered.

use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use super::credentials::Credentials;
use super::rate_headers::seconds;
use crate::clock::Timestamp;
use crate::key::{RateLimited, RejectReason};
use crate::store::VerifyError;

/// Seconds after which a client may try again when the store couldn't answer: what it waits for is
/// mostly over by then.
const RETRY_SECONDS: u64 = 1;
/// The one sentence for every token that is not accepted.
const NOT_ACCEPTED: &str = "The API key is not accepted.";
const JSON: &str = "application/json";
const PROBLEM_JSON: &str = "application/problem+json";

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why<'a> {
    /// The request has no credential that could be verified.
    Missing,
    /// The request has more than one credential.
    Multiple,
    /// The caller lacks a permission; all that are needed, with spaces between.
    Permission(&'a str),
    /// A caller that may only read asked for more than `GET`, `HEAD` and `OPTIONS`.
    ReadOnly,
    /// An extractor or a guard stands where no layer has verified: a defect of the service.
    Unmounted,
    /// The token was not accepted.
    Verify(VerifyError),
}

impl From<VerifyError> for Why<'_> {
    fn from(error: VerifyError) -> Self {
        Self::Verify(error)
    }
}

/// The answer that a reason leads to. This is the one place that decides which statuses and
/// sentences an outsider sees; `None` where only the holder's own service may say more.
struct Answer {
    status: StatusCode,
    error: Option<&'static str>,
    detail: &'static str,
    /// Said in place of `detail` where the service discloses reasons.
    disclosed: Option<&'static str>,
}

impl Answer {
    fn to(why: &Why<'_>, unavailable: StatusCode) -> Self {
        let of = |status, error, detail| Self { status, error, detail, disclosed: None };
        let (bad, unauthorized) = (StatusCode::BAD_REQUEST, StatusCode::UNAUTHORIZED);
        let (forbidden, failed) = (StatusCode::FORBIDDEN, StatusCode::INTERNAL_SERVER_ERROR);
        let scope = Some("insufficient_scope");
        match why {
            Why::Missing => of(unauthorized, None, "This needs an API key."),
            Why::Multiple => of(bad, Some("invalid_request"), "Send one credential, once."),
            Why::Permission(_) => {
                of(forbidden, scope, "The API key lacks a permission that this needs.")
            }
            Why::ReadOnly => of(forbidden, scope, "The API key may only read."),
            Why::Unmounted => of(failed, None, "The service can't tell who is asking."),
            Why::Verify(VerifyError::Unavailable(_)) => {
                of(unavailable, None, "API keys can't be checked at the moment. Try again later.")
            }
            Why::Verify(VerifyError::Unrecognized) => {
                of(unauthorized, Some("invalid_token"), NOT_ACCEPTED)
            }
            Why::Verify(VerifyError::Rejected(reason)) => Self::rejected(reason),
        }
    }

    fn rejected(reason: &RejectReason) -> Self {
        let limit = |detail| Self {
            status: StatusCode::TOO_MANY_REQUESTS,
            error: None,
            detail,
            disclosed: None,
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
                return limit("This request is more than this API key may do at once.");
            }
            RejectReason::QuotaExhausted { .. } => {
                return limit("The quota of this API key is used up.");
            }
        };
        let error = (status == unauthorized).then_some("invalid_token");
        Self { status, error, detail: NOT_ACCEPTED, disclosed: Some(disclosed) }
    }
}

/// A refused request: what RFC 6750 says of its answer, to be put into an API's own shape.
///
/// Nothing in it comes from the request, so no answer made of it can echo a token.
#[derive(Clone, Copy, Debug)]
pub struct Refused<'a> {
    why: Why<'a>,
    credentials: &'a Credentials,
    unavailable: StatusCode,
    discloses_reason: bool,
    now: Option<Timestamp>,
}

impl<'a> Refused<'a> {
    /// A refusal by a service that accepts these credentials.
    #[must_use]
    pub fn new(why: Why<'a>, credentials: &'a Credentials) -> Self {
        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        Self { why, credentials, unavailable, discloses_reason: false, now: None }
    }

    /// The same, at this moment: only so does [`retry_after`](Self::retry_after) know how long it
    /// is until a quota is refilled.
    #[must_use]
    pub fn at(self, now: Timestamp) -> Self {
        Self { now: Some(now), ..self }
    }

    /// The same, with 500 in place of 503 where the store can't answer.
    #[must_use]
    pub fn unavailable_is_500(self) -> Self {
        Self { unavailable: StatusCode::INTERNAL_SERVER_ERROR, ..self }
    }

    /// The same, whose [`detail`](Self::detail) tells the holder of the right secret why it isn't
    /// accepted now, or not from there.
    #[must_use]
    pub fn disclosing_reason(self) -> Self {
        Self { discloses_reason: true, ..self }
    }

    /// Why. It tells a wrong secret from a right one: answer both alike, unless whoever has shown
    /// the right one shall know.
    #[must_use]
    pub fn why(&self) -> Why<'a> {
        self.why
    }

    /// The status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.answer().status
    }

    /// The error code of RFC 6750; `None` where it has none.
    #[must_use]
    pub fn error(&self) -> Option<&'static str> {
        self.answer().error
    }

    /// The permissions that are needed, with spaces between.
    #[must_use]
    pub fn scope(&self) -> Option<&'a str> {
        match self.why {
            Why::Permission(scope) => Some(scope),
            _ => None,
        }
    }

    /// After how many seconds, rounded up, the client may try again; `None` where that isn't known,
    /// or doesn't help.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        match self.why {
            Why::Verify(VerifyError::Rejected(RejectReason::QuotaExhausted { refilled_at })) => {
                refilled_at.zip(self.now).map(|(at, now)| seconds(at.since(now)).max(1))
            }
            Why::Verify(VerifyError::Rejected(RejectReason::RateLimited(limited))) => {
                limited.retry_after.map(|wait| seconds(wait).max(1))
            }
            Why::Verify(VerifyError::Unavailable(_))
                if self.status() == StatusCode::SERVICE_UNAVAILABLE =>
            {
                Some(RETRY_SECONDS)
            }
            _ => None,
        }
    }

    /// A sentence for the client.
    #[must_use]
    pub fn detail(&self) -> &'static str {
        let answer = self.answer();
        answer.disclosed.filter(|_| self.discloses_reason).unwrap_or(answer.detail)
    }

    fn answer(&self) -> Answer {
        Answer::to(&self.why, self.unavailable)
    }

    /// An answer with this body: the status, and the headers `WWW-Authenticate` and `Retry-After`
    /// where they belong. What an API has otherwise, it changes on the response.
    #[must_use]
    pub fn respond(&self, content_type: &'static str, body: impl Into<String>) -> Response<String> {
        let mut response = Response::new(body.into());
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if self.error().is_some() || self.why == Why::Missing {
            for challenge in self.challenges() {
                headers.append(WWW_AUTHENTICATE, challenge);
            }
        }
        if let Some(seconds) = self.retry_after() {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        response
    }

    /// An answer whose body is this JSON, as [`respond`](Self::respond) makes it.
    #[must_use]
    pub fn json(&self, body: &Value) -> Response<String> {
        self.respond(JSON, body.to_string())
    }

    /// The answer of an API without a shape of its own: problem details by RFC 9457, with `error`
    /// and `scope` as members where RFC 6750 has them.
    #[must_use]
    pub fn problem(&self) -> Response<String> {
        let status = self.status();
        let mut body = json!({
            "type": "about:blank",
            "title": status.canonical_reason().unwrap_or_default(),
            "status": status.as_u16(),
            "detail": self.detail(),
        });
        for (name, value) in [("error", self.error()), ("scope", self.scope())] {
            if let Some(value) = value {
                body[name] = value.into();
            }
        }
        self.respond(PROBLEM_JSON, body.to_string())
    }

    /// One challenge for each way to present a token. Where nothing was sent it is the bare scheme:
    /// whoever didn't know that a key is needed is told of no error.
    fn challenges(&self) -> impl Iterator<Item = HeaderValue> {
        let mut parameters: Vec<String> = Vec::new();
        parameters.extend(self.error().map(|error| format!("error=\"{error}\"")));
        parameters.extend(self.scope().map(|scope| format!("scope=\"{scope}\"")));
        self.credentials.challenges().filter_map(move |mut challenge| {
            for parameter in &parameters {
                challenge.push_str(if challenge.contains(' ') { ", " } else { " " });
                challenge.push_str(parameter);
            }
            // Schemes, header names and permissions are of visible characters without quotes.
            HeaderValue::try_from(challenge).ok()
        })
    }
}
