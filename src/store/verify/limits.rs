//! What limits a key: looked at when its secret was right and its state is in order.

use std::num::NonZeroU64;

use super::quota_leases::Account;
use super::token::TokenVerifier;
use crate::clock::Timestamp;
use crate::id::KeyId;
use crate::key::RateLimited;
use crate::key::{Gcra, RejectReason, Verdict};
use crate::store::index::{
    LeaseWord, Limited, Limiter, OwnerLimiter, ReadVersion, ShortOwner, Whose,
};
use crate::store::types::error::VerifyError;
use crate::store::types::request::VerifyRequest;
use crate::verified_key::RateUse;

/// One use of a key whose secret was right.
#[derive(Debug)]
pub(in crate::store) struct Consumption<'a> {
    pub(in crate::store) request: &'a VerifyRequest<'a>,
    pub(in crate::store) key: KeyId,
    /// The number of its owner, and its id if it lies in the key's slot.
    pub(in crate::store) owner: u32,
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

/// What was taken of them.
#[derive(Debug, Default)]
struct Taken {
    /// Units of the rates.
    units: [u64; 2],
    /// Uses of the quotas' leases.
    uses: [Option<LeaseWord>; 2],
}

/// What a verified key says of limits that allow.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Allowed {
    /// The owner's id, if it is short: in a limited key's slot there is no room for it, but with
    /// its limits there is.
    pub(in crate::store) owner: Option<ShortOwner>,
    pub(in crate::store) rate: Option<RateUse>,
}

/// Limits were replaced while they were judged by: nothing that was said counts.
#[derive(Clone, Copy, Debug)]
enum Replaced {
    /// The key's slot: it must be looked for again.
    Slot,
    /// The owner's: they must be read again.
    Owner,
}

impl TokenVerifier {
    /// Judges by all limits, and takes what the use costs; `None` if the key was replaced meanwhile
    /// and must be looked for again. A use that is refused has taken nothing.
    #[inline(never)]
    pub(in crate::store) fn judge_limits(
        &self,
        one: &Consumption<'_>,
    ) -> Option<Result<Allowed, VerifyError>> {
        loop {
            let key = one.limited.and_then(|limited| self.engine.index.limiter(limited));
            if key.is_some() && !one.slot.validate() {
                return None;
            }
            let owner =
                if one.owner_limited { self.engine.index.owner_limiter(one.owner) } else { None };
            let limits = Limits { key: key.as_ref(), owner: owner.as_ref() };
            let mut taken = Taken::default();
            let judged = self.judge_by(one, limits, &mut taken);
            let replaced = self.replaced(one, limits);
            if judged.is_err() || replaced.is_some() {
                self.refund(one, limits, &taken);
            }
            match replaced {
                None => {
                    let owner = one.short_owner.or(limits.key.and_then(Limiter::short_owner));
                    return Some(judged.map(|rate| Allowed { owner, rate }));
                }
                Some(Replaced::Slot) => return None,
                Some(Replaced::Owner) => {}
            }
        }
    }

    /// What is no more as it was read.
    #[inline]
    fn replaced(&self, one: &Consumption<'_>, limits: Limits<'_>) -> Option<Replaced> {
        if limits.key.is_some() && !one.slot.validate() {
            Some(Replaced::Slot)
        } else if limits.owner.is_some_and(|owner| !self.engine.index.validate(owner)) {
            Some(Replaced::Owner)
        } else {
            None
        }
    }

    /// The limits in their order. What costs nothing comes first, and a use that will be refused
    /// mostly shows it before anything is taken: so others never find less than there is.
    #[inline]
    fn judge_by(
        &self,
        one: &Consumption<'_>,
        limits: Limits<'_>,
        taken: &mut Taken,
    ) -> Result<Option<RateUse>, VerifyError> {
        let own = one.limited.and_then(|limited| limited.not_before);
        let from = own.max(limits.owner.and_then(OwnerLimiter::not_before));
        if let Some(from) = from.filter(|from| *from > one.now) {
            return Err(VerifyError::Rejected(RejectReason::NotYet(from)));
        }
        let both = limits.both();
        for limiter in both.into_iter().flatten() {
            let address = one.request.address;
            if self.engine.index.contain(limiter, address) == Some(false) {
                return Err(match address {
                    Some(_) => VerifyError::Rejected(RejectReason::AddressRejected),
                    None => VerifyError::Rejected(RejectReason::AddressMissing),
                });
            }
        }
        let uses = one.request.cost;
        for limiter in both.into_iter().flatten() {
            let Some(rate) = limiter.gcra() else { continue };
            match limiter.judge(rate, one.now, uses) {
                Verdict::Allowed { .. } => {}
                // Perhaps the other one has to be waited for longer.
                Verdict::Refused { .. } | Verdict::Ahead { .. } => self.by_rates(one, both)?,
            }
        }
        for limiter in both.into_iter().flatten().filter(|limiter| limiter.has_quota()) {
            self.leases.check(limiter, one.now, uses)?;
        }
        // Quotas before rates, for a lease may have to be waited for.
        for (at, limiter) in both.into_iter().enumerate() {
            let Some(limiter) = limiter.filter(|limiter| uses > 0 && limiter.has_quota()) else {
                continue;
            };
            let account = || {
                let short = one.short_owner.or(limits.key.and_then(Limiter::short_owner));
                let owner = self.engine.index.owner(one.owner, short)?;
                Some(Account { owner, whose: one.whose()[at] })
            };
            let validate = || self.replaced(one, limits).is_none();
            let lease = self.leases.spend(account, limiter, one.now, uses, validate)?;
            taken.uses[at] = Some(lease.with_units(uses.into()));
        }
        // As long as nobody else comes between, what was allowed above is so here too.
        let mut shown: Option<RateUse> = None;
        for (at, limiter) in both.into_iter().enumerate() {
            let Some((limiter, rate)) = limiter.and_then(|own| Some((own, own.gcra()?))) else {
                continue;
            };
            let used = match limiter.take(rate, one.now, uses) {
                Verdict::Allowed { used, .. } => RateUse { rate, used },
                _ => self.by_rate(rate, one, limiter, |now| limiter.take(rate, now, uses))?,
            };
            taken.units[at] = rate.cost(uses);
            // Numbers are worked out only where two must be compared.
            shown = Some(match shown {
                Some(before) if before.remaining() <= used.remaining() => before,
                _ => used,
            });
        }
        Ok(shown)
    }

    /// What the rates say together, where one of them doesn't just allow: of two that refuse, the
    /// one that has to be waited for longer.
    #[cold]
    fn by_rates(
        &self,
        one: &Consumption<'_>,
        both: [Option<&Limiter<'_>>; 2],
    ) -> Result<(), VerifyError> {
        let mut longest: Option<RateLimited> = None;
        for limiter in both.into_iter().flatten() {
            let Some(rate) = limiter.gcra() else { continue };
            let judge = |now| limiter.judge(rate, now, one.request.cost);
            if let Err(refused) = self.by_rate(rate, one, limiter, judge) {
                let wait = refused.retry_after;
                // `None` is for ever.
                let is_longer = |before: &RateLimited| {
                    before.retry_after.is_some_and(|other| wait.is_none_or(|wait| wait > other))
                };
                if longest.as_ref().is_none_or(is_longer) {
                    longest = Some(refused);
                }
            }
        }
        longest.map_or(Ok(()), |limited| {
            Err(VerifyError::Rejected(RejectReason::RateLimited(limited)))
        })
    }

    /// What a rate says. A state that is ahead was written later than the clock was read: the clock
    /// has stepped back, or this thread was interrupted since.
    #[cold]
    fn by_rate(
        &self,
        rate: Gcra,
        one: &Consumption<'_>,
        limiter: &Limiter<'_>,
        judge: impl Fn(Timestamp) -> Verdict,
    ) -> Result<RateUse, RateLimited> {
        let now = || self.engine.availability.check(&*self.engine.clock).unwrap_or(one.now);
        let mut verdict = judge(one.now);
        if let Verdict::Ahead { .. } = verdict {
            limiter.step_back(rate, now);
            verdict = judge(now());
        }
        let uses = one.request.cost;
        let (used, wait) = match verdict {
            Verdict::Allowed { used, .. } => return Ok(RateUse { rate, used }),
            Verdict::Refused { used, missing } => (used, missing.map(NonZeroU64::get)),
            // It steps back all the time.
            Verdict::Ahead { .. } => {
                (rate.whole(), (uses <= rate.rate().burst()).then(|| rate.cost(uses)))
            }
        };
        let status = RateUse { rate, used }.status();
        Err(RateLimited { status, retry_after: wait.map(|units| rate.duration(units)) })
    }

    /// Gives back all that was taken, when a later limit refused after all: another came between
    /// two looks at it or replaced it, or a lease for it couldn't be had.
    #[cold]
    fn refund(&self, one: &Consumption<'_>, limits: Limits<'_>, taken: &Taken) {
        for (at, (limiter, whose)) in limits.both().into_iter().zip(one.whose()).enumerate() {
            let Some(limiter) = limiter else { continue };
            if taken.units[at] > 0 {
                self.engine.index.refund_rate(whose, limiter, taken.units[at]);
            }
            if let Some(lease) = taken.uses[at] {
                self.engine.index.refund_lease(whose, limiter, lease);
            }
        }
    }
}

impl<'a> Limits<'a> {
    #[inline]
    fn both(self) -> [Option<&'a Limiter<'a>>; 2] {
        [self.key, self.owner.map(|owner| &owner.limiter)]
    }
}

impl Consumption<'_> {
    /// Whose limits may hold: the key's and its owner's.
    fn whose(&self) -> [Whose; 2] {
        [Whose::Key(self.key, Some(self.owner)), Whose::Owner(self.owner)]
    }
}

impl From<RateLimited> for VerifyError {
    fn from(limited: RateLimited) -> Self {
        Self::Rejected(RejectReason::RateLimited(limited))
    }
}
