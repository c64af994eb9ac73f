//! Runs the models: over the sources as they are, and over those with a defect.
//!
//! `LOOM_MAX_PREEMPTIONS` says how often a thread is interrupted at most where it needn't wait, 2
//! unless told; `LOOM_MODEL` names one model, `LOOM_LOG=trace` tells what it does.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use keyhasp_orders as sources;

/// Runs a model in every order; how many there were.
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

/// Which defect another process is to look for.
const DEFECT: &str = "KEYHASP_ORDERS_DEFECT";

/// Each in a process of its own: whoever waits for ever when the model ends takes that down.
#[test]
fn planted_defects_are_found() {
    if let Ok(defect) = std::env::var(DEFECT) {
        let (_, models) = sources::DEFECTS.iter().find(|(name, _)| *name == defect).unwrap();
        for (name, model) in *models {
            println!("model {name}");
            run(*model);
        }
        return;
    }
    for (defect, _) in sources::DEFECTS {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "planted_defects_are_found", "--nocapture"])
            .env(DEFECT, defect)
            .output()
            .unwrap();
        assert!(!output.status.success(), "{defect} was not found");
        let said = String::from_utf8_lossy(&output.stdout);
        let found = said.lines().rev().find_map(|line| line.split_once("model "));
        println!("{defect}: found by {}", found.expect("it began").1);
    }
}
