//! A store on a SQLite file, shared by two, in use for 20 seconds, or for as many as
//! `KEYHASP_SOAK` says: what it takes of memory, of the disk and of descriptors must not grow.
//!
//! Time is real here. Wall time goes 600 times as fast, so that events grow old.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, clippy::print_stdout)] // It is a test.
#![cfg(target_os = "linux")]

mod foreign;
mod meter;
mod shop;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use foreign::foreign_reader;
use meter::{Meter, descriptors, resident};
use shop::{Shop, WAL_LIMIT};

/// How long a foreign reader holds its place, and between two of them nobody does.
const HELD: Duration = Duration::from_millis(1_500);

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

#[test]
fn nothing_grows() {
    let shop = Shop::open();
    let done = AtomicBool::new(false);
    let lasts = Duration::from_secs(seconds());
    // What is made once: pages, connections, stacks.
    let warm = Duration::from_secs(5).min(lasts / 3);
    let mut meter = Meter::default();
    std::thread::scope(|scope| {
        let workers = [0, 1, 2].map(|n| {
            let (shop, done) = (&shop, &done);
            scope.spawn(move || shop.work(n, done))
        });
        let verifying = scope.spawn(|| shop.verify(&done));
        // Also when something doesn't hold: nobody works for ever.
        let closing = Closing(&done);
        let began = Instant::now();
        let mut base = None;
        let mut readers = 0;
        while began.elapsed() < lasts {
            foreign_reader(shop.path(), HELD, || meter.log(shop.log_length()));
            readers += 1;
            let back = shop.log_is_back();
            meter.back(back);
            if began.elapsed() > warm {
                let now = (resident(), descriptors());
                let (_, first) = *base.get_or_insert(now);
                meter.resident(now.0);
                assert!(now.1 <= first + 2, "{} descriptors, {first} before", now.1);
            }
        }
        drop(closing);
        let changes: u64 = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
        let verified = verifying.join().unwrap();
        println!("{changes} changes, {verified} verifications, {readers} foreign readers");
    });
    println!("{meter}, limit of the log {} MiB", WAL_LIMIT >> 20);
    meter.hold();
    shop.events_are_pruned();
    shop.sleeper_finds_its_way_back();
}
