//! The limiter: the limits of one key or owner in a slab entry, and their use.

use std::sync::atomic::Ordering;

use super::super::memory::slab::{SlabEntry, WORDS};
use super::super::packing::ShortOwner;
use super::lease::{Ends, LeaseWord, LeftWord};
use super::lease_cell::{LeaseCell, Spent};
use crate::clock::Timestamp;
use crate::id::{OwnerId, Version};
use crate::key::{Gcra, Lease, Limits, Verdict};

/// The word of the rate's state.
const STATE: usize = 0;
/// The word of the quota's lease.
const LEASE: usize = 1;
const RATE: usize = 2;
const SPAN: usize = 3;
const OWN: usize = 4;
/// The word of the quota's rest beside the lease.
const LEFT: usize = 6;
const SINCE: usize = 7;

/// Bits of each packed field.
const COUNT_BITS: u32 = 20;
const SPAN_BITS: u32 = 35;
const PERIODS_AT: u32 = 2 * COUNT_BITS;
const PERIODS_BITS: u32 = 6;
const QUOTA: u64 = 1 << (PERIODS_AT + PERIODS_BITS);

/// The rules of a limit record. The record stays as long as they do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct LimitSpec {
    /// The rate's count and burst; the most days of two of the quota's periods, and a flag that there
    /// is one.
    rate: u64,
    /// The rate's duration, and the number of the list of networks plus 1.
    span: u64,
    /// A key's record: its owner's id, if it is short. An owner's record: the owner's `not_before`,
    /// and how often the record was filled.
    own: [u64; 2],
    /// The version at which the quota was last set, refilled or added to.
    since: u64,
}

/// The state of a lease, as far as the next one depends on it.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Leased {
    /// The uses that are left.
    pub(in crate::store) held: u64,
    /// The uses among these that this process shouldn't hold, as far as is known.
    pub(in crate::store) surplus: u64,
    /// Whether there is a lease, and it is void.
    pub(in crate::store) is_over: bool,
    /// Whether it was of a period that has just ended, and was spent from until then.
    pub(in crate::store) was_in_use: bool,
}

/// The rest of a lease of a quota that was replaced. It must be given back to the count.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct DroppedLease {
    pub(in crate::store) since: Version,
    pub(in crate::store) units: u64,
}

/// A limit record, and the rules that were read there. They count if the slot, or the owner's word,
/// that led here is still the same afterwards.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Limiter<'a> {
    entry: &'a SlabEntry,
    pub(in super::super) number: u32,
    pub(in super::super) spec: LimitSpec,
}

impl LimitSpec {
    /// Packs all limits except `not_before`; `None` if there are no others.
    pub(super) fn new(limits: &Limits, list: Option<u32>) -> Option<Self> {
        let mut spec = Self::default();
        if let Some(rate) = &limits.rate {
            let rate = rate.value;
            spec.rate = u64::from(rate.burst()) << COUNT_BITS | u64::from(rate.count());
            // At most 366 days.
            spec.span = u64::try_from(rate.per().as_millis()).unwrap_or(u64::MAX);
        }
        if let Some(quota) = &limits.quota {
            let refill = quota.value.quota.refill();
            let periods = refill.map_or(0, |refill| Ends::two_periods(refill.period()));
            spec.rate |= QUOTA | periods << PERIODS_AT;
            spec.since = quota.value.quota_version.get();
        }
        spec.span |= list.map_or(0, |list| u64::from(list) + 1) << SPAN_BITS;
        (spec != Self::default()).then_some(spec)
    }

    /// Adds the id of a key's owner, if it is short.
    pub(super) fn of_key(self, owner: &OwnerId) -> Self {
        Self { own: owner.padded().unwrap_or_default(), ..self }
    }

    /// Adds the `not_before` of an owner's keys.
    pub(super) fn of_owner(self, not_before: Option<Timestamp>) -> Self {
        Self { own: [not_before.map_or(0, Timestamp::as_millis), 0], ..self }
    }

    /// Whether a record with the other rules may stay as it is.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let Self { rate, span, own: [own, _], since } = *self;
        // The last word of `own` counts an owner's fillings. In a key's record it is the second
        // half of an id, which never changes.
        (rate, span, own, since) == (other.rate, other.span, other.own[0], other.since)
    }

    #[inline]
    pub(in super::super) fn gcra(&self) -> Option<Gcra> {
        let field = |at: u32| (self.rate >> at) as u32 & ((1 << COUNT_BITS) - 1);
        Gcra::new(field(0), field(COUNT_BITS), self.span & ((1 << SPAN_BITS) - 1))
    }

    #[inline]
    pub(in super::super) fn list(&self) -> Option<u32> {
        u32::try_from(self.span >> SPAN_BITS).ok()?.checked_sub(1)
    }

    #[inline]
    fn has_quota(&self) -> bool {
        self.rate & QUOTA != 0
    }

    /// Returns the days at which leases end that can be spent now.
    #[inline]
    fn ends(&self, now: Timestamp) -> Ends {
        Ends::at(now, self.rate >> PERIODS_AT & ((1 << PERIODS_BITS) - 1))
    }

    /// Returns the quota's identity: the version at which it was last set, refilled or added to. A
    /// lease is spent under that version alone, for a lease of before may hold more than is left.
    fn quota(&self) -> Option<u64> {
        self.has_quota().then_some(self.since)
    }
}

impl<'a> Limiter<'a> {
    /// Reads a record.
    #[inline]
    pub(super) fn read(entry: &'a SlabEntry, number: u32) -> Self {
        let (rate, span) = (entry.read(RATE), entry.read(SPAN));
        let own = [entry.read(OWN), entry.read(OWN + 1)];
        Self { entry, number, spec: LimitSpec { rate, span, own, since: entry.read(SINCE) } }
    }

    /// Reads an owner's record, its fill count first.
    pub(super) fn read_seqlocked(entry: &'a SlabEntry, number: u32) -> Self {
        // Acquire: the words below must not be older than the filling that ended with this count.
        // Otherwise `validate` would pass words of two fillings.
        let filled = entry.word(OWN + 1).load(Ordering::Acquire);
        let mut limiter = Self::read(entry, number);
        limiter.spec.own[1] = filled;
        limiter
    }

    /// Whether an owner's record was read outside of a filling and has the same fill count now. The
    /// caller puts an Acquire fence before this.
    pub(in super::super) fn validate(&self) -> bool {
        let filled = self.spec.own[1];
        filled.is_multiple_of(2) && self.entry.read(OWN + 1) == filled
    }

    /// Fills a new record of an owner; its fill count is odd meanwhile. An owner's word, unlike a
    /// slot, has no sequence, and may name the same record again later.
    pub(super) fn write_seqlocked(
        entry: &SlabEntry,
        spec: LimitSpec,
        before: Option<&Self>,
        now: Timestamp,
    ) {
        let filling = entry.read(OWN + 1) + 1;
        // Relaxed, and before any other word: the Release fence with which `SlabEntry::fill` begins
        // orders it before them. Without that, readers see new words under the old count.
        entry.word(OWN + 1).store(filling, Ordering::Relaxed);
        Self::fill(entry, LimitSpec { own: [spec.own[0], filling], ..spec }, before, now);
        // Release: a reader of this count must see the words of this filling.
        entry.word(OWN + 1).store(filling + 1, Ordering::Release);
    }

    /// Fills a new record, and carries over the use of the limits before. For the writer. Uses that
    /// threads take meanwhile from the old record may be lost, but no use of a quota's lease counts
    /// in both.
    pub(super) fn fill(entry: &SlabEntry, spec: LimitSpec, before: Option<&Self>, now: Timestamp) {
        let millis = now.as_millis();
        let mut words = [0; WORDS];
        if let Some(gcra) = spec.gcra() {
            let used = before.and_then(|before| Some((before.spec.gcra()?, before)));
            words[STATE] = match used {
                Some((rate, before)) => gcra.carried(rate, before.entry.read(STATE), millis),
                None => gcra.unused(millis),
            };
        }
        let same = |before: &&Self| spec.has_quota() && before.spec.quota() == spec.quota();
        if let Some(before) = before.filter(same) {
            // Before the lease. `take_lease` releases this: a reader that sees the lease gone sees
            // the rest unknown, and refuses nothing.
            words[LEFT] = before.entry.word(LEFT).swap(0, Ordering::Relaxed);
            words[LEASE] = before.take_lease().0;
        }
        [words[RATE], words[SPAN], words[SINCE]] = [spec.rate, spec.span, spec.since];
        words[OWN..OWN + 2].copy_from_slice(&spec.own);
        entry.fill(words);
    }

    /// Returns the id of the key's owner, if it is short.
    #[inline]
    pub(in crate::store) fn short_owner(&self) -> Option<ShortOwner> {
        (self.spec.own[0] != 0).then_some(self.spec.own)
    }

    /// Returns the owner's `not_before`.
    pub(in super::super) fn not_before(&self) -> Option<Timestamp> {
        let millis = self.spec.own[0];
        (millis > 0).then(|| Timestamp::clamped_millis(millis))
    }

    /// Returns the rate.
    #[inline]
    pub(in crate::store) fn gcra(&self) -> Option<Gcra> {
        self.spec.gcra()
    }

    /// Whether there is a quota.
    #[inline]
    pub(in crate::store) fn has_quota(&self) -> bool {
        self.spec.has_quota()
    }

    /// Returns the version of the key or owner at which the quota was last set, refilled or added
    /// to.
    pub(in crate::store) fn since(&self) -> Version {
        Version::new(self.spec.since)
    }

    /// Takes all that is left of the lease if another quota replaces this one. Readers that still
    /// have this record find nothing in it, and no rest beside it.
    pub(super) fn drop_lease(&self, next: &LimitSpec) -> Option<DroppedLease> {
        if !self.has_quota() || self.spec.quota() == next.quota() {
            return None;
        }
        // Before the lease, as in `fill`.
        self.entry.word(LEFT).store(0, Ordering::Relaxed);
        let units = self.take_lease().held();
        (units > 0).then_some(DroppedLease { since: self.since(), units })
    }

    /// Takes a lease that is void, to be given back.
    pub(in super::super) fn take_void_lease(&self, now: Timestamp) -> Option<DroppedLease> {
        let lease = self.lease();
        if !self.has_quota() || lease.held() == 0 || !lease.is_void(self.spec.ends(now)) {
            return None;
        }
        let units = self.drain_lease().held();
        (units > 0).then_some(DroppedLease { since: self.since(), units })
    }

    /// Judges uses by the rate, without taking them.
    #[inline]
    pub(in crate::store) fn judge(&self, rate: Gcra, now: Timestamp, uses: u32) -> Verdict {
        rate.judge(self.entry.read(STATE), now.as_millis(), uses)
    }

    /// Judges uses by the rate, and takes them if it allows them.
    #[inline]
    pub(in crate::store) fn take(&self, rate: Gcra, now: Timestamp, uses: u32) -> Verdict {
        let state = self.entry.word(STATE);
        // Relaxed: this one word is all of the state, and the changes of one word have one order,
        // so no use is lost.
        let mut seen = state.load(Ordering::Relaxed);
        loop {
            let verdict = rate.judge(seen, now.as_millis(), uses);
            match verdict {
                Verdict::Allowed { next, .. } if uses > 0 => {
                    let put = state.compare_exchange_weak(
                        seen,
                        next,
                        Ordering::Relaxed,
                        Ordering::Relaxed,
                    );
                    match put {
                        Ok(_) => return verdict,
                        Err(other) => seen = other,
                    }
                }
                _ => return verdict,
            }
        }
    }

    /// Sets a state back that is ahead of the clock, as after the clock stepped back. Reads the
    /// clock after the state: the caller may have read it long ago, and the state is in order.
    #[cold]
    pub(in crate::store) fn step_back(&self, rate: Gcra, now: impl Fn() -> Timestamp) {
        let state = self.entry.word(STATE);
        // Relaxed, as in `take`.
        let seen = state.load(Ordering::Relaxed);
        if let Verdict::Ahead { next } = rate.judge(seen, now().as_millis(), 0) {
            // If the state was changed meanwhile, the next use finds out.
            let _ = state.compare_exchange(seen, next, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Gives units of the rate back, if `is_current` still says that the record is the one from
    /// which they were taken. Otherwise they are gone.
    pub(in crate::store) fn give_back_units(&self, units: u64, is_current: impl Fn() -> bool) {
        let state = self.entry.word(STATE);
        // Relaxed, as in `take`.
        let mut seen = state.load(Ordering::Relaxed);
        // After the load: the state that was read is that of the record, and no other is replaced.
        while is_current() {
            let next = seen.saturating_sub(units);
            match state.compare_exchange(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(other) => seen = other,
            }
        }
    }

    /// Returns the lease.
    pub(in crate::store) fn lease(&self) -> LeaseWord {
        LeaseWord(self.entry.read(LEASE))
    }

    /// Returns what has to be known of the lease to fetch the next one.
    pub(in super::super) fn leased(&self, now: Timestamp) -> Option<Leased> {
        let (lease, ends) = (self.lease(), self.spec.ends(now));
        self.has_quota().then(|| Leased {
            held: lease.units(ends),
            surplus: self.surplus(now),
            is_over: lease.is_over(ends),
            was_in_use: lease.was_in_use(ends),
        })
    }

    /// Returns the uses that this process holds beyond a sixteenth of what is left, as far as that is
    /// known. Reservations that are given back may make it so many.
    fn surplus(&self, now: Timestamp) -> u64 {
        let held = self.lease().units(self.spec.ends(now));
        let left = LeftWord(self.entry.read(LEFT)).known(now, None);
        left.map_or(0, |left| Lease::surplus(held, left))
    }

    /// Returns the number of `uses` that the lease lacks.
    #[inline]
    pub(in crate::store) fn missing(&self, now: Timestamp, uses: u32) -> u64 {
        self.lease().missing(self.spec.ends(now), uses)
    }

    /// Spends uses of the lease, if it has as many.
    #[inline]
    pub(in crate::store) fn spend(&self, now: Timestamp, uses: u32) -> Option<Spent> {
        // Relaxed: an older rest makes the next lease come a little earlier or later.
        let left = LeftWord(self.entry.word(LEFT).load(Ordering::Relaxed));
        self.lease_cell().spend(self.spec.ends(now), uses, |held| left.is_low(held))
    }

    /// Gives uses of the lease back: [`LeaseCell::give_back`].
    pub(in super::super) fn give_back(
        &self,
        uses: LeaseWord,
        now: Timestamp,
        is_current: impl Fn() -> bool,
    ) -> bool {
        self.lease_cell().give_back(uses, self.spec.ends(now), is_current)
    }

    /// Adds to the lease.
    pub(in super::super) fn add_lease(&self, lease: LeaseWord, now: Timestamp) {
        self.lease_cell().add(lease, self.spec.ends(now));
    }

    /// Takes the lease out of this record for good: [`LeaseCell::take`].
    fn take_lease(&self) -> LeaseWord {
        self.lease_cell().take()
    }

    /// Takes all uses that are left of the lease: [`LeaseCell::drain`].
    pub(in super::super) fn drain_lease(&self) -> LeaseWord {
        self.lease_cell().drain()
    }

    fn lease_cell(&self) -> LeaseCell<'_> {
        LeaseCell(self.entry.word(LEASE))
    }

    /// Notes the rest beside the lease, after the lease was added.
    pub(in super::super) fn note_left(&self, left: LeftWord) {
        // Release: a reader that sees the smaller rest must see the lease that was taken from it.
        self.entry.word(LEFT).store(left.0, Ordering::Release);
    }

    /// Whether there is a use in this period, in the lease or in the rest beside it; `None` if that
    /// isn't known. With `within`, as in [`lacks`](Self::lacks).
    pub(in crate::store) fn has_some(&self, now: Timestamp, within: Option<u64>) -> Option<bool> {
        // In this order and with Acquire, as in `lacks`.
        let word = self.entry.word(LEFT).load(Ordering::Acquire);
        let lease = LeaseWord(self.entry.word(LEASE).load(Ordering::Acquire));
        let ends = self.spec.ends(now);
        if lease.units(ends) > 0 {
            return Some(true);
        }
        if lease.is_void(ends) || self.entry.read(LEFT) != word {
            return None;
        }
        LeftWord(word).known(now, within).map(|left| left > 0)
    }

    /// Returns how many uses are left in this period, in the lease and beside it, and when the quota is
    /// refilled; `None` without a quota, and if that isn't known.
    #[inline]
    pub(in crate::store) fn quota_left(&self, now: Timestamp) -> Option<(u64, Option<Timestamp>)> {
        if !self.has_quota() {
            return None;
        }
        // In this order and with Acquire, as in `lacks`.
        let word = self.entry.word(LEFT).load(Ordering::Acquire);
        let lease = LeaseWord(self.entry.word(LEASE).load(Ordering::Acquire));
        let ends = self.spec.ends(now);
        if lease.is_void(ends) || self.entry.read(LEFT) != word {
            return None;
        }
        let left = LeftWord(word).known(now, None)?.saturating_add(lease.units(ends));
        Some((left, lease.void_from()))
    }

    /// Whether the lease and the rest beside it have fewer than so many uses in this period. With
    /// `within`, the rest counts for less than so many milliseconds, for it may have changed.
    pub(in crate::store) fn lacks(&self, now: Timestamp, uses: u32, within: Option<u64>) -> bool {
        // The rest first, with Acquire: uses are added to the lease before they leave the rest, so
        // a reader would see some in neither otherwise. The lease with Acquire: if it is gone, the
        // last load below must see the rest unknown.
        let left = self.entry.word(LEFT).load(Ordering::Acquire);
        let lease = LeaseWord(self.entry.word(LEASE).load(Ordering::Acquire));
        let ends = self.spec.ends(now);
        LeftWord(left).lacks(lease.missing(ends, uses), now, within)
            // Ticks repeat after 17 years, so they don't tell of a longer step back: the lease does.
            && !lease.is_void(ends)
            // Otherwise the lease may be on its way to another record.
            && self.entry.read(LEFT) == left
    }
}
