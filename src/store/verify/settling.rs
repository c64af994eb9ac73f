//! Settling of reserved uses, once the caller knows what the work cost.

use std::thread;

use super::lease_queue::{Account, FIRST_PAUSE, LONGEST_PAUSE};
use super::quota_leases::QuotaLeases;
use crate::backend::{BackendError, BackendErrorKind, UsageChange, UsageSubject};
use crate::clock::Timestamp;
use crate::id::Version;
use crate::store::index::{LeaseWord, Leased, Spent};
use crate::store::types::error::Error;
use crate::store::types::reserved::{ReservedUses, Whose};
use crate::store::types::verify_error::Unavailable;

/// Uses that were spent of one lease, to be given back if the charge of the other quota fails.
type Charged = (Whose, Version, LeaseWord);

impl QuotaLeases {
    /// Counts what was used in place of what was reserved.
    pub(super) fn settle(&self, reserved: &ReservedUses, actual: u32) -> Result<(), Error> {
        if let Some(unavailable) = self.engine.records.availability.unavailable() {
            return Err(unavailable.into());
        }
        let now = self.engine.records.now();
        match actual.checked_sub(reserved.cost) {
            None => self.give_back(reserved, reserved.cost - actual, now),
            Some(0) => {}
            Some(more) => self.charge(reserved, more, now)?,
        }
        Ok(())
    }

    /// Gives uses back to the leases from which they were taken. They are gone if the quota was
    /// changed, or its period is over. If this process then holds more than its share, and than this
    /// request needed, the surplus is given back to the count beside the request.
    fn give_back(&self, reserved: &ReservedUses, uses: u32, now: Timestamp) {
        for quota in reserved.quotas.into_iter().flatten() {
            let lease = LeaseWord::new(quota.void_from, uses.into());
            let leased = self.engine.records.index.give_back(quota.holder, quota.since, lease);
            let is_much = |leased: Leased| leased.surplus > 0 && leased.held > reserved.cost.into();
            if leased.is_some_and(is_much) {
                let account = Account { owner: reserved.owner, holder: quota.holder };
                self.fetch_ahead(Some(account), now);
            }
        }
    }

    /// Charges uses to the quotas as they are now: to their leases, or in one durable write.
    fn charge(&self, reserved: &ReservedUses, uses: u32, now: Timestamp) -> Result<(), Error> {
        let index = &self.engine.records.index;
        let (mut charged, mut lacking): (Vec<Charged>, Vec<_>) = (Vec::new(), Vec::new());
        // Without the owner there is no quota any more; one of the same name isn't charged for it.
        let owner = index.owner_named(&reserved.owner);
        let Some(owner) = owner.filter(|owner| reserved.is_of(*owner)) else { return Ok(()) };
        for holder in [Whose::Key(reserved.key, Some(owner)), Whose::Owner(owner)] {
            let account = Account { owner: reserved.owner, holder };
            match index.spend_lease(holder, now, uses) {
                Some((since, Some(Spent { lease, asks }))) => {
                    charged.push((holder, since, lease.with_units(uses.into())));
                    if asks {
                        self.fetch_ahead(Some(account), now);
                    }
                }
                Some((_, None)) => lacking.push(account),
                None => {}
            }
        }
        let written = self.write_charges(&lacking, uses, now);
        if written.is_err() {
            for (holder, since, lease) in charged {
                index.give_back(holder, since, lease);
            }
        }
        written
    }

    /// Writes charges, and gives back what is left of these leases: while there is a debt, no use
    /// is left.
    fn write_charges(&self, lacking: &[Account], uses: u32, now: Timestamp) -> Result<(), Error> {
        if lacking.is_empty() {
            return Ok(());
        }
        let index = &self.engine.records.index;
        let forget_left = || lacking.iter().for_each(|account| index.forget_left(account.holder));
        let mut holders = self.lock_holders();
        if self.engine.records.availability.is_recovering() {
            return Err(Unavailable::Recovering.into());
        }
        // Before: uses on their way back are in neither, and one that needs them would hear that they
        // are used up.
        forget_left();
        self.collect_dropped(&mut holders);
        for account in lacking {
            self.collect_lease(&mut holders, account);
        }
        let is_charged = |of: &UsageSubject| lacking.iter().any(|account| account.subject() == *of);
        let returns = holders.take_returns(usize::MAX, is_charged);
        let back = returns.iter().map(|(of, lease)| UsageChange::GiveBack {
            of: *of,
            lease: *lease,
            at: now,
        });
        let charge = |account: &Account| UsageChange::Charge {
            of: account.subject(),
            uses: uses.into(),
            at: now,
        };
        let batch: Vec<UsageChange> = back.chain(lacking.iter().map(charge)).collect();
        // Not locked: whatever this write does, others get their leases meanwhile.
        drop(holders);
        let written = self.write_patiently(&batch);
        let mut holders = self.lock_holders();
        // Locked: what a lease found left that was written before this is in the index by now.
        forget_left();
        if written.as_ref().is_err_and(|error| error.kind() != BackendErrorKind::OutcomeUnknown) {
            holders.returns.extend(returns);
        }
        drop(holders);
        written.map_err(|error| self.engine.on_write_error(error))
    }

    /// Writes charges. The backend gives up soon while another process has the database; in between,
    /// this process's leases and commits have their turn.
    fn write_patiently(&self, batch: &[UsageChange]) -> Result<(), BackendError> {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.engine.records.backend.record_usage(batch) {
                Err(error)
                    if error.kind() == BackendErrorKind::TimedOut && pause <= LONGEST_PAUSE =>
                {
                    // The end of another process's work wakes no thread.
                    thread::sleep(pause);
                    pause *= 2;
                }
                written => return written.map(drop),
            }
        }
    }
}
