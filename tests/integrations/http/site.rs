//! A service of a few routes, and requests to it.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::routing::{any, get};
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Request, StatusCode};
use keyhasp::{Authenticated, KeyLayer, Rejection};
use serde_json::Value;
use tower::ServiceExt;

use crate::common::World;

/// The answer to a request.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn challenges(&self) -> Vec<&str> {
        let values = self.headers.get_all(WWW_AUTHENTICATE).iter();
        values.map(|value| value.to_str().unwrap()).collect()
    }

    /// A problem by RFC 9457 with these members, and no other headers than belong to it.
    #[track_caller]
    pub(crate) fn is_problem(&self, expected: &Value, challenges: &[&str]) {
        assert_eq!(u64::from(self.status.as_u16()), expected["status"]);
        assert_eq!(self.headers[CONTENT_TYPE], "application/problem+json");
        assert_eq!(&self.json(), expected);
        assert_eq!(self.challenges(), challenges);
        let known =
            ["cache-control", "content-type", "content-length", "www-authenticate", "retry-after"];
        assert_eq!(self.headers[CACHE_CONTROL], "no-store");
        assert!(self.headers.keys().all(|name| known.contains(&name.as_str())), "{self:?}");
    }
}

/// Routes: `/` shows the caller, `/open` also an anonymous one, and the handler of `/write` checks
/// that the caller may write.
pub(crate) fn routes(world: &World) -> Router {
    let write = world.verifier.permission("links:write").unwrap();
    let may_write = async move |caller: Authenticated| -> Result<&'static str, Rejection> {
        caller.require(write)?;
        Ok("written")
    };
    Router::new()
        .route("/", any(async |caller: Authenticated| caller.owner().to_string()))
        .route(
            "/open",
            get(async |caller: Option<Authenticated>| {
                caller.map_or_else(|| "anonymous".to_owned(), |caller| caller.owner().to_string())
            }),
        )
        .route("/write", any(may_write))
}

/// The routes behind a layer as it comes, changed as told.
pub(crate) fn site(world: &World, change: impl FnOnce(KeyLayer) -> KeyLayer) -> Router {
    routes(world).layer(change(KeyLayer::new(world.verifier.clone())))
}

pub(crate) fn request(method: Method, uri: &str, headers: &[(&str, &[u8])]) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, HeaderValue::from_bytes(value).unwrap());
    }
    request.body(Body::empty()).unwrap()
}

pub(crate) fn send(site: &Router, request: Request<Body>) -> Answer {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let response = site.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        let body = String::from_utf8(body.into()).unwrap();
        Answer { status: parts.status, headers: parts.headers, body }
    })
}

pub(crate) fn fetch(site: &Router, uri: &str, headers: &[(&str, &[u8])]) -> Answer {
    send(site, request(Method::GET, uri, headers))
}

/// `GET` with a bearer token.
pub(crate) fn with_token(site: &Router, uri: &str, token: &str) -> Answer {
    fetch(site, uri, &[(AUTHORIZATION.as_str(), format!("Bearer {token}").as_bytes())])
}
