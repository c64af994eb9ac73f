//! Leases of quotas. A lease is a part of a quota's uses that this process has reserved in the
//! backend, and spends without a further write.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::lease_holders::LeaseHolders;
use super::lease_queue::{Account, Need, Wanted};
use super::lease_waits::{LeaseWait, LeaseWaits};
use crate::backend::{BackendErrorKind, Sharing, UsageChange};
use crate::clock::Timestamp;
use crate::id::Version;
use crate::key::{LimitHolder, RejectReason};
use crate::store::engine::Engine;
use crate::store::index::{DroppedLease, LeaseWord, Limiter};
use crate::store::types::error::Error;
use crate::store::types::verify_error::{Unavailable, VerifyError};

/// Milliseconds for which a quota counts as exhausted, if other processes may give back leases of
/// it.
const RECHECK_AFTER: u64 = 1_000;
/// Number of leases that are given back at once.
const CHUNK: usize = 1_000;

/// The leases of this process. A verification spends from a lease in the index, and never calls the
/// backend: a thread fetches the next lease before the last one ends. A verification that finds none
/// waits in [`LeaseWaits`].
#[derive(Debug)]
pub(in crate::store) struct QuotaLeases {
    pub(super) engine: Arc<Engine>,
    pub(super) waits: Arc<LeaseWaits>,
    /// Held while leases are written. Without it two threads could lease the same quota, and each
    /// would hold as much as the process may.
    holders: Mutex<LeaseHolders>,
    /// Whether leases are renewed when a period begins.
    pub(super) renews: bool,
}

/// The time for which verifications wait for leases, and whether these are renewed.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct LeaseSettings {
    pub(in crate::store) wait: Duration,
    pub(in crate::store) renews: bool,
}

impl QuotaLeases {
    pub(super) fn new(engine: &Arc<Engine>, settings: LeaseSettings) -> Self {
        let (engine, waits) = (Arc::clone(engine), Arc::new(LeaseWaits::new(settings.wait)));
        Self { engine, waits, holders: Mutex::default(), renews: settings.renews }
    }

    /// Returns whether a quota's lease has so many uses, or, for a cost of 0, whether a use is known
    /// to be left. If not, a lease must be fetched.
    #[inline]
    pub(in crate::store) fn check(
        &self,
        (holder, limiter): (LimitHolder, &Limiter<'_>),
        now: Timestamp,
        uses: u32,
    ) -> Result<bool, VerifyError> {
        let exhausted = || {
            let refilled_at = limiter.lease().void_from();
            VerifyError::Rejected(RejectReason::QuotaExhausted { holder, refilled_at })
        };
        if uses == 0 {
            return match limiter.has_some(now, self.recheck()) {
                Some(false) => Err(exhausted()),
                known => Ok(known.is_some()),
            };
        }
        if limiter.missing(now, uses) == 0 {
            return Ok(true);
        }
        if limiter.lacks(now, uses, self.recheck()) {
            return Err(exhausted());
        }
        Ok(false)
    }

    /// Spends uses of a quota's lease, if it has as many; returns the lease after that. Asks for the
    /// next lease if the rest is low.
    #[inline]
    pub(in crate::store) fn spend(
        &self,
        account: impl FnOnce() -> Option<Account>,
        limiter: &Limiter<'_>,
        now: Timestamp,
        uses: u32,
    ) -> Option<LeaseWord> {
        let spent = limiter.spend(now, uses)?;
        if spent.asks {
            self.fetch_ahead(account(), now);
        }
        Some(spent.lease)
    }

    #[cold]
    pub(super) fn fetch_ahead(&self, account: Option<Account>, now: Timestamp) {
        if let Some(account) = account {
            self.waits.fetch_ahead(account, now);
        }
    }

    /// Notes what a verification has to wait for, and returns its error if it can't wait.
    #[cold]
    pub(in crate::store) fn need(
        &self,
        account: Option<Account>,
        now: Timestamp,
        uses: u32,
        need: &mut Option<Need>,
    ) -> VerifyError {
        if self.engine.records.availability.is_forked() {
            return VerifyError::Unavailable(Unavailable::Forked);
        }
        let Some(account) = account else {
            return VerifyError::Unavailable(Unavailable::Recovering);
        };
        // A database that is only looked at gives no lease, but tells what is left.
        if uses == 0 || !self.engine.records.backend.is_read_only() {
            *need = Some(Need { account, at: now, uses });
        }
        VerifyError::Unavailable(Unavailable::Quota { retry_after: self.waits.later() })
    }

    /// Begins the time of a verification that has to wait.
    pub(in crate::store) fn begin_wait(&self) -> LeaseWait {
        self.waits.begin()
    }

    /// Milliseconds for which what is left beside a lease is known.
    fn recheck(&self) -> Option<u64> {
        match self.engine.records.backend.sharing() {
            Sharing::Exclusive => None,
            Sharing::Shared { .. } => Some(RECHECK_AFTER),
        }
    }

    /// Collects the rests of the leases of quotas that were replaced.
    pub(super) fn collect_dropped(&self, holders: &mut LeaseHolders) {
        for (subject, rest) in self.engine.records.index.take_dropped_leases() {
            holders.keep(subject, rest);
        }
    }

    /// Collects the rest of a lease that is void.
    pub(super) fn collect_void(
        &self,
        holders: &mut LeaseHolders,
        account: &Account,
        now: Timestamp,
    ) {
        if let Some(rest) = self.engine.records.index.take_void_lease(account.holder, now) {
            holders.keep(account.subject(), rest);
        }
    }

    /// Takes uses out of a lease that this process shouldn't hold, to be given back; returns how many.
    pub(super) fn collect_surplus(
        &self,
        holders: &mut LeaseHolders,
        wanted: &Wanted,
        surplus: u64,
    ) -> u64 {
        let (holder, units) = (wanted.account.holder, u32::try_from(surplus).unwrap_or(u32::MAX));
        if units > 0 {
            // Before: while the uses are on their way back they are in neither, and a verification
            // that needs them would hear that they are used up.
            self.engine.records.index.forget_left(holder);
        }
        let spent = self.engine.records.index.spend_lease(holder, wanted.at, units);
        let Some((since, Some(_))) = spent.filter(|_| units > 0) else { return 0 };
        let units = u64::from(units);
        holders.keep(wanted.account.subject(), DroppedLease { since, units });
        units
    }

    /// Takes the rest of a lease out of the index, to be given back. Returns the version of the
    /// quota that is there.
    pub(super) fn collect_lease(
        &self,
        holders: &mut LeaseHolders,
        account: &Account,
    ) -> Option<Version> {
        let (word, limiter) = self.engine.records.index.take_lease(account.holder)?;
        let since = limiter.since();
        holders.keep(account.subject(), DroppedLease { since, units: word.held() });
        Some(since)
    }

    /// Answers those who wait that the store is closed, and gives back the rest of all leases. No
    /// thread fetches more: the store is closed already.
    ///
    /// # Errors
    /// The first error of the backend, after all leases were tried. Those that aren't given back
    /// are forfeited, as after a crash.
    pub(super) fn close(&self) -> Result<(), Error> {
        self.waits.close();
        let mut holders = self.lock_holders();
        if self.engine.records.availability.is_recovering() {
            return if holders.is_empty() { Ok(()) } else { Err(Unavailable::Recovering.into()) };
        }
        let at = self.engine.records.now();
        for account in holders.accounts(|owner| self.engine.records.index.owner_by(owner)) {
            self.collect_lease(&mut holders, &account);
        }
        // After the leases: the rest of one whose quota was replaced meanwhile is among these.
        self.collect_dropped(&mut holders);
        let mut first = Ok(());
        loop {
            let returns = holders.take_returns(CHUNK, |_| true).into_iter();
            let batch: Vec<_> =
                returns.map(|(of, lease)| UsageChange::GiveBack { of, lease, at }).collect();
            if batch.is_empty() {
                return first;
            }
            if let Err(error) = self.engine.records.backend.record_usage(&batch) {
                let is_unknown = error.kind() == BackendErrorKind::OutcomeUnknown;
                first = first.and(Err(error.into()));
                if is_unknown && self.engine.records.backend.recover().is_err() {
                    // No write may follow one whose outcome is unknown.
                    self.engine.records.availability.set_recovering(false);
                    return first;
                }
            }
        }
    }

    pub(super) fn lock_holders(&self) -> MutexGuard<'_, LeaseHolders> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
