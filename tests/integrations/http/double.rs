//! A store that notes by what it is asked to judge, and refuses good tokens as it is told.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use http::{Request, StatusCode};
use keyhasp::{KeyLayer, KeyStore, VerifiedKey, Verifier, VerifyError, VerifyRequest};

use crate::common::World;
use crate::http::site::{Answer, routes, send};

#[derive(Debug)]
pub(crate) struct Double {
    store: Arc<dyn KeyStore>,
    refuses: Mutex<Option<VerifyError>>,
    heard: Mutex<Vec<String>>,
}

impl KeyStore for Double {
    pass_on! {
        block_leaked catalogue change_key change_owner change_rules close count_keys create_key
        create_owner events health identify key key_by_numeric_id list_keys list_owners
        invalidate_tokens_issued_before reveal_token reveal_tokens owner prune_events purge_key purge_owner recover
        revoke_all rotate_key rules wait_for_event
    }

    fn verify_request(&self, request: &VerifyRequest<'_>) -> Result<VerifiedKey, VerifyError> {
        self.heard.lock().unwrap().push(format!("{request:?}"));
        let verified = self.store.verify_request(request)?;
        self.refuses.lock().unwrap().map_or(Ok(verified), Err)
    }
}

/// A service on such a store, and a good token of its.
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
        let double = Arc::new(Double { store, refuses: Mutex::default(), heard: Mutex::default() });
        Self { world, double, bearer }
    }

    pub(crate) fn refuse(&self, refusal: VerifyError) {
        *self.double.refuses.lock().unwrap() = Some(refusal);
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

    /// By what the store was asked to judge this request, which passes.
    pub(crate) fn heard(&self, site: &Router, request: Request<Body>) -> String {
        self.double.heard.lock().unwrap().clear();
        assert_eq!(self.ask(site, request).status, StatusCode::OK);
        let heard = std::mem::take(&mut *self.double.heard.lock().unwrap());
        let [heard] = &heard[..] else { panic!("{heard:?}") };
        heard.clone()
    }
}
