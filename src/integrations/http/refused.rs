//! What a refused request is answered.

use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use super::credentials::Credentials;
use super::rate_headers::seconds;
use crate::clock::Timestamp;
use crate::key::Unfit;
use crate::store::{RateLimited, Refusal, Unavailable};

/// Seconds after which a client may try again when the store couldn't answer: what it waits for is
/// mostly over by then.
const RETRY_SECONDS: u64 = 1;
const JSON: &str = "application/json";
const PROBLEM_JSON: &str = "application/problem+json";

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why<'a> {
    /// More than one credential was sent.
    Doubled,
    /// Nothing was sent that could be judged.
    Missing,
    /// The key is limited to networks, and the peer's address isn't known.
    AddressMissing,
    /// The key isn't accepted from the peer's address.
    AddressRefused,
    /// The key is accepted from this moment on.
    NotYet(Timestamp),
    /// A permission is lacking; all that are needed, with spaces between.
    Permission(&'a str),
    /// The quota is used up.
    QuotaExhausted {
        /// When it is refilled, if ever.
        refilled_at: Option<Timestamp>,
    },
    /// The rate is used up for now.
    RateLimited(RateLimited),
    /// A caller that may only read asked for more than `GET`, `HEAD` and `OPTIONS`.
    ReadOnly,
    /// The store can't answer, which says nothing of the token.
    Unavailable(Unavailable),
    /// The right secret of a token that is not accepted now.
    Unfit(Unfit),
    /// An extractor or a guard stands where no layer has verified: a defect of the service's.
    Unmounted,
    /// No token of this store.
    Unrecognized,
}

impl From<Refusal> for Why<'_> {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unrecognized => Self::Unrecognized,
            Refusal::Unfit(unfit) => Self::Unfit(unfit),
            Refusal::NotYet(from) => Self::NotYet(from),
            Refusal::AddressMissing => Self::AddressMissing,
            Refusal::AddressRefused => Self::AddressRefused,
            Refusal::RateLimited(limited) => Self::RateLimited(limited),
            Refusal::QuotaExhausted { refilled_at } => Self::QuotaExhausted { refilled_at },
            Refusal::Unavailable(unavailable) => Self::Unavailable(unavailable),
        }
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
    tells_holders: bool,
    now: Option<Timestamp>,
}

impl<'a> Refused<'a> {
    /// A refusal by a service that accepts these credentials.
    #[must_use]
    pub fn new(why: Why<'a>, credentials: &'a Credentials) -> Self {
        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        Self { why, credentials, unavailable, tells_holders: false, now: None }
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
    pub fn telling_holders(self) -> Self {
        Self { tells_holders: true, ..self }
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
        match self.why {
            Why::Doubled => StatusCode::BAD_REQUEST,
            Why::Missing | Why::NotYet(_) | Why::Unfit(_) | Why::Unrecognized => {
                StatusCode::UNAUTHORIZED
            }
            Why::AddressMissing | Why::AddressRefused | Why::Permission(_) | Why::ReadOnly => {
                StatusCode::FORBIDDEN
            }
            Why::QuotaExhausted { .. } | Why::RateLimited(_) => StatusCode::TOO_MANY_REQUESTS,
            Why::Unavailable(_) => self.unavailable,
            Why::Unmounted => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The error code of RFC 6750; `None` where it has none.
    #[must_use]
    pub fn error(&self) -> Option<&'static str> {
        match self.why {
            Why::Doubled => Some("invalid_request"),
            Why::NotYet(_) | Why::Unfit(_) | Why::Unrecognized => Some("invalid_token"),
            Why::Permission(_) | Why::ReadOnly => Some("insufficient_scope"),
            Why::AddressMissing
            | Why::AddressRefused
            | Why::Missing
            | Why::QuotaExhausted { .. }
            | Why::RateLimited(_)
            | Why::Unavailable(_)
            | Why::Unmounted => None,
        }
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
            Why::QuotaExhausted { refilled_at } => {
                refilled_at.zip(self.now).map(|(at, now)| seconds(at.since(now)).max(1))
            }
            Why::RateLimited(limited) => limited.retry_after.map(|wait| seconds(wait).max(1)),
            Why::Unavailable(_) if self.status() == StatusCode::SERVICE_UNAVAILABLE => {
                Some(RETRY_SECONDS)
            }
            _ => None,
        }
    }

    /// A sentence for the client.
    #[must_use]
    pub fn detail(&self) -> &'static str {
        match self.why {
            Why::Doubled => "Send one credential, once.",
            Why::Missing => "This needs an API key.",
            Why::AddressMissing if self.tells_holders => {
                "The API key is limited to some addresses, and that of this request is not known."
            }
            Why::AddressRefused if self.tells_holders => {
                "The API key is not accepted from this address."
            }
            Why::QuotaExhausted { .. } => "The quota of this API key is used up.",
            Why::RateLimited(RateLimited { retry_after: Some(_), .. }) => {
                "Too many requests with this API key. Try again later."
            }
            Why::RateLimited(_) => "This request is more than this API key may do at once.",
            Why::NotYet(_) if self.tells_holders => "The API key is not accepted yet.",
            Why::Permission(_) => "The API key lacks a permission that this needs.",
            Why::ReadOnly => "The API key may only read.",
            Why::Unavailable(_) => "API keys can't be checked at the moment. Try again later.",
            Why::Unmounted => "The service can't tell who is asking.",
            Why::Unfit(unfit) if self.tells_holders => match unfit {
                Unfit::Blocked => "The API key is blocked.",
                Unfit::Deactivated => "The API key is deactivated.",
                Unfit::Expired => "The API key has expired.",
                Unfit::Revoked => "The API key is revoked.",
                Unfit::Superseded => "The API key was rotated: a newer token stands in its place.",
                Unfit::Suspended => "The owner of the API key is suspended.",
            },
            Why::AddressMissing
            | Why::AddressRefused
            | Why::NotYet(_)
            | Why::Unfit(_)
            | Why::Unrecognized => "The API key is not accepted.",
        }
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
