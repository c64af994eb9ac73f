//! The cost of the layer for a request: a service call in this process, with it and without.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::Request;
use http::header::AUTHORIZATION;
use keyhasp::KeyLayer;
use keyhasp::backend::Sharing;
use tower::Service;

use crate::measure::{difference_of, figure, time};
use crate::verification::{open, tokens};

/// Number of keys in the store.
const KEYS: u64 = 1_000_000;
/// Number of requests in one measurement.
const BATCH: usize = 2_000;
const ROUNDS: usize = 301;

pub fn run(wanted: &dyn Fn(&str) -> bool) {
    if !wanted("layer_overhead") {
        return;
    }
    let verifier = open(KEYS, false, Sharing::Exclusive);
    let tokens = tokens(KEYS, 1);
    let bare = Router::<()>::new().route("/", get(async || "ok"));
    let layered = bare.clone().layer(KeyLayer::new(verifier));
    let passing = bare.clone().layer(tower::layer::util::Identity::new());
    let mut at = 0;
    let mut measure = |site: &Router| {
        let drawn = tokens.iter().cycle().skip(at).take(BATCH);
        at = (at + BATCH) % tokens.len();
        let requests: Vec<_> = drawn.map(|token| request(token)).collect();
        let mut site = site.clone();
        time(|| requests.into_iter().for_each(|request| call(&mut site, request))) / BATCH as f64
    };
    let measure = std::cell::RefCell::new(&mut measure);
    let beside_bare = |site: &Router| {
        difference_of(ROUNDS, || measure.borrow_mut()(site), || measure.borrow_mut()(&bare))
    };
    let (alone, added) = beside_bare(&layered);
    figure("layer_bare", alone, "ns");
    figure("layer_overhead", added, "ns");
    let (_, passed) = beside_bare(&passing);
    figure("layer_of_nothing", passed, "ns");
}

fn request(token: &str) -> Request<Body> {
    let bearer = format!("Bearer {token}");
    Request::get("/").header(AUTHORIZATION, bearer).body(Body::empty()).unwrap()
}

/// The handler waits for nothing, so a poll or two and no runtime answer it.
fn call(site: &mut Router, request: Request<Body>) {
    let mut answer = pin!(Service::<Request<Body>>::call(site, request));
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(answer) = answer.as_mut().poll(&mut context) {
            assert!(answer.unwrap().status().is_success());
            return;
        }
    }
}
