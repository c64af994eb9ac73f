//! Rates: a number of uses in a time, with a burst.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

use super::LimitHolder;
use crate::invalid::{Invalid, Problem};
use crate::key::{Field, Sink, Source};
use crate::serial::by_parts;

const FIELD: &str = "rate";

/// So many uses in a duration, evenly, and a burst of so many at once: the generic cell rate
/// algorithm (ITU-T I.371), by which a use is allowed whenever the burst isn't used up, and every
/// `per / count` one more may be made.
///
/// Counted by each process for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    count: NonZeroU32,
    per: Duration,
    burst: NonZeroU32,
}

impl Rate {
    /// The greatest count, and the greatest burst.
    pub const MAX_COUNT: u32 = 1_000_000;
    /// The longest duration: 366 days.
    pub const MAX_PER: Duration = Duration::from_secs(366 * 24 * 60 * 60);

    /// `count` uses (1 to a million) in each `per` (1 ms to 366 days, whole milliseconds), and as
    /// many at once.
    ///
    /// # Errors
    /// [`Invalid`] outside these limits.
    pub fn new(count: u32, per: Duration) -> Result<Self, Invalid> {
        let count = counted("rate.count", count)?;
        let range = Problem::OutOfRange {
            given: u64::try_from(per.as_millis()).unwrap_or(u64::MAX),
            min: 1,
            max: millis(Self::MAX_PER),
            unit: "ms",
        };
        if per < Duration::from_millis(1) || per > Self::MAX_PER {
            return Err(Invalid::new("rate.per", range));
        }
        if !per.subsec_nanos().is_multiple_of(1_000_000) {
            let expected = "a whole number of milliseconds";
            return Err(Invalid::new("rate.per", Problem::Malformed { expected }));
        }
        Ok(Self { count, per, burst: count })
    }

    /// Makes a rate of numbers that were checked before.
    pub(super) const fn of_parts(count: NonZeroU32, per: Duration, burst: NonZeroU32) -> Self {
        Self { count, per, burst }
    }

    /// With another burst: how many uses may come at once, 1 to a million.
    ///
    /// # Errors
    /// [`Invalid`] outside these limits.
    pub fn with_burst(self, burst: u32) -> Result<Self, Invalid> {
        Ok(Self { burst: counted("rate.burst", burst)?, ..self })
    }

    /// The number of uses in each [`per`](Self::per).
    #[must_use]
    #[inline]
    pub fn count(self) -> u32 {
        self.count.get()
    }

    /// The duration in which so many uses are allowed.
    #[must_use]
    #[inline]
    pub fn per(self) -> Duration {
        self.per
    }

    /// The number of uses that may come at once.
    #[must_use]
    #[inline]
    pub fn burst(self) -> u32 {
        self.burst.get()
    }

    /// Whether whatever this rate allows, `other` allows too.
    #[must_use]
    pub fn is_within(self, other: Self) -> bool {
        let faster = u64::from(self.count()) * millis(other.per)
            > u64::from(other.count()) * millis(self.per);
        !faster && self.burst <= other.burst
    }
}

impl Field for Rate {
    const WIDTH: usize = 3;

    fn columns(name: &str, columns: &mut Vec<String>) {
        columns.extend(["count", "per_ms", "burst"].map(|part| format!("{name}_{part}")));
    }

    fn put<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        self.count().put(sink)?;
        millis(self.per).put(sink)?;
        self.burst().put(sink)
    }

    fn get<S: Source>(name: &'static str, source: &mut S) -> Result<Self, S::Error> {
        let count = Field::get(name, source)?;
        let per = Duration::from_millis(Field::get(name, source)?);
        let burst = Field::get(name, source)?;
        let rate = Self::new(count, per).and_then(|rate| rate.with_burst(burst));
        rate.map_err(|_| source.damaged(name))
    }
}

impl Serialize for Rate {
    /// `{"count": 10, "per_ms": 1000, "burst": 10}`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut rate = serializer.serialize_struct(FIELD, 3)?;
        rate.serialize_field("count", &self.count)?;
        rate.serialize_field("per_ms", &millis(self.per))?;
        rate.serialize_field("burst", &self.burst)?;
        rate.end()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RateParts {
    count: u32,
    per_ms: u64,
    burst: Option<u32>,
}

impl TryFrom<RateParts> for Rate {
    type Error = Invalid;

    fn try_from(RateParts { count, per_ms, burst }: RateParts) -> Result<Self, Invalid> {
        let rate = Self::new(count, Duration::from_millis(per_ms))?;
        burst.map_or(Ok(rate), |burst| rate.with_burst(burst))
    }
}

by_parts!(Rate, RateParts);

fn counted(field: &'static str, given: u32) -> Result<NonZeroU32, Invalid> {
    let max = Rate::MAX_COUNT;
    NonZeroU32::new(given).filter(|count| count.get() <= max).ok_or_else(|| {
        Invalid::new(
            field,
            Problem::OutOfRange { given: given.into(), min: 1, max: max.into(), unit: "" },
        )
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A rate, and how much of it is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RateStatus {
    /// Whose rate it is.
    pub holder: LimitHolder,
    /// The rate.
    pub rate: Rate,
    /// The number of uses that may still come at once, after this one.
    pub remaining: u32,
    /// The time until that is the whole burst again, in whole milliseconds.
    pub reset_after: Duration,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(count: u32, per_ms: u64, burst: u32) -> Rate {
        Rate::new(count, Duration::from_millis(per_ms)).unwrap().with_burst(burst).unwrap()
    }

    #[test]
    fn corners() {
        let second = Duration::from_secs(1);
        assert_eq!(Rate::new(7, second).unwrap().burst(), 7);
        for (count, per, field) in [
            (0, second, "rate.count"),
            (1_000_001, second, "rate.count"),
            (1, Duration::ZERO, "rate.per"),
            (1, Duration::from_micros(1_500), "rate.per"),
            (1, Rate::MAX_PER + Duration::from_millis(1), "rate.per"),
            (1, Duration::MAX, "rate.per"),
        ] {
            assert_eq!(Rate::new(count, per).unwrap_err().field(), field);
        }
        let longest = Rate::new(1_000_000, Rate::MAX_PER).unwrap();
        assert_eq!(longest.with_burst(0).unwrap_err().field(), "rate.burst");
        assert!(longest.with_burst(1_000_001).is_err() && longest.with_burst(1_000_000).is_ok());
    }

    #[test]
    fn shown_in_milliseconds() {
        let shown = serde_json::to_value(rate(10, 1_000, 5)).unwrap();
        assert_eq!(shown, serde_json::json!({"count": 10, "per_ms": 1000, "burst": 5}));
    }

    /// Counts the uses that a rate allows a caller that always tries, in so many milliseconds.
    fn allowed(rate: Rate, millis: u64) -> u64 {
        u64::from(rate.burst()) + millis * u64::from(rate.count()) / (rate.per().as_millis() as u64)
    }

    proptest! {
        #[test]
        fn within_is_never_more(
            a in (1..50_u32, 1..50_u64, 1..9_u32), b in (1..50_u32, 1..50_u64, 1..9_u32),
        ) {
            let (a, b) = (rate(a.0, a.1, a.2), rate(b.0, b.1, b.2));
            let times = [0, 1, 7, 1_000, 1_000_000];
            if a.is_within(b) {
                prop_assert!(times.iter().all(|t| allowed(a, *t) <= allowed(b, *t)));
            } else {
                prop_assert!(times.iter().any(|t| allowed(a, *t) > allowed(b, *t)));
            }
        }
    }
}
