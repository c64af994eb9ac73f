//! What keys and owners may use.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::fields::{set_by, set_by_number, version};
use crate::backend::sled::fault::Fault;
use crate::clock::Timestamp;
use crate::key::{Every, Limit, Limits, Network, Networks, Quota, QuotaRun, Rate, Refill};

/// Without a limit there is none of it: one byte.
#[derive(Serialize, Deserialize)]
pub(super) struct LimitsMirror {
    not_before: Option<By<u64>>,
    networks: Option<By<Vec<NetworkMirror>>>,
    rate: Option<By<RateMirror>>,
    quota: Option<By<QuotaMirror>>,
}

#[derive(Serialize, Deserialize)]
struct By<T> {
    value: T,
    by: u8,
}

#[derive(Serialize, Deserialize)]
struct NetworkMirror {
    address: IpAddr,
    prefix_len: u8,
}

#[derive(Serialize, Deserialize)]
struct RateMirror {
    count: u32,
    per_ms: u64,
    burst: u32,
}

#[derive(Serialize, Deserialize)]
struct QuotaMirror {
    uses: u64,
    refill: Option<RefillMirror>,
    since: u64,
}

#[derive(Serialize, Deserialize)]
struct RefillMirror {
    amount: u64,
    every: u8,
}

impl LimitsMirror {
    pub(super) fn of(limits: &Limits) -> Option<Self> {
        let Limits { not_before, networks, rate, quota } = limits;
        (!limits.is_empty()).then(|| Self {
            not_before: by(not_before.as_ref(), |from| from.as_millis()),
            networks: by(networks.as_ref(), |networks| {
                networks.as_slice().iter().map(NetworkMirror::from).collect()
            }),
            rate: by(rate.as_ref(), |rate| RateMirror {
                count: rate.count(),
                per_ms: u64::try_from(rate.per().as_millis()).unwrap_or(u64::MAX),
                burst: rate.burst(),
            }),
            quota: by(quota.as_ref(), |run| QuotaMirror {
                uses: run.quota.uses(),
                refill: run.quota.refill().map(|refill| RefillMirror {
                    amount: refill.amount(),
                    every: refill.every().number(),
                }),
                since: run.since.get(),
            }),
        })
    }
}

fn by<T, M>(limit: Option<&Limit<T>>, mirror: impl FnOnce(&T) -> M) -> Option<By<M>> {
    limit.map(|limit| By { value: mirror(&limit.value), by: set_by_number(limit.by) })
}

impl From<&Network> for NetworkMirror {
    fn from(network: &Network) -> Self {
        Self { address: network.address(), prefix_len: network.prefix_len() }
    }
}

/// The limits of a mirror, if there is one.
pub(super) fn limits(mirror: Option<LimitsMirror>) -> Result<Option<Limits>, Fault> {
    let Some(LimitsMirror { not_before, networks, rate, quota }) = mirror else { return Ok(None) };
    let limits = Limits {
        not_before: limit(not_before, |from| Ok(Timestamp::from_millis(from)?))?,
        networks: limit(networks, |mirrors| {
            let networks = mirrors.iter().map(|one| Network::new(one.address, one.prefix_len));
            Ok(Networks::new(networks.collect::<Result<Vec<_>, _>>()?)?)
        })?,
        rate: limit(rate, |RateMirror { count, per_ms, burst }| {
            Ok(Rate::new(count, Duration::from_millis(per_ms))?.with_burst(burst)?)
        })?,
        quota: limit(quota, run)?,
    };
    Ok(Some(limits).filter(|limits| !limits.is_empty()))
}

fn limit<M, T>(
    mirror: Option<By<M>>,
    value: impl FnOnce(M) -> Result<T, Fault>,
) -> Result<Option<Limit<T>>, Fault> {
    mirror
        .map(|By { value: mirror, by }| Ok(Limit { value: value(mirror)?, by: set_by(by)? }))
        .transpose()
}

fn run(mirror: QuotaMirror) -> Result<QuotaRun, Fault> {
    let quota = Quota::once(mirror.uses)?;
    let quota = match mirror.refill {
        Some(refill) => {
            quota.with_refill(Refill::new(refill.amount, Every::from_number(refill.every)?)?)
        }
        None => quota,
    };
    Ok(QuotaRun { quota, since: version(mirror.since)? })
}
