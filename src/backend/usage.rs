//! What was used, on its way into a backend, and the rules by which it is taken in: in one place
//! for every backend, as [`apply`](super::apply()) is for commits.

use super::{BackendError, Transaction};
use crate::clock::Timestamp;
use crate::id::{KeyId, OwnerId};
use crate::key::{Lease, Usage, Used, VersionedQuota};

/// Of what there is usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UsageSubject {
    /// A key.
    Key(KeyId),
    /// An owner; of it there is only the quota.
    Owner(OwnerId),
}

/// One step of usage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UsageChange {
    /// A key was used. Nothing, if it exists no more.
    Add(KeyId, Used),
    /// The last address of a key is forgotten, if it was seen before a moment.
    ForgetAddress(KeyId, Timestamp),
    /// Uses are taken out of the quota that the key or owner has now, by
    /// [`VersionedQuota::lease`](crate::key::VersionedQuota::lease).
    Lease {
        /// Whose quota.
        of: UsageSubject,
        /// How many are needed at once, by all who wait for them.
        needed: u64,
        /// How many of these one of them needs at least: with fewer, nobody is served.
        least: u64,
        /// The moment, by the clock of whoever asks.
        at: Timestamp,
    },
    /// Uses that weren't spent are put back; nothing, if the quota is another one by now.
    GiveBack {
        /// Whose quota.
        of: UsageSubject,
        /// What is left of the lease.
        lease: Lease,
        /// The moment, by the clock of whoever gives.
        at: Timestamp,
    },
}

/// What came of each step of a batch, in order: a lease for each that asked for one, of a key or an
/// owner that is there and has a quota; otherwise nothing.
pub type UsageOutcome = Vec<Option<Lease>>;

/// Takes in a batch, in order.
///
/// # Errors
/// [`BackendError`] of the transaction; the batch is abandoned then.
pub fn apply_usage(
    tx: &mut dyn Transaction,
    batch: &[UsageChange],
) -> Result<UsageOutcome, BackendError> {
    batch.iter().map(|change| apply_one(tx, change)).collect()
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
        UsageChange::ForgetAddress(key, before) => {
            let of = UsageSubject::Key(*key);
            if let Some(mut usage) = tx.usage(&of)? {
                usage.used.forget_address(*before);
                tx.put_usage(&of, Some(&usage))?;
            }
            Ok(None)
        }
        UsageChange::Lease { of, needed, least, at } => {
            let Some(run) = quota(tx, of)? else { return Ok(None) };
            let usage = tx.usage(of)?.unwrap_or_default();
            let (state, lease) = run.lease(usage.quota, *at, *needed, *least);
            // Where nothing is leased, mostly nothing is to be written.
            if usage.quota != Some(state) {
                tx.put_usage(of, Some(&Usage { quota: Some(state), ..usage }))?;
            }
            Ok(Some(lease))
        }
        UsageChange::GiveBack { of, lease, at } => {
            let Some(run) = quota(tx, of)?.filter(|run| run.quota_version == lease.quota_version)
            else {
                return Ok(None);
            };
            // Without a state nothing was ever leased.
            let Some(usage) = tx.usage(of)?.filter(|usage| usage.quota.is_some()) else {
                return Ok(None);
            };
            let state = run.refund(usage.quota, *at, *lease);
            tx.put_usage(of, Some(&Usage { quota: Some(state), ..usage }))?;
            Ok(None)
        }
    }
}

/// The quota that is in force.
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
