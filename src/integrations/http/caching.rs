//! Fields for the caches between a service and its clients.

use http::header::{CACHE_CONTROL, VARY};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Forbids every cache to store an answer, such as one that holds a new token. The layer does so
/// with its own answers: the next request with the same URL may be another caller's.
///
/// ```
/// # use keyhasp::integrations::http::no_store;
/// let mut answer = http::Response::new("{\"token\": \"acme_...\"}");
/// no_store(answer.headers_mut());
/// assert_eq!(answer.headers()["Cache-Control"], "no-store");
/// ```
pub fn no_store(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

/// Says that an answer depends on these request headers. A shared cache knows that of
/// `Authorization` by itself (RFC 9111, section 3.5), of no other header.
pub(in crate::integrations) fn vary<'a>(
    names: impl Iterator<Item = &'a HeaderName>,
    headers: &mut HeaderMap,
) {
    for name in names {
        let mut values =
            headers.get_all(VARY).iter().flat_map(|value| value.as_bytes().split(comma));
        let is_named = |named: &[u8]| {
            let named = named.trim_ascii();
            named == b"*" || named.eq_ignore_ascii_case(name.as_str().as_bytes())
        };
        if !values.any(is_named) {
            headers.append(VARY, name.clone().into());
        }
    }
}

fn comma(byte: &u8) -> bool {
    *byte == b','
}
