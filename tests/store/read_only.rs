//! A store that only looks at a database, beside the one that writes to it.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::common::{HOUR, World, builder, clock, owner};
use keyhasp::backend::BackendErrorKind;
use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::key::RejectReason;
use keyhasp::store::{RulesDiffer, Unavailable};
use keyhasp::{
    Access, AlertSettings, CreateKey, CreateOwner, Error, KeyStore, ListEvents, ListKeys, Peppers,
    Quota, Rotate, SetLimits, Store, UsageSettings, VerifyError, VerifyRequest,
};

const STALENESS: Duration = Duration::from_millis(50);

fn written(path: &Path) -> World {
    let backend = Sqlite::open_or_create(path, SqliteOptions::exclusive()).unwrap().0;
    World::with(|builder| builder.usage(UsageSettings::new()), backend)
}

/// A store that looks at what the world's store writes, with its clock.
fn looking(world: &World, path: &Path) -> (World, Arc<Store>) {
    let backend = Sqlite::open_read_only(path, STALENESS).unwrap();
    let usage = UsageSettings::new();
    let builder = builder(&world.clock, 2).usage(usage).alerts(AlertSettings::new().expiries());
    let store = Arc::new(builder.open(backend).unwrap());
    (World::of(Arc::clone(&store) as _, Arc::clone(&world.clock)), store)
}

fn is_refused<T: std::fmt::Debug>(answer: Result<T, Error>) -> bool {
    match answer {
        Err(Error::Backend(error)) => {
            error.kind() == BackendErrorKind::ReadOnly && error.to_string().contains("look only")
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn it_lists_and_verifies_what_another_process_commits() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.db");
    let world = written(&path);
    let (keys, issued) = world.owner("org");
    let (tool, store) = looking(&world, &path);
    let token = issued.token.expose();
    assert!(tool.verifier.verify(token).is_ok());
    let listed = tool.admin.list(&ListKeys::new()).unwrap();
    assert_eq!(listed.items.len(), 1);
    let before = tool.admin.events(&ListEvents::new()).unwrap().items.last().unwrap().sequence;
    keys.revoke(issued.key.id).unwrap();
    store.refresh().unwrap();
    let revoked = Err(VerifyError::Rejected(RejectReason::Revoked));
    assert_eq!(tool.verifier.verify(token).map(drop), revoked);
    assert_eq!(store.wait_for_event(before, Duration::ZERO).unwrap(), before + 1);
    // What it knows has an age, and a bound.
    let health = tool.store.health();
    assert!(health.staleness.is_some() && health.problems().is_empty(), "{health:?}");
    world.store.close().unwrap();
    store.refresh().unwrap();
    assert_eq!(tool.admin.owner(&owner("org")).unwrap().id, owner("org"));
}

#[test]
fn it_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.db");
    let world = written(&path);
    let quota = SetLimits::new().quota(Quota::one_time(5).unwrap());
    let (_, limited) = world
        .owner_with("limited", CreateOwner::with_key(CreateKey::new(Access::Full).limits(quota)));
    let (_, issued) = world.owner("org");
    world.verifier.verify(issued.token.expose()).unwrap();
    world.store.recover().unwrap();
    drop(world);
    let world = written(&path);
    let usage = || {
        let key = world.admin.get(issued.key.id).unwrap();
        let usage = key.usage.unwrap();
        (usage.last_used_at, usage.quota_left)
    };
    let used = usage();
    let contents = || ["", "-wal"].map(|end| std::fs::read(format!("{}{end}", path.display())));
    let before = contents().map(Result::unwrap);
    world.clock.advance(HOUR);

    let (tool, store) = looking(&world, &path);
    let org = tool.admin.clone();
    let id = issued.key.id;
    assert!(is_refused(org.create_owner(&owner("new"), CreateOwner::without_key())));
    assert!(is_refused(org.block(id)) && is_refused(org.revoke(id)));
    assert!(is_refused(org.rotate(id, Rotate::new())));
    assert!(is_refused(org.prune_events(tool.now())));
    assert!(is_refused(org.invalidate_tokens_issued_before(tool.now())));
    // No use is recorded, and none is lost to a lease. A look takes nothing.
    assert!(tool.verifier.verify(issued.token.expose()).is_ok());
    store.flush_usage().unwrap();
    assert_eq!(store.run_alerts().unwrap(), 0);
    assert!(matches!(
        tool.verifier.verify(limited.token.expose()),
        Err(VerifyError::Unavailable(Unavailable::Quota { .. }))
    ));
    let look = VerifyRequest::new(limited.token.expose().as_bytes()).cost(0);
    assert!(tool.store.verify_request(&look).is_ok());
    assert!(tool.store.health().problems().is_empty(), "{:?}", tool.store.health());
    tool.store.close().unwrap();
    assert_eq!(
        tool.verifier.verify(issued.token.expose()).map(drop),
        Err(VerifyError::Unavailable(Unavailable::Closed))
    );
    assert_eq!(usage(), used);
    assert!(contents().map(Result::unwrap) == before);
    assert!(world.verifier.verify(limited.token.expose()).is_ok());
}

#[test]
fn it_needs_the_rules_of_the_database_and_adds_no_pepper() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.db");
    drop(written(&path));
    let open = || Sqlite::open_read_only(&path, STALENESS).unwrap();
    let rules = keyhasp::StoreRules { unique_names: true, ..keyhasp::StoreRules::default() };
    let other = builder(&clock(), 2).rules(rules).open(open()).unwrap_err();
    assert!(matches!(other, Error::RulesDiffer(differ) if matches!(*differ, RulesDiffer { .. })));
    let peppers = Peppers::new(1, [7; 32]).unwrap();
    let store = builder(&clock(), 2).peppers(peppers).open(open()).unwrap();
    let admin = keyhasp::AdminKeys::new(Arc::new(store), "root").unwrap();
    let events = admin.events(&ListEvents::new()).unwrap().items;
    assert!(events.iter().all(|event| event.kind != keyhasp::EventKind::PepperAdded));
}
