//! Measurements of memory, descriptors and the log.

use std::fmt;
use std::time::Duration;

use crate::shop::WAL_LIMIT;

/// The growth of memory that is allowed from the first half to the second, for the allocator and
/// SQLite's caches.
const SLACK: u64 = 8 << 20;
/// The growth of descriptors that is allowed. A reading connection is made when all others are
/// lent, and has two files open; each of four threads may need one.
const CONNECTIONS: usize = 8;

#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Bytes and descriptors, after each foreign reader.
    samples: Vec<(u64, usize)>,
    log_now: u64,
    log_peak: u64,
    /// The longest time that the log took to be small again.
    back: Duration,
}

impl Meter {
    pub(crate) fn log(&mut self, length: u64) {
        self.log_now = length;
        self.log_peak = self.log_peak.max(length);
    }

    /// Tells whether the log is still under its limit.
    pub(crate) fn log_is_short(&self) -> bool {
        self.log_now <= WAL_LIMIT
    }

    pub(crate) fn back(&mut self, took: Duration) {
        self.back = self.back.max(took);
        self.log_now = 0;
    }

    pub(crate) fn sample(&mut self) {
        self.samples.push((resident(), descriptors()));
    }

    pub(crate) fn samples(&self) -> usize {
        self.samples.len()
    }

    /// Returns the most bytes of each half.
    fn halves(&self) -> (u64, u64) {
        let (first, second) = self.samples.split_at(self.samples.len() / 2);
        let most = |half: &[(u64, usize)]| half.iter().map(|sample| sample.0).max();
        (most(first).unwrap_or_default(), most(second).unwrap_or_default())
    }

    /// Returns the first number of descriptors, and the most.
    fn descriptors(&self) -> (usize, usize) {
        let first = self.samples.first().map_or(0, |sample| sample.1);
        (first, self.samples.iter().map(|sample| sample.1).max().unwrap_or_default())
    }

    pub(crate) fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        let (first, second) = self.halves();
        if second > first + SLACK {
            complaints.push(format!("memory grows: {first} and then {second} bytes"));
        }
        let (first, most) = self.descriptors();
        if most > first + CONNECTIONS {
            complaints.push(format!("{most} descriptors, {first} at first"));
        }
        complaints
    }
}

impl fmt::Display for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let ((first, second), (few, most)) = (self.halves(), self.descriptors());
        write!(
            f,
            "memory at most {:.1} MiB in the first half and {:.1} in the second; {few} descriptors at \
             first and {most} at most; the log at most {:.1} MiB beside a foreign reader, and small \
             again {:.0?} after the last at most",
            mib(first),
            mib(second),
            mib(self.log_peak),
            self.back
        )
    }
}

/// Reads this process's resident bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib << 10
}

/// Counts this process's open files.
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}
