//! Wall time and monotonic time, injected into a store as a [`Clock`].

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::invalid::{Invalid, Problem};
use crate::serial::as_text;

/// A moment of wall time, in whole milliseconds since 1970-01-01T00:00:00Z. The greatest lies at
/// the end of the year 9999, the last year that RFC 3339 can write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const MIN: Self = Self(0);
    /// 9999-12-31T23:59:59.999Z.
    pub const MAX: Self = Self(253_402_300_799_999);

    /// Creates a timestamp from milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// [`Invalid`] if `millis` is greater than that of [`Timestamp::MAX`].
    #[inline]
    pub fn from_millis(millis: u64) -> Result<Self, Invalid> {
        if millis <= Self::MAX.0 {
            Ok(Self(millis))
        } else {
            Err(Invalid::new(
                "timestamp",
                Problem::OutOfRange { given: millis, min: 0, max: Self::MAX.0, unit: "ms" },
            ))
        }
    }

    /// Returns the milliseconds since the Unix epoch.
    #[must_use]
    pub fn as_millis(self) -> u64 {
        self.0
    }

    /// Adds `duration`, cut to whole milliseconds. Saturates at [`Timestamp::MAX`].
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(millis).min(Self::MAX.0))
    }

    /// Subtracts `duration`, cut to whole milliseconds. Saturates at [`Timestamp::MIN`].
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(millis))
    }

    /// Returns the time from `earlier` to this moment, or zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Clamps a time since the Unix epoch to the range: a wrong clock must not make a call fail.
    #[inline]
    fn clamped(since: Duration) -> Self {
        let millis = since.as_secs().saturating_mul(1_000);
        Self::clamped_millis(millis.saturating_add(since.subsec_millis().into()))
    }

    /// Creates a timestamp from milliseconds since the Unix epoch. Saturates at [`Timestamp::MAX`].
    #[inline]
    pub(crate) fn clamped_millis(millis: u64) -> Self {
        Self(millis.min(Self::MAX.0))
    }
}

impl TryFrom<SystemTime> for Timestamp {
    type Error = Invalid;

    /// Converts a time of the years 1970 to 9999, cut to whole milliseconds.
    fn try_from(time: SystemTime) -> Result<Self, Invalid> {
        let outside =
            Invalid::new("timestamp", Problem::Malformed { expected: "in the years 1970 to 9999" });
        let since = time.duration_since(UNIX_EPOCH).map_err(|_| outside.clone())?;
        let millis = u64::try_from(since.as_millis()).map_err(|_| outside)?;
        Self::from_millis(millis)
    }
}

impl From<Timestamp> for SystemTime {
    fn from(at: Timestamp) -> Self {
        UNIX_EPOCH + Duration::from_millis(at.0)
    }
}

impl TryFrom<OffsetDateTime> for Timestamp {
    type Error = Invalid;

    /// Converts a time of the years 1970 to 9999, cut to whole milliseconds.
    fn try_from(time: OffsetDateTime) -> Result<Self, Invalid> {
        let millis = time.unix_timestamp_nanos().div_euclid(1_000_000);
        match u64::try_from(millis) {
            Ok(millis) => Self::from_millis(millis),
            Err(_) => Err(Invalid::new(
                "timestamp",
                Problem::Malformed { expected: "in the years 1970 to 9999" },
            )),
        }
    }
}

impl From<Timestamp> for OffsetDateTime {
    fn from(at: Timestamp) -> Self {
        // The range of `Timestamp` lies within that of `OffsetDateTime`.
        Self::from_unix_timestamp_nanos(i128::from(at.0) * 1_000_000).unwrap_or(Self::UNIX_EPOCH)
    }
}

impl fmt::Display for Timestamp {
    /// Writes RFC 3339 in UTC, for example `2026-01-31T12:00:00Z` or `2026-01-31T12:00:00.25Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = OffsetDateTime::from(*self).format(&Rfc3339).map_err(|_| fmt::Error)?;
        f.pad(&text)
    }
}

impl FromStr for Timestamp {
    type Err = Invalid;

    /// Parses RFC 3339 with any UTC offset. Cuts to whole milliseconds.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        OffsetDateTime::parse(text, &Rfc3339)
            .map_err(|_| {
                Invalid::new(
                    "timestamp",
                    Problem::Malformed { expected: "an RFC 3339 date and time" },
                )
            })?
            .try_into()
    }
}

as_text!(Timestamp);

/// A source of time for a store.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Returns wall time, by which keys and tokens expire. Two readings may be equal, and a later
    /// one may be smaller.
    fn now(&self) -> Timestamp;

    /// Returns the time since a fixed moment of this process. It never steps back, and runs on while
    /// the machine sleeps. The store measures staleness with it, and how far wall time has run.
    fn monotonic(&self) -> Duration;
}

/// The operating system's clocks.
///
/// On Linux wall time is read from `CLOCK_REALTIME_COARSE`, the time of the kernel's last tick.
/// The time is 1 to 10 milliseconds old at most. Every verification reads it, and reading the exact
/// clock costs five times as much. A store uses this one clock for all wall time, so no effect is
/// dated before its cause. Monotonic time is `CLOCK_BOOTTIME`, which runs on while the machine
/// sleeps. On other platforms both are the standard library's.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock(KernelClock<Kernel>);

/// The clock that the kernel's readings make.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KernelClock<K> {
    kernel: K,
    origin: Duration,
}

/// A reading of the kernel's clocks.
pub(crate) trait ReadClocks: fmt::Debug + Send + Sync + 'static {
    /// Reads a clock, since a fixed moment of its own.
    fn read(&self, id: ClockId) -> Duration;
}

/// The kernel's clocks, of which [`KernelClock`] chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClockId {
    /// Wall time as of the kernel's last tick.
    RealtimeCoarse,
    /// The time since the machine was started, sleep included.
    Boottime,
    /// The time since the machine was started, sleep left out.
    #[cfg(test)]
    Monotonic,
}

impl<K: ReadClocks> KernelClock<K> {
    pub(crate) fn new(kernel: K) -> Self {
        let origin = kernel.read(ClockId::Boottime);
        Self { kernel, origin }
    }
}

impl<K: ReadClocks> Clock for KernelClock<K> {
    #[inline]
    fn now(&self) -> Timestamp {
        Timestamp::clamped(self.kernel.read(ClockId::RealtimeCoarse))
    }

    #[inline]
    fn monotonic(&self) -> Duration {
        self.kernel.read(ClockId::Boottime).saturating_sub(self.origin)
    }
}

impl SystemClock {
    /// Creates a clock whose monotonic time starts now.
    #[must_use]
    pub fn new() -> Self {
        Self(KernelClock::new(Kernel::new()))
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[inline]
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    #[inline]
    fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }
}

/// The clocks of the operating system.
#[cfg(target_os = "linux")]
#[derive(Clone, Copy, Debug)]
struct Kernel;

#[cfg(target_os = "linux")]
impl Kernel {
    const fn new() -> Self {
        Self
    }
}

#[cfg(target_os = "linux")]
impl ReadClocks for Kernel {
    #[inline]
    fn read(&self, id: ClockId) -> Duration {
        // A time before the epoch counts as zero.
        Duration::try_from(rustix::time::clock_gettime(kernel_id(id))).unwrap_or_default()
    }
}

#[cfg(target_os = "linux")]
#[inline]
const fn kernel_id(id: ClockId) -> rustix::time::ClockId {
    use rustix::time::ClockId as Id;
    match id {
        ClockId::RealtimeCoarse => Id::RealtimeCoarse,
        ClockId::Boottime => Id::Boottime,
        #[cfg(test)]
        ClockId::Monotonic => Id::Monotonic,
    }
}

/// The clocks of the standard library.
#[cfg(not(target_os = "linux"))]
#[derive(Clone, Copy, Debug)]
struct Kernel(std::time::Instant);

#[cfg(not(target_os = "linux"))]
impl Kernel {
    fn new() -> Self {
        Self(std::time::Instant::now())
    }
}

#[cfg(not(target_os = "linux"))]
impl ReadClocks for Kernel {
    fn read(&self, id: ClockId) -> Duration {
        match id {
            ClockId::RealtimeCoarse => {
                SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
            }
            _ => self.0.elapsed(),
        }
    }
}

/// A clock that a program sets by hand, for tests and demonstrations.
#[derive(Debug)]
pub struct ManualClock {
    // `SeqCst` throughout: with a weaker ordering a test's threads could see the two times move in
    // different orders. Speed is no concern here.
    wall: AtomicU64,
    monotonic: AtomicU64,
}

impl ManualClock {
    /// Creates a clock whose wall time is `now` and whose monotonic time is zero.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self { wall: AtomicU64::new(now.0), monotonic: AtomicU64::new(0) }
    }

    /// Moves wall time and monotonic time forward.
    pub fn advance(&self, by: Duration) {
        // Monotonic time first: a store reads wall time before it, and would take the other order
        // for a clock that jumps ahead.
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.monotonic.fetch_add(nanos, Ordering::SeqCst);
        let later = |now| Some(Timestamp(now).saturating_add(by).0);
        let _ = self.wall.fetch_update(Ordering::SeqCst, Ordering::SeqCst, later);
    }

    /// Sets wall time, forward or back. Monotonic time stays.
    pub fn set(&self, now: Timestamp) {
        self.wall.store(now.0, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.wall.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.monotonic.load(Ordering::SeqCst))
    }
}

/// A kernel whose clocks a test moves, and which can sleep.
#[cfg(test)]
#[derive(Clone, Debug, Default)]
pub(crate) struct FakeKernel(std::sync::Arc<FakeClocks>);

#[cfg(test)]
#[derive(Debug, Default)]
struct FakeClocks {
    wall: AtomicU64,
    awake: AtomicU64,
    asleep: AtomicU64,
}

#[cfg(test)]
impl FakeKernel {
    pub(crate) fn set_wall(&self, now: Timestamp) {
        self.0.wall.store(now.as_millis(), Ordering::SeqCst);
    }

    pub(crate) fn run(&self, millis: u64) {
        self.0.wall.fetch_add(millis, Ordering::SeqCst);
        self.0.awake.fetch_add(millis, Ordering::SeqCst);
    }

    /// Lets the machine sleep: the monotonic clock stands still.
    pub(crate) fn sleep(&self, millis: u64) {
        self.0.wall.fetch_add(millis, Ordering::SeqCst);
        self.0.asleep.fetch_add(millis, Ordering::SeqCst);
    }
}

#[cfg(test)]
impl ReadClocks for FakeKernel {
    fn read(&self, id: ClockId) -> Duration {
        let FakeClocks { wall, awake, asleep } = &*self.0;
        let [wall, awake, asleep] = [wall, awake, asleep].map(|clock| clock.load(Ordering::SeqCst));
        Duration::from_millis(match id {
            ClockId::RealtimeCoarse => wall,
            ClockId::Boottime => awake + asleep,
            ClockId::Monotonic => awake,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn monotonic_time_runs_on_while_the_machine_sleeps() {
        let kernel = FakeKernel::default();
        kernel.run(7);
        let clock = KernelClock::new(kernel.clone());
        kernel.run(1_000);
        kernel.sleep(60_000);
        assert_eq!(kernel.read(ClockId::Monotonic), Duration::from_millis(1_007));
        assert_eq!(clock.monotonic(), Duration::from_millis(61_000));
        assert_eq!(clock.now(), Timestamp(61_007));
    }

    /// On a machine that has slept, the other clock is behind. On one that hasn't, both show the same,
    /// so the kernel's numbers of its clocks tell which one is read.
    #[cfg(target_os = "linux")]
    #[test]
    fn the_system_clock_reads_the_clock_that_runs_on_in_sleep() {
        const BOOTTIME: u32 = 7;
        const REALTIME_COARSE: u32 = 5;
        assert_eq!(kernel_id(ClockId::Boottime) as u32, BOOTTIME);
        assert_eq!(kernel_id(ClockId::RealtimeCoarse) as u32, REALTIME_COARSE);
        let kernel = Kernel;
        let clock = SystemClock::new();
        let awake = kernel.read(ClockId::Monotonic);
        assert!(kernel.read(ClockId::Boottime) >= awake);
        let before = kernel.read(ClockId::Boottime);
        let passed = clock.0.origin + clock.monotonic();
        assert!((before..=kernel.read(ClockId::Boottime)).contains(&passed));
    }

    #[test]
    fn text_of_the_corners() {
        assert_eq!(Timestamp::MIN.to_string(), "1970-01-01T00:00:00Z");
        assert_eq!(Timestamp::MAX.to_string(), "9999-12-31T23:59:59.999Z");
        assert!(Timestamp::from_millis(Timestamp::MAX.0 + 1).is_err());
        assert_eq!(
            "2030-01-01T02:00:00+02:00".parse::<Timestamp>().unwrap().to_string(),
            "2030-01-01T00:00:00Z"
        );
        assert!("1969-12-31T23:59:59Z".parse::<Timestamp>().is_err());
        assert!("2030-01-01T00:00:00".parse::<Timestamp>().is_err());
        assert_eq!(Timestamp::clamped(Duration::MAX), Timestamp::MAX);
    }

    /// The kernel's last tick is never ahead of the exact time, and not far behind it.
    #[test]
    fn the_system_clock_tells_the_time() {
        let clock = SystemClock::new();
        let before = Timestamp::try_from(SystemTime::now()).unwrap();
        let now = clock.now();
        let after = Timestamp::try_from(SystemTime::now()).unwrap();
        assert!(now <= after && before.since(now) <= Duration::from_secs(1), "{now}");
    }

    #[test]
    fn a_manual_clock_steps_back_but_its_monotonic_time_does_not() {
        let clock = ManualClock::new(Timestamp(1_000));
        clock.advance(Duration::from_secs(5));
        clock.set(Timestamp(10));
        assert_eq!((clock.now(), clock.monotonic()), (Timestamp(10), Duration::from_secs(5)));
    }

    proptest! {
        #[test]
        fn text_and_back(millis in 0..=Timestamp::MAX.0) {
            let at = Timestamp(millis);
            prop_assert_eq!(at.to_string().parse::<Timestamp>().unwrap(), at);
            prop_assert_eq!(Timestamp::try_from(SystemTime::from(at)).unwrap(), at);
            prop_assert_eq!(Timestamp::try_from(OffsetDateTime::from(at)).unwrap(), at);
        }

        #[test]
        fn parts_of_a_millisecond_are_cut(millis in 0..1_000_000_000_000_u64, nanos in 0..1_000_000_u64) {
            let time = UNIX_EPOCH + Duration::from_millis(millis) + Duration::from_nanos(nanos);
            prop_assert_eq!(Timestamp::try_from(time).unwrap(), Timestamp(millis));
        }
    }
}
