//! Every fuzz target without the fuzzer: each seed that is checked in, those of crashes that were
//! found included, is run through its target.
#![cfg(all(feature = "recoverable", feature = "sled", feature = "sqlite", feature = "testing"))]
#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

mod targets;

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use targets::{TARGETS, Target, sled_records, sqlite_rows, token};

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// The names in a directory, without their endings.
fn names(dir: &Path) -> BTreeSet<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    names.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

/// The seeds of a target, by their names.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let dir = fuzz().join("seeds").join(target);
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut seeds: Vec<_> =
        paths.map(|path| (path.display().to_string(), fs::read(path).unwrap())).collect();
    seeds.sort();
    seeds
}

fn replay((name, run): Target) {
    let seeds = seeds(name);
    assert!(seeds.len() >= 3, "{name} has {} seeds", seeds.len());
    for (path, seed) in seeds {
        if catch_unwind(AssertUnwindSafe(|| run(&seed))).is_err() {
            panic!("{name} fails on {path}");
        }
    }
    // What every fuzzer begins with.
    run(&[]);
    run(b"\n");
}

/// One test for each target, so that they run beside each other and are told apart.
macro_rules! replays {
    ($($target:ident)*) => {
        const REPLAYED: &[&str] = &[$(stringify!($target)),*];

        $(#[test]
        fn $target() {
            let is_it = |target: &&Target| target.0 == stringify!($target);
            replay(*TARGETS.iter().find(is_it).unwrap());
        })*
    };
}

replays! {
    alike
    cursor
    damaged_sled
    damaged_sqlite
    permissions
    settings
    sled_records
    sqlite_rows
    token
}

/// A file that `KEYHASP_FUZZ_INPUT` names, on the target that `KEYHASP_FUZZ_TARGET` names.
#[test]
fn one_input() {
    let Some(path) = std::env::var_os("KEYHASP_FUZZ_INPUT") else { return };
    let name = std::env::var("KEYHASP_FUZZ_TARGET").unwrap();
    let (_, run) = TARGETS.iter().find(|target| target.0 == name).unwrap();
    run(&fs::read(path).unwrap());
}

/// Programs, their manifest's table, seeds and replays are those of one and the same targets.
#[test]
fn no_target_is_left_out() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|target| target.0.to_owned()).collect();
    assert_eq!(targets.len(), TARGETS.len());
    assert_eq!(targets, REPLAYED.iter().map(|name| (*name).to_owned()).collect());
    assert_eq!(targets, names(&fuzz().join("fuzz_targets")));
    assert_eq!(targets, names(&fuzz().join("seeds")));
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    let programs = manifest.lines().filter_map(|line| line.strip_prefix("path = \"fuzz_targets/"));
    let programs = programs.filter_map(|line| line.strip_suffix(".rs\""));
    assert_eq!(targets, programs.map(str::to_owned).collect());
}

/// Catches the injected bug by the seeds; `.ci/fuzz` lets the fuzzer catch it too.
#[test]
fn an_injected_bug_is_caught() {
    let seeds = seeds("token");
    let is_caught =
        |(_, seed): &&(String, Vec<u8>)| catch_unwind(|| token::injected(seed)).is_err();
    assert!(seeds.iter().filter(is_caught).count() > 0, "no seed shows it");
}

/// The fuzzer can't guess it.
#[test]
fn the_seeds_hold_the_token_that_is_let_in() {
    let issued = token::issued().into_bytes();
    assert!(seeds("token").iter().any(|(_, seed)| *seed == issued), "{issued:?}");
}

/// Columns are told by number: a change of the tables would make other edits of the seeds, which
/// would then say nothing of what they were made for.
#[test]
fn seeds_of_rows_edit_what_they_are_made_for() {
    let made_for: &[(&str, &[&str])] = &[
        ("another_rows", &["keys.access", "keys.state_checksum"]),
        ("any_network", &["keys.networks"]),
        ("counted_anew", &["keys.quota_version"]),
        ("lifted_quota", &["owners.quota_uses"]),
        ("more_quota", &["key_usage.quota_left", "owner_usage.quota_left"]),
        ("name_of_another", &["keys.name"]),
        ("no_address", &["key_usage.address", "key_usage.address"]),
        ("no_expiry", &["keys.expires_at", "keys.expires_at", "keys.expires_at"]),
        ("no_limits", &["keys.limited", "owners.limited"]),
        ("nothing", &[]),
        ("number", &["keys.state"]),
        ("other_actor", &["events.actor"]),
        ("other_max_access", &["owners.max_access"]),
        ("other_quota_checksum", &["owner_usage.quota_checksum"]),
        (
            "rejected_less_than_never",
            &["key_usage.revoked", "key_usage.address_missing", "key_usage.accepted"],
        ),
        (
            "alerted_never_was",
            &[
                "key_usage.alerted_expired",
                "key_usage.alerted_token_old",
                "key_usage.alerted_rejected",
            ],
        ),
        // Which the tables don't take.
        ("bytes", &[]),
        ("null", &[]),
        ("text", &[]),
    ];
    let seeds = seeds("sqlite_rows");
    assert_eq!(seeds.len(), made_for.len());
    for (path, seed) in seeds {
        let name = path.rsplit(['/', '\\']).next().unwrap();
        let (_, expected) = made_for.iter().find(|(known, _)| *known == name).unwrap();
        assert_eq!(sqlite_rows::edited(&seed), *expected, "{name}");
    }
}

/// The same of records: each is one of the sort that its name begins with, or none. One that is, is
/// written again as it was: sled's bytes are what they were when the seeds were made.
#[test]
fn seeds_of_records_are_of_their_sort() {
    for (path, seed) in seeds("sled_records") {
        let name = path.rsplit(['/', '\\']).next().unwrap();
        let sort = name.split('_').next().filter(|sort| *sort != "no");
        let read = sled_records::sort(&seed);
        assert_eq!(read.as_ref().map(|(sort, _)| *sort), sort, "{name}");
        if let Some((_, again)) = read {
            assert_eq!(again, seed[1..], "{name}");
        }
    }
}
