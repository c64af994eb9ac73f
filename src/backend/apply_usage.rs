//! The rules by which usage is recorded, in one place for every backend, as
//! [`apply`](super::apply()) is for commits.

use super::swept::Swept;
use super::{BackendError, Damage, Transaction, UsageChange, UsageOutcome, UsageSubject};
use crate::key::{Lease, QuotaState, Usage, VersionedQuota};

/// Records a batch, in order. What is about a damaged record is left out, so that the rest is kept:
/// no use of it is counted, and no quota of it leased.
///
/// # Errors
/// [`BackendError`] of the transaction; the batch is abandoned then.
pub fn apply_usage(
    tx: &mut dyn Transaction,
    batch: &[UsageChange],
) -> Result<UsageOutcome, BackendError> {
    // No quota of a key or an owner that a sweep has removed is leased or charged.
    let mut tx = Swept::new(tx);
    let one = |change| match apply_one(&mut tx, change) {
        Err(error) if error.damage().is_some() => Ok(None),
        outcome => outcome,
    };
    batch.iter().map(one).collect()
}

fn apply_one(
    tx: &mut dyn Transaction,
    change: &UsageChange,
) -> Result<Option<Lease>, BackendError> {
    match change {
        UsageChange::Add(key, used) => {
            tx.add_usage(*key, used)?;
            Ok(None)
        }
        UsageChange::Settle { of, now, forget_before } => {
            let of = UsageSubject::Key(*of);
            if let Some(mut usage) = tx.usage(&of)? {
                usage.used.settle(*now);
                usage.used.forget_address(*forget_before);
                tx.put_usage(&of, Some(&usage))?;
            }
            Ok(None)
        }
        UsageChange::Lease { of, request, at } => {
            let Some(run) = quota(tx, of)? else { return Ok(None) };
            let usage = tx.usage(of)?.unwrap_or_default();
            let before = Some(counted(of, run, &usage)?);
            let (state, lease) = run.lease(before, *at, *request);
            // Without a lease there is mostly nothing to write.
            if usage.quota != Some(state) {
                tx.put_usage(of, Some(&Usage { quota: Some(state), ..usage }))?;
            }
            Ok(Some(lease))
        }
        UsageChange::GiveBack { of, lease, at } => {
            let Some(run) = quota(tx, of)? else { return Ok(None) };
            // Before the count has begun nothing was leased.
            let is_counted =
                |usage: &Usage| run.own_state(usage.quota).is_some_and(|state| state.has_begun());
            let Some(usage) = tx.usage(of)?.filter(is_counted) else { return Ok(None) };
            let state = run.refund(usage.quota, *at, *lease);
            tx.put_usage(of, Some(&Usage { quota: Some(state), ..usage }))?;
            Ok(None)
        }
        UsageChange::Charge { of, uses, at } => {
            let Some(run) = quota(tx, of)? else { return Ok(None) };
            let usage = tx.usage(of)?.unwrap_or_default();
            let state = run.charge(Some(counted(of, run, &usage)?), *at, *uses);
            tx.put_usage(of, Some(&Usage { quota: Some(state), ..usage }))?;
            Ok(None)
        }
    }
}

/// Finds the state of a quota. One that is lost would begin again, with uses that were used.
fn counted(
    of: &UsageSubject,
    run: VersionedQuota,
    usage: &Usage,
) -> Result<QuotaState, BackendError> {
    let lost = || BackendError::damaged("usage", "lease uses", Damage::lost_quota(of));
    run.own_state(usage.quota).ok_or_else(lost)
}

/// Reads the quota that is stored.
fn quota(
    tx: &mut dyn Transaction,
    of: &UsageSubject,
) -> Result<Option<VersionedQuota>, BackendError> {
    let limits = match of {
        UsageSubject::Key(id) => tx.key(*id)?.map(|key| key.limits),
        UsageSubject::Owner(id) => tx.owner(id)?.map(|owner| owner.limits),
    };
    Ok(limits.and_then(|limits| limits.quota).map(|quota| quota.value))
}
