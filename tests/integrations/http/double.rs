//! A store that notes each request to verify, and rejects good tokens where a test says so.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use http::{Request, StatusCode};
use keyhasp::store::{LeaseWait, StoreLayer};
use keyhasp::{KeyLayer, KeyStore, VerifiedKey, Verifier, VerifyError, VerifyRequest};

use crate::common::World;
use crate::http::site::{Answer, routes, send};

#[derive(Debug)]
pub(crate) struct Double {
    store: Arc<dyn KeyStore>,
    rejects: Mutex<Option<VerifyError>>,
    heard: Mutex<Vec<String>>,
}

impl StoreLayer for Double {
    fn inner(&self) -> &dyn KeyStore {
        &*self.store
    }

    fn poll_verify(
        &self,
        request: &VerifyRequest<'_>,
        wait: &mut Option<LeaseWait>,
        context: &mut Context<'_>,
    ) -> Poll<Result<VerifiedKey, VerifyError>> {
        self.heard.lock().unwrap().push(format!("{request:?}"));
        let answer = self.store.poll_verify(request, wait, context);
        let rejects = *self.rejects.lock().unwrap();
        answer.map(|answer| answer.and_then(|verified| rejects.map_or(Ok(verified), Err)))
    }
}

/// A service on such a store, and a good token of it.
pub(crate) struct Stage {
    pub(crate) world: World,
    double: Arc<Double>,
    bearer: String,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let world = World::new();
        let bearer = format!("Bearer {}", world.owner("org").1.token.expose());
        let store = Arc::clone(&world.store);
        let double = Arc::new(Double { store, rejects: Mutex::default(), heard: Mutex::default() });
        Self { world, double, bearer }
    }

    pub(crate) fn reject(&self, error: VerifyError) {
        *self.double.rejects.lock().unwrap() = Some(error);
    }

    pub(crate) fn layer(&self) -> KeyLayer {
        let layer = KeyLayer::new(Verifier::new(Arc::<Double>::clone(&self.double)));
        layer.clock(Arc::<keyhasp::ManualClock>::clone(&self.world.clock))
    }

    pub(crate) fn site(&self, change: impl FnOnce(KeyLayer) -> KeyLayer) -> Router {
        routes(&self.world).layer(change(self.layer()))
    }

    pub(crate) fn ask(&self, site: &Router, mut request: Request<Body>) -> Answer {
        request.headers_mut().insert("authorization", self.bearer.parse().unwrap());
        send(site, request)
    }

    /// Returns the request that the store verified for this one, which passes.
    pub(crate) fn heard(&self, site: &Router, request: Request<Body>) -> String {
        self.double.heard.lock().unwrap().clear();
        assert_eq!(self.ask(site, request).status, StatusCode::OK);
        let heard = std::mem::take(&mut *self.double.heard.lock().unwrap());
        let [heard] = &heard[..] else { panic!("{heard:?}") };
        heard.clone()
    }
}
