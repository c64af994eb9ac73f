//! A request whose quota has no lease waits as a future: on a runtime of one thread, everything else
//! goes on.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use keyhasp::backend::{Backend, UsageSubject};
use keyhasp::{
    Access, CreateKey, CreateOwner, Issued, KeyLayer, KeyStore, Quota, SetLimits, Store,
};
use tower::{Layer, Service, ServiceExt};

use crate::common::gate::{Gate, as_request, on_each_gate};
use crate::common::{HOUR, World, builder, clock};

/// A service that is ready for one call once it was asked, and counts its clones.
#[derive(Debug, Default)]
struct Counted {
    is_ready: bool,
    clones: Arc<AtomicU32>,
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        self.clones.fetch_add(1, Ordering::SeqCst);
        Self { is_ready: false, clones: Arc::clone(&self.clones) }
    }
}

impl Service<Request<String>> for Counted {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.is_ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<String>) -> Self::Future {
        assert!(std::mem::take(&mut self.is_ready), "called before it was ready");
        std::future::ready(Ok(Response::new(request.into_body())))
    }
}

struct Place {
    world: World,
    store: Arc<Store>,
    gate: Arc<Gate>,
    limited: Issued,
    free: Issued,
}

fn place(wait: Duration) -> Place {
    place_by(Gate::new(), wait)
}

fn place_by(gate: Gate, wait: Duration) -> Place {
    let (gate, clock) = (Arc::new(gate), clock());
    let backend: Arc<dyn Backend> = Arc::<Gate>::clone(&gate);
    let store = Arc::new(builder(&clock, 1).quota_wait(wait).open_on(backend).unwrap());
    let world = World::of(Arc::<Store>::clone(&store), clock);
    let limits = SetLimits::new().quota(Quota::one_time(64).unwrap());
    let request = CreateOwner::with_key(CreateKey::new(Access::Full).limits(limits));
    let (_, limited) = world.owner_with("limited", request);
    let (_, free) = world.owner("free");
    Place { world, store, gate, limited, free }
}

fn request(issued: &Issued) -> Request<String> {
    let token = format!("Bearer {}", issued.token.expose());
    Request::get("/").header("authorization", token).body("body".into()).unwrap()
}

/// Runs requests on a runtime of one thread, where none may call the backend.
fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    as_request(|| runtime.block_on(work))
}

async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_fn(|context| Poll::Ready(std::pin::Pin::new(&mut *future).poll(context))).await
}

#[test]
fn other_routes_go_on_while_the_backend_hangs() {
    let Place { world, gate, limited, free, .. } = place(HOUR);
    let costs = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&costs);
    let layer = KeyLayer::new(world.verifier.clone()).cost_by(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        1
    });
    let clones = Arc::<AtomicU32>::default();
    let mut service = layer.layer(Counted { is_ready: false, clones: Arc::clone(&clones) });
    let shut = gate.shut();
    run(async {
        let call = service.ready().await.unwrap().call(request(&limited));
        let mut waiting = pin!(call);
        for _ in 0..3 {
            assert!(poll_once(&mut waiting).await.is_pending());
        }
        assert_eq!(clones.load(Ordering::SeqCst), 1);
        for _ in 0..20 {
            let answer = service.ready().await.unwrap().call(request(&free)).await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK);
        }
        assert_eq!(clones.load(Ordering::SeqCst), 1, "for what waits alone");
        drop(shut);
        let answer = waiting.await.unwrap();
        assert_eq!((answer.status(), answer.body().as_str()), (StatusCode::OK, "body"));
    });
    assert_eq!(costs.load(Ordering::SeqCst), 21, "once for each request");
    assert_eq!(gate.calls_by_requests(), 0);
}

/// On each backend: all uses of a quota, and more.
#[test]
fn no_request_through_the_layer_calls_the_backend() {
    on_each_gate(|gate| {
        let Place { world, gate, limited, free, .. } = place_by(gate, HOUR);
        let mut service = KeyLayer::new(world.verifier.clone()).layer(Counted::default());
        run(async {
            for round in 0..80 {
                for (issued, is_let_in) in [(&limited, round < 64), (&free, true)] {
                    let answer = service.ready().await.unwrap().call(request(issued)).await;
                    assert_eq!(answer.unwrap().status().is_success(), is_let_in, "{round}");
                }
            }
        });
        assert_eq!(gate.calls_by_requests(), 0);
    });
}

#[test]
fn who_waits_too_long_hears_when_to_try_again() {
    let Place { world, gate, limited, free, .. } = place(Duration::from_millis(5));
    let service = KeyLayer::new(world.verifier.clone()).layer(Counted::default());
    let shut = gate.shut();
    run(async {
        let mut all: Vec<_> =
            (0..50).map(|_| Box::pin(service.clone().oneshot(request(&limited)))).collect();
        for waiting in &mut all {
            let answer = waiting.await.unwrap();
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(answer.headers()["retry-after"], "1");
        }
        let answer = service.oneshot(request(&free)).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    });
    drop(shut);
}

/// A client that goes away has taken nothing of its quota.
#[test]
fn a_request_that_is_dropped_has_taken_nothing() {
    let Place { world, store, gate, limited, .. } = place(HOUR);
    let service = KeyLayer::new(world.verifier.clone()).layer(Counted::default());
    let shut = gate.shut();
    run(async {
        for _ in 0..10 {
            let mut waiting = Box::pin(service.clone().oneshot(request(&limited)));
            assert!(poll_once(&mut waiting).await.is_pending());
        }
    });
    drop(shut);
    // The first one's lease may have been on its way.
    store.fetch_leases().unwrap();
    store.close().unwrap();
    let usage = gate.usage(&[UsageSubject::Key(limited.key.id)]).unwrap();
    assert_eq!(usage[0].quota.unwrap().left, 64);
}
