//! The rules by which limits of keys and owners are set, tightened and cleared.

use super::authorize::Principal;
use crate::event::Fields;
use crate::id::Version;
use crate::key::{Limit, Limits, Networks, Quota, Rate, VersionedQuota};
use crate::store::types::error::{Error, ForbiddenReason, StateProblem};
use crate::store::types::request::SetLimits;

/// Sets and clears the requested limits of a record; returns the fields that differ. `version` is
/// the record's next version.
///
/// Other callers may tighten a limit that an administrator has set, and it stays the
/// administrator's. A limit that an owner has set becomes the administrator's once an administrator
/// sets it, also to the same value.
///
/// # Errors
/// `Invalid` for an empty list of networks, or too many. `Forbidden` if the caller would loosen a limit that an
/// administrator has set.
pub(in crate::store::manage) fn set(
    caller: &Principal<'_>,
    limits: &mut Limits,
    request: &SetLimits,
    version: Version,
) -> Result<Fields, Error> {
    let SetLimits { not_before, networks, rate, quota } = request;
    let networks = networks.as_ref().map(|networks| {
        let networks = networks.as_ref();
        networks.map(|networks| Networks::new(networks.iter().copied())).transpose()
    });
    let networks = networks.transpose()?;
    let mut fields = Fields::NONE;
    if let Some(from) = not_before
        && replace(caller, "not_before", &mut limits.not_before, *from, |new, old| new >= old)?
    {
        fields = fields.with(Fields::NOT_BEFORE);
    }
    if let Some(networks) = networks
        && replace(caller, "networks", &mut limits.networks, networks, Networks::is_within)?
    {
        fields = fields.with(Fields::NETWORKS);
    }
    if let Some(rate) = rate
        && replace(caller, "rate", &mut limits.rate, *rate, |new: &Rate, old| new.is_within(*old))?
    {
        fields = fields.with(Fields::RATE);
    }
    if let Some(quota) = quota
        && replace_quota(caller, &mut limits.quota, *quota, version)?
    {
        fields = fields.with(Fields::QUOTA);
    }
    Ok(fields)
}

/// Returns the fields of the limits that are set.
pub(in crate::store::manage) fn fields_of(limits: &Limits) -> Fields {
    [
        (limits.not_before.is_some(), Fields::NOT_BEFORE),
        (limits.networks.is_some(), Fields::NETWORKS),
        (limits.rate.is_some(), Fields::RATE),
        (limits.quota.is_some(), Fields::QUOTA),
    ]
    .into_iter()
    .filter(|(is_set, _)| *is_set)
    .fold(Fields::NONE, |fields, (_, field)| fields.with(field))
}

/// Replaces a limit; returns whether it differs.
fn replace<T: PartialEq>(
    caller: &Principal<'_>,
    field: &'static str,
    limit: &mut Option<Limit<T>>,
    value: Option<T>,
    is_within: impl FnOnce(&T, &T) -> bool,
) -> Result<bool, Error> {
    let before = limit.as_ref();
    let tightens = match (before, &value) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(before), Some(value)) => is_within(value, &before.value),
    };
    let set_by = before.map(|before| before.by);
    if let Some(set_by) = set_by
        && !tightens
    {
        caller.check_may_widen(field, set_by)?;
    }
    let next = value.map(|value| Limit { value, by: caller.set_by(set_by) });
    if *limit == next {
        return Ok(false);
    }
    *limit = next;
    Ok(true)
}

/// Replaces a quota; returns whether it differs. Its count goes on (`backend::apply`); a quota where
/// there was none begins one.
fn replace_quota(
    caller: &Principal<'_>,
    limit: &mut Option<Limit<VersionedQuota>>,
    quota: Option<Quota>,
    version: Version,
) -> Result<bool, Error> {
    let same = |quota: Quota| limit.filter(|before| before.value.quota == quota);
    let run = quota.map(|quota| match same(quota) {
        Some(before) => before.value,
        None => VersionedQuota { quota, quota_version: version },
    });
    replace(caller, "quota", limit, run, |new, old| new.quota.is_within(old.quota))
}

/// Marks a quota as refilled or added to in this version of its record. Only a caller that may
/// loosen the quota may: an administrator, or an owner that set it. A delegate may not, since it
/// could be the quota of its own key.
///
/// # Errors
/// `State` without a quota, and `Forbidden`.
pub(in crate::store::manage) fn grant(
    caller: &Principal<'_>,
    limit: &mut Option<Limit<VersionedQuota>>,
    version: Version,
) -> Result<Fields, Error> {
    let limit = limit.as_mut().ok_or(Error::State(StateProblem::NoQuota))?;
    if caller.is_delegate() {
        return Err(Error::Forbidden(ForbiddenReason::BeyondActingKey));
    }
    caller.check_may_widen("quota", limit.by)?;
    limit.value.quota_version = version;
    Ok(Fields::QUOTA)
}
