//! Keys, owners, accesses and expiries that come and go: 8,000 cycles of each, or as many as `KEYHASP_CHURN` says.
//! With a retention of events, the live bytes after the second half must be those after the first, within
//! 2 in 100.
//!
//! Time is the test's own, and no check rests on the machine's speed.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, clippy::print_stdout)] // It is a test.

mod counting;
mod cycles;

use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cycles::{CYCLES, Cycle};
use keyhasp::backend::Memory;
use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::store::{AlertSettings, StoreBuilder, UsageSettings};
use keyhasp::{
    Access, AdminKeys, Catalogue, Clock, CreateKey, CreateOwner, Expiry, KeyId, ManualClock,
    OwnerId, Prefix, Store, Timestamp, Verifier,
};

/// The time at which the clock starts: 2026-01-01T00:00:00Z.
const START: u64 = 1_767_225_600_000;
/// Wall time of a cycle. Events are kept for an hour, so a hundredth of the cycles of a small run fill
/// the log.
const CYCLE: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The cycles before the two halves: numbers that are used again are first left alone for a thousand.
const WARM: u64 = 1_500;
/// The cycles between two scans for alerts.
const SCANNED: u64 = 50;
const PERMISSIONS: u32 = 24;

/// Keeps two runs apart, which would measure each other.
static ALONE: Mutex<()> = Mutex::new(());

/// A store, and what its cycles work on.
struct World {
    clock: Arc<ManualClock>,
    store: Arc<Store>,
    admin: AdminKeys,
    verifier: Verifier,
    owner: OwnerId,
    key: KeyId,
}

impl World {
    fn new(open: impl FnOnce(StoreBuilder) -> Store) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(START).unwrap()));
        let mut catalogue = Catalogue::builder();
        for number in 0..PERMISSIONS {
            catalogue = catalogue.write(format!("links:{number}"));
        }
        let alerts = AlertSettings::new()
            .expiries()
            .expiring_within(14 * DAY)
            .tokens_older_than(90 * DAY)
            .keys_unused_for(30 * DAY)
            .only_when_asked();
        let builder = Store::builder(catalogue.build().unwrap(), [Prefix::new("acme").unwrap()])
            .clock(Arc::<ManualClock>::clone(&clock))
            .alerts(alerts)
            .usage(UsageSettings::new())
            .event_retention(HOUR);
        let store = Arc::new(open(builder));
        let admin = AdminKeys::new(Arc::clone(&store), "root").unwrap();
        let owner = OwnerId::new("an owner whose id is long").unwrap();
        let first = CreateOwner::with_key(CreateKey::new(Access::Full));
        let key = admin.create_owner(&owner, first).unwrap().first_key.unwrap().key.id;
        let verifier = Verifier::new(Arc::clone(&store));
        Self { clock, store, admin, verifier, owner, key }
    }

    fn after(&self, days: u32) -> Expiry {
        Expiry::At(self.clock.now().saturating_add(DAY * days))
    }

    /// Runs the cycles of these numbers.
    fn run(&self, cycle: Cycle, numbers: std::ops::Range<u64>, leak: &mut dyn FnMut()) {
        for number in numbers {
            cycle(self, number);
            self.clock.advance(CYCLE);
            leak();
            if number % SCANNED == 0 {
                let _ = self.store.run_alerts().unwrap();
            }
        }
        let _ = self.store.run_alerts().unwrap();
        self.store.flush_usage().unwrap();
    }
}

/// The bytes that a store has after each half.
fn churn(
    world: impl FnOnce() -> World,
    cycle: Cycle,
    cycles: u64,
    mut leak: impl FnMut(),
) -> [usize; 2] {
    let before = counting::live();
    let world = world();
    world.run(cycle, 0..WARM, &mut leak);
    let halves = [WARM..WARM + cycles / 2, WARM + cycles / 2..WARM + cycles];
    halves.map(|half| {
        world.run(cycle, half, &mut leak);
        counting::live() - before
    })
}

fn grows([first, second]: [usize; 2]) -> bool {
    second > first + first / 50
}

fn cycles() -> u64 {
    let Ok(value) = std::env::var("KEYHASP_CHURN") else { return 8_000 };
    value.parse().expect("KEYHASP_CHURN must be a number of cycles")
}

fn in_memory() -> World {
    World::new(|builder| builder.open(Memory::new()).unwrap())
}

/// Names the cycle to the process that runs it.
const NAME: &str = "KEYHASP_CHURN_CYCLE";

/// Runs a test's cycles, each in a process of its own: the threads of an earlier store may free its
/// memory late.
fn each_apart(test: &str, run: impl Fn(Cycle)) {
    if let Ok(name) = std::env::var(NAME) {
        let (_, cycle) = CYCLES.iter().find(|(known, _)| *known == name).unwrap();
        return run(*cycle);
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut failed = Vec::new();
    for (name, _) in CYCLES {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(NAME, name)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let found = said.lines().find(|line| line.contains(FOUND)).unwrap_or_default();
        println!("{name}: {found}");
        if !output.status.success() {
            failed.push(format!("{name}: {}", String::from_utf8_lossy(&output.stderr)));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// A part of the line that says what was found.
const FOUND: &str = " cycles, live bytes ";

#[test]
fn memory_does_not_grow() {
    each_apart("memory_does_not_grow", |cycle| {
        let halves = churn(in_memory, cycle, cycles(), || {});
        println!("{}{FOUND}{} and then {}", cycles(), halves[0], halves[1]);
        assert!(!grows(halves), "memory grows: {halves:?}");
    });
}

/// A tenth of the cycles. The file doesn't grow either.
#[test]
fn a_file_does_not_grow() {
    each_apart("a_file_does_not_grow", |cycle| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys.db");
        let open = |builder: StoreBuilder| {
            let options = SqliteOptions::exclusive().sync_off_for_tests();
            builder.open(Sqlite::create(&path, options).unwrap()).unwrap()
        };
        let (mut done, mut pages) = (0, Vec::new());
        let halves = churn(
            || World::new(open),
            cycle,
            cycles() / 10,
            || {
                done += 1;
                if [WARM + cycles() / 20, WARM + cycles() / 10].contains(&done) {
                    let file = rusqlite::Connection::open(&path).unwrap();
                    let count = "PRAGMA page_count";
                    pages.push(file.query_row(count, [], |row| row.get::<_, i64>(0)).unwrap());
                }
            },
        );
        println!("{}{FOUND}{} and then {}, pages {pages:?}", cycles() / 10, halves[0], halves[1]);
        assert!(!grows(halves), "memory grows: {halves:?}");
        // A page may be split at any time.
        assert!(pages[1] <= pages[0] + pages[0] / 10, "the file grows: {pages:?} pages");
    });
}

/// Eight bytes a cycle that are never freed are found.
#[test]
fn an_injected_leak_is_found() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut leaked = Vec::new();
    let halves = churn(in_memory, CYCLES[0].1, 8_000, || leaked.push(Box::new(0_u64)));
    assert!(grows(halves), "{halves:?}");
}
