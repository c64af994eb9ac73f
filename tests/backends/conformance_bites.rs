//! The suite fails for a backend that is broken, by the cases that name the broken promise; and
//! every case fails for some such backend.
#![cfg(feature = "testing")]
#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

use std::collections::BTreeSet;
use std::panic::catch_unwind;
use std::sync::Mutex;
use std::thread;

use crate::broken::{BrokenBy, EXPECTED, Fault};
use keyhasp::backend::{Backend, BackendError};
use keyhasp::testing::conformance::{self, Case, Failure, Subject};

#[test]
fn without_a_fault_it_conforms() {
    conformance::assert_conforms(&BrokenBy(Fault::None));
}

/// Whether the case of this name fails for the fault.
fn finds(name: &str, fault: Fault) -> bool {
    let case = conformance::cases().find(|case| case.name() == name);
    case.unwrap_or_else(|| panic!("there is no case {name}")).run(&BrokenBy(fault)).is_err()
}

#[test]
fn every_fault_is_found_by_the_cases_that_name_it() {
    let each = EXPECTED.iter().flat_map(|(fault, cases)| cases.iter().map(|case| (*fault, *case)));
    // Several at once: some of them wait for what never comes.
    let (left, missed) = (Mutex::new(each), Mutex::new(Vec::new()));
    let next = || left.lock().unwrap().next();
    let work = || {
        while let Some((fault, case)) = next() {
            if !finds(case, fault) {
                missed.lock().unwrap().push(format!("{case} doesn't notice {fault:?}"));
            }
        }
    };
    thread::scope(|scope| (0..6).for_each(|_| drop(scope.spawn(work))));
    let missed = missed.into_inner().unwrap();
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn every_case_finds_a_fault() {
    let finding: BTreeSet<&str> = EXPECTED.iter().flat_map(|(_, cases)| *cases).copied().collect();
    let all: BTreeSet<&str> = conformance::cases().map(Case::name).collect();
    assert_eq!(all.difference(&finding).collect::<Vec<_>>(), Vec::<&&str>::new());
}

#[test]
fn the_report_and_the_panic_name_what_failed() {
    let fault = BrokenBy(Fault::PruningRemovesTheNewest);
    let report = conformance::run(&fault);
    assert!(!report.conforms());
    let failed: Vec<&str> = report.failed().collect();
    assert_eq!(failed, ["durable_pruning_is_found_again", "query_pruning_keeps_the_newest"]);
    // Those before and after it ran all the same.
    assert!(report.names().eq(conformance::cases().map(Case::name)));
    let text = report.to_string();
    assert!(text.contains("    ok  query_pruning_removes_the_oldest\n"), "{text}");
    assert!(text.contains("FAILED  query_pruning_keeps_the_newest: events left: found"), "{text}");

    let panic = catch_unwind(|| conformance::assert_conforms(&fault)).unwrap_err();
    let said = panic.downcast_ref::<String>().unwrap();
    assert!(said.starts_with("the backend doesn't conform:\nFAILED  durable_pruning"), "{said}");
    assert!(said.contains("FAILED  query_pruning_keeps_the_newest: "), "{said}");
    assert!(!said.contains("    ok  ") && said.ends_with("cases, 2 failed"), "{said}");
}

/// A subject whose places or backends can't be had.
struct Unusable {
    panics: bool,
}

impl Subject for Unusable {
    type Place = ();

    fn place(&self) -> Result<(), Failure> {
        assert!(!self.panics, "no place");
        Err(Failure::new("no place"))
    }

    fn open(&self, _: &()) -> Result<Box<dyn Backend>, BackendError> {
        unreachable!("there is no place to open")
    }

    fn is_durable(&self) -> bool {
        false
    }
}

#[test]
fn a_subject_that_panics_or_fails_fails_every_case() {
    for panics in [false, true] {
        let report = conformance::run(&Unusable { panics });
        assert!(report.failed().eq(conformance::cases().map(Case::name)));
        let says = report.outcomes()[0].result.as_ref().unwrap_err().message().to_owned();
        assert_eq!(says, if panics { "panicked: no place" } else { "no place" });
    }
}
