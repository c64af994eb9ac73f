//! The options of opening.

use std::time::Duration;

use crate::backend::Sharing;
use crate::backend::file_system::Network;
use crate::invalid::{Invalid, Problem};

/// The options of opening a SQLite database.
#[derive(Clone, Copy, Debug)]
pub struct SqliteOptions {
    pub(super) sharing: Sharing,
    pub(super) busy_timeout: Duration,
    pub(super) synchronous: Synchronous,
    pub(super) network: Network,
}

/// When a commit counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Synchronous {
    /// When it is on stable storage.
    Full,
    /// When the operating system has it; for tests, which make thousands of databases.
    #[cfg(any(test, feature = "testing"))]
    Off,
}

impl SqliteOptions {
    /// The default of the greatest age of what a sharing process knows: 1 second.
    pub const DEFAULT_STALENESS: Duration = Duration::from_secs(1);
    /// The smallest bound of sharing: 50 ms.
    pub const MIN_STALENESS: Duration = Duration::from_millis(50);
    /// The greatest bound of sharing: 1 hour.
    pub const MAX_STALENESS: Duration = Duration::from_secs(3600);
    /// The default time that a call waits for another process: 5 seconds.
    pub const DEFAULT_BUSY_TIMEOUT: Duration = Duration::from_secs(5);
    /// The longest that a call may wait for another process: 1 hour.
    pub const MAX_BUSY_TIMEOUT: Duration = Duration::from_secs(3600);

    /// This process alone: a second opener is refused. The default.
    #[must_use]
    pub fn exclusive() -> Self {
        Self {
            sharing: Sharing::Exclusive,
            busy_timeout: Self::DEFAULT_BUSY_TIMEOUT,
            synchronous: Synchronous::Full,
            network: Network::Refused,
        }
    }

    /// Opens it beside other processes of the same host that open it so too. A commit of one
    /// process is visible in the others within `max_staleness`:
    /// [`DEFAULT_STALENESS`](Self::DEFAULT_STALENESS) is a good value.
    ///
    /// # Errors
    /// [`Invalid`] for a `max_staleness` under 50 ms or over 1 hour.
    pub fn shared(max_staleness: Duration) -> Result<Self, Invalid> {
        within("max_staleness", max_staleness, Self::MIN_STALENESS, Self::MAX_STALENESS)?;
        Ok(Self { sharing: Sharing::Shared { max_staleness }, ..Self::exclusive() })
    }

    /// Opens a database on a network file system too: NFS, SMB, 9p, AFS, Ceph, Lustre. There the
    /// locks may not keep a process of another host out, and a sync may not be one: both lose commits.
    #[must_use]
    pub fn allow_network_file_system(mut self) -> Self {
        self.network = Network::Allowed;
        self
    }

    /// Sets how long a call waits for another process that holds the database, before it gives up
    /// with `TimedOut`. Zero gives up at once.
    ///
    /// # Errors
    /// [`Invalid`] over 1 hour.
    pub fn busy_timeout(self, busy_timeout: Duration) -> Result<Self, Invalid> {
        within("busy timeout", busy_timeout, Duration::ZERO, Self::MAX_BUSY_TIMEOUT)?;
        Ok(Self { busy_timeout, ..self })
    }

    /// Acknowledges before anything is on stable storage: a power cut loses what was committed.
    #[cfg(any(test, feature = "testing"))]
    #[doc(hidden)]
    #[must_use]
    pub fn sync_off_for_tests(self) -> Self {
        Self { synchronous: Synchronous::Off, ..self }
    }
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self::exclusive()
    }
}

fn within(
    field: &'static str,
    given: Duration,
    min: Duration,
    max: Duration,
) -> Result<(), Invalid> {
    if (min..=max).contains(&given) {
        return Ok(());
    }
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (given, min, max) = (millis(given), millis(min), millis(max));
    Err(Invalid::new(field, Problem::OutOfRange { given, min, max, unit: "ms" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_bounds() {
        let millis = Duration::from_millis;
        for (bound, accepted) in
            [(millis(49), false), (millis(50), true), (millis(3_600_000), true)]
        {
            assert_eq!(SqliteOptions::shared(bound).is_ok(), accepted, "{bound:?}");
        }
        assert!(SqliteOptions::shared(millis(3_600_001)).is_err());
        let invalid = SqliteOptions::shared(millis(10)).unwrap_err();
        assert_eq!(invalid.to_string(), "max_staleness: 10 ms is outside 50 to 3600000 ms");

        let busy = |timeout| SqliteOptions::exclusive().busy_timeout(timeout);
        assert!(busy(Duration::ZERO).is_ok() && busy(SqliteOptions::MAX_BUSY_TIMEOUT).is_ok());
        assert!(busy(SqliteOptions::MAX_BUSY_TIMEOUT + millis(1)).is_err());
        assert!(busy(Duration::MAX).is_err());
    }
}
