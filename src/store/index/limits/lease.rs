//! A quota's lease, and the rest beside it, in a word each.

use crate::clock::Timestamp;
use crate::key::{Lease, Period};

/// Bits of a lease's word: the uses; whether the next lease is asked for; whether uses were spent in the
/// last hour before it is void; the day from which on it is void.
const UNITS: u64 = u32::MAX as u64;
pub(super) const ASKED: u64 = 1 << 36;
const USED_LAST_AT: u32 = 37;
const DAY_AT: u32 = 42;
/// The day of a lease that is never void: later than every [`Timestamp`].
const NEVER: u64 = (1 << (64 - DAY_AT)) - 1;
const HOUR: u64 = 60 * 60 * 1_000;
const DAY: u64 = 24 * HOUR;
/// The last hour of a day, and so of each period.
const LAST_HOUR: u64 = 23;

/// Milliseconds of a tick. Tick numbers start again after 17 years.
const TICK: u64 = 250;
const TICK_BITS: u32 = 31;
/// Set in the word of a rest that was only looked at.
const LOOKED: u64 = 1 << TICK_BITS;
const LEFT_AT: u32 = 32;

/// The days at which a lease ends that can be spent now: the ends of the running period and of the
/// next. A lease that ends later was taken while the clock was ahead. If it could be spent, no
/// refill would come before its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    today: u64,
    hour: u64,
    last: u64,
}

impl Ends {
    /// The ends at `now`, by the most days that two periods have; 0 for a quota without periods.
    #[inline]
    pub(super) fn at(now: Timestamp, two_periods: u64) -> Self {
        let hours = now.as_millis() / HOUR;
        let today = hours / 24;
        let last = if two_periods == 0 { NEVER } else { today + two_periods };
        Self { today, hour: hours % 24, last }
    }

    /// The most days that two periods have. It is never too few: otherwise a lease that was just
    /// taken would be void.
    pub(super) fn two_periods(period: Period) -> u64 {
        match period {
            Period::Day => 2,
            Period::Week => 14,
            Period::Month | Period::MonthFrom(_) => 62,
        }
    }
}

/// A lease: the day from which on it is void, and the uses that are left of it. Periods begin at
/// midnight, so a day suffices. 0 is a lease that was always void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct LeaseWord(pub(super) u64);

impl LeaseWord {
    pub(in crate::store) fn new(void_from: Option<Timestamp>, units: u64) -> Self {
        let day = void_from.map_or(NEVER, |at| at.as_millis() / DAY);
        Self(day << DAY_AT | units.min(UNITS))
    }

    /// The time from which on the lease is void.
    pub(in crate::store) fn void_from(self) -> Option<Timestamp> {
        let day = self.day();
        (day != NEVER).then(|| Timestamp::clamped_millis(day * DAY))
    }

    fn day(self) -> u64 {
        self.0 >> DAY_AT
    }

    #[inline]
    pub(super) fn is_void(self, ends: Ends) -> bool {
        // The last period before the year 10000 has no end.
        self.day() <= ends.today || self.day() > ends.last && self.day() != NEVER
    }

    /// Whether this is a lease, and void.
    pub(super) fn is_over(self, ends: Ends) -> bool {
        self.0 != 0 && self.is_void(ends)
    }

    /// Whether the period has ended less than an hour ago, and uses were spent in its last hour.
    pub(super) fn was_in_use(self, ends: Ends) -> bool {
        let has_just_ended = self.day() == ends.today && ends.hour == 0;
        has_just_ended && self.0 >> USED_LAST_AT & 1 == 1
    }

    /// Returns the uses that are left.
    #[inline]
    pub(super) fn units(self, ends: Ends) -> u64 {
        if self.is_void(ends) { 0 } else { self.0 & UNITS }
    }

    /// Returns the number of `uses` that the lease lacks.
    #[inline]
    pub(super) fn missing(self, ends: Ends, uses: u32) -> u64 {
        u64::from(uses).saturating_sub(self.units(ends))
    }

    /// Returns a lease of so many uses that is void at the same time.
    pub(in crate::store) fn with_units(self, units: u64) -> Self {
        Self(self.day() << DAY_AT | units.min(UNITS))
    }

    /// Returns the uses that it holds, void or not.
    pub(in crate::store) fn held(self) -> u64 {
        self.0 & UNITS
    }

    /// Returns the lease after so many uses, if it has as many.
    #[inline]
    pub(super) fn spend(self, ends: Ends, uses: u32) -> Option<Self> {
        if self.missing(ends, uses) > 0 {
            return None;
        }
        let is_last_hour = ends.hour == LAST_HOUR && self.day() == ends.today + 1;
        let rest = self.0 - u64::from(uses);
        Some(Self(rest | u64::from(is_last_hour) << USED_LAST_AT))
    }

    /// Adds another lease's uses; nothing is asked for any more. What is void counts for nothing. Of
    /// two periods that aren't over the earlier counts: the other was leased while the clock was
    /// ahead.
    pub(super) fn add(self, other: Self, ends: Ends) -> Self {
        let with = |lease: Self, units: u64| Self(lease.0 & !(UNITS | ASKED) | units.min(UNITS));
        match (self.is_void(ends), other.is_void(ends)) {
            (false, true) => with(self, self.held()),
            (true, false) => with(other, other.held()),
            (true, true) => Self(self.day().max(other.day()) << DAY_AT),
            (false, false) => {
                let earlier = if other.day() < self.day() { other } else { self };
                with(earlier, self.held() + other.held())
            }
        }
    }

    /// Gives uses back to the period from which they were taken; `None` if that is over, or this is
    /// another one.
    pub(super) fn give_back(self, uses: Self, ends: Ends) -> Option<Self> {
        let units = uses.held().min(UNITS - self.held());
        (self.day() == uses.day() && !self.is_void(ends)).then_some(Self(self.0 + units))
    }
}

/// The rest of a quota beside a lease, as the last request for more found it. The word holds the
/// smallest number of uses that couldn't be had, and the tick of the request. 0 if that is unknown,
/// or more than one verification can cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct LeftWord(pub(super) u64);

impl LeftWord {
    pub(in crate::store) const UNKNOWN: Self = Self(0);

    pub(in crate::store) fn new(left: u64, at: Timestamp) -> Self {
        let too_many = left.checked_add(1).and_then(|more| u32::try_from(more).ok());
        too_many.map_or(Self::UNKNOWN, |more| Self(u64::from(more) << LEFT_AT | tick(at)))
    }

    /// A rest that was read and not written. A use must reach the backend if it begins the count or
    /// a period, also if it is refused; so this refuses looks alone.
    pub(in crate::store) fn looked(left: u64, at: Timestamp) -> Self {
        let Self(word) = Self::new(left.min(u64::from(u32::MAX) - 1), at);
        Self(word | LOOKED)
    }

    /// Returns what is left, if that is known. With `within`, as in [`lacks`](Self::lacks).
    pub(super) fn known(self, now: Timestamp, within: Option<u64>) -> Option<u64> {
        (self.0 >> LEFT_AT).checked_sub(1).filter(|_| self.is_recent(now, within))
    }

    fn is_recent(self, now: Timestamp, within: Option<u64>) -> bool {
        let since = tick(now).wrapping_sub(self.0) & ((1 << TICK_BITS) - 1);
        since < within.map_or(1 << (TICK_BITS - 1), |millis| millis / TICK)
    }

    /// Whether so many uses couldn't be had. With `within`, the answer counts for less than so many
    /// milliseconds, for the rest may have changed. An answer from a time after `now` counts for
    /// nothing: the clock was ahead, perhaps in another period.
    pub(super) fn lacks(self, needed: u64, now: Timestamp, within: Option<u64>) -> bool {
        let too_many = self.0 >> LEFT_AT;
        too_many != 0 && needed >= too_many && self.0 & LOOKED == 0 && self.is_recent(now, within)
    }

    /// Whether the next lease should be fetched, when so many uses are held. An unknown rest counts
    /// as the greatest one that can be known.
    #[inline]
    pub(super) fn is_low(self, held: u64) -> bool {
        let left = (self.0 >> LEFT_AT).wrapping_sub(1) & UNITS;
        Lease::is_low(held, left)
    }
}

fn tick(at: Timestamp) -> u64 {
    (at.as_millis() / TICK) & ((1 << TICK_BITS) - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::key::Quota;

    fn day(day: u64) -> Timestamp {
        Timestamp::clamped_millis(day * DAY)
    }

    #[test]
    fn it_is_spent_until_it_is_void() {
        let lease = LeaseWord::new(Some(day(20_000)), 5);
        let before = Ends::at(Timestamp::clamped_millis(20_000 * DAY - 1), 2);
        let left = lease.spend(before, 3).unwrap();
        assert_eq!((left.units(before), left.spend(before, 3)), (2, None));
        assert_eq!((left.spend(before, 2).unwrap().units(before), left.held()), (0, 2));
        let after = Ends::at(day(20_000), 2);
        assert_eq!((left.units(after), left.spend(after, 1)), (0, None));
        assert_eq!(left.void_from(), Some(day(20_000)));
        let endless = LeaseWord::new(None, UNITS);
        for two_periods in [0, 2, 62] {
            let ends = Ends::at(Timestamp::MAX, two_periods);
            assert_eq!((endless.units(ends), endless.void_from()), (UNITS, None));
        }
        assert_eq!(LeaseWord(0).units(Ends::at(Timestamp::MIN, 0)), 0);
    }

    #[test]
    fn of_two_periods_the_running_one_counts() {
        let lease = |at, units| LeaseWord::new(Some(day(at)), units);
        let add = |first: LeaseWord, second, now| first.add(second, Ends::at(day(now), 62));
        assert_eq!(add(lease(7, 5), lease(7, 3), 6), lease(7, 8));
        assert_eq!(add(lease(7, 5), lease(8, 3), 7), lease(8, 3));
        assert_eq!(add(lease(8, 5), lease(7, 3), 7), lease(8, 5));
        // The first was leased while the clock was ahead.
        assert_eq!(add(lease(9, 5), lease(7, 3), 6), lease(7, 8));
        assert_eq!(add(lease(400, 5), lease(7, 3), 6), lease(7, 3));
        assert_eq!(add(lease(7, 5), lease(8, 3), 9), lease(8, 0));
        assert_eq!(add(LeaseWord(0), lease(7, 3), 6), lease(7, 3));
        let most = LeaseWord::new(None, UNITS);
        assert_eq!(add(most, most, 6), most);
    }

    /// Every period of 1970 to 2100, and the one after it: a lease that is taken now can be spent
    /// now. One that ends two periods later can't, except for months, whose lengths differ.
    #[test]
    fn a_lease_that_ends_after_the_next_period_was_taken_ahead() {
        let months = (1..=31).map(|day| Period::month_from(day).unwrap());
        for period in [Period::Day, Period::Week].into_iter().chain(months) {
            let two = Ends::two_periods(period);
            for today in 0..47_500 {
                let after = |at| period.start_after(at).unwrap();
                let own = after(day(today));
                let ends = Ends::at(day(today), two);
                let is_void = |end| LeaseWord::new(Some(end), 1).is_void(ends);
                assert!(!is_void(own) && !is_void(after(own)), "{period:?} {today}");
                let far = after(after(own));
                let is_known = two < 62 || far.as_millis() / DAY - today > 62;
                assert_eq!(is_void(far), is_known, "{period:?} {today}");
                assert!(is_void(after(far)), "{period:?} {today}");
            }
        }
    }

    /// An unknown rest, and one that is more than any use costs, lacks nothing.
    #[test]
    fn what_is_not_known_lacks_nothing() {
        let now = day(20_000);
        for word in [LeftWord::UNKNOWN, LeftWord::new(u32::MAX.into(), now)] {
            assert!(!word.lacks(u32::MAX.into(), now, None));
        }
        assert!(LeftWord::new(u64::from(u32::MAX) - 1, now).lacks(u32::MAX.into(), now, None));
        assert_eq!(LeftWord::new(u64::MAX, now), LeftWord::UNKNOWN);
    }

    proptest! {
        /// Only more than the rest couldn't be had. With `within`, this is said for that time, less
        /// one tick at most.
        #[test]
        fn just_what_is_more_couldn_t_be_had(
            left in 0..=Quota::MAX_USES,
            near in 0..4_u64,
            needed in 1..=u32::MAX,
            at in 0..=Timestamp::MAX.as_millis(),
            later in 0..3_000_u64,
            previous in TICK..1_000_000_000,
        ) {
            let moment = |millis| Timestamp::from_millis(millis).ok();
            let Some(at) = moment(at) else { return Ok(()) };
            for needed in [u64::from(needed), (left + near).saturating_sub(2)] {
                let Ok(needed) = u32::try_from(needed) else { continue };
                let (word, lacks) = (LeftWord::new(left, at), u64::from(needed) > left);
                let after = at.saturating_add(std::time::Duration::from_millis(later));
                prop_assert_eq!(word.lacks(needed.into(), after, None), lacks);
                let is_said = word.lacks(needed.into(), after, Some(1_000));
                let passed = after.as_millis() - at.as_millis();
                prop_assert!(!is_said || lacks && passed < 1_000);
                prop_assert!(is_said || !lacks || passed > 1_000 - TICK);
                // A clock that has stepped back doesn't tell how long ago it was.
                let before = at.saturating_sub(std::time::Duration::from_millis(previous));
                let has_stepped = at.as_millis() - before.as_millis() >= TICK;
                prop_assert!(!(has_stepped && word.lacks(needed.into(), before, Some(1_000))));
            }
        }
    }
}
