//! Limits of a key and its owner. A token is judged by them once its secret is right and its state
//! is valid.

use std::num::NonZeroU64;
use std::sync::Arc;

use super::lease_queue::{Account, Need};
use super::quota_leases::{LeaseSettings, QuotaLeases};
use crate::clock::Timestamp;
use crate::id::{KeyId, OwnerId};
use crate::key::{Gcra, LimitHolder, RateLimited, RejectReason, Verdict};
use crate::store::engine::{Engine, Records};
use crate::store::index::{LeaseWord, Limited, Limiter, OwnerLimiter, ReadVersion, ShortOwner};
use crate::store::types::request::VerifyRequest;
use crate::store::types::reserved::{ReservedQuota, ReservedQuotas, Whose};
use crate::store::types::verify_error::{Unavailable, VerifyError};
use crate::verified_key::{LimitsLeft, QuotaLeft, RateUse};

/// One use of a key, by a token whose secret is right.
#[derive(Debug)]
pub(in crate::store) struct Consumption<'a> {
    pub(in crate::store) request: &'a VerifyRequest<'a>,
    pub(in crate::store) key: KeyId,
    /// The number of the key's owner.
    pub(in crate::store) owner: u32,
    /// The owner's id, if the key's slot holds it.
    pub(in crate::store) short_owner: Option<ShortOwner>,
    pub(in crate::store) limited: Option<Limited>,
    pub(in crate::store) owner_limited: bool,
    pub(in crate::store) slot: ReadVersion<'a>,
    pub(in crate::store) now: Timestamp,
}

/// The limits of a key and of its owner.
#[derive(Clone, Copy, Debug)]
struct Limits<'a> {
    key: Option<&'a Limiter<'a>>,
    owner: Option<&'a OwnerLimiter<'a>>,
}

/// The units and uses that a consumption has reserved: first of the key's limits, then of its
/// owner's.
#[derive(Debug, Default)]
struct Reservation {
    /// Units of the rates.
    units: [u64; 2],
    /// Uses of the quotas' leases.
    uses: [Option<LeaseWord>; 2],
}

/// The part of a verified key that its limits decide, when they allow the use.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Allowed {
    pub(in crate::store) owner: OwnerId,
    pub(in crate::store) left: LimitsLeft,
}

/// The limits that were replaced while a use was judged by them. The verdict doesn't count.
#[derive(Clone, Copy, Debug)]
enum Replaced {
    /// The key's, or its slot: the key must be looked up again.
    Slot,
    /// The owner's: they must be read again.
    Owner,
}

/// Judges limits, and takes uses out of them.
#[derive(Debug)]
pub(super) struct LimitJudge {
    records: Arc<Records>,
    pub(super) leases: Arc<QuotaLeases>,
}

impl LimitJudge {
    pub(super) fn new(engine: &Arc<Engine>, settings: LeaseSettings) -> Self {
        let leases = Arc::new(QuotaLeases::new(engine, settings));
        Self { records: Arc::clone(&engine.records), leases }
    }

    /// Judges a use by all limits, and reserves what it costs. Returns `None` if the key was
    /// replaced meanwhile and must be looked up again. A rejected use reserves nothing, and neither
    /// does one that has to wait for a lease, its `need`.
    // Not inlined, so that the code for a key without limits stays short.
    #[inline(never)]
    pub(in crate::store) fn judge(
        &self,
        consumption: &Consumption<'_>,
        need: &mut Option<Need>,
    ) -> Option<Result<Allowed, VerifyError>> {
        loop {
            let (key, owner) = self.read(consumption)?;
            let limits = Limits { key: key.as_ref(), owner: owner.as_ref() };
            let mut reservation = Reservation::default();
            let verdict = self.judge_by(consumption, limits, &mut reservation, need);
            let owner_id = self.owner(consumption, limits);
            let quota = limits.quota_left(consumption.now);
            let replaced = self.replaced(consumption, limits);
            if verdict.is_err() || replaced.is_some() {
                self.refund(consumption, limits, &reservation);
            }
            if replaced.is_some() {
                *need = None;
            }
            match replaced {
                None => {
                    if let (Some(quotas), true) = (consumption.request.quotas, verdict.is_ok()) {
                        // Set for the first time: this verdict is the one that counts.
                        let _ = quotas
                            .set(reservation.quotas(limits, self.holders(consumption, limits)));
                    }
                    let recovering = VerifyError::Unavailable(Unavailable::Recovering);
                    return Some(verdict.and_then(|rate| {
                        let left = LimitsLeft { rate, quota };
                        Ok(Allowed { owner: owner_id.ok_or(recovering)?, left })
                    }));
                }
                Some(Replaced::Slot) => return None,
                Some(Replaced::Owner) => {}
            }
        }
    }

    /// Judges a key by the limits on time and address alone, and takes nothing. Returns what is left
    /// of its rate, and `None` if the key was replaced meanwhile and must be looked up again.
    #[inline(never)]
    pub(in crate::store) fn recheck(
        &self,
        consumption: &Consumption<'_>,
    ) -> Option<Result<Allowed, VerifyError>> {
        loop {
            let (key, owner) = self.read(consumption)?;
            let limits = Limits { key: key.as_ref(), owner: owner.as_ref() };
            let verdict = self.judge_time_and_address(consumption, limits);
            let rates = limits.held().filter_map(|(holder, limiter)| {
                let rate = limiter.gcra()?;
                let used = match limiter.judge(rate, consumption.now, 0) {
                    Verdict::Allowed { used, .. } | Verdict::Refused { used, .. } => used,
                    // The clock has stepped back: the next use sets the state back to this.
                    Verdict::Ahead { .. } => rate.whole(),
                };
                Some(RateUse::new(holder, rate, used))
            });
            let rate = rates.min_by_key(|rate| rate.remaining());
            let owner_id = self.owner(consumption, limits);
            let quota = limits.quota_left(consumption.now);
            match self.replaced(consumption, limits) {
                None => {
                    let recovering = VerifyError::Unavailable(Unavailable::Recovering);
                    return Some(verdict.and_then(|()| {
                        let left = LimitsLeft { rate, quota };
                        Ok(Allowed { owner: owner_id.ok_or(recovering)?, left })
                    }));
                }
                Some(Replaced::Slot) => return None,
                Some(Replaced::Owner) => {}
            }
        }
    }

    /// Reads the limits of a key and its owner. Returns `None` if the key was replaced meanwhile.
    #[inline]
    fn read(
        &self,
        consumption: &Consumption<'_>,
    ) -> Option<(Option<Limiter<'_>>, Option<OwnerLimiter<'_>>)> {
        let index = &self.records.index;
        let key = consumption.limited.and_then(|limited| index.limiter(limited));
        let owner_limited = consumption.owner_limited;
        let owner = owner_limited.then(|| index.owner_limiter(consumption.owner)).flatten();
        // Before a use is taken: the record may be another key's by now, and the number another
        // owner's. An owner that is gone has no limits any more, and no use either.
        let is_gone = owner_limited && owner.is_none() && index.is_owner_gone(consumption.owner);
        (!is_gone && consumption.slot.validate()).then_some((key, owner))
    }

    /// Returns the limits that were replaced since they were read, if any were.
    #[inline]
    fn replaced(&self, consumption: &Consumption<'_>, limits: Limits<'_>) -> Option<Replaced> {
        // The slot also for an owner's limits alone, and for its id: the number that led to them may have
        // been another owner's before they were read.
        if !consumption.slot.validate() {
            Some(Replaced::Slot)
        } else if limits.owner.is_some_and(|owner| !self.records.index.validate(owner)) {
            Some(Replaced::Owner)
        } else {
            None
        }
    }

    /// Returns the id of the key's owner. It is stored with the key's limits if it is short, for the slot of
    /// a limited key has no room for it.
    #[inline]
    fn owner(&self, consumption: &Consumption<'_>, limits: Limits<'_>) -> Option<OwnerId> {
        let short = consumption.short_owner.or(limits.key.and_then(Limiter::short_owner));
        self.records.index.owner(consumption.owner, short, consumption.slot)
    }

    /// Returns the holders of the limits: the key, then its owner if that has limits. The owner is the one
    /// whose limits were read. Without any, the number may be another owner's by now, but then the key is
    /// gone too, and with it what it holds.
    #[cold]
    fn holders(&self, consumption: &Consumption<'_>, limits: Limits<'_>) -> [Option<Whose>; 2] {
        let limited = limits.owner.map(|owner| owner.owner);
        let owner = limited.or_else(|| self.records.index.owner_ref(consumption.owner));
        [Some(Whose::Key(consumption.key, owner)), limited.map(Whose::Owner)]
    }

    /// Judges a use by the limits, one after the other. The limits that reserve nothing come first,
    /// and all others are read before any is reserved. So a use that is rejected has mostly
    /// reserved nothing, and concurrent uses find all that is left.
    #[inline]
    fn judge_by(
        &self,
        consumption: &Consumption<'_>,
        limits: Limits<'_>,
        reservation: &mut Reservation,
        need: &mut Option<Need>,
    ) -> Result<Option<RateUse>, VerifyError> {
        self.judge_time_and_address(consumption, limits)?;
        let limiters = limits.limiters();
        // A use that costs nothing is refused when the next one that costs something would be.
        let (uses, needed) = (consumption.request.cost, consumption.needed());
        for limiter in limiters.into_iter().flatten() {
            let Some(rate) = limiter.gcra() else { continue };
            match limiter.judge(rate, consumption.now, needed) {
                Verdict::Allowed { .. } => {}
                // The other rate may ask for a longer wait.
                Verdict::Refused { .. } | Verdict::Ahead { .. } => {
                    self.judge_rates(consumption, limits)?;
                }
            }
        }
        let account = |at: usize| {
            let owner = self.owner(consumption, limits)?;
            Some(Account { owner, holder: self.holders(consumption, limits)[at]? })
        };
        let mut lacking = None;
        let has_quota = |limiter: &Option<&Limiter<'_>>| limiter.is_some_and(Limiter::has_quota);
        for (at, limiter) in limiters.into_iter().enumerate().filter(|(_, it)| has_quota(it)) {
            let Some(limiter) = limiter else { continue };
            if !self.leases.check((LimitHolder::BOTH[at], limiter), consumption.now, uses)? {
                lacking = lacking.or(Some(at));
            }
        }
        // The key's first: if its quota rejects, nothing is leased of its owner's.
        if let Some(at) = lacking {
            return Err(self.leases.need(account(at), consumption.now, uses, need));
        }
        for (at, limiter) in limiters.into_iter().enumerate() {
            let Some(limiter) = limiter.filter(|limiter| uses > 0 && limiter.has_quota()) else {
                continue;
            };
            match self.leases.spend(|| account(at), limiter, consumption.now, uses) {
                Some(lease) => reservation.uses[at] = Some(lease.with_units(uses.into())),
                // Another thread has just spent it.
                None => return Err(self.leases.need(account(at), consumption.now, uses, need)),
            }
        }
        // Unless another thread comes in between, the rates allow here what they allowed above.
        let mut tightest: Option<RateUse> = None;
        for (at, limiter) in limiters.into_iter().enumerate() {
            let Some((limiter, rate)) =
                limiter.and_then(|limiter| Some((limiter, limiter.gcra()?)))
            else {
                continue;
            };
            let used = match limiter.take(rate, consumption.now, uses) {
                Verdict::Allowed { used, .. } => RateUse::new(LimitHolder::BOTH[at], rate, used),
                _ => {
                    let take = |now| limiter.take(rate, now, uses);
                    let held = (LimitHolder::BOTH[at], limiter);
                    self.apply_rate(rate, consumption, held, uses, take)?
                }
            };
            reservation.units[at] = rate.cost(uses);
            // `remaining` is computed only if there are two rates to compare.
            tightest = Some(match tightest {
                Some(before) if before.remaining() <= used.remaining() => before,
                _ => used,
            });
        }
        Ok(tightest)
    }

    /// Judges a use by the limits that reserve nothing.
    #[inline]
    fn judge_time_and_address(
        &self,
        consumption: &Consumption<'_>,
        limits: Limits<'_>,
    ) -> Result<(), VerifyError> {
        let own = consumption.limited.and_then(|limited| limited.not_before);
        let not_before = own.max(limits.owner.and_then(OwnerLimiter::not_before));
        if let Some(from) = not_before.filter(|from| *from > consumption.now) {
            return Err(VerifyError::Rejected(RejectReason::NotYet(from)));
        }
        for limiter in limits.limiters().into_iter().flatten() {
            let address = consumption.request.address;
            if self.records.index.contain(limiter, address) == Some(false) {
                return Err(match address {
                    Some(_) => VerifyError::Rejected(RejectReason::AddressRejected),
                    None => VerifyError::Rejected(RejectReason::AddressMissing),
                });
            }
        }
        Ok(())
    }

    /// Judges a use by both rates, when one of them doesn't simply allow it. If both reject it,
    /// returns the one with the longer wait.
    #[cold]
    fn judge_rates(
        &self,
        consumption: &Consumption<'_>,
        limits: Limits<'_>,
    ) -> Result<(), VerifyError> {
        let mut longest: Option<RateLimited> = None;
        for (holder, limiter) in limits.held() {
            let Some(rate) = limiter.gcra() else { continue };
            let needed = consumption.needed();
            let judge = |now| limiter.judge(rate, now, needed);
            if let Err(rejected) =
                self.apply_rate(rate, consumption, (holder, limiter), needed, judge)
            {
                let wait = rejected.retry_after;
                // `None` is an endless wait.
                let is_longer = |before: &RateLimited| {
                    before.retry_after.is_some_and(|other| wait.is_none_or(|wait| wait > other))
                };
                if longest.as_ref().is_none_or(is_longer) {
                    longest = Some(rejected);
                }
            }
        }
        longest.map_or(Ok(()), |limited| {
            Err(VerifyError::Rejected(RejectReason::RateLimited(limited)))
        })
    }

    /// Applies `judge` to a rate, and handles a rate whose state is ahead of `now`. Such a state
    /// was written after this thread read the clock: either the clock has stepped back, or the
    /// thread was interrupted.
    #[cold]
    fn apply_rate(
        &self,
        rate: Gcra,
        consumption: &Consumption<'_>,
        (holder, limiter): (LimitHolder, &Limiter<'_>),
        uses: u32,
        judge: impl Fn(Timestamp) -> Verdict,
    ) -> Result<RateUse, RateLimited> {
        let now =
            || self.records.availability.check(&*self.records.clock).unwrap_or(consumption.now);
        let mut verdict = judge(consumption.now);
        if let Verdict::Ahead { .. } = verdict {
            limiter.step_back(rate, now);
            verdict = judge(now());
        }
        let (used, wait) = match verdict {
            Verdict::Allowed { used, .. } => return Ok(RateUse::new(holder, rate, used)),
            Verdict::Refused { used, missing } => (used, missing.map(NonZeroU64::get)),
            // The clock has stepped back again since.
            Verdict::Ahead { .. } => {
                (rate.whole(), (uses <= rate.rate().burst()).then(|| rate.cost(uses)))
            }
        };
        let status = RateUse::new(holder, rate, used).status();
        Err(RateLimited { status, retry_after: wait.map(|units| rate.duration(units)) })
    }

    /// Refunds a reservation after a later limit has rejected the use. This is rare: another thread
    /// consumed or replaced that limit between its two reads.
    #[cold]
    fn refund(&self, consumption: &Consumption<'_>, limits: Limits<'_>, reservation: &Reservation) {
        let index = &self.records.index;
        if let (Some(key), units @ 1..) = (limits.key, reservation.units[0]) {
            key.give_back_units(units, || consumption.slot.validate());
        }
        if let (Some(owner), units @ 1..) = (limits.owner, reservation.units[1]) {
            owner.limiter.give_back_units(units, || index.validate(owner));
        }
        let taken = limits.limiters().into_iter().zip(reservation.uses);
        for ((limiter, lease), holder) in taken.zip(self.holders(consumption, limits)) {
            if let (Some(limiter), Some(lease), Some(holder)) = (limiter, lease, holder) {
                index.give_back(holder, limiter.since(), lease);
            }
        }
    }
}

impl Reservation {
    /// Returns the quotas from which uses were taken.
    #[cold]
    fn quotas(&self, limits: Limits<'_>, holders: [Option<Whose>; 2]) -> ReservedQuotas {
        let limiters = limits.limiters();
        std::array::from_fn(|at| {
            let (limiter, lease) = limiters[at].zip(self.uses[at])?;
            let (since, void_from) = (limiter.since(), lease.void_from());
            Some(ReservedQuota { holder: holders[at]?, since, void_from })
        })
    }
}

impl<'a> Limits<'a> {
    /// Returns the limiter of the key, then that of its owner.
    #[inline]
    fn limiters(self) -> [Option<&'a Limiter<'a>>; 2] {
        [self.key, self.owner.map(|owner| &owner.limiter)]
    }

    /// Returns the limiters that there are, each with its holder.
    #[inline]
    fn held(self) -> impl Iterator<Item = (LimitHolder, &'a Limiter<'a>)> {
        let held = LimitHolder::BOTH.into_iter().zip(self.limiters());
        held.filter_map(|(holder, limiter)| Some((holder, limiter?)))
    }

    /// Returns what is left of the quota that has less left, as far as is known.
    #[inline]
    fn quota_left(self, now: Timestamp) -> QuotaLeft {
        let known = self.held().filter_map(|(holder, limiter)| {
            let (left, refilled_at) = limiter.quota_left(now)?;
            Some((holder, left, refilled_at))
        });
        // The first of two that have as many: the key's.
        known
            .min_by_key(|(_, left, _)| *left)
            .map_or(QuotaLeft::UNKNOWN, |(holder, left, refilled_at)| {
                QuotaLeft::new(holder, left, refilled_at)
            })
    }
}

impl Consumption<'_> {
    /// Returns the number of uses that must be left.
    #[inline]
    fn needed(&self) -> u32 {
        self.request.cost.max(1)
    }
}

impl From<RateLimited> for VerifyError {
    fn from(limited: RateLimited) -> Self {
        Self::Rejected(RejectReason::RateLimited(limited))
    }
}

#[cfg(test)]
mod tests;
