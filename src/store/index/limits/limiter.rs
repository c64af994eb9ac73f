//! The limits of one key, or of one owner, in a line: what is judged by, and what was used.

use std::sync::atomic::Ordering;

use super::lease::{LeaseWord, LeftWord};
use super::records::{Cell, WORDS};
use crate::clock::Timestamp;
use crate::id::{OwnerId, Version};
use crate::key::{Gcra, Limits, Period, Quota, Refill, Verdict};
use crate::store::index::entry::{ShortOwner, bytes, words};

/// The state of the rate.
const STATE: usize = 0;
/// What is left of the quota's lease.
const LEASE: usize = 1;
const RATE: usize = 2;
const SPAN: usize = 3;
const OWN: usize = 4;
/// What was left of the quota beside the lease.
const LEFT: usize = 6;
const SINCE: usize = 7;

/// Bits of each packed field.
const COUNT_BITS: u32 = 20;
const SPAN_BITS: u32 = 35;
const EVERY_AT: u32 = 2 * COUNT_BITS;
const QUOTA_AT: u32 = EVERY_AT + 2;
const QUOTA: u64 = 1 << QUOTA_AT;
/// Above all this, what tells one quota from another.
const MARK_AT: u32 = QUOTA_AT + 1;

/// What is judged by: as long as it stays the same, so does the line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::store::index) struct Shape {
    /// The rate's count and burst; how often the quota is refilled, whether there is one, and what
    /// tells it from others.
    rate: u64,
    /// The rate's duration, and the number of the list of networks and 1.
    span: u64,
    /// Of a key, its owner's id, if it is short; of an owner, its first moment, and how often the
    /// line was filled.
    own: [u64; 2],
    /// The version at which the quota's count began.
    since: u64,
}

/// What tells one quota from another. One that was tightened is another: what was leased of it before
/// might be more than is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct QuotaMark {
    terms: u64,
    since: u64,
}

/// A line, and what was read of it: it counts when that which led here is still as it was.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Limiter<'a> {
    cell: &'a Cell,
    pub(in crate::store::index) number: u32,
    pub(in crate::store::index) shape: Shape,
}

/// 21 bits in which two quotas differ, but for one pair in two millions.
fn mark(quota: &Quota) -> u64 {
    let amount = quota.refill().map_or(0, Refill::amount);
    let mixed = quota.uses().wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ amount;
    mixed.wrapping_mul(0xd6e8_feb8_6659_fd93) >> MARK_AT
}

impl Shape {
    /// What limits are judged by, but for their first moment; `None` if nothing else limits.
    pub(in crate::store::index) fn new(limits: &Limits, list: Option<u32>) -> Option<Self> {
        let mut shape = Self::default();
        if let Some(rate) = &limits.rate {
            let rate = rate.value;
            shape.rate = u64::from(rate.burst()) << COUNT_BITS | u64::from(rate.count());
            // At most 366 days.
            shape.span = u64::try_from(rate.per().as_millis()).unwrap_or(u64::MAX);
        }
        if let Some(quota) = &limits.quota {
            let every = quota.value.quota.refill().map_or(0, |refill| refill.period().number());
            shape.rate |=
                mark(&quota.value.quota) << MARK_AT | QUOTA | u64::from(every) << EVERY_AT;
            shape.since = quota.value.quota_version.get();
        }
        shape.span |= list.map_or(0, |list| u64::from(list) + 1) << SPAN_BITS;
        (shape != Self::default()).then_some(shape)
    }

    /// With the owner's id, if it is short.
    pub(in crate::store::index) fn of_key(self, owner: &OwnerId) -> Self {
        Self { own: owner.padded().map_or([0; 2], |short| words(&short)), ..self }
    }

    /// With the first moment for all keys of the owner.
    pub(in crate::store::index) fn of_owner(self, not_before: Option<Timestamp>) -> Self {
        Self { own: [not_before.map_or(0, Timestamp::as_millis), 0], ..self }
    }

    /// Whether a line of the other may stay as it is.
    pub(in crate::store::index) fn is_same(&self, other: &Self) -> bool {
        let Self { rate, span, own: [own, _], since } = *self;
        // An owner's line counts its fillings in the last word; a key's has the second half of an
        // id there, which never changes.
        (rate, span, own, since) == (other.rate, other.span, other.own[0], other.since)
    }

    #[inline]
    pub(in crate::store::index) fn gcra(&self) -> Option<Gcra> {
        let field = |at: u32| (self.rate >> at) as u32 & ((1 << COUNT_BITS) - 1);
        Gcra::new(field(0), field(COUNT_BITS), self.span & ((1 << SPAN_BITS) - 1))
    }

    #[inline]
    pub(in crate::store::index) fn list(&self) -> Option<u32> {
        u32::try_from(self.span >> SPAN_BITS).ok()?.checked_sub(1)
    }

    #[inline]
    fn has_quota(&self) -> bool {
        self.rate & QUOTA != 0
    }

    /// Which quota there is.
    fn quota(&self) -> Option<QuotaMark> {
        let mark = QuotaMark { terms: self.rate >> EVERY_AT, since: self.since };
        self.has_quota().then_some(mark)
    }
}

impl QuotaMark {
    /// Whether it is counted from this version of its record on.
    pub(in crate::store) fn is_since(self, version: Version) -> bool {
        self.since == version.get()
    }
}

impl<'a> Limiter<'a> {
    /// Reads a line.
    #[inline]
    pub(in crate::store::index) fn read(cell: &'a Cell, number: u32) -> Self {
        let (rate, span) = (cell.read(RATE), cell.read(SPAN));
        let own = [cell.read(OWN), cell.read(OWN + 1)];
        Self { cell, number, shape: Shape { rate, span, own, since: cell.read(SINCE) } }
    }

    /// Reads an owner's line, beginning with how often it was filled.
    pub(in crate::store::index) fn read_counted(cell: &'a Cell, number: u32) -> Self {
        let filled = cell.word(OWN + 1).load(Ordering::Acquire);
        let mut limiter = Self::read(cell, number);
        limiter.shape.own[1] = filled;
        limiter
    }

    /// Whether an owner's line was filled as often when it was read.
    pub(in crate::store::index) fn is_as_counted(&self) -> bool {
        self.cell.read(OWN + 1) == self.shape.own[1]
    }

    /// Fills a new line of an owner, and counts that. Unlike a slot, an owner's word doesn't say
    /// how often it was changed, and could name the same line again.
    pub(in crate::store::index) fn write_seqlocked(
        cell: &Cell,
        shape: Shape,
        before: Option<&Self>,
        now: Timestamp,
    ) {
        let filled = cell.read(OWN + 1) + 1;
        // Before any other word: the fence that comes first in filling orders them.
        cell.word(OWN + 1).store(filled, Ordering::Relaxed);
        Self::fill(cell, Shape { own: [shape.own[0], filled], ..shape }, before, now);
    }

    /// Fills a new line, with what was used of the limits before. For the writer. What is used
    /// meanwhile isn't counted; but no use of a quota's lease is ever counted in both.
    pub(in crate::store::index) fn fill(
        cell: &Cell,
        shape: Shape,
        before: Option<&Self>,
        now: Timestamp,
    ) {
        let millis = now.as_millis();
        let mut words = [0; WORDS];
        if let Some(gcra) = shape.gcra() {
            let used = before.and_then(|before| Some((before.shape.gcra()?, before)));
            words[STATE] = match used {
                Some((rate, before)) => gcra.carried(rate, before.cell.read(STATE), millis),
                None => gcra.unused(millis),
            };
        }
        let same = |before: &&Self| shape.has_quota() && before.shape.quota() == shape.quota();
        if let Some(before) = before.filter(same) {
            // Before the lease: where it is gone, nothing is said of what is left.
            words[LEFT] = before.cell.word(LEFT).swap(0, Ordering::Relaxed);
            words[LEASE] = before.take_lease().0;
        }
        [words[RATE], words[SPAN], words[SINCE]] = [shape.rate, shape.span, shape.since];
        words[OWN..OWN + 2].copy_from_slice(&shape.own);
        cell.fill(words);
    }

    /// The owner of the key, if its id is short.
    #[inline]
    pub(in crate::store) fn short_owner(&self) -> Option<ShortOwner> {
        (self.shape.own[0] != 0).then(|| bytes(&self.shape.own))
    }

    /// The owner's first moment.
    pub(in crate::store::index) fn first_moment(&self) -> Option<Timestamp> {
        let millis = self.shape.own[0];
        (millis > 0).then(|| Timestamp::clamped_millis(millis))
    }

    /// The rate.
    #[inline]
    pub(in crate::store) fn gcra(&self) -> Option<Gcra> {
        self.shape.gcra()
    }

    /// Whether there is a quota.
    #[inline]
    pub(in crate::store) fn has_quota(&self) -> bool {
        self.shape.has_quota()
    }

    /// Which quota there is.
    pub(in crate::store) fn quota(&self) -> Option<QuotaMark> {
        self.shape.quota()
    }

    /// At which version of its record the quota's count began.
    pub(in crate::store) fn since(&self) -> u64 {
        self.shape.since
    }

    /// How often the quota is refilled.
    pub(in crate::store) fn period(&self) -> Option<Period> {
        // Two bits of it.
        #[allow(clippy::cast_possible_truncation)]
        Period::from_number((self.shape.rate >> EVERY_AT) as u8 & 3).ok()
    }

    /// What the rate says of uses now.
    #[inline]
    pub(in crate::store) fn judge(&self, rate: Gcra, now: Timestamp, uses: u32) -> Verdict {
        rate.judge(self.cell.read(STATE), now.as_millis(), uses)
    }

    /// The same; takes them if it allows them.
    ///
    /// Relaxed suffices: the word is all there is of the state, and changes to one word have one
    /// order, so that none is lost.
    #[inline]
    pub(in crate::store) fn take(&self, rate: Gcra, now: Timestamp, uses: u32) -> Verdict {
        let state = self.cell.word(STATE);
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

    /// What is said after the state was found to be ahead of the clock. Unless it is so by a clock
    /// that was read after the state, this was a thread that read its clock long ago.
    #[cold]
    pub(in crate::store) fn step_back(&self, rate: Gcra, now: impl Fn() -> Timestamp) {
        let state = self.cell.word(STATE);
        let seen = state.load(Ordering::Relaxed);
        if let Verdict::Ahead { next } = rate.judge(seen, now().as_millis(), 0) {
            // If it was changed meanwhile, it is for another to find out.
            let _ = state.compare_exchange(seen, next, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Gives uses back.
    pub(in crate::store::index) fn refund(&self, units: u64) {
        self.cell.word(STATE).fetch_sub(units, Ordering::Relaxed);
    }

    /// What is left of the lease.
    pub(in crate::store) fn lease(&self) -> LeaseWord {
        LeaseWord(self.cell.read(LEASE))
    }

    /// Spends uses of the lease, if there are as many; what they were taken from.
    #[inline]
    pub(in crate::store) fn spend(&self, now: Timestamp, uses: u32) -> Option<LeaseWord> {
        let word = self.cell.word(LEASE);
        let mut seen = word.load(Ordering::Relaxed);
        loop {
            let next = LeaseWord(seen).spend(now, uses.into())?;
            match word.compare_exchange_weak(seen, next.0, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(next),
                Err(other) => seen = other,
            }
        }
    }

    /// Adds to the lease.
    pub(in crate::store::index) fn add_lease(&self, lease: LeaseWord) {
        let add = |seen| Some(LeaseWord(seen).add(lease).0);
        let word = self.cell.word(LEASE);
        // It always has something to put.
        let _ = word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Takes all that is left of the lease.
    pub(in crate::store::index) fn take_lease(&self) -> LeaseWord {
        LeaseWord(self.cell.word(LEASE).swap(0, Ordering::Release))
    }

    /// Notes what is left beside the lease.
    pub(in crate::store::index) fn note_left(&self, left: LeftWord) {
        self.cell.word(LEFT).store(left.0, Ordering::Release);
    }

    /// Whether more uses than the lease and what was left beside it, in this period; if that may
    /// have changed since, it counts for less than so many milliseconds.
    pub(in crate::store) fn lacks(&self, now: Timestamp, uses: u32, within: Option<u64>) -> bool {
        // What is leased is in the lease before it is no more beside it.
        let left = self.cell.word(LEFT).load(Ordering::Acquire);
        let lease = LeaseWord(self.cell.word(LEASE).load(Ordering::Acquire));
        LeftWord(left).lacks(lease.missing(now, uses), now, within)
            && !lease.is_void(now)
            // Otherwise it may just be moved to another line.
            && self.cell.read(LEFT) == left
    }
}
