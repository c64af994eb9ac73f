//! Callers who change, list and verify the same few keys at once, and a checker that holds every
//! answer against what the log says that happened, and when.
//!
//! `KEYHASP_HISTORIES` says how many histories are made. It defaults to 10,000 (short ones, nine in
//! ten of them in memory). `KEYHASP_SEED` makes one of them a thousand times: which calls are made
//! follows from the seed, how they meet doesn't.
// It is a test.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_possible_truncation
)]

mod book;
#[path = "../model/chance.rs"]
#[allow(dead_code)] // Written for another test.
mod chance;
mod check;
#[macro_use]
#[path = "../common/mod.rs"]
mod common;
mod history;
mod lapsing;
mod limited;
mod planted;
mod play;
#[cfg(all(feature = "sqlite", feature = "testing", target_os = "linux"))]
mod processes;
mod timeline;
#[cfg(all(feature = "sqlite", feature = "testing", target_os = "linux"))]
mod together;
mod yielding;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use book::Book;
use chance::Chance;
use check::{Found, check};
use common::{builder, clock};
use history::History;
use keyhasp::backend::{Backend, Memory};
use keyhasp::{Error, KeyStore, Rotate, StoreRules, Timestamp};
use limited::Of;
use planted::{Defect, LapsingBackend, Planted};
use play::{Desk, Plan};
use yielding::YieldingBackend;

const HISTORIES: u64 = 10_000;

fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

/// Returns the rule that makes revoking a race: the last standard key must stay.
fn rules() -> StoreRules {
    StoreRules { keep_standard_key: true, ..StoreRules::default() }
}

/// What stands between the callers and the store.
type Wrap<'a> = &'a dyn Fn(Arc<dyn KeyStore>) -> Arc<dyn KeyStore>;

/// One history of one process.
fn history(plan: Plan, backend: Arc<dyn Backend>, rules: StoreRules, wrap: Wrap<'_>) -> History {
    let backend = Arc::new(YieldingBackend::new(backend, plan.seed));
    let store = builder(&clock(), plan.seed).rules(rules).open_on(backend).unwrap();
    let moments = AtomicU64::new(1);
    let moment = || moments.fetch_add(1, Ordering::SeqCst);
    let book = Book::default();
    let store = wrap(Arc::new(store));
    let desk = Desk { process: 0, store, book: &book, moment: &moment, lag: None };
    desk.set_up(2);
    let mut entries = desk.play(plan);
    entries.extend(desk.look());
    History { entries, log: desk.log() }
}

fn plan(seed: u64) -> Plan {
    let mut chance = Chance::new(seed);
    Plan { seed, threads: 2 + chance.below(3), calls: 4 + chance.below(9) }
}

/// Makes a backend for a while.
type Make<'a> = &'a dyn Fn(&dyn Fn(Arc<dyn Backend>));

/// Makes histories on backends that are made for each, one in `share` of all.
fn run(make: Make<'_>, share: u64) -> Found {
    let seeds: Vec<u64> = match number("KEYHASP_SEED") {
        Some(seed) => vec![seed; 1_000],
        None => (0..number("KEYHASP_HISTORIES").unwrap_or(HISTORIES) / share).collect(),
    };
    let found = std::cell::RefCell::new(Found::default());
    for seed in &seeds {
        make(&|backend| {
            let history = history(plan(*seed), backend, rules(), &|store| store);
            if let Err(what) = check(&history, &mut found.borrow_mut()) {
                panic!("{what}\nmake it again with KEYHASP_SEED={seed}");
            }
        });
    }
    println!("{} histories: {:#?}", seeds.len(), found.borrow().tally);
    found.into_inner()
}

#[test]
fn histories_in_memory() {
    let found = run(&|with| with(Arc::new(Memory::new())), 1);
    let is_whole = number("KEYHASP_SEED").is_none() && number("KEYHASP_HISTORIES").is_none();
    assert!(!is_whole || found.tally.missing().is_empty(), "never: {:?}", found.tally.missing());
}

#[cfg(all(feature = "sqlite", feature = "testing"))]
fn sqlite(directory: &std::path::Path) -> Arc<dyn Backend> {
    use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
    let options = SqliteOptions::exclusive().sync_off_for_tests();
    Arc::new(Sqlite::open_or_create(directory.join("keys.db"), options).unwrap().0)
}

#[cfg(all(feature = "sled", feature = "testing"))]
fn sled(directory: &std::path::Path) -> Arc<dyn Backend> {
    use keyhasp::backend::sled::{Sled, SledOptions};
    let options = SledOptions::default().sync_off_for_tests();
    Arc::new(Sled::open_or_create(directory.join("keys"), options).unwrap().0)
}

#[cfg(all(feature = "sqlite", feature = "testing"))]
#[test]
fn histories_on_sqlite() {
    run(&|with| with(sqlite(tempfile::tempdir().unwrap().path())), 20);
}

#[cfg(all(feature = "sled", feature = "testing"))]
#[test]
fn histories_on_sled() {
    run(&|with| with(sled(tempfile::tempdir().unwrap().path())), 20);
}

/// Exactly one is made of many concurrent rotations that expect one version.
fn duels(backend: Arc<dyn Backend>, rounds: usize) {
    let backend = Arc::new(YieldingBackend::new(backend, 1));
    let store: Arc<dyn KeyStore> = Arc::new(builder(&clock(), 1).open_on(backend).unwrap());
    let world = common::World::of(store, clock());
    let (keys, first) = world.owner("org");
    let mut version = first.key.version;
    for _ in 0..rounds {
        let expecting = keys.if_version(version);
        let barrier = std::sync::Barrier::new(8);
        let told: Vec<_> = std::thread::scope(|scope| {
            let rotate = || {
                barrier.wait();
                expecting.rotate(first.key.id, Rotate::new())
            };
            let callers: Vec<_> = (0..8).map(|_| scope.spawn(rotate)).collect();
            callers.into_iter().map(|caller| caller.join().unwrap()).collect()
        });
        let won: Vec<_> = told.iter().flatten().collect();
        assert_eq!(won.len(), 1, "{told:?}");
        assert_eq!(won[0].key.version, version.next());
        for lost in told.iter().filter_map(|told| told.as_ref().err()) {
            let Error::Conflict { expected, found } = lost else { panic!("{lost:?}") };
            assert_eq!((*expected, *found), (version, version.next()));
        }
        assert!(world.verifier.verify(won[0].token.expose()).unwrap().is_current());
        version = version.next();
    }
}

#[test]
fn one_of_racing_rotations_wins() {
    duels(Arc::new(Memory::new()), 200);
    #[cfg(all(feature = "sqlite", feature = "testing"))]
    duels(sqlite(tempfile::tempdir().unwrap().path()), 50);
    #[cfg(all(feature = "sled", feature = "testing"))]
    duels(sled(tempfile::tempdir().unwrap().path()), 50);
}

/// Checks that no caller gets an error for a busy database, however many call at once.
fn crowd(backend: Arc<dyn Backend>) {
    let plan = Plan { seed: 64, threads: 64, calls: 12 };
    let history = history(plan, backend, rules(), &|store| store);
    let mut found = Found::default();
    check(&history, &mut found).unwrap();
    println!("64 callers: {:#?}", found.tally);
}

#[test]
fn sixty_four_callers_in_memory() {
    crowd(Arc::new(Memory::new()));
}

#[cfg(all(feature = "sqlite", feature = "testing"))]
#[test]
fn sixty_four_callers_on_sqlite() {
    crowd(sqlite(tempfile::tempdir().unwrap().path()));
}

#[cfg(all(feature = "sled", feature = "testing"))]
#[test]
fn sixty_four_callers_on_sled() {
    crowd(sled(tempfile::tempdir().unwrap().path()));
}

/// Each defect is found within the histories that everybody makes.
#[test]
fn planted_defects_are_found() {
    let find = |rules: StoreRules, wrap: Wrap<'_>| {
        (0..HISTORIES).find_map(|seed| {
            let history = history(plan(seed), Arc::new(Memory::new()), rules, wrap);
            let what = check(&history, &mut Found::default()).err()?;
            Some((seed, what.split(':').next().unwrap_or_default().to_owned()))
        })
    };
    for defect in Defect::ALL {
        let found = find(rules(), &|store| Arc::new(Planted::new(store, defect)));
        let (seed, what) = found.unwrap_or_else(|| panic!("{defect:?} was not found"));
        println!("{defect:?}: history {seed}: {what}");
    }
    // A store that doesn't keep the last key.
    let (seed, what) = find(StoreRules::default(), &|store| store).expect("a lost key not found");
    println!("LastKeyGoes: history {seed}: {what}");
}

/// Limited keys on backends that are made for each history.
fn limits(make: Make<'_>, histories: u64) {
    for seed in 0..histories {
        let of = if seed % 2 == 0 { Of::Key } else { Of::Owner };
        make(&|backend| {
            let (accepted, uses) = limited::quota(backend, seed, of, &|store| store);
            assert_eq!(accepted, uses, "a quota {of:?}, seed {seed}");
        });
        make(&|backend| {
            let (accepted, allowed) = limited::rate(backend, seed, of, &|store| store);
            assert!((1..=allowed).contains(&accepted), "{accepted} of {allowed}, seed {seed}");
        });
    }
}

/// Keys whose quota changes while they are used, and whose uses are counted.
fn renewals(make: Make<'_>, histories: u64) {
    for seed in 0..histories {
        let of = if seed % 2 == 0 { Of::Key } else { Of::Owner };
        make(&|backend| {
            let told = limited::renewed(backend, seed, of, &|store| store);
            told.unwrap_or_else(|why| panic!("{of:?}, seed {seed}: {why}"));
        });
    }
}

#[test]
fn renewals_in_memory() {
    renewals(&|with| with(Arc::new(Memory::new())), 40);
}

#[cfg(all(feature = "sqlite", feature = "testing"))]
#[test]
fn renewals_on_sqlite() {
    renewals(&|with| with(sqlite(tempfile::tempdir().unwrap().path())), 10);
}

#[cfg(all(feature = "sled", feature = "testing"))]
#[test]
fn renewals_on_sled() {
    renewals(&|with| with(sled(tempfile::tempdir().unwrap().path())), 10);
}

#[test]
fn limits_in_memory() {
    limits(&|with| with(Arc::new(Memory::new())), 60);
}

#[cfg(all(feature = "sqlite", feature = "testing"))]
#[test]
fn limits_on_sqlite() {
    limits(&|with| with(sqlite(tempfile::tempdir().unwrap().path())), 10);
}

#[cfg(all(feature = "sled", feature = "testing"))]
#[test]
fn limits_on_sled() {
    limits(&|with| with(sled(tempfile::tempdir().unwrap().path())), 10);
}

/// Keys that expire, and lapse when newer ones need their places and names.
fn lapses(make: Make<'_>, histories: u64) -> lapsing::Tally {
    let tally = std::cell::RefCell::new(lapsing::Tally::default());
    for seed in 0..histories {
        make(&|backend| {
            let told = lapsing::play(backend, seed, &mut tally.borrow_mut());
            told.unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        });
    }
    println!("{:?}", tally.borrow());
    tally.into_inner()
}

#[test]
fn lapses_in_memory() {
    let tally = lapses(&|with| with(Arc::new(Memory::new())), 100);
    let lapsing::Tally { lapses_by_name, lapses_by_place, revived, refused, expired } = tally;
    assert!([lapses_by_name, lapses_by_place, revived, refused, expired].iter().all(|n| *n > 0));
}

#[cfg(all(feature = "sqlite", feature = "testing"))]
#[test]
fn lapses_on_sqlite() {
    lapses(&|with| with(sqlite(tempfile::tempdir().unwrap().path())), 20);
}

#[cfg(all(feature = "sled", feature = "testing"))]
#[test]
fn lapses_on_sled() {
    lapses(&|with| with(sled(tempfile::tempdir().unwrap().path())), 20);
}

/// Backends that let keys lapse a minute early, a minute late, and none.
#[test]
fn planted_lapses_are_found() {
    let faults: [fn(Timestamp) -> Option<Timestamp>; 3] = [
        |by| Some(by.saturating_add(Duration::from_secs(60))),
        |by| Some(by.saturating_sub(Duration::from_secs(60))),
        |_| None,
    ];
    for by in faults {
        let found = (0..50).find_map(|seed| {
            let backend = Arc::new(LapsingBackend { inner: Memory::new(), by });
            lapsing::play(backend, seed, &mut lapsing::Tally::default()).err()
        });
        println!("{}", found.expect("it was not found"));
    }
}

#[test]
fn a_planted_overspending_is_found() {
    let plant = |store| Arc::new(Planted::new(store, Defect::Overspends)) as Arc<dyn KeyStore>;
    let find = |play: &dyn Fn(u64) -> (u64, u64)| {
        (0..20).any(|seed| {
            let (accepted, allowed) = play(seed);
            accepted > allowed
        })
    };
    let memory = || Arc::new(Memory::new());
    assert!(find(&|seed| limited::quota(memory(), seed, Of::Key, &plant)), "a quota");
    for defect in [Defect::Overspends, Defect::CountsTwice] {
        let plant = |store| Arc::new(Planted::new(store, defect)) as Arc<dyn KeyStore>;
        let renewed = |seed| limited::renewed(memory(), seed, Of::Key, &plant).err();
        let found = (0..20).find_map(renewed);
        println!("{defect:?}: {}", found.unwrap_or_else(|| panic!("{defect:?} was not found")));
    }
    assert!(find(&|seed| limited::rate(memory(), seed, Of::Key, &plant)), "a rate");
}
