//! Traces of a store's calls, and what they must not hold.

#![cfg(feature = "tracing")]
#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;
use std::time::Duration;

use crate::common::{World, builder, clock, owner};
use keyhasp::backend::Memory;
use keyhasp::integrations::tracing::Traced;
use keyhasp::{
    Access, AdminKeys, CreateKey, CreateOwner, Error, KeyId, KeyStore, OwnerKeys, Rotate,
};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_core::span::Current;

/// A subscriber that keeps a line for each span and event.
#[derive(Clone, Default)]
struct Notes {
    lines: Arc<Mutex<Vec<String>>>,
    spans: Arc<AtomicU64>,
    /// The spans that threads entered, with the thread.
    entered: Arc<Mutex<Vec<(Id, ThreadId)>>>,
    /// The span that is current on every thread: the tests have one at a time.
    current: Arc<Mutex<Option<(Id, &'static Metadata<'static>)>>>,
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0 += &format!(" {}={value:?}", field.name());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0 += &format!(" {}={value}", field.name());
    }
}

impl Notes {
    fn note(&self, line: Line) {
        self.lines.lock().unwrap().push(line.0);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.lines.lock().unwrap())
    }
}

impl Subscriber for Notes {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "keyhasp"
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut line = Line(format!("{} {}", span.metadata().level(), span.metadata().name()));
        span.record(&mut line);
        self.note(line);
        let id = Id::from_u64(self.spans.fetch_add(1, Ordering::SeqCst) + 1);
        *self.current.lock().unwrap() = Some((id.clone(), span.metadata()));
        id
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        let mut line = Line("..".into());
        values.record(&mut line);
        self.note(line);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.note(line);
    }

    fn enter(&self, id: &Id) {
        self.entered.lock().unwrap().push((id.clone(), std::thread::current().id()));
    }

    fn current_span(&self) -> Current {
        let current = self.current.lock().unwrap().clone();
        current.map_or_else(Current::none, |(id, metadata)| Current::new(id, metadata))
    }

    fn exit(&self, _: &Id) {}
}

fn traced() -> (World, Notes) {
    let clock = clock();
    let store = Traced::new(builder(&clock, 1).open(Memory::new()).unwrap());
    (World::of(Arc::new(store), clock), Notes::default())
}

#[test]
fn a_management_call_is_a_span() {
    let (world, notes) = traced();
    tracing::subscriber::with_default(notes.clone(), || {
        let (keys, issued) = world.owner("org");
        let id = issued.key.id;
        let created =
            ["INFO keyhasp call=create_owner role=administrator owner=org", ".. outcome=ok"];
        assert_eq!(notes.take(), created);
        keys.with_correlation_id("request-7").unwrap().rotate(id, Rotate::new()).unwrap();
        let call = format!(
            "INFO keyhasp call=rotate_key role=owner owner=org key={id} correlation_id=request-7"
        );
        assert_eq!(notes.take(), [&*call, ".. outcome=ok"]);
        let nobody = KeyId::from_u128(7);
        assert!(matches!(world.admin.get(nobody), Err(Error::NotFound(_))));
        let call = format!("INFO keyhasp call=key role=administrator key={nobody}");
        assert_eq!(notes.take(), [&*call, ".. outcome=not_found"]);
    });
}

#[test]
fn an_accepted_token_leaves_nothing_and_a_rejected_one_an_event() {
    let (world, notes) = traced();
    let (keys, issued) = world.owner("org");
    tracing::subscriber::with_default(notes.clone(), || {
        assert!(world.verifier.verify(issued.token.expose()).is_ok());
        assert!(notes.take().is_empty());
        assert!(world.verifier.verify("letmein").is_err());
        assert_eq!(notes.take(), ["DEBUG message=token rejected outcome=unrecognized"]);
        keys.deactivate(issued.key.id).unwrap();
        notes.take();
        assert!(world.verifier.verify(issued.token.expose()).is_err());
        assert_eq!(notes.take(), ["DEBUG message=token rejected outcome=deactivated"]);
    });
    assert!(Level::DEBUG > Level::INFO);
}

#[test]
fn a_store_that_can_not_warns() {
    let (world, notes) = traced();
    world.store.close().unwrap();
    tracing::subscriber::with_default(notes.clone(), || {
        assert!(world.admin.create_owner(&owner("org"), CreateOwner::without_key()).is_err());
    });
    let expected = [
        "INFO keyhasp call=create_owner role=administrator owner=org",
        ".. outcome=unavailable",
        "WARN message=call failed error=the store is closed; open it again",
    ];
    assert_eq!(notes.take(), expected);
}

/// A feed that waits when the store closes ends as it should.
#[test]
fn a_feed_that_ends_does_not_warn() {
    let (world, notes) = traced();
    world.store.close().unwrap();
    tracing::subscriber::with_default(notes.clone(), || {
        assert!(world.admin.wait_for_event(1, Duration::ZERO).is_err());
    });
    let lines = notes.take();
    assert!(lines.iter().any(|line| line.contains("call=wait_for_event")), "{lines:?}");
    assert!(!lines.iter().any(|line| line.starts_with("WARN")), "{lines:?}");
}

/// A call on the pool of blocking threads runs in the span of the request that made it.
#[cfg(feature = "tokio")]
#[test]
fn a_call_on_the_pool_runs_in_the_span_of_its_caller() {
    let notes = Notes::default();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let ran_on = tracing::subscriber::with_default(notes.clone(), || {
        let request = tracing::info_span!(target: "keyhasp", "request");
        let call = || Ok(std::thread::current().id());
        let ran_on = runtime.block_on(keyhasp::integrations::tokio::blocking(call)).unwrap();
        assert_eq!(*notes.entered.lock().unwrap(), [(request.id().unwrap(), ran_on)]);
        ran_on
    });
    assert_ne!(ran_on, std::thread::current().id());
}

/// Traces hold no tokens, and no names of people or of their keys.
#[test]
fn nothing_secret_and_nothing_personal_is_traced() {
    let (world, notes) = traced();
    tracing::subscriber::with_default(notes.clone(), || {
        let (_, issued) = world.owner("org");
        let store: Arc<dyn KeyStore> = Arc::clone(&world.store);
        let keys = OwnerKeys::new(Arc::clone(&store), owner("org"), "lena-the-actor").unwrap();
        let keys = keys.with_reason("a-reason-in-words").unwrap();
        let request = || CreateKey::new(Access::Full).name("name-of-a-key");
        let second = keys.create(request()).unwrap();
        let rotated = keys.rotate(second.key.id, Rotate::new()).unwrap();
        // A token where a permission's name belongs.
        let misplaced = Access::limited([&issued.token.expose()[..60]]).unwrap();
        assert!(keys.create(CreateKey::new(misplaced)).is_err());
        let admin = AdminKeys::new(store, "ada-the-actor").unwrap();
        admin.block(rotated.key.id).unwrap();
        for token in [&issued.token, &second.token, &rotated.token] {
            let _ = world.verifier.verify(token.expose());
            let _ = world.verifier.verify(&token.expose()[1..]);
        }
        let traced = notes.take().join("\n");
        assert!(traced.contains("outcome=invalid") && traced.contains("outcome=blocked"));
        for token in [&issued.token, &second.token, &rotated.token] {
            assert!(!traced.contains(&token.expose()[5..40]));
        }
        for word in ["the-actor", "a-reason", "name-of"] {
            assert!(!traced.contains(word), "{word}");
        }
    });
}
