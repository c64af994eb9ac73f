//! The limits of a key or an owner together.

use serde::Serialize;

use super::{Networks, Rate, VersionedQuota};
use crate::clock::Timestamp;
use crate::key::{Field, SetBy, Sink, Source};

/// A limit, and who set it: what an administrator has set, an owner may tighten, never loosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Limit<T> {
    /// The limit.
    pub value: T,
    /// The role that set it.
    pub by: SetBy,
}

/// The limits of a key, or of all keys of an owner together. An absent one doesn't limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// No token is accepted before this moment.
    pub not_before: Option<Limit<Timestamp>>,
    /// The networks from which tokens are accepted.
    pub networks: Option<Limit<Networks>>,
    /// The rate of use.
    pub rate: Option<Limit<Rate>>,
    /// The number of uses in all, or in each day, week or month.
    pub quota: Option<Limit<VersionedQuota>>,
}

impl Limits {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether each limit of `other` on addresses, rate and number of uses is here too, and at
    /// least as tight. When a key begins is not compared: a key that begins later is no wider.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        fn holds<T>(
            own: Option<&Limit<T>>,
            other: Option<&Limit<T>>,
            is_within: fn(&T, &T) -> bool,
        ) -> bool {
            other.is_none_or(|other| own.is_some_and(|own| is_within(&own.value, &other.value)))
        }
        holds(self.networks.as_ref(), other.networks.as_ref(), Networks::is_within)
            && holds(self.rate.as_ref(), other.rate.as_ref(), |own, other| own.is_within(*other))
            && holds(self.quota.as_ref(), other.quota.as_ref(), |own, other| {
                own.quota.is_within(other.quota)
            })
    }
}

impl<T: Field> Field for Limit<T> {
    const WIDTH: usize = T::WIDTH + SetBy::WIDTH;

    fn columns(name: &str, columns: &mut Vec<String>) {
        T::columns(name, columns);
        columns.push(format!("{name}_by"));
    }

    fn put<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        self.value.put(sink)?;
        self.by.put(sink)
    }

    fn get<S: Source>(name: &'static str, source: &mut S) -> Result<Self, S::Error> {
        Ok(Self { value: Field::get(name, source)?, by: Field::get(name, source)? })
    }
}

/// First a flag that says whether there is a limit at all: most records have none, and a reader
/// that sees the flag need not look at the rest.
impl Field for Limits {
    const WIDTH: usize = bool::WIDTH
        + Limit::<Timestamp>::WIDTH
        + Limit::<Networks>::WIDTH
        + Limit::<Rate>::WIDTH
        + Limit::<VersionedQuota>::WIDTH;

    fn columns(_: &str, columns: &mut Vec<String>) {
        columns.push("limited".into());
        Limit::<Timestamp>::columns("not_before", columns);
        Limit::<Networks>::columns("networks", columns);
        Limit::<Rate>::columns("rate", columns);
        Limit::<VersionedQuota>::columns("quota", columns);
    }

    fn put<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        let Self { not_before, networks, rate, quota } = self;
        let is_limited = !self.is_empty();
        is_limited.put(sink)?;
        if is_limited || S::HAS_PLACES {
            not_before.put(sink)?;
            networks.put(sink)?;
            rate.put(sink)?;
            quota.put(sink)?;
        }
        Ok(())
    }

    fn get<S: Source>(_: &'static str, source: &mut S) -> Result<Self, S::Error> {
        let is_limited = Field::get("limited", source)?;
        let limits = if is_limited || S::HAS_PLACES {
            Self {
                not_before: Field::get("not_before", source)?,
                networks: Field::get("networks", source)?,
                rate: Field::get("rate", source)?,
                quota: Field::get("quota", source)?,
            }
        } else {
            Self::default()
        };
        // A scan goes by the flag alone.
        if limits.is_empty() == is_limited { Err(source.damaged("limited")) } else { Ok(limits) }
    }
}

impl Field for Box<Limits> {
    const WIDTH: usize = Limits::WIDTH;

    fn columns(name: &str, columns: &mut Vec<String>) {
        Limits::columns(name, columns);
    }

    fn put<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        Limits::put(self, sink)
    }

    fn get<S: Source>(name: &'static str, source: &mut S) -> Result<Self, S::Error> {
        Limits::get(name, source).map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::id::Version;
    use crate::key::{Period, Quota};

    fn by<T>(by: SetBy, value: T) -> Option<Limit<T>> {
        Some(Limit { value, by })
    }

    fn all() -> Limits {
        let quota = Quota::each(100, Period::Month).unwrap();
        Limits {
            not_before: by(SetBy::Owner, Timestamp::MIN),
            networks: by(SetBy::Administrator, "192.0.2.0/24".parse().unwrap()),
            rate: by(SetBy::Administrator, Rate::new(10, Duration::from_secs(1)).unwrap()),
            quota: by(SetBy::Owner, VersionedQuota { quota, quota_version: Version::new(3) }),
        }
    }

    #[test]
    fn shown_as_plain_json() {
        let shown = json!({
            "not_before": {"value": "1970-01-01T00:00:00Z", "by": "owner"},
            "networks": {"value": ["192.0.2.0/24"], "by": "administrator"},
            "rate": {"value": {"count": 10, "per_ms": 1000, "burst": 10}, "by": "administrator"},
            "quota": {
                "value": {"uses": 100, "refill": {"amount": 100, "period": "month"}, "quota_version": 3},
                "by": "owner",
            },
        });
        assert_eq!(serde_json::to_value(all()).unwrap(), shown);
        let none = json!({"not_before": null, "networks": null, "rate": null, "quota": null});
        assert_eq!(serde_json::to_value(Limits::default()).unwrap(), none);
    }

    #[test]
    fn within_means_that_no_limit_is_missing_or_looser() {
        let (all, none) = (all(), Limits::default());
        assert!(none.is_within(&none) && all.is_within(&none) && all.is_within(&all));
        let rate = Rate::new(11, Duration::from_secs(1)).unwrap().with_burst(10).unwrap();
        let run = |quota| VersionedQuota { quota, quota_version: Version::FIRST };
        for (edit, is_within) in [
            (Limits { not_before: None, ..all.clone() }, true),
            (Limits { networks: None, ..all.clone() }, false),
            (Limits { rate: None, ..all.clone() }, false),
            (Limits { quota: None, ..all.clone() }, false),
            (
                Limits { networks: by(SetBy::Owner, "192.0.2.7".parse().unwrap()), ..all.clone() },
                true,
            ),
            (
                Limits {
                    networks: by(SetBy::Owner, "192.0.2.0/23".parse().unwrap()),
                    ..all.clone()
                },
                false,
            ),
            (Limits { rate: by(SetBy::Owner, rate), ..all.clone() }, false),
            (
                Limits {
                    quota: by(SetBy::Owner, run(Quota::one_time(100).unwrap())),
                    ..all.clone()
                },
                true,
            ),
            (
                Limits {
                    quota: by(SetBy::Owner, run(Quota::one_time(101).unwrap())),
                    ..all.clone()
                },
                false,
            ),
        ] {
            assert_eq!(edit.is_within(&all), is_within, "{edit:?}");
        }
    }
}
