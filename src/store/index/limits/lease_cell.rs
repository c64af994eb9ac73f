//! The cell of a lease: how uses get out of its word and into it, between threads.
//!
//! Relaxed unless said: all of a lease is in its one word, and the changes of one word have one order.

use std::sync::atomic::{AtomicU64, Ordering};

use super::lease::{ASKED, Ends, LeaseWord};

/// A lease after a use.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Spent {
    pub(in crate::store) lease: LeaseWord,
    /// The next lease should be fetched, and no other use has asked for it.
    pub(in crate::store) asks: bool,
}

/// The word of a lease in a limit record.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeaseCell<'a>(pub(super) &'a AtomicU64);

impl LeaseCell<'_> {
    /// Spends uses, if the lease has as many. The first use that finds the rest `low` asks for the
    /// next lease.
    #[inline]
    pub(super) fn spend(
        self,
        ends: Ends,
        uses: u32,
        is_low: impl Fn(u64) -> bool,
    ) -> Option<Spent> {
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            let mut lease = LeaseWord(seen).spend(ends, uses)?;
            let asks = lease.0 & ASKED == 0 && is_low(lease.held());
            lease.0 |= u64::from(asks) * ASKED;
            match self.0.compare_exchange_weak(seen, lease.0, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return Some(Spent { lease, asks }),
                Err(other) => seen = other,
            }
        }
    }

    /// Adds to the lease.
    pub(super) fn add(self, lease: LeaseWord, ends: Ends) {
        let add = |seen| Some(LeaseWord(seen).add(lease, ends).0);
        // The note of the rest beside it releases this. `add` never returns `None`.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Takes the lease out of its record for good. Nothing can be given back to the word after that.
    pub(super) fn take(self) -> LeaseWord {
        // Release: a reader that sees the lease gone must see that the rest was set to unknown
        // before. It would refuse uses that have moved to another record otherwise.
        LeaseWord(self.0.swap(0, Ordering::Release))
    }

    /// Takes all uses that are left. The period stays, so that uses can be given back to it.
    pub(super) fn drain(self) -> LeaseWord {
        let drain = |seen| Some(LeaseWord(seen).with_units(0).0);
        // Release, as in `take`. `drain` never returns `None`.
        let before = self.0.fetch_update(Ordering::Release, Ordering::Relaxed, drain);
        LeaseWord(before.unwrap_or_else(|seen| seen))
    }

    /// Gives uses back, if `is_current` still says that the record is that of their quota. Then so
    /// was the word that was read before, and no other is replaced. Returns whether they were; if
    /// not, they are forfeited: the lease is of another period, or on its way to another record.
    pub(super) fn give_back(
        self,
        uses: LeaseWord,
        ends: Ends,
        is_current: impl Fn() -> bool,
    ) -> bool {
        let mut seen = self.0.load(Ordering::Relaxed);
        while seen != 0 && is_current() {
            let Some(next) = LeaseWord(seen).give_back(uses, ends) else { return false };
            match self.0.compare_exchange(seen, next.0, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(other) => seen = other,
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    const HOUR: u64 = 60 * 60 * 1_000;

    fn at(day: u64, hour: u64) -> Timestamp {
        Timestamp::clamped_millis((day * 24 + hour) * HOUR)
    }

    fn ends(day: u64, hour: u64) -> Ends {
        Ends::at(at(day, hour), 2)
    }

    fn lease(day: u64, units: u64) -> LeaseWord {
        LeaseWord::new(Some(at(day, 0)), units)
    }

    /// One use asks for the next lease, and another one only after a lease has come.
    #[test]
    fn the_first_use_that_finds_little_asks() {
        let word = AtomicU64::new(lease(8, 6).0);
        let (cell, now) = (LeaseCell(&word), ends(7, 1));
        let spend = |uses| cell.spend(now, uses, |held| held <= 3).map(|spent| spent.asks);
        assert_eq!([2, 1, 1].map(spend), [Some(false), Some(true), Some(false)]);
        assert_eq!((spend(3), spend(2)), (None, Some(false)));
        cell.add(lease(8, 5), now);
        assert_eq!([1, 1, 1].map(spend), [Some(false), Some(true), Some(false)]);
    }

    /// Tells of a period that has ended just now whether it was in use until then. Use at the same
    /// hour of an earlier day doesn't count.
    #[test]
    fn use_in_the_last_hour_is_known() {
        let word = AtomicU64::new(lease(8, 60).0);
        let (cell, any) = (LeaseCell(&word), |_| true);
        let was_in_use =
            |day, hour| LeaseWord(word.load(Ordering::Relaxed)).was_in_use(ends(day, hour));
        assert!(!was_in_use(8, 0), "never used");
        for hour in [0, 22, 23] {
            assert!(cell.spend(ends(6, hour + 1), 1, any).is_some());
            assert!(cell.spend(ends(7, hour), 1, any).is_some());
            assert_eq!(was_in_use(8, 0), hour == 23, "{hour}");
        }
        assert!(!was_in_use(7, 23) && !was_in_use(8, 1) && !was_in_use(9, 0));
        cell.add(lease(9, 5), ends(8, 0));
        assert!(!was_in_use(9, 0), "of the next period nothing was used");
    }

    #[test]
    fn uses_go_back_to_their_own_period_and_record() {
        let word = AtomicU64::new(lease(8, 6).0);
        let (cell, now) = (LeaseCell(&word), ends(7, 1));
        let units = || LeaseWord(word.load(Ordering::Relaxed)).held();
        assert!(cell.spend(now, 4, |_| true).is_some_and(|spent| spent.asks));
        assert!(cell.give_back(lease(8, 3), now, || true));
        assert!(cell.spend(now, 1, |_| true).is_some_and(|spent| !spent.asks), "still asked for");
        for (uses, now) in [(lease(9, 3), now), (lease(8, 3), ends(8, 0))] {
            assert!(!cell.give_back(uses, now, || true));
        }
        assert!(!cell.give_back(lease(8, 3), now, || false));
        assert_eq!((cell.drain().held(), units()), (4, 0));
        assert!(cell.give_back(lease(8, 3), now, || true), "the period stays");
        assert_eq!(cell.take().held(), 3);
        assert!(!cell.give_back(lease(8, 3), now, || true), "it has moved");
        assert_eq!(units(), 0);
    }
}
