//! The caller on the current span.

#![cfg(feature = "tracing")]

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use keyhasp::{Access, CreateKey, CreateOwner, KeyLayer, Session};
use tracing::field::{Empty, Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use tracing_core::span::Current;

use crate::common::{World, owner};
use crate::http::site::{Answer, fetch, routes, with_token};

/// A subscriber of one span, which keeps the values that are recorded on it.
#[derive(Clone, Default)]
struct OneSpan {
    metadata: Arc<Mutex<Option<&'static Metadata<'static>>>>,
    values: Arc<Mutex<Vec<String>>>,
}

struct Values<'a>(&'a mut Vec<String>);

impl Visit for Values<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.push(format!("{}={value:?}", field.name()));
    }
}

impl Subscriber for OneSpan {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.name() == "request"
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        *self.metadata.lock().unwrap() = Some(span.metadata());
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut Values(&mut self.values.lock().unwrap()));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}

    fn current_span(&self) -> Current {
        match *self.metadata.lock().unwrap() {
            Some(metadata) => Current::new(Id::from_u64(1), metadata),
            None => Current::none(),
        }
    }
}

#[test]
fn the_current_span_says_who_asked() {
    let world = World::new();
    let reads = CreateOwner::with_key(CreateKey::new(Access::ReadOnly));
    let (_, reads) = world.owner_with("reads", reads);
    let (_, blocked) = world.owner("blocked");
    world.admin.block(blocked.key.id).unwrap();
    let keys = KeyLayer::new(world.verifier.clone());
    let guard = keys.require(["links:write"]).unwrap();
    let open = routes(&world).layer(keys.clone());
    let guarded = routes(&world).layer(guard).layer(keys);
    let recorded_of = |ask: &dyn Fn() -> Answer| {
        let span = OneSpan::default();
        tracing::subscriber::with_default(span.clone(), || {
            let request =
                tracing::info_span!("request", keyhasp.key.id = Empty, keyhasp.owner.id = Empty);
            request.in_scope(ask);
        });
        std::mem::take(&mut *span.values.lock().unwrap())
    };
    let recorded = |site: &axum::Router, token: &str| recorded_of(&|| with_token(site, "/", token));
    let (reads_id, blocked_id) = (reads.key.id, blocked.key.id);
    let both = [format!("keyhasp.key.id={reads_id}"), "keyhasp.owner.id=reads".to_owned()];
    assert_eq!(recorded(&open, reads.token.expose()), both);
    assert_eq!(recorded(&guarded, reads.token.expose())[..2], both);
    assert_eq!(recorded(&open, blocked.token.expose()), [format!("keyhasp.key.id={blocked_id}")]);
    assert!(recorded(&open, "letmein").is_empty());
    // A session has an owner and no key.
    let reads = Access::ReadOnly.compile(world.verifier.catalogue());
    let session = move |_: &_| Some(Session::new(owner("org-of-lena"), reads));
    let keys = KeyLayer::new(world.verifier.clone()).session(session);
    let site = routes(&world).layer(keys);
    assert_eq!(recorded_of(&|| fetch(&site, "/", &[])), ["keyhasp.owner.id=org-of-lena"]);
}
