//! The conformance suite on the memory backend, and that no case is left out of it.
#![cfg(feature = "testing")]
#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

use std::collections::BTreeSet;
use std::path::Path;

use keyhasp::backend::{Backend, BackendError, Memory};
use keyhasp::testing::Failing;
use keyhasp::testing::conformance::{self, Failure, Subject};

const FAMILIES: [&str; 11] = [
    "atomic_", "damage_", "rule_", "request_", "order_", "durable_", "error_", "query_", "size_",
    "sweep_", "usage_",
];

/// The memory backend, in a [`Failing`] that lets everything pass or without.
struct InMemory {
    wrapped: bool,
}

impl Subject for InMemory {
    type Place = ();

    fn place(&self) -> Result<(), Failure> {
        Ok(())
    }

    fn open(&self, _: &()) -> Result<Box<dyn Backend>, BackendError> {
        if self.wrapped {
            return Ok(Box::new(Failing::new(Memory::new())));
        }
        Ok(Box::new(Memory::default()))
    }

    fn is_durable(&self) -> bool {
        false
    }
}

#[test]
fn memory_conforms() {
    let report = conformance::assert_conforms(&InMemory { wrapped: false });
    assert!(report.names().count() >= 60, "{report}");
    assert!(report.names().eq(conformance::cases().map(conformance::Case::name)));
}

#[test]
fn a_failing_backend_conforms_while_nothing_is_injected() {
    conformance::assert_conforms(&InMemory { wrapped: true });
}

/// The functions of a source file whose names begin with the name of a family.
fn cases_written(file: &Path) -> Vec<String> {
    let source = std::fs::read_to_string(file).unwrap();
    let items = syn::parse_file(&source).unwrap().items;
    let names = items.into_iter().filter_map(|item| match item {
        syn::Item::Fn(function) => Some(function.sig.ident.to_string()),
        _ => None,
    });
    names.filter(|name| FAMILIES.iter().any(|family| name.starts_with(family))).collect()
}

#[test]
fn every_case_that_is_written_is_run_once() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/testing/conformance/cases");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut written: Vec<String> = files.flat_map(|file| cases_written(&file)).collect();
    let mut run: Vec<&str> = conformance::cases().map(conformance::Case::name).collect();
    written.sort();
    run.sort_unstable();
    assert_eq!(run, written);
    assert_eq!(run.iter().collect::<BTreeSet<_>>().len(), run.len(), "a name stands twice");
}

#[test]
fn every_case_belongs_to_a_family_that_the_contract_names() {
    let contract = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/backend/contract.rs");
    let contract = std::fs::read_to_string(contract).unwrap();
    for family in FAMILIES {
        assert!(contract.contains(&format!("(`{family}*`)")), "{family} isn't in the contract");
        assert!(conformance::cases().any(|case| case.name().starts_with(family)), "{family}");
    }
    for case in conformance::cases() {
        let families = FAMILIES.iter().filter(|family| case.name().starts_with(**family));
        assert_eq!(families.count(), 1, "{}", case.name());
    }
}
