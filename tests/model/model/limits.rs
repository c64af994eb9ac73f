//! Limits, their setters, and the rules for setting others.

use keyhasp::Timestamp;
use keyhasp::event::Fields;
use keyhasp::key::SetBy;
use keyhasp::store::{ForbiddenReason, StateProblem};
use serde_json::{Value, json};

use super::authority::Caller;
use super::minting::all;
use super::reason::Reason;
use crate::limits::{Net, NewLimits, Pace, Ration, Tight};

/// Largest number of networks in a list.
const MAX_NETWORKS: usize = 64;

/// A limit and its setter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Held<T> {
    pub(crate) value: T,
    by: SetBy,
}

/// The limits of a key or of an owner.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct LimitsFile {
    pub(crate) not_before: Option<Held<Timestamp>>,
    pub(crate) networks: Option<Held<Vec<Net>>>,
    pub(crate) rate: Option<Held<Pace>>,
    pub(crate) quota: Option<Held<Ration>>,
    /// The version of the record in which the quota was last set, refilled or added to.
    pub(crate) quota_version: u64,
}

impl LimitsFile {
    /// Sets some limits of the record whose next version is given. Returns the new limits, or the
    /// reasons against them.
    pub(super) fn with(
        &self,
        caller: &Caller,
        new: &NewLimits,
        version: u64,
    ) -> Result<Self, Vec<Reason>> {
        let mut reasons = Vec::new();
        let mut next = self.clone();
        if let Some(from) = new.not_before {
            reasons.extend(put(caller, "not_before", &mut next.not_before, from));
        }
        if let Some(networks) = &new.networks {
            let nets = networks.as_deref().map(NewLimits::nets);
            if nets.as_ref().is_some_and(|nets| nets.is_empty() || nets.len() > MAX_NETWORKS) {
                reasons.push(Reason::Invalid("networks"));
            }
            reasons.extend(put(caller, "networks", &mut next.networks, nets));
        }
        if let Some(rate) = new.rate {
            reasons.extend(put(caller, "rate", &mut next.rate, rate));
        }
        if let Some(quota) = new.quota {
            if self.quota.as_ref().map(|held| held.value) != quota {
                next.quota_version = version;
            }
            reasons.extend(put(caller, "quota", &mut next.quota, quota));
        }
        if reasons.is_empty() { Ok(next) } else { Err(reasons) }
    }

    /// Returns the reasons against giving the quota more uses: a caller must be able to loosen it,
    /// and a delegate never gives any.
    pub(super) fn against_grant(&self, caller: &Caller) -> Vec<Reason> {
        let Some(quota) = &self.quota else { return vec![Reason::State(StateProblem::NoQuota)] };
        let mut reasons: Vec<_> = caller.may_not_widen("quota", quota.by).into_iter().collect();
        if caller.is_delegate() {
            reasons.push(Reason::Forbidden(ForbiddenReason::BeyondActingKey));
        }
        reasons
    }

    /// Returns whether each limit of `other` on addresses, rate and uses is here too, and as tight.
    pub(super) fn is_within(&self, other: &Self) -> bool {
        is_as_tight(self.networks.as_ref(), other.networks.as_ref())
            && is_as_tight(self.rate.as_ref(), other.rate.as_ref())
            && is_as_tight(self.quota.as_ref(), other.quota.as_ref())
    }

    /// The fields that differ.
    pub(super) fn differing(&self, before: &Self) -> Fields {
        let quota = |file: &Self| file.quota.clone().map(|quota| (quota, file.quota_version));
        all(&[
            (self.not_before != before.not_before, Fields::NOT_BEFORE),
            (self.networks != before.networks, Fields::NETWORKS),
            (self.rate != before.rate, Fields::RATE),
            (quota(self) != quota(before), Fields::QUOTA),
        ])
    }

    pub(super) fn shown(&self) -> Value {
        let mut quota = shown(self.quota.as_ref());
        if quota.is_object() {
            quota["value"]["quota_version"] = self.quota_version.into();
        }
        json!({
            "not_before": shown(self.not_before.as_ref()),
            "networks": shown(self.networks.as_ref()),
            "rate": shown(self.rate.as_ref()),
            "quota": quota,
        })
    }
}

/// Replaces a limit, or returns the reason against that. Only an administrator may loosen or clear
/// a limit that an administrator has set. When another caller tightens it, it stays the
/// administrator's.
fn put<T: Tight>(
    caller: &Caller,
    field: &'static str,
    held: &mut Option<Held<T>>,
    value: Option<T>,
) -> Option<Reason> {
    let by = held.as_ref().map_or(SetBy::Owner, |held| held.by);
    let loosens = match (held.as_ref(), &value) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(held), Some(value)) => !value.is_as_tight_as(&held.value),
    };
    let refusal = if loosens { caller.may_not_widen(field, by) } else { None };
    *held = value.map(|value| Held { value, by: caller.set_by(by) });
    refusal
}

fn is_as_tight<T: Tight>(own: Option<&Held<T>>, other: Option<&Held<T>>) -> bool {
    match (own, other) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(own), Some(other)) => own.value.is_as_tight_as(&other.value),
    }
}

fn shown<T: Tight>(held: Option<&Held<T>>) -> Value {
    match held {
        Some(held) => json!({ "value": held.value.shown(), "by": held.by }),
        None => Value::Null,
    }
}
