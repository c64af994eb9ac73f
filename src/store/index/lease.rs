//! What is left of a quota's lease, in one word: the day from which on it is void, and how many
//! uses. Periods begin at midnight, so a day says it all.

use crate::clock::Timestamp;

const UNIT_BITS: u32 = 40;
const UNITS: u64 = (1 << UNIT_BITS) - 1;
/// The day of what is never void: later than every [`Timestamp`].
const NEVER: u64 = (1 << (64 - UNIT_BITS)) - 1;
const DAY: u64 = 24 * 60 * 60 * 1_000;

/// A lease, as it lies in a word. 0 is one that was always void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct LeaseWord(pub(super) u64);

impl LeaseWord {
    pub(in crate::store) fn new(void_from: Option<Timestamp>, units: u64) -> Self {
        let day = void_from.map_or(NEVER, |at| at.as_millis() / DAY);
        Self(day << UNIT_BITS | units.min(UNITS))
    }

    /// From when on it is void.
    pub(in crate::store) fn void_from(self) -> Option<Timestamp> {
        let day = self.0 >> UNIT_BITS;
        (day != NEVER).then(|| Timestamp::clamped_millis(day * DAY))
    }

    #[inline]
    pub(super) fn is_void(self, now: Timestamp) -> bool {
        self.0 >> UNIT_BITS <= now.as_millis() / DAY
    }

    /// How many uses are left now.
    #[inline]
    pub(in crate::store) fn units(self, now: Timestamp) -> u64 {
        if self.is_void(now) { 0 } else { self.0 & UNITS }
    }

    /// So many uses that are void when these are.
    pub(in crate::store) fn with_units(self, units: u64) -> Self {
        Self(self.0 & !UNITS | units.min(UNITS))
    }

    /// How many uses it holds, void or not.
    pub(in crate::store) fn held(self) -> u64 {
        self.0 & UNITS
    }

    /// What is left after so many uses, if there are as many.
    #[inline]
    pub(super) fn spend(self, now: Timestamp, uses: u64) -> Option<Self> {
        (self.units(now) >= uses).then(|| Self(self.0 - uses))
    }

    /// With another lease's uses. Of two periods the later counts: the earlier is void, or will be
    /// as soon as the clock says so too.
    pub(super) fn add(self, other: Self) -> Self {
        let day = |lease: Self| lease.0 >> UNIT_BITS;
        if day(self) == day(other) {
            let units = (self.held() + other.held()).min(UNITS);
            Self(day(self) << UNIT_BITS | units)
        } else if day(self) > day(other) {
            self
        } else {
            other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Quota;

    fn day(day: u64) -> Timestamp {
        Timestamp::clamped_millis(day * DAY)
    }

    #[test]
    fn it_is_spent_until_it_is_void() {
        let lease = LeaseWord::new(Some(day(20_000)), 5);
        let before = Timestamp::clamped_millis(20_000 * DAY - 1);
        let left = lease.spend(before, 3).unwrap();
        assert_eq!((left.units(before), left.spend(before, 3)), (2, None));
        assert_eq!((left.spend(before, 2).unwrap().units(before), left.held()), (0, 2));
        assert_eq!((left.units(day(20_000)), left.spend(day(20_000), 1)), (0, None));
        assert_eq!(left.void_from(), Some(day(20_000)));
        let endless = LeaseWord::new(None, Quota::MAX_USES);
        assert_eq!((endless.units(Timestamp::MAX), endless.void_from()), (Quota::MAX_USES, None));
        assert_eq!(LeaseWord(0).units(Timestamp::MIN), 0);
    }

    #[test]
    fn of_two_periods_the_later_counts() {
        let lease = |at, units| LeaseWord::new(Some(day(at)), units);
        assert_eq!(lease(7, 5).add(lease(7, 3)), lease(7, 8));
        assert_eq!(lease(7, 5).add(lease(8, 3)), lease(8, 3));
        assert_eq!(lease(8, 5).add(lease(7, 3)), lease(8, 5));
        assert_eq!(LeaseWord(0).add(lease(7, 3)), lease(7, 3));
        let most = LeaseWord::new(None, Quota::MAX_USES);
        assert_eq!(most.add(most), most);
    }
}
