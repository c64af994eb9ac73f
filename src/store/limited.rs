//! What limits a key: looked at when its secret was right and its state is in order.

use super::core::Core;
use super::error::{RateLimited, Refusal};
use super::index::{Entry, LeaseWord, Limiter, OwnerLimiter, Packed, Whose};
use super::leases::Account;
use super::request::VerifyRequest;
use crate::clock::Timestamp;
use crate::grant::RateUse;
use crate::id::KeyId;
use crate::key::{Gcra, Verdict};

/// One use of a key whose secret was right.
#[derive(Debug)]
pub(super) struct Use<'a> {
    pub(super) request: &'a VerifyRequest<'a>,
    pub(super) key: KeyId,
    pub(super) packed: &'a Packed<'a>,
    pub(super) entry: &'a Entry,
    pub(super) now: Timestamp,
}

/// The limits of a key and of its owner, and what was taken of them.
#[derive(Debug)]
pub(super) struct Limits<'a> {
    pub(super) key: Option<Limiter<'a>>,
    owner: Option<OwnerLimiter<'a>>,
    /// Units of the rates.
    taken: [Option<u64>; 2],
    /// Uses of the quotas' leases.
    spent: [Option<LeaseWord>; 2],
}

/// Limits were replaced while they were judged by: nothing that was said counts.
#[derive(Clone, Copy, Debug)]
enum Replaced {
    /// The key's slot: it must be looked for again.
    Slot,
    /// The owner's: they must be read again.
    Owner,
}

impl Core {
    /// Judges by all limits, and takes what the use costs; `None` if the key was replaced meanwhile
    /// and must be looked for again. A use that is refused has taken nothing.
    #[inline(never)]
    pub(super) fn judge_limits<'a>(
        &'a self,
        one: &Use<'_>,
    ) -> Option<Result<(Limits<'a>, Option<RateUse>), Refusal>> {
        loop {
            let key = one.entry.limited.and_then(|limited| self.index.limiter(limited));
            if key.is_some() && !one.packed.is_still() {
                return None;
            }
            let owner = self.index.owner_limiter(one.entry.owner);
            let mut limits = Limits { key, owner, taken: [None; 2], spent: [None; 2] };
            let judged = self.judge_by(one, &mut limits);
            let replaced = self.replaced(one, &limits);
            if judged.is_err() || replaced.is_some() {
                self.give_back(one, &limits);
            }
            match replaced {
                None => return Some(judged.map(|rate| (limits, rate))),
                Some(Replaced::Slot) => return None,
                Some(Replaced::Owner) => {}
            }
        }
    }

    /// What is no more as it was read.
    fn replaced(&self, one: &Use<'_>, limits: &Limits<'_>) -> Option<Replaced> {
        if limits.key.is_some() && !one.packed.is_still() {
            Some(Replaced::Slot)
        } else if limits.owner.is_some_and(|owner| !self.index.is_still(&owner)) {
            Some(Replaced::Owner)
        } else {
            None
        }
    }

    /// The limits in their order. What costs nothing comes first, and a use that will be refused
    /// mostly shows it before anything is taken: so others never find less than there is.
    #[inline]
    fn judge_by(&self, one: &Use<'_>, limits: &mut Limits<'_>) -> Result<Option<RateUse>, Refusal> {
        let own = one.entry.limited.and_then(|limited| limited.not_before);
        let from = own.max(limits.owner.and_then(|owner| owner.not_before()));
        if let Some(from) = from.filter(|from| *from > one.now) {
            return Err(Refusal::NotYet(from));
        }
        let address = one.request.address;
        let mut each = limits.both().into_iter().flatten();
        if !each.all(|limiter| self.index.contain(&limiter, address).unwrap_or(true)) {
            return Err(match address {
                Some(_) => Refusal::AddressRefused,
                None => Refusal::AddressMissing,
            });
        }
        let rates = limits.both().map(|both| {
            let limiter = both?;
            Some((limiter, limiter.gcra()?))
        });
        let uses = one.request.cost;
        let judge = |(limiter, rate): (Limiter<'_>, _)| {
            self.by_rate(rate, one, &limiter, |now| limiter.judge(rate, now, uses))
        };
        self.longest(rates.map(|rate| rate.map(judge)))?;
        self.spend_all(one, limits)?;
        // As long as nobody else comes between, what was allowed above is so here too.
        let mut shown: Option<RateUse> = None;
        for (at, (limiter, rate)) in (0..).zip(rates).filter_map(|(at, rate)| Some((at, rate?))) {
            let used = self.by_rate(rate, one, &limiter, |now| limiter.take(rate, now, uses))?;
            limits.taken[at] = Some(rate.cost(uses));
            // Numbers are worked out only where two must be compared.
            shown = Some(match shown {
                Some(before) if before.remaining() <= used.remaining() => before,
                _ => used,
            });
        }
        Ok(shown)
    }

    /// Spends of the quotas. They come before the rates are taken from, for a lease may have to be
    /// waited for.
    #[inline]
    fn spend_all(&self, one: &Use<'_>, limits: &mut Limits<'_>) -> Result<(), Refusal> {
        let uses = one.request.cost;
        let counted = limits.both().map(|limiter| limiter.filter(Limiter::has_quota));
        if uses == 0 || counted.iter().all(Option::is_none) {
            return Ok(());
        }
        for limiter in counted.iter().flatten() {
            self.check_quota(limiter, one.now, uses)?;
        }
        let whose = one.whose();
        for (at, limiter) in counted.iter().enumerate() {
            let Some(limiter) = limiter else { continue };
            let account = || {
                let owner = self.index.owner(one.entry, limits.key.as_ref())?;
                Some(Account { owner, whose: whose[at] })
            };
            let is_still = || self.replaced(one, limits).is_none();
            let lease = self.spend(account, limiter, one.now, uses, is_still)?;
            limits.spent[at] = Some(lease.with_units(uses.into()));
        }
        Ok(())
    }

    /// What a rate says.
    #[inline]
    fn by_rate(
        &self,
        rate: Gcra,
        one: &Use<'_>,
        limiter: &Limiter<'_>,
        judge: impl Fn(Timestamp) -> Verdict,
    ) -> Result<RateUse, RateLimited> {
        match judge(one.now) {
            Verdict::Allowed { used, .. } => Ok(RateUse { rate, used }),
            Verdict::Refused { used, missing } => {
                let retry_after = missing.map(|missing| rate.duration(missing.get()));
                Err(RateLimited { status: RateUse { rate, used }.status(), retry_after })
            }
            Verdict::Ahead { .. } => self.after_a_step_back(rate, one, limiter, judge),
        }
    }

    /// The state was written later than the clock was read: the clock has stepped back, or this
    /// thread was interrupted since.
    #[cold]
    fn after_a_step_back(
        &self,
        rate: Gcra,
        one: &Use<'_>,
        limiter: &Limiter<'_>,
        judge: impl Fn(Timestamp) -> Verdict,
    ) -> Result<RateUse, RateLimited> {
        let now = || self.gate.pass(&*self.clock).unwrap_or(one.now);
        limiter.step_back(rate, now);
        match judge(now()) {
            Verdict::Allowed { used, .. } => Ok(RateUse { rate, used }),
            Verdict::Refused { used, missing } => {
                let retry_after = missing.map(|missing| rate.duration(missing.get()));
                Err(RateLimited { status: RateUse { rate, used }.status(), retry_after })
            }
            // It steps back all the time.
            Verdict::Ahead { .. } => {
                let status = RateUse { rate, used: rate.whole() }.status();
                let uses = one.request.cost;
                let retry_after =
                    (uses <= status.rate.burst()).then(|| rate.duration(rate.cost(uses)));
                Err(RateLimited { status, retry_after })
            }
        }
    }

    /// Of several rates that refuse, the one that has to be waited for longest.
    fn longest<T>(&self, judged: [Option<Result<T, RateLimited>>; 2]) -> Result<(), Refusal> {
        let refused = judged.into_iter().flatten().filter_map(Result::err);
        let longest = refused.reduce(|one, other| {
            let wait = |limited: &RateLimited| limited.retry_after;
            // `None` is for ever.
            let longer = wait(&one).is_some_and(|one| wait(&other).is_none_or(|other| other > one));
            if longer { other } else { one }
        });
        longest.map_or(Ok(()), |limited| Err(Refusal::RateLimited(limited)))
    }

    /// Gives back all that was taken. It happens only when another came between two looks at a
    /// limit, or replaced it.
    fn give_back(&self, one: &Use<'_>, limits: &Limits<'_>) {
        for (at, (limiter, whose)) in limits.both().into_iter().zip(one.whose()).enumerate() {
            let Some(limiter) = limiter else { continue };
            if let Some(units) = limits.taken[at] {
                self.index.untake(whose, &limiter, units);
            }
            if let Some(lease) = limits.spent[at] {
                self.index.unspend(whose, &limiter, lease);
            }
        }
    }
}

impl Use<'_> {
    /// Whose limits may hold: the key's and its owner's.
    fn whose(&self) -> [Whose; 2] {
        [Whose::Key(self.key, Some(self.entry.owner)), Whose::Owner(self.entry.owner)]
    }
}

impl<'a> Limits<'a> {
    /// The key's and the owner's.
    #[inline]
    fn both(&self) -> [Option<Limiter<'a>>; 2] {
        [self.key, self.owner.map(|owner| owner.limiter)]
    }
}

impl From<RateLimited> for Refusal {
    fn from(limited: RateLimited) -> Self {
        Self::RateLimited(limited)
    }
}
