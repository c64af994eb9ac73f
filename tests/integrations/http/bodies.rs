//! Bodies that aren't made of a text: the layer's own answers in a service of any type of body.

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::routing::post;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use keyhasp::{Access, CreateKey, CreateOwner, KeyLayer};
use std::convert::Infallible;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_http::compression::CompressionLayer;
use tower_http::limit::RequestBodyLimitLayer;

use crate::common::World;
use crate::http::site::{Answer, request, send, with_token};

type Boxed = BoxBody<Bytes, Infallible>;

/// A body that has no text and no default.
#[derive(Debug, PartialEq)]
struct Odd(Option<String>);

fn wait<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn ask<S, B>(service: S, token: &str) -> Response<B>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
{
    let bearer = format!("Bearer {token}");
    let request = Request::get("/").header("authorization", bearer).body(Body::empty()).unwrap();
    wait(service.oneshot(request)).unwrap()
}

#[test]
fn a_function_makes_the_layers_bodies_and_its_guards() {
    let world = World::new();
    let reads = CreateOwner::with_key(CreateKey::new(Access::ReadOnly));
    let (_, reads) = world.owner_with("reads", reads);
    let layer = KeyLayer::new(world.verifier.clone()).body_with(|text| Odd(Some(text)));
    let guard = layer.require(["links:write"]).unwrap();
    let inner = service_fn(async |_: Request<Body>| Ok(Response::new(Odd(None))));
    let open = layer.layer(inner);
    assert_eq!(ask(open.clone(), reads.token.expose()).into_body(), Odd(None));
    let refused = ask(open, "letmein");
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert!(refused.body().0.as_ref().unwrap().contains("not accepted"));
    let inner = service_fn(async |_: Request<Body>| Ok(Response::new(Odd(None))));
    let refused = ask(layer.layer(guard.layer(inner)), reads.token.expose());
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert!(refused.body().0.as_ref().unwrap().contains("links:write"));
}

#[test]
fn a_boxed_body() {
    let world = World::new();
    let layer = KeyLayer::new(world.verifier.clone())
        .body_with(|text| -> Boxed { Full::from(text).boxed() });
    let inner =
        service_fn(async |_: Request<Body>| Ok(Response::new(Full::<Bytes>::from("in").boxed())));
    let refused = ask(layer.layer(inner), "letmein");
    let text = wait(to_bytes(Body::new(refused.into_body()), usize::MAX)).unwrap();
    assert!(text.starts_with(b"{"));
}

/// Compression's own body can't be made of a text, but has a default.
#[test]
fn a_body_with_a_default() {
    let world = World::new();
    let (_, issued) = world.owner("org");
    let layer = KeyLayer::new(world.verifier.clone()).empty_body();
    let guard = layer.read_only_reads();
    let service = ServiceBuilder::new()
        .layer(layer)
        .layer(guard)
        .layer(CompressionLayer::new())
        .service(service_fn(async |_: Request<Body>| Ok(Response::new(Body::from("in")))));
    let passed = ask(service.clone(), issued.token.expose());
    assert_eq!(wait(to_bytes(Body::new(passed.into_body()), 10)).unwrap(), "in");
    let refused = ask(service, "letmein");
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert!(refused.headers().contains_key("www-authenticate"));
    assert!(!refused.headers().contains_key("content-type"));
    assert!(wait(to_bytes(Body::new(refused.into_body()), 0)).unwrap().is_empty());
}

/// Compression and a limit behind the layer, in one builder, with the layer's whole answers.
#[test]
fn compression_and_a_limit_behind_the_layer() {
    let world = World::new();
    let (_, issued) = world.owner("org");
    let layers = ServiceBuilder::new()
        .layer(KeyLayer::new(world.verifier.clone()))
        .map_response(|answer: Response<_>| answer.map(Body::new))
        .layer(CompressionLayer::new())
        .layer(RequestBodyLimitLayer::new(8));
    let site = Router::new().route("/", post(async |text: String| text)).layer(layers);
    let bearer = format!("Bearer {}", issued.token.expose());
    let post = |body: &str| -> Answer {
        let mut post = request(http::Method::POST, "/", &[("authorization", bearer.as_bytes())]);
        let length = body.len().into();
        *post.body_mut() = body.to_owned().into();
        post.headers_mut().insert("content-length", length);
        send(&site, post)
    };
    assert_eq!(post("short").body, "short");
    assert_eq!(post("too long a body").status, StatusCode::PAYLOAD_TOO_LARGE);
    let refused = with_token(&site, "/", "letmein");
    assert_eq!(refused.json()["error"], "invalid_token");
}
