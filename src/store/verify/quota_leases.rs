//! Quotas are spent in leases: uses that this process took out of a quota, and may spend without
//! asking again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use crate::backend::{BackendError, BackendErrorKind, Sharing, UsageChange, UsageSubject};
use crate::clock::Timestamp;
use crate::id::{KeyId, OwnerId, Version};
use crate::key::{Lease, Period, RejectReason};
use crate::store::engine::affected::AffectedRecords;
use crate::store::engine::state::Core;
use crate::store::index::{LeaseWord, LeftWord, Limiter, Whose};
use crate::store::types::error::{Error, Unavailable, VerifyError};

/// For how many milliseconds a quota isn't asked for what it didn't have, where other processes may
/// have put something back.
const RECHECK: u64 = 1_000;
/// How often a quota may change under somebody who asks for it.
const MOST_CHANGES: usize = 8;
/// How many leases are put back at once.
const CHUNK: usize = 1_000;

/// Leases that are wanted, and those that were taken.
///
/// Whoever gets the turn asks for all that is wanted by then, in one durable step; those who waited
/// for the turn meanwhile find what they wanted, or ask in their turn.
#[derive(Debug, Default)]
pub(in crate::store) struct Leases {
    wanted: Mutex<BTreeMap<UsageSubject, Needs>>,
    turn: Mutex<Taken>,
    core: OnceLock<Weak<Core>>,
}

/// How many uses those need who wait for one lease: together, and whoever needs the fewest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Needs {
    needed: u64,
    least: u64,
}

/// Whose quotas may have a lease.
#[derive(Debug, Default)]
struct Taken {
    keys: BTreeSet<KeyId>,
    owners: BTreeSet<OwnerId>,
    /// With how many they are looked through for those that are gone.
    sweep_at: usize,
}

/// Whose quota is spent.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Account {
    pub(in crate::store) owner: OwnerId,
    pub(in crate::store) whose: Whose,
}

/// What came of asking.
enum Asked {
    /// It is in the lease, unless too little is left; what is left is known.
    Leased,
    /// The quota isn't the one that was asked for.
    Changed,
}

impl Account {
    fn of(&self) -> UsageSubject {
        match self.whose {
            Whose::Key(id, _) => UsageSubject::Key(id),
            Whose::Owner(_) => UsageSubject::Owner(self.owner),
        }
    }
}

impl Core {
    /// Spends uses of a quota's lease; what they were taken from. Only where the lease has run out
    /// is a new one asked for, which waits for one durable write.
    #[inline]
    pub(in crate::store) fn spend(
        &self,
        account: impl FnOnce() -> Option<Account>,
        limiter: &Limiter<'_>,
        now: Timestamp,
        uses: u32,
        validate: impl Fn() -> bool,
    ) -> Result<LeaseWord, VerifyError> {
        match limiter.spend(now, uses) {
            Some(lease) => Ok(lease),
            None => self.refill(account(), limiter, now, uses, &validate),
        }
    }

    /// Whether a quota is known not to allow so much.
    #[inline]
    pub(in crate::store) fn check_quota(
        &self,
        limiter: &Limiter<'_>,
        now: Timestamp,
        uses: u32,
    ) -> Result<(), VerifyError> {
        if limiter.lease().units(now) >= uses.into() {
            return Ok(());
        }
        let recheck = match self.backend.sharing() {
            Sharing::Exclusive => None,
            Sharing::Shared { .. } => Some(RECHECK),
        };
        if limiter.lacks(now, uses, recheck) {
            return Err(VerifyError::Rejected(RejectReason::QuotaExhausted {
                refilled_at: limiter.lease().void_from(),
            }));
        }
        Ok(())
    }

    #[cold]
    fn refill(
        &self,
        account: Option<Account>,
        limiter: &Limiter<'_>,
        now: Timestamp,
        uses: u32,
        validate: &dyn Fn() -> bool,
    ) -> Result<LeaseWord, VerifyError> {
        let unavailable = |reason| Err(VerifyError::Unavailable(reason));
        let Some(account) = account else { return unavailable(Unavailable::Recovering) };
        let mut changes = 0;
        loop {
            if let Some(lease) = limiter.spend(now, uses) {
                return Ok(lease);
            }
            self.check_quota(limiter, now, uses)?;
            // Whoever is led to it anew finds another lease.
            if !validate() || changes == MOST_CHANGES {
                return unavailable(Unavailable::Quota);
            }
            let needed = limiter.lease().missing(now, uses);
            if needed == 0 {
                // Somebody has just put it there.
                continue;
            }
            match self.ask(&account, now, needed) {
                Ok(Asked::Leased) => {}
                Ok(Asked::Changed) => changes += 1,
                Err(reason) => return unavailable(reason),
            }
        }
    }

    /// Asks for all leases that are wanted, this one among them, unless somebody else just did.
    fn ask(&self, account: &Account, now: Timestamp, needed: u64) -> Result<Asked, Unavailable> {
        self.leases.want(account.of(), needed);
        let mut taken = self.leases.turn();
        let wanted = std::mem::take(&mut *self.leases.wanted());
        if let Some(unavailable) = self.availability.unavailable() {
            return Err(unavailable);
        }
        if self.availability.is_recovering() {
            return Err(Unavailable::Recovering);
        }
        if !wanted.contains_key(&account.of()) {
            return Ok(Asked::Leased);
        }
        let lease = |(of, needs): (&_, &Needs)| {
            let Needs { needed, least } = *needs;
            UsageChange::Lease { of: *of, needed, least, at: now }
        };
        let batch: Vec<UsageChange> = wanted.iter().map(lease).collect();
        // Before asking: what is leased of a quota that is tightened meanwhile may be more than is
        // left of that.
        let quotas = wanted.keys().map(|of| {
            let is_own = *of == account.of();
            let whose = if is_own { Some(account.whose) } else { self.whose_quota(of) };
            whose.and_then(|whose| Some((whose, self.index.quota(whose)?)))
        });
        let quotas: Vec<_> = quotas.collect();
        let outcome = self.backend.record_usage(&batch);
        let leases = match outcome {
            Ok(leases) if leases.len() == batch.len() => leases,
            Ok(_) => return Err(Unavailable::Quota),
            Err(error) => {
                // The leases are forfeited.
                self.suspend_if_unknown(&error);
                return Err(Unavailable::Quota);
            }
        };
        let (mut own, mut back) = (Asked::Changed, Vec::new());
        for ((of, quota), lease) in wanted.into_keys().zip(quotas).zip(leases) {
            let is_own = of == account.of();
            let put = lease.zip(quota).is_some_and(|(lease, (whose, quota))| {
                let word = LeaseWord::new(lease.void_from, lease.units);
                let left = LeftWord::new(lease.left, now);
                quota.is_since(lease.quota_version)
                    && self.index.put_lease(whose, quota, word, left)
            });
            match lease {
                Some(_) if put => {
                    taken.note(self, &of);
                    if is_own {
                        own = Asked::Leased;
                    }
                }
                Some(lease) => back.push(UsageChange::GiveBack { of, lease, at: now }),
                None => {}
            }
        }
        if !back.is_empty() {
            // Of a quota that is forgotten already, they are forfeited if this fails.
            let given = self.backend.record_usage(&back);
            let _ = given.inspect_err(|error| self.suspend_if_unknown(error));
        }
        drop(taken);
        if let Asked::Changed = own {
            self.learn_of(account)?;
        }
        Ok(own)
    }

    /// What else the database holds is for recovery to say; nobody asks again before.
    fn suspend_if_unknown(&self, error: &BackendError) {
        if error.kind() == BackendErrorKind::OutcomeUnknown
            && let Some(core) = self.leases.core.get().and_then(Weak::upgrade)
        {
            core.mark_indeterminate(&core.lock_applied_log(), &[]);
        }
    }

    /// A quota was changed, and the index doesn't know of it yet.
    fn learn_of(&self, account: &Account) -> Result<(), Unavailable> {
        let _applying = self.lock_applied_log();
        if self.availability.is_recovering() {
            return Err(Unavailable::Recovering);
        }
        let mut affected = AffectedRecords::default();
        match account.of() {
            UsageSubject::Key(key) => _ = affected.keys.insert(key, account.owner),
            UsageSubject::Owner(owner) => _ = affected.owners.insert(owner),
        }
        self.reload(&affected).map_err(|_| Unavailable::Quota)
    }

    fn whose_quota(&self, of: &UsageSubject) -> Option<Whose> {
        match of {
            UsageSubject::Key(id) => Some(Whose::Key(*id, None)),
            UsageSubject::Owner(id) => self.index.owner_number(id).map(Whose::Owner),
        }
    }

    /// Puts back what is left of all leases. For a store that was closed: nobody asks for more.
    ///
    /// # Errors
    /// The first of the backend, after all was tried. What isn't put back is forfeited, as after a
    /// crash.
    pub(in crate::store) fn put_back_leases(&self) -> Result<(), Error> {
        let mut taken = self.leases.turn();
        if self.availability.is_recovering() {
            let is_none = taken.keys.is_empty() && taken.owners.is_empty();
            return if is_none { Ok(()) } else { Err(Unavailable::Recovering.into()) };
        }
        let keys = std::mem::take(&mut taken.keys).into_iter().map(UsageSubject::Key);
        let owners = std::mem::take(&mut taken.owners).into_iter().map(UsageSubject::Owner);
        let at = self.now();
        let mut left = keys.chain(owners).filter_map(|of| {
            let lease = self.left(&of)?;
            Some(UsageChange::GiveBack { of, lease, at })
        });
        let mut first = Ok(());
        loop {
            let batch: Vec<UsageChange> = left.by_ref().take(CHUNK).collect();
            if batch.is_empty() {
                return first;
            }
            if let Err(error) = self.backend.record_usage(&batch) {
                let is_unknown = error.kind() == BackendErrorKind::OutcomeUnknown;
                first = first.and(Err(error.into()));
                if is_unknown && self.backend.recover().is_err() {
                    // Nothing is written after what nobody knows the outcome of.
                    self.availability.set_recovering(false);
                    return first;
                }
            }
        }
    }

    /// Forfeits what is left of the lease of an owner's quota.
    pub(in crate::store) fn forget_lease(&self, owner: &OwnerId) {
        let _ = self.left(&UsageSubject::Owner(*owner));
    }

    /// Takes what is left of one lease.
    fn left(&self, of: &UsageSubject) -> Option<Lease> {
        let (word, limiter) = self.index.take_lease(self.whose_quota(of)?)?;
        let void_from = word.void_from();
        let start = |period: Period| {
            let last = void_from?.as_millis().checked_sub(1)?;
            Some(period.start_of(Timestamp::clamped_millis(last)))
        };
        let period = limiter.period().and_then(start).unwrap_or(Timestamp::MIN);
        let since = Version::new(limiter.since());
        let units = word.held();
        (units > 0).then_some(Lease { quota_version: since, period, units, left: 0, void_from })
    }
}

impl Leases {
    /// Whose they are.
    pub(in crate::store) fn belong_to(&self, core: Weak<Core>) {
        self.core.get_or_init(|| core);
    }

    fn want(&self, of: UsageSubject, needed: u64) {
        let first = Needs { needed: 0, least: needed };
        let mut wanted = self.wanted();
        let needs = wanted.entry(of).or_insert(first);
        needs.needed += needed;
        needs.least = needs.least.min(needed);
    }

    fn wanted(&self) -> MutexGuard<'_, BTreeMap<UsageSubject, Needs>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(&self) -> MutexGuard<'_, Taken> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn note(&mut self, core: &Core, of: &UsageSubject) {
        match of {
            UsageSubject::Key(id) => _ = self.keys.insert(*id),
            UsageSubject::Owner(id) => _ = self.owners.insert(*id),
        }
        if self.keys.len() + self.owners.len() < self.sweep_at.max(CHUNK) {
            return;
        }
        let is_there =
            |of| core.whose_quota(&of).is_some_and(|whose| core.index.quota(whose).is_some());
        self.keys.retain(|id| is_there(UsageSubject::Key(*id)));
        self.owners.retain(|id| is_there(UsageSubject::Owner(*id)));
        self.sweep_at = 2 * (self.keys.len() + self.owners.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever needs the fewest isn't kept waiting by those who need more than there is.
    #[test]
    fn all_needs_and_the_least() {
        let (leases, of) = (Leases::default(), |id| UsageSubject::Key(KeyId::from_u128(id)));
        for (id, needed) in [(1, 20_000), (1, 3), (2, 7), (1, 5)] {
            leases.want(of(id), needed);
        }
        let needs = |needed, least| Some(Needs { needed, least });
        let wanted = leases.wanted();
        assert_eq!(wanted.get(&of(1)).copied(), needs(20_008, 3));
        assert_eq!(wanted.get(&of(2)).copied(), needs(7, 7));
    }
}
