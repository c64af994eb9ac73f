//! The settings of usage.

use std::time::Duration;

use crate::invalid::{Invalid, Problem};

/// The usage of keys that a store keeps, and how often it writes it.
///
/// A store with these settings always keeps each key's last use, to a resolution: within it,
/// further uses cost next to nothing. It also counts rejections of the right secret by reason.
/// Exact counts and addresses are optional.
///
/// Usage is kept in memory. It is written at an interval, when many keys are waiting, and when the
/// store is closed or dropped. A process that ends without either loses the usage of the last
/// interval. For keys in steady use, that makes their last use older by up to one resolution more.
/// A write that fails is tried again. If the outcome of a write is indeterminate, its counts may be
/// lost, but are never written twice.
///
/// Usage takes memory beside the index: 8 to 16 bytes for each key that existed when the store was
/// opened (8 KiB to 16 MiB), 1 to 4 MiB of logs (by the number of processors), and about 64 bytes
/// for each key that waits to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct UsageSettings {
    pub(in crate::store) resolution: Duration,
    pub(in crate::store) interval: Duration,
    pub(in crate::store) counts: bool,
    pub(in crate::store) addresses: Option<Duration>,
}

impl Default for UsageSettings {
    fn default() -> Self {
        Self {
            resolution: Duration::from_secs(60),
            interval: Duration::from_secs(30),
            counts: false,
            addresses: None,
        }
    }
}

impl UsageSettings {
    /// Keeps last uses to a minute, and writes them every 30 seconds. Keeps no counts and no
    /// addresses.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the resolution of last uses: 1 second to 1 day. Defaults to a minute.
    pub fn resolution(self, resolution: Duration) -> Self {
        Self { resolution, ..self }
    }

    /// Sets the interval of writes: 1 second to 1 hour. Defaults to 30 seconds.
    pub fn interval(self, interval: Duration) -> Self {
        Self { interval, ..self }
    }

    /// Counts every use. Defaults to no counts.
    pub fn counts(self) -> Self {
        Self { counts: true, ..self }
    }

    /// Keeps the address of the last use, to the resolution, for `keep`: at least a minute.
    /// Defaults to no addresses. After `keep`, no answer shows the address.
    ///
    /// The address leaves the database when its key is next written, or when the writer reaches it.
    /// At each write the writer looks at 2,048 keys, from the newest to the oldest and round again,
    /// but never past an unreadable record. If a store is opened without addresses, the writer
    /// makes one such round.
    pub fn addresses(self, keep: Duration) -> Self {
        Self { addresses: Some(keep), ..self }
    }

    /// Returns the time by which the kept last use may be older than the true one. It is zero with
    /// counts, since each use is then noted.
    pub(in crate::store) fn resolution_in_use(&self) -> Duration {
        if self.counts { Duration::ZERO } else { self.resolution }
    }

    /// Checks that each setting lies within its limits.
    pub(in crate::store) fn check(&self) -> Result<(), Invalid> {
        let within = |field, given: Duration, min, max| {
            if (Duration::from_secs(min)..=Duration::from_secs(max)).contains(&given) {
                return Ok(());
            }
            Err(Invalid::new(
                field,
                Problem::OutOfRange { given: given.as_secs(), min, max, unit: "s" },
            ))
        };
        within("usage.resolution", self.resolution, 1, 24 * 60 * 60)?;
        within("usage.interval", self.interval, 1, 60 * 60)?;
        self.addresses.map_or(Ok(()), |keep| within("usage.addresses", keep, 60, u64::MAX))
    }
}
