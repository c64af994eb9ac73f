//! Answers that the integrations make themselves.

use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use super::caching::no_store;
use super::rate_headers::seconds;
use crate::store::Unavailable;

pub(super) const JSON: &str = "application/json";
pub(super) const PROBLEM_JSON: &str = "application/problem+json";
/// The type of a problem that its status describes already.
pub(super) const NO_TYPE: &str = "about:blank";

/// Seconds after which a client may try again when the store couldn't answer. Most such states are
/// over by then.
pub(super) const RETRY_SECONDS: u64 = 1;

/// Returns the seconds after which a client may try again; `None` for damage, which a person must
/// mend.
pub(super) fn retry_after(unavailable: Unavailable) -> Option<u64> {
    match unavailable {
        Unavailable::Damaged => None,
        Unavailable::Quota { retry_after } => Some(seconds(retry_after).max(1)),
        _ => Some(RETRY_SECONDS),
    }
}

/// The parts of an answer beside its body.
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) challenges: Vec<HeaderValue>,
    /// The seconds after which the client may try again, if that helps.
    pub(super) retry_after: Option<u64>,
}

impl Head {
    /// Makes the answer with this body. No cache may store it.
    pub(super) fn respond(self, content_type: &'static str, body: String) -> Response<String> {
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        for challenge in self.challenges {
            headers.append(WWW_AUTHENTICATE, challenge);
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        no_store(headers);
        response
    }

    /// Makes the answer with problem details by RFC 9457, and those of these members that have a value.
    pub(super) fn problem(
        self,
        kind: &str,
        detail: &str,
        members: [(&str, Option<&str>); 2],
    ) -> Response<String> {
        let mut body = json!({
            "type": kind,
            "title": self.status.canonical_reason().unwrap_or_default(),
            "status": self.status.as_u16(),
            "detail": detail,
        });
        for (name, value) in members {
            if let Some(value) = value {
                body[name] = Value::from(value);
            }
        }
        self.respond(PROBLEM_JSON, body.to_string())
    }
}
