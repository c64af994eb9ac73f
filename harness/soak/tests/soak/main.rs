//! A store on a SQLite file, shared by two, in use for 20 seconds, or for as many as
//! `KEYHASP_SOAK` says: what it takes of memory, of the disk and of descriptors must not grow.
//!
//! Time is real here. Wall time goes 600 times as fast, so that events grow old. Nothing that must
//! hold rests on how fast the machine is: where a promise has a time, a slow one is given as many
//! changes as go by in that time otherwise.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, clippy::print_stdout)] // It is a test.
#![cfg(target_os = "linux")]

mod foreign;
mod meter;
mod planted;
mod shop;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use foreign::Reader;
use meter::Meter;
use planted::Planted;
use shop::{Shop, WAL_LIMIT};

/// How often it is looked at how long the log is.
const LOOK: Duration = Duration::from_millis(20);
/// At least so many samples are taken, however long each takes.
const SAMPLES: usize = 12;

/// How a soak goes.
struct Soak {
    lasts: Duration,
    /// When nothing is made once any more: pages, connections, stacks.
    warm: Duration,
    /// How long a foreign reader holds its place at least.
    held: Duration,
    planted: Option<Planted>,
}

/// Two at once would measure each other.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn nothing_grows() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let lasts = Duration::from_secs(seconds());
    let warm = Duration::from_secs(5).min(lasts / 3);
    let held = Duration::from_millis(1_500);
    let complaints = Soak { lasts, warm, held, planted: None }.run();
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
    /// What doesn't hold.
    fn run(mut self) -> Vec<String> {
        let shop = Shop::open(self.planted.is_some());
        let mut meter = Meter::default();
        let mut complaints = self.work(&shop, &mut meter);
        // Before the store is closed, which waits for whoever reads.
        self.planted = None;
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
            // Also when something doesn't hold: nobody works for ever.
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
                if let Some(planted) = &mut self.planted {
                    planted.sampled(shop.path());
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
