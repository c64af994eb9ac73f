//! Runs the models over the sources as they are, and over those with an injected bug.
//!
//! `LOOM_MAX_PREEMPTIONS` limits how often a thread is interrupted where it needn't wait. Defaults
//! to 2. `LOOM_MODEL` names one model, and `LOOM_LOG=trace` prints its steps.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use keyhasp_orders as sources;

/// Runs a model in all its orders; returns their number.
fn run(model: fn()) -> usize {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(2));
    builder.max_branches = 100_000;
    let orders = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&orders);
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        model();
    });
    orders.load(Ordering::Relaxed)
}

#[test]
fn the_sources_keep_their_promises() {
    let only = std::env::var("LOOM_MODEL").ok();
    for (name, model) in sources::sound::models::ALL {
        if only.as_ref().is_none_or(|only| only == name) {
            let began = Instant::now();
            println!("{name}: {} orders, {:.1?}", run(*model), began.elapsed());
        }
    }
}

/// The variable that names the bug for another process.
const BUG: &str = "KEYHASP_ORDERS_BUG";

/// Runs each bug in a process of its own: a thread that waits for ever ends that process alone.
#[test]
fn injected_bugs_are_found() {
    if let Ok(bug) = std::env::var(BUG) {
        let (_, models) = sources::BUGS.iter().find(|(name, _)| *name == bug).unwrap();
        for (name, model) in *models {
            println!("model {name}");
            run(*model);
        }
        return;
    }
    for (bug, _) in sources::BUGS {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "injected_bugs_are_found", "--nocapture"])
            .env(BUG, bug)
            .output()
            .unwrap();
        assert!(!output.status.success(), "{bug} was not found");
        let said = String::from_utf8_lossy(&output.stdout);
        let found = said.lines().rev().find_map(|line| line.split_once("model "));
        println!("{bug}: found by {}", found.expect("it began").1);
    }
}
