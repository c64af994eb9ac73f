//! What was used of a key, or is left of an owner's quota.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::fields::{push, take_last, timestamp};
use crate::backend::sled::fault::Fault;
use crate::clock::Timestamp;
use crate::id::{Generation, Version};
use crate::key::{
    AlertState, AlertedTokens, LastAddress, QuotaState, RejectKind, RejectedCounts, Usage, Used,
};

#[derive(Serialize, Deserialize)]
struct Wire {
    last_used_at: Option<u64>,
    last_address: Option<(IpAddr, u64)>,
    accepted: u64,
    /// By number.
    rejected: Vec<(u8, u64)>,
    quota: Option<QuotaWire>,
    alert_state: AlertStateWire,
}

#[derive(Serialize, Deserialize)]
struct AlertStateWire {
    expired: Option<u64>,
    trial_ending: Option<u64>,
    token_old: Option<u32>,
    unused: Option<u64>,
    previous_token_used: Option<u64>,
    rejected: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct QuotaWire {
    quota_version: u64,
    left: u64,
    period: u64,
}

pub(in crate::backend::sled) fn encode_usage(usage: &Usage) -> Result<Vec<u8>, Fault> {
    let Usage { used, quota, alert_state } = usage;
    let mirror = Wire {
        last_used_at: used.last_used_at.map(Timestamp::as_millis),
        last_address: used.last_address.map(|seen| (seen.address, seen.at.as_millis())),
        accepted: used.accepted,
        rejected: used.rejected.iter().map(|(reason, count)| (reason.number(), count)).collect(),
        quota: quota.map(|quota| QuotaWire {
            quota_version: quota.quota_version.get(),
            left: quota.left,
            period: quota.period.as_millis(),
        }),
        alert_state: AlertStateWire {
            expired: alert_state.expired.map(Timestamp::as_millis),
            trial_ending: alert_state.trial_ending.map(Timestamp::as_millis),
            token_old: alert_state.token_old.map(Generation::get),
            unused: alert_state.unused.map(Timestamp::as_millis),
            previous_token_used: alert_state.previous_token_used.map(AlertedTokens::number),
            rejected: alert_state.rejected.map(Timestamp::as_millis),
        },
    };
    push(Vec::new(), &mirror)
}

pub(in crate::backend::sled) fn decode_usage(bytes: &[u8]) -> Result<Usage, Fault> {
    let mirror: Wire = take_last(bytes)?;
    let mut rejected = RejectedCounts::default();
    for (number, count) in mirror.rejected {
        let reason = RejectKind::from_number(number)?;
        if rejected.get(reason) > 0 || count == 0 || count > Usage::MAX_COUNT {
            return Err(Fault::damaged("a count of rejections can't be right"));
        }
        rejected.add(reason, count);
    }
    if mirror.accepted > Usage::MAX_COUNT {
        return Err(Fault::damaged("a count of uses can't be right"));
    }
    let seen = |(address, at)| Ok(LastAddress { address, at: Timestamp::from_millis(at)? });
    let quota = |quota: QuotaWire| {
        Ok(QuotaState {
            quota_version: Version::new(quota.quota_version),
            left: quota.left,
            period: Timestamp::from_millis(quota.period)?,
        })
    };
    Ok(Usage {
        used: Used {
            last_used_at: timestamp(mirror.last_used_at)?,
            last_address: mirror.last_address.map(seen).transpose().map_err(invalid)?,
            accepted: mirror.accepted,
            rejected,
        },
        quota: mirror.quota.map(quota).transpose().map_err(invalid)?,
        alert_state: AlertState {
            expired: timestamp(mirror.alert_state.expired)?,
            trial_ending: timestamp(mirror.alert_state.trial_ending)?,
            token_old: generation(mirror.alert_state.token_old)?,
            unused: timestamp(mirror.alert_state.unused)?,
            previous_token_used: mirror
                .alert_state
                .previous_token_used
                .map(AlertedTokens::from_number)
                .transpose()
                .map_err(invalid)?,
            rejected: timestamp(mirror.alert_state.rejected)?,
        },
    })
}

fn generation(number: Option<u32>) -> Result<Option<Generation>, Fault> {
    number.map(Generation::new).transpose().map_err(invalid)
}

fn invalid(invalid: crate::invalid::Invalid) -> Fault {
    invalid.into()
}
