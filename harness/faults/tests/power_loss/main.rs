//! The power is cut: at random moments of random calls, what would be left on the disk is laid down
//! and opened.
//!
//! What must hold each time: it opens, every change that was acknowledged is there, and of the one
//! that was under way all or nothing, with its events; verification answers as it did; the store
//! goes on, and the power may be cut again while it opens. Some syncs fail: then what recovery
//! settled on counts as acknowledged.
//!
//! `KEYHASP_STATES` says how many states are looked at (300 unless told), `KEYHASP_SEED` replays one
//! sequence.

mod calls;
mod camera;
mod planted;
mod sequence;

use sequence::{Counts, Length, Sequence};

const STATES: u64 = 300;

fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

#[test]
fn what_was_acknowledged_outlives_the_power() {
    let counts = run(Length::Whole, number("KEYHASP_STATES").unwrap_or(STATES));
    println!("power loss sqlite: {counts}");
    let is_one = number("KEYHASP_SEED").is_some();
    assert!(is_one || counts.acknowledged > 0 && counts.failed_syncs > 0, "{counts}");
}

/// Whoever finds a database that was not yet whole makes it whole.
#[test]
fn a_database_that_is_being_made_outlives_the_power() {
    let counts = run(Length::OpeningAlone, number("KEYHASP_STATES").unwrap_or(STATES));
    println!("power loss sqlite, making a database: {counts}");
}

fn run(length: Length, states: u64) -> Counts {
    let mut counts = Counts::default();
    let mut seeds = match number("KEYHASP_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..u64::MAX,
    };
    while counts.states < states {
        let Some(seed) = seeds.next() else { break };
        Sequence::run(seed, length, None, &mut counts)
            .unwrap_or_else(|why| panic!("{why}\nreplay it with KEYHASP_SEED={seed}"));
    }
    counts
}
