//! The start of links in answers.
//!
//! A link never follows the `Host` header: its sender would choose where a client of the answer
//! goes next, with its key.

use axum::http::Uri;
use axum::http::uri::Scheme;

use super::routes::BASE;

/// Returns the start of links, before the path of a resource: this URL, or the API's path alone if
/// there is none.
///
/// # Errors
/// A sentence for the operator unless it is an `http` or `https` URL of a host, with a path or
/// without one, and with nothing behind that.
pub(crate) fn link_base(url: Option<String>) -> Result<String, String> {
    let Some(url) = url else { return Ok(BASE.to_owned()) };
    let is_address = |uri: &Uri| {
        let is_web = [&Scheme::HTTP, &Scheme::HTTPS].into_iter().any(|it| uri.scheme() == Some(it));
        is_web && uri.host().is_some_and(|host| !host.is_empty())
    };
    // A name of a user or a password, a query or a fragment would be in each link, or before it.
    if url.contains(['@', '?', '#']) || !url.parse::<Uri>().is_ok_and(|uri| is_address(&uri)) {
        return Err(
            "--public-url needs a URL such as https://sensorbucket.nl/api: http or https, \
                    a host, and a path or none"
                .into(),
        );
    }
    Ok(url.trim_end_matches('/').to_owned())
}
