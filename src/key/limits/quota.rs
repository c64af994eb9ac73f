//! Quotas: a number of uses, perhaps refilled.

use serde::{Deserialize, Serialize};

use super::{LimitHolder, Period};
use crate::clock::Timestamp;
use crate::id::Version;
use crate::invalid::{Invalid, Problem};
use crate::key::{Field, Sink, Source};
use crate::serial::by_parts;

/// A refill: when a period begins, the quota is brought up to `amount` again. What was left over is
/// not added to it, and what was more than `amount` stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Refill {
    amount: u64,
    period: Period,
}

/// A number of uses, for all processes together.
///
/// A process spends it in leases that it takes out of the database, of at most a sixteenth of what
/// is left or what one request needs. Closing or dropping the store puts back what is left of them;
/// a process that ends without forfeits it. Periods begin at midnight UTC. If the clock was ahead
/// for a while, what was refilled then for the next period isn't refilled once more when it comes.
/// A count of a period further ahead goes on in the current period.
///
/// A quota that is set again keeps the count of the running period: of 100 uses of which 90 are
/// used, 110 are left after it was set to 200, and none after 50. If the period is another one, the
/// count goes on in the period of the new kind that runs then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Quota {
    uses: u64,
    refill: Option<Refill>,
}

/// A quota that runs, and the version of its record at which it was last set, refilled or added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct VersionedQuota {
    /// The quota.
    #[serde(flatten)]
    pub quota: Quota,
    /// The version.
    pub quota_version: Version,
}

/// What is left of a quota, as far as a process knows without reading the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QuotaStatus {
    /// Whose quota it is.
    pub holder: LimitHolder,
    /// The number of uses that are left, after this one.
    pub remaining: u64,
    /// When the quota is refilled; `None` for a quota that never is.
    pub refilled_at: Option<Timestamp>,
}

impl Refill {
    /// Brought up to `amount` uses (1 to 2^40 - 1) at the beginning of each period.
    ///
    /// # Errors
    /// [`Invalid`] outside these limits.
    pub fn new(amount: u64, period: Period) -> Result<Self, Invalid> {
        Ok(Self { amount: counted("quota.refill", amount, 1)?, period })
    }

    /// The number of uses that each period begins with, at least.
    #[must_use]
    pub fn amount(self) -> u64 {
        self.amount
    }

    /// The period of the refill.
    #[must_use]
    pub fn period(self) -> Period {
        self.period
    }
}

impl Quota {
    /// The greatest number of uses.
    pub const MAX_USES: u64 = (1 << 40) - 1;

    /// So many uses (0 to 2^40 - 1) and no more.
    ///
    /// # Errors
    /// [`Invalid`] over the limit.
    pub fn one_time(uses: u64) -> Result<Self, Invalid> {
        Ok(Self { uses: counted("quota.uses", uses, 0)?, refill: None })
    }

    /// So many uses (1 to 2^40 - 1) in each period, the current one included.
    ///
    /// # Errors
    /// [`Invalid`] outside these limits.
    pub fn each(uses: u64, period: Period) -> Result<Self, Invalid> {
        Ok(Self::one_time(uses)?.with_refill(Refill::new(uses, period)?))
    }

    /// With a refill.
    #[must_use]
    pub fn with_refill(self, refill: Refill) -> Self {
        Self { refill: Some(refill), ..self }
    }

    /// The number of uses that it begins with.
    #[must_use]
    pub fn uses(self) -> u64 {
        self.uses
    }

    /// The refill, if there is one.
    #[must_use]
    pub fn refill(self) -> Option<Refill> {
        self.refill
    }

    /// The greatest number of uses that can be left.
    #[must_use]
    pub fn most(self) -> u64 {
        self.uses.max(self.refill.map_or(0, Refill::amount))
    }

    /// Returns whether this quota allows no more than `other`. Refills of different periods don't
    /// compare.
    #[must_use]
    pub fn is_within(self, other: Self) -> bool {
        let refills_less = match (self.refill, other.refill) {
            (None, _) => true,
            (Some(_), None) => false,
            // Weeks and months begin at different days, so of two amounts the rarer is no less.
            (Some(own), Some(other)) => own.period == other.period && own.amount <= other.amount,
        };
        self.uses <= other.uses && refills_less
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RefillParts {
    amount: u64,
    period: Period,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QuotaParts {
    uses: u64,
    refill: Option<Refill>,
}

impl TryFrom<RefillParts> for Refill {
    type Error = Invalid;

    fn try_from(parts: RefillParts) -> Result<Self, Invalid> {
        Self::new(parts.amount, parts.period)
    }
}

impl TryFrom<QuotaParts> for Quota {
    type Error = Invalid;

    fn try_from(parts: QuotaParts) -> Result<Self, Invalid> {
        Ok(Self { refill: parts.refill, ..Self::one_time(parts.uses)? })
    }
}

by_parts!(Refill, RefillParts);
by_parts!(Quota, QuotaParts);

impl Field for Refill {
    const WIDTH: usize = 2;

    fn columns(name: &str, columns: &mut Vec<String>) {
        columns.extend([name.to_owned(), format!("{name}_period")]);
    }

    fn put<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        self.amount.put(sink)?;
        self.period.put(sink)
    }

    fn get<S: Source>(name: &'static str, source: &mut S) -> Result<Self, S::Error> {
        let (amount, period) = (Field::get(name, source)?, Field::get(name, source)?);
        Self::new(amount, period).map_err(|_| source.damaged(name))
    }
}

impl Field for VersionedQuota {
    const WIDTH: usize = 2 + Refill::WIDTH;

    fn columns(name: &str, columns: &mut Vec<String>) {
        columns.push(format!("{name}_uses"));
        Refill::columns(&format!("{name}_refill"), columns);
        columns.push(format!("{name}_version"));
    }

    fn put<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        self.quota.uses.put(sink)?;
        self.quota.refill.put(sink)?;
        self.quota_version.put(sink)
    }

    fn get<S: Source>(name: &'static str, source: &mut S) -> Result<Self, S::Error> {
        let uses = Field::get(name, source)?;
        let refill = Field::get(name, source)?;
        let quota_version = Field::get(name, source)?;
        let quota = Quota::one_time(uses).map_err(|_| source.damaged(name))?;
        Ok(Self { quota: Quota { refill, ..quota }, quota_version })
    }
}

pub(super) fn counted(field: &'static str, given: u64, min: u64) -> Result<u64, Invalid> {
    let max = Quota::MAX_USES;
    if (min..=max).contains(&given) {
        Ok(given)
    } else {
        Err(Invalid::new(field, Problem::OutOfRange { given, min, max, unit: "" }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners() {
        assert!(Quota::one_time(0).is_ok() && Quota::one_time(Quota::MAX_USES).is_ok());
        assert_eq!(Quota::one_time(Quota::MAX_USES + 1).unwrap_err().field(), "quota.uses");
        assert_eq!(Quota::each(0, Period::Day).unwrap_err().field(), "quota.refill");
        assert!(Refill::new(Quota::MAX_USES + 1, Period::Day).is_err());
    }
}
