//! The store against a plain model: random sequences of all calls through all handles, on every
//! backend. Everything is compared after each call, the usage of keys and the alerts included.
//!
//! `KEYHASP_SEQUENCES` sets the number of sequences for each backend, and defaults to 500.
//! `KEYHASP_SEED` replays one sequence, and prints each call as it is made; together with
//! `KEYHASP_SEQUENCES` it is the first of so many.
// It is a test.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr
)]

mod backends;
#[cfg(feature = "testing")]
#[allow(dead_code, unused_imports)] // Which cases of the suite find a fault is of no use here.
#[path = "../backends/broken/mod.rs"]
mod broken;
mod calls;
mod chance;
mod checks;
mod compare;
mod coverage;
mod defects;
mod driver;
mod generate;
mod limits;
mod model;
mod opening;
mod perform;
mod plans;
mod planted;
mod reopening;
#[path = "../common/source.rs"]
mod source;
mod walk;
mod witness;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use backends::{InMemory, Place};
use coverage::Coverage;
use defects::Defect;
use driver::Asked;
use keyhasp::store::StoreBuilder;
use planted::Planted;

/// Sequences on each backend that writes to a disk.
const SEQUENCES: u64 = 500;
/// Sequences in memory, where more of them cost little: some refusals are rare.
const SEQUENCES_IN_MEMORY: u64 = 1_000;
const CALLS: usize = 50;

fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

/// Runs a share of the requested sequences, each on a database of its own.
fn run<P: Place>(make: impl Fn() -> P, default: u64, share: u64) {
    let (first, sequences) = (number("KEYHASP_SEED"), number("KEYHASP_SEQUENCES"));
    let count = match (first, sequences) {
        (Some(_), None) => 1,
        (_, sequences) => sequences.unwrap_or(default).div_ceil(share),
    };
    let seeds = first.unwrap_or(0)..first.unwrap_or(0) + count;
    let is_whole = seeds.end - seeds.start >= SEQUENCES;
    let mut coverage = Coverage::default();
    for seed in seeds {
        let place = &mut make();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            driver::run(seed, CALLS, place, &|store, _| store, &mut coverage)
        }));
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => panic!("{failure}"),
            Err(panic) => {
                eprintln!("replay it with KEYHASP_SEED={seed}");
                resume_unwind(panic);
            }
        }
    }
    println!("{coverage:#?}");
    let missing = coverage.missing();
    assert!(!is_whole || missing.is_empty(), "this never happened: {missing:?}");
}

#[test]
fn memory_is_as_the_model_says() {
    run(InMemory::new, SEQUENCES_IN_MEMORY, 1);
}

#[cfg(all(feature = "sqlite", feature = "testing"))]
#[test]
fn sqlite_is_as_the_model_says() {
    run(backends::OnSqlite::exclusive, SEQUENCES, 1);
}

/// Tests another path into the index: a store on a shared database reads back what it commits, as
/// other processes may have written too.
#[cfg(all(feature = "sqlite", feature = "testing"))]
#[test]
fn shared_sqlite_is_as_the_model_says() {
    run(backends::OnSqlite::shared, SEQUENCES, 5);
}

#[cfg(all(feature = "sled", feature = "testing"))]
#[test]
fn sled_is_as_the_model_says() {
    run(backends::OnSled::new, SEQUENCES, 1);
}

/// The default sequences find each injected bug.
#[test]
fn planted_defects_are_found() {
    for defect in Defect::ALL.iter().copied() {
        let plant = |store, clock: &_| {
            Arc::new(Planted::new(store, defect, Arc::clone(clock))) as Arc<dyn Asked>
        };
        let mut coverage = Coverage::default();
        let found = (0..SEQUENCES).find_map(|seed| {
            driver::run(seed, CALLS, &mut InMemory::new(), &plant, &mut coverage).err()
        });
        let found = found.unwrap_or_else(|| panic!("{defect:?} was not found"));
        println!("{defect:?}: sequence {} of {SEQUENCES}", found.seed);
    }
}

/// The sequences also find a store that purges keys though it was opened to keep them, and one that
/// was opened to purge them earlier.
#[test]
fn a_wrong_retention_is_found() {
    type Change = fn(StoreBuilder) -> StoreBuilder;
    let changes: [Change; 2] = [
        |builder| builder.key_retention(Duration::from_secs(3_600)),
        |builder| builder.key_retention(Duration::from_secs(30 * 24 * 3_600)),
    ];
    for change in changes {
        let found = (0..SEQUENCES).find_map(|seed| {
            let place = &mut InMemory::opening(change);
            driver::run(seed, CALLS, place, &|store, _| store, &mut Coverage::default()).err()
        });
        println!("sequence {} of {SEQUENCES}", found.expect("it was not found").seed);
    }
}

/// The sequences also find the injected bugs of a backend in usage and alert states; and without a
/// bug they find nothing.
#[cfg(feature = "testing")]
#[test]
fn faults_of_a_backend_are_found() {
    use broken::Fault;

    let run = |fault, seed| {
        let (place, coverage) = (&mut backends::OnBroken::by(fault), &mut Coverage::default());
        driver::run(seed, CALLS, place, &|store, _| store, coverage)
    };
    let sound = (0..SEQUENCES / 10).find_map(|seed| run(Fault::None, seed).err());
    assert!(sound.is_none(), "without a fault: {sound:#?}");
    for fault in [
        Fault::AddressesAreKept,
        Fault::AlertsAreToldAgain,
        Fault::UsageIsForgottenAtOpen,
        Fault::UsageIsForgottenByChanges,
        Fault::UsageIsTheLast,
        Fault::UsageLosesRefusals,
        Fault::UsageWritesAnEvent,
    ] {
        let found = (0..SEQUENCES).find_map(|seed| run(fault, seed).err());
        let found = found.unwrap_or_else(|| panic!("{fault:?} was not found"));
        println!("{fault:?}: sequence {} of {SEQUENCES}", found.seed);
    }
}
