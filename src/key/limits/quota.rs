//! Quotas: a number of uses, perhaps refilled.

use serde::Serialize;
use time::{Date, OffsetDateTime};

use crate::clock::Timestamp;
use crate::id::Version;
use crate::invalid::{Invalid, Problem};
use crate::key::{Field, Sink, Source, words};

/// The period of a refill. Each period begins at midnight UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// Each day.
    Day,
    /// Each Monday, where a week begins by ISO 8601.
    Week,
    /// The first of each month.
    Month,
}

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Quota {
    uses: u64,
    refill: Option<Refill>,
}

/// A quota that runs, and the version of its record at which its count began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct VersionedQuota {
    /// The quota.
    #[serde(flatten)]
    pub quota: Quota,
    /// The version.
    pub quota_version: Version,
}

/// The uses of a quota that are left beside its leases. The backend keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaState {
    /// The version of the quota that is counted.
    pub quota_version: Version,
    /// The number of uses that are neither spent nor leased.
    pub left: u64,
    /// When the period began; for a quota that isn't refilled, [`Timestamp::MIN`].
    pub period: Timestamp,
}

/// Uses taken out of a quota by one process, to be spent there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The version of the quota they were taken out of.
    pub quota_version: Version,
    /// The period for which they were leased.
    pub period: Timestamp,
    /// The number of uses; 0 when less is left than the smallest need.
    pub units: u64,
    /// The number of uses left beside them. It means nothing in a lease that is given back.
    pub left: u64,
    /// The moment from which they are void: the next period begins; `None` for never.
    pub void_from: Option<Timestamp>,
}

impl Period {
    /// The number under which it is stored.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Day => 1,
            Self::Week => 2,
            Self::Month => 3,
        }
    }

    /// Finds the period of a stored number.
    ///
    /// # Errors
    /// [`Invalid`] for an unknown number.
    pub fn from_number(number: u8) -> Result<Self, Invalid> {
        match number {
            1 => Ok(Self::Day),
            2 => Ok(Self::Week),
            3 => Ok(Self::Month),
            _ => {
                let problem =
                    Problem::OutOfRange { given: number.into(), min: 1, max: 3, unit: "" };
                Err(Invalid::new("quota.every", problem))
            }
        }
    }

    /// When the period of a moment began.
    #[must_use]
    pub fn start_of(self, at: Timestamp) -> Timestamp {
        let date = OffsetDateTime::from(at).date();
        let days = match self {
            Self::Day => 0,
            Self::Week => date.weekday().number_days_from_monday(),
            Self::Month => date.day() - 1,
        };
        // 1970 begins with a Thursday.
        midnight(date.checked_sub(time::Duration::days(days.into()))).unwrap_or(Timestamp::MIN)
    }

    /// When the next period begins; `None` past the end of time.
    #[must_use]
    pub fn start_after(self, at: Timestamp) -> Option<Timestamp> {
        let date = OffsetDateTime::from(at).date();
        let days = match self {
            Self::Day => 1,
            Self::Week => 7 - date.weekday().number_days_from_monday(),
            Self::Month => date.month().length(date.year()) - date.day() + 1,
        };
        midnight(date.checked_add(time::Duration::days(days.into())))
    }
}

impl Period {
    /// Returns when the period began in which a count goes on at `now`, if it was counted last in
    /// the period that began at `counted`.
    ///
    /// That is the current period, unless the clock was in the next one before: what was refilled
    /// for that isn't refilled once more when it comes. A period further ahead was never near, so
    /// the clock was wrong, and the count doesn't wait for it.
    #[must_use]
    pub fn counted_at(self, counted: Timestamp, now: Timestamp) -> Timestamp {
        if self.start_after(now) == Some(counted) { counted } else { self.start_of(now) }
    }
}

words! { Period { Day = 1, "day"; Week = 2, "week"; Month = 3, "month"; } }

fn midnight(date: Option<Date>) -> Option<Timestamp> {
    Timestamp::try_from(date?.midnight().assume_utc()).ok()
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

impl Field for QuotaState {
    const WIDTH: usize = 3;

    fn columns(_: &str, columns: &mut Vec<String>) {
        columns.extend(["quota_version", "quota_left", "quota_period"].map(String::from));
    }

    fn put<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        let Self { quota_version, left, period } = self;
        quota_version.put(sink)?;
        left.put(sink)?;
        period.put(sink)
    }

    fn get<S: Source>(_: &'static str, source: &mut S) -> Result<Self, S::Error> {
        Ok(Self {
            quota_version: Field::get("quota_version", source)?,
            left: Field::get("quota_left", source)?,
            period: Field::get("quota_period", source)?,
        })
    }
}

fn counted(field: &'static str, given: u64, min: u64) -> Result<u64, Invalid> {
    let max = Quota::MAX_USES;
    if (min..=max).contains(&given) {
        Ok(given)
    } else {
        Err(Invalid::new(field, Problem::OutOfRange { given, min, max, unit: "" }))
    }
}

impl VersionedQuota {
    /// Computes its state at `now` from the last one. A clock that steps back refills nothing.
    #[must_use]
    pub fn state_at(self, before: Option<QuotaState>, now: Timestamp) -> QuotaState {
        let Self { quota, quota_version } = self;
        let period = quota.refill.map_or(Timestamp::MIN, |refill| refill.period.start_of(now));
        match before.filter(|before| before.quota_version == quota_version) {
            None => QuotaState { quota_version, left: quota.uses, period },
            Some(before) => {
                // An owner may have tightened it meanwhile.
                let left = before.left.min(quota.most());
                let refilled = quota.refill.filter(|_| period > before.period);
                QuotaState {
                    quota_version,
                    left: left.max(refilled.map_or(0, Refill::amount)),
                    period: quota
                        .refill
                        .map_or(period, |refill| refill.period.counted_at(before.period, now)),
                }
            }
        }
    }

    /// Takes a lease of a sixteenth of what is left, or of what all waiting callers need
    /// (`needed`), if that is more. If less than `needed` is left, `least` counts in its place:
    /// what one of those callers needs. If even that isn't left, the lease is empty: units that no
    /// caller can spend stay where all callers find them.
    #[must_use]
    pub fn lease(
        self,
        before: Option<QuotaState>,
        now: Timestamp,
        needed: u64,
        least: u64,
    ) -> (QuotaState, Lease) {
        let state = self.state_at(before, now);
        let units = if least > state.left {
            0
        } else {
            (state.left / 16).max(if needed <= state.left { needed } else { least })
        };
        let left = state.left - units;
        let void_from =
            self.quota.refill.and_then(|refill| refill.period.start_after(state.period));
        let lease = Lease {
            quota_version: state.quota_version,
            period: state.period,
            units,
            left,
            void_from,
        };
        (QuotaState { left, ..state }, lease)
    }

    /// Gives back what is left of a lease; what is void is gone.
    #[must_use]
    pub fn refund(self, before: Option<QuotaState>, now: Timestamp, lease: Lease) -> QuotaState {
        let state = self.state_at(before, now);
        let is_void = (lease.quota_version, lease.period) != (state.quota_version, state.period);
        let units = if is_void { 0 } else { lease.units };
        QuotaState { left: state.left.saturating_add(units).min(self.quota.most()), ..state }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn periods_begin_at_midnight() {
        for (every, moment, start, next) in [
            (
                Period::Day,
                "2024-02-29T23:59:59.999Z",
                "2024-02-29T00:00:00Z",
                "2024-03-01T00:00:00Z",
            ),
            (Period::Day, "2024-03-01T00:00:00Z", "2024-03-01T00:00:00Z", "2024-03-02T00:00:00Z"),
            // A Monday, and the Sunday before it.
            (Period::Week, "2024-01-01T00:00:00Z", "2024-01-01T00:00:00Z", "2024-01-08T00:00:00Z"),
            (Period::Week, "2023-12-31T23:00:00Z", "2023-12-25T00:00:00Z", "2024-01-01T00:00:00Z"),
            (Period::Month, "2023-12-31T23:00:00Z", "2023-12-01T00:00:00Z", "2024-01-01T00:00:00Z"),
            (Period::Month, "2024-02-01T00:00:00Z", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"),
            (Period::Week, "1970-01-02T00:00:00Z", "1970-01-01T00:00:00Z", "1970-01-05T00:00:00Z"),
        ] {
            assert_eq!(every.start_of(at(moment)), at(start), "{every:?} {moment}");
            assert_eq!(every.start_after(at(moment)), Some(at(next)), "{every:?} {moment}");
        }
        assert_eq!(Period::Day.start_after(Timestamp::MAX), None);
        for every in [Period::Day, Period::Week, Period::Month] {
            assert_eq!(Period::from_number(every.number()), Ok(every));
        }
        assert!(Period::from_number(0).is_err() && Period::from_number(4).is_err());
    }

    #[test]
    fn corners() {
        assert!(Quota::one_time(0).is_ok() && Quota::one_time(Quota::MAX_USES).is_ok());
        assert_eq!(Quota::one_time(Quota::MAX_USES + 1).unwrap_err().field(), "quota.uses");
        assert_eq!(Quota::each(0, Period::Day).unwrap_err().field(), "quota.refill");
        assert!(Refill::new(Quota::MAX_USES + 1, Period::Day).is_err());
    }

    fn run(quota: Quota) -> VersionedQuota {
        VersionedQuota { quota, quota_version: Version::FIRST }
    }

    #[test]
    fn a_refill_brings_up_and_never_down() {
        let refill = Refill::new(10, Period::Day).unwrap();
        let quota = run(Quota::one_time(25).unwrap().with_refill(refill));
        let (state, lease) = quota.lease(None, at("2024-01-01T12:00:00Z"), 20, 20);
        assert_eq!((state.left, lease.units), (5, 20));
        assert_eq!(lease.void_from, Some(at("2024-01-02T00:00:00Z")));
        let next = quota.state_at(Some(state), at("2024-01-02T00:00:00Z"));
        assert_eq!(next.left, 10);
        // Back before midnight: nothing is refilled again when it comes a second time.
        let (spent, lease) = quota.lease(Some(next), at("2024-01-01T23:00:00Z"), 10, 10);
        assert_eq!((spent.left, lease.void_from), (0, Some(at("2024-01-03T00:00:00Z"))));
        assert_eq!(quota.state_at(Some(spent), at("2024-01-02T01:00:00Z")).left, 0);
        let rich = QuotaState { left: 25, ..state };
        assert_eq!(quota.state_at(Some(rich), at("2024-01-02T00:00:00Z")).left, 25);
    }

    #[test]
    fn a_period_far_ahead_counts_as_the_current_one() {
        let quota = run(Quota::each(10, Period::Day).unwrap());
        let (state, _) = quota.lease(None, at("2024-01-01T12:00:00Z"), 4, 4);
        // The clock is a year ahead for one call, and right again.
        let (ahead, _) = quota.lease(Some(state), at("2025-01-01T12:00:00Z"), 10, 10);
        let right = quota.state_at(Some(ahead), at("2024-01-01T12:00:00Z"));
        assert_eq!((right.left, right.period), (0, at("2024-01-01T00:00:00Z")));
        let next = quota.state_at(Some(right), at("2024-01-02T00:00:00Z"));
        assert_eq!((next.left, next.period), (10, at("2024-01-02T00:00:00Z")));
    }

    #[test]
    fn what_is_void_is_not_given_back() {
        let quota = run(Quota::each(16, Period::Day).unwrap());
        let (state, lease) = quota.lease(None, at("2024-01-01T12:00:00Z"), 8, 8);
        let same_day = quota.refund(Some(state), at("2024-01-01T13:00:00Z"), lease);
        assert_eq!((state.left, same_day.left), (8, 16));
        let next_day = quota.refund(Some(state), at("2024-01-02T13:00:00Z"), lease);
        assert_eq!(next_day.left, 16);
        let spent = QuotaState { left: 3, ..next_day };
        assert_eq!(quota.refund(Some(spent), at("2024-01-02T13:00:00Z"), lease).left, 3);
        let renewed = VersionedQuota { quota_version: Version::FIRST.next(), ..quota };
        assert_eq!(renewed.refund(Some(state), at("2024-01-01T13:00:00Z"), lease).left, 16);
    }

    proptest! {
        /// However the clock steps, a step back refills nothing, and the count never stands in a
        /// period further ahead than the next: so the one after that is refilled.
        #[test]
        fn a_step_back_neither_refills_nor_makes_the_count_wait(
            period in prop::sample::select(vec![Period::Day, Period::Week, Period::Month]),
            steps in prop::collection::vec((0..1_500_u64, 0..20_u64), 1..40),
        ) {
            let quota = run(Quota::each(20, period).unwrap());
            let (mut state, mut before) = (None, Timestamp::MIN);
            for (days, uses) in steps {
                let now = Timestamp::clamped_millis(days * 24 * 60 * 60 * 1_000 + 5);
                let (current, next) = (period.start_of(now), period.start_after(now).unwrap());
                let last: Option<QuotaState> = state;
                let found = quota.state_at(last, now);
                prop_assert!(found.period == current || found.period == next);
                if let Some(last) = last {
                    prop_assert!(now > before || found.left == last.left);
                    prop_assert_eq!(found.left == 20 || found.left == last.left, true);
                }
                let after_next = quota.state_at(state, period.start_after(next).unwrap());
                prop_assert_eq!(quota.state_at(Some(found), after_next.period).left, 20);
                state = Some(quota.lease(state, now, uses.min(found.left), 0).0);
                before = now;
            }
        }

        /// Never overspends, however it is leased, spent and given back: no period spends more
        /// than it began with. At most a sixteenth lies in a lease that no caller can spend. The
        /// caller that needs the least is served if any caller can be.
        #[test]
        fn never_overspent(
            uses in 0..200_u64,
            refill in prop::option::of(1..200_u64),
            steps in prop::collection::vec(
                (0..40_u64, prop::collection::vec(0..30_u64, 1..4), any::<bool>()),
                1..60,
            ),
        ) {
            let mut quota = Quota::one_time(uses).unwrap();
            if let Some(amount) = refill {
                quota = quota.with_refill(Refill::new(amount, Period::Day).unwrap());
            }
            let quota = run(quota);
            let day = 24 * 60 * 60 * 1_000;
            let (mut now, mut state, mut spent) = (Timestamp::MIN, None, 0);
            let mut allowance = uses;
            for (quarters, needs, gives_back) in steps {
                let before = now;
                now = Timestamp::clamped_millis(now.as_millis() + quarters % 4 * day / 4);
                if Period::Day.start_of(now) > Period::Day.start_of(before)
                    && let Some(amount) = refill
                {
                    allowance = (allowance - spent).max(amount);
                    spent = 0;
                }
                let left = quota.state_at(state, now).left;
                let (needed, least) = (needs.iter().sum(), needs.iter().copied().min().unwrap());
                let (after, lease) = quota.lease(state, now, needed, least);
                if least > left {
                    prop_assert_eq!(lease.units, 0);
                } else {
                    prop_assert!(lease.units >= least && lease.units <= left);
                    prop_assert!(needed > left || lease.units >= needed);
                    let wanted = if needed <= left { needed } else { least };
                    prop_assert!(lease.units <= (left / 16).max(wanted));
                }
                prop_assert_eq!((after.left, after.left + lease.units), (lease.left, left));
                state = Some(after);
                let used = lease.units.min(needed);
                spent += used;
                let idle = Lease { units: lease.units - used, ..lease };
                if gives_back {
                    state = Some(quota.refund(state, now, idle));
                } else {
                    // A crash forfeits it.
                    spent += idle.units;
                }
                prop_assert!(spent <= allowance);
                prop_assert_eq!(quota.state_at(state, now).left, allowance - spent);
            }
        }
    }
}
