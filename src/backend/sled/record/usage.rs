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
    refused: Vec<(u8, u64)>,
    quota: Option<QuotaWire>,
    told: AlertStateWire,
}

#[derive(Serialize, Deserialize)]
struct AlertStateWire {
    expired: Option<u64>,
    trial_ending: Option<u64>,
    token_old: Option<u32>,
    unused: Option<u64>,
    previous_token_used: Option<u64>,
    refused: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct QuotaWire {
    since: u64,
    left: u64,
    period: u64,
}

pub(in crate::backend::sled) fn encode_usage(usage: &Usage) -> Result<Vec<u8>, Fault> {
    let Usage { used, quota, told } = usage;
    let mirror = Wire {
        last_used_at: used.last_used_at.map(Timestamp::as_millis),
        last_address: used.last_address.map(|seen| (seen.address, seen.at.as_millis())),
        accepted: used.accepted,
        refused: used.refused.iter().map(|(reason, count)| (reason.number(), count)).collect(),
        quota: quota.map(|quota| QuotaWire {
            since: quota.since.get(),
            left: quota.left,
            period: quota.period.as_millis(),
        }),
        told: AlertStateWire {
            expired: told.expired.map(Timestamp::as_millis),
            trial_ending: told.trial_ending.map(Timestamp::as_millis),
            token_old: told.token_old.map(Generation::get),
            unused: told.unused.map(Timestamp::as_millis),
            previous_token_used: told.previous_token_used.map(AlertedTokens::number),
            refused: told.refused.map(Timestamp::as_millis),
        },
    };
    push(Vec::new(), &mirror)
}

pub(in crate::backend::sled) fn decode_usage(bytes: &[u8]) -> Result<Usage, Fault> {
    let mirror: Wire = take_last(bytes)?;
    let mut refused = RejectedCounts::default();
    for (number, count) in mirror.refused {
        let reason = RejectKind::from_number(number)?;
        if refused.get(reason) > 0 || count == 0 || count > Usage::MAX_COUNT {
            return Err(Fault::damaged("a count of refusals can't be right"));
        }
        refused.add(reason, count);
    }
    if mirror.accepted > Usage::MAX_COUNT {
        return Err(Fault::damaged("a count of uses can't be right"));
    }
    let seen = |(address, at)| Ok(LastAddress { address, at: Timestamp::from_millis(at)? });
    let quota = |quota: QuotaWire| {
        Ok(QuotaState {
            since: Version::new(quota.since),
            left: quota.left,
            period: Timestamp::from_millis(quota.period)?,
        })
    };
    Ok(Usage {
        used: Used {
            last_used_at: timestamp(mirror.last_used_at)?,
            last_address: mirror.last_address.map(seen).transpose().map_err(invalid)?,
            accepted: mirror.accepted,
            refused,
        },
        quota: mirror.quota.map(quota).transpose().map_err(invalid)?,
        told: AlertState {
            expired: timestamp(mirror.told.expired)?,
            trial_ending: timestamp(mirror.told.trial_ending)?,
            token_old: generation(mirror.told.token_old)?,
            unused: timestamp(mirror.told.unused)?,
            previous_token_used: mirror
                .told
                .previous_token_used
                .map(AlertedTokens::from_number)
                .transpose()
                .map_err(invalid)?,
            refused: timestamp(mirror.told.refused)?,
        },
    })
}

fn generation(number: Option<u32>) -> Result<Option<Generation>, Fault> {
    number.map(Generation::new).transpose().map_err(invalid)
}

fn invalid(invalid: crate::invalid::Invalid) -> Fault {
    invalid.into()
}
