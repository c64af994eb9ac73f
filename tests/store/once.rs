//! Creations and rotations under an idempotency key take effect once.

#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use crate::common::{HOUR, World, owner, prefix};
use keyhasp::store::{ForbiddenReason, IssuedOnce, Resource, StateProblem};
use keyhasp::{
    Access, CreateKey, CreateOwner, DelegatedKeys, Error, EventKind, Expiry, IdempotencyKey,
    Issued, ListEvents, ListKeys, NumericIdChoice, OwnerKeys, Rotate, SetLimits, VerifiedKey,
};
use serde_json::json;

const MINUTE: Duration = Duration::from_secs(60);

fn key(text: &str) -> IdempotencyKey {
    IdempotencyKey::new(text).unwrap()
}

fn full() -> CreateKey {
    CreateKey::new(Access::Full)
}

fn verified(world: &World, token: &str) -> VerifiedKey {
    world.verifier.verify(token).unwrap()
}

fn delegate(world: &World, token: &str) -> DelegatedKeys {
    DelegatedKeys::new(Arc::clone(&world.store), &verified(world, token), "ci").unwrap()
}

/// The token of a first answer.
fn first(issued: &IssuedOnce) -> &str {
    assert!(!issued.is_repeated);
    issued.token.as_ref().unwrap().expose()
}

fn denied<T>(result: Result<T, Error>) -> ForbiddenReason {
    match result {
        Err(Error::Forbidden(denied)) => denied,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("allowed"),
    }
}

/// The owner's keys, and the number of the last event.
fn counts(world: &World, keys: &OwnerKeys) -> (u64, u64) {
    let last = world.admin.wait_for_event(0, Duration::ZERO).unwrap();
    (keys.count(&ListKeys::new()).unwrap(), last)
}

#[test]
fn a_repeated_creation_makes_one_key() {
    let world = World::new();
    let (keys, _) = world.owner("org");
    let issued = keys.create_once(full().name("ci"), &key("a")).unwrap();
    assert!(world.verifier.verify(first(&issued)).is_ok());
    let before = counts(&world, &keys);
    world.clock.advance(HOUR);
    let again = keys.create_once(full().name("ci"), &key("a")).unwrap();
    assert!(again.is_repeated && again.token.is_none() && again.dropped.is_none());
    assert_eq!((again.key.id, again.generation), (issued.key.id, issued.generation));
    assert_eq!(counts(&world, &keys), before);
    // Another idempotency key is another request, and a plain call is always one.
    assert_ne!(keys.create_once(full(), &key("b")).unwrap().key.id, issued.key.id);
    keys.create(full()).unwrap();
    assert_eq!(counts(&world, &keys).0, before.0 + 2);
}

#[test]
fn a_repeated_rotation_makes_one_generation() {
    let world = World::new();
    let (keys, issued) = world.owner("org");
    let id = issued.key.id;
    let rotated = keys.rotate_once(id, Rotate::with_grace(HOUR), &key("a")).unwrap();
    assert_eq!(rotated.generation.get(), 2);
    let before = counts(&world, &keys);
    // Seven retries of a rotation would drop the first token, which the client still uses.
    for _ in 0..7 {
        let again = keys.rotate_once(id, Rotate::with_grace(HOUR), &key("a")).unwrap();
        assert!(again.is_repeated && again.token.is_none());
        assert_eq!(again.generation, rotated.generation);
    }
    assert_eq!(counts(&world, &keys), before);
    for token in [issued.token.expose(), first(&rotated)] {
        assert!(world.verifier.verify(token).is_ok());
    }
    // A repetition hears of the key as it is, and still of its own generation.
    keys.rotate(id, Rotate::forced()).unwrap();
    let again = keys.rotate_once(id, Rotate::with_grace(HOUR), &key("a")).unwrap();
    assert_eq!((again.generation.get(), again.key.generation.get()), (2, 3));
    // The expected version counts for the first time alone.
    let version = again.key.version;
    let expecting = keys.if_version(version);
    let rotated = expecting.rotate_once(id, Rotate::new(), &key("b")).unwrap();
    let again = expecting.rotate_once(id, Rotate::new(), &key("b")).unwrap();
    assert_eq!(again.generation, rotated.generation);
    assert!(matches!(
        expecting.rotate_once(id, Rotate::new(), &key("c")),
        Err(Error::Conflict { .. })
    ));
}

/// Everything that a request says is its content.
#[test]
fn another_request_under_the_same_key_is_refused() {
    let world = World::new();
    let (keys, issued) = world.owner("org");
    world.owner("other");
    let admin = &world.admin;
    let later = world.after(HOUR);
    let request = || full().name("ci").settings(json!({"a": 1, "b": 2}));
    admin.create_once(&owner("org"), request(), &key("a")).unwrap();
    let before = counts(&world, &keys);
    let others = [
        full().settings(json!({"a": 1, "b": 2})),
        request().name("cd"),
        request().settings(json!({"a": 1})),
        request().expires(Expiry::At(later)),
        request().expires(Expiry::Never),
        request().expires_in(HOUR),
        request().prefix(prefix("acme_test")),
        request().numeric_id(NumericIdChoice::Next),
        request().limits(SetLimits::new().not_before(later)),
        CreateKey::new(Access::ReadOnly).name("ci").settings(json!({"a": 1, "b": 2})),
        CreateKey::trial(Access::Full, Expiry::Never).name("ci"),
    ];
    for other in others {
        let answer = admin.create_once(&owner("org"), other.clone(), &key("a"));
        assert!(matches!(answer, Err(Error::IdempotencyKeyReused)), "{other:?}: {answer:?}");
    }
    let reused = |answer: Result<IssuedOnce, Error>| {
        assert!(matches!(answer, Err(Error::IdempotencyKeyReused)), "{answer:?}");
    };
    reused(admin.create_once(&owner("other"), request(), &key("a")));
    reused(admin.rotate_once(issued.key.id, Rotate::new(), &key("a")));
    assert_eq!(counts(&world, &keys), before);
    // The order of settings says nothing.
    let same = full().name("ci").settings(json!({"b": 2, "a": 1}));
    assert!(admin.create_once(&owner("org"), same, &key("a")).unwrap().is_repeated);
    admin.rotate_once(issued.key.id, Rotate::new(), &key("r")).unwrap();
    reused(admin.rotate_once(issued.key.id, Rotate::forced(), &key("r")));
    reused(admin.rotate_once(issued.key.id, Rotate::with_grace(HOUR), &key("r")));
    let text = Error::IdempotencyKeyReused.to_string();
    assert!(text.contains("24 hours"), "{text}");
}

/// Each caller has idempotency keys of its own.
#[test]
fn callers_do_not_meet() {
    let world = World::new();
    let (keys, issued) = world.owner("org");
    let (others, _) = world.owner("other");
    let second = keys.create(full()).unwrap();
    let [one, two] = [&issued, &second].map(|issued| delegate(&world, issued.token.expose()));
    let provided = keys.provided(&verified(&world, second.token.expose()));
    let made = [
        world.admin.create_once(&owner("org"), full(), &key("a")).unwrap(),
        keys.create_once(full(), &key("a")).unwrap(),
        others.create_once(full(), &key("a")).unwrap(),
        one.create_once(full(), &key("a")).unwrap(),
        two.create_once(full(), &key("a")).unwrap(),
    ];
    let mut ids: Vec<_> = made.iter().map(|issued| issued.key.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), made.len());
    // Both act with one key.
    let again = provided.create_once(full(), &key("a")).unwrap();
    assert_eq!((again.key.id, again.is_repeated), (made[4].key.id, true));
}

#[test]
fn requests_are_kept_for_a_day() {
    let world = World::new();
    let (keys, _) = world.owner("org");
    let issued = keys.create_once(full(), &key("a")).unwrap();
    world.clock.advance(IdempotencyKey::KEPT);
    let again = keys.create_once(full(), &key("a")).unwrap();
    assert_eq!(again.key.id, issued.key.id);
    world.clock.advance(Duration::from_millis(1));
    let new = keys.create_once(full(), &key("a")).unwrap();
    assert!(new.key.id != issued.key.id && !new.is_repeated);
    assert!(keys.create_once(full(), &key("a")).unwrap().is_repeated);
}

/// A clock that is ahead for a moment ends no request.
#[test]
fn a_clock_ahead_ends_no_request() {
    let world = World::new();
    let (keys, _) = world.owner("org");
    world.clock.advance(2 * HOUR);
    let issued = keys.create_once(full(), &key("a")).unwrap();
    let now = world.now();
    world.clock.set(now.saturating_add(365 * IdempotencyKey::KEPT));
    assert!(keys.create_once(full(), &key("a")).unwrap().is_repeated);
    // Nor is one removed beside another request.
    keys.create_once(full(), &key("b")).unwrap();
    world.clock.set(now.saturating_add(MINUTE));
    let again = keys.create_once(full(), &key("a")).unwrap();
    assert_eq!(again.key.id, issued.key.id);
}

#[test]
fn a_refused_request_may_be_repeated() {
    let world = World::new();
    let (keys, _) = world.owner_with("org", CreateOwner::with_key(full()).max_keys(1));
    let full_up = keys.create_once(full(), &key("a"));
    assert!(matches!(full_up, Err(Error::TooManyKeys { .. })));
    let update = keyhasp::UpdateOwner::new().max_keys(2);
    world.admin.update_owner(&owner("org"), update).unwrap();
    assert!(!keys.create_once(full(), &key("a")).unwrap().is_repeated);
    // A key that was purged since is not made again.
    let id = keys.create_once(full(), &key("a")).unwrap().key.id;
    keys.revoke(id).unwrap();
    assert!(keys.create_once(full(), &key("a")).unwrap().key.revoked.is_some());
    world.admin.purge(id).unwrap();
    let gone = keys.create_once(full(), &key("a"));
    assert!(matches!(gone, Err(Error::NotFound(Resource::Key))));
}

/// A caller that repeats its own rotation has a previous token by then.
#[test]
fn a_previous_token_hears_key_and_generation_alone() {
    let world = World::new();
    let (keys, issued) = world.owner("org");
    let id = issued.key.id;
    let acting = delegate(&world, issued.token.expose());
    let provided = keys.provided(&verified(&world, issued.token.expose()));
    let made = acting.create_once(full(), &key("made")).unwrap();
    let rotated = acting.rotate_once(id, Rotate::with_grace(HOUR), &key("a")).unwrap();
    let before = counts(&world, &keys);
    let by_delegate = acting.rotate_once(id, Rotate::with_grace(HOUR), &key("a")).unwrap();
    let by_owner = provided.rotate_once(id, Rotate::with_grace(HOUR), &key("a")).unwrap();
    for again in [by_delegate, by_owner] {
        assert!(again.is_repeated && again.token.is_none());
        assert_eq!((again.key.id, again.generation), (id, rotated.generation));
    }
    assert_eq!(counts(&world, &keys), before);
    // It does nothing else: neither anything new, nor the repetition of a creation.
    let previous = ForbiddenReason::PreviousToken;
    assert_eq!(denied(acting.rotate_once(id, Rotate::new(), &key("b"))), previous);
    assert_eq!(denied(provided.rotate_once(id, Rotate::new(), &key("b"))), previous);
    assert_eq!(denied(provided.rotate_once(id, Rotate::forced(), &key("a"))), previous);
    assert_eq!(denied(provided.create_once(full(), &key("made"))), previous);
    assert_eq!(denied(provided.replace_lost_token(id, &key("a"))), previous);
    let heard = acting.create_once(full(), &key("made")).unwrap();
    assert_eq!(heard.key.id, made.key.id);
    // After its grace it is no caller.
    world.clock.advance(HOUR);
    let over = denied(acting.rotate_once(id, Rotate::with_grace(HOUR), &key("a")));
    assert!(matches!(over, ForbiddenReason::ActingKeyRejected(Some(_))));
}

/// The lost generation alone is replaced, once.
#[test]
fn a_lost_token_is_replaced_once() {
    let world = World::new();
    let (keys, issued) = world.owner("org");
    let id = issued.key.id;
    let lost = keys.rotate_once(id, Rotate::with_grace(HOUR), &key("a")).unwrap();
    let replaced = keys.replace_lost_token(id, &key("a")).unwrap();
    assert_eq!(replaced.key.generation.get(), 3);
    assert!(world.verifier.verify(first(&lost)).is_err());
    assert!(world.verifier.verify(replaced.token.expose()).is_ok());
    // The token before it keeps its grace.
    let is_good = || world.verifier.verify(issued.token.expose()).is_ok();
    world.clock.advance(HOUR - Duration::from_millis(1));
    assert!(is_good());
    world.clock.advance(Duration::from_millis(1));
    assert!(!is_good());
    let problem = |answer: Result<Issued, Error>| match answer {
        Err(Error::State(problem)) => problem,
        other => panic!("{other:?}"),
    };
    assert_eq!(problem(keys.replace_lost_token(id, &key("a"))), StateProblem::NotReplaceable);
    // The request now stands for the token in its place.
    let again = keys.rotate_once(id, Rotate::with_grace(HOUR), &key("a")).unwrap();
    assert_eq!(again.generation.get(), 3);
    // A lost creation is replaced too; one whose key was rotated since is not lost.
    let made = keys.create_once(full(), &key("b")).unwrap();
    assert_eq!(keys.replace_lost_token(made.key.id, &key("b")).unwrap().key.generation.get(), 2);
    let made = keys.create_once(full(), &key("c")).unwrap();
    keys.rotate(made.key.id, Rotate::new()).unwrap();
    let later = keys.replace_lost_token(made.key.id, &key("c"));
    assert_eq!(problem(later), StateProblem::NotReplaceable);
    // A request of another key, and one that never was, are not found.
    for (id, name) in [(id, "b"), (id, "z")] {
        let missing = keys.replace_lost_token(id, &key(name));
        assert!(matches!(missing, Err(Error::NotFound(Resource::Request))));
    }
    let events = world.admin.events(&ListEvents::new().key(id).kind(EventKind::KeyRotated));
    assert_eq!(events.unwrap().items.len(), 2);
}

/// An owner and an administrator replace what the key lost for itself; a delegate replaces nothing.
#[test]
fn a_delegate_replaces_nothing() {
    let world = World::new();
    let (keys, issued) = world.owner("org");
    let (others, _) = world.owner("other");
    let id = issued.key.id;
    let acting = delegate(&world, issued.token.expose());
    acting.rotate_once(id, Rotate::with_grace(HOUR), &key("a")).unwrap();
    let by = acting.authority();
    let refused = world.store.replace_lost_token(by, id, &key("a"));
    assert_eq!(denied(refused), ForbiddenReason::NotADelegate);
    let foreign = others.replace_lost_token(id, &key("a"));
    assert!(matches!(foreign, Err(Error::NotFound(Resource::Key))));
    let replaced = keys.replace_lost_token(id, &key("a")).unwrap();
    let acting = delegate(&world, replaced.token.expose());
    acting.rotate_once(id, Rotate::new(), &key("b")).unwrap();
    world.admin.replace_lost_token(id, &key("b")).unwrap();
    keys.rotate_once(id, Rotate::new(), &key("c")).unwrap();
    world.admin.replace_lost_token(id, &key("c")).unwrap();
}

/// Threads that send one request at once get one key.
#[test]
fn of_racing_requests_one_takes_effect() {
    let world = World::new();
    let (keys, issued) = world.owner("org");
    for round in 0..20 {
        let (name, barrier) = (key(&format!("request-{round}")), Barrier::new(8));
        let send = |rotates: bool| {
            thread::scope(|scope| {
                let one = || {
                    barrier.wait();
                    match rotates {
                        true => keys.rotate_once(issued.key.id, Rotate::new(), &key("r")),
                        false => keys.create_once(full(), &name),
                    }
                    .unwrap()
                };
                let all: Vec<_> = (0..8).map(|_| scope.spawn(one)).collect();
                all.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
            })
        };
        let answers = send(false);
        assert_eq!(answers.iter().filter(|answer| !answer.is_repeated).count(), 1);
        assert!(answers.iter().all(|answer| answer.key.id == answers[0].key.id));
        let answers = send(true);
        assert!(answers.iter().all(|answer| answer.generation.get() == 2));
    }
    assert_eq!(keys.count(&ListKeys::new()).unwrap(), 21);
}

/// A token that is recoverable is shown again, to callers that may reveal it, and leaves an event.
#[cfg(feature = "recoverable")]
#[test]
fn a_recoverable_token_is_shown_again() {
    use keyhasp::{RecoveryKeys, StoreRules};
    let rules = StoreRules { recoverable_tokens: true, ..StoreRules::default() };
    let world = World::with(
        |builder| builder.rules(rules).recovery_keys(RecoveryKeys::new(1, [7; 32]).unwrap()),
        keyhasp::backend::Memory::new(),
    );
    let request = || full().recoverable();
    let (keys, issued) = world.owner_with("org", CreateOwner::with_key(request()));
    let revealed = |id| {
        let query = ListEvents::new().key(id).kind(EventKind::TokenRevealed);
        world.admin.events(&query).unwrap().items.len()
    };
    let made = keys.create_once(request(), &key("a")).unwrap();
    let id = made.key.id;
    let again = keys.create_once(request(), &key("a")).unwrap();
    assert_eq!(again.token.unwrap().expose(), first(&made));
    assert_eq!(revealed(id), 1);
    // Once another token is the current one, the request's isn't shown.
    keys.rotate(id, Rotate::new()).unwrap();
    assert!(keys.create_once(request(), &key("a")).unwrap().token.is_none());
    assert_eq!(revealed(id), 1);
    // A delegate's own rotation makes its token a previous one, which reveals nothing.
    let id = issued.key.id;
    let acting = delegate(&world, issued.token.expose());
    let provided = keys.provided(&verified(&world, issued.token.expose()));
    let rotated = acting.rotate_once(id, Rotate::new(), &key("r")).unwrap();
    assert!(acting.rotate_once(id, Rotate::new(), &key("r")).unwrap().token.is_none());
    assert!(provided.rotate_once(id, Rotate::new(), &key("r")).unwrap().token.is_none());
    assert_eq!(revealed(id), 0);
    // Where the service allows previous tokens, they act for the owner, and reveal too.
    let allowing = provided.allowing_previous_tokens();
    let again = allowing.rotate_once(id, Rotate::new(), &key("r")).unwrap();
    assert_eq!(again.token.unwrap().expose(), first(&rotated));
    // So does the current token of the key.
    let acting = delegate(&world, first(&rotated));
    let again = acting.rotate_once(id, Rotate::new(), &key("r")).unwrap();
    assert_eq!(again.token.unwrap().expose(), first(&rotated));
    assert_eq!(revealed(id), 2);
    // A delegate whose key doesn't reach that far hears no token.
    let narrow = keys.create(CreateKey::new(Access::ReadOnly)).unwrap();
    let narrow = delegate(&world, narrow.token.expose());
    let made = narrow.create_once(CreateKey::new(Access::ReadOnly).recoverable(), &key("n"));
    let id = made.unwrap().key.id;
    keys.update(id, keyhasp::UpdateKey::new().access(Access::Full)).unwrap();
    let again = narrow.create_once(CreateKey::new(Access::ReadOnly).recoverable(), &key("n"));
    assert!(again.unwrap().token.is_none());
}
