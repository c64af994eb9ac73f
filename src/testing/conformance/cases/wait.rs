//! A thread that waits for the next change is woken by it.

use std::time::{Duration, Instant};

use crate::testing::conformance::ask::Ask;
use crate::testing::conformance::case::list;
use crate::testing::conformance::failure::{Tested, ensure, ensure_eq};
use crate::testing::conformance::instance::Lab;
use crate::testing::sample;

use crate::testing::conformance::together::together;

list![
    order_waiting_ends_at_once_when_there_is_more,
    order_waiting_ends_with_the_next_event,
    order_waiting_ends_for_all_who_wait,
    order_waiting_ends_in_time_without_an_event,
];

/// Longer than a thread waits that a commit wakes.
const LONG: Duration = Duration::from_secs(5);
const SHORT: Duration = Duration::from_millis(20);
/// The number of tries for a case that failed and took long: the machine may have been stopped
/// meanwhile, or have been busy, but hardly twice.
const TRIES: usize = 2;

fn in_time(tested: impl Fn() -> Tested) -> Tested {
    let mut last = Ok(());
    for _ in 0..TRIES {
        let started = Instant::now();
        last = tested();
        if last.is_ok() || started.elapsed() < LONG {
            break;
        }
    }
    last
}

fn order_waiting_ends_at_once_when_there_is_more(lab: &Lab<'_>) -> Tested {
    in_time(|| ends_at_once(lab))
}

fn ends_at_once(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme", "beta"])?;
    for after in [0, 2] {
        let started = Instant::now();
        let last = backend.wait(after, LONG)?;
        ensure!(started.elapsed() < LONG, "it waited though there was more");
        ensure_eq!(last, 3, "waiting for an event after {after}");
    }
    Ok(())
}

/// Time after time, whether the commit or the waiting comes first.
fn order_waiting_ends_with_the_next_event(lab: &Lab<'_>) -> Tested {
    in_time(|| ends_with_the_next(lab))
}

fn ends_with_the_next(lab: &Lab<'_>) -> Tested {
    const STEPS: u32 = 10;
    let instance = lab.with_owners(&["acme"])?;
    let backend = &*instance;
    together(2, |thread| {
        for step in 1..=STEPS {
            // The two take turns: each waits for the event of the other.
            let after = u64::from(step) + 1;
            if (step % 2 == 0) == (thread == 0) {
                backend.apply(sample::create_key(&sample::key(step, "acme")?)?)?;
                continue;
            }
            let started = Instant::now();
            let last = backend.wait(after, LONG)?;
            ensure!(started.elapsed() < LONG, "no caller woke that waited for event {}", after + 1);
            ensure!(last > after, "woken for event {last} when waiting for one after {after}");
        }
        Ok(())
    })
    .map(drop)
}

fn order_waiting_ends_for_all_who_wait(lab: &Lab<'_>) -> Tested {
    in_time(|| ends_for_all(lab))
}

fn ends_for_all(lab: &Lab<'_>) -> Tested {
    let instance = lab.with_owners(&["acme"])?;
    let backend = &*instance;
    together(4, |thread| {
        if thread == 0 {
            backend.apply(sample::create_key(&sample::key(1, "acme")?)?)?;
            return Ok(());
        }
        let started = Instant::now();
        ensure_eq!(backend.wait(2, LONG)?, 3, "waiting for an event after 2");
        ensure!(started.elapsed() < LONG, "one of those who wait isn't woken");
        Ok(())
    })
    .map(drop)
}

/// Not before; and the answer is the last event known.
fn order_waiting_ends_in_time_without_an_event(lab: &Lab<'_>) -> Tested {
    in_time(|| ends_without_an_event(lab))
}

fn ends_without_an_event(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme", "beta"])?;
    for after in [3, 4, u64::MAX] {
        let started = Instant::now();
        ensure_eq!(backend.wait(after, SHORT)?, 3, "waiting for an event after {after}");
        let waited = started.elapsed();
        ensure!(waited >= SHORT, "it waited for {waited:?} instead of {SHORT:?}");
        ensure!(waited < LONG, "it waited for {waited:?} instead of {SHORT:?}");
    }
    ensure_eq!(backend.wait(3, Duration::ZERO)?, 3, "waiting for no time at all");
    Ok(())
}
