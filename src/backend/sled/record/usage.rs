//! What was used of a key, or is left of an owner's quota.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::fields::{push, take_last, timestamp};
use crate::backend::sled::fault::Fault;
use crate::clock::Timestamp;
use crate::id::Version;
use crate::key::{LastAddress, QuotaState, RefusedCounts, RefusedFor, Usage, Used};

#[derive(Serialize, Deserialize)]
struct Mirror {
    last_used_at: Option<u64>,
    last_address: Option<(IpAddr, u64)>,
    accepted: u64,
    /// By number.
    refused: Vec<(u8, u64)>,
    quota: Option<QuotaMirror>,
}

#[derive(Serialize, Deserialize)]
struct QuotaMirror {
    since: u64,
    left: u64,
    period: u64,
}

pub(in crate::backend::sled) fn encode_usage(usage: &Usage) -> Result<Vec<u8>, Fault> {
    let Usage { used, quota } = usage;
    let mirror = Mirror {
        last_used_at: used.last_used_at.map(Timestamp::as_millis),
        last_address: used.last_address.map(|seen| (seen.address, seen.at.as_millis())),
        accepted: used.accepted,
        refused: used.refused.iter().map(|(reason, count)| (reason.number(), count)).collect(),
        quota: quota.map(|quota| QuotaMirror {
            since: quota.since.get(),
            left: quota.left,
            period: quota.period.as_millis(),
        }),
    };
    push(Vec::new(), &mirror)
}

pub(in crate::backend::sled) fn decode_usage(bytes: &[u8]) -> Result<Usage, Fault> {
    let mirror: Mirror = take_last(bytes)?;
    let mut refused = RefusedCounts::default();
    for (number, count) in mirror.refused {
        let reason = RefusedFor::from_number(number)?;
        if refused.get(reason) > 0 || count == 0 || count > Usage::MAX_COUNT {
            return Err(Fault::damaged("a count of refusals can't be right"));
        }
        refused.add(reason, count);
    }
    if mirror.accepted > Usage::MAX_COUNT {
        return Err(Fault::damaged("a count of uses can't be right"));
    }
    let seen = |(address, at)| Ok(LastAddress { address, at: Timestamp::from_millis(at)? });
    let quota = |quota: QuotaMirror| {
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
    })
}

fn invalid(invalid: crate::invalid::Invalid) -> Fault {
    invalid.into()
}
