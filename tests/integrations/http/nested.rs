//! Layers in layers: one use, the inner one's own rules, and what a route costs on top.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, OriginalUri};
use axum::routing::get;
use http::{Request, StatusCode};
use keyhasp::backend::Memory;
use keyhasp::integrations::http::{Credentials, PeerAddress};
use keyhasp::store::{LeaseWait, StoreLayer, UsageSettings};
use keyhasp::{
    Access, Authenticated, CreateKey, CreateOwner, KeyLayer, KeyStore, ListKeys, Rate, SetLimits,
    Store, VerifiedKey, Verifier, VerifyError, VerifyRequest,
};

use crate::common::{World, builder, clock, prefix};
use crate::http::double::Stage;
use crate::http::site::{Answer, fetch, request, routes, send, with_token};

/// A key with so many uses a second, and its token.
fn limited(world: &World, uses: u32) -> String {
    let limits = SetLimits::new().rate(Rate::new(uses, Duration::from_secs(1)).unwrap());
    let key = CreateKey::new(Access::Full).limits(limits);
    let (_, issued) = world.owner_with("limited", CreateOwner::with_key(key));
    issued.token.expose().to_owned()
}

fn left(answer: &Answer) -> &str {
    answer.headers["ratelimit"].to_str().unwrap().split(';').nth(1).unwrap()
}

/// A layer inside a layer of the same store: its rate and its usage count one use.
#[test]
fn a_request_through_two_layers_is_one_use() {
    let world = World::new();
    let token = limited(&world, 10);
    let keys = KeyLayer::new(world.verifier.clone());
    let site = routes(&world).layer(keys.clone()).layer(keys.clone());
    assert_eq!(left(&with_token(&site, "/", &token)), "r=9");
    assert_eq!(left(&with_token(&site, "/", &token)), "r=8");
    // Another layer of the same store, with another verifier.
    let other = KeyLayer::new(keyhasp::Verifier::new(Arc::clone(&world.store)));
    let site = routes(&world).layer(other).layer(keys);
    assert_eq!(left(&with_token(&site, "/", &token)), "r=7");
    assert_eq!(with_token(&site, "/", &token).body, "limited");
}

#[test]
fn usage_counts_one_use_whatever_a_route_costs() {
    let usage = UsageSettings::new().counts();
    let clock = clock();
    let store = Arc::new(builder(&clock, 1).usage(usage).open(Memory::new()).unwrap());
    let world = World::of(Arc::<Store>::clone(&store), clock);
    let token = limited(&world, 100);
    let keys = KeyLayer::new(world.verifier.clone());
    let site = routes(&world).layer(keys.cost(9)).layer(keys);
    for _ in 0..3 {
        assert_eq!(with_token(&site, "/", &token).status, StatusCode::OK);
    }
    store.flush_usage().unwrap();
    let key = &world.admin.list(&ListKeys::new()).unwrap().items[0];
    assert_eq!(key.usage.unwrap().accepted, Some(3));
}

/// On the route it is charged on top; a route without one costs one use.
#[test]
fn a_route_costs_what_it_says_on_top() {
    let world = World::new();
    let token = limited(&world, 20);
    let keys = KeyLayer::new(world.verifier.clone());
    let site = Router::new()
        .route(
            "/export",
            get(async |caller: Authenticated| caller.owner().to_string()).layer(keys.cost(9)),
        )
        .route("/links", get(async || "links"))
        .layer(keys.clone());
    assert_eq!(left(&with_token(&site, "/links", &token)), "r=19");
    let dear = with_token(&site, "/export", &token);
    assert_eq!((left(&dear), dear.body.as_str()), ("r=9", "limited"));
    // 9 are left: one for the request, and not 9 more.
    let refused = with_token(&site, "/export", &token);
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(with_token(&site, "/links", &token).status, StatusCode::OK);
    // Where the layer around it was forgotten it verifies by itself.
    let alone = Router::new().route("/export", get(async || "all").layer(keys.cost(1)));
    assert_eq!(with_token(&alone, "/export", "letmein").status, StatusCode::UNAUTHORIZED);
    // The same layer twice has its cost once.
    world.clock.advance(Duration::from_secs(2));
    let five = keys.cost(5);
    let twice = routes(&world).layer(five.clone()).layer(five);
    assert_eq!(left(&with_token(&twice, "/", &token)), "r=15");
}

#[test]
fn a_layer_of_another_store_verifies_by_itself() {
    let (world, other) = (World::new(), World::new());
    let token = limited(&world, 10);
    let inner = KeyLayer::new(other.verifier.clone());
    let site = routes(&world).layer(inner).layer(KeyLayer::new(world.verifier.clone()));
    assert_eq!(with_token(&site, "/", &token).status, StatusCode::UNAUTHORIZED);
}

/// A store that rejects what the store within accepts.
#[derive(Debug)]
struct Stricter(Arc<dyn KeyStore>);

impl StoreLayer for Stricter {
    fn inner(&self) -> &dyn KeyStore {
        &*self.0
    }

    fn poll_verify(
        &self,
        _: &VerifyRequest<'_>,
        _: &mut Option<LeaseWait>,
        _: &mut Context<'_>,
    ) -> Poll<Result<VerifiedKey, VerifyError>> {
        Poll::Ready(Err(VerifyError::Unrecognized))
    }
}

/// A store around the outer layer's is another store, though it has the same catalogue.
#[test]
fn a_layer_of_a_stricter_store_verifies_by_itself() {
    let world = World::new();
    let token = limited(&world, 10);
    let stricter = Verifier::new(Arc::new(Stricter(Arc::clone(&world.store))));
    let site = routes(&world).layer(KeyLayer::new(stricter));
    let site = site.layer(KeyLayer::new(world.verifier.clone()));
    assert_eq!(with_token(&site, "/", &token).status, StatusCode::UNAUTHORIZED);
}

#[test]
fn the_inner_layer_judges_by_its_own_places_and_prefixes() {
    let clock = clock();
    let catalogue = crate::common::catalogue();
    let prefixes = [prefix("acme_live"), prefix("acme_test")];
    let store =
        Store::builder(catalogue, prefixes).clock(Arc::<keyhasp::ManualClock>::clone(&clock));
    let store: Arc<dyn KeyStore> = Arc::new(store.open(Memory::new()).unwrap());
    let world = World::of(store, clock);
    let under = |name: &str, text: &str| {
        let key = CreateKey::new(Access::Full).prefix(prefix(text));
        world.owner_with(name, CreateOwner::with_key(key)).1.token
    };
    let (live, test) = (under("live", "acme_live"), under("test", "acme_test"));
    let keys = KeyLayer::new(world.verifier.clone());
    let only_live = keys.clone().prefixes([prefix("acme_live")]).unwrap();
    let alone = routes(&world).layer(only_live.clone());
    let inside = routes(&world).layer(only_live).layer(keys.clone());
    for site in [&alone, &inside] {
        assert_eq!(with_token(site, "/", live.expose()).body, "live");
        let refused = with_token(site, "/", test.expose());
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
        assert_eq!(refused.json()["error"], "invalid_token");
        // Not even where reasons are disclosed is it told from a wrong token.
        assert_eq!(refused.body, with_token(site, "/", "letmein").body);
    }
    // Its guard holds to the prefixes also where the layer itself was forgotten.
    let guard =
        keys.clone().prefixes([prefix("acme_live")]).unwrap().require(["links:read"]).unwrap();
    let guarded = routes(&world).layer(guard).layer(keys.clone());
    assert_eq!(with_token(&guarded, "/", live.expose()).body, "live");
    assert_eq!(with_token(&guarded, "/", test.expose()).status, StatusCode::UNAUTHORIZED);
    // It takes keys from another header, in which there is none, or another one.
    let named = keys.clone().credentials(Credentials::header("x-api-key").unwrap());
    let site = routes(&world).layer(named).layer(keys);
    assert_eq!(with_token(&site, "/", live.expose()).status, StatusCode::UNAUTHORIZED);
    let bearer = format!("Bearer {}", live.expose());
    let both: [(&str, &[u8]); 2] =
        [("authorization", bearer.as_bytes()), ("x-api-key", test.expose().as_bytes())];
    assert_eq!(fetch(&site, "/", &both).body, "test");
    let wrong: [(&str, &[u8]); 2] = [both[0], ("x-api-key", b"letmein")];
    assert_eq!(fetch(&site, "/", &wrong).status, StatusCode::UNAUTHORIZED);
}

/// A key that is limited to networks is judged again where the inner layer sees another address.
#[test]
fn the_inner_layer_judges_by_its_own_address() {
    let world = World::new();
    let limits = SetLimits::new().networks(["192.0.2.0/24".parse().unwrap()]);
    let key = CreateKey::new(Access::Full).limits(limits);
    let (_, issued) = world.owner_with("org", CreateOwner::with_key(key));
    let fixed = |address: [u8; 4]| PeerAddress::by(move |_| Some(IpAddr::from(address)));
    let keys = KeyLayer::new(world.verifier.clone());
    let outer = keys.clone().peer_address(fixed([192, 0, 2, 1]));
    let ask = |inner: KeyLayer| {
        with_token(&routes(&world).layer(inner).layer(outer.clone()), "/", issued.token.expose())
    };
    assert_eq!(ask(keys.clone()).status, StatusCode::OK, "it has no rule on addresses");
    assert_eq!(ask(keys.cost(2)).status, StatusCode::OK, "and charges from that address");
    assert_eq!(ask(keys.clone().peer_address(fixed([192, 0, 2, 1]))).status, StatusCode::OK);
    let refused = ask(keys.clone().peer_address(fixed([198, 51, 100, 1])));
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let unknown = ask(keys.peer_address(PeerAddress::extension(SocketAddr::ip)));
    assert_eq!(unknown.status, StatusCode::FORBIDDEN);
}

/// A layer in between that exchanges the token for another key's has the inner layer verify.
#[test]
fn an_exchanged_token_is_verified() {
    let world = World::new();
    let (_, one) = world.owner("one");
    let (_, two) = world.owner("two");
    let keys = KeyLayer::new(world.verifier.clone());
    let bearer = format!("Bearer {}", two.token.expose());
    let exchange = tower::util::MapRequestLayer::new(move |mut request: Request<_>| {
        request.headers_mut().insert("authorization", bearer.parse().unwrap());
        request
    });
    let site = routes(&world).layer(keys.clone()).layer(exchange).layer(keys);
    assert_eq!(with_token(&site, "/", one.token.expose()).body, "two");
}

/// The layer that counted the use has told it; the one inside doesn't tell it again.
#[test]
fn hooks_hear_of_a_use_once() {
    let world = World::new();
    let (_, issued) = world.owner("org");
    let uses = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&uses);
    let keys = KeyLayer::new(world.verifier.clone()).on_verified(move |_, _| {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    let site = routes(&world).layer(keys.cost(3)).layer(keys.clone()).layer(keys);
    assert_eq!(with_token(&site, "/", issued.token.expose()).status, StatusCode::OK);
    assert_eq!(uses.load(Ordering::SeqCst), 1);
}

/// Under `nest` the path is stripped; the cost still sees the route and the whole path.
#[test]
fn a_cost_sees_the_route_under_nest() {
    let stage = Stage::new();
    let keys = stage.layer().cost_by(|parts| {
        let original = parts.extensions.get::<OriginalUri>().map(|uri| uri.path().to_owned());
        match parts.extensions.get().map(MatchedPath::as_str) {
            Some("/api/export/{id}") if original.as_deref() == Some("/api/export/7") => 10,
            _ => 1,
        }
    });
    let export = Router::new().route("/export/{id}", get(async || "all")).layer(keys.clone());
    let site = Router::new().nest("/api", export);
    let heard = stage.heard(&site, request(http::Method::GET, "/api/export/7", &[]));
    assert!(heard.contains("cost: 10"), "{heard}");
    let site = Router::new()
        .nest("/api", Router::new().route("/export/{id}", get(async || "all")))
        .layer(keys);
    let get = request(http::Method::GET, "/api/export/7", &[]);
    assert_eq!(send(&site, get).status, StatusCode::UNAUTHORIZED);
}
