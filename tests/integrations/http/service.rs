//! The layer around any service, without axum.

use std::task::{Context, Poll};

use http::{Request, Response, StatusCode};
use keyhasp::integrations::tower::KeyService;
use keyhasp::{Authenticated, KeyLayer};
use tower::{Layer, Service, ServiceExt};

use crate::common::World;

/// Ready at the second time of asking; fails when asked for `/fail`. Its bodies are no framework's.
#[derive(Clone, Debug, Default)]
struct Plain {
    asked: u32,
}

impl Service<Request<u8>> for Plain {
    type Response = Response<Vec<u8>>;
    type Error = String;
    type Future = std::future::Ready<Result<Response<Vec<u8>>, String>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), String>> {
        self.asked += 1;
        if self.asked > 1 {
            return Poll::Ready(Ok(()));
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn call(&mut self, request: Request<u8>) -> Self::Future {
        assert!(self.asked > 1, "called before it was ready");
        std::future::ready(if request.uri().path() == "/fail" {
            Err("failed".to_owned())
        } else {
            let caller = Authenticated::of(request.extensions()).unwrap();
            Ok(Response::new(format!("{} {}", caller.owner(), request.body()).into_bytes()))
        })
    }
}

fn ask(service: &KeyService<Plain>, uri: &str, token: &str) -> Result<Response<Vec<u8>>, String> {
    let request = Request::get(uri).header("authorization", format!("Bearer {token}"));
    let answer = service.clone().oneshot(request.body(7).unwrap());
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(answer)
}

#[test]
fn any_service_and_any_body() {
    let world = World::new();
    let (_, issued) = world.owner("org");
    let service = KeyLayer::new(world.verifier.clone()).layer(Plain::default());
    let good = issued.token.expose();
    assert_eq!(ask(&service, "/", good).unwrap().into_body(), b"org 7");
    assert_eq!(ask(&service, "/fail", good).unwrap_err(), "failed");
    let refused = ask(&service, "/fail", "letmein").unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert!(refused.body().starts_with(b"{"));
}
