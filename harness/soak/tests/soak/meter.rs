//! What is measured.

use std::fmt;
use std::time::Duration;

/// How much more memory the second half may take than the first, for what the allocator and
/// SQLite's caches keep.
const SLACK: u64 = 8 << 20;

#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Bytes, one sample after each foreign reader.
    resident: Vec<u64>,
    log_peak: u64,
    /// How long the log took to be small again, at most.
    back: Duration,
}

impl Meter {
    pub(crate) fn log(&mut self, length: u64) {
        self.log_peak = self.log_peak.max(length);
    }

    pub(crate) fn back(&mut self, took: Duration) {
        self.back = self.back.max(took);
    }

    pub(crate) fn resident(&mut self, bytes: u64) {
        self.resident.push(bytes);
    }

    /// The most of each half.
    fn halves(&self) -> (u64, u64) {
        let (first, second) = self.resident.split_at(self.resident.len() / 2);
        let most = |half: &[u64]| half.iter().copied().max().unwrap_or_default();
        (most(first), most(second))
    }

    pub(crate) fn hold(&self) {
        assert!(self.resident.len() >= 4, "too few samples: {self:?}");
        let (first, second) = self.halves();
        assert!(second <= first + SLACK, "memory grows: {first} and then {second} bytes");
    }
}

impl fmt::Display for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, second) = self.halves();
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        write!(
            f,
            "memory at most {:.1} MiB in the first half and {:.1} in the second; the log at most \
             {:.1} MiB beside a foreign reader, and small again {:.0?} after the last at most",
            mib(first),
            mib(second),
            mib(self.log_peak),
            self.back
        )
    }
}

/// How much memory this process takes.
pub(crate) fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib << 10
}

/// How many files it has open.
pub(crate) fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}
