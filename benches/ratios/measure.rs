//! Measuring pairs in turns.

use std::time::{Duration, Instant};

/// Number of measurements of each side of a pair.
const ROUNDS: usize = 41;

/// Nanoseconds of one call.
pub fn time(work: impl FnOnce()) -> f64 {
    let started = Instant::now();
    work();
    started.elapsed().as_secs_f64() * 1e9
}

/// The median of the ratios of two pieces of work, measured in turns, each first every other time.
pub fn ratio(mut work: impl FnMut(), mut unit: impl FnMut()) -> f64 {
    ratio_of(ROUNDS, || time(&mut work), || time(&mut unit))
}

/// The same for work that says itself how long it took, so that what surrounds it doesn't count.
pub fn ratio_of(rounds: usize, work: impl FnMut() -> f64, unit: impl FnMut() -> f64) -> f64 {
    median(pairs(rounds, work, unit).map(|(work, unit)| work / unit).collect())
}

/// The median of a unit, and that of what a piece of work takes more, measured in turns.
#[cfg(feature = "axum")]
pub fn difference_of(
    rounds: usize,
    work: impl FnMut() -> f64,
    unit: impl FnMut() -> f64,
) -> (f64, f64) {
    let pairs: Vec<_> = pairs(rounds, work, unit).collect();
    let units = pairs.iter().map(|(_, unit)| *unit).collect();
    (median(units), median(pairs.into_iter().map(|(work, unit)| work - unit).collect()))
}

/// Both sides of a pair, each first every other time, after one time that doesn't count.
fn pairs(
    rounds: usize,
    mut work: impl FnMut() -> f64,
    mut unit: impl FnMut() -> f64,
) -> impl Iterator<Item = (f64, f64)> {
    work();
    unit();
    (0..rounds).map(move |round| {
        if round % 2 == 0 {
            let work = work();
            (work, unit())
        } else {
            let unit = unit();
            (work(), unit)
        }
    })
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

pub fn figure(name: &str, value: f64, unit: &str) {
    println!("figure {name} {value:.3} {unit}");
}

/// The longest of many calls.
#[derive(Default)]
pub struct Longest(Duration);

impl Longest {
    pub fn time(&mut self, work: impl FnOnce()) {
        let started = Instant::now();
        work();
        self.0 = self.0.max(started.elapsed());
    }

    /// In microseconds.
    pub fn longest(&self) -> f64 {
        self.0.as_secs_f64() * 1e6
    }
}
