//! The lifetime of keys: the greatest, and the one that a new key gets.

use std::fmt;
use std::time::Duration;

use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize};

use super::{Field, Sink, Source};
use crate::clock::Timestamp;
use crate::invalid::{Invalid, Problem};
use crate::serial::by_parts;

/// The lifetimes of keys: the greatest one, counted from a key's creation, and that of a
/// new key for which none is requested. An owner and the rules of a store can have one; the tighter
/// holds. Owners and their delegates can't exceed the greatest lifetime, administrators can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Lifetime {
    max: Option<Duration>,
    default: Option<Duration>,
}

impl Lifetime {
    /// No limit, and keys that never expire by default.
    pub const NONE: Self = Self { max: None, default: None };
    /// The longest duration that can be set: 36,525 days.
    pub const LONGEST: Duration = Duration::from_secs(36_525 * 24 * 60 * 60);

    /// Makes a lifetime with a greatest duration and a default, each 1 ms to 36,525 days in whole
    /// milliseconds, or absent.
    ///
    /// # Errors
    /// [`Invalid`] for a duration outside these limits, and for a default over the greatest.
    pub fn new(max: Option<Duration>, default: Option<Duration>) -> Result<Self, Invalid> {
        check("lifetime.max", max, Self::LONGEST)?;
        check("lifetime.default", default, max.unwrap_or(Self::LONGEST))?;
        Ok(Self { max, default })
    }

    /// The greatest lifetime. `None` if there is no such limit.
    #[must_use]
    pub fn max(self) -> Option<Duration> {
        self.max
    }

    /// The lifetime of a new key for which none is requested. `None` for the greatest.
    #[must_use]
    pub fn default_lifetime(self) -> Option<Duration> {
        self.default
    }

    /// Joins two of them: of both durations the shorter holds.
    #[must_use]
    pub fn tighter(self, other: Self) -> Self {
        let max = shorter(self.max, other.max);
        let default = shorter(self.default, other.default);
        Self { max, default: if default.is_some() { shorter(default, max) } else { None } }
    }

    /// Returns the latest expiry of a key of this age. `None` if there is no limit.
    #[must_use]
    pub fn latest_expiry(self, created_at: Timestamp) -> Option<Timestamp> {
        self.max.map(|max| created_at.saturating_add(max))
    }

    /// Returns the expiry of a key that is created at `now` and for which none is requested.
    #[must_use]
    pub fn default_expiry(self, now: Timestamp) -> Option<Timestamp> {
        self.default.or(self.max).map(|time| now.saturating_add(time))
    }
}

fn shorter(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    [a, b].into_iter().flatten().min()
}

fn check(field: &'static str, given: Option<Duration>, longest: Duration) -> Result<(), Invalid> {
    let Some(given) = given else { return Ok(()) };
    if given < Duration::from_millis(1) || given > longest {
        let range =
            Problem::OutOfRange { given: millis(given), min: 1, max: millis(longest), unit: "ms" };
        return Err(Invalid::new(field, range));
    }
    if !given.subsec_nanos().is_multiple_of(1_000_000) {
        let expected = "a whole number of milliseconds";
        return Err(Invalid::new(field, Problem::Malformed { expected }));
    }
    Ok(())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Field for Lifetime {
    const WIDTH: usize = 2;

    fn columns(name: &str, columns: &mut Vec<String>) {
        columns.extend(["max_ms", "default_ms"].map(|part| format!("{name}_{part}")));
    }

    fn put<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        self.max.map(millis).put(sink)?;
        self.default.map(millis).put(sink)
    }

    fn get<S: Source>(name: &'static str, source: &mut S) -> Result<Self, S::Error> {
        let mut next = || -> Result<Option<Duration>, S::Error> {
            let millis: Option<u64> = Field::get(name, source)?;
            Ok(millis.map(Duration::from_millis))
        };
        let (max, default) = (next()?, next()?);
        Self::new(max, default).map_err(|_| source.damaged(name))
    }
}

impl fmt::Display for Lifetime {
    /// Writes both durations in milliseconds, as far as they are set.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |duration: Option<Duration>| {
            duration.map_or("none".into(), |duration| format!("{}ms", millis(duration)))
        };
        write!(f, "max:{},default:{}", shown(self.max), shown(self.default))
    }
}

impl Serialize for Lifetime {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut lifetime = serializer.serialize_struct("Lifetime", 2)?;
        lifetime.serialize_field("max_ms", &self.max.map(millis))?;
        lifetime.serialize_field("default_ms", &self.default.map(millis))?;
        lifetime.end()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LifetimeParts {
    max_ms: Option<u64>,
    default_ms: Option<u64>,
}

impl TryFrom<LifetimeParts> for Lifetime {
    type Error = Invalid;

    fn try_from(parts: LifetimeParts) -> Result<Self, Invalid> {
        let [max, default] =
            [parts.max_ms, parts.default_ms].map(|millis| millis.map(Duration::from_millis));
        Self::new(max, default)
    }
}

by_parts!(Lifetime, LifetimeParts);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(millis: u64) -> Option<Duration> {
        Some(Duration::from_millis(millis))
    }

    #[test]
    fn corners() {
        let longest = Lifetime::LONGEST;
        assert!(Lifetime::new(Some(longest), Some(longest)).is_ok());
        assert!(Lifetime::new(ms(1), ms(1)).is_ok());
        let field = |max, default| Lifetime::new(max, default).unwrap_err().field();
        for bad in
            [Duration::ZERO, longest + Duration::from_millis(1), Duration::from_micros(1_500)]
        {
            assert_eq!(field(Some(bad), None), "lifetime.max");
            assert_eq!(field(None, Some(bad)), "lifetime.default");
        }
        assert_eq!(field(ms(5), ms(6)), "lifetime.default");
        let at = Timestamp::MAX.saturating_sub(Duration::from_millis(1));
        let lifetime = Lifetime::new(ms(5), None).unwrap();
        assert_eq!(lifetime.latest_expiry(at), Some(Timestamp::MAX));
        assert_eq!(lifetime.to_string(), "max:5ms,default:none");
        let shown = serde_json::json!({"max_ms": 5, "default_ms": null});
        assert_eq!(serde_json::to_value(lifetime).unwrap(), shown);
    }

    fn lifetimes() -> impl Strategy<Value = Lifetime> {
        let some = || prop::option::of(1..5_u64);
        (some(), some()).prop_map(|(max, default)| {
            let default = default.map(|default| max.map_or(default, |max| default.min(max)));
            Lifetime::new(max.and_then(ms), default.and_then(ms)).unwrap()
        })
    }

    proptest! {
        /// Joining them allows what each allows, and gives a new key no more than each gives it.
        #[test]
        fn the_tighter_holds(a in lifetimes(), b in lifetimes(), lived in 1..9_u64) {
            let both = a.tighter(b);
            prop_assert_eq!(both, b.tighter(a));
            prop_assert_eq!(Lifetime::new(both.max(), both.default_lifetime()), Ok(both));
            let now = Timestamp::MIN;
            let expiry = now.saturating_add(Duration::from_millis(lived));
            let allows = |lifetime: Lifetime| {
                lifetime.latest_expiry(now).is_none_or(|latest| expiry <= latest)
            };
            prop_assert_eq!(allows(both), allows(a) && allows(b));
            let default = |lifetime: Lifetime| lifetime.default_expiry(now);
            let earliest = [default(a), default(b)].into_iter().flatten().min();
            prop_assert_eq!(default(both), earliest);
        }
    }
}
