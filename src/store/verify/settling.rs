//! Settling of reserved uses, once the caller knows what the work cost.

use super::quota_leases::{QuotaLeases, holder_of};
use crate::backend::{BackendErrorKind, UsageChange, UsageSubject};
use crate::clock::Timestamp;
use crate::id::Version;
use crate::store::index::{LeaseWord, Whose};
use crate::store::types::error::Error;
use crate::store::types::reserved::ReservedUses;
use crate::store::types::verify_error::Unavailable;

/// Uses that were spent of one lease, to be refunded if the charge of the other quota fails.
type Spent = (Whose, Version, LeaseWord);

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
    /// changed, or its period is over.
    fn give_back(&self, reserved: &ReservedUses, uses: u32, now: Timestamp) {
        for (subject, quota) in subjects(reserved).iter().zip(reserved.quotas) {
            let (Some(quota), Some(holder)) = (quota, holder_of(&self.engine, subject)) else {
                continue;
            };
            let lease = LeaseWord::new(quota.void_from, uses.into());
            self.engine.records.index.give_back_uses(holder, quota.since, lease, now);
        }
    }

    /// Charges uses to the quotas as they are now: to their leases, or in one durable write.
    fn charge(&self, reserved: &ReservedUses, uses: u32, now: Timestamp) -> Result<(), Error> {
        let index = &self.engine.records.index;
        let (mut spent, mut lacking): (Vec<Spent>, Vec<_>) = (Vec::new(), Vec::new());
        for subject in subjects(reserved) {
            let Some(holder) = holder_of(&self.engine, &subject) else { continue };
            match index.spend_lease(holder, now, uses) {
                Some((since, Some(lease))) => {
                    spent.push((holder, since, lease.with_units(uses.into())));
                }
                Some((_, None)) => lacking.push((holder, subject)),
                None => {}
            }
        }
        let written = self.write_charges(&lacking, uses, now);
        if written.is_err() {
            for (holder, since, lease) in spent {
                index.give_back_uses(holder, since, lease, now);
            }
        }
        written
    }

    /// Writes charges, and gives back what is left of these leases: while there is a debt, no use
    /// is left.
    fn write_charges(
        &self,
        lacking: &[(Whose, UsageSubject)],
        uses: u32,
        now: Timestamp,
    ) -> Result<(), Error> {
        if lacking.is_empty() {
            return Ok(());
        }
        let mut holders = self.lock_holders();
        if self.engine.records.availability.is_recovering() {
            return Err(Unavailable::Recovering.into());
        }
        self.collect_returns(&mut holders, lacking.iter().map(|(_, subject)| subject), now);
        for (holder, subject) in lacking {
            self.collect_lease(&mut holders, *holder, *subject);
        }
        let returns = holders.take_returns(now, usize::MAX);
        let charge = |(_, of): &(Whose, UsageSubject)| UsageChange::Charge {
            of: *of,
            uses: uses.into(),
            at: now,
        };
        let batch: Vec<UsageChange> =
            returns.iter().cloned().chain(lacking.iter().map(charge)).collect();
        let written = self.engine.records.backend.record_usage(&batch);
        for (holder, _) in lacking {
            self.engine.records.index.forget_left(*holder);
        }
        written.map(drop).map_err(|error| {
            if error.kind() != BackendErrorKind::OutcomeUnknown {
                holders.put_back(returns);
            }
            self.engine.on_write_error(error)
        })
    }
}

/// Returns the holders of quotas: the key, then its owner.
fn subjects(reserved: &ReservedUses) -> [UsageSubject; 2] {
    [UsageSubject::Key(reserved.key), UsageSubject::Owner(reserved.owner)]
}
