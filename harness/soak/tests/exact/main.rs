//! Two threads use one rate-limited key 10 million times while a third moves the clock. The store
//! must allow exactly as many uses as the rule says.
//!
//! It stands in this package because its optimised build takes seconds.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)] // It is a test.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use keyhasp::backend::Memory;
use keyhasp::{
    Access, AdminKeys, Catalogue, CreateKey, CreateOwner, ManualClock, OwnerId, Prefix, Rate,
    RejectReason, SetLimits, Store, Timestamp, Verifier, VerifyError,
};

const THREADS: u64 = 2;
/// The uses that the rate gives back, in so many milliseconds: no whole number in one of them.
const COUNT: u32 = 7;
const PER: u64 = 3;
const BURST: u32 = 10_000;
/// The tries after which a thread reports its progress.
const SAID: u64 = 64;
/// The use that an injected bug turns round: after the burst, and few enough that a busy machine
/// allows as many.
const SLIP: u64 = 11_000;
/// The time at which the clock starts: 2026-01-01T00:00:00Z.
const START: u64 = 1_767_225_600_000;

/// The progress of a thread.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Far {
    tried: AtomicU64,
    allowed: AtomicU64,
}

/// A function between the threads and the store, which may turn the store's answer round.
type Slip<'a> = &'a (dyn Fn(bool) -> bool + Sync);

#[derive(Debug)]
struct Counted {
    tried: u64,
    allowed: u64,
    by_the_rule: u64,
}

fn given_back(millis: u64) -> u64 {
    millis * u64::from(COUNT) / PER
}

fn run(tries: u64, slip: Slip<'_>) -> Counted {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(START).unwrap()));
    let catalogue = Catalogue::builder().read("links:read").build().unwrap();
    let builder = Store::builder(catalogue, [Prefix::new("acme").unwrap()]);
    let store = builder.clock(Arc::<ManualClock>::clone(&clock)).open(Memory::new()).unwrap();
    let store = Arc::new(store);
    let admin = AdminKeys::new(Arc::<Store>::clone(&store), "root").unwrap();
    let rate = Rate::new(COUNT, Duration::from_millis(PER)).unwrap().with_burst(BURST).unwrap();
    let request = CreateKey::new(Access::Full).limits(SetLimits::new().rate(rate));
    let owner = OwnerId::new("org").unwrap();
    let made = admin.create_owner(&owner, CreateOwner::with_key(request)).unwrap();
    let token = made.first_key.unwrap().token.expose().to_owned();
    let verifier = Verifier::new(store);
    let is_allowed = || match verifier.verify(&token) {
        Ok(_) => slip(true),
        Err(VerifyError::Rejected(RejectReason::RateLimited(_))) => slip(false),
        Err(other) => panic!("{other:?}"),
    };
    // Uses up the burst, so that none of what comes back later exceeds it.
    let mut allowed = 0;
    while is_allowed() {
        allowed += 1;
    }
    let far: [Far; THREADS as usize] = Default::default();
    let sum = |of: fn(&Far) -> &AtomicU64| {
        far.iter().map(|far| of(far).load(Ordering::Relaxed)).sum::<u64>()
    };
    let (is_over, mut passed) = (AtomicBool::new(false), 0);
    thread::scope(|scope| {
        let (is_allowed, is_over) = (&is_allowed, &is_over);
        let threads: Vec<_> = far
            .iter()
            .map(|far| {
                scope.spawn(move || {
                    let mut allowed = 0;
                    for tried in 1..=tries / THREADS {
                        allowed += u64::from(is_allowed());
                        if tried % SAID == 0 {
                            far.allowed.store(allowed, Ordering::Relaxed);
                            far.tried.store(tried, Ordering::Relaxed);
                        }
                    }
                    far.allowed.store(allowed, Ordering::Relaxed);
                })
            })
            .collect();
        let steps = scope.spawn(|| {
            let mut step = 0;
            while !is_over.load(Ordering::Relaxed) {
                step = step * 5 % 41 + 1;
                let next = given_back(passed + step);
                // About every second use is allowed, and the unused rest stays below the burst.
                let is_due = next <= sum(|far| &far.tried) / 2;
                if is_due && next <= sum(|far| &far.allowed) + u64::from(BURST / 2) {
                    clock.advance(Duration::from_millis(step));
                    passed += step;
                } else {
                    thread::yield_now();
                }
            }
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        is_over.store(true, Ordering::Relaxed);
        steps.join().unwrap();
    });
    allowed += sum(|far| &far.allowed);
    // Uses up the rest.
    while is_allowed() {
        allowed += 1;
    }
    let tried = tries / THREADS * THREADS;
    Counted { tried, allowed, by_the_rule: u64::from(BURST) + given_back(passed) }
}

#[test]
fn exactly_what_the_rule_allows() {
    let began = Instant::now();
    let counted = run(10_000_000, &|allowed| allowed);
    let Counted { tried, allowed, by_the_rule } = counted;
    let took = began.elapsed().as_secs_f32();
    println!("{tried} uses: {allowed} allowed, {by_the_rule} by the rule, in {took:.1} s");
    assert_eq!(counted.allowed, counted.by_the_rule, "{counted:?}");
    assert!(counted.allowed > 5 * u64::from(BURST), "the clock stood still: {counted:?}");
}

/// Catches one use that slips through, or is lost.
#[test]
fn injected_slips_are_caught() {
    for missed in [true, false] {
        let uses = AtomicU64::new(0);
        let slip = |allowed: bool| {
            let is_it = allowed == missed && uses.fetch_add(1, Ordering::Relaxed) == SLIP;
            allowed != is_it
        };
        let Counted { allowed, by_the_rule, .. } = run(200_000, &slip);
        assert_eq!(allowed + u64::from(missed), by_the_rule + u64::from(!missed));
    }
}
