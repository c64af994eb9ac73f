//! What a service wants to know of the use of its keys.

use std::time::Duration;

use crate::invalid::{Invalid, Problem};

/// What a store keeps of the use of its keys, and how often it writes that.
///
/// A key's last use is kept always, to a resolution: within it, further uses cost next to nothing.
/// Refusals of the right secret are counted by reason. Exact counts and addresses are kept if the
/// service asks for them.
///
/// What was used is kept in memory and written at an interval, when many keys are waiting, and when
/// the store is closed or dropped. A process that ends without either loses what was used in the
/// last interval, and with it, of keys in steady use, up to a resolution more of their last use. A
/// write that fails is tried again; counts of one whose outcome is unknown may be lost, and are
/// never written twice. Memory beside the index: 8 to 16 bytes for each key that there was at the
/// opening (8 KiB to 16 MiB), 1 to 4 MiB of logs (by the number of processors), and about 64 bytes
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
    /// Last uses to a minute, written every 30 seconds; no counts, no addresses.
    pub fn new() -> Self {
        Self::default()
    }

    /// How exact last uses are: 1 second to 1 day; a minute unless told.
    pub fn resolution(self, resolution: Duration) -> Self {
        Self { resolution, ..self }
    }

    /// How often they are written: 1 second to 1 hour; every 30 seconds unless told.
    pub fn interval(self, interval: Duration) -> Self {
        Self { interval, ..self }
    }

    /// Counts every use.
    pub fn counts(self) -> Self {
        Self { counts: true, ..self }
    }

    /// Keeps the address of the last use (to the resolution) for so long: at least a minute. After
    /// that no answer shows it. From the database it is gone when the key is next written, or when
    /// the writer comes by: it looks at 2,048 keys whenever it writes, from the newest to the
    /// oldest and again, but never past a record that can't be read. Where addresses are kept no
    /// more, the writer comes by once.
    pub fn addresses(self, keep: Duration) -> Self {
        Self { addresses: Some(keep), ..self }
    }

    /// By how much a last use may be later than what is kept of it; with counts each use is noted.
    pub(in crate::store) fn resolution_in_use(&self) -> Duration {
        if self.counts { Duration::ZERO } else { self.resolution }
    }

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
