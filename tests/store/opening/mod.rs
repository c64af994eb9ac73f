//! Opening a store: what is compared with the database, and what a bad opening leaves behind.

#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

use std::sync::Arc;

use crate::common::{World, builder, catalogue, clock, prefix};
use keyhasp::backend::{Backend, Memory};
use keyhasp::store::PepperProblem;
use keyhasp::{
    Access, AdminKeys, Catalogue, ChangeRules, CreateKey, Error, EventKind, KeyStore, ListEvents,
    Peppers, Store, StoreRules, VerifyError,
};

/// A database that outlives the stores opened on it.
fn database() -> Arc<dyn Backend> {
    Arc::new(crate::common::keep_open::KeepOpen::new(Memory::new()))
}

#[cfg(feature = "sqlite")]
mod created;
mod many;

#[test]
fn other_rules_are_an_error_that_names_both() {
    let clock = clock();
    let database = database();
    let rules = StoreRules { unique_names: true, ..StoreRules::default() };
    drop(builder(&clock, 1).rules(rules).open_on(Arc::clone(&database)).unwrap());
    let other = builder(&clock, 1).open_on(Arc::clone(&database)).unwrap_err();
    let shown = other.to_string();
    assert!(matches!(other, Error::RulesDiffer(_)));
    assert!(shown.contains("unique_names=true") && shown.contains("unique_names=false"), "{shown}");
    let prefixes = Store::builder(catalogue(), [prefix("other")]).rules(rules);
    let shown = prefixes.open_on(Arc::clone(&database)).unwrap_err().to_string();
    assert!(shown.contains("acme,acme_test") && shown.contains("prefixes=other"), "{shown}");
    // The order in which prefixes are named is this opening's own.
    let reordered = Store::builder(catalogue(), [prefix("acme_test"), prefix("acme")]).rules(rules);
    let store: Arc<dyn KeyStore> = Arc::new(reordered.open_on(database).unwrap());
    let world = World::of(store, clock);
    let (_, issued) = world.owner("org");
    assert!(issued.token.expose().starts_with("acme_test_"));
}

#[test]
fn no_prefix_or_too_many_are_refused() {
    let none = Store::builder(catalogue(), []).open(Memory::new());
    assert!(matches!(none, Err(Error::Invalid(invalid)) if invalid.field() == "prefixes"));
    let nine = (0..9).map(|n| prefix(&format!("p{n}")));
    let nine = Store::builder(catalogue(), nine).open(Memory::new());
    assert!(matches!(nine, Err(Error::Invalid(_))));
    let short = builder(&clock(), 1)
        .event_retention(crate::common::HOUR - std::time::Duration::from_secs(1));
    assert!(matches!(short.open(Memory::new()), Err(Error::Invalid(_))));
}

/// A permission dropped from the catalogue allows nothing; one added is in `Full`.
#[test]
fn access_is_compiled_against_the_catalogue_of_the_opening() {
    let clock = clock();
    let database = database();
    let world = World::of(
        Arc::new(builder(&clock, 1).open_on(Arc::clone(&database)).unwrap()),
        clock.clone(),
    );
    let (keys, full) = world.owner("org");
    let listed = CreateKey::new(Access::limited(["links:*", "domains:read"]).unwrap());
    let listed = keys.create(listed).unwrap();
    drop(world);
    drop(keys);
    let catalogue = Catalogue::builder().write("links:write").write("links:share").write("extra");
    let store = Store::builder(catalogue.build().unwrap(), [prefix("acme"), prefix("acme_test")]);
    let world = World::of(Arc::new(store.open_on(database).unwrap()), clock);
    let names = |token: &keyhasp::Token| {
        let verified = world.verifier.verify(token.expose()).unwrap();
        let catalogue = world.store.catalogue();
        let granted = catalogue.iter().filter(|(permission, _)| verified.allows(*permission));
        granted.map(|(_, name)| name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(&full.token), ["links:write", "links:share", "extra"]);
    assert_eq!(names(&listed.token), ["links:write", "links:share"]);
}

#[test]
fn rules_and_prefixes_change_where_the_data_allow() {
    let world = World::new();
    let (keys, first) = world.owner("org");
    let only = |text: &str| ChangeRules::new().prefixes([prefix(text)]);
    let in_use = world.admin.change_rules(only("acme_test"));
    assert!(matches!(in_use, Err(Error::DataForbid { rule: "prefixes" })));
    let rules =
        world.admin.change_rules(ChangeRules::new().prefixes([prefix("new"), prefix("acme")]));
    assert_eq!(rules.unwrap().prefixes, [prefix("new"), prefix("acme")]);
    let second = keys.create(CreateKey::new(Access::Full)).unwrap();
    assert!(second.token.expose().starts_with("new_"));
    assert!(world.verifier.verify(first.token.expose()).is_ok());
    // A prefix that is accepted no more: nothing verifies under it, and it isn't given out.
    let gone = keys.create(CreateKey::new(Access::Full).prefix(prefix("acme_test")));
    assert!(matches!(gone, Err(Error::Invalid(invalid)) if invalid.field() == "prefix"));
    let disguised = first.token.expose().replacen("acme", "acme_test", 1);
    assert_eq!(world.verifier.verify(disguised), Err(VerifyError::Unrecognized));
    keys.create(CreateKey::new(Access::Full).name("a")).unwrap();
    keys.create(CreateKey::new(Access::Full).name("a")).unwrap();
    let unique = StoreRules { unique_names: true, ..StoreRules::default() };
    let unique = world.admin.change_rules(ChangeRules::new().rules(unique));
    assert!(matches!(unique, Err(Error::DataForbid { rule: "unique_names" })));
}

#[test]
fn a_new_pepper_is_noted_with_an_event() {
    let clock = clock();
    let database = database();
    drop(builder(&clock, 1).open_on(Arc::clone(&database)).unwrap());
    let peppers = Peppers::new(3, [3; 32]).unwrap().and_public().unwrap();
    let store = builder(&clock, 1).peppers(peppers).open_on(database).unwrap();
    let admin = AdminKeys::new(Arc::new(store), "root").unwrap();
    let events = admin.events(&ListEvents::new()).unwrap().items;
    let kinds: Vec<EventKind> = events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::StoreCreated, EventKind::PepperAdded]);
}

/// The slower of two stores that add a pepper at once takes the other's into account.
#[test]
fn peppers_that_meet_are_compared() {
    let opened_beside = |other: Peppers| {
        let (clock, database) =
            (clock(), Arc::new(crate::common::keep_open::KeepOpen::new(Memory::new())));
        let with = move |peppers, clock: &_| builder(clock, 1).peppers(peppers);
        drop(builder(&clock, 1).open_on(Arc::clone(&database) as _).unwrap());
        let (beside, clock_beside) = (Arc::clone(&database), Arc::clone(&clock));
        database.plan(crate::common::keep_open::Point::BeforeCommit, move || {
            drop(with(other, &clock_beside).open_on(beside).unwrap());
        });
        let mine = Peppers::new(3, [3; 32]).unwrap();
        let opened = with(mine, &clock).open_on(Arc::clone(&database) as _).map(drop);
        let known = database.metadata().unwrap().unwrap().peppers;
        (opened, known.into_iter().map(|check| check.number.get()).collect::<Vec<_>>())
    };
    let (opened, known) = opened_beside(Peppers::new(2, [2; 32]).unwrap());
    assert!(opened.is_ok(), "{opened:?}");
    assert_eq!(known, [0, 2, 3]);
    let (opened, known) = opened_beside(Peppers::new(3, [3; 32]).unwrap());
    assert!(opened.is_ok(), "{opened:?}");
    assert_eq!(known, [0, 3]);
    let wrong = PepperProblem::Wrong;
    let (opened, known) = opened_beside(Peppers::new(3, [4; 32]).unwrap());
    assert!(matches!(opened, Err(Error::Pepper { number: 3, problem }) if problem == wrong));
    assert_eq!(known, [0, 3]);
}
