//! The decision of a rate on one use: the generic cell rate algorithm in whole numbers.
//!
//! Time is counted in units so small that both a millisecond and a use are whole numbers of them: a
//! millisecond is `count` units, a use costs `per` of them (in milliseconds), a burst is `burst`
//! uses. The state is one word: the moment at which the burst will be whole again. All moments are
//! taken modulo 2^64, and compared by their difference, which is right for 139 years at least.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use super::Rate;

/// The time since which the burst of a new key counts as whole: longer than a clock steps
/// back, shorter than what can be mistaken for the future.
const LONG_AGO: u64 = 1 << 62;

/// A rate as it is reckoned with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gcra {
    count: NonZeroU32,
    burst: NonZeroU32,
    per: NonZeroU64,
}

/// The decision of a rate on one use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is allowed: what the state becomes, and how many units of the burst are used up then.
    Allowed { next: u64, used: u64 },
    /// It isn't: how many units of the burst are used up, and how many must come back first; `None`
    /// if it costs more than the burst.
    Refused { used: u64, missing: Option<NonZeroU64> },
    /// More is used up than there is, so this moment lies before the one at which the state was
    /// written. If the clock has stepped back, the state becomes this: a burst that is used up. So
    /// no caller waits longer than for a burst, and nothing is allowed twice.
    Ahead { next: u64 },
}

impl Gcra {
    /// The rate of stored numbers; `None` if one is 0.
    #[inline]
    pub(crate) fn new(count: u32, burst: u32, per_millis: u64) -> Option<Self> {
        let (count, burst) = (NonZeroU32::new(count)?, NonZeroU32::new(burst)?);
        Some(Self { count, burst, per: NonZeroU64::new(per_millis)? })
    }

    /// The rate.
    pub(crate) fn rate(self) -> Rate {
        Rate::of_parts(self.count, Duration::from_millis(self.per.get()), self.burst)
    }

    /// A moment in units.
    #[inline]
    fn at(self, millis: u64) -> u64 {
        millis.wrapping_mul(self.count.get().into())
    }

    /// A whole burst in units: at most 2^55.
    #[inline]
    pub(crate) fn whole(self) -> u64 {
        self.per.get().wrapping_mul(self.burst.get().into())
    }

    /// The state of what was never used.
    pub(crate) fn unused(self, millis: u64) -> u64 {
        self.at(millis).wrapping_sub(LONG_AGO)
    }

    /// The state in which as much of the burst is used up as of `before` in `state`; all of it, if
    /// this burst is smaller than that.
    pub(crate) fn carried(self, before: Self, state: u64, millis: u64) -> u64 {
        if self == before {
            // As it is: what lies in the past counts again after a clock stepped back.
            return state;
        }
        let ahead = state.wrapping_sub(before.at(millis));
        if ahead >> 63 == 1 {
            // Nothing is used up, for as long as before: otherwise a clock that steps back would
            // find a burst used up.
            let idle = u128::from(ahead.wrapping_neg() / u64::from(before.count.get()));
            let units = (idle * u128::from(self.count.get())).min(LONG_AGO.into());
            let units = u64::try_from(units).unwrap_or(LONG_AGO);
            return self.at(millis).wrapping_sub(units);
        }
        let used = ahead.min(before.whole());
        // Up to 2^55 times 2^35.
        let uses = u128::from(used) * u128::from(self.per.get());
        let used = u64::try_from(uses.div_ceil(before.per.get().into())).unwrap_or(u64::MAX);
        self.at(millis).wrapping_add(used.min(self.whole()))
    }

    /// The number of units that are used up, perhaps more than there are.
    #[inline]
    fn used(self, state: u64, millis: u64) -> u64 {
        let ahead = state.wrapping_sub(self.at(millis));
        // In the past, if the difference is negative.
        if ahead >> 63 == 1 { 0 } else { ahead }
    }

    /// Judges uses that come at once.
    #[inline]
    pub(crate) fn judge(self, state: u64, millis: u64, uses: u32) -> Verdict {
        let used = self.used(state, millis);
        let whole = self.whole();
        if used > whole {
            return Verdict::Ahead { next: self.at(millis).wrapping_add(whole) };
        }
        if uses > self.burst.get() {
            return Verdict::Refused { used, missing: None };
        }
        let after = used.wrapping_add(self.cost(uses));
        match after.checked_sub(whole).and_then(NonZeroU64::new) {
            None => Verdict::Allowed { next: self.at(millis).wrapping_add(after), used: after },
            missing => Verdict::Refused { used, missing },
        }
    }

    /// The cost of uses in units; right for as many as a burst has.
    #[inline]
    pub(crate) fn cost(self, uses: u32) -> u64 {
        self.per.get().wrapping_mul(uses.into())
    }

    /// The number of uses that may come at once when so many units are used up.
    pub(crate) fn remaining(self, used: u64) -> u32 {
        u32::try_from(self.whole().saturating_sub(used) / self.per).unwrap_or(u32::MAX)
    }

    /// The time until so many units have come back.
    pub(crate) fn duration(self, units: u64) -> Duration {
        Duration::from_millis(units.div_ceil(self.count.get().into()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An obviously right one: a bucket of `burst` uses, to which each millisecond `count / per`
    /// of one is added, in exact fractions with the denominator `per`.
    struct Bucket {
        count: u64,
        burst: u64,
        per: u64,
        level: u64,
        at: u64,
    }

    impl Bucket {
        fn take(&mut self, now: u64, uses: u64) -> bool {
            let whole = self.burst * self.per;
            let passed = now.saturating_sub(self.at);
            self.level = (self.level + passed * self.count).min(whole);
            self.at = self.at.max(now);
            let is_allowed = self.level >= uses * self.per;
            if is_allowed {
                self.level -= uses * self.per;
            }
            is_allowed
        }
    }

    fn rates() -> impl Strategy<Value = (u32, u32, u64)> {
        let small = (1..20_u32, 1..12_u32, 1..60_u64);
        let large = (1..=Rate::MAX_COUNT, 1..=Rate::MAX_COUNT, 1..=31_622_400_000_u64);
        prop_oneof![4 => small, 1 => large]
    }

    const NOW: u64 = 1_767_225_600_000;

    proptest! {
        #[test]
        fn it_allows_what_a_bucket_allows(
            (count, burst, per) in rates(),
            steps in prop::collection::vec((0..40_u64, 0..4_u32), 1..80),
        ) {
            let gcra = Gcra::new(count, burst, per).unwrap();
            let mut bucket = Bucket {
                count: count.into(), burst: burst.into(), per,
                level: u64::from(burst) * per, at: NOW,
            };
            let (mut state, mut now) = (gcra.unused(NOW), NOW);
            for (passed, uses) in steps {
                // Now and then as long as it takes to get something back.
                now += if passed == 39 { per.div_ceil(count.into()) } else { passed };
                let before = state;
                let expected = bucket.take(now, uses.into());
                match gcra.judge(state, now, uses) {
                    Verdict::Allowed { next, used } => {
                        prop_assert!(expected);
                        prop_assert_eq!(u64::from(gcra.remaining(used)), bucket.level / per);
                        let whole = gcra.duration(used).as_millis() as u64;
                        prop_assert!(whole * u64::from(count) >= u64::from(burst) * per - bucket.level);
                        state = next;
                    }
                    Verdict::Refused { used, missing } => {
                        prop_assert!(!expected);
                        prop_assert_eq!(u64::from(gcra.remaining(used)), bucket.level / per);
                        prop_assert_eq!(missing.is_none(), uses > burst);
                        let Some(missing) = missing else { continue };
                        // Allowed after that time, and not a millisecond earlier.
                        let wait = gcra.duration(missing.get()).as_millis() as u64;
                        let allowed_at = |at| {
                            matches!(gcra.judge(before, at, uses), Verdict::Allowed { .. })
                        };
                        prop_assert!(wait > 0 && allowed_at(now + wait) && !allowed_at(now + wait - 1));
                    }
                    Verdict::Ahead { .. } => prop_assert!(false, "the clock never stepped back"),
                }
            }
        }

        /// A clock that steps back, and perhaps forth again: no caller waits longer than for a
        /// burst, and each step gives at most one burst that the rate wouldn't have allowed.
        #[test]
        fn a_step_back_neither_locks_out_nor_gives_twice(
            (count, burst, per) in rates(),
            steps in prop::collection::vec((-90_000_i64..90_000, 1..3_u32), 1..60),
        ) {
            let gcra = Gcra::new(count, burst, per).unwrap();
            let (mut state, mut now) = (gcra.unused(NOW), NOW);
            let (mut allowed, mut passed) = (0_u128, 0_u128);
            for (step, uses) in steps {
                now = now.checked_add_signed(step).unwrap();
                passed += u128::from(step.max(0).unsigned_abs());
                let mut verdict = gcra.judge(state, now, uses);
                if let Verdict::Ahead { next } = verdict {
                    state = next;
                    verdict = gcra.judge(state, now, uses);
                }
                match verdict {
                    Verdict::Allowed { next, .. } => {
                        state = next;
                        allowed += u128::from(uses);
                    }
                    Verdict::Refused { missing: Some(missing), .. } => {
                        prop_assert!(gcra.duration(missing.get()) <= gcra.duration(gcra.whole()));
                    }
                    Verdict::Refused { missing: None, .. } => prop_assert!(uses > burst),
                    Verdict::Ahead { .. } => prop_assert!(false, "ahead of itself"),
                }
                // Every millisecond that passed forwards gave back `count / per` uses, at most.
                let most = u128::from(burst) * u128::from(per) + passed * u128::from(count);
                prop_assert!(allowed * u128::from(per) <= most);
            }
        }

        #[test]
        fn what_is_used_up_stays_so_under_another_rate(
            a in rates(), b in rates(), uses in 0..30_u32, passed in 0..50_u64,
        ) {
            let gcra = |(count, burst, per)| Gcra::new(count, burst, per).unwrap();
            let (a, b): (Gcra, Gcra) = (gcra(a), gcra(b));
            let mut state = a.unused(NOW);
            for _ in 0..uses {
                if let Verdict::Allowed { next, .. } = a.judge(state, NOW, 1) {
                    state = next;
                }
            }
            let now = NOW + passed;
            let carried = b.carried(a, state, now);
            // As many uses, in whole and in part, except those that the burst doesn't hold.
            let share = |gcra: Gcra, state| {
                u128::from(gcra.used(state, now)) * u128::from(1_u64 << 20) / u128::from(gcra.per.get())
            };
            let expected = share(a, state).min(u128::from(b.burst.get()) << 20);
            prop_assert!(share(b, carried).abs_diff(expected) <= 1 + (1 << 20) / u128::from(b.per.get()));
            prop_assert!(share(b, carried) >= expected);
            let is_ahead = matches!(b.judge(carried, now, 0), Verdict::Ahead { .. });
            prop_assert!(!is_ahead);
            prop_assert_eq!(a.carried(a, state, now), state);
        }
    }

    proptest! {
        /// A rate that was whole for a while is whole for as long under other numbers, also after
        /// the clock stepped back.
        #[test]
        fn what_was_not_used_up_stays_so_under_another_rate(
            a in rates(), b in rates(), uses in 0..3_u32, idle in 0..5_000_u64, back in 0..5_000_u64,
        ) {
            let gcra = |(count, burst, per)| Gcra::new(count, burst, per).unwrap();
            let (a, b): (Gcra, Gcra) = (gcra(a), gcra(b));
            let mut state = a.unused(NOW);
            if let Verdict::Allowed { next, .. } = a.judge(state, NOW, uses) {
                state = next;
            }
            let now = NOW + idle;
            let earlier = now - back;
            let carried = b.carried(a, state, now);
            if a.used(state, earlier) == 0 {
                prop_assert_eq!(b.used(carried, earlier), 0);
            }
        }
    }

    /// A rate that was never used is whole, whatever the clock does after its numbers changed.
    #[test]
    fn an_unused_rate_is_not_used_up_by_a_step_back() {
        let (a, b) = (Gcra::new(1, 5, 1_000).unwrap(), Gcra::new(10, 50, 60_000).unwrap());
        let carried = b.carried(a, a.unused(NOW), NOW);
        for earlier in [NOW, NOW - 1, NOW - 3_600_000, NOW - 1_000_000_000_000] {
            assert!(matches!(b.judge(carried, earlier, 50), Verdict::Allowed { .. }), "{earlier}");
        }
    }

    #[test]
    fn corners() {
        let most = Gcra::new(1_000_000, 1_000_000, 31_622_400_000).unwrap();
        // The end of time, where units wrap around.
        for now in [0, NOW, 253_402_300_799_999] {
            let mut state = most.unused(now);
            let Verdict::Allowed { next, used } = most.judge(state, now, 1_000_000) else {
                panic!("the burst is whole")
            };
            assert_eq!((most.remaining(used), most.duration(used)), (0, Rate::MAX_PER));
            state = next;
            assert!(matches!(most.judge(state, now, 1), Verdict::Refused { .. }));
            assert!(matches!(most.judge(state, now, 0), Verdict::Allowed { .. }));
            let refused = most.judge(state, now, u32::MAX);
            assert!(matches!(refused, Verdict::Refused { missing: None, .. }));
            assert!(
                matches!(most.judge(state, now - now.min(1), 1), Verdict::Ahead { .. }) || now == 0
            );
            // A use comes back in 31,622.4 ms.
            assert!(matches!(most.judge(state, now + 31_622, 1), Verdict::Refused { .. }));
            assert!(matches!(most.judge(state, now + 31_623, 1), Verdict::Allowed { .. }));
        }
        assert_eq!(Gcra::new(0, 1, 1), None);
        assert_eq!(most.rate(), Rate::new(1_000_000, Rate::MAX_PER).unwrap());
    }
}
