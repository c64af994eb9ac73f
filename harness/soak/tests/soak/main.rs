//! Keeps two stores on one SQLite file in use for 20 seconds, or for as many as `KEYHASP_SOAK`
//! says. Memory, descriptors, log and events must not grow.
//!
//! Monotonic time is real. Wall time goes 600 times as fast, so that events grow old. No check
//! rests on the machine's speed: where a promise has a time, a slow machine gets as many changes as
//! a usual one makes in that time.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, clippy::print_stdout)] // It is a test.
#![cfg(target_os = "linux")]

mod foreign;
mod injected;
mod meter;
mod shop;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use foreign::Reader;
use injected::Leaks;
use meter::Meter;
use shop::{Shop, WAL_LIMIT};

/// The pause between two looks at the log's length.
const LOOK: Duration = Duration::from_millis(20);
/// The least number of samples, however long each takes.
const SAMPLES: usize = 12;

/// The settings of a soak.
struct Soak {
    lasts: Duration,
    /// The time after which pages, connections and stacks are there.
    warm: Duration,
    /// The least time for which a foreign reader holds its place.
    held: Duration,
    /// Injected bugs.
    leaks: Option<Leaks>,
}

/// Keeps two soaks apart, which would measure each other.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn nothing_grows() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let lasts = Duration::from_secs(seconds());
    let warm = Duration::from_secs(5).min(lasts / 3);
    let held = Duration::from_millis(1_500);
    let complaints = Soak { lasts, warm, held, leaks: None }.run();
    assert!(complaints.is_empty(), "{}", complaints.join("; "));
}

fn seconds() -> u64 {
    let Ok(value) = std::env::var("KEYHASP_SOAK") else { return 20 };
    value.parse().expect("KEYHASP_SOAK must be a number of seconds")
}

/// Ends the work when it is dropped.
struct Closing<'a>(&'a AtomicBool);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Soak {
    /// Runs the soak; returns the violations.
    fn run(mut self) -> Vec<String> {
        let shop = Shop::open(self.leaks.is_some());
        let mut meter = Meter::default();
        let mut complaints = self.work(&shop, &mut meter);
        // Closing the store would wait for an injected reader.
        self.leaks = None;
        println!("{meter}; limit of the log {} MiB", WAL_LIMIT >> 20);
        complaints.extend(meter.complaints());
        complaints.extend(shop.events_are_pruned().err());
        complaints.extend(shop.sleeper_finds_its_way_back().err());
        complaints
    }

    fn work(&mut self, shop: &Shop, meter: &mut Meter) -> Vec<String> {
        let done = AtomicBool::new(false);
        let mut complaints = Vec::new();
        std::thread::scope(|scope| {
            let workers = [0, 1, 2].map(|n| {
                let done = &done;
                scope.spawn(move || shop.work(n, done))
            });
            let verifying = scope.spawn(|| shop.verify(&done));
            // A failed check would otherwise leave the threads working for ever.
            let closing = Closing(&done);
            let all_work =
                || !verifying.is_finished() && workers.iter().all(|worker| !worker.is_finished());
            let began = Instant::now();
            let mut readers = 0;
            while all_work() && (began.elapsed() < self.lasts || meter.samples() < SAMPLES) {
                let reader = Reader::begin(shop.path());
                let since = Instant::now();
                while all_work() && (since.elapsed() < self.held || meter.log_is_short()) {
                    std::thread::sleep(LOOK);
                    meter.log(shop.log_length());
                }
                reader.end();
                readers += 1;
                match shop.log_is_back(all_work) {
                    Ok(took) => meter.back(took),
                    Err(complaint) => complaints.push(complaint),
                }
                if let Some(leaks) = &mut self.leaks {
                    leaks.grow(shop.path());
                }
                if began.elapsed() >= self.warm {
                    meter.sample();
                }
            }
            drop(closing);
            let changes: u64 = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
            let verified = verifying.join().unwrap();
            println!("{changes} changes, {verified} verifications, {readers} foreign readers");
        });
        complaints
    }
}
