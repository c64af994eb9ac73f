//! The access and the limits by which a key is judged: its own, within its owner's.

use serde::Serialize;

use super::views::Key;
use crate::clock::Timestamp;
use crate::key::{Limits, Network, Quota, Rate};
use crate::permission::{Access, Catalogue, PermissionSet};

/// The limits that hold for a key: those of its own and those of its owner.
///
/// An owner's rate and quota count the uses of all its keys together. The moment and the networks are
/// of both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct EffectiveLimits {
    /// No token of the key is accepted before this moment.
    pub not_before: Option<Timestamp>,
    /// The networks from which its tokens are accepted, ascending. `None` for all. Empty if no address
    /// lies both in a network of the key and in one of its owner.
    pub networks: Option<Vec<Network>>,
    /// The key's own rate.
    pub rate: Option<Rate>,
    /// The rate of all its owner's keys together.
    pub owner_rate: Option<Rate>,
    /// The key's own quota.
    pub quota: Option<Quota>,
    /// The quota of all its owner's keys together.
    pub owner_quota: Option<Quota>,
}

impl Key {
    /// Returns the permissions that the key has in a catalogue: its access, which its owner's
    /// `max_access` cuts unless it is a trial key. A verified key of it has the same.
    #[must_use]
    pub fn effective_permissions(&self, catalogue: &Catalogue) -> PermissionSet {
        let max_access = self.bounds.max_access.compile(catalogue);
        self.access.compile(catalogue).intersection(&max_access)
    }

    /// Returns the access that the key has in a catalogue, after its owner's `max_access` has cut it:
    /// full, read-only, or the names of its permissions without wildcards. `None` if it has none.
    #[must_use]
    pub fn effective_access(&self, catalogue: &Catalogue) -> Option<Access> {
        match (&self.access, &self.bounds.max_access) {
            (Access::Full, Access::Full) => return Some(Access::Full),
            (Access::Full | Access::ReadOnly, Access::ReadOnly)
            | (Access::ReadOnly, Access::Full) => return Some(Access::ReadOnly),
            _ => {}
        }
        let permissions = self.effective_permissions(catalogue);
        let named = catalogue.iter().filter(|(permission, _)| permissions.contains(*permission));
        // Not more than a list may have, since a catalogue has no more names.
        Access::limited(named.map(|(_, name)| name.as_str())).ok()
    }

    /// Returns the limits that hold for the key: its own, and its owner's beside them.
    #[must_use]
    pub fn effective_limits(&self) -> EffectiveLimits {
        let (own, owners) = (&self.limits, &self.bounds.limits);
        let moment = |limits: &Limits| limits.not_before.map(|limit| limit.value);
        let networks = |limits: &Limits| limits.networks.as_ref().map(|limit| limit.value.clone());
        let rate = |limits: &Limits| limits.rate.map(|limit| limit.value);
        let quota = |limits: &Limits| limits.quota.map(|limit| limit.value.quota);
        EffectiveLimits {
            not_before: moment(own).max(moment(owners)),
            networks: match (networks(own), networks(owners)) {
                (Some(own), Some(owners)) => Some(own.intersection(&owners)),
                (own, owners) => own.or(owners).map(|networks| networks.as_slice().to_vec()),
            },
            rate: rate(own),
            owner_rate: rate(owners),
            quota: quota(own),
            owner_quota: quota(owners),
        }
    }
}
